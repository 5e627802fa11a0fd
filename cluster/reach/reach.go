// Package reach collects what this host can reach: which addresses answer an ICMP
// echo request, which gateways the routing table names, and whether the interfaces
// of the HA networks have a carrier. It owns the requests and the netlink sockets.
//
// It decides nothing. What follows for a verdict, or for the question whether this
// host is isolated, is cluster/verdict's; whoever needs it takes a Snapshot, which is
// a plain value, and declares the interface that a simulation can stand in for.
package reach

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// maxAddresses bounds the addresses that are asked, and so the goroutines and sockets.
const maxAddresses = 1024

// Config says what to look at, and how.
type Config struct {
	// Now reads the boot clock, as all moments in a Snapshot do.
	Now func() time.Duration
	// Interval is the time between two requests to one address.
	Interval time.Duration
	// Timeout is how long an answer is waited for.
	Timeout time.Duration
	// Addresses are asked from the start; see Ask.
	Addresses []netip.Addr
	// AskGateways has the default gateways asked as well. They are listed in any case.
	AskGateways bool
	// Networks is this host's own address on each HA network, by the network's name.
	Networks map[string]netip.Addr
	// Changed is called after something has changed that a Snapshot shows, other than
	// that an address goes on answering or goes on not answering. It must not block. Nil: nobody wants to know.
	Changed func()
	Log     hclog.Logger
}

// DefaultConfig asks each address every second and waits a second and a half for
// the answer. Now, Log and what to look at are missing.
func DefaultConfig() Config {
	return Config{Interval: time.Second, Timeout: 1500 * time.Millisecond}
}

// Validate refuses what cannot work, and names the field.
func (c Config) Validate() error {
	switch {
	case c.Now == nil:
		return fmt.Errorf("reach: Now is nil: it reads the boot clock")
	case c.Log == nil:
		return fmt.Errorf("reach: Log is nil")
	case c.Interval < 10*time.Millisecond:
		return fmt.Errorf("reach: Interval is %v, and the least is 10ms", c.Interval)
	case c.Timeout < 10*time.Millisecond:
		return fmt.Errorf("reach: Timeout is %v, and the least is 10ms", c.Timeout)
	}
	for _, n := range slices.Sorted(maps.Keys(c.Networks)) {
		if !c.Networks[n].IsValid() {
			return fmt.Errorf("reach: Networks names no address of network %s", n)
		}
	}
	return checkAddresses(c.Addresses)
}

// Bound is the age that the last reply of an address that always answers in time
// never exceeds, but for what the machine itself is late. A younger bound on ages would take
// an answering address for silent.
func (c Config) Bound() time.Duration { return max(c.Interval, c.Timeout) + c.Timeout }

// Snapshot is what is known at one moment.
type Snapshot struct {
	// At is that moment, on the boot clock.
	At time.Duration
	// Answers is by address that is asked; gateways are among them if AskGateways is set.
	Answers map[netip.Addr]Answer
	// Gateways are the default gateways, the preferred one first.
	Gateways []Gateway
	// Links is by HA network.
	Links map[string]Link
	// Trouble says why gateways and links may be out of date; empty: they are not.
	Trouble string
}

// Answer is what became of asking one address.
type Answer struct {
	// Asked says that at least one request went out and has had the time to be answered.
	Asked bool
	// Replied is when the last request that was answered was sent, on the boot clock;
	// negative: none was. The address was there at that moment or later.
	Replied time.Duration
	// Trouble says why the last request could not be sent; empty: it was.
	Trouble string
}

// Age is the time from Replied to now, negative when there was no reply.
func (a Answer) Age(now time.Duration) time.Duration {
	if a.Replied < 0 {
		return -1
	}
	return max(now-a.Replied, 0)
}

// Gateway is a default gateway of the main routing table. A link-local one has its zone.
type Gateway struct {
	Addr      netip.Addr
	Interface string
	// Gone says that the routing table names it no more, nor another of its family. A
	// gateway that vanished together with its link is still the address to ask.
	Gone bool
}

// Link is the interface that holds this host's address on an HA network.
type Link struct {
	// Interface is the one that holds the address, or was the last to; empty: none ever did.
	Interface string
	// Held says that an interface holds the address now.
	Held bool
	// Up says that the interface is switched on, Carrier that something is at the other end.
	Up      bool
	Carrier bool
	// Since is when any of this last changed, on the boot clock.
	Since time.Duration
}

// Reach is the collector. Its methods may be called from any goroutine.
type Reach struct {
	cfg    Config
	echo   func(ctx context.Context, addr netip.Addr, timeout time.Duration) error
	system system
	wake   chan struct{} // the addresses to ask have changed

	mu       sync.Mutex // guards what follows
	wanted   map[netip.Addr]bool
	answers  map[netip.Addr]*Answer
	gateways []Gateway
	links    map[string]Link
	trouble  string
}

// New makes a collector. It does nothing before Run.
func New(cfg Config) (*Reach, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Networks = maps.Clone(cfg.Networks)
	r := &Reach{cfg: cfg, echo: echo, system: kernel{}, wake: make(chan struct{}, 1), answers: map[netip.Addr]*Answer{}, links: map[string]Link{}}
	for n := range cfg.Networks {
		r.links[n] = Link{Since: cfg.Now()}
	}
	r.trouble = "the routing table and the interfaces have not been read yet"
	return r, r.Ask(cfg.Addresses)
}

// Ask sets the addresses to ask, beside the gateways. What is known of those that stay is
// kept. It refuses more than 1024, and what is no single host's address.
func (r *Reach) Ask(addrs []netip.Addr) error {
	if err := checkAddresses(addrs); err != nil {
		return err
	}
	wanted := map[netip.Addr]bool{}
	for _, a := range addrs {
		wanted[a.Unmap()] = true
	}
	r.mu.Lock()
	r.wanted = wanted
	r.mu.Unlock()
	r.rouse()
	return nil
}

func checkAddresses(addrs []netip.Addr) error {
	if len(addrs) > maxAddresses {
		return fmt.Errorf("reach: %d addresses to ask, and the most is %d", len(addrs), maxAddresses)
	}
	for _, a := range addrs {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Unmap() == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return fmt.Errorf("reach: %v is not the address of one host: it cannot be asked", a)
		}
	}
	return nil
}

// rouse has Run look at the addresses to ask.
func (r *Reach) rouse() {
	select {
	case r.wake <- struct{}{}:
	default: // it has yet to look
	}
}

func (r *Reach) changed() {
	if r.cfg.Changed != nil {
		r.cfg.Changed()
	}
}

// Snapshot is what is known now. It waits for nothing.
func (r *Reach) Snapshot() Snapshot {
	now := r.cfg.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Snapshot{At: now, Answers: map[netip.Addr]Answer{}, Gateways: slices.Clone(r.gateways), Links: maps.Clone(r.links), Trouble: r.trouble}
	for a := range r.toAsk() {
		s.Answers[a] = Answer{Replied: -1}
		if known := r.answers[a]; known != nil {
			s.Answers[a] = *known
		}
	}
	return s
}

// toAsk is the set of addresses to ask. The caller holds mu.
func (r *Reach) toAsk() map[netip.Addr]bool {
	all := maps.Clone(r.wanted)
	if r.cfg.AskGateways {
		for _, g := range r.gateways {
			all[g.Addr] = true
		}
	}
	return all
}

// Run collects until ctx ends, and returns nil then. Each address has its own
// goroutine: one that hangs delays no other.
func (r *Reach) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { r.follow(ctx) })
	running := map[netip.Addr]context.CancelFunc{}
	for {
		started, stopped := r.plan(running)
		for _, a := range stopped {
			running[a]()
			delete(running, a)
		}
		for a, answer := range started {
			one, end := context.WithCancel(ctx)
			running[a] = end
			all.Go(func() { r.ask(one, a, answer) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
	}
}

// plan compares what is asked with what is to be asked.
func (r *Reach) plan(running map[netip.Addr]context.CancelFunc) (start map[netip.Addr]*Answer, stop []netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	start = map[netip.Addr]*Answer{}
	want := r.toAsk()
	for a := range want {
		if running[a] == nil {
			start[a] = &Answer{Replied: -1}
			r.answers[a] = start[a]
		}
	}
	for a := range running {
		if !want[a] {
			stop = append(stop, a)
			delete(r.answers, a) // what its goroutine may still write goes nowhere
		}
	}
	return start, stop
}
