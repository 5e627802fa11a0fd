package sim

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fencing/watchdogtest"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// guard is the simulated guard process of one host: the rules of the real one's
// shared memory, with the host's simulated clock and hypervisor. It lives as long
// as the host has power, whatever the agent does, and forgets everything when the
// host is switched off. Like the real one it looks only now and then: it acts up
// to a tick after the deadline. The watchdog, if the host has one, it keeps by the
// real one's rules (fencing.Keeper); between two renewals it pets less often than
// the real one, and just before a freeze once more, so that what counts for a
// reset, the last pet, is where the real one's would be.
type guard struct {
	clock *clock
	host  *embedded.Host
	late  *rand.Rand
	// takes is how long after the deadline it gets rid of the VMs: a watchdog and
	// the reset that follows may take until the hard end.
	takes time.Duration
	usual embedded.Delays    // of the host's hypervisor
	dog   *watchdogtest.Chip // nil: the host has none

	keeping sync.Mutex // guards keeper, whose calls do not wait
	keeper  *fencing.Keeper

	mu          sync.Mutex
	incarnation uint64
	deadline    time.Duration
	tripped     time.Duration
	covered     map[string]process
	latest      map[string]int // newest process of each VM that an agent has seen
	leftover    int
	frozen      time.Duration // boot clock since when no code of it runs; 0: it runs
	changed     chan struct{}
}

type process struct {
	pid   int
	start uint64
}

func newGuard(m *machine) *guard {
	g := &guard{clock: m.clock, host: m.hyp, late: m.rng, takes: m.endTakes, usual: m.delays, dog: m.dog,
		covered: map[string]process{}, latest: map[string]int{}, changed: make(chan struct{})}
	if g.dog != nil {
		g.keeper = fencing.NewKeeper(g.dog, g.clock.now)
	}
	return g
}

// run is the guard process; it ends with ctx.
func (g *guard) run(ctx context.Context) {
	for {
		g.keep()
		wait, changed, clockChanged := g.next()
		var due <-chan time.Time
		var t *time.Timer
		if wait >= 0 {
			t = time.NewTimer(wait)
			due = t.C
		}
		select {
		case <-due:
			g.look(ctx)
		case <-changed:
		case <-clockChanged:
		case <-ctx.Done():
		}
		if t != nil {
			t.Stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// next is how long there is nothing to look at, below zero for ever, and what ends
// that early.
func (g *guard) next() (wait time.Duration, changed, clockChanged <-chan struct{}) {
	g.mu.Lock()
	deadline, tripped, left, frozen, covered := g.deadline, g.tripped, g.leftover, g.frozen != 0, len(g.covered)
	changed = g.changed
	late := time.Duration(g.late.Int64N(int64(fencing.Tick)))
	g.mu.Unlock()
	switch {
	case frozen || deadline == 0 || tripped != 0 && left == 0 && covered == 0:
		return -1, changed, nil
	case tripped != 0:
		wait, clockChanged = g.clock.until(tripped + g.takes)
		return max(wait, fencing.Tick), changed, clockChanged
	}
	wait, clockChanged = g.clock.until(deadline)
	if wait <= 1 {
		wait = 0
	}
	wait += late
	if g.dog != nil && covered > 0 {
		wait = min(wait, max(fencing.Tick, min(g.dog.Timeout()/3, wait-lastTurns)))
	}
	return wait, changed, clockChanged
}

// lastTurns is how long before the deadline the guard takes every one of its turns:
// the last of them that may pet closes the watchdog.
const lastTurns = 8 * fencing.Tick

// keep is the watchdog's part of a turn.
func (g *guard) keep() {
	if g.keeper == nil {
		return
	}
	g.keeping.Lock()
	defer g.keeping.Unlock()
	g.mu.Lock()
	t := fencing.Turn{Now: g.clock.now(), Covered: len(g.covered) > 0}
	if g.tripped == 0 {
		t.Deadline = g.deadline
	}
	frozen := g.frozen != 0
	g.mu.Unlock()
	if !frozen {
		g.keeper.Turn(t)
	}
}

// freeze stops the guard between two turns, or lets it go on.
func (g *guard) freeze(on bool) {
	g.keep()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = 0
	if on {
		g.frozen = g.clock.now()
	}
	g.notify()
}

// look is one turn: once the deadline has passed, kill what is covered.
func (g *guard) look(ctx context.Context) {
	now := g.clock.now()
	g.mu.Lock()
	if g.frozen != 0 || g.deadline == 0 || now < g.deadline {
		g.mu.Unlock()
		return
	}
	if g.tripped == 0 {
		g.tripped = now
	}
	if now < g.tripped+g.takes {
		g.mu.Unlock()
		return
	}
	victims := maps.Clone(g.covered)
	g.mu.Unlock()
	left := 0
	for _, uuid := range slices.Sorted(maps.Keys(victims)) {
		g.mu.Lock()
		gone := g.latest[uuid] != victims[uuid].pid // its process ended and the VM has another by now
		g.mu.Unlock()
		if !gone {
			kctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			g.host.SetDelays(embedded.Delays{}) // the delay has been waited for in run
			gone = g.host.Kill(kctx, uuid) == nil
			g.host.SetDelays(g.usual)
			cancel()
		}
		g.mu.Lock()
		if gone && g.covered[uuid] == victims[uuid] {
			delete(g.covered, uuid)
		}
		g.mu.Unlock()
		if !gone {
			left++
		}
	}
	g.mu.Lock()
	g.leftover = left
	g.mu.Unlock()
}

// notify wakes run. Callers hold g.mu.
func (g *guard) notify() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// saw notes a process of a VM, so that the guard can tell it from a later one.
func (g *guard) saw(uuid string, pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.latest[uuid] = pid
}

// status is what the shared memory says.
func (g *guard) status() fencing.Status {
	now, dog := g.clock.now(), g.dogStatus()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen != 0 {
		now = g.frozen
	}
	return fencing.Status{Incarnation: g.incarnation, Deadline: g.deadline, Tripped: g.tripped, Beat: now, GuardPID: 2,
		Covered: len(g.covered), Leftover: g.leftover, Watchdog: dog}
}

func (g *guard) dogStatus() fencing.WatchdogStatus {
	if g.dog == nil {
		return fencing.WatchdogStatus{}
	}
	g.keeping.Lock()
	defer g.keeping.Unlock()
	state, err := g.keeper.State()
	return fencing.WatchdogStatus{State: state, Device: "/dev/watchdog0", Driver: "simulated", Timeout: g.dog.Timeout(), Enduring: g.dog.Enduring(), Err: err}
}

func (g *guard) begin(incarnation uint64, deadline time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.incarnation != 0 && incarnation <= g.incarnation {
		return fmt.Errorf("begin to guard incarnation %d: the guard has seen %d", incarnation, g.incarnation)
	}
	clear(g.covered)
	g.incarnation, g.deadline, g.tripped, g.leftover = incarnation, deadline, 0, 0
	g.notify()
	return nil
}

func (g *guard) extend(incarnation uint64, deadline time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.incarnation != incarnation || g.tripped != 0 || g.deadline == 0 {
		return fencing.ErrExpired
	}
	if deadline > g.deadline {
		g.deadline = deadline
		g.notify()
	}
	return nil
}

// cover puts a process on the list, and where the host has a watchdog waits until
// that is armed: the guard arms it at its next turn.
func (g *guard) cover(uuid string, pid int, start uint64) error {
	g.mu.Lock()
	g.covered[uuid] = process{pid, start}
	g.notify()
	late := time.Duration(g.late.Int64N(int64(fencing.Tick)))
	g.mu.Unlock()
	armed := func() bool { return g.dog == nil || g.dogStatus().State == fencing.DogArmed }
	if !armed() {
		t := time.NewTimer(late)
		<-t.C
		g.keep()
	}
	is := armed()
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.tripped != 0:
		return fencing.ErrExpired
	case !is:
		return fencing.ErrUnarmed
	}
	return nil
}

func (g *guard) uncover(uuid string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.covered, uuid)
	g.notify()
}

func (g *guard) list() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Sorted(maps.Keys(g.covered))
}
