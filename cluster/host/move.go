package host

import (
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Way is a move of one of its VMs that a host has begun to carry out.
type Way struct {
	Move uint64 `json:"move"` // fsm.Move.ID
	Cold bool   `json:"cold,omitempty"`
}

// Left is what became of a migration, as far as it is known: one that is not among the
// inputs may still go on.
type Left struct {
	Move   uint64
	Moved  bool   // the target has the whole of it, and the process here is proven gone
	Detail string // why not
}

// Departure is a migration to begin.
type Departure struct {
	UUID, Name string
	Host       string // where it goes
	Move       uint64
}

// waits reports whether a domain is a copy from another host that was not let run.
func waits(d vmm.Domain) bool { return d.State == vmm.Paused && d.Reason == vmm.ReasonIncoming }

// goes reports whether a migration that is under way is still wanted (M6).
func goes(in Input, vm *fsm.VM, move uint64) bool {
	return mine(in, vm) && vm.Move != nil && vm.Move.ID == move && vm.Intent == fsm.IntentRun &&
		!in.Draining && !in.Response.Standing.Isolated()
}

// leaving decides about the migrations that are under way: nothing is done about such a
// VM before it has come to its end, but to bring that about.
func leaving(in Input, p *Plan) {
	for _, uuid := range slices.Sorted(maps.Keys(in.Leaving)) {
		if vm := in.State.VMs[uuid]; vm == nil || !goes(in, vm, in.Leaving[uuid]) {
			p.Abort = append(p.Abort, uuid)
		}
	}
}

// adrift reports whether a migration from here may go on that nobody waits for: an earlier
// agent began it, or what became of it is not known (M6). A process whose processors it has
// stopped is let run again by ending it, too.
func adrift(in Input, d vmm.Domain) bool {
	way, begun := in.Record.Ways[d.UUID]
	return begun && !way.Cold && (in.Left[d.UUID].Move != way.Move || d.State == vmm.Paused && d.Reason == vmm.ReasonMigrated)
}

// leave decides about the move of a VM that this host owns and that has a process here.
func leave(in Input, vm *fsm.VM, d vmm.Domain, p *Plan) {
	way, begun := in.Record.Ways[vm.UUID]
	m, left := vm.Move, in.Left[vm.UUID]
	current := begun && m != nil && way.Move == m.ID
	asked := in.Now // an earlier agent asked the guest then
	if since, ok := in.Stopping[vm.UUID]; ok {
		asked = since
	}
	switch {
	case current && way.Cold:
		p.stop(in, vm.UUID)
	case current:
		detail := left.Detail
		if left.Moved {
			detail = "it has a process here again"
		}
		p.moved(vm, fsm.OutcomeMoveFailed, m.ID, detail)
	case begun && way.Cold && (m == nil || !m.Cold) && in.Now-asked <= shutdownGrace: // the guest may still obey
		p.Stopping[vm.UUID] = asked
	case m == nil && begun:
		p.Forget = append(p.Forget, vm.UUID)
	case m != nil && m.Cold:
		p.Ways[vm.UUID] = Way{Move: m.ID, Cold: true}
		p.stop(in, vm.UUID)
	case m != nil && d.State != vmm.Running:
		p.moved(vm, fsm.OutcomeMoveFailed, m.ID, fmt.Sprintf("it does not run at this moment: it is %s (%s)", d.State, d.Reason))
	case m != nil && in.Covered[vm.UUID] && !in.Response.Standing.Isolated():
		p.Ways[vm.UUID] = Way{Move: m.ID}
		p.Migrate = append(p.Migrate, Departure{UUID: vm.UUID, Name: vm.Name, Host: m.Host, Move: m.ID})
	}
}

// gone decides about a VM that this host owns and that has no process here, if that is so
// because of a move: then it is nobody's wish, and nobody's fault.
func gone(in Input, vm *fsm.VM, d vmm.Domain, p *Plan) bool {
	way, begun := in.Record.Ways[vm.UUID]
	left := in.Left[vm.UUID]
	how := "has left"
	switch {
	case !begun:
		return false
	case way.Cold && d.Reason == vmm.ReasonSaved:
		return false // it goes on from that file, here
	case way.Cold:
		how = "was shut down"
	case !(left.Move == way.Move && left.Moved) && d.Reason != vmm.ReasonMigrated:
		return false // it ended otherwise
	}
	if m := vm.Move; m != nil && m.ID == way.Move {
		p.moved(vm, fsm.OutcomeMoved, m.ID, fmt.Sprintf("%s %s to go to %s", vm.Name, how, m.Host))
	} else {
		p.report(vm.UUID, vm.Owner.Generation, fsm.OutcomeReleased, fmt.Sprintf("%s %s for a move that has been called off", vm.Name, how))
	}
	return true
}

func (p *Plan) moved(vm *fsm.VM, o fsm.Outcome, move uint64, detail string) {
	p.Outcomes = append(p.Outcomes, api.OutcomeReport{UUID: vm.UUID, Generation: vm.Owner.Generation,
		Outcome: string(o), Detail: detail, Move: move})
}

// leftover is why a copy is ended that waits for nothing.
const leftover = "it is a copy of a VM whose move has ended otherwise"

// arrived decides about a copy that waits here. It is let run only as a placement of this
// host, by which the source has said that it has the VM no more, and that the copy is whole (M2, M3).
func arrived(in Input, vm *fsm.VM, d vmm.Domain, p *Plan) {
	if mine(in, vm) {
		o := vm.Owner
		switch {
		case in.Record.Executed[vm.UUID] >= o.Generation && in.Ran[vm.UUID] == o.Generation:
			// The list says in a moment that it runs.
		case in.Record.Executed[vm.UUID] >= o.Generation:
			p.Kill[vm.UUID] = interrupted
		case o.From == "" || o.Cold || vm.Intent == fsm.IntentStop || in.Draining:
			p.Kill[vm.UUID] = leftover
		case in.Bounded && in.Lease.MayStart(in.Now, in.Timing):
			p.Start = append(p.Start, Order{UUID: vm.UUID, Name: vm.Name, Generation: o.Generation,
				XML: vm.XML, Why: o.Why, Copy: vmm.Process{PID: d.PID, StartTime: d.StartTime}})
		}
		return
	}
	if m := vm.Move; m != nil && !m.Cold && m.Host == in.Self && m.Incarnation == in.Lease.Incarnation {
		return
	}
	since, seen := in.Foreign[vm.UUID]
	if seen && in.Now-since > 3*in.Timing.Heartbeat { // this host's copy of the state may be behind
		p.Kill[vm.UUID] = leftover
		return
	}
	if !seen {
		since = in.Now
	}
	p.Foreign[vm.UUID] = since
}

// forget lists the ways of VMs that this host does not own any more.
func forget(in Input, domains map[string]vmm.Domain, p *Plan) {
	for _, uuid := range slices.Sorted(maps.Keys(in.Record.Ways)) {
		vm := in.State.VMs[uuid]
		if _, leaves := in.Leaving[uuid]; !leaves && !in.Busy[uuid] && (vm == nil || !mine(in, vm)) && domains[uuid].PID == 0 {
			p.Forget = append(p.Forget, uuid)
		}
	}
}

// comesBy reports whether a VM is to go on here from the memory that a move has brought.
func comesBy(o *fsm.Placement) bool { return o.From != "" && !o.Cold }

// lost is what is said of a VM whose memory a move has not brought.
func lost(in Input, vm *fsm.VM) string {
	if o := vm.Owner; comesBy(o) && in.Anew[vm.UUID] == o.Generation {
		return fmt.Sprintf("its memory was lost on the way from %s: it was started anew", o.From)
	}
	return ""
}
