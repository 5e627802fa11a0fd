package fsm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// chain walks from the newest event about the VM back to where it began.
func chain(t *testing.T, s *State, vm string) []string {
	t.Helper()
	byID := map[uint64]Event{}
	var at uint64
	for _, e := range s.Events {
		byID[e.ID] = e
		if e.VM == vm {
			at = e.ID
		}
	}
	var types []string
	for at != 0 {
		e := byID[at]
		if e.Cause >= at {
			t.Fatalf("event %d (%s) is caused by event %d, which is not before it", at, e.Type, e.Cause)
		}
		about := e.VM
		if about == "" {
			about = e.Host
		}
		types = append(types, e.Type+" "+about)
		at = e.Cause
	}
	return types
}

func TestCauses(t *testing.T) {
	suspect := func(r *rig, host string, inc uint64) {
		r.must(&SetVerdict{Meta: r.meta(), Epoch: 1, Host: host, Incarnation: inc, Verdict: "suspect", Text: "silent"})
	}
	heard := func(r *rig, host string, inc uint64) {
		r.must(&SetVerdict{Meta: r.meta(), Epoch: 1, Host: host, Incarnation: inc, Verdict: "live", Text: "heard"})
	}
	dead := func(r *rig, host string, inc uint64) {
		r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: host, Incarnation: inc, Text: "dead"})
	}
	place := func(r *rig, n int, host string, inc uint64) {
		r.must(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(n), Previous: r.state().VMs[uuid(n)].Generation, Host: host, Incarnation: inc, Why: "free"})
	}
	report := func(r *rig, n int, o Outcome) {
		p := r.state().VMs[uuid(n)].Owner
		r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(n), Host: p.Host, Incarnation: p.Incarnation, Generation: p.Generation, Outcome: o, Detail: "as seen"})
	}
	tests := []struct {
		name string
		do   func(r *rig)
		want []string // newest first
	}{
		{"restart after a death", func(r *rig) {
			suspect(r, "b", 1)
			dead(r, "b", 1)
			place(r, 1, "a", 1)
			report(r, 1, OutcomeRunning)
		}, []string{"vm_started vm1", "vm_recovery_assigned vm1", "host_confirmed_fenced b", "host_unreachable b"}},
		{"the dead host is back before the VM is placed", func(r *rig) {
			suspect(r, "b", 1)
			dead(r, "b", 1)
			r.begin("b")
			place(r, 1, "b", 2)
			report(r, 1, OutcomeRunning)
		}, []string{"vm_started vm1", "vm_recovery_assigned vm1", "host_confirmed_fenced b", "host_unreachable b"}},
		{"the first start fails", func(r *rig) {
			suspect(r, "b", 1)
			dead(r, "b", 1)
			place(r, 1, "a", 1)
			report(r, 1, OutcomeStartFailed)
			place(r, 1, "a", 1)
			report(r, 1, OutcomeRunning)
		}, []string{"vm_started vm1", "vm_recovery_assigned vm1", "vm_start_failed vm1", "vm_recovery_assigned vm1", "host_confirmed_fenced b", "host_unreachable b"}},
		{"no host at first", func(r *rig) {
			suspect(r, "b", 1)
			dead(r, "b", 1)
			r.must(&SetWaiting{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Why: "no memory"})
		}, []string{"vm_no_eligible_host vm1", "host_confirmed_fenced b", "host_unreachable b"}},
		{"an old suspicion that was withdrawn", func(r *rig) {
			suspect(r, "b", 1)
			heard(r, "b", 1)
			dead(r, "b", 1)
			place(r, 1, "a", 1)
		}, []string{"vm_recovery_assigned vm1", "host_confirmed_fenced b"}},
		{"a suspicion of an earlier life", func(r *rig) {
			suspect(r, "b", 1)
			r.begin("b")
			place(r, 1, "b", 2)
			dead(r, "b", 2)
			place(r, 1, "a", 1)
		}, []string{"vm_recovery_assigned vm1", "host_confirmed_fenced b"}},
		{"crash, then its host dies", func(r *rig) {
			report(r, 1, OutcomeCrashed)
			suspect(r, "b", 1)
			dead(r, "b", 1)
			place(r, 1, "a", 1)
		}, []string{"vm_recovery_assigned vm1", "vm_crashed vm1"}},
		{"crash of a VM that was restarted", func(r *rig) {
			suspect(r, "b", 1)
			dead(r, "b", 1)
			place(r, 1, "a", 1)
			report(r, 1, OutcomeRunning)
			report(r, 1, OutcomeCrashed)
			place(r, 1, "a", 1)
		}, []string{"vm_recovery_assigned vm1", "vm_crashed vm1"}},
		{"given back", func(r *rig) {
			report(r, 1, OutcomeReleased)
			place(r, 1, "a", 1)
		}, []string{"vm_recovery_assigned vm1", "vm_stopped vm1"}},
		{"its host begins a new life", func(r *rig) {
			r.begin("b")
			place(r, 1, "a", 1)
		}, []string{"vm_recovery_assigned vm1", "host_available b"}},
		{"started by a person", func(r *rig) {
			r.must(&SetIntent{Meta: r.meta(), UUID: uuid(3), Intent: IntentRun, Why: "asked for"})
			place(r, 3, "a", 1)
			report(r, 3, OutcomeRunning)
		}, []string{"vm_started vm3", "vm_recovery_assigned vm3", "vm_intent_changed vm3"}},
		{"protected when it did not run", func(r *rig) {
			place(r, 2, "a", 1)
		}, []string{"vm_recovery_assigned vm2", "vm_protection_added vm2"}},
		{"protected when it ran", func(r *rig) {
			r.run(8, "a", 1)
		}, []string{"vm_started vm8", "vm_protection_added vm8"}},
		{"started by hand", func(r *rig) {
			r.must(&Adopt{Meta: r.meta(), Epoch: 1, UUID: uuid(3), Host: "b", Incarnation: 1})
			r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(3), Host: "b", Incarnation: 1, Generation: 1, Outcome: OutcomeRunning})
		}, []string{"vm_started vm3", "vm_seen_running vm3"}},
		{"seen, but gone", func(r *rig) {
			r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(6), Host: "a", Incarnation: 1, Generation: 2, Outcome: OutcomeReleased})
			place(r, 6, "b", 1)
		}, []string{"vm_recovery_assigned vm6", "vm_stopped vm6", "vm_protection_added vm6"}},
		{"renamed in between", func(r *rig) {
			report(r, 1, OutcomeCrashed)
			r.must(&Redefine{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Name: "new", XML: []byte("x"), XMLHash: "x"})
			place(r, 1, "a", 1)
			r.must(&Redefine{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Name: "vm1", XML: []byte("y"), XMLHash: "y"})
			report(r, 1, OutcomeRunning)
		}, []string{"vm_started vm1", "vm_recovery_assigned new", "vm_crashed vm1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newCluster(t)
			tt.do(r)
			s := r.state()
			vm := s.Events[len(s.Events)-1].VM
			if diff := cmp.Diff(tt.want, chain(t, s, vm)); diff != "" {
				t.Errorf("chain of causes of %s, newest first (-want +got):\n%s", vm, diff)
			}
		})
	}
}

func TestHeardAgainIsCausedByTheSuspicion(t *testing.T) {
	r := newCluster(t)
	r.must(&SetVerdict{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Verdict: "suspect", Text: "silent"})
	suspected := r.state().LastEvent
	r.must(&SetVerdict{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Verdict: "live", Text: "heard"})
	e := r.state().Events[len(r.state().Events)-1]
	if e.Type != EventHostHeardAgain || e.Cause != suspected {
		t.Errorf("newest event is %+v, want %s caused by %d", e, EventHostHeardAgain, suspected)
	}
}

// The ring keeps the newest events, in order and without a gap, and Views that
// were taken on the way keep theirs.
func TestEventRing(t *testing.T) {
	r := newCluster(t)
	type held struct {
		s    *State
		text string
	}
	var views []held
	n := 0
	for range EventsKept/64 + 40 {
		var events []Event
		for range 64 {
			n++
			events = append(events, Event{Type: "tick", Text: fmt.Sprint(n)})
		}
		if len(views) < 2 || len(r.state().Events) == EventsKept && len(views) < 5 {
			views = append(views, held{r.state(), text(t, r.state())})
		}
		r.must(&Record{Meta: r.meta(), Epoch: 1, Events: events})
		// A refused command in between must not leave its mark in what is shared.
		if res := r.do(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(9), Host: "a", Incarnation: 1, Outcome: OutcomeRunning}); res.Refusal == nil {
			t.Fatal("a report of an unknown VM was accepted")
		}
	}
	s := r.state()
	if len(s.Events) != EventsKept {
		t.Fatalf("%d events are kept, want %d", len(s.Events), EventsKept)
	}
	for i, e := range s.Events {
		if want := s.LastEvent - uint64(len(s.Events)-1-i); e.ID != want {
			t.Fatalf("event %d of the ring has id %d, want %d", i, e.ID, want)
		}
	}
	if last := s.Events[len(s.Events)-1]; last.Text != fmt.Sprint(n) {
		t.Errorf("newest event is %q, want %d", last.Text, n)
	}
	for i, v := range views {
		if now := text(t, v.s); now != v.text {
			t.Errorf("view %d changed after it was taken:\n%s", i, cmp.Diff(strings.Split(v.text, "\n"), strings.Split(now, "\n")))
		}
	}
}

// How long a VM was down counts from when it was last known to run, through
// starts that failed and targets that died.
func TestDowntime(t *testing.T) {
	at := func(s int) Meta { return Meta{At: day.Add(time.Hour + time.Duration(s)*time.Second)} }
	report := func(r *rig, s int, host string, inc, gen uint64, o Outcome) {
		r.must(&Report{Meta: at(s), Epoch: 1, UUID: uuid(1), Host: host, Incarnation: inc, Generation: gen, Outcome: o, Detail: "as seen"})
	}
	assign := func(r *rig, s int, host string, inc, previous uint64) {
		r.must(&Assign{Meta: at(s), Epoch: 1, UUID: uuid(1), Previous: previous, Host: host, Incarnation: inc, Why: "free"})
	}
	tests := []struct {
		name string
		do   func(r *rig) // ends with a report of it running, at 20 s
		want string
	}{
		{"its host was heard until 3 s", func(r *rig) {
			r.must(&DeclareDead{Meta: at(15), Epoch: 1, Host: "b", Incarnation: 1, Heard: at(3).At})
			assign(r, 16, "a", 1, 1)
			report(r, 20, "a", 1, 2, OutcomeRunning)
		}, "17.0 s after it was last known to run"},
		{"its host was not heard in this office", func(r *rig) {
			r.must(&DeclareDead{Meta: at(15), Epoch: 1, Host: "b", Incarnation: 1})
			assign(r, 16, "a", 1, 1)
			report(r, 20, "a", 1, 2, OutcomeRunning)
		}, "5.0 s after the cluster knew that it was to be started"},
		{"its host is heard later than it is declared, says a wall clock", func(r *rig) {
			r.must(&DeclareDead{Meta: at(15), Epoch: 1, Host: "b", Incarnation: 1, Heard: at(99).At})
			assign(r, 16, "a", 1, 1)
			report(r, 20, "a", 1, 2, OutcomeRunning)
		}, "5.0 s after the cluster knew that it was to be started"},
		{"it was down for a while before its host could tell", func(r *rig) {
			report(r, 19, "b", 1, 1, OutcomeCrashed)
			assign(r, 19, "a", 1, 1)
			report(r, 20, "a", 1, 2, OutcomeRunning)
		}, "1.0 s after the cluster knew that it was to be started"},
		{"it was lost before, and a person wants it running", func(r *rig) {
			r.must(&DeclareDead{Meta: at(5), Epoch: 1, Host: "b", Incarnation: 1, Heard: at(3).At})
			r.must(&SetIntent{Meta: at(6), UUID: uuid(1), Intent: IntentStop, Why: "a person stopped it"})
			r.must(&SetIntent{Meta: at(18), UUID: uuid(1), Intent: IntentRun, Why: "a person started it"})
			assign(r, 19, "a", 1, 1)
			report(r, 20, "a", 1, 2, OutcomeRunning)
		}, "2.0 s after the cluster knew that it was to be started"},
		{"a start fails on the way", func(r *rig) {
			r.must(&DeclareDead{Meta: at(10), Epoch: 1, Host: "b", Incarnation: 1, Heard: at(3).At})
			assign(r, 11, "a", 1, 1)
			report(r, 12, "a", 1, 2, OutcomeStartFailed)
			assign(r, 13, "a", 1, 2)
			report(r, 20, "a", 1, 3, OutcomeRunning)
		}, "17.0 s after it was last known to run"},
		{"the target dies before it runs", func(r *rig) {
			report(r, 5, "b", 1, 1, OutcomeCrashed)
			assign(r, 6, "b", 1, 1)
			r.must(&DeclareDead{Meta: at(12), Epoch: 1, Host: "b", Incarnation: 1, Heard: at(9).At})
			assign(r, 13, "a", 1, 2)
			report(r, 20, "a", 1, 3, OutcomeRunning)
		}, "15.0 s after the cluster knew that it was to be started"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newCluster(t)
			tt.do(r)
			s := r.state()
			if e := s.Events[len(s.Events)-1]; e.Type != EventVMStarted || !strings.Contains(e.Text, tt.want) {
				t.Errorf("newest event is %s: %s; want %q in it", e.Type, e.Text, tt.want)
			}
			if vm := s.VMs[uuid(1)]; !vm.WaitingSince.IsZero() || vm.Lost {
				t.Errorf("it runs, and waits since %v (lost: %v)", vm.WaitingSince, vm.Lost)
			}
		})
	}
}
