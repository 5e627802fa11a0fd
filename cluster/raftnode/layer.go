package raftnode

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Dialer connects to another host's raft over one HA network. The connection
// must be proven: whoever answers is that host.
type Dialer interface {
	DialRaft(ctx context.Context, host, network string) (net.Conn, error)
}

var errSevered = errors.New("this host's raft is shutting down")

// connSet is every open connection of a node, so that all can be cut at once:
// raft's own transport forgets those in use.
type connSet struct {
	ctx    context.Context // ends when the set is severed
	cancel context.CancelFunc

	mu   sync.Mutex
	open map[*setConn]struct{} // nil once severed
}

func newConnSet() *connSet {
	ctx, cancel := context.WithCancel(context.Background())
	return &connSet{ctx: ctx, cancel: cancel, open: map[*setConn]struct{}{}}
}

// add takes the connection into the set, or closes it when the set is severed.
func (s *connSet) add(c net.Conn) (net.Conn, error) {
	sc := &setConn{Conn: c, set: s}
	s.mu.Lock()
	severed := s.open == nil
	if !severed {
		s.open[sc] = struct{}{}
	}
	s.mu.Unlock()
	if severed {
		_ = c.Close()
		return nil, errSevered
	}
	return sc, nil
}

// sever closes every connection and refuses new ones from now on.
func (s *connSet) sever() {
	s.cancel()
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close()
	}
}

type setConn struct {
	net.Conn
	set *connSet
}

func (c *setConn) Close() error {
	c.set.mu.Lock()
	delete(c.set.open, c)
	c.set.mu.Unlock()
	return c.Conn.Close()
}

// layer is a raft.StreamLayer: calls go out over one network, and incoming
// connections are those handed in.
type layer struct {
	name     string // this host's name, which is its raft address
	network  string // HA network of outgoing calls; empty: none are made
	dialer   Dialer
	conns    *connSet
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func newLayer(name, network string, d Dialer, conns *connSet) *layer {
	return &layer{name: name, network: network, dialer: d, conns: conns, incoming: make(chan net.Conn), closed: make(chan struct{})}
}

// Dial implements raft.StreamLayer. A raft address is a host name.
func (l *layer) Dial(host raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.conns.ctx, timeout)
	defer cancel()
	c, err := l.dialer.DialRaft(ctx, string(host), l.network)
	if err != nil {
		return nil, err
	}
	return l.conns.add(c)
}

// give hands an incoming connection to raft.
func (l *layer) give(c net.Conn) {
	c, err := l.conns.add(c)
	if err != nil {
		return
	}
	select {
	case l.incoming <- c:
	case <-l.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (l *layer) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *layer) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *layer) Addr() net.Addr { return hostAddr(l.name) }

type hostAddr string

func (hostAddr) Network() string  { return "holdfast" }
func (a hostAddr) String() string { return string(a) }
