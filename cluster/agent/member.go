package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/host"
	"github.com/holdfast-ha/holdfast/cluster/master"
	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/raftnode"
	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fencing/device"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/vmm"
)

// member is this host's life as a member of a cluster.
type member struct {
	agent   *Agent
	ms      *Membership   // as it was when this host entered
	created atomic.Bool   // the cluster is, if it was to be
	saving  chan struct{} // cap 1: held while the membership is written
	log     hclog.Logger
	machine *fsm.Machine
	stores  raftnode.Stores
	book    *peer.Book
	dialer  *peer.Dialer
	node    *raftnode.Node
	words   words    // of others' disks
	witness *witness // of this host's
	server  *peer.Server
	api     *api.Server
	host    *host.Host
	volumes *volumes.Volumes
	master  *master.Master
	runner  *device.Runner
	ways    *passages                  // nil: hypervisors find each other by name
	monitor *device.Monitor            // of the fence devices, while this host is the master
	any     *http.Transport            // to a member over any network
	over    map[string]*http.Transport // over exactly one
}

// enter builds a member from the bottom up. On an error nothing is left open.
func (a *Agent) enter(ctx context.Context, ms *Membership) (_ *member, err error) {
	env := a.env
	m := &member{
		agent:   a,
		ms:      ms,
		log:     env.Logger,
		machine: fsm.New(),
		book:    &peer.Book{},
		saving:  make(chan struct{}, 1),
		over:    map[string]*http.Transport{},
	}
	m.book.Update(ms.Peers)
	m.dialer = &peer.Dialer{Network: env.Network, Book: m.book, Identity: ms.Identity}
	m.witness = &witness{dialer: m.dialer, self: env.Name, words: &m.words, found: make(chan error, 1)}
	record, err := env.Store.Record()
	if err != nil {
		return nil, fmt.Errorf("read this host's record: %w", err)
	}
	if m.stores, err = env.Store.OpenRaft(m.log.Named("store")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	at, err := raftnode.Written(m.stores)
	if err != nil {
		return nil, err
	}
	if err := m.compareWithVolumes(ctx, record, at); err != nil {
		return nil, err
	}
	networks := make([]string, 0, len(env.Listen))
	for _, l := range env.Listen {
		networks = append(networks, l.Network)
		m.over[l.Network] = m.dialer.Transport(l.Network)
	}
	m.any = m.dialer.Transport("")
	m.node, err = raftnode.New(raftnode.Config{Name: env.Name, ClusterID: ms.Identity.ClusterID, Networks: networks,
		Election: ms.Timing.Election, YieldAfter: ms.Timing.YieldAfter(), SlowAfter: ms.Timing.SlowAfter(), Gate: env.Gate,
		Stores: m.stores, Machine: m.machine, Dialer: m.witness, Logger: m.log.Named("raft")})
	if err != nil {
		return nil, err
	}
	m.witness.node.Store(m.node)
	m.api = api.NewServer(a, api.Options{Logger: m.log.Named("api"), Caller: m.caller, Forward: m.any, Timing: a.Timing})
	var tunnel func(context.Context, net.Conn, peer.Peer)
	if env.Passage != nil {
		m.ways, err = newPassages(&passages{Passage: *env.Passage, self: env.Name, dial: m.dialer.DialTunnel,
			view: m.machine.View, current: m.life, log: m.log.Named("passage")})
		if err != nil {
			return nil, err
		}
		tunnel = m.ways.serve
	}
	m.server, err = peer.Listen(peer.ServerConfig{Network: env.Network, Listen: env.Listen, Identity: ms.Identity,
		Allow: m.admits, Tunnel: tunnel, Raft: m.witness.accept, Handler: m.api.Peers(), Logger: m.log.Named("peer")})
	if err != nil {
		return nil, err
	}
	open, read := env.OpenVolume, env.LookVolume
	if open == nil || read == nil {
		read = func(string) (storagehb.File, error) { return nil, errors.New("this host has no shared storage") }
		open = func(path string, _ format.UUID) (storagehb.File, error) { return read(path) }
	}
	m.volumes = volumes.New(volumes.Config{Host: env.Name, Timing: ms.Timing, Open: open,
		Look: read, Locate: env.LocateVolume, State: m.stateOr(record), Policy: a.parsed,
		Now: env.Now, Wall: env.Wall, Logger: m.log.Named("volumes")})
	m.runner = device.NewRunner(device.Config{Dir: env.FenceAgents, BootClock: env.Now})
	m.monitor = device.NewMonitor(m.told)
	m.monitor.Compare(m.heardBehind)
	var switches master.Fencer = fencer{m.runner, m.machine.View}
	if env.Fencer != nil {
		switches = env.Fencer
	}
	m.master = master.New(master.Config{Name: env.Name, Fencer: switches, Timing: ms.Timing, Grace: env.Grace,
		Log: replicated{m.node}, View: m.machine.View, Policy: a.parsed, Voters: m.voters, Volumes: m.volumes, HandOver: m.handOver,
		Now: env.Now, Wall: env.Wall, Gate: env.Gate, Logger: m.log.Named("master")})
	var look func() host.Around
	if env.Reach != nil {
		look = m.look
	}
	var has func(config.Datastore) bool
	var handed func(word, id string) string
	if env.Look != nil {
		handed = env.Look.Device
		has = func(d config.Datastore) bool { return env.Look.Has(d.Path, d.Mounted) }
	}
	var reach func(ctx context.Context, host, uuid, name string) (vmm.Destination, func(), error)
	if m.ways != nil {
		reach = m.ways.reach
	}
	m.host = host.New(host.Config{Name: env.Name, Networks: networks, Timing: ms.Timing,
		BootID: env.BootID, LastReset: env.LastReset, Run: env.Run, Reserve: env.Reserve,
		Version: env.Version, Hypervisor: env.Hypervisor, Guard: env.Guard, Volumes: m.volumes,
		Disk: m.node.Refused, Written: m.node.Written, Look: look, Has: has, Device: handed,
		Reach: reach, Policy: a.parsed, Master: toMaster{m}, View: m.machine.View,
		Record: record, Save: env.Store.SaveRecord, Now: env.Now, Gate: env.Gate, Log: m.log.Named("host")})
	return m, nil
}

// life is the life that this host is in, and whether its copy of the state may be acted on.
func (m *member) life() (incarnation uint64, trusted bool) {
	s := m.host.Status()
	return s.Incarnation, s.Trusted
}

// stateOr is this host's copy of the state, or what its record remembers of the
// heartbeat volumes while the copy is empty: raft shows nothing to an agent that was
// restarted before it hears from a master.
func (m *member) stateOr(r host.Record) func() (*fsm.State, uint64, <-chan struct{}) {
	id := m.ms.Identity
	remembered := r.Remembered(m.agent.env.Name, id.MachineID, id.ClusterID)
	return func() (*fsm.State, uint64, <-chan struct{}) {
		s, index, changed := m.machine.View()
		if s.Cluster.ID == "" && r.Slot != 0 {
			return remembered, index, changed
		}
		return s, index, changed
	}
}

// voters are the hosts that vote, as this host's copy of the log has it.
func (m *member) voters() (names []string) {
	for _, x := range m.node.Members() {
		if x.Voter {
			names = append(names, x.Name)
		}
	}
	return names
}

func (m *member) close() {
	if m.node != nil {
		m.node.Shutdown()
	}
	for _, t := range m.over {
		t.CloseIdleConnections()
	}
	if m.any != nil {
		m.any.CloseIdleConnections()
	}
	if err := m.stores.Close(); err != nil {
		m.log.Warn("cannot close the log's stores", "error", err)
	}
}

// run lives as a member until ctx ends or a part of it cannot go on.
func (m *member) run(ctx context.Context) error {
	g, ctx := newGroup(ctx)
	defer m.close()
	g.run("raft", func() error { return m.node.Run(ctx) })
	g.run("cluster port", func() error { return m.server.Run(ctx) })
	if m.agent.env.Reach != nil {
		g.run("isolation addresses", func() error { return m.askAddresses(ctx.Done()) })
	}
	g.run("heartbeat volumes", func() error { return m.volumes.Run(ctx) })
	g.run("host", func() error { return m.host.Run(ctx) })
	g.run("office", func() error { return m.serveOffice(ctx) })
	g.run("members", func() error { return m.followBook(ctx) })
	g.run("store", func() error {
		select {
		case <-ctx.Done():
			return nil
		case err := <-m.node.Fatal():
			return err
		case err := <-m.witness.found:
			return err
		}
	})
	<-ctx.Done()
	m.api.Close()
	ended := make(chan error, 1)
	go func() { ended <- g.wait() }()
	t := time.NewTimer(stopLimit)
	defer t.Stop()
	select {
	case err := <-ended:
		return err
	case <-t.C:
		// The process ends with this, and is started anew: a host without an agent loses its lease.
		return fmt.Errorf("parts of the agent have not stopped within %v", stopLimit)
	}
}

// stopLimit bounds the end of a membership.
const stopLimit = 30 * time.Second

// admits says whether raft may speak with a host that has a good certificate: with
// anybody who was not removed. One that is unknown here joined after this copy of
// the state, and may be the very master who has the rest of it.
func (m *member) admits(_, machineID string) bool {
	s, _, _ := m.machine.View()
	_, left := s.Left[machineID]
	return !left
}

// caller names the member that calls the API, if it is one. Before the state is
// known the certificate alone counts, since raft itself brings the state.
func (m *member) caller(r *http.Request) (string, bool) {
	p, ok := peer.From(r.Context())
	if !ok {
		return "", false
	}
	s, index, _ := m.machine.View()
	if index == 0 || len(s.Hosts) == 0 {
		return p.Name, true
	}
	h := s.Hosts[p.Name]
	return p.Name, h != nil && h.ID == p.MachineID
}

// serveOffice holds the master's office whenever raft elects this host, and
// nothing of one term outlives it.
func (m *member) serveOffice(ctx context.Context) error {
	var g *group
	end := func() {
		if g != nil {
			g.cancel()
			_ = g.wait()
			g = nil
		}
	}
	defer end()
	for {
		select {
		case <-ctx.Done():
			return nil
		case o := <-m.node.Leadership():
			end()
			if !o.Leader {
				continue
			}
			var octx context.Context
			g, octx = newGroup(ctx)
			g.run("office", func() error { return m.holdOffice(octx) })
			g.run("membership", func() error { return m.keepMembership(octx) })
			if m.agent.env.Fencer == nil {
				g.run("fence devices", func() error { return m.monitor.Run(octx) })
				g.run("fence devices", func() error { return m.watchDevices(octx) })
			}
		}
	}
}

// holdOffice holds the office as long as raft says that this host leads. An
// office that ended on a passing fault is taken again, in a new epoch.
func (m *member) holdOffice(ctx context.Context) error {
	for ctx.Err() == nil {
		err := m.genesis(ctx)
		if err == nil {
			err = m.master.Hold(ctx)
		}
		if ctx.Err() == nil {
			m.log.Warn("the office was interrupted", "error", err)
			pause(ctx, m.ms.Timing.Heartbeat)
		}
	}
	return nil
}

// genesis commits the creation of the cluster, on its first host, once.
func (m *member) genesis(ctx context.Context) error {
	if m.ms.Genesis == nil || m.created.Load() {
		return nil
	}
	if err := m.node.Confirm(ctx); err != nil {
		return fmt.Errorf("confirm the first election: %w", err)
	}
	if s, _, _ := m.machine.View(); s.Cluster.ID == "" {
		if _, _, err := m.node.Apply(ctx, m.ms.Genesis); err != nil {
			return fmt.Errorf("create the cluster: %w", err)
		}
	}
	m.created.Store(true)
	if err := m.remember(ctx); err != nil {
		m.created.Store(false)
		return fmt.Errorf("note that the cluster is created: %w", err)
	}
	return nil
}

// remember saves what the next start goes by, one save after the other.
func (m *member) remember(ctx context.Context) error {
	select {
	case m.saving <- struct{}{}:
		defer func() { <-m.saving }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ms := *m.ms
	if m.created.Load() {
		ms.Genesis = nil
	}
	ms.Peers = m.book.All()
	return m.agent.env.Store.SaveMembership(&ms)
}

// keepMembership makes raft's members those that the state names, one change at a time.
func (m *member) keepMembership(ctx context.Context) error {
	for ctx.Err() == nil {
		s, _, changed := m.machine.View()
		err := m.matchMembers(ctx, s)
		if err != nil && ctx.Err() == nil {
			m.log.Warn("membership differs from what was committed; trying again", "error", err)
		}
		t := time.NewTimer(5 * time.Second)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-t.C:
		}
		t.Stop()
	}
	return nil
}

func (m *member) matchMembers(ctx context.Context, s *fsm.State) error {
	if s.Cluster.ID == "" || s.Hosts[m.agent.env.Name] == nil {
		return nil
	}
	members := m.node.Members()
	is := map[string]bool{}
	for _, x := range members {
		is[x.Name] = true
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, h := range s.SortedHosts() {
		if !is[h.Name] {
			if err := m.node.AddMember(ctx, h.Name); err != nil {
				return fmt.Errorf("add %s to the log's members: %w", h.Name, err)
			}
		}
	}
	for _, x := range members {
		if s.Hosts[x.Name] == nil {
			if err := m.node.RemoveMember(ctx, x.Name); err != nil {
				return fmt.Errorf("remove %s from the log's members: %w", x.Name, err)
			}
		}
	}
	return nil
}

// followBook keeps the addresses of the members, and remembers them for the next
// start. It ends when this host is a member no more.
func (m *member) followBook(ctx context.Context) error {
	admitted := false // a copy of the state from before this host joined says nothing
	for {
		s, _, changed := m.machine.View()
		if me := s.Hosts[m.ms.Identity.Host]; me != nil && me.ID == m.ms.Identity.MachineID {
			m.updateBook(ctx, s)
			admitted = true
		} else if admitted {
			return errLeft
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (m *member) updateBook(ctx context.Context, s *fsm.State) {
	book := map[string][]peer.Address{}
	for name, h := range s.Hosts {
		for _, a := range h.Addresses {
			book[name] = append(book[name], peer.Address(a))
		}
	}
	same := func(a, b []peer.Address) bool { return slices.Equal(a, b) }
	if maps.EqualFunc(book, m.book.All(), same) {
		return
	}
	m.book.Update(book)
	m.server.Recheck()
	if err := m.remember(ctx); err != nil && ctx.Err() == nil {
		m.log.Warn("cannot remember the members' addresses", "error", err)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// handOver gives the leadership of the log, and so the office, to another host.
func (m *member) handOver(ctx context.Context, to string) error {
	return m.node.Transfer(ctx, to)
}

// replicated is the log as the master's office uses it.
type replicated struct{ node *raftnode.Node }

func (r replicated) Confirm(ctx context.Context) error { return r.node.Confirm(ctx) }

func (r replicated) Propose(ctx context.Context, c fsm.Command) (any, error) {
	b, err := fsm.Encode(c)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", api.ErrRefused, err)
	}
	v, _, err := r.node.Apply(ctx, b)
	switch {
	case errors.Is(err, raftnode.ErrUnknownOutcome):
		return nil, fmt.Errorf("%w: %w", api.ErrUnknownOutcome, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", api.ErrNoMaster, err)
	}
	res, ok := v.(fsm.Result)
	if !ok {
		return nil, fmt.Errorf("the state machine answered %T", v)
	}
	if res.Refusal != nil {
		return nil, res.Refusal
	}
	return res.Value, nil
}
