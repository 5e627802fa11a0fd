package fsm

import (
	"encoding/json"
	"strings"
	"testing"
)

// A hold outlives offices and lives of the agent, and ends where a person says so or the
// host has been switched on by somebody.
func TestHoldLastsUntilTheHostIsSwitchedOn(t *testing.T) {
	r := newCluster(t) // epoch 1; b lives
	hold := func(off bool) {
		r.Helper()
		r.must(&HoldHost{Meta: r.meta(), Epoch: r.state().Office.Epoch, Host: "b", Off: off})
	}
	begin := func(boot string) {
		r.Helper()
		s := r.state()
		r.must(&BeginIncarnation{Meta: r.meta(), Epoch: s.Office.Epoch, Host: "b", Previous: s.Hosts["b"].Incarnation, BootID: boot, Why: "rebooted"})
	}
	check := func(when string, want bool) {
		t.Helper()
		if got := r.state().Hosts["b"].Held != nil; got != want {
			t.Errorf("%s it is held: %v, want %v", when, got, want)
		}
	}
	events := func() (n int) {
		for _, e := range r.state().Events {
			if e.Type == EventHostHeldOff {
				n++
			}
		}
		return n
	}
	check("at first", false)
	hold(false) // nothing to end
	hold(true)
	hold(true) // asked for again
	check("once asked for", true)
	if n := events(); n != 1 {
		t.Errorf("%d events of it, want one", n)
	}
	r.must(&TakeOffice{Meta: r.meta(), Master: "a", Epoch: 2})
	check("in the next office", true)
	begin("boot") // of an agent that was restarted before the power went
	check("in another life of the same boot", true)
	r.must(&ConfirmOff{Meta: r.meta(), Epoch: 2, Host: "b", Incarnation: r.state().Hosts["b"].Incarnation, Text: "off"})
	check("dead", true)
	begin("another boot")
	check("booted", false)
	hold(true)
	hold(false)
	check("ended by a person", false)
	for name, c := range map[string]*HoldHost{
		"an office that was overtaken": {Meta: r.meta(), Epoch: 1, Host: "b", Off: true},
		"a stranger":                   {Meta: r.meta(), Epoch: 2, Host: "x", Off: true},
	} {
		if res := r.do(c); res.Refusal == nil {
			t.Errorf("%s: not refused", name)
		}
	}
}

// The bytes are in the log of a cluster and in its snapshots: every later version reads them.
func TestHoldIsReadForEver(t *testing.T) {
	r := newCluster(t)
	if res := r.raw(append([]byte{commandVersion, 30}, `{"at":"2026-03-01T12:00:00Z","by":"ann","epoch":1,"host":"b","off":true}`...)); res.Refusal != nil {
		t.Fatal(res.Refusal)
	}
	got, err := json.Marshal(r.state().Hosts["b"])
	if want := `"held":{"by":"ann","at":"2026-03-01T12:00:00Z"}`; err != nil || !strings.Contains(string(got), want) {
		t.Errorf("host b is %s (%v), want %s in it", got, err, want)
	}
}
