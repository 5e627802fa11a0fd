package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/identity"
)

const (
	// DefaultStagger is how long a call waits for a host's better address before
	// it tries the next one as well.
	DefaultStagger = 50 * time.Millisecond
	// DefaultDialTimeout bounds one call, TLS handshake included.
	DefaultDialTimeout = 5 * time.Second
)

// Dialer calls hosts of the cluster by name. It is safe for concurrent use and
// must not be changed once used.
type Dialer struct {
	Network  Network
	Book     *Book
	Identity *identity.Identity
	Stagger  time.Duration // DefaultStagger when 0
	Timeout  time.Duration // DefaultDialTimeout when 0
}

// DialRaft connects to host's raft over one network, or over whichever of its
// networks answers first when network is empty.
func (d *Dialer) DialRaft(ctx context.Context, host, network string) (net.Conn, error) {
	return d.dial(ctx, host, network, protoRaft)
}

// Machine is the ID of the host at the other end of a connection that DialRaft or
// DialTunnel has opened, by its certificate.
func (d *Dialer) Machine(c net.Conn) (string, error) {
	conn, ok := c.(*tls.Conn)
	if !ok {
		return "", fmt.Errorf("a connection of type %T shows no certificate", c)
	}
	who, err := d.Identity.Verified(conn.ConnectionState())
	return who.Machine, err
}

// DialTunnel opens a tunnel to host over whichever of its networks answers first.
func (d *Dialer) DialTunnel(ctx context.Context, host string) (net.Conn, error) {
	return d.dial(ctx, host, "", protoTunnel)
}

// Transport makes HTTP requests to hosts by name, https://NAME/…, over exactly
// one network, or over whichever answers first when network is empty. It keeps
// connections; the caller calls CloseIdleConnections at the end. A request that
// must not wait for a dead path brings a context that ends.
func (d *Dialer) Transport(network string) *http.Transport {
	return transport(func(ctx context.Context, host string) (net.Conn, error) {
		return d.dial(ctx, host, network, protoHTTP)
	})
}

// JoinTransport makes HTTP requests to whichever member named in the token
// answers first, before this host has an identity; the host of the URL does not
// matter. The other end is proven by the token's CA fingerprint.
func JoinTransport(n Network, token identity.Token) *http.Transport {
	return transport(func(ctx context.Context, _ string) (net.Conn, error) {
		addresses := make([]Address, len(token.Addresses))
		for i, a := range token.Addresses {
			addresses[i] = Address{Addr: a}
		}
		conn, err := race(ctx, n, addresses, DefaultStagger, DefaultDialTimeout, token.JoiningTLS(protoHTTP))
		if err != nil {
			return nil, fmt.Errorf("reach a member of the cluster: %w", err)
		}
		return conn, nil
	})
}

func transport(dial func(ctx context.Context, host string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return dial(ctx, host)
		},
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        90 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
}

func (d *Dialer) dial(ctx context.Context, host, network, proto string) (net.Conn, error) {
	addresses, err := d.Book.Addresses(host, network)
	if err != nil {
		return nil, err
	}
	stagger, timeout := d.Stagger, d.Timeout
	if stagger <= 0 {
		stagger = DefaultStagger
	}
	if timeout <= 0 {
		timeout = DefaultDialTimeout
	}
	conn, err := race(ctx, d.Network, addresses, stagger, timeout, d.Identity.ClientTLS(host, proto))
	if err != nil {
		return nil, fmt.Errorf("reach host %s: %w", host, err)
	}
	return conn, nil
}

// race connects to the addresses, each begun a stagger after the one before or
// as soon as that has failed; the first TLS handshake to succeed wins and the
// others are given up. The error names every address with its reason.
func race(ctx context.Context, n Network, addresses []Address, stagger, timeout time.Duration, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if len(addresses) == 1 {
		return connect(ctx, n, addresses[0], config)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	// Every attempt can deliver without anybody listening, and ends soon after
	// ctx does; the late ones are closed by the loop below.
	results := make(chan result, len(addresses))
	begun, ended := 0, 0
	begin := func() {
		a := addresses[begun]
		begun++
		go func() {
			conn, err := connect(ctx, n, a, config)
			results <- result{conn, err}
		}()
	}
	begin()
	next := time.NewTimer(stagger)
	defer next.Stop()
	var failed []error
	for {
		select {
		case r := <-results:
			ended++
			if r.err == nil {
				cancel()
				go func() {
					for ; ended < begun; ended++ {
						if late := <-results; late.conn != nil {
							_ = late.conn.Close()
						}
					}
				}()
				return r.conn, nil
			}
			failed = append(failed, r.err)
			if begun < len(addresses) && ctx.Err() == nil {
				begin()
				next.Reset(stagger)
			} else if ended == begun {
				return nil, errors.Join(failed...)
			}
		case <-next.C:
			if begun < len(addresses) {
				begin()
				next.Reset(stagger)
			}
		}
	}
}

// connect is one attempt: TCP and TLS handshake within ctx.
func connect(ctx context.Context, n Network, a Address, config *tls.Config) (net.Conn, error) {
	raw, err := n.Dial(ctx, a.Network, a.Addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Addr, err)
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("%s: %w", a.Addr, err)
	}
	if want := config.NextProtos[0]; conn.ConnectionState().NegotiatedProtocol != want {
		_ = conn.Close()
		return nil, fmt.Errorf("%s: the other end does not speak %s", a.Addr, want)
	}
	return conn, nil
}
