package master

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// The world of TestNobodyIsDeclaredDeadWhileProving: host b, in slot 1, is judged by
// masters on the hosts in slots 0 and 2. Each has a clock, a copy of the state that
// lags, and its own way to every disk.

// dropped says which rule is not followed.
type dropped struct {
	noClaim, fromSuspicion, oneVolume, noReread, rereadAny bool // by masters, about claims
	proofByOne, anyClaim, fromEnd, backToOld               bool // by the host, about proofs
	ackSuspect, noConfirm, staleConfirm, fromAck, noRun    bool // about acknowledgements by storage
	newSetOnly, oldSetOnly, noDrift                        bool
}

// term is one office: the real one, whose steps the world takes.
type term struct {
	*Master
	o       *office
	on      *proc
	quits   time.Duration // true time at which it learns that it leads no more
	led     time.Duration // true time of its last successful confirmation
	pending bool          // its proposal is neither committed nor lost
	over    bool
}

type world struct {
	rng    *rand.Rand
	rule   dropped
	timing lease.Timing
	queue  queue
	now    time.Duration // true
	end    time.Duration
	disks  [4]disk
	older  [4]*disk // what a disk may go back to, once
	state  *fsm.State
	procs  [3]*proc // of a master, of the host, of a master
	terms  []*term
	cut    bool // no network between the host and the masters
	silent bool // nor can the host write
	noQ    bool // the host does without proofs

	elections int // in how many spans
	restarts  int // of how many in three the new master's agent was restarted
	faults    int // one in so many I/Os hangs, fewer fail
	old       int // how many writes of earlier lives are under way in each slot
	calm      int // one in so many steps is held up for longer than a moment

	lease    lease.Lease
	run, seq uint64
	sent     map[uint64]time.Duration
	proves   uint64 // revision

	dead   bool
	deadAt time.Duration
	byQ, byS, withdrawn, nth,
	changes int
	found string
}

func newWorld(seed uint64, rule dropped) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 2)), rule: rule, sent: map[uint64]time.Duration{}, run: 1}
	w.timing = lease.Timing{Heartbeat: time.Second, Lease: 4 * time.Second, ClockError: []float64{5e-4, 0.1}[w.rng.IntN(2)], Grain: time.Microsecond}
	if w.rng.IntN(3) == 0 { // without these the wait has nothing to spare but what the clocks need
		w.timing.Watchdog, w.timing.Drain = time.Second, time.Second
	}
	w.end = 80 * time.Second
	w.noQ = w.rng.IntN(4) == 0
	w.elections, w.restarts, w.faults, w.calm = 1<<w.rng.IntN(4), w.rng.IntN(3), 1<<(4+w.rng.IntN(5)), 1<<(5+w.rng.IntN(5))
	set := w.anySet(1)
	w.proves = 1
	w.state = &fsm.State{Volumes: set, Hosts: map[string]*fsm.Host{}}
	for i, name := range []string{"a", "b", "c"} {
		w.state.Hosts[name] = &fsm.Host{Name: name, Slot: uint16(i + 1), Incarnation: 1, Status: fsm.HostLive, Volumes: 1}
		w.procs[i] = w.proc(i)
	}
	w.pulse(w.procs[0])
	w.pulse(w.procs[2])
	w.lease = lease.Begin(1, w.host().clock.read(0), w.timing)
	w.elect()
	w.terms[0].x().watch.Acknowledged = w.terms[0].on.clock.read(0)
	w.heartbeat()
	w.weather(func() { w.cut = !w.cut }, w.often(1))
	w.weather(func() { w.host().mum = !w.host().mum }, w.often(1))
	for slot := range w.procs { // a volume, or all, cannot be reached for a while
		w.weather(func() {
			p, n := w.procs[slot], w.rng.IntN(2*len(w.disks))
			p.cut(n, true)
			w.after(2*w.span(), func() { p.cut(n, false) })
		}, w.often(1))
	}
	w.after(w.timing.Lease+time.Duration(w.rng.Int64N(int64(w.end/2))), func() { // nobody hears the host, which can read
		w.cut = true
		w.after(w.span()/2, func() {
			w.silent = true
			w.after(2*w.timing.Wait()+w.span(), func() { w.silent = false })
		})
	})
	if w.rng.IntN(3) == 0 {
		w.after(time.Duration(w.rng.Int64N(int64(w.end/2))), w.split)
	}
	w.old = w.rng.IntN(3)
	w.ghosts(w.old)
	w.weather(w.restartHost, w.often(1))
	w.weather(w.goBack, w.often(3))
	w.weather(w.changeSet, w.often(1))
	w.after(time.Duration(w.elections)*w.span(), w.change)
	return w
}

func (w *world) host() *proc { return w.procs[1] }

func (w *world) proc(slot int) *proc {
	worst := float64(1)
	if slot == 1 { // the host's clock is slow, the masters' fast, half of the time as much as may be
		worst = -1
	}
	c := clock{offset: time.Hour + time.Duration(w.rng.Int64N(int64(time.Hour))), rate: 1 + w.timing.ClockError*worst}
	if w.rng.IntN(2) == 0 {
		c.rate = 1 + w.timing.ClockError*(2*w.rng.Float64()-1)
	}
	return &proc{w: w, slot: slot, clock: c, state: w.state, view: emptyView(), io: map[int]*worker{}}
}

// anySet is one to three of the disks.
func (w *world) anySet(revision uint64) fsm.VolumeSet {
	set := fsm.VolumeSet{Revision: revision}
	for _, n := range w.rng.Perm(len(w.disks))[:1+w.rng.IntN(3)] {
		set.Volumes = append(set.Volumes, fsm.Volume{Name: fmt.Sprint(n), ID: volumeID(n).String()})
	}
	return set
}

// span is a stretch of time in which things stay as they are.
func (w *world) span() time.Duration {
	return time.Duration(w.rng.Int64N(int64(3 * w.timing.Lease)))
}

// delay is of a message, of an I/O, or of a freeze between two steps: often none, at times longer than a lease.
func (w *world) delay() time.Duration {
	switch {
	case w.rng.IntN(w.calm) == 0:
		return time.Duration(w.rng.Int64N(int64(w.timing.Lease * 3 / 2)))
	case w.rng.IntN(2) == 0:
		return time.Duration(w.rng.Int64N(int64(300 * time.Millisecond)))
	}
	return time.Duration(w.rng.Int64N(int64(time.Millisecond)))
}

func (w *world) after(d time.Duration, f func()) {
	w.nth++
	heap.Push(&w.queue, event{w.now + d, w.nth, f})
}

func (w *world) runAll() {
	for len(w.queue) > 0 && w.found == "" {
		e := heap.Pop(&w.queue).(event)
		if w.now = e.at; w.now > w.end || w.now > w.left() && (w.dead || w.rule != dropped{}) {
			return
		}
		e.do()
	}
}

// often is in how many spans something happens in this run: often in some, in others
// hardly ever, or never (0).
func (w *world) often(least int) int {
	if w.rng.IntN(3) == 0 {
		return 0
	}
	return least << w.rng.IntN(3)
}

// pulse has a master's agent read its volumes each interval, as the duty of its host does.
func (w *world) pulse(p *proc) {
	if !p.gone {
		p.Read()
		w.after(time.Duration(float64(w.timing.Heartbeat)/p.clock.rate), func() { w.pulse(p) })
	}
}

// weather does something every few spans.
func (w *world) weather(change func(), spans int) {
	if spans > 0 {
		w.after(time.Duration(spans)*w.span(), func() {
			change()
			w.weather(change, spans)
		})
	}
}

// commit changes the state. The copies follow, in order, the master's at once.
func (w *world) commit(change func(*fsm.State)) {
	s := *w.state
	s.Hosts = map[string]*fsm.Host{}
	for name, h := range w.state.Hosts {
		c := *h
		s.Hosts[name] = &c
	}
	change(&s)
	w.state = &s
	w.changes++
	for i, p := range w.procs {
		d := w.delay()
		if w.leader() != nil && w.leader().on == p {
			d = 0
		}
		w.after(d, func() { w.learn(p, i, &s) })
	}
}

func (w *world) learn(p *proc, slot int, s *fsm.State) {
	switch {
	case p.deaf, slot == 1 && (w.cut || w.silent) && w.rng.IntN(3) > 0:
		w.after(w.timing.Heartbeat, func() { w.learn(p, slot, s) })
	case newer(s, p.state):
		p.state = s
	}
}

// newer reports whether a copy of the state is later than another.
func newer(s, than *fsm.State) bool {
	rank := func(s *fsm.State) uint64 {
		n := s.Office.Epoch + s.Volumes.Revision + s.Hosts["b"].Volumes
		if s.Hosts["b"].Status == fsm.HostDead {
			n++
		}
		return n
	}
	return rank(s) > rank(than)
}

func (w *world) leader() *term {
	if len(w.terms) == 0 {
		return nil
	}
	return w.terms[len(w.terms)-1]
}

// change elects the next master. Its predecessor does not learn of it at once; what
// that one had proposed is committed or lost before the successor's own entry. At
// times the next one's agent was restarted: what it had under way may land late.
func (w *world) change() {
	w.leader().quits = w.now + w.span()
	w.elect()
	w.after(time.Duration(w.elections)*w.span(), w.change)
}

func (w *world) elect() { w.electOn(2 * w.rng.IntN(2)) }

func (w *world) electOn(slot int) {
	if w.rng.IntN(3) < w.restarts {
		w.procs[slot].gone = true
		w.procs[slot] = w.proc(slot)
		w.pulse(w.procs[slot])
	}
	if last := w.leader(); last != nil && last.pending {
		last.pending = false
		if w.rng.IntN(2) == 0 {
			w.declare()
		}
	}
	p := w.procs[slot]
	for _, t := range w.terms { // nothing of one term outlives it in the same agent
		if t.on == p {
			w.quit(t)
		}
	}
	t := &term{on: p, quits: 1 << 62, led: w.now}
	epoch := w.state.Office.Epoch + 1
	timing := w.timing
	if w.rule.noDrift {
		timing.ClockError = 0
	}
	name := []string{"a", "b", "c"}[slot]
	t.Master = New(Config{Name: name, Timing: timing, Volumes: p, Now: func() time.Duration { return p.clock.read(w.now) },
		View: func() (*fsm.State, uint64, <-chan struct{}) { return p.state, 0, nil }})
	t.o = &office{epoch: epoch, elected: p.clock.read(w.now), hosts: map[string]*observed{}, storage: newStorage(epoch, slot, w.state.Volumes.Revision)}
	t.office = t.o
	w.terms = append(w.terms, t)
	w.commit(func(s *fsm.State) { s.Office = fsm.Office{Epoch: epoch, Master: name} })
	p.state = w.state
	for _, h := range w.state.Hosts {
		t.o.observe(h, t.o.elected)
	}
	w.tick(t)
}

func (w *world) leads(t *term) bool { return t == w.leader() }

func (t *term) x() *observed { return t.o.hosts["b"] }

// quit ends an office: what it has claimed and not proposed is taken back.
func (w *world) quit(t *term) {
	if !t.over && !t.on.gone {
		t.withdrawAll(t.o)
	}
	t.over = true
}

// tick is one round of an office, with freezes between its steps.
func (w *world) tick(t *term) {
	if t.over || t.on.gone || w.now >= t.quits {
		w.quit(t)
		return
	}
	p, now := t.on, t.on.clock.read(w.now)
	s := p.state
	h, x := s.Hosts["b"], t.o.observe(s.Hosts["b"], now)
	using := *h
	if w.rule.newSetOnly {
		using.Volumes = s.Volumes.Revision
	}
	judged := *s
	judged.Hosts = map[string]*fsm.Host{"a": s.Hosts["a"], "b": &using, "c": s.Hosts["c"]}
	if w.rule.oldSetOnly && h.Volumes != s.Volumes.Revision {
		judged.Volumes, using.Volumes = s.OldVolumes, s.OldVolumes.Revision
	}
	t.o.readVolumes(&judged, p.view, now, t.cfg.Timing)
	w.bend(t, x, &judged, &using, now)
	var d decision
	if h.Status == fsm.HostLive {
		judge(input{now: now, self: t.cfg.Name, epoch: t.o.epoch, elected: t.o.elected, timing: t.cfg.Timing, state: &judged,
			hosts: t.o.hosts, policy: waitTrusted(), volumes: p.view}, fsm.Meta{}, &using, x.snapshot(), &d)
	}
	if d.read {
		p.Read()
	}
	w.after(w.delay(), func() {
		led := w.leads(t)
		stale := w.rule.staleConfirm && w.now-t.led < w.timing.Lease
		if led {
			t.led = w.now
		}
		if needs := len(d.suspect)+len(d.dead)+len(d.stored) > 0; needs && !led && !(w.rule.noConfirm || stale) {
			w.quit(t) // the confirmation fails
			return
		}
		w.after(w.delay(), func() { w.carryOut(t, d) })
	})
}

// carryOut is the second half of a round, in the order of Master.carryOut.
func (w *world) carryOut(t *term, d decision) {
	if t.over || t.on.gone {
		return
	}
	x := t.x()
	if len(d.suspect) > 0 {
		t.suspect(t.o, "b")
	}
	if suspected, acknowledged := x.watch.Suspected, x.watch.Acknowledged; w.rule.ackSuspect && suspected != 0 {
		x.watch.Suspected = 0
		t.acknowledgeStored(t.o, []string{"b"})
		x.watch.Suspected, x.watch.Acknowledged = suspected, acknowledged
		d.withdraw = nil
	} else {
		t.acknowledgeStored(t.o, d.stored)
	}
	if w.rng.IntN(16) == 0 {
		t.another()
	}
	t.publish(t.o)
	if len(d.withdraw) > 0 && t.withdraw(t.o, "b") {
		w.withdrawn++
	}
	if len(d.dead) > 0 && t.condemn(t.o, "b") {
		w.propose(t)
	}
	if h := t.on.state.Hosts["b"]; w.leads(t) && x.proves > h.Volumes && h.Status == fsm.HostLive {
		w.commit(func(s *fsm.State) { s.Hosts["b"].Volumes = max(s.Hosts["b"].Volumes, x.proves) })
	}
	next := time.Duration(1 + w.rng.Int64N(int64(w.timing.Heartbeat/3)))
	if d.next != 0 {
		next = min(next, max(1, t.on.clock.when(d.next)-w.now+1))
	}
	w.after(next, func() { w.tick(t) })
}

// another host than b comes or goes, which makes the next version of the claim due.
func (t *term) another() {
	y := t.o.hosts["a"]
	y.watch.Suspected = 1 - min(1, y.watch.Suspected)
}

// bend makes what the office believes of claims what it would without a rule.
func (w *world) bend(t *term, x *observed, s *fsm.State, h *fsm.Host, now time.Duration) {
	c, v, r := t.o.storage.claims, t.on.view, &w.rule
	if r.ackSuspect && x.watch.Suspected != 0 {
		x.watch.Heard = min(x.watch.Heard, x.watch.Suspected)
	}
	switch {
	case !x.watch.Claims:
		return
	case r.noClaim:
		x.watch.Claims = false
	case r.fromSuspicion && x.watch.Claimed != 0:
		x.watch.Claimed = min(x.watch.Claimed, max(1, x.watch.Suspected))
	case r.rereadAny, r.noReread:
		all := map[format.UUID]time.Duration{}
		for id, st := range c.on {
			if at, ok := st.since[1]; ok {
				all[id] = at
			}
		}
		x.watch.Claimed, _ = storagehb.Published(all, sets(s, h)...)
	case r.oneVolume:
		x.watch.Claimed = 0
		for id, st := range c.on {
			if at, ok := st.since[1]; ok && v.States[id].State == storagehb.Working && (x.watch.Claimed == 0 || at < x.watch.Claimed) {
				x.watch.Claimed = max(at, t.o.storage.changed)
			}
		}
	}
	at, ok := x.watch.DeadAt(t.cfg.Timing)
	if !ok || now < at {
		return
	}
	switch using := sets(s, h); {
	case r.noReread:
		x.confirmed = true
	case r.rereadAny, r.fromSuspicion:
		x.confirmed = storagehb.StillHighest(c.stamp(), at, v.Readings, using...)
	case r.oneVolume:
		for id := range v.Readings {
			x.confirmed = x.confirmed || storagehb.StillHighest(c.stamp(), at, v.Readings, storagehb.Set{Volumes: []format.UUID{id}})
		}
	}
}

func (w *world) propose(t *term) {
	if !w.leads(t) || w.dead {
		return // its entry can never be committed
	}
	t.pending = true
	w.after(w.delay(), func() {
		if t.pending {
			t.pending = false
			w.declare()
		}
	})
}

func (w *world) declare() {
	if w.dead {
		return
	}
	w.dead, w.deadAt = true, w.now
	w.commit(func(s *fsm.State) { s.Hosts["b"].Status = fsm.HostDead })
	w.check("declared dead")
}

// changeSet commits another set, as the state machine lets the master do.
func (w *world) changeSet() {
	if h := w.state.Hosts["b"]; h.Status == fsm.HostLive && h.Volumes != w.state.Volumes.Revision {
		return
	}
	w.commit(func(s *fsm.State) {
		s.OldVolumes, s.Volumes = s.Volumes, w.anySet(s.Volumes.Revision+1)
		s.Hosts["a"].Volumes, s.Hosts["c"].Volumes = s.Volumes.Revision, s.Volumes.Revision
	})
}

// split has the host reach one volume alone, and elects a master that reaches all but
// that. The old master does not learn of it.
func (w *world) split() {
	n := 0
	for i := range w.disks {
		if w.state.Volumes.Volumes[0].ID == volumeID(i).String() {
			n = i
		}
	}
	w.cut, w.leader().on.deaf = true, true
	w.host().cut(len(w.disks), true)
	w.host().cut(n, false)
	w.leader().quits = w.now + 4*w.timing.Wait()
	w.electOn(2 - w.leader().on.slot)
	w.leader().on.cut(n, true)
	w.after(3*w.timing.Wait(), func() {
		for _, p := range w.procs {
			p.cut(len(w.disks), false)
			p.deaf = false
		}
	})
}

// ghosts are writes that lives before this run have left under way: on every volume so
// many in each master's slot. They land whenever they like.
func (w *world) ghosts(each int) {
	for n := range w.disks {
		for range each {
			for _, slot := range []int{0, 2} {
				w.after(time.Duration(w.rng.Int64N(int64(w.end))), func() {
					w.disks[n][slot].claims[w.rng.IntN(2)] = format.Claim{Epoch: 1}
				})
			}
		}
	}
}

// goBack makes a disk what it was a while ago, once in its life.
func (w *world) goBack() {
	n := w.rng.IntN(len(w.disks))
	if w.older[n] != nil {
		return
	}
	was := w.disks[n]
	w.older[n] = &was
	w.after(w.span(), func() { w.disks[n] = was })
}
