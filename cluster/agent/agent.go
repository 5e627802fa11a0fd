package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// Agent is one host's agent. It implements api.Backend.
type Agent struct {
	env Env
	// start hands a membership, made by Bootstrap or Join, to Run.
	start chan *Membership
	// joining is held while this host is being made a member, one request at a time.
	joining chan struct{}

	mu     sync.Mutex // guards what follows
	member *member    // nil while this host is no member
	ended  error      // why the last membership ended

	policyMu  sync.Mutex // guards the parsed policy of one revision
	policyRev uint64
	policyID  string
	policy    *config.Policy

	shared definitions // as the doctor has read them
}

var _ api.Backend = (*Agent)(nil)

// New returns an agent. Run brings it to life.
func New(env Env) *Agent {
	if env.Gate == nil {
		env.Gate = func(ctx context.Context) error { return ctx.Err() }
	}
	if env.Grace == 0 {
		env.Grace = 2 * time.Minute
	}
	if env.Logger == nil {
		env.Logger = hclog.NewNullLogger()
	}
	return &Agent{env: env, start: make(chan *Membership), joining: make(chan struct{}, 1)}
}

// Run serves this host until ctx ends: as a member if it is one, and otherwise
// from the moment that Bootstrap or Join makes it one. It returns an error when
// the agent cannot go on and its process should be started anew. VMs go on.
func (a *Agent) Run(ctx context.Context) error {
	ms, err := a.env.Store.Membership()
	if err != nil {
		return fmt.Errorf("read this host's membership: %w", err)
	}
	for {
		if ms == nil {
			if ms = a.await(ctx); ms == nil {
				return nil
			}
		}
		m, err := a.enter(ctx, ms)
		if err == nil {
			a.setMember(m, nil)
			err = m.run(ctx)
		}
		a.setMember(nil, err)
		if errors.Is(err, errOldDisk) {
			a.env.Logger.Error(err.Error())
			a.standAside(ctx, ms, err)
			<-ctx.Done() // to tell people, and to refuse them starts
			return nil
		}
		if !errors.Is(err, errLeft) {
			return err
		}
		if err := a.env.Store.Forget(); err != nil {
			return fmt.Errorf("put the left cluster's data aside: %w", err)
		}
		a.env.Logger.Warn("this host is no member of the cluster any more; its data is put aside and it can join again")
		ms = nil
	}
}

// errLeft ends the membership of a host that was removed from its cluster.
var errLeft = errors.New("this host was removed from the cluster")

// await returns the membership that Bootstrap or Join makes; nil when ctx ends.
func (a *Agent) await(ctx context.Context) *Membership {
	select {
	case <-ctx.Done():
		return nil
	case ms := <-a.start:
		return ms
	}
}

func (a *Agent) setMember(m *member, ended error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.member, a.ended = m, ended
}

func (a *Agent) current() (*member, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.member == nil {
		return nil, api.ErrNotMember
	}
	return a.member, nil
}

// aside is why no VM may be started on this host, although it is no member: it stands
// aside, and does not know what others run.
func (a *Agent) aside() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if errors.Is(a.ended, errOldDisk) {
		return fmt.Errorf("%w: %w", api.ErrRefused, a.ended)
	}
	return nil
}

// parsed returns the policy that the state holds. A policy that this version
// cannot read (a newer member wrote it) leaves the last one in force.
func (a *Agent) parsed(s *fsm.State) *config.Policy {
	if s.Office.Epoch == 0 && len(s.Policy.Files) == 0 {
		return config.DefaultPolicy(s.Cluster.Name) // no copy of the state yet: nothing to remember
	}
	a.policyMu.Lock()
	defer a.policyMu.Unlock()
	if a.policy != nil && a.policyRev == s.Policy.Revision && a.policyID == s.Cluster.ID {
		return a.policy
	}
	p := config.DefaultPolicy(s.Cluster.Name)
	if len(s.Policy.Files) > 0 {
		q, err := config.ParsePolicy(s.Policy.Files)
		switch {
		case err == nil:
			p = q
		case a.policy != nil:
			a.env.Logger.Error("the policy cannot be read by this version; the last one stays in force", "revision", s.Policy.Revision, "error", err)
			p = a.policy
		default:
			a.env.Logger.Error("the policy cannot be read by this version; the default one is in force", "revision", s.Policy.Revision, "error", err)
		}
	}
	a.policy, a.policyRev, a.policyID = p, s.Policy.Revision, s.Cluster.ID
	return p
}

// group runs functions until one returns or the context ends, then ends and
// waits for all of them.
type group struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex // guards err
	err    error
}

func newGroup(ctx context.Context) (*group, context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	return &group{cancel: cancel}, ctx
}

func (g *group) run(what string, f func() error) {
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		err := f()
		g.mu.Lock()
		if g.err == nil && err != nil && !errors.Is(err, context.Canceled) {
			g.err = fmt.Errorf("%s: %w", what, err)
		}
		g.mu.Unlock()
		g.cancel()
	}()
}

func (g *group) wait() error {
	g.wg.Wait()
	return g.err
}
