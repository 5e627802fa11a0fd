package raftnode

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// level is how far behind the leader's log a member may be to count as level
// with it.
const level = 256

// watch is what the leader remembers of the members between two looks.
type watch struct {
	term  uint64               // of the leadership that began at began
	began time.Time            // before it, silence does not count
	since map[string]time.Time // since when a member has been level and answering
}

// keepVoters looks at the voters at intervals while this host leads, and makes
// at most one change each time.
func (n *Node) keepVoters() {
	interval := max(n.config.Election, 500*time.Millisecond)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	w := watch{}
	for {
		select {
		case <-n.stop:
			return
		case <-ticker.C:
		}
		if !n.IsLeader() {
			w = watch{}
			continue
		}
		seats := n.seats(&w, time.Now())
		if c := planVoters(seats, n.config.MaxVoters); c.action != keep {
			n.carryOut(c)
		}
	}
}

// seats is the membership as planVoters wants it.
func (n *Node) seats(w *watch, now time.Time) []seat {
	if term := n.raft.CurrentTerm(); w.since == nil || w.term != term {
		*w = watch{term: term, began: now, since: map[string]time.Time{}}
	}
	last := n.raft.LastIndex()
	var seats []seat
	for _, m := range n.Members() {
		s := seat{name: m.Name, voter: m.Voter}
		if m.Name == n.config.Name {
			s.leader, s.reachable = true, true
			seats = append(seats, s)
			continue
		}
		silent := now.Sub(w.began)
		if m.Contact >= 0 {
			silent = min(silent, m.Contact)
		}
		s.reachable = m.Contact >= 0 && m.Contact <= n.config.Election
		s.lost = m.Voter && silent > n.config.LostAfter
		if s.reachable && m.LastLog+level >= last {
			if _, known := w.since[m.Name]; !known {
				w.since[m.Name] = now
			}
			s.ready = !m.Voter && now.Sub(w.since[m.Name]) >= n.config.Stable
		} else {
			delete(w.since, m.Name)
		}
		seats = append(seats, s)
	}
	return seats
}

// carryOut makes one change. A failure is only logged: the next look sees what
// is then so.
func (n *Node) carryOut(c change) {
	ctx, cancel := context.WithTimeout(context.Background(), n.confirmLimit())
	defer cancel()
	release, err := n.hold(ctx)
	if err != nil {
		return
	}
	defer release()
	id := raft.ServerID(c.name)
	_, err = await(n, ctx, func() raft.IndexFuture {
		if c.action == demote {
			return n.raft.DemoteVoter(id, 0, n.confirmLimit())
		}
		return n.raft.AddVoter(id, raft.ServerAddress(id), 0, n.confirmLimit())
	})
	what := "host has a vote now"
	if c.action == demote {
		what = "host has no vote any more"
	}
	if err != nil {
		n.log.Warn("cannot change who votes", "host", c.name, "wanted", what, "reason", c.why, "error", err)
		return
	}
	n.log.Info(what, "host", c.name, "reason", c.why)
}
