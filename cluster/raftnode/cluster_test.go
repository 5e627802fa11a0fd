package raftnode

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/peer/peertest"
)

// diary is a Machine that keeps what it was given.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) Apply(_ uint64, data []byte) any {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, string(data))
	return len(d.lines)
}

func (d *diary) Snapshot() (func(io.Writer) error, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := slices.Clone(d.lines)
	return func(w io.Writer) error { return json.NewEncoder(w).Encode(lines) }, nil
}

func (d *diary) Restore(r io.Reader) error {
	var lines []string
	if err := json.NewDecoder(r).Decode(&lines); err != nil {
		return err
	}
	d.mu.Lock()
	d.lines = lines
	d.mu.Unlock()
	return nil
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// testHost is a host with its cluster port and its node, over two networks.
type testHost struct {
	name   string
	stores Stores
	diary  *diary
	node   *Node
	server *peer.Server
	stop   context.CancelFunc
	done   sync.WaitGroup
	// refused are hosts whose raft connections this one takes no more.
	mu      sync.Mutex
	refused map[string]bool
}

func (h *testHost) allow(name, machine string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return machine == "machine-"+name && !h.refused[name]
}

func (h *testHost) refuse(name string) {
	h.mu.Lock()
	h.refused[name] = true
	h.mu.Unlock()
	h.server.Recheck()
}

type testCluster struct {
	t        *testing.T
	net      *peertest.Net
	ca       *peertest.Cluster
	book     *peer.Book
	hosts    map[string]*testHost
	election time.Duration
	logs     *logBuffer
	logger   hclog.Logger
}

// logBuffer collects what all hosts log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var networks = []string{"mgmt", "storage"}

// inBubble runs f with a cluster of n hosts h1…hn in which every host is a
// member and the voters are settled.
func inBubble(t *testing.T, n int, f func(t *testing.T, c *testCluster)) {
	t.Helper()
	inBubbleElection(t, n, 500*time.Millisecond, f)
}

func inBubbleElection(t *testing.T, n int, election time.Duration, f func(t *testing.T, c *testCluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, n, election)
		defer c.close()
		f(t, c)
	})
}

func newTestCluster(t *testing.T, n int, election time.Duration) *testCluster {
	return newTestClusterOn(t, n, election, func(s Stores) Stores { return s })
}

// newTestClusterOn lets the test put something between raft and the stores.
func newTestClusterOn(t *testing.T, n int, election time.Duration, wrap func(Stores) Stores) *testCluster {
	c := &testCluster{t: t, net: peertest.New(), ca: peertest.NewCluster(t, "c1"), book: &peer.Book{}, hosts: map[string]*testHost{}, election: election, logs: &logBuffer{}}
	c.logger = hclog.New(&hclog.LoggerOptions{Output: c.logs, Level: hclog.Debug})
	book := map[string][]peer.Address{}
	for i := range n {
		book[fmt.Sprintf("h%d", i+1)] = []peer.Address{{Network: "mgmt", Addr: fmt.Sprintf("10.0.0.%d:7400", i+1)}, {Network: "storage", Addr: fmt.Sprintf("10.0.1.%d:7400", i+1)}}
	}
	c.book.Update(book)
	for i := range n {
		name := fmt.Sprintf("h%d", i+1)
		h := &testHost{name: name, stores: wrap(MemoryStores()), diary: &diary{}, refused: map[string]bool{}}
		c.hosts[name] = h
		if i == 0 {
			if err := Bootstrap(h.stores, name, hclog.NewNullLogger()); err != nil {
				t.Fatal(err)
			}
		}
		c.start(h)
	}
	first := c.hosts["h1"]
	c.until(10*time.Second, "h1 leads", first.node.IsLeader)
	for i := 1; i < n; i++ {
		if err := first.node.AddMember(t.Context(), fmt.Sprintf("h%d", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	c.until(time.Minute, "voters are settled", func() bool { return len(c.voters("h1")) == targetVoters(n, n, 0, 5) })
	return c
}

func (c *testCluster) start(h *testHost) {
	c.t.Helper()
	id := c.ca.Identity(c.t, h.name)
	logger := c.logger.Named(h.name)
	dialer := &peer.Dialer{Network: c.net.Host(h.name), Book: c.book, Identity: id}
	node, err := New(Config{Name: h.name, ClusterID: id.ClusterID, Networks: networks, Election: c.election, YieldAfter: 2 * c.election, Stores: h.stores, Machine: h.diary, Dialer: dialer, Logger: logger})
	if err != nil {
		c.t.Fatal(err)
	}
	listen := c.book.All()[h.name]
	server, err := peer.Listen(peer.ServerConfig{Network: c.net.Host(h.name), Listen: listen, Identity: id, Allow: h.allow,
		Raft: func(conn net.Conn, _ peer.Peer) { node.Handoff(conn) }, Handler: http.NotFoundHandler(), Logger: logger})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.node, h.server, h.stop = node, server, cancel
	h.done.Go(func() { _ = node.Run(ctx) })
	h.done.Go(func() { _ = server.Run(ctx) })
}

// kill ends a host's process, after the network has lost it.
func (c *testCluster) kill(h *testHost) {
	c.isolate(h.name)
	h.stop()
	h.done.Wait()
	h.stop = nil
}

func (c *testCluster) isolate(name string) {
	for _, n := range networks {
		for other := range c.hosts {
			if other != name {
				c.net.CutBoth(n, name, other)
			}
		}
	}
}

func (c *testCluster) cutNetwork(network string) {
	for a := range c.hosts {
		for b := range c.hosts {
			if a != b {
				c.net.Cut(network, a, b)
			}
		}
	}
}

func (c *testCluster) close() {
	c.net.Heal()
	for _, h := range c.hosts {
		if h.stop != nil {
			h.stop()
		}
	}
	for _, h := range c.hosts {
		h.done.Wait()
	}
	time.Sleep(10 * time.Second) // attempts to connect end by their own timeouts
	if c.t.Failed() {
		c.t.Logf("logs:\n%s", c.logs.String())
	}
}

// until waits in virtual time.
func (c *testCluster) until(within time.Duration, what string, f func() bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	for !f() {
		if time.Since(began) > within {
			c.t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

// leader waits for a host other than not that proves that it leads.
func (c *testCluster) leader(not string) *testHost {
	c.t.Helper()
	var found *testHost
	c.until(30*time.Second, "a proven leader other than "+not, func() bool {
		for name, h := range c.hosts {
			if name != not && h.stop != nil && h.node.IsLeader() && h.node.Confirm(c.t.Context()) == nil {
				found = h
				return true
			}
		}
		return false
	})
	return found
}

func (c *testCluster) voters(seenBy string) []string {
	var out []string
	for _, m := range c.hosts[seenBy].node.Members() {
		if m.Voter {
			out = append(out, m.Name)
		}
	}
	slices.Sort(out)
	return out
}

func (c *testCluster) apply(h *testHost, line string) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	_, _, err := h.node.Apply(ctx, []byte(line))
	return err
}
