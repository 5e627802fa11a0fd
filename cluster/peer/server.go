package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/identity"
)

const (
	// handshakeTime bounds a TLS handshake on the cluster port.
	handshakeTime = 5 * time.Second
	// handshakesPerAddress and handshakesAtOnce bound the handshakes under way,
	// so that a flood of slow ones costs neither memory nor the calls of others.
	handshakesPerAddress = 32
	handshakesAtOnce     = 512
)

// Peer is the host at the other end of a connection, proven by its certificate.
type Peer struct {
	Name      string
	MachineID string
	Network   string // HA network that the connection came in on
}

// ServerConfig is what a Server needs; every field but Tunnel and HandshakeTime is required.
type ServerConfig struct {
	Network  Network
	Listen   []Address // this host's own address on every HA network
	Identity *identity.Identity
	// Allow says whether a host with a good certificate is still one of the
	// cluster. It is asked for each raft connection and tunnel, must not block, and may be
	// called at any time.
	Allow func(name, machineID string) bool
	// Raft takes over a raft connection, and closes it when done. It may take some seconds:
	// it is called for each on a goroutine of its own, which Run waits for.
	Raft func(net.Conn, Peer)
	// Tunnel carries what comes over a tunnel until it or ctx ends; the connection is closed
	// when it returns, and Run waits for it. nil: tunnels are refused.
	Tunnel func(ctx context.Context, c net.Conn, from Peer)
	// Handler serves HTTP; From tells who asks.
	Handler http.Handler
	Logger  hclog.Logger
	// HandshakeTime bounds a TLS handshake; 5 s when 0.
	HandshakeTime time.Duration
}

// Server is the cluster port on every HA network of this host.
type Server struct {
	config    ServerConfig
	tls       *tls.Config
	listeners []*listener
	http      *httpConns

	mu        sync.Mutex
	pending   map[string]int           // handshakes under way by remote address
	waiting   int                      // all of them
	handed    map[*handedConn]struct{} // raft's connections and tunnels
	opening   map[net.Conn]struct{}    // connections in handshake
	closed    bool
	handlings sync.WaitGroup // one for each connection in handshake and each tunnel
}

type listener struct {
	net.Listener
	address Address
}

// Listen binds the port on every address and returns a server that Run serves
// with. An address that cannot be had is an error that says which and why; then
// none is bound.
func Listen(c ServerConfig) (*Server, error) {
	if len(c.Listen) == 0 {
		return nil, errors.New("no address to listen on: name at least one HA network")
	}
	if c.HandshakeTime <= 0 {
		c.HandshakeTime = handshakeTime
	}
	protocols := []string{protoRaft, protoHTTP}
	if c.Tunnel != nil {
		protocols = append(protocols, protoTunnel)
	}
	s := &Server{config: c, tls: c.Identity.ServerTLS(protocols...), http: newHTTPConns(),
		pending: map[string]int{}, handed: map[*handedConn]struct{}{}, opening: map[net.Conn]struct{}{}}
	for _, a := range c.Listen {
		l, err := c.Network.Listen(a.Network, a.Addr)
		if err != nil {
			s.closeListeners()
			return nil, listenError(a, err)
		}
		s.listeners = append(s.listeners, &listener{l, a})
	}
	return s, nil
}

func listenError(a Address, err error) error {
	_, port, _ := net.SplitHostPort(a.Addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s (network %s): the port is taken by another program, perhaps another haagent; see which with: ss -ltnp sport = :%s, or set another port: %w", a.Addr, a.Network, port, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen on %s (network %s): this host does not have that address; see: ip address: %w", a.Addr, a.Network, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen on %s (network %s): ports below 1024 need the right to bind them; set another port: %w", a.Addr, a.Network, err)
	default:
		return fmt.Errorf("listen on %s (network %s): %w", a.Addr, a.Network, err)
	}
}

// Addresses is where the server listens, with the ports it was given where the
// configuration left them open.
func (s *Server) Addresses() []Address {
	out := make([]Address, len(s.listeners))
	for i, l := range s.listeners {
		out[i] = Address{Network: l.address.Network, Addr: l.Addr().String()}
	}
	return out
}

// Run serves until ctx ends, then closes every connection, raft's too and tunnels, and
// waits for its own goroutines. HTTP handlers see their request's context end
// and are waited for. It must be called once.
func (s *Server) Run(ctx context.Context) error {
	httpServer := &http.Server{
		Handler:           s.config.Handler,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          s.config.Logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       s.withPeer,
	}
	var handlers sync.WaitGroup
	inner := httpServer.Handler
	httpServer.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		inner.ServeHTTP(w, r)
	})
	var loops sync.WaitGroup
	failed := make(chan error, 1)
	loops.Go(func() {
		if err := httpServer.Serve(s.http); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			failed <- err
		}
	})
	for _, l := range s.listeners {
		loops.Go(func() { s.accept(ctx, l) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.close()
	_ = httpServer.Close()
	loops.Wait()
	s.handlings.Wait()
	handlers.Wait()
	return err
}

// accept takes connections on one address. An error of accept itself (no file
// descriptors left, a connection gone before it was taken) is not the end: it
// waits a moment and goes on.
func (s *Server) accept(ctx context.Context, l *listener) {
	const first, most = 5 * time.Millisecond, time.Second
	delay := first
	for {
		raw, err := l.Accept()
		if err == nil {
			delay = first
			s.admit(ctx, raw, l.address.Network)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		s.config.Logger.Warn("cannot accept a connection", "address", l.address.Addr, "error", err, "again_in", delay)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, most)
	}
}

// admit begins the handshake of a connection on its own goroutine. When too many
// are under way it closes this one, if they come from one address, else another.
func (s *Server) admit(ctx context.Context, raw net.Conn, network string) {
	from := raw.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(from); err == nil {
		from = host
	}
	s.mu.Lock()
	if s.closed || s.pending[from] >= handshakesPerAddress {
		closed := s.closed
		s.mu.Unlock()
		_ = raw.Close()
		if !closed {
			s.config.Logger.Warn("too many connections in handshake from one address, one is refused", "from", from)
		}
		return
	}
	var given net.Conn
	if s.waiting >= handshakesAtOnce {
		// Any one makes room. A good handshake is under way for so short a time
		// that a flood of slow ones hardly ever hits it.
		for given = range s.opening {
			break
		}
		delete(s.opening, given)
	}
	s.waiting++
	s.pending[from]++
	s.opening[raw] = struct{}{}
	s.handlings.Add(1)
	s.mu.Unlock()
	if given != nil {
		_ = given.Close()
		s.config.Logger.Warn("too many connections in handshake, one is given up", "from", given.RemoteAddr().String())
	}
	go func() {
		defer s.handlings.Done()
		conn, who, err := s.handshake(ctx, &taggedConn{raw, network})
		s.mu.Lock()
		s.waiting--
		if s.pending[from]--; s.pending[from] == 0 {
			delete(s.pending, from)
		}
		delete(s.opening, raw)
		s.mu.Unlock()
		if err != nil {
			_ = raw.Close()
			s.config.Logger.Debug("connection refused", "from", from, "network", network, "error", err)
			return
		}
		s.handOn(ctx, conn, who)
	}()
}

// handshake finds out who calls. The name is empty for a caller without a certificate.
func (s *Server) handshake(ctx context.Context, raw *taggedConn) (*tls.Conn, identity.Name, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.HandshakeTime)
	defer cancel()
	conn := tls.Server(raw, s.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, identity.Name{}, err
	}
	if len(conn.ConnectionState().PeerCertificates) == 0 {
		return conn, identity.Name{}, nil
	}
	who, err := s.config.Identity.Verified(conn.ConnectionState())
	return conn, who, err
}

// handOn gives the connection to raft or to the HTTP server, or serves the tunnel.
func (s *Server) handOn(ctx context.Context, conn *tls.Conn, who identity.Name) {
	protocol := conn.ConnectionState().NegotiatedProtocol
	if protocol != protoRaft && protocol != protoTunnel {
		s.http.give(conn)
		return
	}
	p := Peer{Name: who.Host, MachineID: who.Machine, Network: networkOf(conn)}
	hc := &handedConn{Conn: conn, server: s, peer: p}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.handed[hc] = struct{}{}
	}
	s.mu.Unlock()
	// Asked after the connection is listed, so that Recheck cannot miss it.
	if closed || who.Role != identity.RoleHost || !s.config.Allow(p.Name, p.MachineID) {
		_ = hc.Close()
		if !closed {
			s.config.Logger.Warn("connection refused: the caller is not a host of this cluster (any more)", "protocol", protocol, "from", conn.RemoteAddr().String(), "host", who.Host, "machine", who.Machine)
		}
		return
	}
	if protocol == protoTunnel {
		s.config.Tunnel(ctx, hc, p)
		_ = hc.Close()
		return
	}
	s.config.Raft(hc, p)
}

// Recheck asks Allow again for every open raft connection and tunnel and closes
// those of hosts that are no longer allowed. Call it after a host was removed.
func (s *Server) Recheck() {
	s.mu.Lock()
	open := make([]*handedConn, 0, len(s.handed))
	for c := range s.handed {
		open = append(open, c)
	}
	s.mu.Unlock()
	for _, c := range open {
		if !s.config.Allow(c.peer.Name, c.peer.MachineID) {
			_ = c.Close()
		}
	}
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
}

func (s *Server) close() {
	s.closeListeners()
	s.mu.Lock()
	s.closed = true
	var open []net.Conn
	for c := range s.handed {
		open = append(open, c)
	}
	for c := range s.opening {
		open = append(open, c)
	}
	s.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
	_ = s.http.Close()
}

// handedConn leaves the server's list when whoever has it closes it.
type handedConn struct {
	net.Conn
	server *Server
	peer   Peer
}

func (c *handedConn) Close() error {
	c.server.mu.Lock()
	delete(c.server.handed, c)
	c.server.mu.Unlock()
	return c.Conn.Close()
}
