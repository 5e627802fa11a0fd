package host

import (
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// to orders the VM of the tables to a host in that incarnation, as move 40.
func (in *Input) to(host string, incarnation uint64) *fsm.Move {
	in.vm().Move = &fsm.Move{ID: 40, Host: host, Incarnation: incarnation, Why: "a person asked for it"}
	return in.vm().Move
}

// goes is the VM of ours that shall go to b.
func (in *Input) goes() {
	in.ours()
	in.to("b", 2)
}

// begun is the same, when the migration has been begun, and ended without its leaving.
func (in *Input) begun() {
	in.goes()
	in.Record.Ways = map[string]Way{web: {Move: 40}}
	in.Left = map[string]Left{web: {Move: 40, Detail: "no route to b"}}
}

// under is the same while this agent waits for the migration.
func (in *Input) under() {
	in.begun()
	in.Left, in.Leaving = nil, map[string]uint64{web: 40}
}

// cold is the VM of ours that was asked to shut down a second ago, to be started on b.
func (in *Input) cold() {
	in.goes()
	in.vm().Move.Cold = true
	in.Record.Ways = map[string]Way{web: {Move: 40, Cold: true}}
	in.Stopping[web] = at - time.Second
}

func (in *Input) now(s vmm.State, r vmm.Reason) {
	in.Domains = nil
	in.see(s, r)
}

func moveOutcome(o fsm.Outcome, detail string) []api.OutcomeReport {
	return []api.OutcomeReport{{UUID: web, Generation: 7, Outcome: string(o), Detail: detail, Move: 40}}
}

var (
	departure = []Departure{{UUID: web, Name: "web", Host: "b", Move: 40}}
	asked     = map[string]time.Duration{web: at - time.Second}
	only      = []string{web}
)

func TestDecideAtTheSourceOfAMove(t *testing.T) {
	tests := []struct {
		name string
		in   func(*Input)
		want Plan
	}{
		{"ordered", func(in *Input) { in.goes() }, Plan{Ways: map[string]Way{web: {Move: 40}}, Migrate: departure}},
		{"ordered, and the guard does not know the process yet", func(in *Input) { in.goes(); in.Covered[web] = false }, Plan{Cover: []vmm.Domain{process(1001, 5)}}},
		{"ordered, and it does not run at this moment", func(in *Input) { in.goes(); in.now(vmm.Paused, vmm.ReasonIOError) },
			Plan{Outcomes: moveOutcome(fsm.OutcomeMoveFailed, "it does not run at this moment: it is paused (io_error)")}},
		{"ordered on an isolated host", func(in *Input) {
			in.goes()
			in.Response.Standing = verdict.Alone
			in.Policy = func(string) verdict.ResponsePolicy { return verdict.ResponsePolicy{} }
		}, Plan{}},
		{"ordered while the host is shut down", func(in *Input) { in.goes(); in.Draining = true }, Plan{Stopping: map[string]time.Duration{web: at}, Shutdown: only}},
		{"ordered of another life of this host", func(in *Input) { in.goes(); in.own("a", 2, fsm.PhaseRunning) },
			Plan{Kill: map[string]string{web: "it is owned by a (incarnation 2, generation 7)"}}},

		{"under way", func(in *Input) { in.under() }, Plan{}},
		{"under way, and stopped for its last pages", func(in *Input) { in.under(); in.now(vmm.Paused, vmm.ReasonMigrated) }, Plan{}},
		{"under way, and an old list says that it has left", func(in *Input) { in.under(); in.now(vmm.Stopped, vmm.ReasonMigrated) }, Plan{}},
		{"under way and called off", func(in *Input) { in.under(); in.vm().Move = nil }, Plan{Abort: only}},
		{"under way, and another move is ordered", func(in *Input) { in.under(); in.vm().Move.ID = 41 }, Plan{Abort: only}},
		{"under way, and it shall stop", func(in *Input) { in.under(); in.vm().Intent = fsm.IntentStop }, Plan{Abort: only}},
		{"under way, and the host is shut down", func(in *Input) { in.under(); in.Draining = true }, Plan{Abort: only}},
		{"under way, and the host is isolated", func(in *Input) {
			in.under()
			in.Response.Standing = verdict.Alone
			in.Policy = func(string) verdict.ResponsePolicy {
				return verdict.ResponsePolicy{Action: verdict.PowerOff}
			}
		}, Plan{Abort: only}},
		{"under way, and nobody protects it any more", func(in *Input) { in.under(); delete(in.State.VMs, web) }, Plan{Abort: only, Known: []string{}}},

		{"failed", func(in *Input) { in.begun() }, Plan{Outcomes: moveOutcome(fsm.OutcomeMoveFailed, "no route to b")}},
		{"failed, and the state has it", func(in *Input) { in.begun(); in.vm().Move = nil }, Plan{Forget: only}},
		{"failed, and another is ordered", func(in *Input) { in.begun(); in.vm().Move.ID = 41 },
			Plan{Ways: map[string]Way{web: {Move: 41}}, Migrate: []Departure{{UUID: web, Name: "web", Host: "b", Move: 41}}}},
		{"begun by an earlier agent", func(in *Input) { in.begun(); in.Left = nil }, Plan{Abort: only}},
		{"begun by an earlier agent and called off", func(in *Input) { in.begun(); in.Left = nil; in.vm().Move = nil }, Plan{Abort: only}},
		{"begun by an earlier agent, and the host is shut down", func(in *Input) { in.begun(); in.Left = nil; in.Draining = true }, Plan{Abort: only}},
		{"what became of it is not known, only of one before", func(in *Input) { in.begun(); in.Left[web] = Left{Move: 39} }, Plan{Abort: only}},
		{"ended, and its processors still stand still for it", func(in *Input) { in.begun(); in.now(vmm.Paused, vmm.ReasonMigrated) }, Plan{Abort: only}},
		{"a job is under way", func(in *Input) { in.begun(); in.Left = nil; in.Busy[web] = true }, Plan{}},

		{"it has left", func(in *Input) {
			in.begun()
			in.Left[web] = Left{Move: 40, Moved: true}
			in.now(vmm.Stopped, vmm.ReasonMigrated)
		},
			Plan{Outcomes: moveOutcome(fsm.OutcomeMoved, "web has left to go to b"), Uncover: only}},
		{"it has left, and the hypervisor forgot why it stopped", func(in *Input) {
			in.begun()
			in.Left[web] = Left{Move: 40, Moved: true}
			in.now(vmm.Stopped, vmm.ReasonUnknown)
		},
			Plan{Outcomes: moveOutcome(fsm.OutcomeMoved, "web has left to go to b"), Uncover: only}},
		{"it has left while no agent was there", func(in *Input) { in.begun(); in.Left = nil; in.now(vmm.Stopped, vmm.ReasonMigrated) },
			Plan{Outcomes: moveOutcome(fsm.OutcomeMoved, "web has left to go to b"), Uncover: only}},
		{"it has left, and that was called off", func(in *Input) { in.begun(); in.vm().Move = nil; in.now(vmm.Stopped, vmm.ReasonMigrated) },
			Plan{Outcomes: outcome(fsm.OutcomeReleased, "web has left for a move that has been called off"), Uncover: only}},
		{"it has left, and another move is ordered", func(in *Input) { in.begun(); in.vm().Move.ID = 41; in.now(vmm.Stopped, vmm.ReasonMigrated) },
			Plan{Outcomes: outcome(fsm.OutcomeReleased, "web has left for a move that has been called off"), Uncover: only}},
		{"it crashed on its way", func(in *Input) { in.begun(); in.now(vmm.Stopped, vmm.ReasonCrashed) },
			Plan{Outcomes: outcome(fsm.OutcomeCrashed, "web ended without anybody asking (crashed)"), Uncover: only}},
		{"it was shut down on its way", func(in *Input) { in.begun(); in.now(vmm.Stopped, vmm.ReasonShutdown) },
			Plan{Outcomes: outcome(fsm.OutcomeStopped, "web was shut down"), Uncover: only}},
		{"a person migrated it before the move was begun", func(in *Input) { in.goes(); in.now(vmm.Stopped, vmm.ReasonMigrated) },
			Plan{Outcomes: outcome(fsm.OutcomeReleased, "web was migrated away by a person"), Uncover: only}},
		{"it has left and is another's", func(in *Input) { in.begun(); in.own("b", 2, fsm.PhaseRunning); in.now(vmm.Stopped, vmm.ReasonMigrated) },
			Plan{Forget: only, Uncover: only}},

		{"cold", func(in *Input) { in.goes(); in.vm().Move.Cold = true },
			Plan{Ways: map[string]Way{web: {Move: 40, Cold: true}}, Shutdown: only, Stopping: map[string]time.Duration{web: at}}},
		{"cold, and the guest takes its time", func(in *Input) { in.cold() }, Plan{Stopping: asked}},
		{"cold, and the guest does not obey", func(in *Input) { in.cold(); in.Stopping[web] = at - 61*time.Second },
			Plan{Kill: map[string]string{web: "it was asked to stop 1m1s ago and has not"}, Stopping: map[string]time.Duration{web: at - 61*time.Second}}},
		{"cold, after a restart of the agent", func(in *Input) { in.cold(); clear(in.Stopping) }, Plan{Shutdown: only, Stopping: map[string]time.Duration{web: at}}},
		{"cold and down", func(in *Input) { in.cold(); in.now(vmm.Stopped, vmm.ReasonShutdown) },
			Plan{Outcomes: moveOutcome(fsm.OutcomeMoved, "web was shut down to go to b"), Uncover: only}},
		{"cold and down, and called off", func(in *Input) { in.cold(); in.vm().Move = nil; in.now(vmm.Stopped, vmm.ReasonShutdown) },
			Plan{Outcomes: outcome(fsm.OutcomeReleased, "web was shut down for a move that has been called off"), Uncover: only}},
		{"cold, and a person saved it instead", func(in *Input) { in.cold(); in.now(vmm.Stopped, vmm.ReasonSaved) },
			Plan{Outcomes: outcome(fsm.OutcomeStopped, "web was saved to a file by a person"), Uncover: only}},
		{"cold and called off, while the guest may still obey", func(in *Input) { in.cold(); in.vm().Move = nil }, Plan{Stopping: asked}},
		{"cold and called off, while the guest may still obey, and to go live", func(in *Input) { in.cold(); in.vm().Move.ID, in.vm().Move.Cold = 41, false }, Plan{Stopping: asked}},
		{"cold and called off, long ago", func(in *Input) { in.cold(); in.vm().Move = nil; in.Stopping[web] = at - 61*time.Second }, Plan{Forget: only}},
		{"cold and called off, and it shall stop", func(in *Input) {
			in.cold()
			in.vm().Move, in.vm().Intent = nil, fsm.IntentStop
			in.now(vmm.Stopped, vmm.ReasonShutdown)
		}, Plan{Outcomes: outcome(fsm.OutcomeReleased, "web was stopped as a person asked"), Uncover: only}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := scene(t)
			tt.in(&in)
			if tt.want.Known == nil {
				tt.want.Known = only
			}
			if d := diff(tt.want, Decide(in)); d != "" {
				t.Errorf("the plan differs (-want +got):\n%s", d)
			}
		})
	}
}

// arrived is a copy of the VM, which b owns, that waits here for its move to end.
func (in *Input) arrived() {
	in.own("b", 2, fsm.PhaseRunning)
	in.see(vmm.Paused, vmm.ReasonIncoming)
	in.to("a", 3)
}

// given is the same after b has said that it has the VM no more.
func (in *Input) given() {
	in.arrived()
	in.vm().Move = nil
	in.own("a", 3, fsm.PhaseOrdered)
	in.vm().Owner.From = "b"
}

func TestDecideAtTheTargetOfAMove(t *testing.T) {
	let := []Order{{UUID: web, Name: "web", Generation: 7, XML: []byte("packed"), Why: "most free memory", Copy: vmm.Process{PID: 1001, StartTime: 5}}}
	anew := []Order{{UUID: web, Name: "web", Generation: 7, XML: []byte("packed"), Why: "most free memory", Lost: true}}
	since := func(d time.Duration) map[string]time.Duration { return map[string]time.Duration{web: at - d} }
	over := func(in *Input) { in.arrived(); in.vm().Move = nil }
	tests := []struct {
		name string
		in   func(*Input)
		want Plan
	}{
		{"it waits", func(in *Input) { in.arrived() }, Plan{}},
		{"it waits, and has for long", func(in *Input) { in.arrived(); in.Foreign = since(time.Hour) }, Plan{}},
		{"it runs", func(in *Input) { in.arrived(); in.now(vmm.Running, "") }, Plan{Cover: []vmm.Domain{process(1001, 5)}, Foreign: since(0)}},
		{"it runs for long", func(in *Input) {
			in.arrived()
			in.now(vmm.Running, "")
			in.Covered[web] = true
			in.Foreign = since(time.Hour)
		},
			Plan{Kill: map[string]string{web: "it is owned by b (incarnation 2, generation 7)"}}},
		{"it comes for an earlier life of this host", func(in *Input) { in.arrived(); in.vm().Move.Incarnation = 2 }, Plan{Foreign: since(0)}},
		{"it comes, and the VM shall come cold", func(in *Input) { in.arrived(); in.vm().Move.Cold = true }, Plan{Foreign: since(0)}},
		{"it comes, and the VM shall go elsewhere", func(in *Input) { in.arrived(); in.vm().Move.Host = "c" }, Plan{Foreign: since(0)}},
		{"its move is over", over, Plan{Foreign: since(0)}},
		{"its move is over for a moment", func(in *Input) { over(in); in.Foreign = since(3 * time.Second) }, Plan{Foreign: since(3 * time.Second)}},
		{"its move is over for good", func(in *Input) { over(in); in.Foreign = since(3*time.Second + 1) }, Plan{Kill: map[string]string{web: leftover}}},
		{"its owner is dead", func(in *Input) { over(in); in.own("c", 1, fsm.PhaseRunning) }, Plan{Foreign: since(0)}},
		{"nobody owns it", func(in *Input) { over(in); in.vm().Owner = nil }, Plan{Foreign: since(0)}},
		{"nobody owns it for long", func(in *Input) { over(in); in.vm().Owner = nil; in.Foreign = since(4 * time.Second) }, Plan{Kill: map[string]string{web: leftover}}},
		{"it was seen running here, of all", func(in *Input) {
			over(in)
			in.vm().Owner, in.vm().Sighting = nil, &fsm.Sighting{Host: "a", Generation: 7}
			in.Covered[web] = true
		}, Plan{Foreign: since(0)}},

		{"it is given to this host", func(in *Input) { in.given() }, Plan{Start: let}},
		{"it is given to this host, and the lease leaves less than the margin", func(in *Input) { in.given(); in.Lease.End = at + in.Timing.StartMargin() - 1 }, Plan{}},
		{"it is given to this host, whose watchdog is lost", func(in *Input) { in.given(); in.Bounded = false }, Plan{}},
		{"it is given to this host, and an earlier agent was at it", func(in *Input) { in.given(); in.Record.Executed[web] = 7 }, Plan{Kill: map[string]string{web: interrupted}}},
		{"it is given to this host and was let run, and the list is of before", func(in *Input) { in.given(); in.Record.Executed[web], in.Ran[web] = 7, 7 }, Plan{}},
		{"it is given to this host and paused by a person", func(in *Input) {
			in.given()
			in.Record.Executed[web], in.Covered[web] = 7, true
			in.vm().Owner.Phase = fsm.PhaseRunning
		}, Plan{}},
		{"it is given to this host after a restart elsewhere", func(in *Input) { in.given(); in.vm().Owner.From = "" }, Plan{Kill: map[string]string{web: leftover}}},
		{"it is given to this host after it was shut down", func(in *Input) { in.given(); in.vm().Owner.Cold = true }, Plan{Kill: map[string]string{web: leftover}}},
		{"it is given to this host and shall stop", func(in *Input) { in.given(); in.vm().Intent = fsm.IntentStop }, Plan{Kill: map[string]string{web: leftover}}},
		{"it is given to this host, which is shut down", func(in *Input) { in.given(); in.Draining = true }, Plan{Kill: map[string]string{web: leftover}}},
		{"it is given to an earlier life of this host", func(in *Input) { in.given(); in.vm().Owner.Incarnation = 2 }, Plan{Foreign: since(0)}},
		{"a job is under way", func(in *Input) { in.given(); in.Busy[web] = true }, Plan{}},
		{"the copy is gone", func(in *Input) { in.given(); in.now(vmm.Stopped, vmm.ReasonCrashed) }, Plan{Start: anew}},
		{"the copy never came, and none should", func(in *Input) { in.given(); in.vm().Owner.Cold = true; in.Domains = nil }, Plan{Start: order}},
		{"the copy was lost and it runs", func(in *Input) {
			in.given()
			in.now(vmm.Running, "")
			in.Record.Executed[web], in.Ran[web], in.Covered[web], in.Anew = 7, 7, true, map[string]uint64{web: 7}
		}, Plan{Outcomes: outcome(fsm.OutcomeRunning, "its memory was lost on the way from b: it was started anew")}},
		{"it runs", func(in *Input) {
			in.given()
			in.now(vmm.Running, "")
			in.Record.Executed[web], in.Ran[web], in.Covered[web] = 7, 7, true
		}, Plan{Outcomes: outcome(fsm.OutcomeRunning, "")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := scene(t)
			tt.in(&in)
			tt.want.Known = only
			if d := diff(tt.want, Decide(in)); d != "" {
				t.Errorf("the plan differs (-want +got):\n%s", d)
			}
		})
	}
}

// At the end of a lease what leaves is ended like what stays, and a copy that waits too: a
// new life is asked for when neither is there, and no migration either.
func TestDecideAboutMovesAfterTheLease(t *testing.T) {
	for name, tt := range map[string]struct {
		in   func(*Input)
		want Plan
	}{
		"under way":                     {func(in *Input) { in.under() }, Plan{Kill: map[string]string{web: "the lease has ended"}, Abort: only}},
		"under way, without process":    {func(in *Input) { in.under(); in.Domains = nil }, Plan{Abort: only}},
		"begun by an agent of before":   {func(in *Input) { in.begun(); in.Left = nil }, Plan{Kill: map[string]string{web: "the lease has ended"}}},
		"a copy waits":                  {func(in *Input) { in.arrived() }, Plan{Kill: map[string]string{web: "the lease has ended"}}},
		"a copy waits and is this host": {func(in *Input) { in.given() }, Plan{Kill: map[string]string{web: "the lease has ended"}}},
	} {
		t.Run(name, func(t *testing.T) {
			in := scene(t)
			tt.in(&in)
			in.Lease.End = at
			tt.want.Known, tt.want.End = only, true
			if d := diff(tt.want, Decide(in)); d != "" {
				t.Errorf("the plan differs (-want +got):\n%s", d)
			}
		})
	}
}

// The hypervisor may take in what is on its way here, and is asked twice for it; it may
// start nothing else of that VM.
func TestAdmissionOfWhatComes(t *testing.T) {
	for name, tt := range map[string]struct {
		in   func(*Input)
		want bool
	}{
		"on its way here":                     {func(in *Input) { in.arrived() }, true},
		"to another life of this host":        {func(in *Input) { in.arrived(); in.vm().Move.Incarnation = 2 }, false},
		"to another host":                     {func(in *Input) { in.arrived(); in.vm().Move.Host = "c" }, false},
		"on no way":                           {func(in *Input) { in.arrived(); in.vm().Move = nil }, false},
		"to be started here":                  {func(in *Input) { in.arrived(); in.vm().Move.Cold = true }, false},
		"without a lease":                     {func(in *Input) { in.arrived(); in.Lease.End = at }, false},
		"when the copy of the state is young": {func(in *Input) { in.arrived(); in.Trusted = false }, false},
		"when nobody protects it":             {func(in *Input) { delete(in.State.VMs, web) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := scene(t)
			tt.in(&in)
			if got := comes(in, web); got != tt.want {
				t.Errorf("comes: %v, want %v", got, tt.want)
			}
		})
	}
	bubble(t, func(r *rig) {
		r.comes()
		for _, x := range []struct {
			operation string
			wait      time.Duration
			want      bool
		}{
			{"prepare", 0, false}, // a person's start
			{"migrate", 0, true},
			{"prepare", 0, true},
			{"prepare", 0, false},
			{"migrate", 0, true},
			{"prepare", taking + time.Second, false},
		} {
			r.pass(x.wait)
			if err := r.agent.Admit(r.Context(), api.AdmitRequest{UUID: web, Operation: x.operation}); (err == nil) != x.want {
				t.Errorf("%s after %v: %v, want it allowed: %v", x.operation, x.wait, err, x.want)
			}
		}
	})
}
