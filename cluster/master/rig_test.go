package master

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// fakeLog is a replicated log of one member: what is proposed is applied at once.
type fakeLog struct {
	machine *fsm.Machine

	mu       sync.Mutex // guards what follows; never held while waiting
	index    uint64
	proposed []fsm.Command
	confirms int
	// confirm and propose are called before each one; an error fails it.
	confirm func(ctx context.Context) error
	propose func(ctx context.Context, c fsm.Command) error
}

func (l *fakeLog) Confirm(ctx context.Context) error {
	l.mu.Lock()
	l.confirms++
	f := l.confirm
	l.mu.Unlock()
	if f != nil {
		return f(ctx)
	}
	return nil
}

func (l *fakeLog) Propose(ctx context.Context, c fsm.Command) (any, error) {
	b, err := fsm.Encode(c)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", api.ErrRefused, err)
	}
	l.mu.Lock()
	l.proposed = append(l.proposed, c)
	f := l.propose
	l.mu.Unlock()
	if f != nil {
		if err := f(ctx, c); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index++
	res := l.machine.Apply(l.index, b).(fsm.Result)
	if res.Refusal != nil {
		return nil, res.Refusal
	}
	return res.Value, nil
}

func (l *fakeLog) set(confirm func(context.Context) error, propose func(context.Context, fsm.Command) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.confirm, l.propose = confirm, propose
}

// said lists what was proposed so far that mentions one of the words.
func (l *fakeLog) said(words ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, c := range l.proposed {
		for _, w := range words {
			if strings.Contains(say(c), w) {
				all = append(all, say(c))
				break
			}
		}
	}
	return all
}

// rig is a master in a bubble, and the members a, b and c.
type rig struct {
	testing.TB
	*fakeLog
	*Master
	started time.Time
	policy  *config.Policy
	cancel  context.CancelFunc
	held    chan error // Hold's answer
	seq     uint64
	// old is what View returns while it is set: the copy that a caller took a moment ago.
	old atomic.Pointer[fsm.State]
}

// bubble runs f with a master in office, whose hosts have each begun incarnation 1.
func bubble(t *testing.T, f func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{TB: t, fakeLog: &fakeLog{machine: fsm.New()}, started: time.Now(), policy: waitTrusted()}
		tm := standard(t)
		r.Master = New(Config{Name: "a", Timing: tm, Grace: time.Minute, Log: r.fakeLog, View: r.view,
			Policy: func(*fsm.State) *config.Policy { return r.policy },
			Now:    r.now, Wall: time.Now, Gate: func(ctx context.Context) error { return ctx.Err() }, Logger: hclog.NewNullLogger()})
		r.must(&fsm.CreateCluster{Cluster: fsm.Cluster{ID: uuid(1), Name: "test"}, Host: member("a", 1)})
		for i, name := range []string{"b", "c"} {
			hash := make([]byte, 32)
			r.must(&fsm.CreateToken{Meta: fsm.Meta{At: time.Now()}, Token: fsm.Token{ID: name, Hash: hash, Expires: time.Now().Add(time.Hour)}})
			r.must(&fsm.AddHost{Meta: fsm.Meta{At: time.Now()}, TokenID: name, SecretHash: hash, Host: member(name, i+2)})
		}
		r.hold()
		defer r.resign()
		for _, name := range []string{"a", "b", "c"} {
			if _, err := r.Begin(t.Context(), api.BeginRequest{Host: name, BootID: "boot", Why: "first start"}); err != nil {
				t.Fatalf("begin %s: %v", name, err)
			}
		}
		f(r)
	})
}

func uuid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

func member(name string, n int) fsm.Host {
	return fsm.Host{Name: name, ID: uuid(0xa000 + n), Addresses: []fsm.Address{
		{Network: "mgmt", Addr: fmt.Sprintf("10.0.0.%d:7300", n)}, {Network: "storage", Addr: fmt.Sprintf("10.0.1.%d:7300", n)}}}
}

// now is the boot clock, which was at an hour when the bubble began.
func (r *rig) now() time.Duration { return time.Hour + time.Since(r.started) }

func (r *rig) view() (*fsm.State, uint64, <-chan struct{}) {
	s, index, changed := r.machine.View()
	if old := r.old.Load(); old != nil {
		s = old
	}
	return s, index, changed
}

func (r *rig) state() *fsm.State {
	s, _, _ := r.machine.View()
	return s
}

func (r *rig) must(c fsm.Command) any {
	r.Helper()
	v, err := r.Propose(r.Context(), c)
	if err != nil {
		r.Fatalf("%s: %v", say(c), err)
	}
	return v
}

// hold takes office; resign ends it.
func (r *rig) hold() {
	ctx, cancel := context.WithCancel(r.Context())
	r.cancel, r.held = cancel, make(chan error, 1)
	go func() { r.held <- r.Hold(ctx) }()
	synctest.Wait()
}

func (r *rig) resign() error {
	if r.cancel == nil {
		return nil
	}
	r.cancel()
	r.cancel = nil
	synctest.Wait()
	return <-r.held
}

// beat is one heartbeat of a host in that incarnation over both networks' first, with a report.
func (r *rig) beat(host string, incarnation uint64) (api.HeartbeatReply, error) {
	r.seq++
	return r.Heartbeat(r.Context(), api.Heartbeat{Host: host, Incarnation: incarnation, Run: 9, Seq: r.seq, Network: "mgmt", ReportRev: r.seq, Report: r.report()})
}

func (r *rig) report(domains ...api.DomainReport) *api.HostReport {
	return &api.HostReport{Capacity: vmm.Capacity{CPUs: 8, MHz: 2000, Memory: 8 << 30}, Guard: "running", Domains: domains}
}

// beating keeps the hosts heard, as incarnation 1, every interval for d.
func (r *rig) beating(d time.Duration, hosts ...string) {
	r.Helper()
	end := time.Now().Add(d)
	for !time.Now().After(end) {
		for _, h := range hosts {
			if _, err := r.beat(h, r.state().Hosts[h].Incarnation); err != nil {
				r.Fatalf("heartbeat of %s: %v", h, err)
			}
		}
		r.pass(min(time.Second, time.Until(end)+1))
	}
}

// pass lets virtual time go by.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// waitTrusted is a policy under which the wait alone will do: the hosts of most tests
// have no watchdog.
func waitTrusted() *config.Policy {
	p := config.DefaultPolicy("test")
	p.Fencing.Mode = config.FencingBestEffort
	return p
}
