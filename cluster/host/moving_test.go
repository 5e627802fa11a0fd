package host

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// other adds the hypervisor of host b, which has no agent here.
func (r *rig) other() *embedded.Host {
	r.Helper()
	b, err := embedded.NewHost(r.world, embedded.HostConfig{Name: "b"})
	if err != nil {
		r.Fatal(err)
	}
	return b
}

// move orders that web goes to a host, and returns the number of the move.
func (r *rig) move(host string, cold bool) uint64 {
	r.Helper()
	s := r.state()
	return r.apply(&fsm.BeginMove{Meta: fsm.Meta{At: time.Now()}, Epoch: 1, UUID: web, Previous: s.VMs[web].Generation, Host: host, Incarnation: s.Hosts[host].Incarnation, Cold: cold, Why: "a test"}).(uint64)
}

func (r *rig) is(h *embedded.Host, want vmm.State, reason vmm.Reason) vmm.Domain {
	r.Helper()
	list, err := h.Domains(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	for _, d := range list {
		if d.UUID == web {
			if d.State != want || d.Reason != reason {
				r.Errorf("on %s web is %s (%s), want %s (%s)", h.Name(), d.State, d.Reason, want, reason)
			}
			return d
		}
	}
	r.Errorf("%s does not know web, want it %s", h.Name(), want)
	return vmm.Domain{}
}

// none wants no process of web on a host.
func (r *rig) none(h *embedded.Host) {
	r.Helper()
	list, err := h.Domains(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	for _, d := range list {
		if d.UUID == web && d.State != vmm.Stopped {
			r.Errorf("on %s web is %s (%s), want no process", h.Name(), d.State, d.Reason)
		}
	}
}

func (r *rig) wantOwner(host string, phase fsm.Phase) *fsm.Placement {
	r.Helper()
	o := r.state().VMs[web].Owner
	switch {
	case o == nil && host == "":
	case o == nil || o.Host != host || o.Phase != phase:
		r.Fatalf("the owner is %+v, want %s, %s; the newest event: %s", o, host, phase, r.newestEvent())
	}
	return o
}

func (r *rig) newestEvent() string {
	events := r.state().Events
	return events[len(events)-1].Text
}

// leaves is a move of web from a, where it runs, to b that has been under way for a second
// of the two that its memory takes.
func (r *rig) leaves() (*embedded.Host, uint64) {
	r.Helper()
	b := r.other()
	r.owned()
	r.hyp.SetDelays(embedded.Delays{Migrate: 2 * time.Second, Cutover: 50 * time.Millisecond})
	id := r.move("b", false)
	r.pass(time.Second)
	r.is(r.hyp, vmm.Running, "")
	r.is(b, vmm.Paused, vmm.ReasonIncoming)
	if w := r.saved().Ways[web]; w.Move != id {
		r.Errorf("the record has way %+v while move %d is under way", w, id)
	}
	return b, id
}

// A VM takes the policy's bandwidth along.
func TestBandwidthOfAMove(t *testing.T) {
	bubble(t, func(r *rig) {
		r.policy = config.DefaultPolicy("test")
		r.policy.Migration.Bandwidth = 500 << 20
		r.leaves()
		r.mu.Lock()
		defer r.mu.Unlock()
		if want := (vmm.Destination{Host: "b", Bandwidth: 500 << 20}); len(r.went) != 1 || r.went[0] != want {
			t.Errorf("web went to %+v, want %+v", r.went, want)
		}
	})
}

func TestSourceOfAMove(t *testing.T) {
	fails := func(r *rig, b *embedded.Host, why string) {
		r.Helper()
		r.pass(10 * time.Second)
		r.is(r.hyp, vmm.Running, "")
		r.wantOwner("a", fsm.PhaseRunning)
		vm := r.state().VMs[web]
		if vm.Move != nil || len(vm.MoveFailures) != 1 || !strings.Contains(vm.MoveFailures[0].Detail, why) {
			r.Errorf("the move is %+v, failures %+v; want it over, with %q", vm.Move, vm.MoveFailures, why)
		}
		if w := r.saved().Ways; len(w) != 0 {
			r.Errorf("the record still has %+v", w)
		}
	}
	tests := []struct {
		name string
		do   func(r *rig, b *embedded.Host, id uint64)
	}{
		{"goes through", func(r *rig, b *embedded.Host, _ uint64) {
			r.pass(2 * time.Second)
			o := r.wantOwner("b", fsm.PhaseOrdered)
			if o.From != "a" || o.Generation != 2 {
				r.Errorf("the placement is %+v", o)
			}
			r.is(r.hyp, vmm.Stopped, vmm.ReasonMigrated)
			r.is(b, vmm.Paused, vmm.ReasonIncoming)
			r.pass(2 * time.Second)
			if w := r.saved().Ways; len(w) != 0 {
				r.Errorf("the record still has %+v", w)
			}
			if err := b.Resume(r.Context(), web); err != nil { // as b's agent would
				r.Error(err)
			}
		}},
		{"called off", func(r *rig, b *embedded.Host, id uint64) {
			r.apply(&fsm.EndMove{Epoch: 1, UUID: web, Move: id, Why: "a person changed her mind"})
			r.pass(500 * time.Millisecond)
			r.none(b)
			fails(r, b, "changed her mind")
		}},
		{"the target dies", func(r *rig, b *embedded.Host, _ uint64) {
			r.apply(&fsm.DeclareDead{Meta: fsm.Meta{At: time.Now()}, Epoch: 1, Host: "b", Incarnation: 1})
			fails(r, b, "declared dead")
		}},
		{"the connection breaks", func(r *rig, b *embedded.Host, _ uint64) {
			r.world.SetCut("a", "b", true)
			fails(r, b, "connection")
			r.is(b, vmm.Paused, vmm.ReasonIncoming) // b's agent would end it
		}},
		{"its process does not end", func(r *rig, b *embedded.Host, _ uint64) {
			r.hyp.SetKillFails(true)
			fails(r, b, "lost sight")
			r.is(b, vmm.Paused, vmm.ReasonIncoming)
		}},
		{"it shall stop", func(r *rig, b *embedded.Host, _ uint64) {
			r.apply(&fsm.SetIntent{UUID: web, Intent: fsm.IntentStop, Why: "a test"})
			r.pass(5 * time.Second)
			r.none(r.hyp)
			r.none(b)
			r.wantOwner("", "")
		}},
		{"the host is shut down", func(r *rig, b *embedded.Host, _ uint64) {
			go func() { _ = r.agent.Drain(r.Context(), false) }()
			r.pass(5 * time.Second)
			r.none(r.hyp)
			r.none(b)
			r.wantOwner("", "")
		}},
		{"the lease ends", func(r *rig, b *embedded.Host, _ uint64) {
			r.hyp.SetDelays(embedded.Delays{})
			r.world.SetCut("a", "b", true) // it fails, and another that takes longer begins
			r.pass(time.Second)
			r.world.SetCut("a", "b", false)
			if err := b.Kill(r.Context(), web); err != nil {
				r.Fatal(err)
			}
			r.hyp.SetDelays(embedded.Delays{Migrate: 30 * time.Second})
			r.move("b", false)
			r.master.set(func(m *fakeMaster) { m.cut = true })
			r.pass(3 * time.Second)
			r.is(r.hyp, vmm.Running, "")
			r.pass(2 * time.Second)
			r.none(r.hyp)
			r.master.set(func(m *fakeMaster) { m.cut = false })
			r.pass(5 * time.Second)
			r.wantOwner("", "")
			if inc := r.state().Hosts["a"].Incarnation; inc != 2 {
				r.Errorf("a is in incarnation %d, want 2", inc)
			}
			if err := b.Resume(r.Context(), web); err == nil {
				r.Error("b has all of a VM that was killed on its way")
			}
		}},
		{"the agent is killed, and the next one finds it under way", func(r *rig, b *embedded.Host, _ uint64) {
			r.kill()
			r.start()
			fails(r, b, "lost sight")
			r.none(b)
		}},
		{"the agent is killed, and the next one finds that it went through", func(r *rig, b *embedded.Host, _ uint64) {
			r.kill()
			r.pass(1500 * time.Millisecond)
			r.is(r.hyp, vmm.Stopped, vmm.ReasonMigrated)
			r.start()
			r.pass(2 * time.Second)
			r.wantOwner("b", fsm.PhaseOrdered)
		}},
		{"the agent is killed, and it went through after it was called off", func(r *rig, b *embedded.Host, id uint64) {
			r.kill()
			r.pass(1500 * time.Millisecond)
			r.apply(&fsm.EndMove{Epoch: 1, UUID: web, Move: id, Why: "a test"})
			r.start()
			r.pass(2 * time.Second)
			r.wantOwner("", "")
			if !strings.Contains(r.newestEvent(), "called off") {
				r.Errorf("the newest event is %q", r.newestEvent())
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.orphans = strings.HasPrefix(tt.name, "the agent is killed")
				b, id := r.leaves()
				tt.do(r, b, id)
			})
		})
	}
}

// The last answer of the target is lost: web goes on where it was, and the copy is older
// than its disk from then on. Nobody may let it run, ever.
func TestMoveWhoseEndIsLost(t *testing.T) {
	bubble(t, func(r *rig) {
		b := r.other()
		r.owned()
		r.hyp.SetMigrateFault("*", embedded.MigrateFault{Lost: true})
		r.move("b", false)
		r.pass(2 * time.Second)
		r.is(r.hyp, vmm.Running, "")
		r.is(b, vmm.Paused, vmm.ReasonIncoming)
		r.wantOwner("a", fsm.PhaseRunning)
		r.hyp.SetMigrateFault("*", embedded.MigrateFault{})
		r.move("b", false)
		r.pass(2 * time.Second)
		r.wantOwner("a", fsm.PhaseRunning) // refused by b's hypervisor, which has a copy still
	})
}

// A cold move shuts the guest down, and powers off one that does not obey; an end that was
// nobody's wish is not taken for a person's.
func TestColdMove(t *testing.T) {
	for name, tt := range map[string]struct {
		do    func(r *rig, id uint64)
		after time.Duration
		owner string
	}{
		"goes through": {func(*rig, uint64) {}, 5 * time.Second, "b"},
		"the guest does not obey": {func(r *rig, _ uint64) {
			r.hyp.SetGuestsIgnoreShutdown(true)
		}, 70 * time.Second, "b"},
		"called off while the guest shuts down": {func(r *rig, id uint64) {
			r.pass(time.Second)
			r.apply(&fsm.EndMove{Epoch: 1, UUID: web, Move: id, Why: "a test"})
		}, 5 * time.Second, ""},
		"the agent is restarted while the guest shuts down": {func(r *rig, _ uint64) {
			r.pass(time.Second)
			r.kill()
			r.start()
		}, 5 * time.Second, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.owned()
				r.hyp.SetDelays(embedded.Delays{Shutdown: 3 * time.Second})
				id := r.move("b", true)
				tt.do(r, id)
				r.pass(tt.after)
				r.none(r.hyp)
				o := r.wantOwner(tt.owner, fsm.PhaseOrdered)
				if o != nil && !o.Cold {
					r.Errorf("the placement is %+v, want it cold", o)
				}
				if vm := r.state().VMs[web]; vm.Intent != fsm.IntentRun {
					r.Errorf("it shall %s; nobody stopped it", vm.Intent)
				}
			})
		})
	}
	bubble(t, func(r *rig) { // long after a move was called off, what a person does is her wish
		r.owned()
		r.hyp.SetGuestsIgnoreShutdown(true)
		id := r.move("b", true)
		r.pass(time.Second)
		r.apply(&fsm.EndMove{Epoch: 1, UUID: web, Move: id, Why: "a test"})
		r.pass(2 * shutdownGrace)
		r.is(r.hyp, vmm.Running, "")
		if err := r.hyp.GuestShutdown("web"); err != nil {
			r.Fatal(err)
		}
		r.pass(2 * time.Second)
		if vm := r.state().VMs[web]; vm.Intent != fsm.IntentStop {
			r.Errorf("it shall %s, want what the person did respected", vm.Intent)
		}
	})
}

// comes is a move of web to a from b, where it runs; it has been under way for a second of
// the two that its memory takes. done tells what became of the migration.
func (r *rig) comes() (b *embedded.Host, id uint64, done chan error) {
	r.Helper()
	b = r.other()
	r.start()
	r.pass(3 * time.Second)
	s := r.state()
	r.apply(&fsm.Assign{Epoch: 1, UUID: web, Previous: s.VMs[web].Generation, Host: "b", Incarnation: 1, Why: "a test"})
	if _, err := b.StartPaused(r.Context(), xml(web, "web")); err != nil {
		r.Fatal(err)
	}
	if err := b.Resume(r.Context(), web); err != nil {
		r.Fatal(err)
	}
	r.apply(&fsm.Report{Epoch: 1, UUID: web, Host: "b", Incarnation: 1, Generation: 1, Outcome: fsm.OutcomeRunning})
	b.SetDelays(embedded.Delays{Migrate: 2 * time.Second})
	id = r.move("a", false)
	done = make(chan error, 1)
	go func() { done <- b.Migrate(r.Context(), web, vmm.Destination{Host: "a"}) }()
	r.pass(time.Second)
	r.is(r.hyp, vmm.Paused, vmm.ReasonIncoming)
	return b, id, done
}

// through waits for a migration that goes through, broken for one that does not.
func (r *rig) through(done chan error) {
	r.Helper()
	if err := <-done; err != nil {
		r.Fatal(err)
	}
}

func (r *rig) broken(done chan error) {
	r.Helper()
	if <-done == nil {
		r.Fatal("the migration went through")
	}
}

// report has b say what became of its move.
func (r *rig) report(o fsm.Outcome, id uint64) {
	r.Helper()
	r.apply(&fsm.Report{Meta: fsm.Meta{At: time.Now()}, Epoch: 1, UUID: web, Host: "b", Incarnation: 1, Generation: 1, Outcome: o, Move: id, Detail: "a test"})
}

func TestTargetOfAMove(t *testing.T) {
	tests := []struct {
		name string
		do   func(r *rig, b *embedded.Host, id uint64, done chan error)
	}{
		{"goes through", func(r *rig, b *embedded.Host, id uint64, done chan error) {
			r.through(done)
			copied := r.is(r.hyp, vmm.Paused, vmm.ReasonIncoming)
			r.pass(20 * time.Second)
			r.is(r.hyp, vmm.Paused, vmm.ReasonIncoming) // as long as b has not said that it has it no more
			if got := r.guard.Covered(); len(got) != 0 {
				r.Errorf("the guard covers %v before it may run", got)
			}
			r.report(fsm.OutcomeMoved, id)
			r.pass(2 * time.Second)
			if d := r.is(r.hyp, vmm.Running, ""); d.PID != copied.PID {
				r.Errorf("process %d runs, want %d, the one that came", d.PID, copied.PID)
			}
			r.wantOwner("a", fsm.PhaseRunning)
			if got := r.guard.Covered(); len(got) != 1 || r.saved().Executed[web] != 2 {
				r.Errorf("the guard covers %v, the record has %v", got, r.saved().Executed)
			}
			if e := r.state().Events; strings.Contains(e[len(e)-1].Text, "anew") {
				r.Errorf("people are told %q", e[len(e)-1].Text)
			}
		}},
		{"called off", func(r *rig, b *embedded.Host, id uint64, done chan error) {
			r.world.SetCut("a", "b", true)
			r.broken(done)
			r.apply(&fsm.EndMove{Epoch: 1, UUID: web, Move: id, Why: "a test"})
			r.pass(2 * time.Second)
			r.is(r.hyp, vmm.Paused, vmm.ReasonIncoming) // its copy of the state may be behind
			r.pass(4 * time.Second)
			r.none(r.hyp)
			r.is(b, vmm.Running, "")
			r.wantOwner("b", fsm.PhaseRunning)
		}},
		{"its copy was lost", func(r *rig, b *embedded.Host, id uint64, done chan error) {
			r.through(done)
			if err := r.hyp.CrashVM("web"); err != nil {
				r.Fatal(err)
			}
			r.report(fsm.OutcomeMoved, id)
			r.pass(3 * time.Second)
			r.is(r.hyp, vmm.Running, "")
			r.wantOwner("a", fsm.PhaseRunning)
			if !strings.Contains(r.newestEvent(), "started anew") {
				r.Errorf("people are told %q", r.newestEvent())
			}
		}},
		{"a copy that is left over, and the VM is shut down there to start here", func(r *rig, b *embedded.Host, id uint64, done chan error) {
			b.SetMigrateFault("*", embedded.MigrateFault{Lost: true})
			r.report(fsm.OutcomeMoveFailed, id)
			r.world.SetCut("a", "b", true)
			r.broken(done)
			r.world.SetCut("a", "b", false)
			if err := r.hyp.Kill(r.Context(), web); err != nil {
				r.Fatal(err)
			}
			id = r.move("a", false)
			if err := b.Migrate(r.Context(), web, vmm.Destination{Host: "a"}); err == nil {
				r.Fatal("the end was not lost")
			}
			r.is(r.hyp, vmm.Paused, vmm.ReasonIncoming)
			r.report(fsm.OutcomeMoveFailed, id)
			id = r.move("a", true)
			if err := b.Kill(r.Context(), web); err != nil {
				r.Fatal(err)
			}
			r.report(fsm.OutcomeMoved, id)
			r.pass(3 * time.Second)
			r.is(r.hyp, vmm.Running, "") // from its definition, or the world says that its memory is old
			r.wantOwner("a", fsm.PhaseRunning)
		}},
		{"a copy that is left over, and the VM is restarted here", func(r *rig, b *embedded.Host, id uint64, done chan error) {
			r.through(done)
			r.apply(&fsm.EndMove{Epoch: 1, UUID: web, Move: id, Why: "a test"})
			r.report(fsm.OutcomeCrashed, 0)
			r.assign()
			r.pass(3 * time.Second)
			r.is(r.hyp, vmm.Running, "")
			runs := r.world.Runs()
			if last := runs[len(runs)-1]; last.Host != "a" || last.Boot != 1 {
				r.Errorf("the last run is %+v", last)
			}
			r.wantOwner("a", fsm.PhaseRunning)
		}},
		{"the lease ends before", func(r *rig, b *embedded.Host, id uint64, done chan error) {
			r.master.set(func(m *fakeMaster) { m.cut = true })
			r.pass(5 * time.Second)
			r.none(r.hyp)
			r.master.set(func(m *fakeMaster) { m.cut = false })
			r.pass(10 * time.Second)
			if vm := r.state().VMs[web]; vm.Move != nil {
				r.Errorf("the move to an earlier life is still there: %+v", vm.Move)
			}
		}},
		{"the lease ends and the agent is gone", func(r *rig, b *embedded.Host, id uint64, done chan error) {
			r.through(done)
			r.kill()
			r.pass(10 * time.Second)
			r.is(r.hyp, vmm.Paused, vmm.ReasonIncoming)
			r.start()
			r.pass(3 * time.Second)
			r.none(r.hyp)
		}},
		{"the agent is killed when it was about to let it run", func(r *rig, b *embedded.Host, id uint64, done chan error) {
			r.through(done)
			r.mu.Lock()
			r.beforeResume = r.cancel
			r.mu.Unlock()
			r.report(fsm.OutcomeMoved, id)
			r.pass(100 * time.Millisecond)
			r.kill()
			r.is(r.hyp, vmm.Paused, vmm.ReasonIncoming)
			r.start()
			r.pass(3 * time.Second)
			r.none(r.hyp)
			r.wantOwner("", "")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				b, id, done := r.comes()
				tt.do(r, b, id, done)
			})
		})
	}
}
