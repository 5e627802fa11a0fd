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
