package sim

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fencing/watchdogtest"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// power is what can become of a machine as a whole: its kernel hangs while its VMs
// go on, it sleeps, its watchdog resets it. All of it is the World's own goroutine's.
type power struct {
	dog *watchdogtest.Chip // nil: the machine has none
	// still: no code runs but the VMs', and with asleep not theirs either.
	still, asleep bool
	guardStill    bool // its guard alone stands still
	dogGone       bool // its watchdog is gone
	dogRan        bool // its timer ran at the last look
	dogLost       bool // it was, in this life of the machine
	resetting     bool // the watchdog has fired, and devices may still write
	startLater    bool // an agent is to be started once code runs again
	killsFail     bool // the processes of VMs do not end
	// woke is when code ran again, or processes could be ended again, by the boot clock; 0: it never was otherwise.
	woke time.Duration
	naps []nap
	// powered is whether it has power, for those who look from outside.
	powered atomic.Bool
	turns   int // of its power, so that a boot that was under way is not another's
	awake   awake
	note    *fencing.Note // what is on its disk about a reset
	// storeTakes is how long a write to its own disk takes, ns.
	storeTakes atomic.Int64
	// writeTakes is how long the write takes that begins now, besides; nil: no time.
	writeTakes func() time.Duration
	// device is what its fence device does; empty: it has none.
	device string
}

// nap is a time in which a machine slept. to is zero while it goes on.
type nap struct{ from, to time.Time }

// awake is a clock that stands still while its machine sleeps, as a watchdog does:
// its driver stops it. Any goroutine may read it.
type awake struct {
	mu    sync.Mutex
	begin time.Time
	since time.Time // asleep since; zero: awake
	slept time.Duration
}

func (a *awake) now() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := time.Since(a.begin) - a.slept
	if !a.since.IsZero() {
		d -= time.Since(a.since)
	}
	return d
}

func (a *awake) sleep(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !on {
		a.slept += time.Since(a.since)
	}
	a.since = time.Time{}
	if on {
		a.since = time.Now()
	}
}

// cannotKill is how long the end of a VM takes where nothing ends it.
const cannotKill = time.Hour

// usualBoot is how long a machine takes to run again after a reset.
const usualBoot = 20 * time.Second

// equip gives a machine the watchdog and the fence device of the scenario.
func (m *machine) equip(h scenario.Host) {
	m.device = h.FenceDevice
	if m.bootTakes = h.BootTakes.D(); m.bootTakes == 0 {
		m.bootTakes = usualBoot
	}
	if m.w.s.SelfFences(h.ID) {
		m.endTakes, m.delays.Kill = cannotKill, cannotKill
		if m.w.s.Expect.FinalHosts[h.ID] == "off" {
			m.bootTakes = -1
		}
	}
	if h.Watchdog == "none" {
		return
	}
	m.awake.begin = time.Now()
	m.dog = watchdogtest.New(m.w.timing.Watchdog, m.awake.now)
	m.dog.Slow = h.WatchdogSlow
}

// freezeHost hangs the kernel: neither the agent nor the guard runs, VMs go on.
func (m *machine) freezeHost() {
	if !m.on || m.still {
		return
	}
	if !m.guardStill {
		m.guard.freeze(true)
	}
	m.freezeAgent()
	m.still = true
}

// thawHost lets the kernel go on.
func (m *machine) thawHost() {
	if !m.on || !m.still {
		return
	}
	m.still, m.woke = false, m.clock.now()
	if !m.guardStill {
		m.guard.freeze(false)
	}
	m.thawAgent()
	if m.startLater {
		m.startLater = false
		m.startAgent()
	}
}

// suspendHost sends the machine to sleep, VMs and all. The boot clock goes on.
func (m *machine) suspendHost() {
	if !m.on || m.still {
		return
	}
	m.freezeHost()
	m.nap(true)
}

// resumeHost wakes it. The guard, which is real-time, looks before any guest runs
// again; on a real machine that may be a moment later, and until its watchdog resets it where
// they cannot be killed. docs/limits.md names both.
func (m *machine) resumeHost() {
	if !m.on || !m.asleep {
		return
	}
	m.nap(false)
	m.thawHost()
	if !m.guardStill {
		m.guard.look(m.w.ctx)
	}
	for _, r := range m.w.disks.Running() {
		elsewhere := slices.ContainsFunc(m.w.disks.Writers(r.UUID), func(o embedded.Run) bool {
			return o.Host != m.name && !m.w.machines[o.Host].asleep && !m.w.watch.ofPeople(o)
		})
		if r.Host == m.name && elsewhere && !m.killsFail && !m.w.watch.ofPeople(r) {
			m.w.watch.doubled(r.Name, fmt.Sprintf("%s woke up and runs %s, which runs elsewhere", m.name, r.Name))
		}
	}
}

// nap begins or ends a time of sleep.
func (m *machine) nap(begin bool) {
	switch now := time.Now(); {
	case begin:
		m.asleep = true
		m.awake.sleep(true)
		m.naps = append(m.naps, nap{from: now})
	case m.asleep:
		m.asleep = false
		m.awake.sleep(false)
		m.naps[len(m.naps)-1].to = now
	}
}

// slumbered reports whether the machine slept at that moment.
func (m *machine) slumbered(at time.Time) bool {
	for _, n := range m.naps {
		if !at.Before(n.from) && (n.to.IsZero() || at.Before(n.to)) {
			return true
		}
	}
	return false
}

// failKills makes the processes of VMs end for nobody, or for everybody again: they
// hang in the kernel.
func (m *machine) failKills(fail bool) {
	if m.killsFail && !fail {
		m.woke = m.clock.now() // from here on the guard can be held to its word again
	}
	m.killsFail = fail && m.on
	m.hyp.SetKillFails(m.killsFail)
}

// Faults of a machine's own disk, on which raft keeps its log.
const (
	storeLags  = time.Second // a write takes
	storeHangs = time.Hour
)

// slowStore makes each write to the machine's own disk take that long.
func slowStore(takes time.Duration) act {
	return onHost(func(m *machine) { m.storeTakes.Store(int64(takes)) })
}

// mindDog looks at the watchdog once a Step: it writes the note that says why a
// reset is near, as the guard's writer does, and has the machine reset in time.
func (m *machine) mindDog() {
	if m.dog == nil || !m.on || m.asleep {
		return
	}
	if why := m.guard.status().Reason(m.clock.now()); !m.still && (why != "") != (m.note != nil && !m.note.Averted && m.note.BootID == m.bootID()) {
		s := m.guard.status()
		n := fencing.Note{BootID: m.bootID(), Wall: m.wallClock(), Boot: m.clock.now(), Incarnation: s.Incarnation, SoftEnd: s.Deadline, Covered: m.guard.list(), Why: why, Averted: why == ""}
		if why == "" {
			n.Why = m.note.Why
		}
		m.note = &n
	}
	at, runs := m.dog.FiresAt()
	if m.dogRan && !runs && !m.dogGone && !m.still && m.w.s.Recorded() {
		m.w.watch.observe("went_idle", m.name, "", "nothing is covered any more, and its watchdog is let go of")
	}
	m.dogRan = runs
	if left := at - m.awake.now(); runs && left <= Step {
		boot := m.boot
		m.w.later(max(0, left), func() { m.fires(boot) })
	}
}

// fires is the watchdog at its end: everything stops, but for what devices still
// write, and the machine boots.
func (m *machine) fires(boot int) {
	at, runs := m.dog.FiresAt()
	if !m.on || m.boot != boot || m.asleep || !runs || m.awake.now() < at {
		return
	}
	text := ""
	if m.note != nil && !m.note.Averted && m.note.BootID == m.bootID() {
		text = m.note.Why
	}
	m.w.watch.observe("host_self_fenced", m.name, "", text)
	m.halt()
	m.resetting = true
	m.turns++
	turn := m.turns
	m.w.later(m.w.timing.Reset, func() {
		if m.turns != turn {
			return
		}
		m.hyp.PowerOff()
		m.resetting = false
		m.bootLater()
	})
}

// bootLater has the machine run again in a while, unless its power is touched before.
func (m *machine) bootLater() {
	if m.bootTakes < 0 {
		return
	}
	turn := m.turns
	m.w.later(m.bootTakes, func() {
		if m.turns == turn {
			m.powerOn()
		}
	})
}
