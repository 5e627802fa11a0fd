package raftnode

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// errOverdue is what a leader's requests end with while its own disk does not answer.
var errOverdue = errors.New("this host's own log does not come back from the disk: it lets another lead")

// watched counts how long everything takes that raft writes to its stores. A write
// that hangs blocks raft's main loop while its heartbeats go on: the others go on
// following a leader that will never commit anything again. So one that is overdue
// has the transport send nothing as a leader until it has come back. One late write that has
// come back threatens no lease, and whoever would be elected may write to the same array: the
// leader goes on. Where writes are slow again and again followers would hear just enough of
// this leader to stay, and no lease would be renewed: the second, once it has taken half of
// what is slow, has it be silent for long enough for another to be elected in any case. Who led nobody
// meanwhile may lead at once: where the disks of all hung together nobody could otherwise. Nothing
// inside the process brings back a main loop that hangs for long, only the end of the process does,
// which is reported as fatal.
//
// A write that the disk refuses, as one that is full does, is tried again until it
// takes it, and is overdue at once: raft would end the process over a term that it
// cannot save, and be elected again and again where short writes still fit. Such a host
// leads nobody, learns nothing new and keeps its lease; its process need not end.
type watched struct {
	raft.LogStore
	raft.StableStore
	limit time.Duration // fatal beyond
	yield time.Duration // overdue beyond
	slow  time.Duration // too long if each takes so long
	step  time.Duration // what is counted at once
	gate  func(context.Context) error
	ctx   context.Context // ends when the node shuts down
	fatal func(error)
	log   hclog.Logger
	due   overdue
	at    written
}

// retryRefused is how often a write is tried again that the disk refuses, and tellRefused
// how often that is said.
const (
	retryRefused = 250 * time.Millisecond
	tellRefused  = time.Minute
)

// countSteps is how finely the time of a write is counted.
const countSteps = 8

// slowWindow is within how many times of what is slow a second slow write has the leader let
// another lead: a lease.
const slowWindow = 4

// watchStores puts the watched stores of a node together.
func watchStores(ctx context.Context, c Config, fatal func(error)) *watched {
	yield := min(c.YieldAfter, c.StoreDeadline)
	return &watched{LogStore: c.Stores.Log, StableStore: c.Stores.Stable, limit: c.StoreDeadline,
		yield: yield, slow: c.SlowAfter, step: yield / countSteps,
		due:  overdue{hush: 3 * c.Election, again: slowWindow * c.SlowAfter, fresh: c.Election},
		gate: c.Gate, ctx: ctx, fatal: fatal, log: c.Logger}
}

// count is how long one write has taken, in time in which this process ran: a
// process that was stopped has not waited for its disk. A timer that fires late
// counts for one step, whatever the clock says.
type count struct {
	w     *watched
	what  string
	mu    sync.Mutex
	timer *time.Timer
	at    time.Time // when the step that is being counted began
	ran   time.Duration
	late  bool
	leads bool // this host led as it began
	again bool // it has taken half of what is slow
	ended bool
}

// write makes a write, again and again while the disk refuses it. It gives up when the
// node has left the network.
func (w *watched) write(what string, do func() error) error {
	c := w.begin(what)
	defer c.end()
	var told time.Time
	for {
		err := do()
		if err == nil && !told.IsZero() {
			w.due.refuse(nil)
			w.log.Warn("the log of this host can be written again")
		}
		if err == nil || !refuses(err) {
			return err
		}
		c.refused()
		w.due.refuse(err)
		if now := time.Now(); told.IsZero() || now.Sub(told) >= tellRefused {
			told = now
			w.log.Error("the log of this host cannot be written: it keeps its lease and its VMs, leads nobody, and starts and learns nothing until it can; make room, or mend the disk, where its data directory is",
				"what", what, "error", err)
		}
		t := time.NewTimer(retryRefused)
		select {
		case <-t.C:
		case <-w.ctx.Done():
		}
		t.Stop()
		if w.gate(w.ctx) != nil || w.ctx.Err() != nil {
			return err
		}
	}
}

// refuses reports whether that is what a disk says that is full, read-only or broken.
func refuses(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.EFBIG} {
		// bbolt hands on the words alone where it makes its file larger.
		if errors.Is(err, e) || strings.Contains(err.Error(), "file resize error: ") && strings.Contains(err.Error(), e.Error()) {
			return true
		}
	}
	return false
}

// begin counts from now until the count ends.
func (w *watched) begin(what string) *count {
	c := &count{w: w, what: what, at: time.Now(), leads: w.due.leading()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(w.step, c.tick)
	return c
}

// refused makes a write overdue that the disk has answered, if only to refuse it: what may
// hang is the next try.
func (c *count) refused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ran = min(c.ran, c.w.yield)
	if !c.late {
		c.late = true
		c.w.due.add(1)
	}
}

func (c *count) tick() {
	w := c.w
	if w.gate(w.ctx) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ran += w.step
	c.at = time.Now()
	if c.ran >= w.yield && !c.late {
		c.late = true
		w.due.add(1)
	}
	if c.leads && !c.again && c.ran >= w.slow/2 {
		c.again = true
		w.due.slowAgain()
	}
	if c.ran >= w.limit {
		w.fatal(fmt.Errorf("%s has not come back from the disk for %v: the process must end so that another host can lead", c.what, w.limit))
		return
	}
	c.timer.Reset(w.step)
}

func (c *count) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.timer.Stop()
	if c.leads && c.ran+min(time.Since(c.at), c.w.step) >= c.w.slow {
		c.w.due.slow()
	}
	if c.late {
		c.w.due.add(-1)
	}
}

// StoreLogs implements raft.LogStore.
func (w *watched) StoreLogs(logs []*raft.Log) error {
	err := w.write("a write to the log", func() error { return w.LogStore.StoreLogs(logs) })
	if err == nil && len(logs) > 0 {
		w.at.stored(logs[len(logs)-1])
	}
	return err
}

// StoreLog implements raft.LogStore.
func (w *watched) StoreLog(l *raft.Log) error {
	err := w.write("a write to the log", func() error { return w.LogStore.StoreLog(l) })
	if err == nil {
		w.at.stored(l)
	}
	return err
}

// DeleteRange implements raft.LogStore.
func (w *watched) DeleteRange(low, high uint64) error {
	return w.write("a truncation of the log", func() error { return w.LogStore.DeleteRange(low, high) })
}

// Set implements raft.StableStore.
func (w *watched) Set(key, value []byte) error {
	return w.write("a write of the vote", func() error { return w.StableStore.Set(key, value) })
}

// SetUint64 implements raft.StableStore. Raft ends the process where it fails. A node that
// has left the network says nothing any more that could rest on it, and can stop in order.
func (w *watched) SetUint64(key []byte, value uint64) error {
	err := w.write("a write of the term", func() error { return w.StableStore.SetUint64(key, value) })
	if err == nil {
		w.at.set(key, value)
	}
	if err != nil && w.ctx.Err() != nil && refuses(err) {
		return nil
	}
	return err
}

// overdue is whether writes are, and who has beaten as a leader lately: raft itself
// does not take note of a new leader while its main loop hangs.
type overdue struct {
	mu     sync.Mutex
	writes int
	leader string
	heard  time.Time
	why    error
	hush   time.Duration // for how long a leader is silent whose writes are slow: three elections
	again  time.Duration // within which a second slow write has it so
	slowed time.Time     // when a write came back last that was slow while this host led
	fresh  time.Duration // for how long what was sent as a leader says that this host leads
	led    time.Time     // when something was sent as a leader last
	quiet  time.Time     // until when nothing is
}

// leading reports whether something was sent as a leader lately.
func (o *overdue) leading() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.led.IsZero() && time.Since(o.led) < o.fresh
}

// slow notes that a write has come back which was slow, while this host led.
func (o *overdue) slow() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.slowed = time.Now()
}

// slowAgain notes that a write is about to be slow, while this host leads: if another was before, the leases
// that were renewed before that one have no time for the end of this.
func (o *overdue) slowAgain() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); !o.slowed.IsZero() && now.Sub(o.slowed) <= o.again {
		o.quiet = now.Add(o.hush)
	}
}

// silent reports, of what is to be sent as a leader now, whether it may not be: a write is overdue, or
// writes were slow again and again while this one led.
func (o *overdue) silent() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.writes > 0 || now.Before(o.quiet) {
		return true
	}
	o.led = now
	return false
}

// refuse notes why the disk refuses what is written; nil: it does not any more.
func (o *overdue) refuse(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.why = err
}

// refusal is why the disk refuses what is written; nil where it does not.
func (o *overdue) refusal() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.why
}

func (o *overdue) add(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes += n
}

func (o *overdue) is() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writes > 0
}

// hears notes a heartbeat of a leader's.
func (o *overdue) hears(leader string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leader, o.heard = leader, time.Now()
}

// leads is, while writes are overdue, who has beaten as a leader within that time;
// empty: nobody.
func (o *overdue) leads(within time.Duration) (leader string, overdue bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writes > 0 && time.Since(o.heard) <= within {
		leader = o.leader
	}
	return leader, o.writes > 0
}
