package machine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMachines(t *testing.T) {
	if os.Getenv("HOLDFAST_MACHINE") == "" {
		t.Skip("boots three machines in QEMU and takes minutes; `make machine` runs it")
	}
	cache, err := filepath.Abs("../../.cache/machine")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "holdfast-machine-") // short: sockets' names have a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	began := time.Now()
	f, err := prepare(t.Context(), cache, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("kernel and programs are ready after %v", time.Since(began).Round(time.Second))
	w, err := start(t.Context(), f, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.Dump())
		}
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("three machines are up after %v", time.Since(began).Round(time.Second))

	// Before there is a cluster: what the watchdog really does, and what an idle host suffers.
	if !t.Run("qualify", func(t *testing.T) { judged(t, w, func(x *trial) { testQualify(t.Context(), x, w) }) }) {
		return
	}
	formed := false
	if !t.Run("form a cluster", func(t *testing.T) { formed = testForm(t, w) }) || !formed {
		return
	}
	t.Logf("a cluster with a heartbeat volume and %d protected VMs after %v", VMs, time.Since(began).Round(time.Second))
	for _, s := range []struct {
		name string
		play func(*stage)
	}{
		// Nothing is to happen.
		{"guard killed and started again", guardKilled},
		{"guard stopped, agent well", guardStopped},
		{"guard becomes the new program", guardRenewed},
		{"no processor, little memory, busy disk", loaded},
		{"no memory", squeezed},
		{"network cut, storage well", networkCut},
		{"storage cut, network well", storageCut},
		// The VMs are to be ended.
		{"agent killed for good", agentKilled},
		{"agent stopped", agentStopped},
		{"network and storage cut", bothCut},
		// The machine is to be reset.
		{"guard and agent stopped", bothStopped},
		{"network and storage cut and a VM that cannot be ended", bothCutAndStuck},
	} {
		if !t.Run(s.name, func(t *testing.T) {
			timeFor(t, 75*time.Second)
			judged(t, w, func(x *trial) { perform(t.Context(), x, w, s.play) })
		}) {
			return // the next would begin with what this one left
		}
	}
}

// testForm makes a cluster of the machines. What was done of it cannot be done again.
func testForm(t *testing.T, w *World) (formed bool) {
	end := w.Starving()
	ctx, cancel := context.WithTimeout(t.Context(), 240*time.Second)
	defer cancel()
	for _, step := range []func(context.Context) error{w.Form, w.Protect, w.AddVolume} {
		if err := step(ctx); err != nil {
			if s := end(); s.TooMuch() {
				t.Skipf("NOT JUDGED: this computer has kept the machines from running: %v; what failed: %v", s, err)
			}
			t.Fatal(err)
		}
	}
	t.Logf("%v", end())
	return true
}

func testQualify(ctx context.Context, t *trial, w *World) {
	h1, h3 := w.Hosts[0], w.Hosts[2]
	began, boots := time.Now(), h1.Boots()
	// An idle host loses its guard and its agent for good: it can do no harm and is left alone.
	if _, err := h3.Sh(10*time.Second, "touch /run/down-guard /run/down-agent; kill -9 $(cat /run/guard.pid) $(cat /run/agent.pid)"); err != nil {
		t.Fatal(err)
	}
	if _, err := h1.Sh(5*time.Second, "setsid inside qualify >/dev/console 2>&1 &"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if err := Until(ctx, "h1 was reset and is back", func() (bool, string) {
		return h1.Boots() > boots, h1.Console(5)
	}); err != nil {
		t.Fatal(err)
	}
	out, err := h1.Run(30*time.Second, "inside", "qualified")
	if err != nil {
		t.Fatalf("the measurement: %v", err)
	}
	t.Logf("%s", strings.TrimSpace(out))
	if at := h3.Resets(began); len(at) > 0 {
		t.Errorf("h3 was reset %v after its guard and agent were killed, though no VM ran", at[0].Sub(began))
	}
	if _, err := h3.Sh(5*time.Second, "rm /run/down-guard /run/down-agent"); err != nil {
		t.Fatal(err)
	}
}
