package raftnode

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// Office is whether this host leads, and in which term.
type Office struct {
	Leader bool
	Term   uint64
}

// Leadership delivers the newest Office whenever it changes; older ones that
// nobody took are dropped. A leader after a leader of another term lost the
// office in between. The one reader must treat every value as the end of what
// it did before.
func (n *Node) Leadership() <-chan Office { return n.offices }

// followOffice hands raft's news of leadership on and does nothing else, so that
// raft never waits for whoever acts on it.
func (n *Node) followOffice() {
	for {
		select {
		case <-n.stop:
			n.publish(Office{Term: n.raft.CurrentTerm()})
			return
		case leader := <-n.raft.LeaderCh():
			n.transport.lookAgain()
			n.publish(Office{Leader: leader, Term: n.raft.CurrentTerm()})
		}
	}
}

// publish replaces what is in the channel; followOffice is the only sender.
func (n *Node) publish(o Office) {
	select {
	case <-n.offices:
	default:
	}
	n.offices <- o
}

// IsLeader reports whether raft holds this host for the leader at the moment,
// which proves nothing: see Confirm.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

// Leader is the host that this one holds for the leader; empty when it knows none.
// While a write to its own log is overdue that is whoever beats as a leader: raft
// does not take note of it, and may hold itself for one.
func (n *Node) Leader() string {
	if leader, late := n.stores.due.leads(2 * n.config.Election); late {
		return leader
	}
	_, id := n.raft.LeaderWithID()
	return string(id)
}

// LastContact is the time since this host last heard from a leader: 0 when it
// leads, negative when it has heard from none yet.
func (n *Node) LastContact() time.Duration {
	if n.IsLeader() {
		return 0
	}
	at := n.raft.LastContact()
	if at.IsZero() {
		return -1
	}
	return time.Since(at)
}

// AppliedIndex is the last entry that the Machine has applied. Entries of raft
// itself do not count, so it is equal on all members that have the same state.
func (n *Node) AppliedIndex() uint64 { return n.adapter.applied() }

// CommitIndex is the last entry that this host knows to be committed.
func (n *Node) CommitIndex() uint64 { return n.raft.CommitIndex() }

// WaitApplied returns once the Machine has applied the entry at index, which
// must be one that AppliedIndex or Apply returned somewhere.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	return n.adapter.wait(ctx, n.stop, index)
}
