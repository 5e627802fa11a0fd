package sim

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// Result is what became of one run.
type Result struct {
	// Violations are invariants that did not hold and expectations that were not met; none: it passed.
	Violations []string
	Outcome    scenario.Outcome
	Lasted     time.Duration // virtual
	Timeline   []string
	Logs       string
}

// Run plays the scenario to its end and judges it. It closes the World.
func (w *World) Run() Result {
	w.play(append(w.s.InOrder(), steering(w.s)...), w.s.End())
	w.finish()
	w.Close()
	return Result{Violations: append(slices.Clone(w.watch.broken), scenario.Judge(w.s, &w.outcome)...),
		Outcome: w.outcome, Lasted: w.now(), Timeline: w.story(), Logs: w.Logs()}
}

// steerBefore is how long before an action the office is handed to the host that
// holds it in a recorded file.
const steerBefore = 10 * time.Second

// steering hands the office, in a recorded file, to the host that the other
// manager's election had made its leader by the time of each action: which host
// wins an election is chance here, and what the action then does depends on it.
func steering(s *scenario.Scenario) []scenario.Action {
	if !s.Recorded() {
		return nil
	}
	var all []scenario.Action
	at := time.Duration(0)
	for _, a := range s.InOrder() {
		if a.T.D() == at {
			continue
		}
		leader := ""
		for _, e := range s.Expect.Events {
			if e.Type == "leader_elected" && e.PeerT != nil && e.PeerT.D() < a.T.D() {
				leader = e.Host
			}
		}
		if leader != "" && a.T.D()-at > 2*steerBefore {
			all = append(all, scenario.Action{T: a.T - scenario.Seconds(steerBefore), Do: "transfer_master", To: leader})
		}
		at = a.T.D()
	}
	return all
}

// play carries out the actions at their times, and looks at everything at each step.
func (w *World) play(actions []scenario.Action, end time.Duration) {
	slices.SortStableFunc(actions, func(a, b scenario.Action) int { return int(a.T - b.T) })
	next, step := 0, w.now().Truncate(Step)
	states := slices.Clone(w.s.Expect.HostState)
	w.outcome.States = make([]string, len(states))
	for w.now() < end {
		for next < len(actions) && actions[next].T.D() <= w.now() {
			w.act(actions[next])
			next++
		}
		if !w.begun {
			w.begun = true
			w.people.protectAll()
			if !w.ruled {
				w.later(w.s.RulesFrom.D()-w.now(), w.bringRules)
			}
			if w.s.Settings.AutoRebalance {
				w.later(balanceAfter, w.switchBalanceOn)
			}
		}
		for i, x := range states {
			if x.Host != "" && x.T.D() <= w.now() {
				w.outcome.States[i], states[i].Host = w.stateOf(x.Host, x.State), ""
			}
		}
		w.watch.step()
		step += Step
		until := min(step, end)
		if next < len(actions) {
			until = min(until, actions[next].T.D())
		}
		if until < step {
			step -= Step // look again at the regular moment
		}
		w.sleepUntil(until)
	}
}

// stateOf is what a host is now: by power and network, or by the cluster's record
// where that is what the scenario asks for.
func (w *World) stateOf(host, asked string) string {
	if asked == "on" || asked == "off" || asked == "isolated" {
		return w.physical(host)
	}
	if s := w.watch.newest.state; s != nil && s.Hosts[host] != nil {
		return string(s.Hosts[host].Status)
	}
	return "unknown"
}

func (w *World) physical(host string) string {
	if !w.machines[host].on {
		return "off"
	}
	others := 0
	for _, o := range w.order {
		if o == host {
			continue
		}
		if w.net.Connected(host, o) || !w.machines[o].on && !w.cuts[host] {
			return "on"
		}
		others++
	}
	if others == 0 {
		return "on"
	}
	return "isolated"
}

// finish fixes where everything is at the end.
func (w *World) finish() {
	w.watch.step()
	start := w.start
	running := map[string]string{}
	for _, r := range w.disks.Running() {
		running[r.Name] = r.Host
	}
	w.outcome.Hosts = map[string]string{}
	for _, h := range w.order {
		w.outcome.Hosts[h] = w.physical(h)
	}
	w.outcome.Placement = map[string]scenario.Final{}
	names := []string{}
	for _, vm := range w.s.VMs {
		names = append(names, vm.ID)
	}
	for _, a := range w.s.Actions {
		if w.s.Brings(a) && !slices.Contains(names, a.VM) {
			names = append(names, a.VM)
		}
	}
	for _, name := range names {
		w.outcome.Placement[name] = w.final(name, running[name])
	}
	for _, r := range w.disks.Runs() {
		run := scenario.Run{VM: r.Name, Host: r.Host, From: r.From.Sub(start), To: -1, Migrated: r.How == embedded.EndedMigrated || r.How == embedded.EndedPaused}
		if !r.To.IsZero() {
			run.To = r.To.Sub(start)
		}
		w.outcome.Runs = append(w.outcome.Runs, run)
	}
}

// final is where one VM is: by the hypervisors, and by the cluster's record where it does not run.
func (w *World) final(name, on string) scenario.Final {
	f := scenario.Final{Host: on, State: "unmanaged", GuestRunning: on != ""}
	s := w.watch.newest.state
	if s == nil {
		return f
	}
	vm := s.FindVM(name)
	switch {
	case vm == nil:
		return f
	case on != "":
		f.State, f.Devices = "running", w.machines[on].hyp.Handed(name)
		return f
	}
	f.Host = vm.Home
	tried, given := w.givenUp(name)
	switch {
	case vm.Intent == fsm.IntentStop:
		f.State = "stopped"
	case vm.Owner == nil && given:
		f.Host, f.State = tried, "failed"
	case vm.Owner == nil:
		f.State = "waiting_for_host"
	default:
		f.State = "not_running"
	}
	return f
}

// act carries out one action.
func (w *World) act(a scenario.Action) {
	if i := w.indexOf(a); i >= 0 {
		w.outcome.Actions[i] = w.now()
	}
	w.note("action: %s", describe(a))
	do, ok := acts[a.Do]
	if !ok {
		w.broken("action %s cannot be carried out here", a.Do)
		return
	}
	if err := do(w, a); err != nil {
		w.note("action: %s: %v", a.Do, err)
	}
}

func (w *World) indexOf(a scenario.Action) int {
	return slices.IndexFunc(w.s.Actions, func(b scenario.Action) bool { return a.T == b.T && a.Do == b.Do && reflect.DeepEqual(a, b) })
}

func describe(a scenario.Action) string {
	text := a.Do
	for _, f := range []struct {
		name  string
		value any
		zero  bool
	}{
		{"host", a.Host, a.Host == ""}, {"hosts", a.Hosts, a.Hosts == nil}, {"vm", a.VM, a.VM == ""}, {"from", a.From, a.From == ""},
		{"to", a.To, a.To == ""}, {"groups", a.Groups, a.Groups == nil}, {"network", a.Network, a.Network == ""},
		{"desired", a.Desired, a.Desired == ""}, {"ms", a.MS, a.MS == 0}, {"loss", a.Loss, a.Loss == 0}, {"rate", a.Rate, a.Rate == 0},
	} {
		if !f.zero {
			text += fmt.Sprintf(" %s=%v", f.name, f.value)
		}
	}
	return text
}
