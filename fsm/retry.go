package fsm

import "fmt"

// EventVMRetryAsked: a person had the failed attempts of a VM forgotten.
const EventVMRetryAsked = "vm_retry_asked"

// RetryVM forgets what failed of a VM: starts, crashes, moves. One that waits is then
// tried again at once, from the beginning of the schedule.
type RetryVM struct {
	Meta
	UUID string `json:"uuid"`
}

func (*RetryVM) kind() Type { return TypeRetryVM }

func (c *RetryVM) check() error { return checkUUID(c.UUID) }

// apply returns how many failures were forgotten, an int.
func (c *RetryVM) apply(s *State) (any, *Refusal) {
	vm := s.VMs[c.UUID]
	switch {
	case vm == nil:
		return refuse(CodeNotFound, "VM %s is not protected", c.UUID)
	case vm.Intent == IntentStop:
		return refuse(CodeConflict,
			"%s was stopped by a person or from inside, so nothing is tried: `haadm vms start %s` starts it", vm.Name, vm.Name)
	}
	n := len(vm.Failures) + len(vm.MoveFailures)
	if vm.Owner == nil && vm.Sighting == nil && s.Disarmed != nil && !vm.Asked {
		vm = s.editVM(c.UUID)
		vm.asks(s)
	}
	if n == 0 && vm.Frozen == nil {
		return 0, nil
	}
	if vm.Frozen != nil {
		s.thaw(s.editVM(c.UUID), c.Meta, "a person wants it tried elsewhere")
		if n == 0 {
			return 0, nil
		}
	}
	vm = s.editVM(c.UUID)
	vm.Failures, vm.MoveFailures = nil, nil
	id := s.emit(c.Meta, Event{Type: EventVMRetryAsked, VM: vm.Name, Host: vm.Home, Cause: vm.Cause,
		Text: fmt.Sprintf("what failed of %s is forgotten (%d), so that it is tried again now", vm.Name, n)})
	if vm.Owner == nil && vm.Sighting == nil {
		vm.Waiting, vm.Cause = "a person asked for another try", id
	}
	return n, nil
}
