package raftnode

import (
	"errors"

	"github.com/hashicorp/raft"
)

// patience is how many requests for replication to a host may fail one after the other
// before the next waits until the host is heard. By then raft would pause for 80 ms; after
// twelve it pauses for 10.24 s, whatever becomes of the host meanwhile, and nothing but a
// success ends that (failureWait and maxFailureScale in its replication.go).
const patience = 5

var errDeposed = errors.New("this host does not lead in that term any more")

// standing is what this host's raft says about a request for replication.
type standing struct {
	leads  bool // in the request's term
	member bool // the other host is one
}

// attach tells the transport how to ask raft, which is made after it. Until then
// every request counts as one of a leader to a member.
func (t *transport) attach(ask func(id raft.ServerID, term uint64) standing) {
	t.mu.Lock()
	t.ask = ask
	t.mu.Unlock()
}

// stands is what raft on this host says about a request of term to a host.
func (n *Node) stands(id raft.ServerID, term uint64) standing {
	s := standing{leads: n.raft.State() == raft.Leader && n.raft.CurrentTerm() == term}
	f := n.raft.GetConfiguration() // answers at once
	if f.Error() != nil {
		s.member = true
		return s
	}
	for _, server := range f.Configuration().Servers {
		s.member = s.member || server.ID == id
	}
	return s
}

// hold has a request for replication wait while its host is away: one that failed would
// lengthen raft's next pause, and the host would get the log so much later than the
// heartbeats that reach it at once when it is back. It ends with the first heartbeat that
// is answered. A host that has left is tried once more, as raft wants it; a leader that
// was deposed, and a transport that is closed, wait for nobody.
//
// What it waits for comes: raft goes on with heartbeats to a host for as long as a request
// to that waits, and each that ends, well or not, has this look again.
func (t *transport) hold(id raft.ServerID, term uint64) error {
	for {
		t.mu.Lock()
		l, ask, closed := t.link(id), t.ask, t.closed
		if l.misses < patience && !closed {
			t.mu.Unlock()
			return nil
		}
		if l.news == nil {
			l.news = make(chan struct{})
		}
		news := l.news
		t.mu.Unlock()
		if closed {
			return errSevered
		}
		if ask != nil {
			switch s := ask(id, term); {
			case !s.leads:
				return errDeposed
			case !s.member:
				return nil
			}
		}
		<-news
	}
}

// heard notes how a heartbeat to a host ended.
func (t *transport) heard(id raft.ServerID, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.link(id)
	if err == nil {
		l.misses = 0
	}
	l.tell()
}

// replicated notes how a request for replication to a host ended.
func (t *transport) replicated(id raft.ServerID, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.link(id)
	if l.misses++; err == nil {
		l.misses = 0
	}
}

// lookAgain has every request that waits look again whether it still has to.
func (t *transport) lookAgain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.links {
		l.tell()
	}
}

// tell wakes whoever waits for news of the host; the transport's lock is held.
func (l *link) tell() {
	if l.news != nil {
		close(l.news)
		l.news = nil
	}
}
