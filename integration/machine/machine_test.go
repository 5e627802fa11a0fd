package machine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// timing is the profile that the machines run with.
func timing(t *testing.T) lease.Timing {
	t.Helper()
	p, ok := lease.Profile("standard")
	if !ok {
		t.Fatal("there is no profile standard")
	}
	p.Election, p.Lease = 2*time.Second, 8*time.Second // as in policy
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

// slack is what an emulated machine on a busy processor may add to any moment.
const slack = 1500 * time.Millisecond

// stage is one scenario under way.
type stage struct {
	*testing.T
	w      *World
	ctx    context.Context
	timing lease.Timing
	vm     int
	host   *Machine // that runs the VM
	before Sight
	began  time.Time
	boots  int // of the host, when the scenario began
}

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
	if !t.Run("qualify", func(t *testing.T) { testQualify(t, w) }) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Second)
	defer cancel()
	if err := w.Form(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.Protect(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("a cluster with %d protected VMs after %v", VMs, time.Since(began).Round(time.Second))
	for _, s := range []struct {
		name string
		play func(*stage)
	}{
		{"guard killed and started again", guardKilled},
		{"guard stopped, agent well", guardStopped},
		{"guard becomes the new program", guardRenewed},
		{"no memory, no processor, busy disk", loaded},
		{"agent killed for good", agentKilled},
		{"agent stopped", agentStopped},
		{"network cut", networkCut},
		{"guard and agent stopped", bothStopped},
		{"network cut and a VM that cannot be ended", diskStalled},
	} {
		if !t.Run(s.name, func(t *testing.T) { perform(t, w, s.play) }) {
			return // the next would begin with what this one left
		}
	}
}

// perform settles the cluster, plays one scenario on the host that runs vm1, and
// looks for two writers.
func perform(t *testing.T, w *World, play func(*stage)) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Second)
	defer cancel()
	began := time.Now()
	if err := w.Settled(ctx); err != nil {
		t.Fatal(err)
	}
	s := &stage{T: t, w: w, ctx: ctx, timing: timing(t), vm: 1}
	sight, ok := w.watch.newest(s.vm)
	if !ok {
		t.Fatal("vm1 has never written")
	}
	s.before, s.host, s.began = sight, w.Hosts[sight.Host-1], time.Now()
	s.boots = s.host.Boots()
	t.Logf("settled after %v; vm1 runs on %s", time.Since(began).Round(100*time.Millisecond), s.host.Name)
	play(s)
	if err := w.watch.verdict(); err != nil {
		t.Error(err)
	}
}

// must runs a line of shell on the host.
func (s *stage) must(format string, args ...any) string {
	s.Helper()
	out, err := s.host.Sh(10*time.Second, format, args...)
	if err != nil {
		s.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// until polls with a limit of its own.
func (s *stage) until(limit time.Duration, what string, ok func() (bool, string)) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	if err := Until(ctx, what, ok); err != nil {
		s.Fatal(err)
	}
}

// undisturbed watches for so long: no reset, and the same life of the VM goes on.
func (s *stage) undisturbed(d time.Duration) {
	s.Helper()
	end := time.Now().Add(d)
	for ; time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if at := s.host.Resets(s.began); len(at) > 0 {
			s.Fatalf("%s was reset %v after the scenario began, though its lease is good", s.host.Name, at[0].Sub(s.began))
		}
	}
	now, _ := s.w.watch.newest(s.vm)
	if now.Life != s.before.Life || time.Since(now.Last) > 2*time.Second {
		s.Fatalf("vm1 did not go on: %+v before, %+v now, %v ago", s.before, now, time.Since(now.Last))
	}
}

// takeover waits until another host runs the VM and returns the last mark of the
// old life and the first of the new one.
func (s *stage) takeover() (last, first time.Time) {
	s.Helper()
	last = s.before.Last
	// How soon is measured where machines are quick enough for it; here it counts what comes after what.
	limit := 3 * s.timing.MasterBound()
	s.until(limit, "vm1 runs elsewhere", func() (bool, string) {
		now, _ := s.w.watch.newest(s.vm)
		if now.Life == s.before.Life {
			last = now.Last
		}
		return now.Host != s.before.Host, fmt.Sprintf("%+v", now)
	})
	now, _ := s.w.watch.newest(s.vm)
	return last, now.First
}

// spared is for a host whose VMs the guard ends: they are gone soon after the
// lease's end, nothing is reset, and only then they run elsewhere.
func (s *stage) spared() {
	s.Helper()
	last, first := s.takeover()
	gone := last.Sub(s.began)
	if bound := s.timing.Lease + slack; gone > bound {
		s.Errorf("vm1 wrote for %v after the fault, allowed are %v (its lease ends %v after it at the latest)", gone, bound, s.timing.Lease)
	}
	s.noReset()
	s.Logf("vm1 last wrote %v after the fault, and on another host %v after it", gone.Round(10*time.Millisecond), first.Sub(s.began).Round(10*time.Millisecond))
}

func (s *stage) noReset() {
	s.Helper()
	if at := s.host.Resets(s.began); len(at) > 0 {
		s.Errorf("%s was reset %v after the fault, though its VMs were proven gone", s.host.Name, at[0].Sub(s.began))
	}
}

// reset waits for the watchdog and returns when it fired; it must, within the bound.
func (s *stage) reset(bound time.Duration) time.Time {
	s.Helper()
	s.until(bound+5*time.Second, "the watchdog fires", func() (bool, string) {
		return len(s.host.Fired(s.began)) > 0, fmt.Sprintf("no WATCHDOG event of %s since %v", s.host.Name, time.Since(s.began))
	})
	at := s.host.Fired(s.began)[0]
	if took := at.Sub(s.began); took > bound {
		s.Errorf("the watchdog of %s fired %v after the fault, allowed are %v", s.host.Name, took, bound)
	} else {
		s.Logf("the watchdog fired %v after the fault, allowed were %v", took.Round(10*time.Millisecond), bound.Round(10*time.Millisecond))
	}
	return at
}

// afterReset waits for the takeover, which must come after it, and once.
func (s *stage) afterReset(at time.Time) {
	s.Helper()
	last, first := s.takeover()
	if !first.After(at) {
		s.Errorf("vm1 ran on another host at %v, before the reset at %v", first, at)
	}
	if late := last.Sub(at); late > watchEvery+200*time.Millisecond {
		s.Errorf("vm1 wrote %v after its machine was reset", late)
	}
	s.until(90*time.Second, "the machine boots again", func() (bool, string) {
		return s.host.Boots() > s.boots && s.answers(), s.host.Console(10)
	})
	if n := len(s.host.Fired(s.began)); n != 1 {
		s.Errorf("the watchdog fired %d times, want once", n)
	}
	s.Logf("vm1 wrote on another host %v after the reset", first.Sub(at).Round(10*time.Millisecond))
}

func (s *stage) answers() bool {
	_, err := s.host.Sh(2*time.Second, "true")
	return err == nil
}

// note reads why the host says that it was reset.
func (s *stage) note(want string) {
	s.Helper()
	note := s.must("cat /var/lib/haagent/last-reset.json")
	if !strings.Contains(note, want) || strings.Contains(note, `"averted": true`) || !strings.Contains(note, UUID(s.vm)) {
		s.Errorf("the note does not say %q and name %s:\n%s", want, UUID(s.vm), note)
	}
	s.until(20*time.Second, "the agent says after the boot that the watchdog had reset the machine", func() (bool, string) {
		out := s.host.Console(400)
		return strings.Contains(out, "this machine was reset by its watchdog"), out
	})
}

func testQualify(t *testing.T, w *World) {
	h1, h3 := w.Hosts[0], w.Hosts[2]
	began := time.Now()
	// An idle host loses its guard and its agent for good: it can do no harm and is left alone.
	if _, err := h3.Sh(10*time.Second, "touch /run/down-guard /run/down-agent; kill -9 $(cat /run/guard.pid) $(cat /run/agent.pid)"); err != nil {
		t.Fatal(err)
	}
	if _, err := h1.Sh(5*time.Second, "setsid inside qualify >/dev/console 2>&1 &"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := Until(ctx, "h1 was reset and is back", func() (bool, string) {
		return h1.Boots() > 1, h1.Console(5)
	}); err != nil {
		t.Fatal(err)
	}
	out, err := h1.Run(5*time.Second, "inside", "qualified")
	if err != nil {
		t.Fatalf("the measurement: %v", err)
	}
	t.Log(strings.TrimSpace(out))
	if at := h3.Resets(began); len(at) > 0 {
		t.Errorf("h3 was reset %v after its guard and agent were killed, though no VM ran", at[0].Sub(began))
	}
	if _, err := h3.Sh(5*time.Second, "rm /run/down-guard /run/down-agent"); err != nil {
		t.Fatal(err)
	}
}

func guardKilled(s *stage) {
	s.must("kill -9 $(cat /run/guard.pid)")
	s.undisturbed(2 * s.timing.Watchdog)
}

func guardStopped(s *stage) {
	s.must("kill -STOP $(cat /run/guard.pid)")
	s.undisturbed(2 * s.timing.Watchdog)
}

func guardRenewed(s *stage) {
	pid := s.must("cat /run/guard.pid")
	before := s.must("cut -d' ' -f22 /proc/%s/stat; grep -c watchdog0 /proc/%s/maps || ls -l /proc/%s/fd | grep -c watchdog0", pid, pid, pid)
	s.must("kill -HUP %s", pid)
	s.until(30*time.Second, "the new program runs", func() (bool, string) {
		out := s.must("tr '\\0' ' ' < /proc/%s/environ", pid)
		return strings.Contains(out, "HAAGENT_GUARD_DESCRIPTORS"), out
	})
	s.undisturbed(2 * s.timing.Watchdog)
	if after := s.must("cut -d' ' -f22 /proc/%s/stat; grep -c watchdog0 /proc/%s/maps || ls -l /proc/%s/fd | grep -c watchdog0", pid, pid, pid); after != before {
		s.Errorf("process start and open watchdogs were %q and are %q", before, after)
	}
}

func loaded(s *stage) {
	if _, err := s.host.Run(25*time.Second, "inside", "load", "8"); err != nil {
		s.Fatal(err)
	}
	s.undisturbed(s.timing.Watchdog)
	gap := s.must("inside gap")
	s.Logf("largest gap between two looks and two pets of the guard under load: %s", gap)
}

func agentKilled(s *stage) {
	s.must("touch /run/down-agent; kill -9 $(cat /run/agent.pid)")
	s.spared()
	s.undo("rm /run/down-agent")
}

func agentStopped(s *stage) {
	s.must("kill -STOP $(cat /run/agent.pid)")
	s.spared()
	s.undo("kill -CONT $(cat /run/agent.pid)")
}

func networkCut(s *stage) {
	s.w.hub.cut(s.host.Name, true)
	s.spared()
	s.w.hub.cut(s.host.Name, false)
}

func bothStopped(s *stage) {
	s.must("kill -STOP $(cat /run/agent.pid) $(cat /run/guard.pid)")
	at := s.reset(time.Duration(1.05*float64(s.timing.Watchdog)) + slack)
	s.afterReset(at)
	s.note("the guard has been silent")
}

func diskStalled(s *stage) {
	if err := s.host.Stall(true); err != nil {
		s.Fatal(err)
	}
	s.until(5*time.Second, "vm1 hangs on its disk", func() (bool, string) {
		now, _ := s.w.watch.newest(s.vm)
		return time.Since(now.Last) > 500*time.Millisecond, fmt.Sprint(now)
	})
	s.began = time.Now()
	s.w.hub.cut(s.host.Name, true)
	at := s.reset(s.timing.Lease + time.Duration(1.05*float64(s.timing.Watchdog)) + slack)
	if err := s.host.Stall(false); err != nil {
		s.Fatal(err)
	}
	s.afterReset(at)
	s.w.hub.cut(s.host.Name, false)
	s.note("could not be proven gone")
}

func (s *stage) undo(line string) {
	s.Helper()
	s.must("%s", line)
	s.noReset()
}
