package master

import (
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// M4: a copy that waits for the end of a move is nothing that runs: it is not protected as
// such, makes its host nobody's owner, and hides no other place of the VM.
func TestACopyThatWaitsIsNoRun(t *testing.T) {
	waits := func(in *input, host, uuid, name string) {
		x := in.lists(host, uuid, name, vmm.Paused)
		x.Reason = vmm.ReasonIncoming
	}
	all := config.DefaultPolicy("test")
	all.Defaults.Protect = config.ProtectAll
	for name, in := range map[string]func(in *input){
		"of a VM that nobody protects": func(in *input) { waits(in, "c", db, "db"); in.hosts["c"].defs[db] = "<domain/>" },
		"of a VM that nobody owns":     func(in *input) { in.vm().Intent = fsm.IntentStop; waits(in, "c", web, "web") },
		"of another host's VM": func(in *input) {
			in.owner("b", 2, fsm.PhaseRunning)
			in.lists("b", web, "web", vmm.Running)
			waits(in, "c", web, "web")
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := scene(t)
			x.policy = all
			in(&x)
			for _, line := range brief(decide(x)) {
				if strings.HasPrefix(line, "adopt") || strings.HasPrefix(line, "protect") || strings.HasPrefix(line, "record") || strings.HasPrefix(line, "want") {
					t.Errorf("it comes to %q", line)
				}
			}
		})
	}
	x := scene(t)
	waits(&x, "c", db, "db")
	if runsElsewhere(x, "b", db, false) {
		t.Error("a copy that waits on c keeps the VM from being protected on b")
	}
}

// What a host says of a move is proposed with its number, and a failure only while it stands.
func TestOutcomesOfMoves(t *testing.T) {
	for _, tt := range []struct {
		outcome fsm.Outcome
		stands  uint64
		want    bool
	}{
		{fsm.OutcomeMoved, 40, true},
		{fsm.OutcomeMoved, 0, true}, // called off: the VM is released by it
		{fsm.OutcomeMoveFailed, 40, true},
		{fsm.OutcomeMoveFailed, 41, false},
		{fsm.OutcomeMoveFailed, 0, false},
	} {
		in := scene(t)
		in.owner("b", 2, fsm.PhaseRunning)
		if tt.stands != 0 {
			in.vm().Move = &fsm.Move{ID: tt.stands, Host: "c", Incarnation: 1}
		}
		in.hosts["b"].report.Outcomes = []api.OutcomeReport{{UUID: web, Generation: 7, Outcome: string(tt.outcome), Move: 40}}
		proposed := slices.ContainsFunc(decide(in).commands, func(c fsm.Command) bool {
			r, ok := c.(*fsm.Report)
			return ok && r.Outcome == tt.outcome && r.Move == 40
		})
		if proposed != tt.want {
			t.Errorf("%s of move 40 while %d stands: proposed %v, want %v", tt.outcome, tt.stands, proposed, tt.want)
		}
	}
}
