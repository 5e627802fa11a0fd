package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// waitPoll is how often a wait looks.
const waitPoll = 250 * time.Millisecond

// lookTimeout bounds one look, at an agent that hangs for instance.
const lookTimeout = 15 * time.Second

// condition says what is still missing; nothing when it holds.
type condition func(st *api.Status, vms *api.VMList) (missing []string)

func (p *program) waitCommand() *cli.Command {
	return p.leaf("wait", "block until it is so; status 2 when it is not in time", "settled|quorum|host NAME STATE|vm NAME STATE", 1, 3,
		[]cli.Flag{&cli.DurationFlag{Name: "timeout", Usage: "wait at most this `LONG`; 0: for ever", Value: 5 * time.Minute}},
		func(ctx context.Context, c *cli.Context) error {
			until, err := waitFor(c.Args().Slice())
			if err != nil {
				return usageOf(c, err.Error())
			}
			return p.wait(ctx, strings.Join(c.Args().Slice(), " "), until, c.Duration("timeout"))
		})
}

// waitFor reads what to wait for.
func waitFor(words []string) (condition, error) {
	switch {
	case len(words) == 1 && words[0] == "settled":
		return settled, nil
	case len(words) == 1 && words[0] == "quorum":
		return quorum, nil
	case len(words) == 3 && words[0] == "host":
		return hostIs(words[1], words[2]), nil
	case len(words) == 3 && words[0] == "vm":
		return vmIs(words[1], words[2]), nil
	}
	return nil, fmt.Errorf("cannot wait for %q: there is settled, quorum, host NAME live, vm NAME running", strings.Join(words, " "))
}

func quorum(st *api.Status, _ *api.VMList) []string {
	if st.Source.Fresh {
		return nil
	}
	return []string{"no master answers"}
}

// settled: there is a master, three vote where there are three hosts, nobody is in
// doubt, and every protected VM that shall run runs on a live host.
func settled(st *api.Status, vms *api.VMList) []string {
	missing := quorum(st, vms)
	if len(st.Hosts) >= 3 && st.Voters < 3 {
		missing = append(missing, fmt.Sprintf("%d of %d hosts vote", st.Voters, len(st.Hosts)))
	}
	for _, h := range st.Hosts {
		if h.State != string(fsm.HostLive) && h.State != string(fsm.HostDead) {
			missing = append(missing, fmt.Sprintf("host %s is %s", h.Name, h.State))
		}
	}
	for _, vm := range vms.VMs {
		if vm.Protected && vm.Intent == fsm.IntentRun && vm.State != api.VMRunning {
			missing = append(missing, fmt.Sprintf("vm %s is %s", vm.Name, vm.State))
		}
	}
	return missing
}

func hostIs(name, state string) condition {
	return func(st *api.Status, vms *api.VMList) []string {
		for _, h := range st.Hosts {
			if h.Name == name {
				if h.State == state {
					return quorum(st, vms)
				}
				return []string{fmt.Sprintf("host %s is %s", name, h.State)}
			}
		}
		return []string{fmt.Sprintf("there is no host %s", name)}
	}
}

func vmIs(name, state string) condition {
	return func(st *api.Status, vms *api.VMList) []string {
		vm, err := pickVM(vms, name)
		if err != nil {
			return []string{fmt.Sprintf("vm %s is not known", name)}
		}
		if vm.State == state {
			return quorum(st, vms)
		}
		return []string{fmt.Sprintf("vm %s is %s", name, vm.State)}
	}
}

// wait looks until the condition holds, at least once. An agent that does not
// answer may be restarting, and is waited for as well.
func (p *program) wait(ctx context.Context, what string, until condition, timeout time.Duration) error {
	client := p.client()
	defer client.Close()
	began := p.now()
	var late <-chan time.Time
	if timeout > 0 {
		late = time.After(timeout)
	}
	for {
		missing, err := p.look(ctx, client, until)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			return p.waited(what, true, p.now().Sub(began), nil)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late:
			return p.waited(what, false, timeout, missing)
		case <-time.After(waitPoll):
		}
	}
}

// look says what is missing now; an error is one that waiting does not mend.
func (p *program) look(ctx context.Context, client *api.Client, until condition) (missing []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	st, err := client.Status(ctx)
	var vms *api.VMList
	if err == nil {
		vms, err = client.VMs(ctx)
	}
	switch {
	case err == nil:
		return until(st, vms), nil
	case exitStatus(err) == exitNotAllowed:
		return nil, err
	}
	return []string{p.explain(err)}, nil
}

func (p *program) waited(what string, holds bool, took time.Duration, missing []string) error {
	if err := p.show(struct {
		Schema  int         `json:"schema"`
		What    string      `json:"what"`
		Holds   bool        `json:"holds"`
		Took    api.Seconds `json:"took_seconds"`
		Missing []string    `json:"missing,omitempty"`
	}{api.Schema, what, holds, api.Seconds(took), missing}, func() {
		if holds {
			p.say("%s: yes, after %s", what, span(took))
			return
		}
		p.say("%s: not within %s", what, span(took))
		for _, m := range missing {
			p.say("  %s", m)
		}
	}); err != nil {
		return err
	}
	if !holds {
		return errNo
	}
	return nil
}
