package host

import (
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// When a host that is being shut down has its guests shut down: at once where that is all there is to
// do, else once the master has said what becomes of them, or cannot.
func TestGivesBack(t *testing.T) {
	timing := standard(t)
	patience := timing.MasterBound()
	mark := func(action string, rest bool) *fsm.Shutdown {
		return &fsm.Shutdown{Incarnation: 3, Action: action, Rest: rest}
	}
	for _, x := range []struct {
		name   string
		action string // of the policy
		mark   *fsm.Shutdown
		after  time.Duration
		want   bool
	}{
		{"failover waits for nobody", config.ShutdownFailover, nil, 0, true},
		{"conditional, and it is no reboot", config.ShutdownConditional, nil, 0, true},
		{"freeze, before it is decided", config.ShutdownFreeze, nil, patience - 1, false},
		{"freeze, and nobody decides", config.ShutdownFreeze, nil, patience, true},
		{"freeze, decided", config.ShutdownFreeze, mark(fsm.ShutdownFreeze, false), 0, true},
		{"decided for an earlier life", config.ShutdownFreeze, &fsm.Shutdown{Incarnation: 2, Action: fsm.ShutdownFreeze}, 0, false},
		{"migrate, before it is decided", config.ShutdownMigrate, nil, patience - 1, false},
		{"migrate, and nobody decides", config.ShutdownMigrate, nil, patience, true},
		{"migrate, while VMs leave", config.ShutdownMigrate, mark(fsm.ShutdownMigrate, false), time.Minute - 1, false},
		{"migrate, and they have had their time", config.ShutdownMigrate, mark(fsm.ShutdownMigrate, false), time.Minute, true},
		{"migrate, and nothing more can leave", config.ShutdownMigrate, mark(fsm.ShutdownMigrate, true), 0, true},
		{"what was decided counts, not another policy since", config.ShutdownFailover, mark(fsm.ShutdownMigrate, false), 0, false},
	} {
		s := &fsm.State{Hosts: map[string]*fsm.Host{"a": {Name: "a", Shutdown: x.mark}}}
		p := config.ShutdownPolicy{Action: x.action, MigrateTimeout: time.Minute}
		if got := givesBack(closing{on: true, since: at}, s, "a", 3, p, at+x.after, timing); got != x.want {
			t.Errorf("%s: after %v it gives back: %v, want %v", x.name, x.after, got, x.want)
		}
		if givesBack(closing{}, s, "a", 3, p, at+time.Hour, timing) {
			t.Errorf("%s: it gives back though it is not shut down", x.name)
		}
	}
}

// While its VMs are moved off a host that is being shut down, they run on, and move; what was to
// start there is given back.
func TestClosingMovesAndStartsNothing(t *testing.T) {
	in := scene(t)
	in.ours()
	in.Closing = true
	in.vm().Move = &fsm.Move{ID: 9, Host: "b", Incarnation: 2}
	if p := Decide(in); len(p.Migrate) != 1 || len(p.Shutdown) != 0 {
		t.Errorf("a VM that is to leave: migrate %v, shutdown %v; want it moved", p.Migrate, p.Shutdown)
	}
	in.Leaving = map[string]uint64{web: 9}
	if p := Decide(in); len(p.Abort) != 0 {
		t.Errorf("a VM that is leaving is held back: %v", p.Abort)
	}
	in.Draining = true
	if p := Decide(in); len(p.Abort) != 1 {
		t.Errorf("once everything is given back the migration goes on")
	}

	in = scene(t)
	in.own("a", 3, fsm.PhaseOrdered)
	in.Closing = true
	if p := Decide(in); len(p.Start) != 0 || p.Raise[web] != 7 {
		t.Fatalf("an order: start %v, raise %v; want generation 7 remembered, to be given back", p.Start, p.Raise)
	}
	in.Record.Executed[web] = 7
	if p := Decide(in); len(p.Outcomes) != 1 || p.Outcomes[0].Outcome != string(fsm.OutcomeReleased) {
		t.Errorf("an order that is not carried out is reported as %v, want released", p.Outcomes)
	}

	in = scene(t)
	in.ours()
	in.Domains = nil
	in.see(vmm.Stopped, vmm.ReasonShutdown)
	in.Closing = true
	if p := Decide(in); len(p.Outcomes) != 1 || p.Outcomes[0].Outcome != string(fsm.OutcomeStopped) {
		t.Errorf("a guest that shut down by itself while others leave is reported as %v, want stopped", p.Outcomes)
	}
}

func TestDrainLimit(t *testing.T) {
	p := config.ShutdownPolicy{Action: config.ShutdownFreeze, MigrateTimeout: time.Hour}
	if got := DrainLimit(p); got != drainSpare || got < shutdownGrace {
		t.Errorf("where nothing is moved it may take %v", got)
	}
	p.Action = config.ShutdownMigrate
	if got := DrainLimit(p); got != time.Hour+drainSpare {
		t.Errorf("where VMs are moved it may take %v", got)
	}
}
