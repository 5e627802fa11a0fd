package fsm

import (
	"encoding/json"
	"strings"
	"testing"
)

// That a host stands aside is told once, in whatever office, until it begins a new life.
func TestAHostStandsAsideOnce(t *testing.T) {
	r := newCluster(t) // epoch 1; b lives
	say := func(epoch uint64) {
		r.Helper()
		r.must(&StandAside{Meta: r.meta(), Epoch: epoch, Host: "b", Why: "it holds less"})
	}
	check := func(when string, aside bool, told int) {
		t.Helper()
		n := 0
		for _, e := range r.state().Events {
			if e.Type == EventHostStandsAside {
				n++
				if e.Severity != Critical || e.Host != "b" || !strings.Contains(e.Text, "it holds less") {
					t.Errorf("the event is %+v", e)
				}
			}
		}
		if got := r.state().Hosts["b"].Aside != nil; got != aside || n != told {
			t.Errorf("%s it stands aside: %v, told %d times; want %v and %d", when, got, n, aside, told)
		}
	}
	check("at first", false, 0)
	say(1)
	check("once it said so", true, 1)
	say(1)
	r.must(&TakeOffice{Meta: r.meta(), Master: "a", Epoch: 2})
	say(2)
	check("when it says so again, to another office too", true, 1)
	r.must(&BeginIncarnation{Meta: r.meta(), Epoch: 2, Host: "b", Previous: r.state().Hosts["b"].Incarnation, BootID: "later", Why: "rebooted"})
	check("in its next life", false, 1)
	say(2)
	check("when it stands aside again", true, 2)
	for name, c := range map[string]*StandAside{
		"an office that was overtaken": {Meta: r.meta(), Epoch: 1, Host: "b", Why: "x"},
		"a stranger":                   {Meta: r.meta(), Epoch: 2, Host: "x", Why: "x"},
	} {
		if res := r.do(c); res.Refusal == nil {
			t.Errorf("%s: not refused", name)
		}
	}
	if _, err := Encode(&StandAside{Host: "b", Why: strings.Repeat("x", asideLimit+1)}); err == nil {
		t.Error("a word without end is taken")
	}
}

// The bytes are in the log of a cluster and in its snapshots: every later version reads them.
func TestStandAsideIsReadForEver(t *testing.T) {
	r := newCluster(t)
	if res := r.raw(append([]byte{commandVersion, 34}, `{"at":"2026-03-01T12:00:00Z","epoch":1,"host":"b","why":"less"}`...)); res.Refusal != nil {
		t.Fatal(res.Refusal)
	}
	got, err := json.Marshal(r.state().Hosts["b"])
	if want := `"aside":{"at":"2026-03-01T12:00:00Z","why":"less"}`; err != nil || !strings.Contains(string(got), want) {
		t.Errorf("host b is %s (%v), want %s in it", got, err, want)
	}
}
