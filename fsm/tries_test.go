package fsm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A start that failed is remembered with its round until the VM runs; crashes stay.
func TestFailedStartsAreForgottenOnceItRuns(t *testing.T) {
	r := newCluster(t)
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 1, Outcome: OutcomeCrashed, Detail: "signal 11"})
	order := func(round int) uint64 {
		vm := r.state().VMs[uuid(1)]
		return r.must(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: vm.Generation, Host: "a", Incarnation: 1, Round: round, Why: "its home"}).(uint64)
	}
	report := func(g uint64, o Outcome) {
		r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "a", Incarnation: 1, Generation: g, Outcome: o, Detail: "no bridge br0"})
	}
	brief := func() (all []Failure) {
		for _, f := range r.state().VMs[uuid(1)].Failures {
			all = append(all, Failure{Host: f.Host, Crash: f.Crash, Round: f.Round})
		}
		return all
	}
	report(order(1), OutcomeStartFailed)
	report(order(2), OutcomeStartFailed)
	if d := cmp.Diff([]Failure{{Host: "b", Crash: true}, {Host: "a", Round: 1}, {Host: "a", Round: 2}}, brief()); d != "" {
		t.Errorf("remembered (-want +got):\n%s", d)
	}
	report(order(3), OutcomeRunning)
	if d := cmp.Diff([]Failure{{Host: "b", Crash: true}}, brief()); d != "" {
		t.Errorf("remembered once it runs (-want +got):\n%s", d)
	}
	if o := r.state().VMs[uuid(1)].Owner; o.Round != 3 || o.Since.Sub(o.At) <= 0 {
		t.Errorf("it runs as %+v; want round 3, and running since a moment after it was ordered", o)
	}
}

func TestWhatAVMWaitsFor(t *testing.T) {
	for _, tt := range []struct {
		wait     Wait
		typ      string
		severity Severity
	}{
		{WaitNoHost, EventVMNoHost, Critical},
		{WaitHeld, EventVMHeld, Info},
		{WaitGivenUp, EventVMGivenUp, Critical},
	} {
		r := newCluster(t)
		r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 1, Outcome: OutcomeCrashed, Detail: "signal 11"})
		for range 2 {
			r.must(&SetWaiting{Meta: r.meta(), Epoch: 1, UUID: uuid(1), For: tt.wait, Why: "because"})
		}
		events := r.state().Events
		last, before := events[len(events)-1], events[len(events)-2]
		if last.Type != tt.typ || last.Severity != tt.severity || before.Type != EventVMCrashed {
			t.Errorf("waiting %q records %s (%s) after %s, want %s (%s) once", tt.wait, last.Type, last.Severity, before.Type, tt.typ, tt.severity)
		}
	}
	if err := (&SetWaiting{UUID: uuid(1), For: "rain", Why: "because"}).check(); err == nil {
		t.Error("a VM may wait for rain")
	}
	if err := (&Assign{UUID: uuid(1), Host: "a", Incarnation: 1, Round: -1}).check(); err == nil {
		t.Error("there may be a round before the first")
	}
}
