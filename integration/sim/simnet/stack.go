package simnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// Stack is the sockets of one process on one host: what an agent is given to
// listen and dial with. It ends with the process (Kill) or with the host
// (Network.PowerOff), and is not used again after that.
type Stack struct {
	n    *Network
	host string
	// frozen and dead are guarded by n.mu.
	frozen, dead bool
}

// PowerOn switches a host's kernel on. From now on a connection to a port where
// nobody listens is refused, and one left over from before is reset when
// something is sent on it.
func (n *Network) PowerOn(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil || h.on {
		return
	}
	n.expire()
	h.on = true
	for c := range n.conns {
		if c.remote.host == name && c.orphan && c.out.pending() {
			c.scheduleReset(time.Now().Add(synRetry))
		}
	}
	n.wakeAll()
}

// PowerOff switches a host off as if its plug was pulled: nobody is told. Its
// peers' connections stay open and silent.
func (n *Network) PowerOff(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil || !h.on {
		return
	}
	h.on, h.off = false, time.Now()
	if h.stack != nil {
		h.stack.dead = true
		h.stack = nil
	}
	for c := range n.conns {
		switch name {
		case c.local.host:
			c.abort(net.ErrClosed)
		case c.remote.host:
			c.in.drop()
			c.in.fin, c.in.rst = time.Time{}, false
			c.orphan = true
		}
	}
	h.closeListeners() // after their connections ended, so that nobody is told
	n.wakeAll()
}

// Process returns the sockets of a new process on a host that is on. The
// earlier process of the host, if any, is killed.
func (n *Network) Process(name string) (*Stack, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil || !h.on {
		return nil, fmt.Errorf("host %s is off", name)
	}
	if h.stack != nil {
		n.kill(h)
	}
	h.stack = &Stack{n: n, host: name}
	return h.stack, nil
}

// Kill ends the process: the kernel closes its sockets, so peers read the end
// of each connection, or a reset where bytes were left unread.
func (s *Stack) Kill() {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if h := s.n.hosts[s.host]; h.stack == s {
		s.n.kill(h)
	}
}

func (n *Network) kill(h *host) {
	frozen := h.stack.frozen
	h.stack.dead, h.stack = true, nil
	h.closeListeners()
	for c := range n.conns {
		if c.local.host == h.name {
			if frozen {
				c.out.dropLate()
			}
			c.hangUp(syscall.ECONNRESET)
		}
	}
	n.wakeAll()
}

// Freeze stops the process: none of its reads, accepts and dials returns until
// Thaw, and what it writes leaves only then. Its kernel goes on: peers can still
// connect and send.
func (s *Stack) Freeze() { s.setFrozen(true) }

// Thaw undoes Freeze.
func (s *Stack) Thaw() { s.setFrozen(false) }

func (s *Stack) setFrozen(on bool) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.frozen = on
	s.n.wakeAll()
}

func (h *host) closeListeners() {
	for at, l := range h.listeners {
		l.close()
		delete(h.listeners, at)
	}
}

// local names one end of a connection.
type end struct {
	host string
	addr netip.AddrPort
}

// Listen implements the agent's network: addr is "IP:port" with one of the
// host's own addresses. network is only for people.
func (s *Stack) Listen(_, addr string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	fail := func(err error) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: net.TCPAddrFromAddrPort(at), Err: err}
	}
	h := s.n.hosts[s.host]
	switch {
	case s.n.closed || s.dead:
		return fail(net.ErrClosed)
	case s.n.byAddr[at.Addr()].host != s.host:
		return fail(os.NewSyscallError("bind", syscall.EADDRNOTAVAIL))
	case h.listeners[at] != nil:
		return fail(os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	l := &listener{s: s, at: at, done: make(chan struct{}), changed: make(chan struct{})}
	h.listeners[at] = l
	close(s.n.changed)
	s.n.changed = make(chan struct{})
	return l, nil
}

// Dial implements the agent's network. Into a cut, or to a host that is off, it
// waits until ctx ends or the way is free; where nobody listens it is refused.
func (s *Stack) Dial(ctx context.Context, _, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	n := s.n
	n.mu.Lock()
	dst := n.byAddr[to.Addr()]
	l := link{dst.network, s.host, dst.host}
	r := n.source(l)
	n.mu.Unlock()
	if dst.host == "" {
		return fail(os.NewSyscallError("connect", syscall.ENETUNREACH))
	}
	blocked := false // an earlier SYN was lost: the next goes out only after a while
	for {
		n.mu.Lock()
		if n.closed || s.dead {
			n.mu.Unlock()
			return fail(net.ErrClosed)
		}
		changed := n.changed
		free := !s.frozen && n.up(dst.host) && !n.cut(l) && !n.cut(link{l.network, l.to, l.from})
		if dst.host == s.host {
			free = !s.frozen
		}
		rtt := n.travel(s.host, dst.host, r) + n.travel(dst.host, s.host, r)
		if blocked {
			rtt += time.Duration(r.Int64N(int64(synRetry)))
		}
		n.mu.Unlock()
		if !free {
			blocked = true
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return fail(ctxError(ctx))
			}
		}
		t := time.NewTimer(rtt)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fail(ctxError(ctx))
		}
		c, again, err := s.connect(l, to, r)
		if again {
			blocked = true
			continue
		}
		if err != nil {
			return fail(err)
		}
		return c, nil
	}
}

func ctxError(ctx context.Context) error {
	if ctx.Err() == context.DeadlineExceeded {
		return os.ErrDeadlineExceeded
	}
	return ctx.Err()
}

// connect completes a connection whose SYN and answer have travelled. again
// means that the way was cut meanwhile.
func (s *Stack) connect(l link, to netip.AddrPort, r randSource) (_ net.Conn, again bool, _ error) {
	n := s.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || s.dead {
		return nil, false, net.ErrClosed
	}
	if s.frozen || l.from != l.to && (!n.up(l.to) || n.cut(l) || n.cut(link{l.network, l.to, l.from})) {
		return nil, true, nil
	}
	ln := n.hosts[l.to].listeners[to]
	if ln == nil {
		return nil, false, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	port := uint16(32768 + n.dials[l]%28000)
	here := end{s.host, netip.AddrPortFrom(n.ip(s.host, l.network), port)}
	there := end{l.to, to}
	ours, theirs := pair(n, s, ln.s, l.network, here, there, r)
	n.conns[ours], n.conns[theirs] = struct{}{}, struct{}{}
	ln.push(theirs)
	return ours, false, nil
}

// listener is a listening socket; its backlog has no end.
type listener struct {
	s  *Stack
	at netip.AddrPort
	// backlog, ended and changed are guarded by s.n.mu.
	backlog []*conn
	ended   bool
	done    chan struct{}
	changed chan struct{}
}

func (l *listener) push(c *conn) {
	l.backlog = append(l.backlog, c)
	close(l.changed)
	l.changed = make(chan struct{})
}

// close ends the listener; callers hold n.mu. Connections nobody accepted are reset.
func (l *listener) close() {
	if l.ended {
		return
	}
	l.ended = true
	close(l.done)
	for _, c := range l.backlog {
		c.hangUp(net.ErrClosed)
	}
	l.backlog = nil
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		l.s.n.mu.Lock()
		if l.ended {
			l.s.n.mu.Unlock()
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
		}
		world, mine := l.s.n.changed, l.changed
		if len(l.backlog) > 0 && !l.s.frozen {
			c := l.backlog[0]
			l.backlog = l.backlog[1:]
			l.s.n.mu.Unlock()
			return c, nil
		}
		l.s.n.mu.Unlock()
		select {
		case <-world:
		case <-mine:
		case <-l.done:
		}
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.s.n.mu.Lock()
	defer l.s.n.mu.Unlock()
	if h := l.s.n.hosts[l.s.host]; h.listeners[l.at] == l {
		delete(h.listeners, l.at)
	}
	l.close()
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }
