package recovery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// heldByLevel is how the reason of a VM begins that the level before it is waited for.
const heldByLevel = "it starts after the VMs of the level before it "

// level is what VMs have in common that are started at one time, as far as nothing
// else keeps them.
type level struct {
	class           placement.Class
	priority, order int
}

// compareLevels orders them as the planner orders VMs: the first to be started first.
func compareLevels(a, b level) int {
	return cmp.Or(cmp.Compare(a.class, b.class), -cmp.Compare(a.priority, b.priority), cmp.Compare(a.order, b.order))
}

// wave is whether the VMs of a level may be started.
type wave struct {
	open   bool
	from   time.Time // since when it is open
	before string    // a level before it, in words
	retry  time.Time // when it may open by itself
}

// heldByWave says whether a VM has to wait for the levels before its own. The reason is the
// same for as long as it waits: each new one is an event.
func (p *planner) heldByWave(vm *fsm.VM) (Step, bool) {
	w := p.wave(vm)
	if w.open {
		return Step{}, false
	}
	rule := &p.Policy.Restart
	what := "once those run"
	if rule.NextWhen == config.NextReady {
		what = "once those are ready"
	}
	if rule.NextDelay > 0 {
		what = fmt.Sprintf("%v after %s", rule.NextDelay, what[len("once "):])
	}
	return Step{VM: vm, For: fsm.WaitHeld, Retry: w.retry,
		Why: fmt.Sprintf("%s(%s), %s; each level is waited for %v at most", heldByLevel, w.before, what, rule.NextTimeout)}, true
}

// wave is that of a VM's level; where the policy has no level wait, it is open.
func (p *planner) wave(vm *fsm.VM) wave {
	if !p.Policy.Restart.Waves() {
		return wave{open: true}
	}
	if p.waves == nil {
		p.readWaves()
	}
	return p.waves[p.levelOf(vm)]
}

// levelOf is the level of a VM. One whose group starts after VMs of a later level that
// are still to be started is of that level: it cannot be waited for before, and those
// would wait for it in vain.
func (p *planner) levelOf(vm *fsm.VM) level {
	l := p.ownLevel(vm)
	if g := p.within[vm.UUID]; g != nil {
		if after, some := p.levelBefore(g); some && compareLevels(after, l) > 0 {
			return after
		}
	}
	return l
}

func (p *planner) ownLevel(vm *fsm.VM) level {
	v := p.picture(vm)
	return level{v.Class, v.Priority, v.Order}
}

// levelBefore is the latest level of those that are still to be started before a group;
// some is false where there are none.
func (p *planner) levelBefore(g *config.Group) (last level, some bool) {
	if l, known := p.lifts[g.Name]; known {
		if l == nil {
			return level{}, false
		}
		return *l, true
	}
	p.lifts[g.Name] = nil // the policy has no rings
	for _, name := range g.StartAfter {
		before := p.groups[name]
		if before == nil {
			continue
		}
		for _, vm := range p.members[name] {
			if l := p.ownLevel(vm); toStart(vm) && !p.over[vm.UUID] && (!some || compareLevels(l, last) > 0) {
				last, some = l, true
			}
		}
		if l, more := p.levelBefore(before); more && (!some || compareLevels(l, last) > 0) {
			last, some = l, true
		}
	}
	if some {
		p.lifts[g.Name] = &last
	}
	return last, some
}

// toStart reports whether a VM shall run and nobody was told to run it.
func toStart(vm *fsm.VM) bool {
	return vm.Intent == fsm.IntentRun && vm.Owner == nil && vm.Sighting == nil
}

// readWaves goes through the levels in order: each opens when the one before is passed.
func (p *planner) readWaves() {
	p.waves, p.lifts = map[level]wave{}, map[string]*level{}
	vms := map[level][]*fsm.VM{}
	for _, vm := range p.State.VMs {
		if vm.Intent == fsm.IntentRun {
			l := p.levelOf(vm)
			vms[l] = append(vms[l], vm)
		}
	}
	w := wave{open: true}
	for _, l := range slices.SortedFunc(maps.Keys(vms), compareLevels) {
		p.waves[l] = w
		w.before = l.String()
		if !w.open {
			continue // its time has not begun
		}
		opens := w.from
		for _, vm := range vms[l] {
			at, passed, retry := p.passed(vm, w.from)
			if !passed {
				w.open, w.retry = false, sooner(w.retry, retry)
			} else if !at.IsZero() {
				opens = later(opens, at.Add(p.Policy.Restart.NextDelay))
			}
		}
		switch {
		case w.open && p.Now.Before(opens):
			w.open, w.retry = false, opens
		case w.open:
			w.from = opens
		}
	}
}

// passed says when a VM stopped keeping the next level waiting, whose own level was open
// since from; zero where it never did.
func (p *planner) passed(vm *fsm.VM, from time.Time) (at time.Time, passed bool, retry time.Time) {
	var due time.Time
	switch {
	case p.keptDown(vm):
		return time.Time{}, true, time.Time{}
	case p.over[vm.UUID], toStart(vm) && p.Now.Before(afterCrash(vm, p.Now)):
		// Given up; or it crashed, and the next try is its own affair.
		return time.Time{}, true, time.Time{}
	case vm.Owner != nil && vm.Owner.Phase == fsm.PhaseRunning:
		var ask config.Ready
		if g := p.within[vm.UUID]; g != nil && p.Policy.Restart.NextWhen == config.NextReady {
			ask = g.Ready
		}
		if at, passed, retry = p.answers(vm, &ask); passed {
			if vm.Owner.From != "" && !vm.Owner.Cold {
				at = time.Time{} // it was moved, and ran all the time
			}
			return at, true, time.Time{}
		}
		due = vm.Owner.At
	default:
		due = p.due(vm)
		if due.IsZero() && from.IsZero() {
			return time.Time{}, true, time.Time{}
		}
		due = later(due, from)
	}
	over := due.Add(p.Policy.Restart.NextTimeout)
	if p.Now.Before(over) {
		return time.Time{}, false, sooner(retry, over)
	}
	return over, true, time.Time{}
}

// String is a level in the words of the policy.
func (l level) String() string {
	s := "priority " + config.PriorityWord(l.priority)
	if l.order != 0 {
		s += fmt.Sprintf(", order %d", l.order)
	}
	if l.class == placement.BestEffort {
		s += ", best effort"
	}
	return s
}
