package simnet

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
)

var (
	errNetworkClosed = errors.New("the simulated network is closed")
	errTimedOut      = os.NewSyscallError("read", syscall.ETIMEDOUT)
)

type randSource = *rand.Rand

// segment is one write on its way.
type segment struct {
	at time.Time // when it arrives, if nothing is cut by then
	b  []byte
	// late: its sender was frozen when it wrote, so it leaves at the thaw.
	late bool
}

// pipe is one direction of a connection: bytes sent and not yet read.
type pipe struct {
	r    *rand.Rand
	q    []segment
	last time.Time // of the newest segment: a stream stays in order
	// fin is when the sender's end of stream arrives; zero while it has not hung up.
	fin time.Time
	// rst says that fin is a reset: nothing sent before it is read any more.
	rst bool
	// finLate says of fin what late says of a segment.
	finLate bool
	// answer says that the reset answers bytes from the other end: they too have to get through.
	answer bool
}

func (p *pipe) pending() bool { return len(p.q) > 0 }
func (p *pipe) drop()         { p.q = nil }

// dropLate takes back what a frozen process would have written.
func (p *pipe) dropLate() {
	p.q = slices.DeleteFunc(p.q, func(s segment) bool { return s.late })
}

// conn is one end of a connection. All its fields but the constant ones are
// guarded by n.mu.
type conn struct {
	n             *Network
	s             *Stack
	network       string
	local, remote end
	peer          *conn
	in, out       *pipe
	// orphan: the other host lost its memory of this connection.
	orphan bool
	// err is what every later call returns once this end is closed or reset.
	err                         error
	readDeadline, writeDeadline time.Time
	changed                     chan struct{}
}

// pair makes both ends of a connection. Callers hold n.mu.
func pair(n *Network, from, to *Stack, network string, here, there end, r *rand.Rand) (ours, theirs *conn) {
	ab := &pipe{r: rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))}
	ba := &pipe{r: rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))}
	ours = &conn{n: n, s: from, network: network, local: here, remote: there, in: ba, out: ab, changed: make(chan struct{})}
	theirs = &conn{n: n, s: to, network: network, local: there, remote: here, in: ab, out: ba, changed: make(chan struct{})}
	ours.peer, theirs.peer = theirs, ours
	return ours, theirs
}

// wake lets whoever waits on this end look again. Callers hold n.mu.
func (c *conn) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// abort ends this end at once and tells nobody. Callers hold n.mu.
func (c *conn) abort(err error) {
	if c.err == nil {
		c.err = err
	}
	c.in.drop()
	delete(c.n.conns, c)
	c.wake()
}

// hangUp closes this end as a kernel does: the other one reads the end of the
// stream once it has read the bytes before it, or a reset when bytes were left
// unread here. Callers hold n.mu.
func (c *conn) hangUp(err error) {
	if c.err != nil {
		return
	}
	unread := c.in.pending()
	c.abort(err)
	if c.orphan {
		return
	}
	at := time.Now().Add(c.n.travel(c.local.host, c.remote.host, c.out.r))
	if at.Before(c.out.last) {
		at = c.out.last
	}
	c.out.fin, c.out.rst, c.out.finLate = at, unread, c.s.frozen && !c.s.dead
	c.peer.wake()
}

// scheduleReset has the other host's kernel answer what this end sent with a
// reset: it knows nothing of the connection. Callers hold n.mu.
func (c *conn) scheduleReset(at time.Time) {
	if c.in.fin.IsZero() || !c.in.rst {
		c.in.fin, c.in.rst, c.in.answer = at, true, true
		c.wake()
	}
}

// held reports whether what is to be read here is held by a cut. Callers hold n.mu.
func (c *conn) held() bool {
	if c.remote.host == c.local.host {
		return false
	}
	return c.n.cut(link{c.network, c.remote.host, c.local.host}) ||
		c.in.answer && c.n.cut(link{c.network, c.local.host, c.remote.host})
}

// givenUp is when the kernel gives the connection up, if its path stays as
// broken as it is now. Callers hold n.mu.
func (c *conn) givenUp() (at time.Time, broken bool) {
	if c.n.dead == 0 || c.remote.host == c.local.host {
		return at, false
	}
	since := func(t time.Time) {
		if !broken || t.Before(at) {
			at, broken = t, true
		}
	}
	if t, cut := c.n.cuts[link{c.network, c.remote.host, c.local.host}]; cut {
		since(t)
	}
	if t, cut := c.n.cuts[link{c.network, c.local.host, c.remote.host}]; cut {
		since(t)
	}
	if h := c.n.hosts[c.remote.host]; !h.on {
		since(h.off)
	}
	return at.Add(c.n.dead), broken
}

// poll is one look at what there is to read. It returns done, or how long to
// wait at most (negative: until something changes). Callers hold n.mu.
func (c *conn) poll(b []byte) (got int, done bool, wait time.Duration, err error) {
	now := time.Now()
	wait = -1
	until := func(t time.Time) {
		if d := t.Sub(now); wait < 0 || d < wait {
			wait = d
		}
	}
	if c.err != nil {
		return 0, true, 0, c.err
	}
	if c.s.frozen {
		return 0, false, -1, nil
	}
	if !c.readDeadline.IsZero() {
		if !now.Before(c.readDeadline) {
			return 0, true, 0, os.ErrDeadlineExceeded
		}
		until(c.readDeadline)
	}
	if at, broken := c.givenUp(); broken {
		if !now.Before(at) {
			c.abort(errTimedOut)
			return 0, true, 0, c.err
		}
		until(at)
	}
	if c.held() {
		return 0, false, wait, nil
	}
	in := c.in
	asleep := c.peer.s.frozen && !c.peer.s.dead
	ended := !in.fin.IsZero() && !now.Before(in.fin) && !(in.finLate && asleep)
	if in.pending() && in.q[0].late && asleep {
		return 0, false, wait, nil
	}
	switch {
	case ended && in.rst:
		c.abort(os.NewSyscallError("read", syscall.ECONNRESET))
		return 0, true, 0, c.err
	case len(b) == 0:
		return 0, true, 0, nil
	case in.pending() && !now.Before(in.q[0].at):
		got = copy(b, in.q[0].b)
		if in.q[0].b = in.q[0].b[got:]; len(in.q[0].b) == 0 {
			in.q = in.q[1:]
		}
		return got, true, 0, nil
	case ended && !in.pending():
		return 0, true, 0, io.EOF
	}
	if in.pending() {
		until(in.q[0].at)
	}
	if in.fin.After(now) && !(in.finLate && asleep) {
		until(in.fin)
	}
	return 0, false, wait, nil
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	for {
		c.n.mu.Lock()
		got, done, wait, err := c.poll(b)
		changed := c.changed
		c.n.mu.Unlock()
		switch {
		case done && err != nil && !errors.Is(err, io.EOF):
			return 0, c.wrap("read", err)
		case done:
			return got, err
		case wait < 0:
			<-changed
		default:
			t := time.NewTimer(wait)
			select {
			case <-changed:
			case <-t.C:
			}
			t.Stop()
		}
	}
}

// Write implements net.Conn. It never waits: what a frozen process writes leaves
// at its thaw. (Callers write under locks, and whoever waits for a lock stops the
// bubble's clock.)
func (c *conn) Write(b []byte) (int, error) {
	c.n.mu.Lock()
	n, err := c.send(b)
	c.n.mu.Unlock()
	if err != nil {
		return 0, c.wrap("write", err)
	}
	return n, nil
}

// send queues one segment. Callers hold n.mu.
func (c *conn) send(b []byte) (int, error) {
	now := time.Now()
	if at, broken := c.givenUp(); c.err == nil && broken && !now.Before(at) {
		c.abort(errTimedOut)
	}
	switch {
	case c.err != nil:
		return 0, c.err
	case !c.writeDeadline.IsZero() && !now.Before(c.writeDeadline):
		return 0, os.ErrDeadlineExceeded
	case !c.in.fin.IsZero() && c.in.rst && !now.Before(c.in.fin) && !c.held():
		c.abort(os.NewSyscallError("write", syscall.ECONNRESET))
		return 0, c.err
	}
	at := now.Add(c.n.travel(c.local.host, c.remote.host, c.out.r))
	if at.Before(c.out.last) {
		at = c.out.last
	}
	c.out.last = at
	if c.orphan {
		// The other host's kernel has no such connection: when it is on it says so.
		if c.n.up(c.remote.host) {
			c.scheduleReset(at.Add(defaultLatency))
			return len(b), nil
		}
		c.out.q = []segment{{at: at}}
		return len(b), nil
	}
	if c.peer.err != nil {
		// The other process has closed: its kernel answers with a reset.
		c.scheduleReset(at.Add(defaultLatency))
		return len(b), nil //nolint:nilerr // TCP takes what is written; that nobody has it is heard later
	}
	c.out.q = append(c.out.q, segment{at, append([]byte(nil), b...), c.s.frozen})
	c.peer.wake()
	return len(b), nil
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.err != nil {
		return nil
	}
	c.hangUp(net.ErrClosed)
	return nil
}

// CloseWrite ends the outgoing stream only, as TCP can.
func (c *conn) CloseWrite() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.err != nil || c.orphan || !c.out.fin.IsZero() {
		return c.err
	}
	at := time.Now().Add(c.n.travel(c.local.host, c.remote.host, c.out.r))
	if at.Before(c.out.last) {
		at = c.out.last
	}
	c.out.fin, c.out.finLate = at, c.s.frozen
	c.peer.wake()
	return nil
}

func (c *conn) wrap(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local.addr) }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote.addr) }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, true, true) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, true, false) }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, false, true) }

func (c *conn) setDeadlines(t time.Time, read, write bool) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.err != nil {
		return c.wrap("set", c.err)
	}
	if read {
		c.readDeadline = t
	}
	if write {
		c.writeDeadline = t
	}
	c.wake()
	return nil
}
