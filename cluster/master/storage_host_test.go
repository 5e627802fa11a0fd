package master

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// restartHost is the host's agent killed and started again, with the lease that its guard holds.
func (w *world) restartHost() {
	old := w.procs[1]
	old.gone = true
	w.procs[1] = w.proc(1)
	w.procs[1].clock, w.procs[1].state = old.clock, old.state
	w.run++
	w.seq = 0
	if !w.rule.noRun {
		clear(w.sent)
	}
}

// heartbeat sends one by every medium, and the next an interval later.
func (w *world) heartbeat() {
	p := w.host()
	if w.lease.Over(p.clock.read(w.now)) {
		return // that life says nothing any more
	}
	w.seq++
	seq, run, sent := w.seq, w.run, p.clock.read(w.now)
	w.sent[seq] = sent
	w.after(w.delay(), func() { // a freeze between reading the clock and sending
		if p.gone {
			return
		}
		p.Submit(format.Heartbeat{Incarnation: 1, Run: run, Seq: seq, SetRevision: w.proves})
		p.Read()
		for _, t := range w.terms {
			if !w.cut && !w.silent && w.rng.IntN(5) > 0 {
				w.after(w.delay(), func() {
					w.receive(t, api.Heartbeat{Host: "b", Incarnation: 1, Run: run, Seq: seq, Volumes: w.proves, Network: "n"}, sent)
				})
			}
		}
	})
	w.after(time.Duration(float64(w.timing.Heartbeat)/p.clock.rate), w.heartbeat)
}

// receive is a heartbeat by network: heard, confirmed, acknowledged.
func (w *world) receive(t *term, hb api.Heartbeat, sent time.Duration) {
	if t.over || t.on.gone || w.now >= t.quits {
		return
	}
	t.x().note(hb, t.on.clock.read(w.now))
	w.after(w.delay(), func() {
		if !w.leads(t) {
			return
		}
		w.after(w.delay(), func() {
			x := t.x()
			if t.over || t.on.gone || x.watch.Suspected != 0 || x.condemned || t.on.state.Hosts["b"].Status != fsm.HostLive {
				return
			}
			x.watch.Acknowledged = t.on.clock.read(w.now)
			if w.cut || w.silent || w.rng.IntN(5) == 0 {
				return
			}
			w.after(w.delay(), func() { w.renew(sent, "N") })
		})
	})
}

// byStorage is the host's side: acknowledgements that it reads, and its proof.
func (w *world) byStorage() {
	p := w.host()
	now := p.clock.read(w.now)
	s := p.state.Volumes
	if s.Revision > w.proves {
		w.proves = s.Revision
	}
	if w.rule.backToOld && w.rng.IntN(2) == 0 {
		s = p.state.OldVolumes
	}
	for _, r := range p.view.Readings {
		for _, slot := range r.Table {
			if a, ok := slot.Acks.Value.Of(1); ok && (a.Run == w.run || w.rule.noRun) && w.sent[a.Seq] != 0 {
				worth := w.sent[a.Seq]
				if w.rule.fromAck {
					worth = now
				}
				w.renew(worth, "S")
			}
		}
	}
	if w.noQ || s.Revision < w.proves && !w.rule.backToOld {
		return
	}
	set := volumes.Set(s)
	started, ok := set.Proof(p.view.Readings, 1, 1)
	for _, id := range set.Volumes {
		one := storagehb.Set{Volumes: []format.UUID{id}}
		switch at, clean := one.Proof(p.view.Readings, 1, 1); {
		case w.rule.proofByOne && clean:
			started, ok = max(started, at), true
		case w.rule.anyClaim && clean:
			if n := w.read(set); len(n) >= set.R() {
				started, ok = n[len(n)-set.R()], true
			}
		}
	}
	if ok {
		if w.rule.fromEnd {
			started = now
		}
		w.after(w.delay(), func() { w.renew(started, "Q") })
	}
}

// read is when the readings of a set began, oldest first.
func (w *world) read(set storagehb.Set) (starts []time.Duration) {
	for _, id := range set.Volumes {
		if r, ok := w.host().view.Readings[id]; ok {
			starts = append(starts, r.Started)
		}
	}
	slices.Sort(starts)
	return starts
}

// renew takes a proof. The clock was read some time before.
func (w *world) renew(sent time.Duration, by string) {
	now := w.host().clock.read(w.now)
	old := w.lease
	w.lease = old.Renew(1, sent, now, w.timing)
	switch {
	case w.lease == old:
		return
	case by == "Q":
		w.byQ++
	case by == "S":
		w.byS++
	}
	w.check("renewed by " + by)
}

// left is the true time from which nothing of the host's VMs is left.
func (w *world) left() time.Duration {
	return w.host().clock.when(w.lease.End) + w.timing.HardEnd() + w.timing.Drain
}

func (w *world) check(what string) {
	if !w.dead || w.deadAt >= w.left() {
		return
	}
	w.found = fmt.Sprintf("%s at %v: declared dead at %v, but its VMs may run or write until %v (clock error %g, epoch %d, volumes %d of revision %d)",
		what, w.now, w.deadAt, w.left(), w.timing.ClockError, len(w.terms), len(w.state.Volumes.Volumes), w.state.Volumes.Revision)
}
