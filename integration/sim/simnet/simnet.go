// Package simnet is a network in virtual time: hosts with an address on each of
// several named networks, TCP connections between them, and everything that
// goes wrong with those. It owns cuts, delays, loss, power loss and frozen
// processes as the network shows them; it knows nothing of clusters or agents.
//
// It is made for testing/synctest bubbles. Every wait is on a channel or a
// timer made in the bubble, so all of it is durably blocking; no mutex is held
// over a wait. A write never blocks, as if socket buffers had no end. Each
// connection draws its delays from a source of its own, seeded from the
// network's seed, the two ends and the number of the connection between them,
// so the order in which goroutines run does not change what a link does.
package simnet

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Default delays of a link: those of machines on one switch.
const (
	defaultLatency = 200 * time.Microsecond
	defaultJitter  = 300 * time.Microsecond
	// retransmit is the first retransmission timeout of TCP; it doubles for each
	// further loss of the same segment.
	retransmit = 200 * time.Millisecond
	// synRetry is how long a connection attempt waits before it asks again.
	synRetry = time.Second
)

// Network is all networks between the hosts of one simulation. It is safe for
// concurrent use. Make it inside the bubble that uses it.
type Network struct {
	seed     uint64
	networks []string

	mu     sync.Mutex
	hosts  map[string]*host
	order  []string
	byAddr map[netip.Addr]place
	cuts   map[link]time.Time // since when
	extra  map[string]Delay   // by host
	dials  map[link]uint64    // connections attempted so far, to seed each one
	conns  map[*conn]struct{}
	closed bool
	// dead is how long a connection lives on a broken path; see SetDead.
	dead time.Duration
	// changed is closed and replaced when a cut, a host or a listener changes:
	// what a connection attempt waits for.
	changed chan struct{}
}

// place is where an address is: one host's end of one network.
type place struct{ host, network string }

// link is one direction between two hosts on one network.
type link struct{ network, from, to string }

// host is one machine's kernel: on or off, with the sockets of its processes.
type host struct {
	name      string
	on        bool
	off       time.Time // when it lost its power
	stack     *Stack
	listeners map[netip.AddrPort]*listener
}

// Delay is what is added to every segment that a host sends or receives.
type Delay struct {
	// Latency is added to each segment, in each direction.
	Latency time.Duration
	// Loss is the chance that a segment has to be sent again; TCP hides it as delay.
	Loss float64
}

// DefaultDead is how long a connection outlives its path: what the agent asks of
// the real kernel.
const DefaultDead = 5 * time.Second

// New makes a network with the given names; a host has an address on each.
func New(seed uint64, networks ...string) *Network {
	if len(networks) == 0 {
		networks = []string{"net1"}
	}
	return &Network{
		seed: seed, networks: slices.Clone(networks),
		hosts: map[string]*host{}, byAddr: map[netip.Addr]place{},
		cuts: map[link]time.Time{}, extra: map[string]Delay{}, dials: map[link]uint64{},
		conns: map[*conn]struct{}{}, changed: make(chan struct{}), dead: DefaultDead,
	}
}

// Networks are the names of the networks, in the order given to New.
func (n *Network) Networks() []string { return slices.Clone(n.networks) }

// AddHost plugs a host in. It is off until PowerOn.
func (n *Network) AddHost(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[name] != nil {
		return
	}
	n.hosts[name] = &host{name: name, listeners: map[netip.AddrPort]*listener{}}
	n.order = append(n.order, name)
	for i, network := range n.networks {
		n.byAddr[address(i, len(n.order))] = place{name, network}
	}
}

// address is the IP of the number-th host (from 1) on the index-th network.
func address(index, number int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(index + 1), byte(number >> 8), byte(number)})
}

// IP is the host's address on a network; the zero Addr when there is no such
// host or network.
func (n *Network) IP(name, network string) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ip(name, network)
}

func (n *Network) ip(name, network string) netip.Addr {
	number, index := slices.Index(n.order, name), slices.Index(n.networks, network)
	if number < 0 || index < 0 {
		return netip.Addr{}
	}
	return address(index, number+1)
}

// Cut holds every byte from one host to another on one network ("" for all)
// until Restore: those written meanwhile arrive after it, unless the connection
// was given up by then. The other direction is not touched.
func (n *Network) Cut(network, from, to string) { n.setCut(network, from, to, true) }

// Restore undoes Cut.
func (n *Network) Restore(network, from, to string) { n.setCut(network, from, to, false) }

func (n *Network) setCut(network, from, to string, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expire()
	for _, name := range n.named(network) {
		n.mark(link{name, from, to}, on)
	}
	n.wakeAll()
}

// Isolate cuts a host from every other, in both directions, on one network
// ("" for all).
func (n *Network) Isolate(network, name string) { n.setIsolated(network, name, true) }

// Rejoin undoes Isolate and every other cut to or from the host.
func (n *Network) Rejoin(network, name string) { n.setIsolated(network, name, false) }

func (n *Network) setIsolated(network, name string, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expire()
	for _, net := range n.named(network) {
		for _, other := range n.order {
			if other != name {
				n.mark(link{net, name, other}, on)
				n.mark(link{net, other, name}, on)
			}
		}
	}
	n.wakeAll()
}

// Partition cuts the groups from one another on all networks. A host that is in
// no group is a group of its own. Links inside a group are restored.
func (n *Network) Partition(groups ...[]string) {
	group := map[string]int{}
	for i, g := range groups {
		for _, name := range g {
			group[name] = i + 1
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expire()
	for _, from := range n.order {
		for _, to := range n.order {
			if from == to {
				continue
			}
			apart := group[from] == 0 || group[from] != group[to]
			for _, net := range n.networks {
				n.mark(link{net, from, to}, apart)
			}
		}
	}
	n.wakeAll()
}

// SetDelay adds a delay to all that a host sends or receives; the zero Delay
// takes it away.
func (n *Network) SetDelay(name string, d Delay) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d == (Delay{}) {
		delete(n.extra, name)
		return
	}
	n.extra[name] = d
}

// Heal undoes every cut and delay. Hosts that are off stay off.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expire()
	clear(n.cuts)
	clear(n.extra)
	n.wakeAll()
}

// Connected reports whether bytes can travel both ways between two hosts on at
// least one network.
func (n *Network) Connected(a, b string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, net := range n.networks {
		if !n.cut(link{net, a, b}) && !n.cut(link{net, b, a}) {
			return n.up(a) && n.up(b)
		}
	}
	return false
}

// Close ends every connection, listener and attempt, so that no goroutine
// outlives the bubble. Bytes in flight are dropped.
func (n *Network) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for c := range n.conns {
		c.abort(errNetworkClosed)
	}
	for _, h := range n.hosts {
		h.closeListeners()
	}
	n.wakeAll()
}

func (n *Network) named(network string) []string {
	if network == "" {
		return n.networks
	}
	return []string{network}
}

func (n *Network) mark(l link, on bool) {
	switch {
	case !on:
		delete(n.cuts, l)
	case !n.cut(l):
		n.cuts[l] = time.Now()
	}
}

func (n *Network) cut(l link) bool { _, cut := n.cuts[l]; return cut }

// SetDead sets how long a connection lives on a path that is broken in either
// direction before both ends' kernels give it up (TCP_USER_TIMEOUT and
// keepalive). 0 is for ever; DefaultDead unless set.
func (n *Network) SetDead(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead = d
	n.wakeAll()
}

// expire gives up connections whose path was broken for too long while nobody
// looked. Callers hold n.mu, and are about to mend something.
func (n *Network) expire() {
	now := time.Now()
	for c := range n.conns {
		if at, broken := c.givenUp(); broken && !now.Before(at) {
			c.abort(errTimedOut)
		}
	}
}

func (n *Network) up(name string) bool { h := n.hosts[name]; return h != nil && h.on }

// wakeAll lets everything that waits look again. Callers hold n.mu.
func (n *Network) wakeAll() {
	close(n.changed)
	n.changed = make(chan struct{})
	for c := range n.conns {
		c.wake()
	}
}

// source returns the random source of the next connection on a link. Callers hold n.mu.
func (n *Network) source(l link) *rand.Rand {
	n.dials[l]++
	h := fnv.New64a()
	fmt.Fprintf(h, "%s|%s|%s|%d", l.network, l.from, l.to, n.dials[l])
	return rand.New(rand.NewPCG(n.seed, h.Sum64()))
}

// travel draws how long one segment takes. Callers hold n.mu.
func (n *Network) travel(from, to string, r *rand.Rand) time.Duration {
	d := defaultLatency + time.Duration(r.Int64N(int64(defaultJitter)))
	if len(n.extra) == 0 {
		return d
	}
	a, b := n.extra[from], n.extra[to]
	d += a.Latency + b.Latency
	loss := 1 - (1-a.Loss)*(1-b.Loss)
	for wait := retransmit; loss > 0 && wait < 30*time.Second && r.Float64() < loss; wait *= 2 {
		d += wait
	}
	return d
}
