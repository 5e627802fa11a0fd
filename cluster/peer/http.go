package peer

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"github.com/holdfast-ha/holdfast/cluster/identity"
)

// peerKey is the context key of a Peer.
type peerKey struct{}

// From returns the host that sent a request. ok is false when the caller showed
// no host certificate: only the join route may answer such a request. That the
// host is still wanted in the cluster is for the handler to ask.
func From(ctx context.Context) (p Peer, ok bool) {
	p, ok = ctx.Value(peerKey{}).(Peer)
	return p, ok
}

// withPeer puts the caller's proven name into the context of a connection's requests.
func (s *Server) withPeer(ctx context.Context, c net.Conn) context.Context {
	conn, ok := c.(*tls.Conn)
	if !ok {
		return ctx
	}
	who, err := s.config.Identity.Verified(conn.ConnectionState())
	if err != nil || who.Role != identity.RoleHost {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, Peer{Name: who.Host, MachineID: who.Machine, Network: networkOf(conn)})
}

// taggedConn remembers the HA network that a connection came in on.
type taggedConn struct {
	net.Conn
	network string
}

func networkOf(c *tls.Conn) string {
	if t, ok := c.NetConn().(*taggedConn); ok {
		return t.network
	}
	return ""
}

// httpConns is the listener that the HTTP server sees: connections that have
// completed their handshake, whatever address they came in on.
type httpConns struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHTTPConns() *httpConns {
	return &httpConns{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *httpConns) give(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		_ = c.Close()
	}
}

func (h *httpConns) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *httpConns) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *httpConns) Addr() net.Addr { return anyAddr{} }

// anyAddr stands for all addresses of the server.
type anyAddr struct{}

func (anyAddr) Network() string { return "tcp" }
func (anyAddr) String() string  { return "cluster port" }
