package master

import (
	"maps"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/storagehb/hbtest"
)

// proc is one life of an agent.
type proc struct {
	w     *world
	slot  int
	clock clock
	gone  bool
	state *fsm.State // its copy
	view  *volumes.View
	io    map[int]*worker
	lost  [4]bool // disks that it cannot reach
	mum   bool    // it cannot write to any
	deaf  bool    // its copy of the state stays as it is
}

// worker is a proc's way to one disk: one I/O at a time.
type worker struct {
	p     *proc
	disk  int
	want  map[format.Kind]format.Value
	table bool
	busy  bool
	copy  int  // that holds the newest claim
	open  bool // and that is known
	begun int  // counts I/Os
}

// disk is what one volume holds, by slot.
type disk [3]struct {
	claims cell
	beat   format.Heartbeat
	acks   format.Acks
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

// event is something that happens at a moment; queue is a heap of them.
type event struct {
	at  time.Duration
	nth int // for a stable order
	do  func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].nth < q[j].nth
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// View, Submit, Read and ReadVMs are Volumes.
func (p *proc) View() (*volumes.View, <-chan struct{}) { return p.view, nil }

func (p *proc) ReadVMs(int) {}

func (p *proc) Submit(v format.Value) {
	for _, k := range p.used() {
		k.want[v.Kind()] = v
		k.pump()
	}
}

func (p *proc) Read() {
	for _, k := range p.used() {
		k.table = true
		k.pump()
	}
}

// cut ends or gives back the way to a disk; n beyond the last means all.
func (p *proc) cut(n int, lost bool) {
	for i := range p.lost {
		if i == n || n >= len(p.lost) {
			p.lost[i] = lost
		}
	}
}

// used are the ways to the volumes that may be in use.
func (p *proc) used() (all []*worker) {
	for n := range p.w.disks {
		if slices.ContainsFunc(p.state.AllVolumes(), func(u fsm.Volume) bool { return u.ID == volumeID(n).String() }) {
			if p.io[n] == nil {
				p.io[n] = &worker{p: p, disk: n, want: map[format.Kind]format.Value{}}
			}
			all = append(all, p.io[n])
		}
	}
	return all
}

// change replaces the view.
func (p *proc) change(f func(*volumes.View)) {
	v := &volumes.View{Readings: maps.Clone(p.view.Readings), Claims: maps.Clone(p.view.Claims), Failed: maps.Clone(p.view.Failed), States: maps.Clone(p.view.States)}
	f(v)
	p.view = v
}

// pump begins the next I/O, if none is under way.
func (k *worker) pump() {
	if k.busy || k.p.gone {
		return
	}
	for _, kind := range []format.Kind{format.KindClaim, format.KindHeartbeat, format.KindAcks} {
		if v := k.want[kind]; v != nil {
			delete(k.want, kind)
			k.write(v)
			return
		}
	}
	if k.table {
		k.table = false
		k.read()
	}
}

// begin has an I/O under way for that long; past an interval the volume is degraded.
func (k *worker) begin(takes time.Duration, end func()) {
	k.busy = true
	k.begun++
	nth := k.begun
	w := k.p.w
	w.after(w.timing.Heartbeat, func() {
		if k.busy && k.begun == nth && !k.p.gone {
			k.state(storagehb.Degraded, nil)
		}
	})
	w.after(takes, func() {
		k.busy = false
		if !k.p.gone {
			end()
			k.pump()
		}
	})
}

func (k *worker) state(s storagehb.State, err error) {
	if id := volumeID(k.disk); k.p.view.States[id].State != s {
		k.p.change(func(v *volumes.View) { v.States[id] = storagehb.Changed{State: s, Err: err} })
	}
}

// write writes a value: it lands at any moment until it ends, or not at all and ends
// in an error, or ends in an error and lands later. What was under way when the
// agent ended lands later still, or never.
func (k *worker) write(v format.Value) {
	w, p, id := k.p.w, k.p, volumeID(k.disk)
	takes := w.delay()
	slot := &w.disks[k.disk][p.slot]
	if !k.open { // it was opened anew, and its own slot read
		k.copy, k.open = int(slot.claims.found().Origin.Copy), true
	}
	target := 1 - k.copy
	land := func() {
		switch v := v.(type) {
		case format.Claim:
			slot.claims[target] = v
		case format.Heartbeat:
			if v.Stamp().Compare(slot.beat.Stamp()) > 0 {
				slot.beat = v
			}
		case format.Acks:
			if v.Stamp().Compare(slot.acks.Stamp()) > 0 {
				slot.acks = v
			}
		}
	}
	late := func() {
		if w.rng.IntN(3) > 0 {
			w.after(time.Duration(w.rng.Int64N(int64(4*w.timing.Lease))), land)
		}
	}
	cut := p.lost[k.disk]
	fails := cut || p.mum || p.slot == 1 && w.silent || w.rng.IntN(4*w.faults) == 0
	if !fails && w.rng.IntN(w.faults) == 0 {
		takes += w.span() // it hangs
	}
	if fails {
		if !cut && w.rng.IntN(2) == 0 {
			late()
		}
	} else {
		w.after(time.Duration(float64(takes)*w.rng.Float64()), func() {
			if p.gone {
				late()
			} else {
				land()
			}
		})
	}
	k.begin(takes, func() {
		if fails {
			k.open = false
			if v.Kind() == format.KindClaim {
				p.change(func(view *volumes.View) { view.Failed[id] = v.Stamp() })
			}
			k.state(storagehb.Failing, hbtest.ErrIO)
			return
		}
		if v.Kind() == format.KindClaim {
			k.copy = target
			k.hide()
			p.change(func(view *volumes.View) {
				view.Claims[id] = storagehb.Written{Kind: format.KindClaim, Stamp: v.Stamp(), Completed: p.clock.read(w.now)}
			})
		}
		k.state(storagehb.Working, nil)
	})
}

// hide has, at times, an old write land over the claim that was just written, and the
// master lose its way to that volume, or publish the next version: what it does not
// see must not count.
func (k *worker) hide() {
	w := k.p.w
	if w.old == 0 || w.rng.IntN(6) > 0 {
		return
	}
	slot, at := &w.disks[k.disk][k.p.slot], k.copy
	w.after(time.Duration(w.rng.Int64N(int64(w.timing.Lease))), func() {
		slot.claims[at] = format.Claim{Epoch: 1}
		if w.rng.IntN(2) == 0 {
			k.p.cut(k.disk, true)
			w.after(2*w.timing.Wait(), func() { k.p.cut(k.disk, false) })
		} else if t := w.leader(); t.on == k.p {
			t.another() // so that the next version comes
		}
	})
}

// read reads the table, as it is at one moment until it ends.
func (k *worker) read() {
	w, p := k.p.w, k.p
	takes, started := w.delay(), p.clock.read(w.now)
	var table storagehb.Table
	w.after(time.Duration(float64(takes)*w.rng.Float64()), func() {
		table = make(storagehb.Table, 3)
		for i := range table {
			was := &w.disks[k.disk][i]
			table[i] = storagehb.Slot{Claim: was.claims.found(),
				Heartbeat: format.Found[format.Heartbeat]{OK: was.beat.Seq > 0, Value: was.beat}, Acks: format.Found[format.Acks]{OK: was.acks.Seq > 0, Value: was.acks}}
		}
	})
	fails := p.lost[k.disk] || w.rng.IntN(8*w.faults) == 0
	k.begin(takes, func() {
		if fails {
			k.open = false
			k.state(storagehb.Failing, hbtest.ErrIO)
			return
		}
		p.change(func(v *volumes.View) {
			v.Readings[volumeID(k.disk)] = storagehb.Reading{Started: started, Table: table}
		})
		k.state(storagehb.Working, nil)
		if p.slot == 1 {
			w.byStorage()
		}
	})
}
