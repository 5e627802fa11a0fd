package fsm

import (
	"fmt"
	"slices"
	"time"
)

// apply places a VM. Nobody owns it here, because only the death of its owner,
// its owner's next life or its owner's own release clears Owner (O1).
func (c *Assign) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	if r := s.placeable(c.UUID, c.Previous, c.Host, c.Incarnation); r != nil {
		return nil, r
	}
	if r := s.takesVMs(c.Host, c.Incarnation); r != nil {
		return nil, r
	}
	if r := s.devicesFree(c.UUID, c.Host, c.Devices); r != nil {
		return nil, r
	}
	vm := s.editVM(c.UUID)
	if vm.Intent != IntentRun {
		return refuse(CodeConflict, "%s was stopped by a person: it is not started", vm.Name)
	}
	if r := s.disarmed(vm.Name + " is not started"); r != nil && !vm.Asked {
		return nil, r
	}
	vm.Generation++
	vm.Owner = &Placement{
		Host:        c.Host,
		Incarnation: c.Incarnation,
		Generation:  vm.Generation,
		Phase:       PhaseOrdered,
		At:          c.At,
		Round:       c.Round,
		Devices:     c.Devices,
		Why:         c.Why,
	}
	vm.Choice = choice(c.Host, "", c.At, vm.Generation, c.Considered)
	vm.Waiting, vm.Astray, vm.Frozen = "", false, nil
	if c.Round > 0 { // entries of before there were rounds come to what they came to then
		vm.goes(s, vm.Home, c.Host, false)
	}
	vm.Cause = s.emit(c.Meta, Event{Type: EventVMAssigned, VM: vm.Name, From: vm.Home,
		To: c.Host, Host: c.Host, Cause: vm.Cause, Considered: c.Considered,
		Text: fmt.Sprintf("start of %s ordered on %s, generation %d: %s", vm.Name, c.Host, vm.Generation, c.Why)})
	return vm.Generation, nil
}

func (s *State) placeable(uuid string, previous uint64, host string, incarnation uint64) *Refusal {
	vm := s.VMs[uuid]
	switch {
	case vm == nil:
		return &Refusal{CodeNotFound, fmt.Sprintf("VM %s is not protected", uuid)}
	case vm.Generation != previous:
		return &Refusal{CodeStale, fmt.Sprintf("%s is at generation %d, not %d", vm.Name, vm.Generation, previous)}
	case vm.Owner != nil:
		return &Refusal{CodeConflict, fmt.Sprintf("%s is owned by %s (incarnation %d, generation %d), which has neither died nor released it",
			vm.Name, vm.Owner.Host, vm.Owner.Incarnation, vm.Owner.Generation)}
	case vm.Sighting != nil:
		return &Refusal{CodeConflict, fmt.Sprintf("%s was seen running on %s, which has not confirmed yet that it guards it", vm.Name, vm.Sighting.Host)}
	}
	return s.liveHost(host, incarnation)
}

func (vm *VM) see(host string, m Meta) {
	vm.Generation++
	vm.Frozen = nil // whoever started it there by hand has waited enough
	vm.Sighting = &Sighting{Host: host, Generation: vm.Generation, At: m.At}
}

func (c *Adopt) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	if r := s.placeable(c.UUID, c.Previous, c.Host, c.Incarnation); r != nil {
		return nil, r
	}
	vm := s.editVM(c.UUID)
	vm.see(c.Host, c.Meta)
	vm.Cause = s.emit(c.Meta, Event{Type: EventVMSeenRunning, VM: vm.Name, Host: c.Host,
		Text: fmt.Sprintf("%s runs on %s, started by hand", vm.Name, c.Host)})
	return vm.Generation, nil
}

// confirm answers a sighting: the host knows now that it guards the VM, or it does not run it.
func (c *Report) confirm(s *State, vm *VM) (any, *Refusal) {
	if r := s.liveHost(c.Host, c.Incarnation); r != nil {
		return nil, r
	}
	vm = s.editVM(vm.UUID)
	vm.Sighting, vm.Astray = nil, c.Outcome != OutcomeRunning
	if vm.Astray {
		vm.Waiting = fmt.Sprintf("%s does not run it any more: %s", c.Host, c.Detail)
		vm.WaitingSince, vm.Lost = c.At, false
		if c.Outcome == OutcomeStopped {
			vm.Intent, vm.Waiting = IntentStop, ""
		}
		vm.Cause = s.emit(c.Meta, Event{Type: EventVMStopped, VM: vm.Name, Host: c.Host, Cause: vm.Cause,
			Text: fmt.Sprintf("%s stopped on %s before it was guarded there: %s", vm.Name, c.Host, c.Detail)})
		return nil, nil
	}
	vm.goes(s, vm.Home, c.Host, true)
	vm.Asked = false
	vm.Intent, vm.Waiting, vm.WaitingSince, vm.Lost, vm.Home = IntentRun, "", time.Time{}, false, c.Host
	vm.Owner = &Placement{Host: c.Host, Incarnation: c.Incarnation, Generation: vm.Generation,
		Phase: PhaseRunning, At: c.At, Why: "it was seen running there"}
	vm.Choice = nil // nobody chose
	s.emit(c.Meta, Event{Type: EventVMStarted, VM: vm.Name, Host: c.Host, Cause: vm.Cause,
		Text: fmt.Sprintf("%s runs on %s and is guarded there, generation %d", vm.Name, c.Host, c.Generation)})
	vm.Cause = 0
	return nil, nil
}

func (c *Report) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	vm := s.VMs[c.UUID]
	if vm == nil {
		return refuse(CodeNotFound, "VM %s is not protected", c.UUID)
	}
	if g := vm.Sighting; g != nil && g.Host == c.Host && g.Generation == c.Generation {
		if c.Move != 0 {
			return refuse(CodeStale, "%s was only seen running on %s: it is on no way from there", vm.Name, c.Host)
		}
		return c.confirm(s, vm)
	}
	o := vm.Owner
	if o == nil || o.Host != c.Host || o.Incarnation != c.Incarnation || o.Generation != c.Generation {
		return refuse(CodeStale, "%s reports generation %d of %s, which is not its own any more", c.Host, c.Generation, vm.Name)
	}
	if c.Outcome == OutcomeRunning && o.Phase == PhaseRunning {
		return nil, nil
	}
	if c.Outcome == OutcomeMoveFailed && (vm.Move == nil || vm.Move.ID != c.Move) {
		return refuse(CodeStale, "that move of %s is over", vm.Name)
	}
	vm = s.editVM(c.UUID)
	e := Event{VM: vm.Name, Host: c.Host, Text: c.Detail, Cause: vm.Cause}
	switch c.Outcome {
	case OutcomeMoveFailed:
		s.endMove(vm, c.Meta, c.Detail)
		return nil, nil
	case OutcomeMoved:
		c.moved(s, vm, &e)
	case OutcomeRunning:
		vm.Owner.Phase, vm.Home, vm.Asked = PhaseRunning, c.Host, false
		if vm.Owner.Round > 0 { // entries of before there were rounds come to what they came to then
			vm.Owner.Since = c.At
		}
		vm.forget(c.At)
		e.Type = EventVMStarted
		e.Text = fmt.Sprintf("%s runs on %s, generation %d", vm.Name, c.Host, c.Generation)
		if !vm.WaitingSince.IsZero() {
			since := "the cluster knew that it was to be started"
			if vm.Lost {
				since = "it was last known to run"
			}
			e.Text += fmt.Sprintf(", %.1f s after %s", c.At.Sub(vm.WaitingSince).Seconds(), since)
			vm.WaitingSince, vm.Lost = time.Time{}, false
		}
		if o.From != "" {
			e.Type, e.From, e.To = EventVMMoved, o.From, c.Host
			e.Text = fmt.Sprintf("%s was moved from %s to %s: %s", vm.Name, o.From, c.Host, e.Text) + because(c.Detail)
		}
	case OutcomeStopped:
		s.release(vm, c.Meta, "")
		vm.Intent, vm.Asked = IntentStop, false
		e.Type = EventVMStopped
	case OutcomeCrashed:
		s.release(vm, c.Meta, fmt.Sprintf("it crashed on %s", c.Host))
		vm.fail(c, o.Phase == PhaseRunning, o.Round)
		vm.Asked = vm.Asked && o.Phase != PhaseRunning
		e.Type, e.Severity = EventVMCrashed, Warning
	case OutcomeStartFailed:
		s.release(vm, c.Meta, fmt.Sprintf("its start on %s failed: %s", c.Host, c.Detail))
		vm.fail(c, false, o.Round)
		e.Type, e.Severity = EventVMStartFailed, Warning
	case OutcomeReleased:
		r, why := vm.Restart, fmt.Sprintf("%s gave it back: %s", c.Host, c.Detail)
		if r != nil {
			why = c.Detail
		}
		s.release(vm, c.Meta, why)
		s.freeze(vm, c, o.Phase == PhaseRunning)
		e.Type, e.Severity = EventVMStopped, Warning
		if vm.Intent == IntentStop {
			e.Severity = Info
		}
		if r != nil {
			vm.asks(s)
		}
		r.restarted(&e)
	}
	id := s.emit(c.Meta, e)
	vm.Cause = 0
	if vm.Owner == nil || vm.Owner.Phase == PhaseOrdered {
		vm.Cause = id
	}
	return nil, nil
}

// forget drops the failed starts of a VM that runs now, and its crashes when they are long past.
func (vm *VM) forget(now time.Time) {
	if n := len(vm.Failures); n > 0 && now.Sub(vm.Failures[n-1].At) > failureMemory {
		vm.Failures = nil
	}
	vm.Failures = slices.DeleteFunc(vm.Failures, func(f Failure) bool { return !f.Crash && f.Round > 0 })
	if len(vm.Failures) == 0 {
		vm.Failures = nil
	}
}

func (vm *VM) fail(c *Report, crash bool, round int) {
	vm.Failures = append(vm.Failures, Failure{Host: c.Host, Generation: c.Generation, At: c.At, Detail: c.Detail, Crash: crash, Round: round})
	if len(vm.Failures) > failuresKept {
		vm.Failures = vm.Failures[len(vm.Failures)-failuresKept:]
	}
}
