package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"

	"github.com/holdfast-ha/holdfast/vmm"
)

// keepIdle is how many connections wait for the next calls.
const keepIdle = 4

var errClosed = errors.New("the driver is closed")

// pool lends connections to calls, one each.
type pool struct {
	sockets []string
	uri     rpc.ConnectURI
	running sync.WaitGroup // users of a connection, from get on, and goroutines that dial

	mu     sync.Mutex // guards everything below; never held while waiting
	idle   []*conn    // the one used last is at the end
	open   map[*conn]bool
	closed bool
}

// conn is one connection to the daemon.
type conn struct {
	rpc    *rpc.Libvirt
	socket *watchedSocket
}

// watchedSocket tells when the connection is over. The library's own Disconnected
// channel does not always close when the daemon goes away while connecting.
type watchedSocket struct {
	net.Conn
	once sync.Once
	over chan struct{}
}

func (w *watchedSocket) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil {
		w.once.Do(func() { close(w.over) })
	}
	return n, err
}

func (w *watchedSocket) Close() error {
	w.once.Do(func() { close(w.over) })
	return w.Conn.Close()
}

func newPool(sockets []string, uri rpc.ConnectURI) *pool {
	return &pool{sockets: sockets, uri: uri, open: make(map[*conn]bool)}
}

// get returns a connection that nobody else uses until put or discard. Whoever
// got one calls running.Done when it has no use for it any more. An error wraps
// vmm.ErrUnavailable.
func (p *pool) get(ctx context.Context) (*conn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, fmt.Errorf("%w: %w", vmm.ErrUnavailable, errClosed)
	}
	p.running.Add(1)
	p.mu.Unlock()
	c, err := p.find(ctx)
	if err != nil {
		p.running.Done()
		return nil, fmt.Errorf("%w: %w", vmm.ErrUnavailable, err)
	}
	return c, nil
}

// find takes an idle connection that still stands, or dials.
func (p *pool) find(ctx context.Context) (*conn, error) {
	for ctx.Err() == nil {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return p.dial(ctx)
		}
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		select {
		case <-c.socket.over: // the daemon has gone, and perhaps come back
			p.discard(c)
		default:
			return c, nil
		}
	}
	return nil, ctx.Err()
}

// put gives a connection back that is in order.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < keepIdle
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		p.discard(c)
	}
}

// discard closes a connection; whoever waits for an answer on it gets an error.
func (p *pool) discard(c *conn) {
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
	_ = c.socket.Close() // nothing is left to be said on it
}

// close closes every connection and waits until nobody waits for an answer.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.idle = nil
	var open []*conn
	for c := range p.open {
		open = append(open, c)
	}
	p.mu.Unlock()
	for _, c := range open {
		p.discard(c)
	}
	p.running.Wait()
}

// dial makes a connection and opens the driver on it.
func (p *pool) dial(ctx context.Context) (*conn, error) {
	raw, err := p.dialSocket(ctx)
	if err != nil {
		return nil, err
	}
	ws := &watchedSocket{Conn: raw, over: make(chan struct{})}
	c := &conn{rpc: rpc.NewWithDialer(dialers.NewAlreadyConnected(ws)), socket: ws}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		_ = ws.Close()
		return nil, errClosed
	}
	p.open[c] = true
	p.running.Add(1)
	p.mu.Unlock()

	opened := make(chan error, 1)
	go func() {
		defer p.running.Done()
		err := c.rpc.ConnectToURI(p.uri)
		if err == nil {
			// One exchange after the library has set itself up, so that its own
			// goroutines see what ConnectToURI wrote.
			_, err = c.rpc.ConnectGetLibVersion()
		}
		opened <- err
	}()
	select {
	case err = <-opened:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		p.discard(c)
		return nil, fmt.Errorf("connect to %s: %w", p.uri, err)
	}
	return c, nil
}

// dialSocket connects to the first socket that somebody listens on.
func (p *pool) dialSocket(ctx context.Context) (net.Conn, error) {
	var first error
	for _, path := range p.sockets {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}
