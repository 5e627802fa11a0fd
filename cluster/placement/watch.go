package placement

import (
	"slices"
	"time"
)

// Watch is what balance remembers from one plan of moves to the next: since when load has
// been uneven, and what VMs took since. Its zero value has seen nothing. It is not safe for
// concurrent use.
//
// A move for balance follows when load was more uneven than the threshold at each plan of
// the hold time, and is so by the mean over it as well; which VM moves goes by that mean.
// So a spike that is shorter moves nothing, and each move is held for anew. A rule that is no
// must is mended when each plan of the hold time found it broken. With constant
// loads every move makes load more even by the margin at least: they come to an end, and none
// is taken back.
type Watch struct {
	broken map[string]time.Duration // rules that are no must → since when each plan found them broken
	uneven bool
	since  time.Duration // when it began; valid while uneven
	told   time.Duration // when the last plan was made
	taken  map[string]*taken
}

// taken is what one VM took.
type taken struct {
	host       string // where it did
	last       Use    // as it was last told
	processors float64
	memory     float64 // both times seconds, since load is uneven
	seconds    float64
}

// Plan is PlanMoves at a moment (boot clock), with Balance.Held and what VMs took filled in.
// hold is how long load must be uneven for a move. again is how long after now it is to be
// planned anew for balance though nothing has changed; 0: nothing is due.
//
// What a VM took stays known while it runs: a host knows nothing of one that has just come.
func (w *Watch) Plan(now, hold time.Duration, c *Cluster, s MoveSettings) (m *Moves, again time.Duration) {
	if s.Balance.On && s.Balance.Measured {
		c = w.measured(now, c)
	} else {
		w.taken = nil
	}
	if s.Balance.Ripe = nil; hold > 0 {
		s.Balance.Ripe = map[string]bool{}
		for rule, since := range w.broken {
			s.Balance.Ripe[rule] = now-since >= hold
		}
	}
	s.Balance.Held = hold == 0 || w.uneven && now-w.since >= hold
	m = PlanMoves(c, s)
	switch balancing := len(m.Begin) > 0 && m.Begin[0].Cause == Even; {
	case m.Imbalance <= s.Balance.Threshold || balancing:
		w.uneven = false
	case !w.uneven:
		w.uneven, w.since = true, now
		for _, t := range w.taken {
			*t = taken{host: t.host, last: t.last}
		}
	}
	w.told = now
	if w.uneven && now-w.since < hold {
		again = hold - (now - w.since)
	}
	return m, w.await(now, hold, m.Broken, again)
}

// await remembers since when rules are broken. again is when a plan is due without them; with
// them it is due when the first of them has been broken for the hold time.
func (w *Watch) await(now, hold time.Duration, rules []string, again time.Duration) time.Duration {
	known := make(map[string]time.Duration, len(rules))
	for _, rule := range rules {
		since, was := w.broken[rule]
		if !was {
			since = now
		}
		known[rule] = since
		if left := hold - (now - since); left > 0 && (again == 0 || left < again) {
			again = left
		}
	}
	w.broken = known
	return again
}

// measured is the cluster with what VMs took.
func (w *Watch) measured(now time.Duration, c *Cluster) *Cluster {
	known := make(map[string]*taken, len(c.VMs))
	filled := *c
	filled.VMs = slices.Clone(c.VMs)
	for i := range filled.VMs {
		v := &filled.VMs[i]
		t := w.taken[v.Name]
		switch {
		case v.Status != Running:
			continue
		case t == nil && v.Use == nil:
			continue
		case t == nil:
			t = &taken{}
		}
		if v.Use != nil {
			t.last = *v.Use
		} else {
			last := t.last
			v.Use = &last
		}
		if t.host != v.Host { // what it took of another host's processors is no measure
			*t = taken{host: v.Host, last: t.last}
		} else if w.uneven { // what is told now is the mean of a while that has passed
			passed := (now - w.told).Seconds()
			t.processors, t.memory, t.seconds = t.processors+t.last.Processors*passed, t.memory+float64(t.last.Memory)*passed, t.seconds+passed
		}
		if w.uneven && t.seconds > 0 {
			v.Mean = &Use{Processors: t.processors / t.seconds, Memory: int64(t.memory / t.seconds)}
		}
		known[v.Name] = t
	}
	w.taken = known
	return &filled
}
