// Package peertest is what tests of the connections between hosts stand on: a
// small network in virtual time and certificates of a cluster. It is for
// testing/synctest bubbles: no wait in it is a mutex or a socket.
package peertest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// latency of every link.
const latency = 200 * time.Microsecond

// Net is a network of hosts; each host has one address on each HA network.
type Net struct {
	mu        sync.Mutex
	listeners map[string]*listener
	cuts      map[cut]bool
	conns     map[*conn]struct{}
	changed   chan struct{} // closed and replaced when a cut or a listener changes
	dials     map[string]int
}

// cut is one direction of one network between two hosts.
type cut struct{ network, from, to string }

// New makes a network without cuts.
func New() *Net {
	return &Net{listeners: map[string]*listener{}, cuts: map[cut]bool{}, conns: map[*conn]struct{}{}, changed: make(chan struct{}), dials: map[string]int{}}
}

// Host is a machine's own view of the network, a peer.Network.
type Host struct {
	net  *Net
	name string
}

// Host returns the machine of that name.
func (n *Net) Host(name string) *Host { return &Host{n, name} }

// Cut holds back everything that from sends to to over a network, until Heal.
// What is held arrives then.
func (n *Net) Cut(network, from, to string) { n.set(cut{network, from, to}, true) }

// CutBoth cuts both directions.
func (n *Net) CutBoth(network, a, b string) {
	n.Cut(network, a, b)
	n.Cut(network, b, a)
}

// Heal ends every cut.
func (n *Net) Heal() {
	n.mu.Lock()
	clear(n.cuts)
	n.wake()
	n.mu.Unlock()
}

// Dials counts the connections that from has made to addr.
func (n *Net) Dials(from, addr string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[from+">"+addr]
}

// Open counts the connection ends that are open.
func (n *Net) Open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	open := 0
	for c := range n.conns {
		if !c.closed {
			open++
		}
	}
	return open
}

func (n *Net) set(c cut, on bool) {
	n.mu.Lock()
	n.cuts[c] = on
	n.wake()
	n.mu.Unlock()
}

// wake makes every wait look again; n.mu must be held.
func (n *Net) wake() {
	close(n.changed)
	n.changed = make(chan struct{})
	for c := range n.conns {
		c.wake()
	}
}

// Listen implements peer.Network.
func (h *Host) Listen(network, address string) (net.Listener, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.listeners[address] != nil {
		return nil, fmt.Errorf("listen %s: %w", address, syscall.EADDRINUSE)
	}
	l := &listener{host: h, network: network, address: address, conns: make(chan net.Conn, 64), closed: make(chan struct{})}
	h.net.listeners[address] = l
	h.net.wake()
	return l, nil
}

// Dial implements peer.Network. A call over a cut path waits for its end.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	n := h.net
	wait := time.NewTimer(2 * latency)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		n.mu.Lock()
		l, changed := n.listeners[address], n.changed
		if l == nil {
			n.mu.Unlock()
			return nil, fmt.Errorf("dial %s: %w", address, syscall.ECONNREFUSED)
		}
		if network != "" && network != l.network {
			n.mu.Unlock()
			return nil, fmt.Errorf("dial %s over %s: %w", address, network, syscall.ENETUNREACH)
		}
		if !n.cuts[cut{l.network, h.name, l.host.name}] && !n.cuts[cut{l.network, l.host.name, h.name}] {
			ours, theirs := n.pair(l.network, h.name, l.host.name)
			n.dials[h.name+">"+address]++
			n.mu.Unlock()
			select {
			case l.conns <- theirs:
				return ours, nil
			case <-l.closed:
				return nil, fmt.Errorf("dial %s: %w", address, syscall.ECONNREFUSED)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		n.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

type listener struct {
	host             *Host
	network, address string
	conns            chan net.Conn
	closed           chan struct{}
	once             sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.host.net.mu.Lock()
		delete(l.host.net.listeners, l.address)
		l.host.net.mu.Unlock()
	})
	return nil
}

func (l *listener) Addr() net.Addr { return tcpAddr(l.address) }

func tcpAddr(s string) net.Addr {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return &net.TCPAddr{}
	}
	return net.TCPAddrFromAddrPort(a)
}

// conn is one end of a connection. Its fields are guarded by net.mu.
type conn struct {
	net     *Net
	path    cut // the direction in which bytes come to this end
	other   *conn
	queue   []segment
	closed  bool // this end
	read    time.Time
	changed chan struct{} // cap 1
}

type segment struct {
	at    time.Time // of arrival
	bytes []byte    // nil: the other end has closed
}

func (n *Net) pair(network, from, to string) (ours, theirs *conn) {
	ours = &conn{net: n, path: cut{network, to, from}, changed: make(chan struct{}, 1)}
	theirs = &conn{net: n, path: cut{network, from, to}, changed: make(chan struct{}, 1), other: ours}
	ours.other = theirs
	n.conns[ours], n.conns[theirs] = struct{}{}, struct{}{}
	return ours, theirs
}

func (c *conn) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *conn) Read(b []byte) (int, error) {
	for {
		got, wait, err := c.poll(b)
		if got > 0 || err != nil {
			return got, err
		}
		if wait <= 0 {
			<-c.changed
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-c.changed:
		case <-t.C:
		}
		t.Stop()
	}
}

// poll reads what has arrived; wait is until when nothing can change by itself, 0 for ever.
func (c *conn) poll(b []byte) (got int, wait time.Duration, err error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	now := time.Now()
	if c.closed {
		return 0, 0, net.ErrClosed
	}
	if !c.read.IsZero() {
		if !now.Before(c.read) {
			return 0, 0, os.ErrDeadlineExceeded
		}
		wait = c.read.Sub(now)
	}
	if len(c.queue) == 0 || c.net.cuts[c.path] {
		return 0, wait, nil
	}
	first := &c.queue[0]
	if left := first.at.Sub(now); left > 0 {
		if wait == 0 || left < wait {
			wait = left
		}
		return 0, wait, nil
	}
	if first.bytes == nil {
		return 0, 0, io.EOF
	}
	got = copy(b, first.bytes)
	if first.bytes = first.bytes[got:]; len(first.bytes) == 0 {
		c.queue = c.queue[1:]
	}
	return got, 0, nil
}

func (c *conn) Write(b []byte) (int, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if c.other.closed {
		return 0, syscall.EPIPE
	}
	if len(b) > 0 {
		c.other.queue = append(c.other.queue, segment{time.Now().Add(latency), append([]byte(nil), b...)})
		c.other.wake()
	}
	return len(b), nil
}

func (c *conn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.other.queue = append(c.other.queue, segment{at: time.Now().Add(latency)})
	c.wake()
	c.other.wake()
	delete(c.net.conns, c)
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return name(c.path.to) }
func (c *conn) RemoteAddr() net.Addr { return name(c.path.from) }

type name string

func (name) Network() string  { return "peertest" }
func (n name) String() string { return string(n) }

func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *conn) SetReadDeadline(t time.Time) error {
	c.net.mu.Lock()
	c.read = t
	c.wake()
	c.net.mu.Unlock()
	return nil
}

func (c *conn) SetWriteDeadline(time.Time) error { return nil }
