package fsm

import "testing"

// What failed of a VM is forgotten when a person asks for it, and nothing else of it changes.
func TestRetryForgetsWhatFailed(t *testing.T) {
	r := newCluster(t)
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 1, Outcome: OutcomeCrashed, Detail: "signal 11"})
	r.must(&SetWaiting{Meta: r.meta(), Epoch: 1, UUID: uuid(1), For: WaitGivenUp, Why: "every host failed it"})
	before := *r.state().VMs[uuid(1)]
	if n := r.must(&RetryVM{Meta: r.meta(), UUID: uuid(1)}); n != 1 {
		t.Errorf("%v failures were forgotten, want 1", n)
	}
	vm := r.state().VMs[uuid(1)]
	last := r.state().Events[len(r.state().Events)-1]
	if len(vm.Failures) != 0 || vm.Waiting == before.Waiting || vm.Waiting == "" || vm.Generation != before.Generation || vm.Intent != IntentRun || !vm.WaitingSince.Equal(before.WaitingSince) {
		t.Errorf("after another try was asked for it is %+v", vm)
	}
	if last.Type != EventVMRetryAsked || last.Cause != before.Cause || vm.Cause != last.ID {
		t.Errorf("the history says %+v", last)
	}
	if n := r.must(&RetryVM{Meta: r.meta(), UUID: uuid(1)}); n != 0 || r.state().LastEvent != last.ID {
		t.Errorf("asked again it forgets %v and records %d events", n, r.state().LastEvent-last.ID)
	}
}

// A move that failed is forgotten too, of a VM that runs.
func TestRetryOfAMove(t *testing.T) {
	r, id := moving(t)
	r.must(&EndMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Move: id, Why: "asked"})
	if n := len(r.state().VMs[uuid(1)].MoveFailures); n != 1 {
		t.Fatalf("%d moves failed, want 1", n)
	}
	r.must(&RetryVM{Meta: r.meta(), UUID: uuid(1)})
	if vm := r.state().VMs[uuid(1)]; len(vm.MoveFailures) != 0 || vm.Waiting != "" || vm.Owner == nil {
		t.Errorf("it is %+v", vm)
	}
}
