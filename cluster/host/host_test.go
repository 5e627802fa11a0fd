package host

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

func TestFirstAcknowledgementBeginsTheLease(t *testing.T) {
	bubble(t, func(r *rig) {
		r.master.set(func(m *fakeMaster) { m.mute = true })
		r.start()
		r.pass(5 * time.Second)
		if g := r.guard.Status(); r.agent.Status().Lease.Incarnation != 0 || g.Incarnation != 0 {
			t.Fatalf("without an acknowledgement the lease is %+v and the guard's incarnation %d; want none", r.agent.Status().Lease, g.Incarnation)
		}
		r.master.set(func(m *fakeMaster) { m.mute = false })
		r.pass(time.Second)
		got, g := r.agent.Status().Lease, r.guard.Status()
		if got.Incarnation != 1 || !got.Held(r.now()) || g.Incarnation != 1 || g.Deadline != got.End {
			t.Errorf("the lease is %+v and the guard has incarnation %d until %v; want both in incarnation 1 until the same moment", got, g.Incarnation, g.Deadline)
		}
		if left := got.Left(r.now()); left > standard(t).Lease || left < 2*time.Second {
			t.Errorf("the lease has %v left, want at most %v", left, standard(t).Lease)
		}
		if want := []api.BeginRequest{{Host: "a", BootID: "boot-1", Run: 1, Why: "first start"}}; fmt.Sprint(r.master.asked()) != fmt.Sprint(want) {
			t.Errorf("asked for %+v, want %+v", r.master.asked(), want)
		}
	})
}

// What an acknowledgement is worth counts from the sending of its heartbeat.
func TestALateAcknowledgementIsWorthLess(t *testing.T) {
	bubble(t, func(r *rig) {
		r.owned()
		r.pass(500 * time.Millisecond) // half of an interval after the last renewal
		tm := standard(t)
		before := r.agent.Status().Lease
		r.agent.bring(r.Context(), func() {
			h := r.agent
			now := r.now()
			h.sent[1000] = now - 3*time.Second
			h.answered(r.Context(), api.Heartbeat{Seq: 1000, Run: h.cfg.Run, Incarnation: 1},
				api.HeartbeatReply{Acknowledged: true, Incarnation: 1, Run: h.cfg.Run, Seq: 1000})
			if h.lease.End > max(before.End, now-3*time.Second+tm.Lease) {
				t.Errorf("a heartbeat of 3 s ago renewed the lease until %v, want at most %v", h.lease.End, now-3*time.Second+tm.Lease)
			}
			for _, bad := range []api.HeartbeatReply{
				{Acknowledged: true, Incarnation: 1, Run: h.cfg.Run + 1, Seq: 1001},
				{Acknowledged: true, Incarnation: 2, Run: h.cfg.Run, Seq: 1001},
				{Acknowledged: true, Incarnation: 1, Run: h.cfg.Run, Seq: 1002},
				{Incarnation: 1, Run: h.cfg.Run, Seq: 1001},
			} {
				was := h.lease
				h.sent[1001], h.sent[1002] = now, now
				h.answered(r.Context(), api.Heartbeat{Seq: 1001, Run: h.cfg.Run, Incarnation: 1}, bad)
				if h.lease != was {
					t.Errorf("the answer %+v changed the lease from %+v to %+v", bad, was, h.lease)
				}
			}
		})
	})
}

// The master falls silent: at the end of the lease the VM is gone, the life is
// over, and a new one is begun, in which the VM is started again only when it is ordered.
func TestLeaseRunsOut(t *testing.T) {
	for _, tt := range []struct {
		name  string
		guard bool // the guard process runs
	}{{"with the guard", true}, {"the guard is dead", false}} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.owned()
				r.guard.mu.Lock()
				r.guard.absent = !tt.guard
				r.guard.mu.Unlock()
				end := r.agent.Status().Lease.End
				r.master.set(func(m *fakeMaster) { m.cut = true })
				r.pass(end - r.now() - time.Second)
				if end = r.agent.Status().Lease.End; r.now() >= end-100*time.Millisecond {
					t.Fatalf("the lease ends at %v, it is %v", end, r.now())
				}
				r.pass(end - r.now() - time.Millisecond)
				if !r.running() {
					t.Fatalf("web was stopped %v before the end of the lease", end-r.now())
				}
				r.pass(time.Millisecond + 2*fencing.Tick)
				if r.running() {
					t.Fatalf("web still runs %v after the end of the lease", r.now()-end)
				}
				if rec := r.saved(); !rec.Over || rec.Incarnation != 1 {
					t.Errorf("saved %+v, want incarnation 1 over", rec)
				}
				r.pass(10 * time.Second)
				r.master.set(func(m *fakeMaster) { m.cut = false })
				r.pass(10 * time.Second)
				if rec := r.saved(); rec.Over || rec.Incarnation != 2 || len(rec.Executed) != 0 {
					t.Errorf("saved %+v, want incarnation 2, nothing executed", rec)
				}
				if r.running() || r.state().VMs[web].Owner != nil {
					t.Errorf("web runs: %v, owner %+v; want neither before it is ordered", r.running(), r.state().VMs[web].Owner)
				}
				r.assign()
				r.pass(3 * time.Second)
				if !r.running() {
					t.Errorf("web was ordered in the new incarnation and does not run: %+v", r.state().VMs[web])
				}
			})
		})
	}
}

func TestAgentRestart(t *testing.T) {
	for _, tt := range []struct {
		name   string
		away   time.Duration
		before func(r *rig)
		want   uint64 // incarnation; the VM is kept in the first
	}{
		{"within the lease", time.Second, nil, 1},
		{"after the lease", 5 * time.Second, nil, 2},
		{"after the lease, with no guard", 5 * time.Second, func(r *rig) { r.guard.absent = true }, 2},
		{"within the lease, in another boot", time.Second, func(r *rig) { r.bootID = "boot-2" }, 2},
		// The guard never goes back, so incarnations are asked for until one is above what it has seen.
		{"within the lease, and the guard's memory is of another life", time.Second, func(r *rig) { r.guard.status.Incarnation = 3 }, 4},
		{"within the lease, and the guard's memory is lost", time.Second, func(r *rig) { r.guard.status = fencing.Status{} }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.owned()
				r.kill()
				if tt.before != nil {
					r.guard.mu.Lock()
					tt.before(r)
					r.guard.mu.Unlock()
				}
				r.pass(tt.away)
				r.start()
				r.pass(10 * time.Second)
				runs := r.world.Runs()
				kept := len(runs) == 1 && r.running()
				if kept != (tt.want == 1) || r.saved().Incarnation != tt.want || r.saved().Over {
					t.Errorf("web's runs are %+v, saved %+v; want web kept: %v, incarnation %d", runs, r.saved(), tt.want == 1, tt.want)
				}
			})
		})
	}
}

func TestReboot(t *testing.T) {
	for name, tt := range map[string]struct {
		reset *fencing.Note
		why   string
	}{
		"by a person":                {nil, "the host was rebooted"},
		"by the watchdog":            {&fencing.Note{BootID: "boot-1", Why: "the guard was silent"}, "its watchdog reset the host: the guard was silent"},
		"by the watchdog, years ago": {&fencing.Note{BootID: "boot-0", Why: "the guard was silent"}, "the host was rebooted"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.owned()
				r.reboot("boot-2")
				r.reset = tt.reset
				r.start()
				r.pass(5 * time.Second)
				asked := r.master.asked()
				if last := asked[len(asked)-1]; last.Previous != 1 || last.BootID != "boot-2" || last.Why != tt.why {
					t.Errorf("asked for %+v, want the life after 1 because %s", last, tt.why)
				}
				if r.running() || r.saved().Incarnation != 2 {
					t.Errorf("web runs: %v, incarnation %d; want it stopped in incarnation 2", r.running(), r.saved().Incarnation)
				}
			})
		})
	}
}

// An order is executed once, though the copy of the state goes on saying it.
func TestAnOrderIsExecutedOnce(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after func(r *rig)
		want  string
	}{
		{"it is shut down", func(r *rig) { must(r, r.hyp.GuestShutdown("web")) }, "stopped"},
		{"it crashes", func(r *rig) { must(r, r.hyp.CrashVM("web")) }, "crashed"},
		{"it crashes while the agent is away", func(r *rig) {
			r.kill()
			must(r, r.hyp.CrashVM("web"))
			r.start()
		}, "crashed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.owned()
				// The master goes on in office and commits nothing that a says.
				r.master.set(func(m *fakeMaster) { m.deaf = true })
				tt.after(r)
				r.pass(20 * time.Second)
				if n := len(r.world.Runs()); n != 1 {
					t.Errorf("web ran %d times, want once: %+v", n, r.world.Runs())
				}
				out := r.master.outcomes()
				if len(out) != 1 || out[0].Outcome != tt.want || out[0].Generation != r.state().VMs[web].Generation {
					t.Errorf("reports %+v, want %s", out, tt.want)
				}
			})
		})
	}
}

func must(r *rig, err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// The agent is frozen in a step of a start until the lease is over. Its VM never
// runs: before the process is made the lease is looked at, and after it again.
func TestFrozenDuringAStart(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start time.Duration // that the hypervisor takes
		at    time.Duration // after the order when the freeze begins
		guard bool
	}{
		{"before the process is made", 0, 0, true},
		{"while the process is made", time.Second, 500 * time.Millisecond, true},
		{"while the process is made, and the guard is dead", time.Second, 500 * time.Millisecond, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.start()
				r.pass(3 * time.Second)
				r.hyp.SetDelays(embedded.Delays{Start: tt.start})
				r.guard.mu.Lock()
				r.guard.absent = !tt.guard
				r.guard.mu.Unlock()
				if tt.at == 0 {
					r.freeze()
				}
				r.assign()
				r.pass(tt.at)
				r.freeze()
				r.pass(10 * time.Second)
				r.thaw()
				r.pass(20 * time.Second)
				if runs := r.world.Runs(); len(runs) > 0 {
					t.Errorf("web ran: %+v", runs)
				}
				if r.saved().Incarnation != 2 || r.saved().Over {
					t.Errorf("saved %+v, want incarnation 2", r.saved())
				}
			})
		})
	}
}

// What cannot be remembered is not done.
func TestDiskIsFull(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		r.pass(3 * time.Second)
		r.fill(true)
		r.assign()
		r.pass(10 * time.Second)
		if runs := r.world.Runs(); len(runs) > 0 {
			t.Errorf("web ran though the order could not be saved: %+v", runs)
		}
		if out := r.master.outcomes(); len(out) > 0 {
			t.Errorf("reported %+v though nothing could be saved", out)
		}
		if v := r.master.violations(); len(v) > 0 { // the last barrier is not what is to hold it back
			t.Errorf("rules were about to be broken: %+v", v)
		}
		r.fill(false)
		r.pass(5 * time.Second)
		if !r.running() {
			t.Error("web does not run though the disk has room again")
		}
	})
}

// The lease ends while the hypervisor's daemon is away: the VM is ended by its
// process, and a new life begins only when the daemon can say that nothing runs.
func TestLeaseEndsWhileTheHypervisorIsDown(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fails time.Duration // for which the process cannot be killed either
		guard bool
	}{
		{"the process can be killed", 0, true},
		{"the process can be killed, and the guard is dead", 0, false},
		{"the process hangs for a while, and the guard is dead", 15 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.owned()
				r.guard.mu.Lock()
				r.guard.absent = !tt.guard
				r.guard.mu.Unlock()
				end := r.agent.Status().Lease.End
				r.hyp.SetKillFails(tt.fails > 0)
				r.hyp.SetDown(true)
				r.master.set(func(m *fakeMaster) { m.cut = true })
				r.pass(end - r.now() + 2*time.Second + tt.fails)
				r.hyp.SetKillFails(false)
				r.pass(time.Second)
				if r.running() {
					t.Fatalf("web still runs %v after the end of the lease", r.now()-end)
				}
				r.master.set(func(m *fakeMaster) { m.cut = false })
				r.pass(10 * time.Second)
				if n := len(r.master.asked()); n != 1 {
					t.Errorf("asked for %d incarnations while nobody could say what runs, want the first only", n)
				}
				r.hyp.SetDown(false)
				r.pass(10 * time.Second)
				if r.saved().Incarnation != 2 || r.saved().Over {
					t.Errorf("saved %+v, want incarnation 2", r.saved())
				}
			})
		})
	}
}

func TestOneOfTwoNetworksIsDead(t *testing.T) {
	bubble(t, func(r *rig) {
		r.owned()
		r.master.set(func(m *fakeMaster) { m.silent = map[string]bool{"mgmt": true} })
		r.pass(time.Minute)
		if n := len(r.world.Runs()); n != 1 || !r.running() || r.saved().Incarnation != 1 {
			t.Errorf("web runs: %v, in its run %d, incarnation %d; want nothing changed", r.running(), n, r.saved().Incarnation)
		}
		if left := r.agent.Status().Lease.Left(r.now()); left < standard(t).Lease-2*standard(t).Heartbeat {
			t.Errorf("the lease has %v left, want it renewed each interval", left)
		}
		r.agent.bring(r.Context(), func() {
			if n := r.agent.inFlight["mgmt"]; n > maxInFlight {
				t.Errorf("%d heartbeats wait on the dead network, want at most %d", n, maxInFlight)
			}
		})
	})
}

// A VM that was stopped and started by hand between two looks has another
// process: the guard must know that one when the agent is not there any more.
func TestTheGuardCoversThePresentProcess(t *testing.T) {
	bubble(t, func(r *rig) {
		r.owned()
		r.pass(5 * time.Second)
		r.freeze() // so that the agent sees only what came of it
		must(r, r.hyp.PersonDestroy("web"))
		must(r, r.hyp.PersonStart("web"))
		r.thaw()
		r.pass(5 * time.Second)
		if !r.running() {
			t.Fatal("web was stopped")
		}
		end := r.guard.Status().Deadline
		r.kill()
		r.pass(end - r.now() + 5*time.Second)
		if r.running() {
			t.Errorf("web still runs %v after the end of its host's lease: the guard covered a process that was gone", r.now()-r.guard.Status().Deadline)
		}
	})
}

// The agent dies between making a VM's process and letting it run. The next one
// ends the process: it may have been reported as failed, and be somebody else's by now.
func TestTheNextAgentEndsAHalfStart(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		r.pass(3 * time.Second)
		r.mu.Lock()
		r.beforeResume = r.cancel
		r.mu.Unlock()
		r.assign()
		r.pass(100 * time.Millisecond)
		r.kill()
		if runs := r.world.Runs(); len(runs) > 0 || r.newest(web) == 0 {
			t.Fatalf("web's process is %d and it ran %+v; want a process that never ran", r.newest(web), runs)
		}
		r.start()
		r.pass(3 * time.Second)
		if runs := r.world.Runs(); len(runs) > 0 || r.running() {
			t.Errorf("web ran %+v; want the process of the half start ended, and nothing run", runs)
		}
	})
}

// What the host says to a sighting rests on a list begun after it has read of it: the
// process on an older list may be gone, and its successor covered by nobody.
func TestTheWordOnASightingIsFresh(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		r.pass(3 * time.Second)
		must(r, r.hyp.PersonStart("web"))
		r.pass(3 * time.Second)
		must(r, r.hyp.PersonDestroy("web"))
		r.hyp.SetHang(true)
		r.pass(time.Second)
		r.apply(&fsm.Adopt{Epoch: 1, UUID: web, Previous: r.state().VMs[web].Generation, Host: "a", Incarnation: 1})
		r.pass(2 * time.Second)
		if vm := r.state().VMs[web]; vm.Sighting == nil {
			t.Errorf("web is owned by %+v on the word of a list from before it was sighted", vm.Owner)
		}
		r.hyp.SetHang(false)
		r.pass(5 * time.Second)
		if vm := r.state().VMs[web]; vm.Sighting != nil || vm.Owner != nil {
			t.Errorf("web is %+v (sighting %+v); want it nobody's: a person stopped it", vm, vm.Sighting)
		}
	})
}

// A VM that was seen running, and whose host lost its lease before it could
// confirm that it guards it, was not stopped by a person.
func TestASightedVMIsEndedByTheLease(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		r.pass(3 * time.Second)
		must(r, r.hyp.PersonStart("web"))
		r.guard.mu.Lock()
		r.guard.absent = true // so that it is the agent who ends it
		r.guard.mu.Unlock()
		r.master.set(func(m *fakeMaster) { m.deaf, m.mute = true, true })
		s := r.state()
		r.apply(&fsm.Adopt{Epoch: 1, UUID: web, Previous: s.VMs[web].Generation, Host: "a", Incarnation: 1})
		r.pass(6 * time.Second)
		if r.running() {
			t.Fatal("web runs after the end of the lease")
		}
		r.master.set(func(m *fakeMaster) { m.deaf, m.mute = false, false })
		r.pass(5 * time.Second)
		vm := r.state().VMs[web]
		if vm.Sighting != nil || vm.Owner != nil || vm.Intent != fsm.IntentRun {
			t.Errorf("web is %+v (sighting %+v); want it free and wanted, so that it is started again", vm, vm.Sighting)
		}
	})
}

func TestOutcomesAreOfThisIncarnation(t *testing.T) {
	bubble(t, func(r *rig) {
		r.owned()
		r.master.set(func(m *fakeMaster) { m.deaf = true })
		must(r, r.hyp.CrashVM("web"))
		r.pass(2 * time.Second)
		if len(r.master.outcomes()) != 1 {
			t.Fatalf("reports %+v, want the crash", r.master.outcomes())
		}
		r.master.set(func(m *fakeMaster) { m.mute = true })
		r.pass(6 * time.Second)
		r.master.set(func(m *fakeMaster) { m.mute = false })
		r.pass(6 * time.Second)
		if r.saved().Incarnation != 2 {
			t.Fatalf("saved %+v, want incarnation 2", r.saved())
		}
		if out := r.master.outcomes(); len(out) != 0 {
			t.Errorf("in its new incarnation a reports what became of VMs of the last one: %+v", out)
		}
	})
}

// A guard that takes its time to cover what runs, as one does whose watchdog
// cannot be armed, holds up neither the heartbeats nor the rest of the duty.
func TestASlowGuardDoesNotHoldUpHeartbeats(t *testing.T) {
	bubble(t, func(r *rig) {
		r.owned()
		r.kill()
		r.guard.mu.Lock()
		r.guard.slow, r.guard.refuses = 5*time.Second, fencing.ErrUnarmed
		r.guard.mu.Unlock()
		r.start()
		r.pass(30 * time.Second)
		if n := len(r.world.Runs()); n != 1 || !r.running() || r.saved().Incarnation != 1 {
			t.Errorf("web runs: %v, in its run %d, incarnation %d; want nothing changed", r.running(), n, r.saved().Incarnation)
		}
		if left := r.agent.Status().Lease.Left(r.now()); left < standard(t).Lease-2*standard(t).Heartbeat {
			t.Errorf("the lease has %v left, want it renewed each interval", left)
		}
	})
}

func TestRunEndsWithItsGoroutines(t *testing.T) {
	bubble(t, func(r *rig) {
		r.owned()
		r.hyp.SetHang(true)
		r.master.set(func(m *fakeMaster) { m.cut = true })
		r.pass(20 * time.Second)
		r.kill() // the bubble reports what is left behind
		synctest.Wait()
	})
}
