package master

import (
	"github.com/holdfast-ha/holdfast/fsm"
)

// shutdowns notes that a host is being shut down in good order and what becomes of its VMs for that: before
// anything that the host says of them, so that a VM which it gives back is dealt with accordingly.
func shutdowns(in input, m fsm.Meta, h *fsm.Host, o *observed, d *decision) {
	r := o.present()
	if r == nil || !o.reached(in.now, in.timing) {
		return
	}
	note := &fsm.NoteShutdown{Meta: m, Epoch: in.epoch, Host: h.Name, Incarnation: h.Incarnation, Reboot: r.Reboot}
	switch x := h.Shutdown; {
	case x == nil && r.Draining:
		note.Action = in.policy.Shutdown.For(r.Reboot)
	case x == nil || x.Incarnation != h.Incarnation:
		return
	case !r.Draining: // another run of its agent: the machine stayed up
	case x.Action == fsm.ShutdownMigrate && !x.Rest && (in.state.Disarmed != nil || stuck(in, h)): // nothing is moved while it is disarmed
		note.Action, note.Rest = x.Action, true
	default:
		return
	}
	d.commands = append(d.commands, note)
}

// movesTried is how many moves of a VM may come to nothing for a shutdown before it counts as one that
// cannot be moved.
const movesTried = 2

// tried is how many moves of a VM have come to nothing since a shutdown began.
func tried(vm *fsm.VM, x *fsm.Shutdown) (n int) {
	for _, f := range vm.MoveFailures {
		if f.At.After(x.Since) {
			n++
		}
	}
	return n
}

// stuck reports whether VMs are left on a host that is being emptied for its shutdown, and none of them can
// be moved: each stays, says a plan that was made since, or has been tried often enough.
func stuck(in input, h *fsm.Host) bool {
	p := in.moves
	if p == nil || p.state.Hosts[h.Name] == nil || p.state.Hosts[h.Name].Shutdown == nil || outdated(in, p) {
		return false
	}
	stays := map[string]bool{}
	for _, s := range p.Stay {
		if s.Host == h.Name {
			stays[p.uuids[s.VM]] = true
		}
	}
	left := false
	for _, vm := range in.state.Owned(h.Name, h.Incarnation) {
		if vm.Intent != fsm.IntentRun || vm.Restart != nil || vm.Owner.Phase != fsm.PhaseRunning {
			continue // it ends or is given back in any case
		}
		if vm.Move != nil || !stays[vm.UUID] && tried(vm, h.Shutdown) < movesTried {
			return false
		}
		left = true
	}
	return left
}
