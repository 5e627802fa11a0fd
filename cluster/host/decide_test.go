package host

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

const (
	web   = "00000000-0000-4000-8000-00000000000a" // the VM that the tables are about
	stray = "00000000-0000-4000-8000-00000000000f" // a VM that nobody protects
)

// at is the moment of every table, on the boot clock.
const at = 100 * time.Second

func standard(t testing.TB) lease.Timing {
	t.Helper()
	p, ok := lease.Profile("standard")
	if !ok {
		t.Fatal("there is no standard timing")
	}
	return p
}

// scene is host a in incarnation 3 under a lease of 4 s, b live in incarnation
// 2, c dead, and one protected VM that nobody owns and that runs nowhere.
func scene(t testing.TB) Input {
	t.Helper()
	return Input{
		Now: at, Self: "a", Timing: standard(t),
		Lease:   lease.Lease{Incarnation: 3, End: at + 4*time.Second},
		Record:  Record{Incarnation: 3, Executed: map[string]uint64{}, Known: []string{web}},
		Trusted: true, Listed: true, Bounded: true,
		State: &fsm.State{
			Hosts: map[string]*fsm.Host{
				"a": {Name: "a", Status: fsm.HostLive, Incarnation: 3},
				"b": {Name: "b", Status: fsm.HostLive, Incarnation: 2},
				"c": {Name: "c", Status: fsm.HostDead, Incarnation: 1},
			},
			VMs: map[string]*fsm.VM{web: {UUID: web, Name: "web", XML: []byte("packed"), Intent: fsm.IntentRun, Generation: 7}},
		},
		Busy: map[string]bool{}, Unproven: map[string]bool{}, Killed: map[string]string{}, Ran: map[string]uint64{}, Failed: map[string]StartFailure{}, Foreign: map[string]time.Duration{},
		Stopping: map[string]time.Duration{}, Covered: map[string]bool{},
	}
}

func (in *Input) vm() *fsm.VM { return in.State.VMs[web] }

// own gives the VM to an incarnation of a host.
func (in *Input) own(host string, incarnation uint64, phase fsm.Phase) {
	in.vm().Owner = &fsm.Placement{Host: host, Incarnation: incarnation, Generation: 7, Phase: phase, Why: "most free memory"}
}

// see has the hypervisor list the VM.
func (in *Input) see(s vmm.State, r vmm.Reason) {
	d := vmm.Domain{UUID: web, Name: "web", State: s, Reason: r, Persistent: true}
	if s != vmm.Stopped {
		d.PID, d.StartTime = 1001, 5
	}
	in.Domains = append(in.Domains, d)
}

// ours is the VM running here as its owner wants it, covered by the guard.
func (in *Input) ours() {
	in.own("a", 3, fsm.PhaseRunning)
	in.see(vmm.Running, "")
	in.Record.Executed[web] = 7
	in.Covered[web] = true
}

// half is a VM whose order was carried out as far as a process whose processors stand still.
func (in *Input) half() {
	in.ours()
	in.vm().Owner.Phase = fsm.PhaseOrdered
	in.Domains[0].State, in.Domains[0].Reason = vmm.Paused, vmm.ReasonUser
}

// ended is the VM of ours after its process has gone for that reason.
func (in *Input) ended(r vmm.Reason) {
	in.own("a", 3, fsm.PhaseRunning)
	in.see(vmm.Stopped, r)
	in.Record.Executed[web] = 7
}

func outcome(o fsm.Outcome, detail string) []api.OutcomeReport {
	return []api.OutcomeReport{{UUID: web, Generation: 7, Outcome: string(o), Detail: detail}}
}

func process(pid int, start uint64) vmm.Domain {
	return vmm.Domain{UUID: web, Name: "web", State: vmm.Running, Persistent: true, PID: pid, StartTime: start}
}

// diff compares two plans; an empty map is as good as none.
func diff(want, got Plan) string { return cmp.Diff(want, got, cmpopts.EquateEmpty()) }

var order = []Order{{UUID: web, Name: "web", Generation: 7, XML: []byte("packed"), Why: "most free memory"}}

func TestDecideUnderALease(t *testing.T) {
	secs := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	tests := []struct {
		name string
		in   func(*Input)
		want Plan
	}{
		{"nobody owns it and it does not run", func(*Input) {}, Plan{}},
		{"it is defined here and another host's hypervisor could start it", func(in *Input) {
			in.see(vmm.Stopped, vmm.ReasonShutdown)
			in.Domains[0].Autostart = true
		}, Plan{AutostartOff: []string{web}}},

		{"an order", func(in *Input) { in.own("a", 3, fsm.PhaseOrdered) }, Plan{Start: order}},
		{"an order for a VM that is defined here", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.see(vmm.Stopped, vmm.ReasonShutdown)
		}, Plan{Start: order}},
		{"an order with exactly the margin left", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.Lease.End = at + in.Timing.StartMargin()
		}, Plan{Start: order}},
		{"an order with less than the margin left", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.Lease.End = at + in.Timing.StartMargin() - 1
		}, Plan{}},
		{"an order above what was executed", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.Record.Executed[web] = 6
		}, Plan{Start: order}},
		{"an order while a job of the VM is under way", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.Busy[web] = true
		}, Plan{}},
		{"an order whose start is under way, and a person was faster", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.see(vmm.Running, "")
			delete(in.Covered, web)
			in.Busy[web] = true
		}, Plan{Cover: []vmm.Domain{process(1001, 5)}}},
		{"one that was let run, while its start is under way", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.see(vmm.Running, "")
			in.Covered[web] = true
			in.Busy[web] = true
		}, Plan{}},
		{"an order while the hypervisor does not list", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.Listed = false
		}, Plan{}},
		{"an order in a copy that cannot be trusted", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.Trusted = false
		}, Plan{}},
		{"an order and no copy at all", func(in *Input) { in.State = nil }, Plan{}},
		{"an order for an earlier life", func(in *Input) { in.own("a", 2, fsm.PhaseOrdered) }, Plan{}},
		{"an order for another host", func(in *Input) { in.own("b", 2, fsm.PhaseOrdered) }, Plan{}},
		{"an order that a person has taken back meanwhile is noted as executed first", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.vm().Intent = fsm.IntentStop
		}, Plan{Raise: map[string]uint64{web: 7}}},
		{"an order that a person has taken back, noted", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.vm().Intent = fsm.IntentStop
			in.Record.Executed[web] = 7
		}, Plan{Outcomes: outcome(fsm.OutcomeReleased, "web was stopped as a person asked")}},

		{"it is to be restarted", func(in *Input) {
			in.ours()
			in.vm().Restart = &fsm.Restart{ID: 9}
		}, Plan{Shutdown: []string{web}, Stopping: map[string]time.Duration{web: at}}},
		{"it is to be restarted and has not stopped in time", func(in *Input) {
			in.ours()
			in.vm().Restart = &fsm.Restart{ID: 9}
			in.Stopping = map[string]time.Duration{web: at - shutdownGrace - time.Second}
		}, Plan{Kill: map[string]string{web: "it was asked to stop 1m1s ago and has not"}, Stopping: map[string]time.Duration{web: at - shutdownGrace - time.Second}}},
		{"another life of this host was to restart it", func(in *Input) {
			in.own("b", 2, fsm.PhaseRunning)
			in.vm().Restart = &fsm.Restart{ID: 9}
		}, Plan{}},
		{"it has shut down for its restart", func(in *Input) {
			in.ended(vmm.ReasonShutdown)
			in.vm().Restart = &fsm.Restart{ID: 9}
		}, Plan{Outcomes: outcome(fsm.OutcomeReleased, "web was shut down to be started again")}},
		{"it was powered off for its restart, by an agent before this one", func(in *Input) {
			in.ended(vmm.ReasonDestroyed)
			in.vm().Restart = &fsm.Restart{ID: 9}
		}, Plan{Outcomes: outcome(fsm.OutcomeReleased, "web was shut down to be started again")}},
		{"it was saved to a file while it was to be restarted", func(in *Input) {
			in.ended(vmm.ReasonSaved)
			in.vm().Restart = &fsm.Restart{ID: 9}
		}, Plan{Outcomes: outcome(fsm.OutcomeStopped, "web was saved to a file by a person")}},
		{"a person stopped it in the middle of its restart", func(in *Input) {
			in.ended(vmm.ReasonShutdown)
			in.vm().Intent = fsm.IntentStop
		}, Plan{Outcomes: outcome(fsm.OutcomeReleased, "web was stopped as a person asked")}},
		{"it ended for its restart before this host had noted that it runs", func(in *Input) {
			in.ended(vmm.ReasonShutdown)
			in.vm().Restart = &fsm.Restart{ID: 9}
			in.Record.Executed[web] = 6
		}, Plan{Raise: map[string]uint64{web: 7}}},

		{"a start that failed", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.Record.Executed[web] = 7
			in.Failed[web] = StartFailure{Generation: 7, Detail: "no disk"}
		}, Plan{Outcomes: outcome(fsm.OutcomeStartFailed, "no disk")}},
		{"a start that was not tried", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.Record.Executed[web] = 7
			in.Failed[web] = StartFailure{Generation: 7, Detail: "too late", Released: true}
		}, Plan{Outcomes: outcome(fsm.OutcomeReleased, "too late")}},
		{"a start that failed, and a job that still clears it away", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.Record.Executed[web] = 7
			in.Failed[web] = StartFailure{Generation: 7, Detail: "no disk"}
			in.Busy[web] = true
		}, Plan{}},
		{"a start that failed in an earlier generation", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.Record.Executed[web] = 6
			in.Failed[web] = StartFailure{Generation: 6, Detail: "no disk"}
		}, Plan{Start: order}},
		{"a start that an agent before this one did not finish", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.Record.Executed[web] = 7
		}, Plan{Outcomes: outcome(fsm.OutcomeStartFailed, "the agent was restarted while it was being started")}},
		{"such a start of a VM that was powered off here before", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.see(vmm.Stopped, vmm.ReasonDestroyed)
			in.Record.Executed[web], in.Ran[web] = 7, 6
		}, Plan{Outcomes: outcome(fsm.OutcomeStartFailed, "the agent was restarted while it was being started")}},
		{"a start that worked, and it was powered off before anybody knew", func(in *Input) {
			in.own("a", 3, fsm.PhaseOrdered)
			in.see(vmm.Stopped, vmm.ReasonDestroyed)
			in.Record.Executed[web], in.Ran[web] = 7, 7
		}, Plan{Outcomes: outcome(fsm.OutcomeStopped, "web was powered off by a person")}},
		{"a start that an agent before this one did not finish left a process", func(in *Input) { in.half() }, Plan{Kill: map[string]string{web: interrupted}}},
		{"such a process is not covered yet", func(in *Input) {
			in.half()
			delete(in.Covered, web)
		}, Plan{Cover: []vmm.Domain{{UUID: web, Name: "web", State: vmm.Paused, Reason: vmm.ReasonUser, Persistent: true, PID: 1001, StartTime: 5}}}},
		{"such a process, and the record does not know of the order", func(in *Input) {
			in.half()
			in.Record.Executed[web] = 6
		}, Plan{Raise: map[string]uint64{web: 7}}},
		{"such a process with less than the margin left", func(in *Input) {
			in.half()
			in.Lease.End = at + in.Timing.StartMargin() - 1
		}, Plan{}},
		{"such a process of a start that failed", func(in *Input) {
			in.half()
			in.Failed[web] = StartFailure{Generation: 7}
		}, Plan{}},
		{"such a process, and a person wants it stopped", func(in *Input) {
			in.half()
			in.vm().Intent = fsm.IntentStop
		}, Plan{Shutdown: []string{web}, Stopping: map[string]time.Duration{web: at}}},
		{"such a process after it has run", func(in *Input) {
			in.half()
			in.vm().Owner.Phase = fsm.PhaseRunning
		}, Plan{}},
		{"such a process that this agent has let run, and that was paused since", func(in *Input) {
			in.half()
			in.Ran[web] = 7
		}, Plan{}},
		{"such a process of another host's VM", func(in *Input) {
			in.half()
			in.own("b", 2, fsm.PhaseOrdered)
		}, Plan{Foreign: map[string]time.Duration{web: at}}},

		{"it runs as ordered and the master does not know yet", func(in *Input) {
			in.ours()
			in.vm().Owner.Phase = fsm.PhaseOrdered
		}, Plan{Outcomes: outcome(fsm.OutcomeRunning, "")}},
		{"it runs as it should", func(in *Input) { in.ours() }, Plan{}},
		{"it runs and the guard does not cover it", func(in *Input) {
			in.ours()
			delete(in.Covered, web)
		}, Plan{Cover: []vmm.Domain{process(1001, 5)}}},
		{"it runs and the guard covers an earlier process of it", func(in *Input) {
			in.ours()
			in.Covered[web] = false
		}, Plan{Cover: []vmm.Domain{process(1001, 5)}}},
		{"it runs and the record does not say so", func(in *Input) {
			in.ours()
			in.Record.Executed[web] = 6
		}, Plan{Raise: map[string]uint64{web: 7}}},
		{"it runs, and the copy cannot be trusted", func(in *Input) {
			in.ours()
			in.own("b", 2, fsm.PhaseRunning)
			in.Trusted = false
		}, Plan{}},
		{"it is paused on an I/O error", func(in *Input) {
			in.ours()
			in.Domains[0].State, in.Domains[0].Reason = vmm.Paused, vmm.ReasonIOError
		}, Plan{}},

		{"a person wants it stopped", func(in *Input) {
			in.ours()
			in.vm().Intent = fsm.IntentStop
		}, Plan{Shutdown: []string{web}, Stopping: map[string]time.Duration{web: at}}},
		{"a person wants it stopped and it has been asked", func(in *Input) {
			in.ours()
			in.vm().Intent = fsm.IntentStop
			in.Stopping[web] = at - shutdownGrace
		}, Plan{Stopping: map[string]time.Duration{web: at - shutdownGrace}}},
		{"a person wants it stopped and it has not obeyed", func(in *Input) {
			in.ours()
			in.vm().Intent = fsm.IntentStop
			in.Stopping[web] = at - shutdownGrace - 1
		}, Plan{Kill: map[string]string{web: "it was asked to stop 1m0s ago and has not"}, Stopping: map[string]time.Duration{web: at - shutdownGrace - 1}}},
		{"it has stopped as a person wanted", func(in *Input) {
			in.ended(vmm.ReasonDestroyed)
			in.vm().Intent = fsm.IntentStop
		}, Plan{Outcomes: outcome(fsm.OutcomeReleased, "web was stopped as a person asked")}},

		{"it was shut down", func(in *Input) { in.ended(vmm.ReasonShutdown) }, Plan{Outcomes: outcome(fsm.OutcomeStopped, "web was shut down")}},
		{"it was powered off", func(in *Input) { in.ended(vmm.ReasonDestroyed) }, Plan{Outcomes: outcome(fsm.OutcomeStopped, "web was powered off by a person")}},
		{"it was saved", func(in *Input) { in.ended(vmm.ReasonSaved) }, Plan{Outcomes: outcome(fsm.OutcomeStopped, "web was saved to a file by a person")}},
		{"it was migrated away", func(in *Input) { in.ended(vmm.ReasonMigrated) }, Plan{Outcomes: outcome(fsm.OutcomeReleased, "web was migrated away by a person")}},
		{"it crashed", func(in *Input) { in.ended(vmm.ReasonCrashed) }, Plan{Outcomes: outcome(fsm.OutcomeCrashed, "web ended without anybody asking (crashed)")}},
		{"it ended and nobody knows why", func(in *Input) { in.ended(vmm.ReasonUnknown) }, Plan{Outcomes: outcome(fsm.OutcomeCrashed, "web ended without anybody asking (unknown)")}},
		{"it ended and its definition went with it", func(in *Input) {
			in.ended(vmm.ReasonShutdown)
			in.Domains = nil
		}, Plan{Outcomes: outcome(fsm.OutcomeStopped, "web ended and its definition is gone: a person removed it")}},
		{"it crashed, and a job of it is under way", func(in *Input) {
			in.ended(vmm.ReasonCrashed)
			in.Busy[web] = true
		}, Plan{}},
		{"it ended, and the guard still covers its process", func(in *Input) {
			in.ended(vmm.ReasonCrashed)
			in.Covered[web] = true
		}, Plan{Uncover: []string{web}, Outcomes: outcome(fsm.OutcomeCrashed, "web ended without anybody asking (crashed)")}},

		{"a person started one that nobody owns", func(in *Input) { in.see(vmm.Running, "") }, Plan{Cover: []vmm.Domain{process(1001, 5)}}},
		{"it runs, and another host owns it: perhaps only until a release is committed", func(in *Input) {
			in.ours()
			in.own("b", 2, fsm.PhaseRunning)
		}, Plan{Foreign: map[string]time.Duration{web: at}}},
		{"it has run for three intervals while another host owns it", func(in *Input) {
			in.ours()
			in.own("b", 2, fsm.PhaseRunning)
			in.Foreign[web] = at - secs(3)
		}, Plan{Foreign: map[string]time.Duration{web: at - secs(3)}}},
		{"it has run for longer while another host owns it", func(in *Input) {
			in.ours()
			in.own("b", 2, fsm.PhaseRunning)
			in.Foreign[web] = at - secs(3) - 1
		}, Plan{Kill: map[string]string{web: "it is owned by b (incarnation 2, generation 7)"}}},
		{"it runs, and a host that is not live owns it", func(in *Input) {
			in.ours()
			in.own("c", 1, fsm.PhaseRunning)
		}, Plan{Kill: map[string]string{web: "it is owned by c (incarnation 1, generation 7)"}}},
		{"it runs, and an earlier life of this host owns it", func(in *Input) {
			in.ours()
			in.own("a", 2, fsm.PhaseRunning)
		}, Plan{Kill: map[string]string{web: "it is owned by a (incarnation 2, generation 7)"}}},

		{"sighted here, not guarded yet", func(in *Input) {
			in.vm().Sighting = &fsm.Sighting{Host: "a", Generation: 7}
			in.see(vmm.Running, "")
		}, Plan{Cover: []vmm.Domain{process(1001, 5)}}},
		{"sighted here, guarded, and not remembered yet", func(in *Input) {
			in.vm().Sighting = &fsm.Sighting{Host: "a", Generation: 7}
			in.see(vmm.Running, "")
			in.Covered[web] = true
			in.Record.Known = nil
		}, Plan{}},
		{"sighted here, guarded and remembered", func(in *Input) {
			in.vm().Sighting = &fsm.Sighting{Host: "a", Generation: 7}
			in.see(vmm.Running, "")
			in.Covered[web] = true
		}, Plan{Raise: map[string]uint64{web: 7}, Outcomes: outcome(fsm.OutcomeRunning, "")}},
		{"sighted here, and it has ended since", func(in *Input) {
			in.vm().Sighting = &fsm.Sighting{Host: "a", Generation: 7}
			in.see(vmm.Stopped, vmm.ReasonShutdown)
		}, Plan{Outcomes: outcome(fsm.OutcomeStopped, "web was shut down")}},
		{"sighted here, and it has been ended since, because a lease was over", func(in *Input) {
			in.vm().Sighting = &fsm.Sighting{Host: "a", Generation: 7}
			in.see(vmm.Stopped, vmm.ReasonDestroyed)
			in.Killed[web] = "the lease has ended"
		}, Plan{Outcomes: outcome(fsm.OutcomeReleased, "web was ended here: the lease has ended")}},
		{"sighted elsewhere", func(in *Input) {
			in.vm().Sighting = &fsm.Sighting{Host: "b", Generation: 7}
			in.see(vmm.Stopped, vmm.ReasonShutdown)
		}, Plan{}},

		{"the guard covers one that is protected no more", func(in *Input) { in.Covered[stray] = true }, Plan{Uncover: []string{stray}}},
		{"the guard covers one that is protected no more, an agent before this one had it", func(in *Input) {
			in.Domains = []vmm.Domain{{UUID: stray, Name: "stray", State: vmm.Running, PID: 7}}
			in.Covered[stray] = false
		}, Plan{Uncover: []string{stray}}},
		{"the guard covers one that ran when the hypervisor last answered", func(in *Input) {
			in.Covered[web] = true
			in.Listed = false
		}, Plan{}},
		{"a VM that nobody protects runs", func(in *Input) {
			in.Domains = []vmm.Domain{{UUID: stray, Name: "stray", State: vmm.Running, PID: 7, Autostart: true}}
		}, Plan{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := scene(t)
			tt.in(&in)
			if tt.want.Known == nil {
				tt.want.Known = []string{web}
			}
			if d := diff(tt.want, Decide(in)); d != "" {
				t.Errorf("the plan differs (-want +got):\n%s", d)
			}
		})
	}
}

func TestDecideAfterTheLease(t *testing.T) {
	const why = "the lease has ended"
	over := func(in *Input) { in.Lease.End = at }
	tests := []struct {
		name string
		in   func(*Input)
		want Plan
	}{
		{"nothing runs", func(*Input) {}, Plan{Ended: true}},
		{"the guard has acted before the lease was over by this clock", func(in *Input) {
			in.Lease.End = at + time.Hour
			in.Expired = true
		}, Plan{Ended: true}},
		{"the life is over though its lease would still hold", func(in *Input) {
			in.Lease.End = at + time.Hour
			in.Record.Over = true
		}, Plan{Ended: true}},
		{"it never began", func(in *Input) { in.Lease = lease.Lease{} }, Plan{Ended: true}},
		{"ours runs", func(in *Input) { in.ours() }, Plan{Kill: map[string]string{web: why}}},
		{"it is paused", func(in *Input) {
			in.ours()
			in.Domains[0].State = vmm.Paused
		}, Plan{Kill: map[string]string{web: why}}},
		{"another's runs here", func(in *Input) {
			in.see(vmm.Running, "")
			in.own("b", 2, fsm.PhaseRunning)
		}, Plan{Kill: map[string]string{web: why}}},
		{"it has ended: nothing is reported in a life that is over", func(in *Input) { in.ended(vmm.ReasonCrashed) }, Plan{Ended: true}},
		{"an order", func(in *Input) { in.own("a", 3, fsm.PhaseOrdered) }, Plan{Ended: true}},
		{"nothing runs of what is remembered, and what is protected now is not known yet", func(in *Input) { in.Trusted = false }, Plan{}},
		{"nothing is remembered, a protected VM runs, and the copy is too old to know it", func(in *Input) {
			in.see(vmm.Running, "")
			in.Trusted, in.Record, in.State = false, Record{}, &fsm.State{}
		}, Plan{Known: []string{}}},
		{"there is no copy", func(in *Input) { in.State = nil }, Plan{}},
		{"one that was let go runs, and the copy is too old to know it", func(in *Input) {
			in.ours()
			in.Trusted, in.Record.Known = false, nil
		}, Plan{Known: []string{}}},
		{"one that is remembered runs, and the copy is too old to know it", func(in *Input) {
			in.ours()
			in.Trusted, in.State = false, &fsm.State{}
		}, Plan{Kill: map[string]string{web: why}}},
		{"a job is under way", func(in *Input) {
			in.ours()
			in.Busy[web] = true
		}, Plan{}},
		{"a job could not prove that it is gone", func(in *Input) {
			in.ours()
			in.Listed = false
			in.Busy[web], in.Unproven[web] = true, true
		}, Plan{Kill: map[string]string{web: "the lease has ended and it could not be proven yet that it is gone"}}},
		{"a job could not prove that it is gone, and a list of before it says so", func(in *Input) {
			in.ended(vmm.ReasonDestroyed)
			in.Busy[web], in.Unproven[web] = true, true
		}, Plan{Kill: map[string]string{web: "the lease has ended and it could not be proven yet that it is gone"}}},
		{"a job of another VM is under way", func(in *Input) { in.Busy[stray] = true }, Plan{}},
		{"the hypervisor does not list", func(in *Input) { in.Listed = false },
			Plan{Kill: map[string]string{web: "the lease has ended and the hypervisor does not say what runs"}}},
		{"the hypervisor would start it by itself", func(in *Input) {
			in.see(vmm.Stopped, vmm.ReasonUnknown)
			in.Domains[0].Autostart = true
		}, Plan{Ended: true, AutostartOff: []string{web}}},
		{"one that nobody protects runs, and the hypervisor starts it by itself", func(in *Input) {
			in.Domains = []vmm.Domain{{UUID: stray, Name: "stray", State: vmm.Running, PID: 7, Autostart: true}}
		}, Plan{Ended: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := scene(t)
			over(&in)
			tt.in(&in)
			tt.want.End = true
			if tt.want.Known == nil {
				tt.want.Known = []string{web}
			}
			if d := diff(tt.want, Decide(in)); d != "" {
				t.Errorf("the plan differs (-want +got):\n%s", d)
			}
		})
	}
}

func TestDecideLeavesItsInputAlone(t *testing.T) {
	in, same := scene(t), scene(t)
	for _, x := range []*Input{&in, &same} {
		x.ours()
		x.own("b", 2, fsm.PhaseRunning)
		x.Record.Known = append(make([]string, 0, 8), web, stray)
		x.Trusted = false
	}
	Decide(in)
	in.Trusted, same.Trusted = true, true
	Decide(in)
	if d := cmp.Diff(same, in, cmpopts.IgnoreUnexported(fsm.State{})); d != "" {
		t.Errorf("Decide changed what it was given (-before +after):\n%s", d)
	}
	if got := in.Record.Known[:cap(in.Record.Known)][2]; got != "" {
		t.Errorf("Decide wrote %q behind the record's list", got)
	}
}
