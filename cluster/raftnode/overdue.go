package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// errOverdue is what a leader's requests end with while its own disk does not answer.
var errOverdue = errors.New("this host's own log does not come back from the disk: it lets another lead")

// watched counts how long everything takes that raft writes to its stores. A write
// that hangs blocks raft's main loop while its heartbeats go on: the others go on
// following a leader that will never commit anything again. So one that is overdue
// has the transport send nothing as a leader until it has come back, and another is
// elected; nothing inside the process brings back a main loop that hangs for long,
// only the end of the process does, which is reported as fatal.
type watched struct {
	raft.LogStore
	raft.StableStore
	limit time.Duration // fatal beyond
	yield time.Duration // overdue beyond
	step  time.Duration // what is counted at once
	gate  func(context.Context) error
	ctx   context.Context // ends when the node shuts down
	fatal func(error)
	due   overdue
}

// countSteps is how finely the time of a write is counted.
const countSteps = 8

// watchStores puts the watched stores of a node together.
func watchStores(ctx context.Context, c Config, fatal func(error)) *watched {
	yield := min(c.YieldAfter, c.StoreDeadline)
	return &watched{LogStore: c.Stores.Log, StableStore: c.Stores.Stable, limit: c.StoreDeadline, yield: yield, step: yield / countSteps,
		gate: c.Gate, ctx: ctx, fatal: fatal}
}

// count is how long one write has taken, in time in which this process ran: a
// process that was stopped has not waited for its disk. A timer that fires late
// counts for one step, whatever the clock says.
type count struct {
	w     *watched
	what  string
	mu    sync.Mutex
	timer *time.Timer
	ran   time.Duration
	late  bool
	ended bool
}

// begin counts from now until the function that it returns is called.
func (w *watched) begin(what string) (done func()) {
	c := &count{w: w, what: what}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(w.step, c.tick)
	return c.end
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
	if c.ran >= w.yield && !c.late {
		c.late = true
		w.due.add(1)
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
	if c.late {
		c.w.due.add(-1)
	}
}

// StoreLogs implements raft.LogStore.
func (w *watched) StoreLogs(logs []*raft.Log) error {
	defer w.begin("a write to the log")()
	return w.LogStore.StoreLogs(logs)
}

// StoreLog implements raft.LogStore.
func (w *watched) StoreLog(l *raft.Log) error {
	defer w.begin("a write to the log")()
	return w.LogStore.StoreLog(l)
}

// DeleteRange implements raft.LogStore.
func (w *watched) DeleteRange(low, high uint64) error {
	defer w.begin("a truncation of the log")()
	return w.LogStore.DeleteRange(low, high)
}

// Set implements raft.StableStore.
func (w *watched) Set(key, value []byte) error {
	defer w.begin("a write of the vote")()
	return w.StableStore.Set(key, value)
}

// SetUint64 implements raft.StableStore.
func (w *watched) SetUint64(key []byte, value uint64) error {
	defer w.begin("a write of the term")()
	return w.StableStore.SetUint64(key, value)
}

// overdue is whether writes are, and who has beaten as a leader lately: raft itself
// does not take note of a new leader while its main loop hangs.
type overdue struct {
	mu     sync.Mutex
	writes int
	leader string
	heard  time.Time
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
