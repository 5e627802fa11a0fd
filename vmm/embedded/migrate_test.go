package embedded

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/vmmtest"
)

func TestMigrationConformance(t *testing.T) {
	w := NewWorld()
	a, b := newHost(t, w, "a"), newHost(t, w, "b")
	a.SetDelays(Delays{Migrate: 200 * time.Millisecond, Cutover: 5 * time.Millisecond})
	vmmtest.RunMigration(t, vmmtest.Pair{Setup: vmmtest.Setup{Hypervisor: a, XML: MinimalXML, Timeout: 5 * time.Second},
		Target: b, To: vmm.Destination{Host: "b"}})
	if v := w.Violations(); len(v) != 0 {
		t.Errorf("violations: %+v", v)
	}
}

// journey is a domain of 1 GiB that begins to leave a for b; its memory takes 4 s, its
// last pages 1 s.
type journey struct {
	w    *World
	a, b *Host
	done chan error
	stop context.CancelFunc
}

func depart(t *testing.T, f func(j *journey)) *journey {
	t.Helper()
	w := NewWorld()
	j := &journey{w: w, a: newHost(t, w, "a"), b: newHost(t, w, "b"), done: make(chan error, 1)}
	j.a.SetDelays(Delays{Migrate: 4 * time.Second, Cutover: time.Second})
	start(t, j.a, 1)
	if f != nil {
		f(j)
	}
	ctx, stop := context.WithCancel(t.Context())
	j.stop = stop
	go func() { j.done <- j.a.Migrate(ctx, id(1), vmm.Destination{Host: "b"}) }()
	synctest.Wait()
	return j
}

func TestMigrationTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := depart(t, nil)
		begin := time.Now()
		wantDomain(t, j.b, 1, vmm.Paused, vmm.ReasonIncoming)
		if err := j.b.Resume(t.Context(), id(1)); err == nil {
			t.Error("a copy that is not whole was let run")
		}
		if err := j.b.PersonResume("vm1"); err == nil {
			t.Error("a person let a copy run that is not whole")
		}
		time.Sleep(4*time.Second - time.Millisecond)
		wantDomain(t, j.a, 1, vmm.Running, "")
		time.Sleep(2 * time.Millisecond)
		wantDomain(t, j.a, 1, vmm.Paused, vmm.ReasonMigrated)
		if err := j.a.Resume(t.Context(), id(1)); err == nil {
			t.Error("a domain that leaves at this moment was let run")
		}
		if err := <-j.done; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("it took %v", took)
		}
		wantDomain(t, j.a, 1, vmm.Stopped, vmm.ReasonMigrated)
		wantDomain(t, j.b, 1, vmm.Paused, vmm.ReasonIncoming)
		if err := j.b.Resume(t.Context(), id(1)); err != nil {
			t.Error(err)
		}
		if v, runs := j.w.Violations(), j.w.Runs(); len(v) != 0 || len(runs) != 2 || runs[0].How != EndedPaused || runs[1].Host != "b" {
			t.Errorf("violations %+v, runs %+v", v, runs)
		}
	})
}

// What may go wrong while a domain is on its way: it stays where it was or is gone, and
// what is left at the target can never be let run while it is not whole.
func TestMigrationBreaksOff(t *testing.T) {
	for name, tt := range map[string]struct {
		before func(j *journey)
		during func(j *journey) // 2 s after the beginning
		source vmm.State
		copied vmm.State // empty: there is none
	}{
		"called off":                {nil, func(j *journey) { j.stop() }, vmm.Running, ""},
		"aborted by another client": {nil, func(j *journey) { _ = j.a.AbortMigration(context.Background(), id(1)) }, vmm.Running, ""},
		"connection cut":            {nil, func(j *journey) { j.w.SetCut("b", "a", true) }, vmm.Running, vmm.Paused},
		"target loses its power":    {nil, func(j *journey) { j.b.PowerOff() }, vmm.Running, ""},
		"copy ended":                {nil, func(j *journey) { _ = j.b.Kill(context.Background(), id(1)) }, vmm.Running, ""},
		"target's daemon restarts":  {nil, func(j *journey) { j.b.SetDown(true) }, vmm.Running, vmm.Paused},
		"source's daemon restarts":  {nil, func(j *journey) { j.a.SetDown(true) }, vmm.Running, ""},
		"source crashes":            {nil, func(j *journey) { _ = j.a.CrashVM("vm1") }, vmm.Stopped, ""},
		"guard kills at the source": {nil, func(j *journey) { j.a.KillAll() }, vmm.Stopped, ""},
		"a person pauses it":        {nil, func(j *journey) { _ = j.a.PersonSuspend("vm1") }, vmm.Paused, ""},
		"told to fail":              {func(j *journey) { j.a.SetMigrateFault("vm1", MigrateFault{Fails: 1}) }, nil, vmm.Running, ""},
		"bound to its host":         {func(j *journey) { j.a.SetMigratable("vm1", false) }, nil, vmm.Running, ""},
		"cut from the beginning":    {func(j *journey) { j.w.SetCut("a", "b", true) }, nil, vmm.Running, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := depart(t, tt.before)
				defer j.stop()
				time.Sleep(2 * time.Second)
				if tt.during != nil {
					tt.during(j)
				}
				if err := <-j.done; err == nil || errors.Is(err, vmm.ErrNotProven) {
					t.Errorf("migrate returned %v", err)
				}
				j.a.SetDown(false)
				j.b.SetDown(false)
				j.b.PowerOn()
				reason := map[vmm.State]vmm.Reason{vmm.Paused: vmm.ReasonUser, vmm.Stopped: vmm.ReasonCrashed}[tt.source]
				wantDomain(t, j.a, 1, tt.source, reason)
				list, err := j.b.Domains(t.Context())
				if err != nil || (len(list) > 0) != (tt.copied != "") {
					t.Fatalf("at the target are %+v, %v", list, err)
				}
				if tt.copied != "" {
					wantDomain(t, j.b, 1, tt.copied, vmm.ReasonIncoming)
					if err := j.b.Resume(t.Context(), id(1)); err == nil {
						t.Error("what is not whole was let run")
					}
					if err := j.b.Kill(t.Context(), id(1)); err != nil {
						t.Error(err)
					}
				}
				if v := j.w.Violations(); len(v) != 0 {
					t.Errorf("violations: %+v", v)
				}
			})
		})
	}
}

// A copy that is whole, of a domain that went on where it was, is older than its disk:
// letting it run is as bad as a second writer, also when the first is gone by then.
func TestStaleCopyIsAViolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := depart(t, func(j *journey) { j.a.SetMigrateFault("*", MigrateFault{Lost: true}) })
		if err := <-j.done; err == nil || errors.Is(err, vmm.ErrNotProven) {
			t.Errorf("migrate returned %v", err)
		}
		wantDomain(t, j.a, 1, vmm.Running, "")
		wantDomain(t, j.b, 1, vmm.Paused, vmm.ReasonIncoming)
		j.a.KillAll()
		if err := j.b.Resume(t.Context(), id(1)); err != nil {
			t.Fatal(err)
		}
		if v := j.w.Violations(); len(v) != 1 || !v[0].Stale || len(v[0].Runs) != 1 {
			t.Errorf("violations %+v, want one for the memory", v)
		}
	})
}

// A process that does not end where it was leaves open what became of the domain;
// aborting lets it go on there.
func TestMigrationNotProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := depart(t, func(j *journey) { j.a.SetKillFails(true) })
		if err := <-j.done; !errors.Is(err, vmm.ErrNotProven) {
			t.Errorf("migrate returned %v, want ErrNotProven", err)
		}
		wantDomain(t, j.a, 1, vmm.Paused, vmm.ReasonMigrated)
		wantDomain(t, j.b, 1, vmm.Paused, vmm.ReasonIncoming)
		if err := j.a.AbortMigration(t.Context(), id(1)); err != nil {
			t.Error(err)
		}
		wantDomain(t, j.a, 1, vmm.Running, "")
		if v := j.w.Violations(); len(v) != 0 {
			t.Errorf("violations: %+v", v)
		}
	})
}
