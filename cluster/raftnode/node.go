package raftnode

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

var (
	// ErrNotMaster: this host does not lead, or is handing over; nothing was proposed.
	ErrNotMaster = errors.New("this host does not lead the cluster")
	// ErrUnknownOutcome: the entry was proposed, and may or may not come to be committed.
	ErrUnknownOutcome = errors.New("the outcome of the proposal is unknown")
	// ErrBusy: the log took no entry in time; nothing was proposed.
	ErrBusy = errors.New("the log accepts no entries at the moment")
	// ErrShutdown: the node is shutting down.
	ErrShutdown = errors.New("the node is shutting down")
	// ErrOtherCluster: the stores belong to another cluster.
	ErrOtherCluster = errors.New("the data directory belongs to another cluster")
)

// Raft's settings that do not depend on timing: a state of some megabytes needs
// no long log, and a host that was away for a while gets a snapshot.
const (
	snapshotThreshold = 1024
	trailingLogs      = 1024
	snapshotInterval  = 30 * time.Second
)

// Config is what a Node is made of. Name, Networks, Election, Stores, Machine,
// Dialer and Logger are required.
type Config struct {
	// Name is this host's name, which is its raft id and its raft address.
	Name string
	// ClusterID is noted in the stores; stores of another cluster are refused. Empty: not checked.
	ClusterID string
	// Networks are this host's HA networks, best first.
	Networks []string
	// Election is raft's heartbeat and election timeout; the leader lease is half of it.
	Election time.Duration
	Stores   Stores
	Machine  Machine
	Dialer   Dialer
	Logger   hclog.Logger

	// StoreDeadline is how long a write to the stores may take before the process must end; 10 s when 0.
	StoreDeadline time.Duration
	// YieldAfter is how long one may take before a leader falls silent, so that another
	// is elected; StoreDeadline when 0. All three count only while this process runs.
	YieldAfter time.Duration
	// SlowAfter is how long one takes that a leader cannot keep the office with if each does: the second
	// within four times that, once it has taken half as long, has another elected. StoreDeadline when 0.
	SlowAfter time.Duration
	// Gate waits while this process is not to run, and fails when it is to end; nil: it always runs.
	Gate func(context.Context) error
	// MaxVoters is the most members that vote, odd; 5 when 0.
	MaxVoters int
	// Stable is how long a member must have answered and kept up before it may
	// become a voter; 5 s when 0.
	Stable time.Duration
	// LostAfter is how long a voter must have been silent before its vote goes to
	// another; the greater of 10 s and 10 election timeouts when 0.
	LostAfter time.Duration
}

// Validate names the first field that cannot work, with its value.
func (c Config) Validate() error {
	switch {
	case c.Name == "":
		return errors.New("raft node: Name is empty")
	case len(c.Networks) == 0:
		return errors.New("raft node: Networks is empty, one HA network is the least")
	case c.Election < 20*time.Millisecond:
		return fmt.Errorf("raft node: Election is %v, 20ms is the least", c.Election)
	case c.Stores.Log == nil || c.Stores.Stable == nil || c.Stores.Snapshots == nil:
		return errors.New("raft node: Stores is incomplete")
	case c.Machine == nil || c.Dialer == nil || c.Logger == nil:
		return errors.New("raft node: Machine, Dialer and Logger are required")
	case c.MaxVoters < 1 || c.MaxVoters%2 == 0:
		return fmt.Errorf("raft node: MaxVoters is %d, an odd number is wanted", c.MaxVoters)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.StoreDeadline == 0 {
		c.StoreDeadline = 10 * time.Second
	}
	if c.YieldAfter == 0 {
		c.YieldAfter = c.StoreDeadline
	}
	if c.SlowAfter == 0 {
		c.SlowAfter = c.StoreDeadline
	}
	if c.Gate == nil {
		c.Gate = func(context.Context) error { return nil }
	}
	if c.MaxVoters == 0 {
		c.MaxVoters = defaultVoters
	}
	if c.Stable == 0 {
		c.Stable = 5 * time.Second
	}
	if c.LostAfter == 0 {
		c.LostAfter = max(10*time.Second, 10*c.Election)
	}
	return c
}

// Node is this host's member of the replicated log. Its methods are safe for
// concurrent use.
type Node struct {
	config    Config
	log       hclog.Logger
	raft      *raft.Raft
	transport *transport
	stores    *watched
	adapter   *adapter
	confirmer confirmer
	offices   chan Office
	fatal     chan error
	// membership is held (a token taken) while a change of membership or a
	// transfer is under way: raft does one at a time, and a second transfer can
	// wedge it (hashicorp/raft#696).
	membership chan struct{}

	stop    chan struct{} // closed when the node begins to shut down
	stopped chan struct{} // closed when it has

	mu      sync.Mutex
	closing bool
	// pending counts goroutines of calls; those that wait for raft to answer may
	// outlive the call that started them.
	pending sync.WaitGroup
}

// New starts a node on its stores. They must hold a log (Bootstrap, or an
// earlier life); with empty ones the node waits for a leader that adds it. What
// raft starts runs from here on, so Run or Shutdown must follow.
func New(c Config) (*Node, error) {
	c = c.withDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := claim(c.Stores.Stable, c.ClusterID); err != nil {
		return nil, err
	}
	at, err := Written(c.Stores)
	if err != nil {
		return nil, err
	}
	n := &Node{config: c, log: c.Logger, adapter: &adapter{machine: c.Machine}, offices: make(chan Office, 1), fatal: make(chan error, 1),
		membership: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	n.confirmer.prove = n.prove
	conns := newConnSet()
	n.stores = watchStores(conns.ctx, c, n.fail)
	n.stores.at.p = at
	n.transport = newTransport(c, conns, &n.stores.due, c.Logger.Named("net"))
	r, err := start(c.raftConfig(), n.adapter, n.stores, c.Stores.Snapshots, n.transport)
	if err != nil {
		_ = n.transport.Close()
		return nil, err
	}
	n.raft = r
	n.transport.attach(n.stands)
	return n, nil
}

// logCache is how many of the newest entries are kept in memory.
const logCache = 128

// start is raft.NewRaft, whose panic over an unreadable log becomes an error.
func start(c *raft.Config, fsm raft.FSM, s *watched, snapshots raft.SnapshotStore, t raft.Transport) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the log cannot be read: %v; remove the data directory and join again with a new token", p)
		}
	}()
	// What is sent to followers is most often what was written last.
	logs, err := raft.NewLogCache(logCache, s)
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	r, err = raft.NewRaft(c, fsm, logs, s, snapshots, t)
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	return r, nil
}

func (c Config) raftConfig() *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.Name)
	rc.HeartbeatTimeout, rc.ElectionTimeout = c.Election, c.Election
	// With a lease above half of the heartbeat an old leader can still think it
	// leads when its successor is elected.
	rc.LeaderLeaseTimeout = c.Election / 2
	// How often followers are told what is committed when nothing else is sent.
	rc.CommitTimeout = c.Election / 2
	rc.SnapshotThreshold = snapshotThreshold
	rc.TrailingLogs = trailingLogs
	rc.SnapshotInterval = snapshotInterval
	rc.ShutdownOnRemove = false
	rc.NoLegacyTelemetry = true
	rc.Logger = c.Logger
	return rc
}

// clusterKey is where the stores say which cluster they belong to.
const clusterKey = "holdfast-cluster"

// claim notes the cluster in the stores, or refuses those of another one.
func claim(s raft.StableStore, cluster string) error {
	if cluster == "" {
		return nil
	}
	was, err := s.Get([]byte(clusterKey))
	if err != nil && err.Error() != notFound {
		return fmt.Errorf("read which cluster the log belongs to: %w", err)
	}
	if len(was) > 0 {
		if string(was) != cluster {
			return fmt.Errorf("%w: the log is of cluster %s, the identity of cluster %s; use another data directory", ErrOtherCluster, was, cluster)
		}
		return nil
	}
	if err := s.Set([]byte(clusterKey), []byte(cluster)); err != nil {
		return fmt.Errorf("note which cluster the log belongs to: %w", err)
	}
	return nil
}

// Bootstrap writes the first entry of a new cluster, with name as its only
// member, into empty stores.
func Bootstrap(s Stores, name string, logger hclog.Logger) error {
	c := Config{Name: name, Election: time.Second, Logger: logger}.raftConfig()
	servers := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(name), Address: raft.ServerAddress(name), Suffrage: raft.Voter}}}
	err := raft.BootstrapCluster(c, s.Log, s.Stable, s.Snapshots, nil, servers)
	if errors.Is(err, raft.ErrCantBootstrap) {
		return errors.New("bootstrap: the data directory already holds the log of a cluster; use an empty one")
	}
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

// Handoff gives the node a raft connection that another host has opened. The
// caller has proven who that is, and that it is a member.
func (n *Node) Handoff(c net.Conn) { n.transport.inbound.give(c) }

// Run follows leadership and looks after the voters until ctx ends, and then
// shuts the node down. It must be called once.
func (n *Node) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	loops.Go(n.followOffice)
	loops.Go(n.keepVoters)
	select {
	case <-ctx.Done():
	case <-n.stop:
	}
	n.Shutdown()
	loops.Wait()
	return nil
}

// Fatal delivers the one reason for which the process must end: its store hangs
// or raft is wedged. A node that goes on regardless can keep the whole cluster
// from electing another leader.
func (n *Node) Fatal() <-chan error { return n.fatal }

// Refused is why the disk refuses what is written to this host's log; nil where it does
// not. Such a host leads nobody and learns nothing new until its disk takes it.
func (n *Node) Refused() error {
	err := n.stores.due.refusal()
	if err == nil {
		return nil
	}
	return fmt.Errorf("the log of this host cannot be written: %w", err)
}

func (n *Node) fail(err error) {
	select {
	case n.fatal <- err:
	default:
	}
}

// shutdownLimit bounds the wait for raft's goroutines, which a hanging store can hold.
const shutdownLimit = 10 * time.Second

// Shutdown leaves the network, stops raft and waits until it has stopped. Calls
// under way return; whether what they proposed is committed is for the others
// to decide. It is safe to call more than once. The stores may be closed after it.
func (n *Node) Shutdown() {
	n.mu.Lock()
	first := !n.closing
	n.closing = true
	n.mu.Unlock()
	if first {
		close(n.stop)
		n.shutdown()
		close(n.stopped)
	}
	<-n.stopped
}

func (n *Node) shutdown() {
	// Without a network a leader steps down within its lease, which answers what
	// is pending. Raft that is stopped before leaves some of it unanswered for ever.
	n.transport.conns.sever()
	pending := make(chan struct{})
	go func() {
		n.pending.Wait()
		close(pending)
	}()
	waitFor(pending, 2*n.config.Election)
	f := n.raft.Shutdown()
	_ = n.transport.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f.Error(); err != nil {
			n.log.Warn("raft did not stop cleanly", "error", err)
		}
		n.transport.calls.Wait()
	}()
	if !waitFor(done, shutdownLimit) {
		n.log.Error("raft does not stop: a write to the log hangs", "waited", shutdownLimit)
	}
	waitFor(pending, time.Second)
}

// waitFor reports whether done was closed within limit.
func waitFor(done <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// spawn runs f on a goroutine that Shutdown waits for; false when it has begun.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return false
	}
	n.pending.Go(f)
	return true
}
