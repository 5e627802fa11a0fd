package raftnode

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/holdfast-ha/holdfast/cluster/durable"
)

// Where raft keeps its term and its vote in the stable store.
const (
	termKey = "CurrentTerm"
	voteKey = "LastVoteTerm"
)

// notFound is the text of the error for a key that is not there. Some stores give an
// empty value instead.
const notFound = "not found"

// Written reads how far the stores of a node have come. No node may be running on them.
func Written(s Stores) (p durable.Position, err error) {
	for key, into := range map[string]*uint64{termKey: &p.Term, voteKey: &p.Vote} {
		v, err := s.Stable.GetUint64([]byte(key))
		if err != nil && err.Error() != notFound {
			return p, fmt.Errorf("read %s of the log: %w", key, err)
		}
		*into = v
	}
	last, err := s.Log.LastIndex()
	if err != nil {
		return p, fmt.Errorf("read where the log ends: %w", err)
	}
	if last != 0 {
		var l raft.Log
		switch err := s.Log.GetLog(last, &l); {
		case errors.Is(err, raft.ErrLogNotFound):
			return p, fmt.Errorf("the log cannot be read: its last entry, %d, is missing; remove the data directory and join again with a new token",
				last)
		case err != nil:
			return p, fmt.Errorf("the log cannot be read: %w; remove the data directory and join again with a new token", err)
		}
		if l.Term == p.Term {
			p.Index = last
		}
	}
	shots, err := s.Snapshots.List()
	if err != nil {
		return p, fmt.Errorf("list the log's snapshots: %w", err)
	}
	for _, m := range shots {
		if m.Term == p.Term {
			p.Index = max(p.Index, m.Index)
		}
	}
	return p, nil
}

// Written is how far this host's disk has come: what is in it was on the disk before
// this returned.
func (n *Node) Written() durable.Position { return n.stores.at.get() }

// written follows what raft has written to its stores, once that is on the disk.
type written struct {
	mu sync.Mutex // guards p
	p  durable.Position
}

func (w *written) get() durable.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.p
}

// stored takes the last entry of a write to the log.
func (w *written) stored(l *raft.Log) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.Term == w.p.Term {
		w.p.Index = max(w.p.Index, l.Index)
	}
}

// set takes a number that was written beside the log.
func (w *written) set(key []byte, v uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch string(key) {
	case termKey:
		if v > w.p.Term {
			w.p.Term, w.p.Index = v, 0
		}
	case voteKey:
		w.p.Vote = max(w.p.Vote, v)
	}
}
