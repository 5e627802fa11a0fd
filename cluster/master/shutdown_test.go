package master

import (
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// notes are the shutdowns that a decision notes, and where in its commands the first report stands.
func notes(d decision) (all []*fsm.NoteShutdown, report int) {
	report = len(d.commands)
	for i, c := range d.commands {
		switch c := c.(type) {
		case *fsm.NoteShutdown:
			all = append(all, c)
		case *fsm.Report:
			report = min(report, i)
		}
	}
	return all, report
}

// going is b, which runs web and is being shut down, under a policy.
func going(t *testing.T, action string) input {
	t.Helper()
	in := scene(t)
	in.policy = waitTrusted()
	in.policy.Shutdown.Action = action
	in.owner("b", 2, fsm.PhaseRunning)
	in.state.VMs[web].Intent = fsm.IntentRun
	in.hosts["b"].report.Draining = true
	return in
}

func TestShutdownIsNotedBeforeItsReports(t *testing.T) {
	for _, x := range []struct {
		action string
		reboot bool
		want   string
	}{
		{config.ShutdownFailover, true, fsm.ShutdownFailover}, {config.ShutdownMigrate, false, fsm.ShutdownMigrate}, {config.ShutdownFreeze, false, fsm.ShutdownFreeze},
		{config.ShutdownConditional, true, fsm.ShutdownFreeze}, {config.ShutdownConditional, false, fsm.ShutdownFailover},
	} {
		in := going(t, x.action)
		in.hosts["b"].report.Reboot = x.reboot
		in.says("b", fsm.OutcomeReleased, 7)
		d := decide(in)
		all, report := notes(d)
		if len(all) != 1 || all[0].Action != x.want || all[0].Reboot != x.reboot || all[0].Incarnation != 2 {
			t.Fatalf("%s, reboot %v: noted is %+v, want %s", x.action, x.reboot, all, x.want)
		}
		if _, first := d.commands[0].(*fsm.NoteShutdown); !first || report == len(d.commands) {
			t.Errorf("%s: the first of %d commands is %T, and the first report is number %d: what is given back before would start elsewhere", x.action, len(d.commands), d.commands[0], report)
		}
	}
	in := going(t, config.ShutdownFreeze)
	in.hosts["b"].networks = map[string]time.Duration{}
	in.hosts["b"].reachedAt = elected
	if all, _ := notes(decide(in)); len(all) != 0 {
		t.Errorf("what a host said long ago is noted: %+v", all[0])
	}
}

func TestShutdownThatIsOver(t *testing.T) {
	in := going(t, config.ShutdownFreeze)
	mark := &fsm.Shutdown{Incarnation: 2, Action: fsm.ShutdownFreeze}
	in.state.Hosts["b"].Shutdown = mark
	if all, _ := notes(decide(in)); len(all) != 0 {
		t.Errorf("it is noted again: %+v", all[0])
	}
	in.hosts["b"].report.Draining = false
	if all, _ := notes(decide(in)); len(all) != 1 || all[0].Action != "" {
		t.Errorf("of a host that stayed up is noted %+v, want that it is not shut down", all)
	}
}

// What is left on a host that is emptied is shut down once a plan, made since, says of each VM that it stays.
func TestTheRestIsShutDown(t *testing.T) {
	for name, x := range map[string]struct {
		do   func(in *input)
		want bool
	}{
		"all stay":             {func(*input) {}, true},
		"one leaves":           {func(in *input) { in.moves.Stay = nil }, false},
		"another host's stays": {func(in *input) { in.moves.Stay[0].Host = "c" }, false},
		"it is on its way":     {func(in *input) { in.state.VMs[web].Move = &fsm.Move{ID: 4, Host: "c", Incarnation: 2, At: wall} }, false},
		"its move came to nothing once": {func(in *input) {
			in.moves.Stay, in.state.VMs[web].MoveFailures = nil, []fsm.Failure{{At: wall.Add(-time.Hour)}, {At: wall}}
		}, false},
		"its moves came to nothing twice": {func(in *input) {
			in.moves.Stay, in.state.VMs[web].MoveFailures = nil, []fsm.Failure{{At: wall}, {At: wall}}
		}, true},
		"there is no plan":                   {func(in *input) { in.moves = nil }, false},
		"the plan is of before the shutdown": {func(in *input) { in.moves.state.Hosts["b"] = &fsm.Host{Name: "b"} }, false},
		"the plan is of another policy":      {func(in *input) { in.policy = waitTrusted() }, false},
		"it is said already":                 {func(in *input) { in.state.Hosts["b"].Shutdown.Rest = true }, false},
		"nothing is left":                    {func(in *input) { in.state.VMs[web].Owner = nil }, false},
		"a person stops it anyway":           {func(in *input) { in.state.VMs[web].Intent = fsm.IntentStop }, false},
		"they are to wait for their host":    {func(in *input) { in.state.Hosts["b"].Shutdown.Action = fsm.ShutdownFreeze }, false},
	} {
		in := going(t, config.ShutdownMigrate)
		in.state.Hosts["b"].Shutdown = &fsm.Shutdown{Incarnation: 2, Since: wall.Add(-time.Minute), Action: fsm.ShutdownMigrate}
		before := *in.state
		before.Hosts = map[string]*fsm.Host{"a": in.state.Hosts["a"], "b": in.state.Hosts["b"], "c": in.state.Hosts["c"]}
		in.moves = &movePlan{Moves: &placement.Moves{Stay: []placement.Stay{{VM: "web", Host: "b", Cause: placement.Evacuate, Why: "no room"}}}, state: &before, policy: in.policy, uuids: map[string]string{"web": web}}
		x.do(&in)
		all, _ := notes(decide(in))
		if got := len(all) == 1 && all[0].Rest && all[0].Action == fsm.ShutdownMigrate; got != x.want || len(all) > 1 {
			t.Errorf("%s: noted is %+v, want that the rest is shut down: %v", name, all, x.want)
		}
	}
}

// A host that is emptied for its shutdown can be left by its VMs, one that gives them back cannot, and neither is given any.
func TestRoomOfAHostThatIsShutDown(t *testing.T) {
	for action, want := range map[string]placement.HostState{"": placement.Closed, fsm.ShutdownFailover: placement.Closed, fsm.ShutdownFreeze: placement.Closed, fsm.ShutdownMigrate: placement.Maintenance} {
		in := going(t, config.ShutdownMigrate)
		if action != "" {
			in.state.Hosts["b"].Shutdown = &fsm.Shutdown{Incarnation: 2, Action: action}
		}
		rh, known := room(in, in.state.Hosts["b"])
		if !known || rh.State != want || (rh.Frozen == "") != (want == placement.Maintenance) {
			t.Errorf("with action %q it is %v, frozen %q, want %v", action, rh.State, rh.Frozen, want)
		}
	}
}

// A host that went down in good order and has nothing that anybody waits for is not switched off: it may be booting.
func TestAHostThatWasShutDownIsNotFenced(t *testing.T) {
	for name, x := range map[string]struct {
		do   func(in *input)
		want bool
	}{
		"it was not shut down":           {func(in *input) { in.state.Hosts["b"].Shutdown = nil }, true},
		"it gave its VMs back":           {func(*input) {}, false},
		"it did not give back all of it": {func(in *input) { in.owner("b", 2, fsm.PhaseRunning) }, true},
	} {
		in := scene(t)
		in.policy.Hosts = map[string]config.HostRule{"b": {Fence: [][]string{{"bmc"}}}}
		in.state.Hosts["b"].Shutdown = &fsm.Shutdown{Incarnation: 2, Action: fsm.ShutdownFreeze}
		in.silent("b", 8*time.Second)
		in.hosts["b"].watch.Suspected = now - 6*time.Second
		x.do(&in)
		if got := len(decide(in).fence) == 1; got != x.want {
			t.Errorf("%s: it is switched off: %v, want %v", name, got, x.want)
		}
	}
}
