package peer_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/peer/peertest"
)

func TestRealSockets(t *testing.T) {
	cluster := peertest.NewCluster(t, "c1")
	real := peer.OS{Local: map[string]netip.Addr{"a": netip.MustParseAddr("127.0.0.2"), "b": netip.MustParseAddr("127.0.0.3")}, Dead: 4 * time.Second}
	config := peer.ServerConfig{Network: real, Identity: cluster.Identity(t, "h1"), Logger: hclog.NewNullLogger(), Allow: func(string, string) bool { return true },
		Listen: []peer.Address{{Network: "a", Addr: "127.0.0.2:0"}, {Network: "b", Addr: "127.0.0.3:0"}},
		Raft:   func(c net.Conn, _ peer.Peer) { _ = c.Close() },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.RemoteAddr)
		})}
	s, err := peer.Listen(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	book := &peer.Book{}
	book.Update(map[string][]peer.Address{"h1": s.Addresses()})
	d := &peer.Dialer{Network: real, Book: book, Identity: cluster.Identity(t, "h2")}
	for network, local := range real.Local {
		tr := d.Transport(network)
		resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get("https://h1/")
		if err != nil {
			t.Fatalf("over %s: %v", network, err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.HasPrefix(string(body), local.String()+":") {
			t.Errorf("over %s: the call came from %s (%v), want %s", network, body, err, local)
		}
		tr.CloseIdleConnections()
	}

	// The same port again.
	config.Listen = s.Addresses()
	if _, err := peer.Listen(config); err == nil || !strings.Contains(err.Error(), "the port is taken") || !strings.Contains(err.Error(), "ss -ltnp") {
		t.Errorf("listening twice: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestDeadPathOptions(t *testing.T) {
	real := peer.OS{Local: map[string]netip.Addr{"a": netip.MustParseAddr("127.0.0.1")}, Dead: 4 * time.Second}
	l, err := real.Listen("a", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ours, err := real.Dial(t.Context(), "a", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ours.Close() }()
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Close() }()
	for what, c := range map[string]net.Conn{"called": ours, "accepted": theirs} {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			for _, o := range []struct {
				name         string
				option, want int
			}{{"TCP_USER_TIMEOUT", unix.TCP_USER_TIMEOUT, 4000}, {"TCP_KEEPINTVL", unix.TCP_KEEPINTVL, 2}, {"TCP_KEEPCNT", unix.TCP_KEEPCNT, 2}} {
				if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, o.option); err != nil || got != o.want {
					t.Errorf("%s connection: %s is %d (%v), want %d", what, o.name, got, err, o.want)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := real.Dial(t.Context(), "b", l.Addr().String()); err == nil || !strings.Contains(err.Error(), "not on network b") {
		t.Errorf("a network that this host is not on: %v", err)
	}
	// An address that this host does not have (yet): documentation range.
	early, err := real.Listen("a", "192.0.2.7:0")
	if err != nil {
		t.Errorf("listening before the network is up: %v", err)
	} else {
		_ = early.Close()
	}
}
