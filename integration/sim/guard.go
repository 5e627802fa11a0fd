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
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// guard is the simulated guard process of one host: the rules of the real one's
// shared memory, with the host's simulated clock and hypervisor. It lives as long
// as the host has power, whatever the agent does, and forgets everything when the
// host is switched off. Like the real one it looks only now and then: it acts up
// to a tick after the deadline.
type guard struct {
	clock *clock
	host  *embedded.Host
	late  *rand.Rand
	// takes is how long after the deadline it gets rid of the VMs: a watchdog and
	// the reset that follows may take until the hard end.
	takes time.Duration
	usual embedded.Delays // of the host's hypervisor

	mu          sync.Mutex
	incarnation uint64
	deadline    time.Duration
	tripped     time.Duration
	covered     map[string]process
	latest      map[string]int // newest process of each VM that an agent has seen
	leftover    int
	changed     chan struct{}
}

type process struct {
	pid   int
	start uint64
}

func newGuard(c *clock, h *embedded.Host, late *rand.Rand, takes time.Duration, usual embedded.Delays) *guard {
	return &guard{clock: c, host: h, late: late, takes: takes, usual: usual, covered: map[string]process{}, latest: map[string]int{}, changed: make(chan struct{})}
}

// run is the guard process; it ends with ctx.
func (g *guard) run(ctx context.Context) {
	for {
		g.mu.Lock()
		deadline, tripped, left, changed := g.deadline, g.tripped, g.leftover, g.changed
		g.mu.Unlock()
		var wait time.Duration
		var clockChanged <-chan struct{}
		switch {
		case deadline == 0 || tripped != 0 && left == 0 && len(g.list()) == 0:
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return
			}
		case tripped != 0:
			wait, clockChanged = g.clock.until(tripped + g.takes)
			wait = max(wait, fencing.Tick)
		default:
			wait, clockChanged = g.clock.until(deadline)
			if wait <= 1 {
				wait = 0
			}
			wait += time.Duration(g.late.Int64N(int64(fencing.Tick)))
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
			g.look(ctx)
		case <-changed:
		case <-clockChanged:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// look is one turn: once the deadline has passed, kill what is covered.
func (g *guard) look(ctx context.Context) {
	now := g.clock.now()
	g.mu.Lock()
	if g.deadline == 0 || now < g.deadline {
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
	now := g.clock.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	return fencing.Status{Incarnation: g.incarnation, Deadline: g.deadline, Tripped: g.tripped, Beat: now, GuardPID: 2,
		Covered: len(g.covered), Leftover: g.leftover}
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

func (g *guard) cover(uuid string, pid int, start uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.covered[uuid] = process{pid, start}
	g.notify()
	if g.tripped != 0 {
		return fencing.ErrExpired
	}
	return nil
}

func (g *guard) uncover(uuid string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.covered, uuid)
}

func (g *guard) list() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Sorted(maps.Keys(g.covered))
}
