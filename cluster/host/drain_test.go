package host

import (
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// A host that is being shut down asks its guests to stop, powers off those that
// do not, gives back what has stopped, and starts nothing any more.
func TestDrainingGivesEverythingBack(t *testing.T) {
	in := scene(t)
	in.ours()
	in.Draining = true
	p := Decide(in)
	if len(p.Shutdown) != 1 || len(p.Kill) != 0 || len(p.Outcomes) != 0 {
		t.Fatalf("with a guest that runs: shutdown %v, kill %v, outcomes %v; want it asked to shut down, and no more", p.Shutdown, p.Kill, p.Outcomes)
	}

	in.Stopping = map[string]time.Duration{web: at - shutdownGrace - time.Second}
	if p := Decide(in); p.Kill[web] == "" {
		t.Errorf("a guest that does not stop within its grace is not powered off: %+v", p)
	}

	in = scene(t)
	in.ours()
	in.Domains = nil
	in.see(vmm.Stopped, vmm.ReasonShutdown)
	in.Draining = true
	if p := Decide(in); len(p.Outcomes) != 1 || p.Outcomes[0].Outcome != string(fsm.OutcomeReleased) {
		t.Errorf("a guest that stopped because its host does is reported as %v; want released, so that it starts elsewhere", p.Outcomes)
	}
}

func TestDrainingStartsNothing(t *testing.T) {
	in := scene(t)
	in.own("a", 3, fsm.PhaseOrdered)
	in.Draining = true
	p := Decide(in)
	if len(p.Start) != 0 || len(p.Outcomes) != 0 || p.Raise[web] != 7 {
		t.Fatalf("an order that came with the shutdown: start %v, outcomes %v, raise %v; want generation 7 remembered before it is given back (O3)", p.Start, p.Outcomes, p.Raise)
	}
	in.Record.Executed[web] = 7
	if p := Decide(in); len(p.Start) != 0 || len(p.Outcomes) != 1 || p.Outcomes[0].Outcome != string(fsm.OutcomeReleased) {
		t.Errorf("once remembered: start %v, outcomes %v; want it given back", p.Start, p.Outcomes)
	}
}
