package peer_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/peer/peertest"
)

func TestTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, cluster, book := peertest.New(), peertest.NewCluster(t, "c1"), &peer.Book{}
		book.Update(map[string][]peer.Address{"h2": addresses(2), "h3": addresses(3)})
		var banned atomic.Bool
		var served atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		serve := func(name string, listen []peer.Address, tunnel func(context.Context, net.Conn, peer.Peer)) *peer.Server {
			s, err := peer.Listen(peer.ServerConfig{Network: network.Host(name), Listen: listen, Identity: cluster.Identity(t, name), Handler: http.NotFoundHandler(), Logger: hclog.NewNullLogger(),
				Allow: func(string, string) bool { return !banned.Load() }, Tunnel: tunnel})
			if err != nil {
				t.Fatal(err)
			}
			go func() { ended <- s.Run(ctx) }()
			return s
		}
		s := serve("h2", addresses(2), func(_ context.Context, c net.Conn, from peer.Peer) {
			served.Add(1)
			if from.Name != "h1" || from.MachineID != "machine-h1" {
				t.Errorf("the tunnel comes from %+v", from)
			}
			_, _ = io.Copy(c, c) // until the connection ends
		})
		serve("h3", addresses(3), nil)
		dialer := func(c *peertest.Cluster) *peer.Dialer {
			return &peer.Dialer{Network: network.Host("h1"), Book: book, Identity: c.Identity(t, "h1")}
		}

		if c, err := dialer(cluster).DialTunnel(t.Context(), "h3"); err == nil {
			t.Error("a host without tunnels let one in")
			_ = c.Close()
		}
		if c, err := dialer(peertest.NewCluster(t, "c1")).DialTunnel(t.Context(), "h2"); err == nil {
			t.Error("a host of another authority was let in")
			_ = c.Close()
		}
		open := func() net.Conn {
			c, err := dialer(cluster).DialTunnel(t.Context(), "h2")
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		removed, last := open(), open()
		for _, c := range []net.Conn{removed, last} {
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		_ = last.Close()
		s.Recheck()
		if _, err := removed.Write([]byte("x")); err != nil {
			t.Errorf("a member's tunnel after Recheck: %v", err)
		}
		banned.Store(true)
		s.Recheck()
		if _, err := io.Copy(io.Discard, removed); err != nil {
			t.Errorf("the tunnel of a removed host after Recheck: %v, want its end", err)
		}
		_ = removed.Close()
		refused := open()
		if _, err := io.ReadFull(refused, make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a new tunnel of a removed host: %v, want its end", err)
		}
		_ = refused.Close()
		if n := served.Load(); n != 2 {
			t.Errorf("%d tunnels were served, want 2", n)
		}
		banned.Store(false)
		open() // and its other end is Run's to close
		time.Sleep(time.Second)
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	})
}

func TestSplice(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(far net.Conn, cancel context.CancelFunc)
		want error
		at   time.Duration // from the last byte, at most
	}{
		{"one end closes", func(far net.Conn, _ context.CancelFunc) { _ = far.Close() }, nil, 0},
		{"the context ends", func(_ net.Conn, cancel context.CancelFunc) { cancel() }, context.Canceled, 0},
		{"nothing passes", func(net.Conn, context.CancelFunc) {}, peer.ErrIdle, 75 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, a := net.Pipe()
				b, far := net.Pipe()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan error, 1)
				go func() { ended <- peer.Splice(ctx, a, b, time.Minute) }()
				for range 5 { // one word in 45 s is enough
					for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
						go func() { _, _ = pair[0].Write([]byte("word")) }()
						if _, err := io.ReadFull(pair[1], make([]byte, 4)); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(45 * time.Second)
				}
				tt.end(far, cancel)
				began := time.Now()
				if err := <-ended; !errors.Is(err, tt.want) {
					t.Errorf("it ended with %v, want %v", err, tt.want)
				}
				if took := time.Since(began); took > tt.at {
					t.Errorf("it ended after %v, want at most %v", took, tt.at)
				}
				if _, err := near.Write([]byte("x")); err == nil {
					t.Error("the other end is open still")
				}
			})
		})
	}
}
