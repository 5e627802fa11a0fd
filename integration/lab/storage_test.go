package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
)

const (
	// outage is how long a network is away, and stall how long storage hangs: many
	// times what a takeover takes under the fast profile.
	outage = 30 * time.Second
	stall  = 20 * time.Second
	// shortOutage and shortStall are what is left of them where time is short: still twice
	// the bound of a takeover, which is 5.1 s.
	shortOutage = 11 * time.Second
	shortStall  = 11 * time.Second
	// failure is how long storage fails.
	failure = 10 * time.Second
)

// lastsFor is how long networks are away and storage hangs.
func lastsFor() (networks, storage time.Duration) {
	if short() {
		return shortOutage, shortStall
	}
	return outage, stall
}

// storageWorld is a cluster with heartbeat volumes and one VM on each host.
type storageWorld struct {
	*world
	vms []*Guest
}

func newStorageWorld(t *testing.T) *storageWorld {
	t.Helper()
	w := &storageWorld{world: newWorld(t, Config{Volumes: 2, Base: memoryBase(t)})}
	begin := time.Now()
	must(t, w.UseVolumes(within(t, settle)))
	t.Logf("%d heartbeat volumes are in use after %v", len(w.Volumes()), time.Since(begin).Round(10*time.Millisecond))
	begin = time.Now()
	for _, h := range w.Hosts() {
		g, _ := w.start(t, h)
		w.vms = append(w.vms, g)
	}
	for _, g := range w.vms {
		_, err := w.Judge().WaitBeat(within(t, bootTime), g.Name, begin)
		must(t, err)
	}
	t.Logf("%d VMs run after %v", len(w.vms), time.Since(begin).Round(10*time.Millisecond))
	return w
}

// memoryBase is a directory for labs in memory, if this machine has one that guests'
// disks can be in; otherwise DefaultBase. Where the only thing that renews a lease
// is the network, a disk that is busy with other work for a second would end it:
// the master confirms its office on it.
func memoryBase(t *testing.T) string {
	t.Helper()
	const shm = "/dev/shm"
	var fs syscall.Statfs_t
	if err := syscall.Statfs(shm, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < 1<<30 {
		return DefaultBase
	}
	probe := filepath.Join(shm, "holdfast-probe-"+strconv.Itoa(os.Getpid()))
	f, err := os.OpenFile(probe, os.O_CREATE|os.O_RDWR|syscall.O_DIRECT, 0o600)
	_ = os.Remove(probe) // there is none where it could not be made
	if err != nil {
		return DefaultBase
	}
	must(t, f.Close())
	return filepath.Join(shm, "holdfast-lab")
}

// guestsAt are the VMs that run on a host now.
func (w *storageWorld) guestsAt(h *Host) []*Guest {
	var at []*Guest
	for _, g := range w.vms {
		if slices.Equal(w.Judge().Running(g.Name), []string{h.Name()}) {
			at = append(at, g)
		}
	}
	return at
}

// mended takes every fault back, of storage first: what hangs in it cannot be ended.
func (w *storageWorld) mended(t *testing.T) {
	t.Helper()
	for _, h := range w.Hosts() {
		if h.hangs() {
			must(t, h.SetHang(t.Context(), false))
		}
	}
	for _, v := range w.Volumes() {
		must(t, v.Thaw(within(t, settle)))
		must(t, v.Mend(within(t, settle)))
	}
	w.whole(t)
	w.forgotten(t)
	for _, g := range w.vms {
		_, err := w.WaitVM(within(t, settle), g.Name, "it runs", func(v api.VMView) bool { return v.Protected && v.State == api.VMRunning })
		must(t, err)
	}
}

// nothingHappens checks that during fault, and until the cluster is whole again
// after it, every VM goes on as the same process, every guest writes, and no host
// begins a new incarnation.
func (w *storageWorld) nothingHappens(t *testing.T, fault func()) {
	t.Helper()
	from := time.Now()
	before, incarnations := w.processes(t), w.incarnations(t)
	same := func(when string) {
		t.Helper()
		for _, g := range w.vms {
			runs := w.Judge().Runs(g.Name)
			if last := runs[len(runs)-1]; last.PID != before[g.Name] || !last.Gone.IsZero() {
				w.presumes(t, from, "%s: %s did not go on as process %d\n%s", when, g.Name, before[g.Name], w.Judge().Report(g.Name))
			}
			lives := w.Judge().Lives(g.Name)
			if ago := time.Since(lives[len(lives)-1].Last); ago > 2*time.Second {
				t.Errorf("%s: the guest of %s has not written for %v", when, g.Name, ago)
			}
		}
	}
	fault()
	same("during the fault")
	w.mended(t)
	same("after the fault")
	if after := w.incarnations(t); !slices.Equal(after, incarnations) {
		w.presumes(t, from, "the hosts' incarnations are %v now, were %v", after, incarnations)
	}
	if t.Failed() {
		t.Logf("events:\n%s", w.history(t))
	}
}

// processes are the VMs' processes now; each has exactly one.
func (w *storageWorld) processes(t *testing.T) map[string]int {
	t.Helper()
	pids := map[string]int{}
	for _, g := range w.vms {
		runs := w.Judge().Runs(g.Name)
		last := runs[len(runs)-1]
		if !last.Gone.IsZero() {
			t.Fatalf("%s does not run\n%s", g.Name, w.Judge().Report(g.Name))
		}
		pids[g.Name] = last.PID
	}
	return pids
}

func (w *storageWorld) incarnations(t *testing.T) (all []uint64) {
	t.Helper()
	for _, h := range w.Hosts() {
		all = append(all, w.incarnation(t, h))
	}
	return all
}

// lasts lets a fault last.
func lasts(t *testing.T, d time.Duration) {
	t.Helper()
	<-within(t, d).Done()
}

// everyVolume does the same to all volumes at once.
func (w *storageWorld) everyVolume(t *testing.T, do func(*Volume, context.Context) error) {
	t.Helper()
	var all sync.WaitGroup
	for _, v := range w.Volumes() {
		all.Go(func() {
			if err := do(v, within(t, settle)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestLabStorage: leases that are kept by the network or by heartbeat volumes, under
// the faults of both.
func TestLabStorage(t *testing.T) {
	w := newStorageWorld(t)
	outage, stall := lastsFor()
	for _, s := range []struct {
		name string
		run  func(*testing.T, *storageWorld)
	}{
		{"every network of a member cut", func(t *testing.T, w *storageWorld) {
			w.nothingHappens(t, func() {
				must(t, w.member(t).Cut(t.Context(), All))
				lasts(t, outage)
			})
		}},
		{"every network of every host cut", func(t *testing.T, w *storageWorld) {
			w.nothingHappens(t, func() {
				for _, h := range w.Hosts() {
					must(t, h.Cut(t.Context(), All))
				}
				lasts(t, outage)
			})
		}},
		{"storage hangs for every host", func(t *testing.T, w *storageWorld) {
			w.nothingHappens(t, func() {
				w.everyVolume(t, (*Volume).Freeze)
				at := time.Now()
				w.told(t, "an I/O does not end")
				lasts(t, time.Until(at.Add(stall)))
			})
		}},
		{"storage fails for every host", storageFails},
		{"network cut and storage hang of a member", networkAndStorage},
		{"power loss", storagePowerLoss},
		{"agent killed and restarted while storage hangs", func(t *testing.T, w *storageWorld) { restartWhileFrozen(t, w, syscall.SIGKILL) }},
		{"agent ended and restarted while storage hangs", func(t *testing.T, w *storageWorld) { restartWhileFrozen(t, w, syscall.SIGTERM) }},
	} {
		t.Run(s.name, func(t *testing.T) {
			w.mended(t)
			s.run(t, w)
		})
	}
	must(t, w.Judge().CheckAll())
}

// storageFails: every I/O ends with an error, and people are told.
func storageFails(t *testing.T, w *storageWorld) {
	w.nothingHappens(t, func() {
		w.everyVolume(t, (*Volume).Fail)
		at := time.Now()
		w.told(t, "input/output error")
		lasts(t, time.Until(at.Add(failure)))
	})
}

// told waits until the status says of every volume that it fails on every host, and why.
func (w *storageWorld) told(t *testing.T, why string) {
	t.Helper()
	at := time.Now()
	_, err := w.WaitStatus(within(t, failure), "the volumes are a problem on the screen", func(s *api.Status) error {
		for _, v := range w.Volumes() {
			if !slices.ContainsFunc(s.Problems, func(p api.Problem) bool {
				return strings.Contains(p.Text, "volume "+v.Name+" fails on h1, h2, h3: ") && strings.Contains(p.Text, why)
			}) {
				return fmt.Errorf("problems: %+v", s.Problems)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
		return
	}
	t.Logf("the status says so after %.2f s (%s)", time.Since(at).Seconds(), why)
}

// forgotten waits until the status says nothing of volumes any more.
func (w *storageWorld) forgotten(t *testing.T) {
	t.Helper()
	_, err := w.WaitStatus(within(t, settle), "the volumes are no problem any more", func(s *api.Status) error {
		if slices.ContainsFunc(s.Problems, func(p api.Problem) bool { return strings.Contains(p.Text, "heartbeat volume") }) {
			return fmt.Errorf("problems: %+v", s.Problems)
		}
		return nil
	})
	must(t, err)
}

// restartWhileFrozen: an agent that ends while writes to its volumes hang in the
// kernel is back before its lease, which the network keeps, has ended.
func restartWhileFrozen(t *testing.T, w *storageWorld, end syscall.Signal) {
	victim := w.member(t)
	w.nothingHappens(t, func() {
		w.everyVolume(t, (*Volume).Freeze)
		must(t, victim.waitStuck(within(t, settle), agentProgram, func() bool { return false }))
		run, err := victim.Self(within(t, settle))
		must(t, err)
		agentPID := func() int {
			pid, err := victim.programPID(within(t, settle), agentProgram)
			must(t, err)
			return pid
		}
		before := agentPID()
		at := time.Now()
		must(t, victim.signalProgram(t.Context(), agentProgram, end))
		if err := poll(within(t, quiet), func() error {
			now, err := victim.Self(within(t, settle))
			if pid := agentPID(); err == nil && (pid == 0 || pid == before) {
				err = errors.New("it has not ended yet")
			}
			if err == nil && (now.Incarnation != run.Incarnation || now.LeaseLeft == 0) {
				err = fmt.Errorf("it is incarnation %d, was %d, and %v of its lease are left", now.Incarnation, run.Incarnation, now.LeaseLeft)
			}
			return err
		}); err != nil {
			t.Errorf("the agent of %s did not come back: %v", victim.Name(), err)
		} else {
			t.Logf("the agent of %s answers again, with a lease, %.2f s after it got signal %v", victim.Name(), time.Since(at).Seconds(), end)
		}
		lasts(t, quiet)
	})
}

// networkAndStorage: the host that loses both has neither lease nor proof, so its VMs
// end there and run elsewhere, once.
func networkAndStorage(t *testing.T, w *storageWorld) {
	victim := w.member(t)
	guests := w.guestsAt(victim)
	if len(guests) == 0 {
		t.Fatalf("no VM runs on %s", victim.Name())
	}
	timing, _ := lease.Profile(w.cfg.Profile)
	at := time.Now()
	if err := victim.SetHang(t.Context(), true); errors.Is(err, errNoThrottle) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	must(t, victim.Cut(t.Context(), All))
	for _, g := range guests {
		r := w.movesFrom(t, g, victim, at)
		var gone time.Time
		for _, old := range w.Judge().Runs(g.Name) {
			if old.Host == victim.Name() {
				gone = old.Gone
			}
		}
		if gone.IsZero() || !gone.Before(r.Seen) {
			t.Errorf("%s was gone from %s at %v, but seen on %s at %v", g.Name, victim.Name(), gone, r.Host, r.Seen)
			continue
		}
		took := gone.Sub(at)
		t.Logf("%s had stopped %s %.2f s after the cut (the lease is %v)", victim.Name(), g.Name, took.Seconds(), timing.Lease)
		if took > timing.HardEnd() {
			t.Errorf("%s was gone %v after the cut, later than the hard end of its lease, %v", g.Name, took, timing.HardEnd())
		}
	}
	w.committed(t, victim, "dead")
	w.mended(t)
	for _, g := range guests {
		w.stays(t, g, 2*time.Second)
		must(t, w.Judge().Check(g.Name))
	}
}

// storagePowerLoss measures recovery with heartbeat volumes, twice, ten times where
// measurements are asked for (HOLDFAST_BENCH=1), or as often as HOLDFAST_LAB_RUNS says.
func storagePowerLoss(t *testing.T, w *storageWorld) {
	runs := 2
	if os.Getenv("HOLDFAST_BENCH") == "1" {
		runs = 10
	}
	if n, err := strconv.Atoi(os.Getenv("HOLDFAST_LAB_RUNS")); err == nil && n > 0 {
		runs = n
	}
	timing, _ := lease.Profile(w.cfg.Profile)
	g := w.vms[0]
	var times []time.Duration
	for range runs {
		victim := w.Host(w.Judge().Running(g.Name)[0])
		role := "member"
		if w.master(t) == victim {
			role = "master"
		}
		at, err := victim.PowerOff(t.Context())
		must(t, err)
		r, err := w.Judge().WaitRunning(within(t, takeover), g.Name, at)
		must(t, err)
		_, err = w.Judge().WaitBeat(within(t, bootTime), g.Name, at)
		must(t, err)
		times = append(times, r.Executed.Sub(at))
		ordered := w.ordered(t, g, at)
		t.Logf("%s (%s) lost power; after %.2f s the start of %s was ordered, after %.2f s it runs on %s",
			victim.Name(), role, ordered.Seconds(), g.Name, r.Executed.Sub(at).Seconds(), r.Host)
		if bound := timing.MasterBound(); ordered > bound { // another election on a busy machine is one reason
			t.Logf("that is longer than %v; events:\n%s", bound, w.history(t))
		}
		w.mended(t)
	}
	slices.Sort(times)
	t.Logf("recovery time with heartbeat volumes over %d runs: median %.2f s, min %.2f s, max %.2f s",
		runs, times[len(times)/2].Seconds(), times[0].Seconds(), times[len(times)-1].Seconds())
	if times[len(times)/2] > recoveryMedian {
		t.Errorf("median %v, want at most %v", times[len(times)/2], recoveryMedian)
	}
}

// ordered is how long after a moment the start of g elsewhere was ordered, by the
// event that says so.
func (w *storageWorld) ordered(t *testing.T, g *Guest, since time.Time) time.Duration {
	t.Helper()
	events, err := w.Events(within(t, settle), 0)
	must(t, err)
	for _, e := range events {
		if e.Type == "vm_recovery_assigned" && e.VM == g.Name && e.At.After(since) {
			return e.At.Sub(since)
		}
	}
	t.Errorf("no event says that the start of %s was ordered\n%s", g.Name, w.history(t))
	return 0
}
