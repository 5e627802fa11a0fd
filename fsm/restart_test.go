package fsm

import "testing"

// restarting is a cluster in which vm1, which runs on b, is to be restarted, and the number of that.
func restarting(t *testing.T) (*rig, uint64) {
	t.Helper()
	r := newCluster(t)
	return r, r.must(&RestartVM{Meta: r.meta(), UUID: uuid(1), Previous: 1, Why: "asked"}).(uint64)
}

// A restart takes nothing from the owner. It is over with the placement that it was asked of,
// however that ends, and the VM shall then run unless somebody said otherwise since.
func TestRestartEndsWithItsPlacement(t *testing.T) {
	report := func(o Outcome) func(*rig) {
		return func(r *rig) {
			r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 1, Outcome: o, Detail: "x"})
		}
	}
	stop := func(r *rig) { r.must(&SetIntent{Meta: r.meta(), UUID: uuid(1), Intent: IntentStop}) }
	both := func(all ...func(*rig)) func(*rig) {
		return func(r *rig) {
			for _, do := range all {
				do(r)
			}
		}
	}
	refused := func(c func(r *rig) Command) func(*rig) {
		return func(r *rig) {
			if r.do(c(r)).Refusal == nil {
				r.Errorf("%T is accepted", c(r))
			}
		}
	}
	tests := []struct {
		name  string
		do    func(*rig)
		owned bool
		goes  bool // on
		shall Intent
		event string
	}{
		{name: "ordered", do: func(*rig) {}, owned: true, goes: true, shall: IntentRun, event: EventVMRestartOrdered},
		{name: "it still runs", do: report(OutcomeRunning), owned: true, goes: true, shall: IntentRun, event: EventVMRestartOrdered},
		{name: "released", do: report(OutcomeReleased), shall: IntentRun, event: EventVMStopped},
		{name: "it crashed", do: report(OutcomeCrashed), shall: IntentRun, event: EventVMCrashed},
		{name: "it was shut down before its owner knew", do: report(OutcomeStopped), shall: IntentStop, event: EventVMStopped},
		{name: "its host died", do: func(r *rig) { r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1}) }, shall: IntentRun, event: EventHostDead},
		{name: "its host lives anew", do: func(r *rig) { r.begin("b") }, shall: IntentRun, event: EventHostAvailable},
		{name: "it shall stop", do: stop, owned: true, shall: IntentStop, event: EventVMIntentChanged},
		{name: "it shall stop, and does", do: both(stop, report(OutcomeReleased)), shall: IntentStop, event: EventVMStopped},
		{name: "it shall stop after it was released", do: both(report(OutcomeReleased), stop), shall: IntentStop, event: EventVMIntentChanged},
		{name: "asked again", do: func(r *rig) {
			if id := r.must(&RestartVM{Meta: r.meta(), UUID: uuid(1), Previous: 1}); id != r.state().VMs[uuid(1)].Restart.ID {
				r.Errorf("asked again it is restart %v, want the same", id)
			}
		}, owned: true, goes: true, shall: IntentRun, event: EventVMRestartOrdered},
		{name: "moved", do: refused(func(r *rig) Command {
			return &BeginMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1}
		}), owned: true, goes: true, shall: IntentRun, event: EventVMRestartOrdered},
		{name: "unprotected", do: refused(func(r *rig) Command { return &Unprotect{Meta: r.meta(), UUID: uuid(1)} }), owned: true, goes: true, shall: IntentRun, event: EventVMRestartOrdered},
		{name: "a start elsewhere", do: refused(func(r *rig) Command {
			return &Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1, Round: 1}
		}), owned: true, goes: true, shall: IntentRun, event: EventVMRestartOrdered},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := restarting(t)
			r.TB = t
			tt.do(r)
			vm := r.state().VMs[uuid(1)]
			if (vm.Owner != nil) != tt.owned || (vm.Restart != nil) != tt.goes || vm.Intent != tt.shall || vm.Generation != 1 {
				t.Errorf("its owner is %+v, its restart %+v, it shall %s at generation %d; want an owner: %v, a restart: %v, %s, 1",
					vm.Owner, vm.Restart, vm.Intent, vm.Generation, tt.owned, tt.goes, tt.shall)
			}
			if e := r.state().Events[len(r.state().Events)-1]; e.Type != tt.event {
				t.Errorf("newest event is %+v, want %s", e, tt.event)
			}
		})
	}
}

// A VM on its way is not restarted: its source and its target would each go by another wish.
func TestNoRestartOnTheWay(t *testing.T) {
	r, _ := moving(t)
	if a := r.do(&RestartVM{Meta: r.meta(), UUID: uuid(1), Previous: 1}); a.Refusal == nil || a.Refusal.Code != CodeConflict {
		t.Errorf("it is answered %+v, want a conflict", a)
	}
}

// What failed before is forgotten, as with a start that a person asks for, and the history
// says of the end and of the next start that both come of the restart.
func TestRestartIsTheCause(t *testing.T) {
	r := newCluster(t)
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 1, Outcome: OutcomeCrashed})
	r.must(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: 1, Host: "b", Incarnation: 1, Round: 1})
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 2, Outcome: OutcomeRunning})
	id := r.must(&RestartVM{Meta: r.meta(), UUID: uuid(1), Previous: 2, Why: "asked"}).(uint64)
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 2, Outcome: OutcomeReleased})
	vm, last := r.state().VMs[uuid(1)], r.state().Events[len(r.state().Events)-1]
	if len(vm.Failures) != 0 || last.Cause != id || last.Severity != Info || vm.Cause != last.ID || vm.Home != "b" || vm.WaitingSince.IsZero() {
		t.Errorf("it is %+v after %+v", vm, last)
	}
}
