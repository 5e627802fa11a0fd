package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

const (
	// ClusterName is the name that Form gives the cluster.
	ClusterName = "lab"
	agentSocket = "/run/haagent/admin.sock"
	// answerTimeout bounds one question to one agent.
	answerTimeout = 3 * time.Second
	// settlePoll is how often a waiting caller asks the cluster again.
	settlePoll = 100 * time.Millisecond
)

// Client talks to the host's own agent. The caller closes it; it is of no use
// after the host's next power loss.
func (h *Host) Client() (*api.Client, error) {
	socket, err := h.seenFromOutside(agentSocket)
	if err != nil {
		return nil, err
	}
	return api.NewClient(socket), nil
}

// ask asks the host's agent one thing.
func ask[T any](ctx context.Context, h *Host, what func(context.Context, *api.Client) (T, error)) (T, error) {
	var none T
	client, err := h.Client()
	if err != nil {
		return none, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := what(ctx, client)
	if err != nil {
		return none, fmt.Errorf("ask the agent of %s: %w", h.name, err)
	}
	return answer, nil
}

// Self asks the host's agent about itself.
func (h *Host) Self(ctx context.Context) (api.Self, error) {
	return ask(ctx, h, func(ctx context.Context, c *api.Client) (api.Self, error) { return c.Self(ctx) })
}

// Form makes one cluster of all hosts, which must be on, the way a person does:
// with haadm, on each host. It returns when every host is live and has the vote
// that it gets.
func (l *Lab) Form(ctx context.Context) error {
	first := l.hosts[0]
	if err := first.waitAgent(ctx); err != nil {
		return err
	}
	// Namespaces have no watchdogs of their own.
	policy := fmt.Sprintf("cluster %q {\n  schema = 1\n}\n\ntiming {\n  profile = %q\n}\n\nfencing {\n  mode = \"best_effort\"\n}\n", ClusterName, l.cfg.Profile)
	file := filepath.Join(l.Dir(), "policy.hcl")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		return fmt.Errorf("write the policy: %w", err)
	}
	if _, err := first.Adm(ctx, "cluster", "bootstrap", "--policy", file, "--yes"); err != nil {
		return err
	}
	for _, h := range l.hosts[1:] {
		if err := h.waitAgent(ctx); err != nil {
			return err
		}
		token, err := l.invite(ctx)
		if err != nil {
			return err
		}
		if _, err := h.Adm(ctx, "cluster", "join", token, "--yes"); err != nil {
			return err
		}
	}
	if err := l.WaitLive(ctx); err != nil {
		return err
	}
	return l.waitVoters(ctx)
}

// waitVoters waits until as many hosts vote as ever will: a host that has just
// joined has no vote yet, and until it has, the loss of another may stop the cluster.
func (l *Lab) waitVoters(ctx context.Context) error {
	want := min(len(l.hosts), 5)
	if want%2 == 0 {
		want--
	}
	_, err := l.WaitStatus(ctx, fmt.Sprintf("%d hosts vote", want), func(s *api.Status) error {
		if s.Voters != want {
			return fmt.Errorf("%d hosts vote", s.Voters)
		}
		return nil
	})
	return err
}

// invite makes a join token on the first host. A new cluster may have no master
// for a moment.
func (l *Lab) invite(ctx context.Context) (token string, err error) {
	err = poll(ctx, func() error {
		out, err := l.hosts[0].Adm(ctx, "cluster", "token", "create", "-o", "json")
		if err != nil {
			return err
		}
		var answer struct {
			Token string `json:"token"`
		}
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			return permanent{fmt.Errorf("haadm cluster token create -o json: %w: %s", err, out)}
		}
		if answer.Token == "" {
			return permanent{fmt.Errorf("haadm cluster token create -o json prints no token: %s", out)}
		}
		token = answer.Token
		return nil
	})
	return token, err
}

// waitAgent waits until the host's agent answers.
func (h *Host) waitAgent(ctx context.Context) error {
	err := poll(ctx, func() error {
		if runs, err := h.AgentRuns(ctx); err != nil || !runs {
			return permanent{errors.Join(err, fmt.Errorf("haagent on %s has ended: %s", h.name, h.Log(agentProgram, 10)))}
		}
		_, err := h.Self(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("wait for the agent of %s: %w", h.name, err)
	}
	return nil
}

// anyOn is the first host that is on.
func (l *Lab) anyOn() (*Host, error) {
	for _, h := range l.hosts {
		if h.On() {
			return h, nil
		}
	}
	return nil, errors.New("every host is off")
}

// Status is the master's view of the cluster, asked through the first host that
// can reach the master.
func (l *Lab) Status(ctx context.Context) (*api.Status, error) {
	return fresh(ctx, l, func(ctx context.Context, c *api.Client) (*api.Status, *api.Source, error) {
		s, err := c.Status(ctx)
		if err != nil {
			return nil, nil, err
		}
		return s, s.Source, nil
	})
}

// VM is the master's view of a VM.
func (l *Lab) VM(ctx context.Context, name string) (api.VMView, error) {
	return fresh(ctx, l, func(ctx context.Context, c *api.Client) (api.VMView, *api.Source, error) {
		list, err := c.VMs(ctx)
		if err != nil {
			return api.VMView{}, nil, err
		}
		for _, vm := range list.VMs {
			if vm.Name == name {
				return vm, list.Source, nil
			}
		}
		return api.VMView{}, nil, fmt.Errorf("the cluster knows no VM %s", name)
	})
}

// Events are the cluster's events from the one after id.
func (l *Lab) Events(ctx context.Context, after uint64) ([]api.EventView, error) {
	return fresh(ctx, l, func(ctx context.Context, c *api.Client) ([]api.EventView, *api.Source, error) {
		list, err := c.Events(ctx, api.EventFilter{After: after})
		if err != nil {
			return nil, nil, err
		}
		return list.Events, list.Source, nil
	})
}

// fresh asks one host after the other until the answer comes from the master.
func fresh[T any](ctx context.Context, l *Lab, what func(context.Context, *api.Client) (T, *api.Source, error)) (T, error) {
	var none T
	err := errors.New("every host is off")
	for _, h := range l.hosts {
		if !h.On() {
			continue
		}
		var answer T
		var source *api.Source
		_, err = ask(ctx, h, func(ctx context.Context, c *api.Client) (struct{}, error) {
			var err error
			answer, source, err = what(ctx, c)
			return struct{}{}, err
		})
		if err == nil && source.Fresh {
			return answer, nil
		}
		if err == nil {
			err = fmt.Errorf("the agent of %s does not reach the master: %s", h.name, source.Note)
		}
	}
	return none, err
}

// WaitStatus waits until ok returns nil for the master's view; its last error says
// what was missing.
func (l *Lab) WaitStatus(ctx context.Context, what string, ok func(*api.Status) error) (*api.Status, error) {
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	var seen error // that the wait has ended says nothing of the cluster
	for {
		s, err := l.Status(ctx)
		if err == nil {
			if err = ok(s); err == nil {
				return s, nil
			}
		}
		if ctx.Err() == nil || seen == nil {
			seen = err
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("wait until %s: %w; last seen: %w", what, context.Cause(ctx), seen)
		case <-tick.C:
		}
	}
}

// WaitLive waits until the hosts (all that are on, when none is named) are live.
func (l *Lab) WaitLive(ctx context.Context, hosts ...*Host) error {
	if len(hosts) == 0 {
		for _, h := range l.hosts {
			if h.On() {
				hosts = append(hosts, h)
			}
		}
	}
	_, err := l.WaitStatus(ctx, "hosts are live", func(s *api.Status) error {
		for _, h := range hosts {
			view := FindHost(s, h.name)
			if view == nil {
				return fmt.Errorf("the cluster knows no host %s", h.name)
			}
			if view.State != "live" || view.Committed != "live" {
				return fmt.Errorf("%s is %s (committed: %s)", h.name, view.State, view.Committed)
			}
		}
		return nil
	})
	return err
}

// WaitVM waits until ok is true for the master's view of a VM.
func (l *Lab) WaitVM(ctx context.Context, name, what string, ok func(api.VMView) bool) (api.VMView, error) {
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	for {
		vm, err := l.VM(ctx, name)
		if err == nil && ok(vm) {
			return vm, nil
		}
		if err == nil {
			err = fmt.Errorf("it is %s on %q, generation %d; %s", vm.State, vm.Host, vm.Generation, vm.Waiting)
		}
		select {
		case <-ctx.Done():
			return vm, fmt.Errorf("%s: wait until %s: %w; last seen: %w", name, what, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// FindHost is the host of that name in a status; nil when there is none.
func FindHost(s *api.Status, name string) *api.HostView {
	for i := range s.Hosts {
		if s.Hosts[i].Name == name {
			return &s.Hosts[i]
		}
	}
	return nil
}

// Master is the host that holds the office.
func (l *Lab) Master(ctx context.Context) (*Host, error) {
	s, err := l.WaitStatus(ctx, "there is a master", func(s *api.Status) error {
		if s.Master == "" {
			return errors.New("no master")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l.Host(s.Master), nil
}

// Protect has the cluster protect a VM that a host runs or has defined, and waits
// until it is committed as running there, if it runs.
func (l *Lab) Protect(ctx context.Context, vm string) error {
	// A VM that has just been defined is known to the master a heartbeat later.
	err := poll(ctx, func() error {
		h, err := l.anyOn()
		if err != nil {
			return permanent{err}
		}
		_, err = h.Adm(ctx, "protect", vm, "--yes")
		return err
	})
	if err != nil {
		return err
	}
	if len(l.judge.Running(vm)) == 0 {
		return nil
	}
	_, err = l.WaitVM(ctx, vm, "it is protected and running", func(v api.VMView) bool { return v.Protected && v.State == api.VMRunning })
	return err
}
