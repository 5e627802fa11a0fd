package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/agent"
	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// startFaults are starts that shall fail wherever they are tried, by VM. Any goroutine may ask.
type startFaults struct {
	mu   sync.Mutex
	left map[string]int // below zero: all of them
}

// inject takes over the faults of the scenario's VMs that are bound to no host.
func (f *startFaults) inject(vms []scenario.VM) {
	f.left = map[string]int{}
	for _, v := range vms {
		if x := v.InjectedFaults; x != nil && x.StartFailsFirstN > 0 && x.StartAndMoveFaultsOnlyHost == "" {
			f.left[uuidOf("vm", v.ID)] = x.StartFailsFirstN
		}
	}
}

// set has the next n starts of a VM fail; below zero, all.
func (f *startFaults) set(vm string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left[uuidOf("vm", vm)] = n
}

// consume fails the start of a definition if it is to fail, and counts it.
func (f *startFaults) consume(xml string) error {
	def, err := domainxml.Parse(xml)
	if err != nil {
		return nil // whoever is asked to start it says so
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.left[def.UUID]
	if n == 0 {
		return nil
	}
	f.left[def.UUID] = n - 1
	return fmt.Errorf("domain %s: %w", def.Name, embedded.ErrStartFault)
}

// lockVM has a VM's storage refuse to be opened by anybody, as a lock that nobody takes away
// does: each start fails, wherever it is tried. What runs goes on.
func lockVM(w *World, a scenario.Action) error {
	w.startFaults.set(a.VM, -1)
	return nil
}

// bringRules has people give the cluster the file's rules and policy, where it was made without.
func (w *World) bringRules() {
	w.ruled = true
	files := w.policy()
	w.people.ask("give the cluster its rules", "", nil, func(ctx context.Context, on *agent.Agent) error {
		_, err := on.ApplyPolicy(ctx, files, 0, true, personName)
		return err
	})
}

// isNo reports whether an answer is a no for good, and not one to ask again after.
func isNo(err error) bool {
	return errors.Is(err, api.ErrRefused) && !strings.Contains(err.Error(), "try again in a moment")
}

// rejected notes that a person was refused, which a recorded manager has an event for.
func (p *people) rejected(vm string) {
	if p.w.s.Recorded() {
		p.w.watch.observe("command_rejected", "", vm, "")
	}
}

// givenUp is the host on which a VM was tried last that is not tried any more.
func (w *World) givenUp(vm string) (host string, given bool) {
	for _, e := range w.outcome.Events {
		if e.VM != vm {
			continue
		}
		switch e.Type {
		case fsm.EventVMStartFailed:
			host = e.Host
		case fsm.EventVMGivenUp:
			given = true
		case fsm.EventVMAssigned, fsm.EventVMStarted, fsm.EventVMRetryAsked, fsm.EventVMIntentChanged, fsm.EventVMUnprotected:
			given = false
		}
	}
	return host, given
}

// stopNothing sees that a VM whose stops shall all fail neither obeys nor can be ended on its host.
func (m *machine) stopNothing() {
	for _, v := range m.w.s.VMs {
		if v.InjectedFaults != nil && v.InjectedFaults.StopAlwaysFails && v.Host == m.name {
			m.hyp.SetGuestsIgnoreShutdown(true)
			m.failKills(true)
		}
	}
}

// defaultDisarm is for how long people have a cluster disarmed where the file does not say: for longer than it lasts.
const defaultDisarm = 2 * time.Hour

// arm has people arm the cluster, or disarm it. One who finds it so already leaves it alone, which a
// recorded manager has an event for.
func (w *World) arm(on bool, lasts time.Duration) {
	if s := w.watch.newest.state; s != nil && w.s.Recorded() && on == (s.Disarmed == nil) {
		w.watch.observe("command_ignored", "", "", "")
		return
	}
	what := "disarm the cluster"
	if on {
		what = "arm the cluster"
	}
	if lasts == 0 {
		lasts = defaultDisarm
	}
	w.people.ask(what, "", nil, func(ctx context.Context, agent *agent.Agent) error {
		var c fsm.Command = &fsm.DisarmCluster{Meta: w.people.meta(), For: lasts, Why: "work on the switches"}
		if on {
			c = &fsm.ArmCluster{Meta: w.people.meta(), Why: "the work is done"}
		}
		_, err := agent.Apply(ctx, c)
		return err
	})
}
