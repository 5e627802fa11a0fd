// Package durable is what a host's disk has promised to the others: how far its copy
// of the replicated log, with the vote beside it, had come when that was last on the
// disk. A host states it to others, who remember it longer than a disk that was
// restored from a backup (safety.md, L1).
package durable

import "fmt"

// Position is how far a disk has come. In the order in which a host writes to its disk it
// never falls: the term only grows; within a term the vote is cast once, and entries of
// the term, once there, are never taken away. An entry of an older term may be, by the
// leader of a newer one, so it counts for nothing here: no leader counts such an entry as
// committed before one of its own term is (the Raft paper, 5.4.2).
type Position struct {
	// Term is the newest that the host has seen.
	Term uint64 `json:"term,omitempty"`
	// Vote is the newest term in which it has voted.
	Vote uint64 `json:"vote,omitempty"`
	// Index is that of its last log entry where that is of Term, and 0 otherwise.
	Index uint64 `json:"index,omitempty"`
}

// Covers reports whether a disk that is at p holds all that one at q has promised. That it
// does not says that p is of an older time than q.
func (p Position) Covers(q Position) bool {
	return p.Term > q.Term || p.Term == q.Term && p.Vote >= q.Vote && p.Index >= q.Index
}

// Max is the later of two positions of one disk.
func (p Position) Max(q Position) Position {
	if p.Covers(q) {
		return p
	}
	if p.Term == q.Term {
		return Position{p.Term, max(p.Vote, q.Vote), max(p.Index, q.Index)}
	}
	return q
}

// String is the position in the words of people.
func (p Position) String() string {
	if p == (Position{}) {
		return "an empty log"
	}
	s := fmt.Sprintf("term %d, vote in term %d", p.Term, p.Vote)
	if p.Index != 0 {
		s += fmt.Sprintf(", log entry %d", p.Index)
	}
	return s
}
