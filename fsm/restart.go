package fsm

import (
	"fmt"
	"time"
)

// Restart is a person's wish that a running VM is shut down and started again. It belongs to
// the placement that it was asked of: its owner ends the VM and releases it, as for a stop, and
// with that the wish is over. The VM still shall run, so it is then started like any other that
// nobody owns.
type Restart struct {
	// ID is the number of the event by which it was asked for: no two restarts share one.
	ID  uint64    `json:"id"`
	At  time.Time `json:"at"`
	By  string    `json:"by"`
	Why string    `json:"why"`
}

// EventVMRestartOrdered: a person has a VM restarted.
const EventVMRestartOrdered = "vm_restart_ordered"

// RestartVM has a running VM shut down and started again. It answers with Restart.ID.
type RestartVM struct {
	Meta
	UUID string `json:"uuid"`
	// Previous is the generation that the proposer saw.
	Previous uint64 `json:"previous"`
	Why      string `json:"why"`
}

func (*RestartVM) kind() Type { return TypeRestartVM }

func (c *RestartVM) check() error { return first(checkUUID(c.UUID), checkText("reason", c.Why)) }

func (c *RestartVM) apply(s *State) (any, *Refusal) {
	vm := s.VMs[c.UUID]
	switch {
	case vm == nil:
		return refuse(CodeNotFound, "VM %s is not protected", c.UUID)
	case vm.Generation != c.Previous:
		return refuse(CodeStale, "%s is at generation %d, not %d", vm.Name, vm.Generation, c.Previous)
	case vm.Owner == nil || vm.Owner.Phase != PhaseRunning || vm.Intent != IntentRun:
		return refuse(CodeConflict, "%s does not run now: only a VM that runs can be restarted", vm.Name)
	case vm.Move != nil:
		return refuse(CodeConflict,
			"%s is on its way to %s: wait until it is there, or call the move off with `haadm vms migrate %s --cancel`",
			vm.Name, vm.Move.Host, vm.Name)
	case vm.Restart != nil:
		return vm.Restart.ID, nil
	}
	vm = s.editVM(c.UUID)
	vm.Failures = nil
	id := s.emit(c.Meta, Event{Type: EventVMRestartOrdered, VM: vm.Name, Host: vm.Owner.Host,
		Text: fmt.Sprintf("%s shall be shut down on %s and started again: %s", vm.Name, vm.Owner.Host, c.Why)})
	vm.Restart = &Restart{ID: id, At: c.At, By: c.By, Why: c.Why}
	return id, nil
}

// restarted notes in the history that an owner has released a VM because of its restart.
func (r *Restart) restarted(e *Event) {
	if r != nil {
		e.Severity, e.Cause = Info, r.ID
	}
}
