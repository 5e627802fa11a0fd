package peer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/identity"
	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/peer/peertest"
)

// world is hosts of one cluster with their cluster ports.
type world struct {
	t       *testing.T
	net     *peertest.Net
	cluster *peertest.Cluster
	book    *peer.Book
	servers map[string]*peer.Server
	stops   []func()

	mu     sync.Mutex
	raft   []peer.Peer // raft connections that were handed on
	conns  []net.Conn
	banned map[string]bool
}

func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: peertest.New(), cluster: peertest.NewCluster(t, "c1"), book: &peer.Book{}, servers: map[string]*peer.Server{}, banned: map[string]bool{}}
		w.book.Update(map[string][]peer.Address{"h1": addresses(1), "h2": addresses(2), "h3": addresses(3)})
		for i := 1; i <= 2; i++ {
			w.serve(fmt.Sprintf("h%d", i), w.cluster, addresses(i))
		}
		defer func() {
			for _, stop := range w.stops {
				stop()
			}
			time.Sleep(2 * peer.DefaultDialTimeout)
			if open := w.net.Open(); open != 0 {
				t.Errorf("%d ends of connections are open after the end", open)
			}
		}()
		f(t, w)
	})
}

func addresses(i int) []peer.Address {
	return []peer.Address{{Network: "mgmt", Addr: fmt.Sprintf("10.0.0.%d:7400", i)}, {Network: "storage", Addr: fmt.Sprintf("10.0.1.%d:7400", i)}}
}

// serve starts the cluster port of a host. Its handler answers who asks.
func (w *world) serve(name string, cluster *peertest.Cluster, listen []peer.Address) {
	w.t.Helper()
	s, err := peer.Listen(peer.ServerConfig{Network: w.net.Host(name), Listen: listen, Identity: cluster.Identity(w.t, name), Logger: hclog.NewNullLogger(),
		Allow: func(name, machine string) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return machine == "machine-"+name && !w.banned[name]
		},
		Raft: func(c net.Conn, p peer.Peer) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.raft, w.conns = append(w.raft, p), append(w.conns, c)
		},
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			p, ok := peer.From(r.Context())
			_, _ = fmt.Fprintf(rw, "%s: %v %s %s %s", name, ok, p.Name, p.MachineID, p.Network)
		}),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.servers[name] = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.stops = append(w.stops, func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run of %s: %v", name, err)
		}
	})
}

func (w *world) dialer(host string, cluster *peertest.Cluster) *peer.Dialer {
	return &peer.Dialer{Network: w.net.Host(host), Book: w.book, Identity: cluster.Identity(w.t, host)}
}

func (w *world) rafts() []peer.Peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]peer.Peer(nil), w.raft...)
}

// get asks for a URL with a transport and returns the answer.
func (w *world) get(tr *http.Transport, url string) (string, error) {
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: tr}).Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func TestHTTPOverEachNetwork(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		d := w.dialer("h1", w.cluster)
		for _, tt := range []struct{ network, want string }{
			{"mgmt", "h2: true h1 machine-h1 mgmt"}, {"storage", "h2: true h1 machine-h1 storage"}, {"", "h2: true h1 machine-h1 mgmt"},
		} {
			if got, err := w.get(d.Transport(tt.network), "https://h2/"); err != nil || got != tt.want {
				t.Errorf("over %q: %q, %v; want %q", tt.network, got, err, tt.want)
			}
		}
		w.net.CutBoth("mgmt", "h1", "h2")
		began := time.Now()
		if got, err := w.get(d.Transport(""), "https://h2/"); err != nil || got != "h2: true h1 machine-h1 storage" {
			t.Errorf("over any, mgmt cut: %q, %v; want the answer over storage", got, err)
		}
		if took := time.Since(began); took < peer.DefaultStagger || took > 2*peer.DefaultStagger {
			t.Errorf("over any, mgmt cut: took %v, want a little above %v", took, peer.DefaultStagger)
		}
		if got, err := w.get(d.Transport("mgmt"), "https://h2/"); err == nil {
			t.Errorf("over mgmt, which is cut: %q", got)
		}
		if _, err := w.get(d.Transport(""), "https://h9/"); !errors.Is(err, peer.ErrUnknownHost) {
			t.Errorf("a host that nobody knows: %v, want ErrUnknownHost", err)
		}
		w.net.Heal()
	})
}

func TestFirstAddressIsPreferred(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		d := w.dialer("h1", w.cluster)
		for range 5 {
			c, err := d.DialRaft(t.Context(), "h2", "")
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		if a, b := w.net.Dials("h1", "10.0.0.2:7400"), w.net.Dials("h1", "10.0.1.2:7400"); a != 5 || b != 0 {
			t.Errorf("%d calls over the first address and %d over the second, want 5 and 0", a, b)
		}
		w.mu.Lock()
		for _, c := range w.conns {
			_ = c.Close()
		}
		w.mu.Unlock()
	})
}

func TestWhoMaySpeak(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		other := peertest.NewCluster(t, "c1") // the same cluster id, but another authority
		w.serve("h3", other, addresses(3))

		if _, err := w.dialer("h1", w.cluster).DialRaft(t.Context(), "h3", ""); !errors.Is(err, identity.ErrPeer) {
			t.Errorf("calling a host of another authority: %v, want ErrPeer", err)
		}
		// A caller of another authority learns of the refusal when it reads.
		c, err := w.dialer("h3", other).DialRaft(t.Context(), "h2", "")
		if err == nil {
			t.Error("a caller that trusts another authority accepted this one")
			_ = c.Close()
		}
		foreign := other.Identity(t, "h1").ClientTLS("h2", "holdfast-raft/1")
		foreign.VerifyConnection = nil
		refused(t, w, "a certificate of another authority", foreign)
		refused(t, w, "no certificate at all", &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"holdfast-raft/1"}})
		old := w.cluster.Identity(t, "h1").ClientTLS("h2", "holdfast-raft/1")
		old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		refused(t, w, "TLS 1.2", old)

		// The address of h2 in the book is that of h1: another host answers.
		w.book.Update(map[string][]peer.Address{"h2": addresses(1)})
		if _, err := w.dialer("h1", w.cluster).DialRaft(t.Context(), "h2", ""); !errors.Is(err, identity.ErrPeer) || !strings.Contains(err.Error(), "called host h2") {
			t.Errorf("another host answers: %v, want ErrPeer and who answered", err)
		}
		if got := w.rafts(); len(got) != 0 {
			t.Errorf("raft was given %+v", got)
		}
	})
}

// refused opens a raft connection to h2 and expects it to be closed unused.
func refused(t *testing.T, w *world, what string, config *tls.Config) {
	t.Helper()
	before := len(w.rafts())
	raw, err := w.net.Host("h1").Dial(t.Context(), "mgmt", "10.0.0.2:7400")
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, config)
	defer func() { _ = raw.Close() }()
	if c.HandshakeContext(t.Context()) == nil {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: the connection was not refused (%v)", what, err)
		}
	}
	if len(w.rafts()) != before {
		t.Errorf("%s: raft was given the connection", what)
	}
}

func TestRemovedHostIsCutOff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		d := w.dialer("h1", w.cluster)
		c, err := d.DialRaft(t.Context(), "h2", "storage")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // the server's end of the handshake is the later one
		if got := w.rafts(); len(got) != 1 || got[0] != (peer.Peer{Name: "h1", MachineID: "machine-h1", Network: "storage"}) {
			t.Fatalf("raft was given %+v", got)
		}
		w.servers["h2"].Recheck()
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		var timeout net.Error
		if _, err := c.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("the connection of a member after Recheck: %v, want it open", err)
		}
		w.mu.Lock()
		w.banned["h1"] = true
		w.mu.Unlock()
		w.servers["h2"].Recheck()
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the connection of a removed host after Recheck: %v, want it closed", err)
		}
		_ = c.Close()
		refused(t, w, "a removed host", w.cluster.Identity(t, "h1").ClientTLS("h2", "holdfast-raft/1"))
	})
}

func TestSlowHandshakesBlockNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var slow []net.Conn
		for i := range 700 { // from many addresses, more than are allowed at once
			c, err := w.net.Host(fmt.Sprintf("x%d", i/31)).Dial(t.Context(), "mgmt", "10.0.0.2:7400")
			if err != nil {
				t.Fatal(err)
			}
			if i%8 != 0 {
				_, _ = c.Write([]byte("\x16\x03\x01\x00\xff"))
			} else {
				_, _ = c.Write([]byte("GET / HTTP/1.0\r\n\r\n")) // not TLS at all
			}
			slow = append(slow, c)
		}
		began := time.Now()
		if got, err := w.get(w.dialer("h1", w.cluster).Transport("mgmt"), "https://h2/"); err != nil {
			t.Errorf("during 700 bad handshakes: %q, %v", got, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("during 700 bad handshakes a request took %v", took)
		}
		began = time.Now()
		for _, c := range slow {
			_, err := io.Copy(io.Discard, c)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the last bad handshake was given up after %v, want 5s", took)
		}
	})
}

func TestJoining(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		token, err := identity.NewToken("c1", identity.Fingerprint(w.cluster.CA.Certificate()), []string{"10.0.9.9:7400", "10.0.1.2:7400"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := w.get(peer.JoinTransport(w.net.Host("new"), token), "https://join/"); err != nil || got != "h2: false   " {
			t.Errorf("joining: %q, %v; want h2 to answer one that it does not know", got, err)
		}
		other := peertest.NewCluster(t, "c1")
		wrong, err := identity.NewToken("c1", identity.Fingerprint(other.CA.Certificate()), []string{"10.0.1.2:7400"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.get(peer.JoinTransport(w.net.Host("new"), wrong), "https://join/"); !errors.Is(err, identity.ErrPeer) || !strings.Contains(err.Error(), "not of the cluster that the token was made for") {
			t.Errorf("joining with the fingerprint of another authority: %v", err)
		}
	})
}

func TestTakenPort(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, err := peer.Listen(peer.ServerConfig{Network: w.net.Host("h1"), Identity: w.cluster.Identity(t, "h1"), Logger: hclog.NewNullLogger(),
			Listen: []peer.Address{{Network: "mgmt", Addr: "10.0.0.9:7400"}, {Network: "storage", Addr: "10.0.1.1:7400"}}})
		if err == nil || !strings.Contains(err.Error(), "10.0.1.1:7400 (network storage): the port is taken") {
			t.Errorf("a taken port: %v", err)
		}
		// The address that was free has been given back.
		l, err := w.net.Host("h1").Listen("mgmt", "10.0.0.9:7400")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	})
}
