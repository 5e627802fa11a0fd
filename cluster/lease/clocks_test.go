package lease

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// The two sides of a lease, a host that follows Lease and masters that follow
// Watch, each on its own clock, with messages late, lost and repeated, freezes
// between any two steps, and masters that change: as long as all follow the rules,
// no incarnation is declared dead while its VMs might still run or write. Each rule
// is then dropped on its own, and the same world has to find the second copy.
func TestNobodyIsDeclaredDeadWhileHolding(t *testing.T) {
	const runs = 4000
	broken := []struct {
		name string
		dropped
	}{
		{"the lease counts from the answer", dropped{fromAnswer: true}},
		{"the lease counts from the sending of the acknowledgement", dropped{fromAck: true}},
		{"no wait after the election", dropped{noElection: true}},
		{"the clocks' rates are not allowed for", dropped{noDrift: true}},
		{"the clocks' rates are allowed for as 2*rho", dropped{firstOrder: true}},
		{"the watchdog and the writes under way are not waited out", dropped{noHardEnd: true}},
		{"a suspect is acknowledged, and the wait goes on", dropped{ackSuspect: true}},
		{"a suspect is acknowledged, and that is not noted", dropped{ackUnnoted: true}},
		{"an ex-master acknowledges without confirming that it leads", dropped{noConfirm: true}},
		{"the confirmation began before the heartbeat came", dropped{staleConfirm: true}},
		{"an ended lease revives, and one that is proposed dead is acknowledged", dropped{revive: true, ackProposed: true}},
	}
	var all tally
	for seed := range uint64(runs) {
		all.run(seed, dropped{})
	}
	t.Logf("%d runs: %d declared dead, %d suspicions withdrawn, %d leases ended; the closest was declared so %v after its last possible write",
		runs, all.dead, all.withdrawn, all.ended, all.closest)
	if all.found != "" {
		t.Errorf("with every rule kept: %s", all.found)
	}
	if all.dead < runs/10 || all.withdrawn < runs/10 || all.ended < runs/10 || all.closest > 20*time.Millisecond {
		t.Error("the world is too tame to find anything")
	}
	for _, b := range broken {
		t.Run(b.name, func(t *testing.T) {
			var one tally
			for seed := uint64(0); seed < runs && one.found == ""; seed++ {
				one.run(seed, b.dropped)
			}
			if one.found == "" {
				t.Errorf("nothing was found in %d runs: does this rule matter, or can the test not see it?", runs)
			}
			t.Log(one.found)
		})
	}
}

// dropped says which rule is not followed.
type dropped struct {
	fromAnswer, fromAck, noElection, noDrift, firstOrder, noHardEnd      bool
	ackSuspect, ackUnnoted, noConfirm, staleConfirm, revive, ackProposed bool
}

type tally struct {
	dead, withdrawn, ended int
	closest                time.Duration
	found                  string
}

func (a *tally) run(seed uint64, rule dropped) {
	w := newWorld(seed, rule)
	w.run()
	a.withdrawn += w.withdrawn
	if w.host.lease.Over(w.host.clock.read(w.now)) {
		a.ended++
	}
	if w.isDead {
		if slack := w.deadAt - w.gone(); a.dead == 0 || slack < a.closest {
			a.closest = slack
		}
		a.dead++
	}
	if w.found != "" && a.found == "" {
		a.found = w.found
	}
}

// clock runs at a rate of its own; true time is only the world's.
type clock struct {
	offset time.Duration
	rate   float64
}

func (c clock) read(now time.Duration) time.Duration {
	return c.offset + time.Duration(float64(now)*c.rate)
}

// when is the true time at which the clock shows that reading.
func (c clock) when(reading time.Duration) time.Duration {
	return time.Duration(float64(reading-c.offset) / c.rate)
}

// office is one epoch's master: what it believes and what it has done.
type office struct {
	clock    clock
	watch    Watch
	fixed    time.Duration // for broken rules: when the wait ends, fixed at the suspicion
	proposed bool
	pending  bool          // its proposal is neither committed nor lost
	led      time.Duration // true time of its last successful confirmation
	quits    time.Duration // true time at which it learns that it leads no more
}

// world is one run: one host, incarnation 1, and a line of masters.
type world struct {
	rng    *rand.Rand
	rule   dropped
	timing Timing // as the host and a lawful master use it
	queue  queue
	now    time.Duration // true
	end    time.Duration
	host   struct {
		clock clock
		lease Lease
	}
	offices   []*office
	cut       bool // nothing passes between the host and the masters
	isDead    bool
	deadAt    time.Duration
	withdrawn int
	found     string
}

func newWorld(seed uint64, rule dropped) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), rule: rule}
	pick := func(ds ...time.Duration) time.Duration { return ds[w.rng.IntN(len(ds))] }
	w.timing = Timing{
		Heartbeat: time.Second, Lease: pick(4*time.Second, 20*time.Second),
		ClockError: []float64{5e-4, 0.02, 0.1}[w.rng.IntN(3)],
		Grain:      time.Microsecond, // for the rounding of this world's clocks alone
	}
	if w.rng.IntN(2) == 0 { // without these the wait has nothing to spare but what the clocks need
		w.timing.Watchdog, w.timing.Reset, w.timing.Drain = 3*time.Second, 500*time.Millisecond, 2*time.Second
	}
	w.end = 8 * (w.timing.Lease + w.timing.Heartbeat)
	w.host.clock = w.clock(-1)
	w.host.lease = Begin(1, w.host.clock.read(0), w.timing)
	w.elect()
	w.offices[0].watch.Acknowledged = w.offices[0].clock.read(0)
	w.heartbeat()
	w.weather()
	w.after(w.span(), w.change)
	return w
}

// clock is as wrong as it may be as often as not, in the direction that hurts.
func (w *world) clock(worst float64) clock {
	c := clock{offset: time.Hour + time.Duration(w.rng.Int64N(int64(time.Hour)))}
	c.rate = 1 + w.timing.ClockError*worst
	if w.rng.IntN(2) == 0 {
		c.rate = 1 + w.timing.ClockError*(2*w.rng.Float64()-1)
	}
	return c
}

// span is a stretch of time in which things stay as they are.
func (w *world) span() time.Duration {
	return time.Duration(w.rng.Int64N(int64(2 * w.timing.Lease)))
}

// delay is of a message, or of a freeze between two steps: often none, at times longer than a lease.
func (w *world) delay() time.Duration {
	switch n := w.rng.IntN(20); {
	case n < 12:
		return 0
	case n < 18:
		return time.Duration(w.rng.Int64N(int64(300 * time.Millisecond)))
	default:
		return time.Duration(w.rng.Int64N(int64(w.timing.Lease * 3 / 2)))
	}
}

func (w *world) after(d time.Duration, f func()) {
	heap.Push(&w.queue, event{w.now + d, len(w.queue), f})
}

func (w *world) run() {
	for len(w.queue) > 0 && w.found == "" {
		e := heap.Pop(&w.queue).(event)
		if w.now = e.at; w.now > w.end {
			return
		}
		e.do()
	}
}

// weather cuts and mends the path between the host and all masters.
func (w *world) weather() {
	d := w.span()
	if w.cut { // a cut has to outlast D now and then
		d *= 2
	}
	w.after(d, func() {
		w.cut = !w.cut
		w.weather()
	})
}

// change elects the next master. Its predecessor does not learn of it at once;
// what that one had proposed is committed or lost before the successor's own entry.
func (w *world) change() {
	last := w.offices[len(w.offices)-1]
	last.quits = w.now + w.span()
	if last.pending {
		last.pending = false
		if w.rng.IntN(2) == 0 {
			w.declare()
		}
	}
	w.elect()
	w.after(2*w.span(), w.change)
}

func (w *world) elect() {
	o := &office{clock: w.clock(+1), led: w.now, quits: 1 << 62}
	now := o.clock.read(w.now)
	o.watch = Watch{Heard: now, Elected: now}
	if w.rule.noElection {
		o.watch.Elected = 1
	}
	w.offices = append(w.offices, o)
	w.tick(o)
}

func (w *world) leads(o *office) bool { return o == w.offices[len(w.offices)-1] }

// heartbeat sends one to whoever holds itself for the master, and the next an interval later.
func (w *world) heartbeat() {
	sent := w.host.clock.read(w.now)
	freeze := w.delay() // between reading the clock and sending
	for _, o := range w.offices {
		if !w.cut && w.rng.IntN(5) > 0 {
			w.after(freeze+w.delay(), func() { w.receive(o, sent) })
		}
	}
	w.after(time.Duration(float64(w.timing.Heartbeat)/w.host.clock.rate), w.heartbeat)
}

// receive is the master's side: hear, confirm, acknowledge.
func (w *world) receive(o *office, sent time.Duration) {
	if w.now >= o.quits || w.isDead && w.leads(o) {
		return
	}
	o.watch.Heard = o.clock.read(w.now)
	if o.watch.Suspected != 0 && !o.proposed && !w.rule.ackSuspect && !w.rule.ackUnnoted {
		o.watch.Suspected = 0
		w.withdrawn++
	}
	// One that was the master when the heartbeat came may acknowledge it later
	// still: what counts is that an entry which began after receipt was committed.
	confirmed := func() bool { return w.leads(o) }
	switch {
	case w.rule.noConfirm:
		confirmed = func() bool { return true }
	case w.rule.staleConfirm:
		stale := w.now-o.led < w.timing.Lease/2
		confirmed = func() bool { return stale || w.leads(o) }
	}
	w.after(w.delay(), func() {
		if !confirmed() {
			return
		}
		if w.leads(o) {
			o.led = w.now
		}
		w.after(w.delay(), func() { w.acknowledge(o, sent) })
	})
}

func (w *world) acknowledge(o *office, sent time.Duration) {
	if o.watch.Suspected != 0 && !w.rule.ackSuspect && !w.rule.ackUnnoted && !(w.rule.ackProposed && o.proposed) {
		return
	}
	if o.proposed && !w.rule.ackProposed {
		return
	}
	if !w.rule.ackUnnoted {
		o.watch.Acknowledged = o.clock.read(w.now)
	}
	if w.cut || w.rng.IntN(5) == 0 {
		return
	}
	acked := w.now
	w.after(w.delay(), func() {
		now := w.host.clock.read(w.now)
		w.after(w.delay(), func() { w.renew(sent, acked, now) }) // a freeze after reading the clock
	})
}

// renew is the host's side.
func (w *world) renew(sent, acked, now time.Duration) {
	old := w.host.lease
	switch {
	case w.rule.fromAnswer:
		sent = now
	case w.rule.fromAck:
		sent = min(w.host.clock.read(acked), now)
	}
	w.host.lease = old.Renew(1, sent, now, w.timing)
	if w.rule.revive && old.Over(now) {
		w.host.lease = Begin(1, max(sent, old.End-w.timing.Lease), w.timing)
	}
	w.check("renewed")
}

// tick is the master's loop. It looks again at the very moment from which it may act.
func (w *world) tick(o *office) {
	if w.now >= o.quits || o.proposed || w.isDead {
		return
	}
	now := o.clock.read(w.now)
	if o.watch.Suspected == 0 && o.watch.Silent(now, w.timing) && w.leads(o) {
		o.watch.Suspected = now
		o.fixed, _ = o.watch.DeadAt(w.wait())
	}
	next := time.Duration(1 + w.rng.Int64N(int64(w.timing.Heartbeat/2)))
	if at, ok := o.watch.DeadAt(w.wait()); ok {
		if w.rule.ackSuspect {
			at = o.fixed
		}
		if now >= at {
			w.propose(o)
			return
		}
		next = min(next, max(1, o.clock.when(at)-w.now+1))
	}
	w.after(next, func() { w.tick(o) })
}

// wait is the timing that the master waits by.
func (w *world) wait() Timing {
	t := w.timing
	switch {
	case w.rule.noDrift:
		t.ClockError = 0
	case w.rule.firstOrder: // a clock error whose exact allowance is 2*rho
		t.ClockError = t.ClockError / (1 + t.ClockError)
	case w.rule.noHardEnd:
		t.Watchdog, t.Reset, t.Drain = 0, 0, 0
	}
	return t
}

func (w *world) propose(o *office) {
	o.proposed = true
	if !w.leads(o) {
		return // its entry can never be committed
	}
	o.pending = true
	w.after(w.delay(), func() {
		if o.pending {
			o.pending = false
			w.declare()
		}
	})
}

func (w *world) declare() {
	if w.isDead {
		return
	}
	w.isDead, w.deadAt = true, w.now
	w.check("declared dead")
}

// gone is the true time from which nothing of the host's VMs is left: the soft end
// on its clock, then the watchdog's slow chip, the reset and the writes under way.
func (w *world) gone() time.Duration {
	return w.host.clock.when(w.host.lease.End) + w.timing.HardEnd() + w.timing.Drain
}

func (w *world) check(what string) {
	if !w.isDead || w.deadAt >= w.gone() {
		return
	}
	w.found = fmt.Sprintf("%s at %v: declared dead at %v, but its VMs may run or write until %v (lease %v, watchdog %v, clock error %g, host's rate %g, epoch %d)",
		what, w.now, w.deadAt, w.gone(), w.timing.Lease, w.timing.Watchdog, w.timing.ClockError, w.host.clock.rate, len(w.offices))
}

// event is something that happens at a moment; queue is a heap of them.
type event struct {
	at  time.Duration
	nth int // for a stable order
	do  func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].nth < q[j].nth
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}
