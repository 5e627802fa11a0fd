package fsm

import (
	"strings"
	"testing"
)

// shutDown notes that b is being shut down, and has it give vm1 back, which ran there.
func shutDown(t *testing.T, action string) *rig {
	t.Helper()
	r := newCluster(t)
	r.must(&NoteShutdown{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Reboot: true, Action: action})
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 1, Outcome: OutcomeReleased, Detail: "b is being shut down"})
	return r
}

// A VM waits for its host only where that was decided for its shutdown, and only until something else is known.
func TestFreeze(t *testing.T) {
	for action, want := range map[string]bool{ShutdownFreeze: true, ShutdownFailover: false, ShutdownMigrate: false} {
		r := shutDown(t, action)
		vm := r.state().VMs[uuid(1)]
		if vm.Owner != nil || (vm.Frozen != nil) != want || want && (vm.Frozen.Host != "b" || !vm.Frozen.Reboot) {
			t.Errorf("%s: given back it is owned by %v and frozen %+v, want frozen: %v", action, vm.Owner, vm.Frozen, want)
		}
		if b := r.state().Hosts["b"]; b.Shutdown == nil || b.Emptied() != (action == ShutdownMigrate) {
			t.Errorf("%s: the host's shutdown is %+v, and it is emptied: %v", action, b.Shutdown, b.Emptied())
		}
	}
	r := newCluster(t)
	r.must(&NoteShutdown{Meta: r.meta(), Epoch: 1, Host: "a", Incarnation: 1, Action: ShutdownFreeze})
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(4), Host: "a", Incarnation: 1, Generation: 1, Outcome: OutcomeReleased, Detail: "a is being shut down"})
	if f := r.state().VMs[uuid(4)].Frozen; f != nil {
		t.Errorf("a VM that had not started waits for the host: %+v", f)
	}
	for name, x := range map[string]struct {
		do   func(r *rig)
		want bool
	}{
		"the host is declared dead": {func(r *rig) {
			r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Text: "silent"})
		}, true},
		"the host is back":               {func(r *rig) { r.begin("b") }, true}, // it is for whoever places it to see that
		"a person says that it is off":   {func(r *rig) { r.must(&ConfirmOff{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1}) }, false},
		"a person wants another try":     {func(r *rig) { r.must(&RetryVM{Meta: r.meta(), UUID: uuid(1)}) }, false},
		"a person stops it":              {func(r *rig) { r.must(&SetIntent{Meta: r.meta(), UUID: uuid(1), Intent: IntentStop, Why: "x"}) }, false},
		"the host goes into maintenance": {func(r *rig) { r.must(&SetMaintenance{Meta: r.meta(), Host: "b", On: true}) }, false},
		"another host goes":              {func(r *rig) { r.must(&SetMaintenance{Meta: r.meta(), Host: "a", On: true}) }, true},
		"the host leaves the cluster":    {func(r *rig) { dead(r); r.must(&RemoveHost{Meta: r.meta(), Host: "b"}) }, false},
		"it is given to a host": {func(r *rig) {
			r.must(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1, Why: "x"})
		}, false},
		"a person starts it by hand on one": {func(r *rig) {
			r.must(&Adopt{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1})
		}, false},
	} {
		r := shutDown(t, ShutdownFreeze)
		x.do(r)
		if got := r.state().VMs[uuid(1)].Frozen != nil; got != x.want {
			t.Errorf("once %s it waits for the host: %v, want %v", name, got, x.want)
		}
	}
}

func dead(r *rig) {
	r.Helper()
	r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Text: "silent"})
}

// What a host could not give back before it died is a dead host's like any other.
func TestAHostThatDiesOnItsWayDownFreezesNothing(t *testing.T) {
	r := newCluster(t)
	r.must(&NoteShutdown{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Action: ShutdownFreeze})
	dead(r)
	if vm := r.state().VMs[uuid(1)]; vm.Owner != nil || vm.Frozen != nil {
		t.Errorf("it is owned by %v and frozen %v", vm.Owner, vm.Frozen)
	}
}

func TestNoteShutdown(t *testing.T) {
	r := newCluster(t)
	note := func(action string, rest bool) Result {
		return r.do(&NoteShutdown{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Action: action, Rest: rest})
	}
	last := func() Event { e := r.state().Events; return e[len(e)-1] }
	n := r.state().LastEvent
	note(ShutdownMigrate, true)
	note("", false)
	if r.state().Hosts["b"].Shutdown != nil || r.state().LastEvent != n {
		t.Fatalf("what is left of a host that is not shut down, or its end, is noted: %+v", last())
	}
	r.must(&BeginMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1, Why: "x"})
	r.must(&NoteShutdown{Meta: r.meta(), Epoch: 1, Host: "a", Incarnation: 1, Action: ShutdownFailover})
	if r.state().VMs[uuid(1)].Move != nil {
		t.Errorf("a VM is still on its way to a host that is being shut down")
	}
	if res := r.do(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Host: "a", Incarnation: 1, Why: "x"}); res.Refusal == nil || !strings.Contains(res.Refusal.Message, "being shut down") {
		t.Errorf("a host that is being shut down is given a VM: %+v", res)
	}
	note(ShutdownMigrate, false)
	if e := last(); e.Type != EventHostInMaintenance {
		t.Errorf("the history says %+v", e)
	}
	if res := note(ShutdownFreeze, false); res.Refusal == nil {
		t.Errorf("what becomes of the VMs is decided twice")
	}
	note(ShutdownMigrate, true)
	if e := last(); !r.state().Hosts["b"].Shutdown.Rest || e.Type != EventHostShutDown || !strings.Contains(e.Text, "vm1") {
		t.Errorf("of what is left the history says %+v", e)
	}
	n = r.state().LastEvent
	note(ShutdownMigrate, true)
	note(ShutdownMigrate, false)
	if !r.state().Hosts["b"].Shutdown.Rest || r.state().LastEvent != n {
		t.Errorf("said again it changes something: %+v", last())
	}
	note("", false)
	if e := last(); r.state().Hosts["b"].Shutdown != nil || e.Type != EventHostShutdownOver {
		t.Errorf("once it stays up its shutdown is %+v, and the history says %+v", r.state().Hosts["b"].Shutdown, e)
	}
	note(ShutdownFreeze, false)
	r.begin("b")
	if x := r.state().Hosts["b"].Shutdown; x != nil {
		t.Errorf("in its next life the host is still being shut down: %+v", x)
	}
	for name, c := range map[string]*NoteShutdown{
		"another epoch":       {Meta: r.meta(), Epoch: 2, Host: "b", Incarnation: 2, Action: ShutdownFreeze},
		"an earlier life":     {Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Action: ShutdownFreeze},
		"a host that is dead": {Meta: r.meta(), Epoch: 1, Host: "d", Incarnation: 1, Action: ShutdownFreeze},
		"nobody":              {Meta: r.meta(), Epoch: 1, Host: "x", Incarnation: 1, Action: ShutdownFreeze},
	} {
		if res := r.do(c); res.Refusal == nil {
			t.Errorf("%s: not refused", name)
		}
	}
	for name, c := range map[string]*NoteShutdown{
		"no action that there is": {Host: "b", Incarnation: 1, Action: "pray"},
		"the rest of no move":     {Host: "b", Incarnation: 1, Action: ShutdownFreeze, Rest: true},
	} {
		if _, err := Encode(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A VM that was moved off a host for its shutdown goes back as after maintenance.
func TestAwayForAShutdown(t *testing.T) {
	r := newCluster(t)
	r.must(&NoteShutdown{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Action: ShutdownMigrate})
	id := r.must(&BeginMove{Meta: Meta{At: day}, Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1, Why: "x"}).(uint64)
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: 1, Outcome: OutcomeMoved, Move: id})
	if a := r.state().VMs[uuid(1)].Away; a == nil || a.Host != "b" || !a.Maintenance {
		t.Errorf("it is away as %+v, want from b because of maintenance", a)
	}
}
