package host

import (
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fsm"
)

func TestOnlyAWatchdogThatCanBeWaitedForCounts(t *testing.T) {
	good := fencing.WatchdogStatus{State: fencing.DogArmed, Device: "/dev/watchdog0", Timeout: 3 * time.Second, Enduring: true}
	with := func(f func(*fencing.WatchdogStatus)) fencing.WatchdogStatus {
		w := good
		f(&w)
		return w
	}
	for name, tt := range map[string]struct {
		is   fencing.WatchdogStatus
		want time.Duration
	}{
		"armed":                            {good, 3 * time.Second},
		"idle, armed for the first VM":     {with(func(w *fencing.WatchdogStatus) { w.State = fencing.DogIdle }), 3 * time.Second},
		"closed, and running to its end":   {with(func(w *fencing.WatchdogStatus) { w.State = fencing.DogClosed }), 3 * time.Second},
		"none":                             {fencing.WatchdogStatus{}, 0},
		"failed":                           {with(func(w *fencing.WatchdogStatus) { w.State = fencing.DogFailed }), 0},
		"it ends with the guard":           {with(func(w *fencing.WatchdogStatus) { w.Enduring = false }), 0},
		"it takes longer than others wait": {with(func(w *fencing.WatchdogStatus) { w.Timeout = 4 * time.Second }), 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := resetBy(tt.is, 3*time.Second); got != tt.want {
				t.Errorf("it counts as %v, want %v", got, tt.want)
			}
		})
	}
}

// watchdog gives the rig's host one, or takes it away (0).
func (r *rig) watchdog(timeout time.Duration) {
	r.guard.mu.Lock()
	defer r.guard.mu.Unlock()
	r.guard.status.Watchdog = fencing.WatchdogStatus{}
	if timeout != 0 {
		r.guard.status.Watchdog = fencing.WatchdogStatus{State: fencing.DogArmed, Device: "/dev/watchdog0", Timeout: timeout, Enduring: true}
	}
}

func (r *rig) says(when string, want fsm.Watchdog) {
	r.Helper()
	if got := r.state().Hosts["a"].Watchdog; got != want {
		r.Errorf("%s the state has %+v of the watchdog, want %+v", when, got, want)
	}
}

func TestLostWatchdogIsSaidAndCostsNothing(t *testing.T) {
	bubble(t, func(r *rig) {
		r.watchdog(2 * time.Second)
		r.owned()
		r.says("with a watchdog", fsm.Watchdog{Word: 1, Timeout: 2 * time.Second})
		r.watchdog(0)
		r.pass(10 * time.Second)
		r.says("without it", fsm.Watchdog{Word: 2})
		if !r.running() || r.saved().Over {
			t.Errorf("web runs: %v, its life is over: %v; the others know that there is no watchdog, so the VM goes on", r.running(), r.saved().Over)
		}
		r.kill()
		r.watchdog(2 * time.Second)
		r.start()
		r.pass(3 * time.Second)
		r.says("found by a restarted agent", fsm.Watchdog{Word: 3, Timeout: 2 * time.Second})
		if !r.running() {
			t.Error("web does not run")
		}
	})
}

// W5: while the others may count on a watchdog that is not there, a kernel that hangs
// here would be waited out too early. So the lease is not renewed, whoever is asked.
func TestLeaseEndsWhereALostWatchdogIsCountedOn(t *testing.T) {
	for name, restart := range map[string]bool{"the same agent": false, "a restarted agent": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.watchdog(2 * time.Second)
				r.owned()
				r.master.set(func(m *fakeMaster) { m.unsaid = true })
				r.watchdog(0)
				if restart {
					r.kill()
					r.start()
				}
				r.pass(2 * time.Second)
				if !r.running() {
					t.Fatal("web was stopped before its lease ended")
				}
				r.pass(4 * time.Second)
				if r.running() {
					t.Error("web runs on, and the state still says that a watchdog bounds it")
				}
			})
		})
	}
}

func TestNothingStartsWhereALostWatchdogIsCountedOn(t *testing.T) {
	in := scene(t)
	in.own("a", 3, fsm.PhaseOrdered)
	if p := Decide(in); len(p.Start) != 1 {
		t.Fatalf("starts %v, want web", p.Start)
	}
	in.Bounded = false
	if p := Decide(in); len(p.Start) != 0 {
		t.Errorf("starts %v while others count on a watchdog that is not there", p.Start)
	}
}
