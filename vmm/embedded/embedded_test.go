package embedded

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/vmmtest"
)

func TestConformance(t *testing.T) {
	h := newHost(t, NewWorld(), "a")
	vmmtest.Run(t, vmmtest.Setup{Hypervisor: h, XML: MinimalXML, Timeout: 5 * time.Second})
}

func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func newHost(t *testing.T, w *World, name string, domains ...DomainConfig) *Host {
	t.Helper()
	h, err := NewHost(w, HostConfig{Name: name, Domains: domains})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func vm(n int) string { return MinimalXML(fmt.Sprintf("vm%d", n), id(n), 1<<30, 1) }

func start(t *testing.T, h vmm.Hypervisor, n int) {
	t.Helper()
	if _, err := h.StartPaused(t.Context(), vm(n)); err != nil {
		t.Fatal(err)
	}
	if err := h.Resume(t.Context(), id(n)); err != nil {
		t.Fatal(err)
	}
}

func wantDomain(t *testing.T, h vmm.Hypervisor, n int, state vmm.State, reason vmm.Reason) {
	t.Helper()
	list, err := h.Domains(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		if d.UUID == id(n) {
			if d.State != state || d.Reason != reason {
				t.Errorf("vm%d is %s (%s), want %s (%s)", n, d.State, d.Reason, state, reason)
			}
			return
		}
	}
	t.Errorf("vm%d is not known, want it %s", n, state)
}

func TestTwoWritersAreAViolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWorld()
		a, b := newHost(t, w, "a"), newHost(t, w, "b")
		var hook []Violation
		w.OnViolation(func(v Violation) {
			hook = append(hook, v)
			if len(w.Writers(v.UUID)) != 2 { // the hook may ask the world
				t.Errorf("writers in the hook: %v", w.Writers(v.UUID))
			}
		})
		begin := time.Now()
		start(t, a, 1)
		time.Sleep(time.Second)
		if _, err := b.StartPaused(t.Context(), vm(1)); err != nil {
			t.Fatal(err)
		}
		start(t, b, 2)
		time.Sleep(time.Second)
		if v := w.Violations(); len(v) != 0 {
			t.Fatalf("paused beside running is no violation, got %v", v)
		}
		if err := b.Resume(t.Context(), id(1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := a.PersonSuspend("vm1"); err != nil {
			t.Fatal(err)
		}
		if err := b.Kill(t.Context(), id(1)); err != nil {
			t.Fatal(err)
		}
		at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
		want := []Violation{{At: at(2), UUID: id(1), Name: "vm1", Runs: []Run{
			{UUID: id(1), Name: "vm1", Host: "a", Boot: 1, From: at(0)},
			{UUID: id(1), Name: "vm1", Host: "b", Boot: 1, From: at(2)},
		}}}
		if diff := cmp.Diff(want, w.Violations()); diff != "" {
			t.Errorf("violations (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, hook); diff != "" {
			t.Errorf("violations that the hook saw (-want +got):\n%s", diff)
		}
		runs := []Run{
			{UUID: id(1), Name: "vm1", Host: "a", Boot: 1, From: at(0), To: at(3), How: EndedPaused},
			{UUID: id(2), Name: "vm2", Host: "b", Boot: 1, From: at(1)},
			{UUID: id(1), Name: "vm1", Host: "b", Boot: 1, From: at(2), To: at(3), How: EndedKilled},
		}
		if diff := cmp.Diff(runs, w.Runs()); diff != "" {
			t.Errorf("runs (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(runs[1:2], w.Running()); diff != "" {
			t.Errorf("running (-want +got):\n%s", diff)
		}
	})
}

func TestPowerCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWorld()
		h := newHost(t, w, "a",
			DomainConfig{XML: vm(1), Running: true, Autostart: true},
			DomainConfig{XML: vm(2), Running: true},
			DomainConfig{XML: vm(3), Running: true, Transient: true},
			DomainConfig{XML: vm(4)})
		events, err := h.Subscribe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before, _ := h.Domains(t.Context())
		h.PowerOff()
		if _, open := <-events; open {
			t.Error("subscription is open after power off")
		}
		if _, err := h.Domains(t.Context()); !errors.Is(err, vmm.ErrUnavailable) {
			t.Errorf("list on a host without power returned %v", err)
		}
		if r := w.Running(); len(r) != 0 {
			t.Errorf("still running after power off: %v", r)
		}
		time.Sleep(time.Minute)
		h.PowerOn()
		wantDomain(t, h, 1, vmm.Running, "") // autostart
		wantDomain(t, h, 2, vmm.Stopped, vmm.ReasonUnknown)
		wantDomain(t, h, 4, vmm.Stopped, vmm.ReasonUnknown)
		after, _ := h.Domains(t.Context())
		if len(after) != 3 {
			t.Errorf("domains after power on: %v, want three: the transient one is gone", after)
		}
		if before[0].PID == after[0].PID {
			t.Errorf("PID %d was used twice", after[0].PID)
		}
		want := []Run{{UUID: id(1), Name: "vm1", Host: "a", Boot: 2}}
		if diff := cmp.Diff(want, w.Running(), cmpopts.IgnoreFields(Run{}, "From")); diff != "" {
			t.Errorf("running (-want +got):\n%s", diff)
		}
		if got := w.Runs()[0].How; got != EndedPowerOff {
			t.Errorf("first run ended by %q", got)
		}
	})
}

func TestWhoStoppedIt(t *testing.T) {
	tests := []struct {
		name   string
		stop   func(h *Host) error
		state  vmm.State
		reason vmm.Reason
		how    Ending
	}{
		{"guest", func(h *Host) error { return h.GuestShutdown("vm1") }, vmm.Stopped, vmm.ReasonShutdown, EndedShutdown},
		{"shutdown by request", func(h *Host) error { return h.Shutdown(context.Background(), id(1)) }, vmm.Stopped, vmm.ReasonShutdown, EndedShutdown},
		{"person", func(h *Host) error { return h.PersonDestroy("vm1") }, vmm.Stopped, vmm.ReasonDestroyed, EndedDestroyed},
		{"crash", func(h *Host) error { return h.CrashVM(id(1)) }, vmm.Stopped, vmm.ReasonCrashed, EndedCrashed},
		{"guard", func(h *Host) error { h.KillAll(); return nil }, vmm.Stopped, vmm.ReasonCrashed, EndedGuard},
		{"agent", func(h *Host) error { return h.Kill(context.Background(), id(1)) }, vmm.Stopped, vmm.ReasonDestroyed, EndedKilled},
		{"storage", func(h *Host) error { return h.StorageError("vm1") }, vmm.Paused, vmm.ReasonIOError, EndedPaused},
		{"suspended", func(h *Host) error { return h.PersonSuspend("vm1") }, vmm.Paused, vmm.ReasonUser, EndedPaused},
		{"daemon restarted after it", func(h *Host) error {
			err := h.PersonDestroy("vm1")
			h.SetDown(true)
			h.SetDown(false)
			return err
		}, vmm.Stopped, vmm.ReasonUnknown, EndedDestroyed},
		{"crash while the daemon is away", func(h *Host) error {
			h.SetDown(true)
			err := h.CrashVM("vm1")
			h.SetDown(false)
			return err
		}, vmm.Stopped, vmm.ReasonCrashed, EndedCrashed},
		{"guest while the daemon is away", func(h *Host) error {
			h.SetDown(true)
			err := h.GuestShutdown("vm1")
			h.SetDown(false)
			return err
		}, vmm.Stopped, vmm.ReasonCrashed, EndedShutdown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := NewWorld()
			h := newHost(t, w, "a", DomainConfig{XML: vm(1), Running: true})
			if err := tt.stop(h); err != nil {
				t.Fatal(err)
			}
			wantDomain(t, h, 1, tt.state, tt.reason)
			if got := w.Runs()[0].How; got != tt.how {
				t.Errorf("run ended by %q, want %q", got, tt.how)
			}
		})
	}
}

func TestDaemonAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWorld()
		h := newHost(t, w, "a", DomainConfig{XML: vm(1), Running: true}, DomainConfig{XML: vm(2), Running: true})
		events, err := h.Subscribe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h.SetDown(true)
		if _, open := <-events; open {
			t.Error("subscription is open though the daemon is away")
		}
		if _, err := h.Capacity(t.Context()); !errors.Is(err, vmm.ErrUnavailable) {
			t.Errorf("capacity returned %v", err)
		}
		if len(w.Running()) != 2 {
			t.Error("VMs must go on without the daemon")
		}
		if err := h.PersonStart("vm1"); !errors.Is(err, vmm.ErrUnavailable) {
			t.Errorf("a person's start returned %v", err)
		}
		if err := h.Kill(t.Context(), id(1)); err != nil || len(w.Writers(id(1))) != 0 {
			t.Errorf("kill by the process returned %v, writers %v", err, w.Writers(id(1)))
		}
		h.SetHang(false) // ends a hang only
		if _, err := h.Domains(t.Context()); !errors.Is(err, vmm.ErrUnavailable) {
			t.Errorf("list returned %v", err)
		}
		h.SetDown(false)
		h.SetHang(true)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := h.Domains(ctx); !errors.Is(err, vmm.ErrUnavailable) || time.Since(began) != 3*time.Second {
			t.Errorf("list of a hanging daemon returned %v after %v", err, time.Since(began))
		}
		if err := h.Kill(t.Context(), id(2)); err != nil || len(w.Running()) != 0 {
			t.Errorf("kill by the process returned %v, running %v", err, w.Running())
		}
		time.AfterFunc(time.Second, func() { h.SetHang(false) })
		began = time.Now()
		if _, err := h.Domains(t.Context()); err != nil || time.Since(began) != time.Second {
			t.Errorf("list of a daemon that comes round returned %v after %v", err, time.Since(began))
		}
	})
}

func TestStartFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, NewWorld(), "a")
		h.SetStartFault("vm1", StartFault{Fails: 2, Delay: time.Second})
		began := time.Now()
		for i := range 2 {
			if _, err := h.StartPaused(t.Context(), vm(1)); !errors.Is(err, ErrStartFault) {
				t.Errorf("start %d returned %v", i, err)
			}
			wantDomain(t, h, 1, vmm.Stopped, vmm.ReasonFailed)
		}
		start(t, h, 1)
		if got := time.Since(began); got != 3*time.Second {
			t.Errorf("three starts took %v", got)
		}
		h.SetStartFault("*", StartFault{Fails: -1})
		for range 5 {
			if _, err := h.StartPaused(t.Context(), vm(2)); !errors.Is(err, ErrStartFault) {
				t.Errorf("start returned %v", err)
			}
		}
		h.SetStartFault("*", StartFault{})
		start(t, h, 2)
	})
}

// A start that its caller gave up happens all the same; a kill that came before
// it would prove nothing.
func TestGivenUpStartHappensAndKillWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, NewWorld(), "a")
		h.SetDelays(Delays{Start: 10 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.StartPaused(ctx, vm(1)); !errors.Is(err, vmm.ErrNotProven) || !errors.Is(err, vmm.ErrUnavailable) {
			t.Fatalf("start returned %v, want ErrNotProven and ErrUnavailable", err)
		}
		if _, err := h.StartPaused(t.Context(), vm(1)); !errors.Is(err, vmm.ErrRunning) {
			t.Errorf("start beside a pending one returned %v", err)
		}
		short, cancel2 := context.WithTimeout(t.Context(), time.Second)
		defer cancel2()
		if err := h.Kill(short, id(1)); !errors.Is(err, vmm.ErrNotProven) {
			t.Errorf("kill beside a pending start returned %v", err)
		}
		if err := h.Kill(t.Context(), id(1)); err != nil {
			t.Errorf("kill returned %v", err)
		}
		wantDomain(t, h, 1, vmm.Stopped, vmm.ReasonDestroyed)
		time.Sleep(time.Minute)
		wantDomain(t, h, 1, vmm.Stopped, vmm.ReasonDestroyed)
	})
}

func TestGivenUpResumeTakesEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWorld()
		h := newHost(t, w, "a")
		h.SetDelays(Delays{Resume: 10 * time.Second})
		for n := 1; n <= 2; n++ {
			if _, err := h.StartPaused(t.Context(), vm(n)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := h.Resume(ctx, id(n)); !errors.Is(err, vmm.ErrUnavailable) {
				t.Errorf("resume returned %v", err)
			}
			cancel()
		}
		if err := h.Kill(t.Context(), id(2)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		wantDomain(t, h, 1, vmm.Running, "")
		wantDomain(t, h, 2, vmm.Stopped, vmm.ReasonDestroyed)
		if len(w.Runs()) != 1 {
			t.Errorf("runs: %v", w.Runs())
		}
	})
}

func TestKillFails(t *testing.T) {
	w := NewWorld()
	h := newHost(t, w, "a", DomainConfig{XML: vm(1), Running: true})
	h.SetKillFails(true)
	if err := h.Kill(t.Context(), id(1)); !errors.Is(err, vmm.ErrNotProven) {
		t.Errorf("kill returned %v", err)
	}
	if len(w.Running()) != 1 {
		t.Error("an unproven kill must leave it running")
	}
	h.SetKillFails(false)
	if err := h.Kill(t.Context(), id(1)); err != nil || len(w.Running()) != 0 {
		t.Errorf("kill returned %v, running %v", err, w.Running())
	}
}

func TestShutdownDelayAndDeafGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, NewWorld(), "a", DomainConfig{XML: vm(1), Running: true})
		h.SetDelays(Delays{Shutdown: 5 * time.Second})
		h.SetGuestsIgnoreShutdown(true)
		_ = h.Shutdown(t.Context(), id(1))
		time.Sleep(time.Minute)
		wantDomain(t, h, 1, vmm.Running, "")
		h.SetGuestsIgnoreShutdown(false)
		_ = h.Shutdown(t.Context(), id(1))
		wantDomain(t, h, 1, vmm.Running, "")
		time.Sleep(6 * time.Second)
		wantDomain(t, h, 1, vmm.Stopped, vmm.ReasonShutdown)
	})
}

func TestCapacityCountsProcesses(t *testing.T) {
	h := newHost(t, NewWorld(), "a", DomainConfig{XML: vm(1), Running: true}, DomainConfig{XML: vm(2)})
	c, err := h.Capacity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.Memory-c.MemoryFree != 1<<30 {
		t.Errorf("%d bytes taken, want those of the one VM that has a process", c.Memory-c.MemoryFree)
	}
}
