package fsm

import (
	"testing"
)

// moving is a cluster in which vm1 is on its way from b to a, and the number of that move.
func moving(t *testing.T) (*rig, uint64) {
	t.Helper()
	r := newCluster(t)
	id := r.must(&BeginMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: r.state().VMs[uuid(1)].Generation, Host: "a", Incarnation: 1, Why: "asked"}).(uint64)
	return r, id
}

// A move hands the VM over in the entry that says that its owner has it no more, and only to
// the life that it was ordered to. Whatever else happens to either, nobody gets it by the move.
func TestMoveHandsOverOrLeavesAlone(t *testing.T) {
	moved := func(r *rig, id uint64) *Report {
		return &Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 1, Outcome: OutcomeMoved, Move: id}
	}
	tests := []struct {
		name  string
		do    func(r *rig, id uint64)
		owner string // empty: nobody
		gen   uint64
		move  bool // goes on
		event string
	}{
		{name: "under way", do: func(*rig, uint64) {}, owner: "b", gen: 1, move: true, event: EventVMMoveOrdered},
		{name: "moved", do: func(r *rig, id uint64) { r.must(moved(r, id)) }, owner: "a", gen: 2, event: EventVMAssigned},
		{name: "failed", do: func(r *rig, id uint64) {
			c := moved(r, id)
			c.Outcome = OutcomeMoveFailed
			r.must(c)
		}, owner: "b", gen: 1, event: EventVMMoveFailed},
		{name: "another move failed", do: func(r *rig, id uint64) {
			c := moved(r, id-1)
			c.Outcome = OutcomeMoveFailed
			if r.do(c).Refusal == nil {
				r.Error("accepted")
			}
		}, owner: "b", gen: 1, move: true, event: EventVMMoveOrdered},
		{name: "called off", do: func(r *rig, id uint64) {
			r.must(&EndMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Move: id, Why: "asked"})
		}, owner: "b", gen: 1, event: EventVMMoveFailed},
		{name: "called off too late", do: func(r *rig, id uint64) {
			r.must(&EndMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Move: id, Why: "asked"})
			r.must(moved(r, id))
		}, gen: 1, event: EventVMStopped},
		{name: "the target died", do: func(r *rig, id uint64) {
			r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "a", Incarnation: 1})
			r.must(moved(r, id))
		}, gen: 1, event: EventVMStopped},
		{name: "the target lives anew", do: func(r *rig, id uint64) {
			r.begin("a")
			r.must(moved(r, id))
		}, gen: 1, event: EventVMStopped},
		{name: "the target went into maintenance", do: func(r *rig, id uint64) {
			r.must(&SetMaintenance{Meta: r.meta(), Host: "a", On: true})
		}, owner: "b", gen: 1, event: EventVMMoveFailed},
		{name: "the source died", do: func(r *rig, id uint64) {
			r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1})
		}, gen: 1, event: EventHostDead},
		{name: "it shall stop", do: func(r *rig, id uint64) {
			r.must(&SetIntent{Meta: r.meta(), UUID: uuid(1), Intent: IntentStop})
		}, owner: "b", gen: 1, event: EventVMIntentChanged},
		{name: "unprotected", do: func(r *rig, id uint64) {
			if r.do(&Unprotect{Meta: r.meta(), UUID: uuid(1)}).Refusal == nil {
				r.Error("accepted")
			}
		}, owner: "b", gen: 1, move: true, event: EventVMMoveOrdered},
		{name: "ordered again", do: func(r *rig, id uint64) {
			if r.do(&BeginMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1}).Refusal == nil {
				r.Error("accepted")
			}
		}, owner: "b", gen: 1, move: true, event: EventVMMoveOrdered},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, id := moving(t)
			r.TB = t
			tt.do(r, id)
			vm, owner := r.state().VMs[uuid(1)], ""
			if vm.Owner != nil {
				owner = vm.Owner.Host
			}
			if owner != tt.owner || vm.Generation != tt.gen || (vm.Move != nil) != tt.move {
				t.Errorf("it is %s's at generation %d, move %+v; want %q's at %d, a move: %v", owner, vm.Generation, vm.Move, tt.owner, tt.gen, tt.move)
			}
			if e := r.state().Events[len(r.state().Events)-1]; e.Type != tt.event {
				t.Errorf("newest event is %+v, want %s", e, tt.event)
			}
		})
	}
}

// The target reports the VM running: that is when it was moved, and the history says from where.
func TestMovedVMIsToldWhenItRuns(t *testing.T) {
	r, id := moving(t)
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 1, Outcome: OutcomeMoved, Move: id})
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "a", Incarnation: 1, Generation: 2, Outcome: OutcomeRunning})
	e := r.state().Events[len(r.state().Events)-1]
	if e.Type != EventVMMoved || e.From != "b" || e.To != "a" || e.Cause == 0 {
		t.Errorf("newest event is %+v, want %s from b to a with its cause", e, EventVMMoved)
	}
	if vm := r.state().VMs[uuid(1)]; vm.Home != "a" || vm.Cause != 0 || !vm.WaitingSince.IsZero() {
		t.Errorf("it runs, home %s, cause %d, waiting since %v", vm.Home, vm.Cause, vm.WaitingSince)
	}
}

// Out of service a host is given nothing, in that life or the next, and keeps what it has.
func TestMaintenanceKeepsVMsAway(t *testing.T) {
	r := newCluster(t)
	r.must(&SetMaintenance{Meta: r.meta(), Host: "b", On: true, Why: "new memory"})
	assign := func(incarnation uint64) *Refusal {
		return r.do(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Previous: r.state().VMs[uuid(2)].Generation, Host: "b", Incarnation: incarnation}).Refusal
	}
	if assign(1) == nil {
		t.Error("a VM was placed on a host in maintenance")
	}
	if o := r.state().VMs[uuid(1)].Owner; o == nil || o.Host != "b" {
		t.Errorf("vm1 is %+v's, want b's as before", o)
	}
	r.begin("b")
	if assign(2) == nil {
		t.Error("a VM was placed on a host in maintenance that was rebooted")
	}
	r.must(&SetMaintenance{Meta: r.meta(), Host: "b", Why: "done"})
	if ref := assign(2); ref != nil {
		t.Errorf("back in service, but refused: %s", ref.Message)
	}
}

// M1, M3: a move is ordered of the VM that its proposer saw, to a life that there is; and
// hands over to that life alone, by the word on that move.
func TestBeginMoveIsACompareAndSet(t *testing.T) {
	begin := func(r *rig) *BeginMove {
		return &BeginMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: r.state().VMs[uuid(1)].Generation, Host: "a", Incarnation: 1, Why: "asked"}
	}
	for name, change := range map[string]func(*BeginMove){
		"generation":  func(c *BeginMove) { c.Previous-- },
		"incarnation": func(c *BeginMove) { c.Incarnation++ },
		"host":        func(c *BeginMove) { c.Host = "b" },
		"epoch":       func(c *BeginMove) { c.Epoch++ },
	} {
		r := newCluster(t)
		c := begin(r)
		change(c)
		if got := r.do(c); got.Refusal == nil || r.state().VMs[uuid(1)].Move != nil {
			t.Errorf("with another %s it is ordered: %+v", name, r.state().VMs[uuid(1)].Move)
		}
	}
	r := newCluster(t)
	r.must(begin(r))
	if again := r.do(begin(r)); again.Refusal == nil {
		t.Error("a VM that is on its way was ordered elsewhere")
	}
	r, id := moving(t)
	r.must(&EndMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Move: id, Why: "asked"})
	r.must(begin(r)) // another one, of which the word on the first says nothing
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 1, Outcome: OutcomeMoved, Move: id})
	if o := r.state().VMs[uuid(1)].Owner; o != nil {
		t.Errorf("the word on a move that was called off gave the VM to %+v", o)
	}
}
