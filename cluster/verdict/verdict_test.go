package verdict

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/fsm"
)

const bound = 1500 * time.Millisecond

func signals() Signals {
	return Signals{Status: fsm.HostLive, Incarnation: 3, Heard: time.Second, Bound: bound, By: "a",
		Networks: map[string]time.Duration{"storage": 2 * time.Second, "mgmt": time.Second}}
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   func(*Signals)
		want Verdict
	}{
		{"heard", func(*Signals) {}, Live},
		{"silent for exactly the bound", func(s *Signals) { s.Heard = bound }, Live},
		{"silent for longer", func(s *Signals) { s.Heard = bound + 1 }, Suspect},
		{"heard again, and the master has not withdrawn yet", func(s *Signals) { s.Suspected = true }, Suspect},
		{"dead, whatever is heard", func(s *Signals) { s.Status = fsm.HostDead }, Dead},
		{"no incarnation yet, whatever is not heard", func(s *Signals) { s.Status, s.Heard = fsm.HostJoining, time.Hour }, Joining},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := signals()
			tt.in(&s)
			if got, _ := Judge(s); got != tt.want {
				t.Errorf("the verdict is %s, want %s", got, tt.want)
			}
		})
	}
}

func TestEvidenceNamesEveryNetwork(t *testing.T) {
	s := signals()
	s.Networks["third"] = -1
	_, got := Judge(s)
	want := []fsm.Evidence{
		{Signal: "heartbeat over mgmt", Value: "arrives", Age: time.Second, By: "a"},
		{Signal: "heartbeat over storage", Value: "none for 2s (the bound is 1.5s)", Age: 2 * time.Second, By: "a"},
		{Signal: "heartbeat over third", Value: "none since this master took office", By: "a"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the evidence differs (-want +got):\n%s", d)
	}
}

func TestQuiet(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   func(*Signals)
		want []string
	}{
		{"both are heard", func(*Signals) {}, nil},
		{"one has been silent for four bounds", func(s *Signals) { s.Networks["mgmt"] = 4 * bound }, nil},
		{"one has been silent for longer", func(s *Signals) { s.Networks["mgmt"] = 4*bound + 1 }, []string{"mgmt"}},
		{"two of three", func(s *Signals) {
			s.Networks = map[string]time.Duration{"z": time.Hour, "m": 0, "a": time.Hour}
		}, []string{"a", "z"}},
		{"the host itself is silent", func(s *Signals) { s.Networks["mgmt"], s.Heard = time.Hour, bound+1 }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := signals()
			tt.in(&s)
			if got := Quiet(s); !slices.Equal(got, tt.want) {
				t.Errorf("quiet are %v, want %v", got, tt.want)
			}
		})
	}
}
