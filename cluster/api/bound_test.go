package api

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// Whoever reads the status knows before a host falls silent what will be asked for then.
func TestWhatBoundsTheVMsOfASilentHostIsTold(t *testing.T) {
	for name, tt := range map[string]struct {
		mode    string
		dog     time.Duration
		devices [][]string
		bound   string
		problem string // begins so; empty: none
	}{
		"a watchdog":                     {config.FencingRequired, time.Second, nil, BoundWatchdog, ""},
		"a watchdog, and a trusting one": {config.FencingBestEffort, time.Second, nil, BoundWatchdog, ""},
		"fence devices":                  {config.FencingRequired, 0, [][]string{{"bmc"}}, BoundDevice, ""},
		"nothing":                        {config.FencingRequired, 0, nil, BoundNothing, "b has neither"},
		"the wait":                       {config.FencingBestEffort, 0, [][]string{{"bmc"}}, BoundWait, "fencing.mode is \"best_effort\", and b has no"},
	} {
		t.Run(name, func(t *testing.T) {
			p := config.DefaultPolicy("test")
			p.Fencing.Mode, p.Hosts = tt.mode, map[string]config.HostRule{"b": {Fence: tt.devices}}
			w := World{Policy: p, State: &fsm.State{Hosts: map[string]*fsm.Host{
				"b": {Name: "b", Status: fsm.HostLive, Watchdog: fsm.Watchdog{Word: 1, Timeout: tt.dog}},
				"c": {Name: "c", Status: fsm.HostDead},
			}}}
			if got := w.bound(w.State.Hosts["b"]); got != tt.bound {
				t.Errorf("its VMs are bounded by %s, want %s", got, tt.bound)
			}
			problems := w.boundProblems()
			if tt.problem == "" && len(problems) != 0 || tt.problem != "" && (len(problems) != 1 || !strings.HasPrefix(problems[0].Text, tt.problem)) {
				t.Errorf("the status says %+v, want %q", problems, tt.problem)
			}
		})
	}
}

// A VM that stays down for want of a proof says so, and what to do.
func TestProofThatIsAwaitedIsExplained(t *testing.T) {
	h := &fsm.Host{Name: "b", Status: fsm.HostLive, Incarnation: 2, Verdict: "suspect"}
	vm := &fsm.VM{UUID: "00000000-0000-4000-8000-000000000001", Name: "web", Intent: fsm.IntentRun, Owner: &fsm.Placement{Host: "b", Incarnation: 2, Generation: 3, Phase: fsm.PhaseRunning}}
	w := World{Policy: config.DefaultPolicy("test"), State: &fsm.State{Hosts: map[string]*fsm.Host{"b": h}, VMs: map[string]*fsm.VM{vm.UUID: vm}},
		Observed: map[string]HostObservation{"b": {Verdict: "suspect", Suspected: true, NeedsProof: true}}, Self: Self{Name: "a", Master: "a", IsMaster: true}}
	told := func(e *Explanation, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, r := range e.Steps {
			b.WriteString(r.Rule + ": " + r.Text + "\n")
		}
		return b.String()
	}
	for what, text := range map[string]string{"the VM": told(w.ExplainVM("web")), "its host": told(w.ExplainHost("b"))} {
		if !strings.Contains(text, "R9: ") || !strings.Contains(text, "haadm fence confirm b") {
			t.Errorf("of %s it is said:\n%s", what, text)
		}
	}
}
