package recovery

import (
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// heldBy is how the reason of a VM begins that another group is to be ready before.
const heldBy = "it starts after group "

// readGroups takes over who starts with whom, as the picture has it.
func (p *planner) readGroups() {
	p.members, p.within, p.gates = map[string][]*fsm.VM{}, map[string]*config.Group{}, map[string]*gate{}
	for i := range p.Policy.Groups {
		p.groups[p.Policy.Groups[i].Name] = &p.Policy.Groups[i]
	}
	for _, g := range p.inv.Cluster.Groups {
		for _, name := range g.VMs {
			if vm := p.State.VMs[p.inv.UUIDs[name]]; vm != nil {
				p.members[g.Name] = append(p.members[g.Name], vm)
				p.within[vm.UUID] = p.groups[g.Name]
			}
		}
	}
}

// gate is whether the members of a group may be started.
type gate struct {
	open bool
	from time.Time // since when it is open
	// why it is not; strict: and will not be by the passing of time.
	why    string
	strict bool
	retry  time.Time // when that may change by itself
}

// held says whether a VM has to wait for another group.
func (p *planner) held(vm *fsm.VM) (Step, bool) {
	g := p.within[vm.UUID]
	if g == nil || len(g.StartAfter) == 0 {
		return Step{}, false
	}
	w := p.gate(g)
	if w.open {
		return Step{}, false
	}
	s := Step{VM: vm, Why: w.why, For: fsm.WaitHeld, Retry: w.retry}
	if w.strict {
		s.For = fsm.WaitNoHost
	}
	return s, true
}

// gate looks at the groups that g starts after.
func (p *planner) gate(g *config.Group) *gate {
	if w := p.gates[g.Name]; w != nil {
		return w
	}
	w := &gate{open: true}
	p.gates[g.Name] = w // the policy has no rings; one would be open
	for _, name := range g.StartAfter {
		before := p.groups[name]
		if before == nil {
			continue
		}
		one := p.after(g, before)
		switch {
		case one.open && w.open:
			w.from = later(w.from, one.from)
		case !one.open && (w.open || one.strict && !w.strict):
			retry := w.retry
			*w = one
			w.retry = sooner(w.retry, retry)
		case !one.open:
			w.retry = sooner(w.retry, one.retry)
		}
	}
	return w
}

// after is whether g may start as far as one group before it is concerned.
func (p *planner) after(g, before *config.Group) gate {
	r := p.ready(before, g.OnTimeout == config.TimeoutStop)
	var opens time.Time
	switch {
	case r.ready:
		opens = r.at
	case !r.counting:
		return gate{why: fmt.Sprintf("%s%s, which is not ready: %s", heldBy, before.Name, r.stopped),
			strict: r.stopped != "", retry: r.retry}.held(before)
	case p.Now.Before(r.at.Add(before.Ready.Timeout)):
		return gate{retry: sooner(r.retry, r.at.Add(before.Ready.Timeout))}.held(before)
	case g.OnTimeout == config.TimeoutStop:
		return gate{why: fmt.Sprintf(`it stays down: group %s, which it starts after, was not ready within %v, and on_timeout is "stop"`,
			before.Name, before.Ready.Timeout), strict: true, retry: r.retry}
	default:
		opens = r.at.Add(before.Ready.Timeout)
	}
	if opens = opens.Add(g.StartDelay); g.StartDelay > 0 && p.Now.Before(opens) {
		return gate{why: fmt.Sprintf("%s%s, and %v after that is ready", heldBy, before.Name, g.StartDelay), retry: opens}
	}
	return gate{open: true, from: opens}
}

// held says in words that a group is waited for, where nothing else has been said.
func (w gate) held(before *config.Group) gate {
	if !w.strict {
		w.why = fmt.Sprintf("%s%s, which is not ready yet (it waits for that %v at most)", heldBy, before.Name, before.Ready.Timeout)
	}
	return w
}

// readiness is how far a group has come.
type readiness struct {
	ready bool
	// at is when it became ready, or else when its members were to be started; that is
	// known where counting is set.
	at       time.Time
	counting bool
	waits    bool      // a member's time has not begun: VMs of a level before it come first
	stopped  string    // a member that a person stopped, which nobody starts
	retry    time.Time // when that may change by itself
}

// ready reports whether all members of a group run and are ready. VMs that people
// stopped count only when all says so.
func (p *planner) ready(g *config.Group, all bool) readiness {
	r := readiness{ready: true, counting: true}
	var due time.Time
	for _, vm := range p.members[g.Name] {
		if vm.Intent == fsm.IntentStop {
			if all {
				r.ready, r.stopped = false, vm.Name+" was stopped by a person"
			}
			continue
		}
		if p.keptDown(vm) { // nor does it keep one waiting that a person asked for
			if all {
				r.ready, r.stopped = false, vm.Name+" is not started while the cluster is disarmed"
			}
			continue
		}
		if vm.Owner == nil || vm.Owner.Phase != fsm.PhaseRunning {
			r.ready, due = false, later(due, p.due(vm))
			if w := p.wave(vm); toStart(vm) && w.open {
				due = later(due, w.from)
			} else if toStart(vm) {
				r.waits, r.retry = true, sooner(r.retry, w.retry)
			}
			continue
		}
		at, ok, retry := p.answers(vm, &g.Ready)
		if !ok {
			r.ready, due, r.retry = false, later(due, vm.Owner.At), sooner(r.retry, retry)
		}
		r.at = later(r.at, at)
	}
	if r.ready {
		return r
	}
	r.at = due
	r.counting = !due.IsZero() && !r.waits
	if w := p.gate(g); !w.open {
		r.counting = false // it waits itself: its time has not begun
		r.retry = sooner(r.retry, w.retry)
	} else {
		r.at = later(r.at, w.from)
	}
	return r
}

// answers is when a VM that runs became ready, as far as ask goes; ok: it is. retry is
// when that may change by itself.
func (p *planner) answers(vm *fsm.VM, ask *config.Ready) (at time.Time, ok bool, retry time.Time) {
	since := vm.Owner.Since
	if since.IsZero() {
		since = vm.Owner.At
	}
	up := since.Add(ask.Uptime)
	if p.Now.Before(up) {
		return up, false, up
	}
	if !ask.GuestAgent && len(ask.TCP)+len(ask.HTTP) == 0 {
		return up, true, time.Time{}
	}
	said := p.Ready[vm.UUID]
	if !said.Ready {
		return up, false, time.Time{}
	}
	return later(up, said.Since), true, time.Time{}
}

// due is since when a VM that does not run is to be started. What waited while the cluster was disarmed
// is to be since it was armed: its order would be over by then.
func (p *planner) due(vm *fsm.VM) time.Time {
	at := p.wanted(vm)
	if vm.Sighting == nil && !at.IsZero() {
		at = later(at, p.State.Armed)
	}
	return at
}

// keptDown reports whether a VM is to be started, and is not as long as the cluster is disarmed.
func (p *planner) keptDown(vm *fsm.VM) bool {
	return p.State.Disarmed != nil && toStart(vm) && !vm.Asked
}

// wanted is since when it is, had the cluster never been disarmed.
func (p *planner) wanted(vm *fsm.VM) time.Time {
	at := vm.WaitingSince
	first := len(vm.Failures) // of the starts that failed since it ran last
	for first > 0 && !vm.Failures[first-1].Crash {
		first--
	}
	switch {
	case vm.Sighting != nil:
		return vm.Sighting.At
	case first < len(vm.Failures):
		return later(at, vm.Failures[first].At)
	case vm.Owner != nil:
		return later(at, vm.Owner.At)
	}
	// The event that took its last owner away: it may have been dead for long before that was certain.
	if events := p.State.Events; len(events) > 0 && vm.Cause >= events[0].ID && vm.Cause-events[0].ID < uint64(len(events)) {
		at = later(at, events[vm.Cause-events[0].ID].At)
	}
	return at
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// sooner is the earlier of two moments that are known.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
