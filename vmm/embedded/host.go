// Package embedded is a hypervisor that lives in this process: its VMs are
// values, its disks are entries in a World that all hosts share. It carries the
// simulation (everything is deterministic and works in a testing/synctest bubble)
// and the demo without QEMU. It imitates what libvirt was seen to do, the awkward
// parts above all: a daemon that restarts forgets why a VM stopped and takes one
// that ended meanwhile for crashed, a call that was given up takes effect later
// all the same.
package embedded

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// HostConfig is what a virtual host is made of.
type HostConfig struct {
	Name    string // the host, as the World names writers
	CPUs    int    // logical processors; 0 means 8
	MHz     int    // of one processor; 0 means 2400
	Memory  uint64 // bytes; 0 means 64 GiB
	Domains []DomainConfig
	// Offer is what Offer tells; the zero one leaves everything open, so that VMs find
	// all that they ask for.
	Offer vmm.Offer
}

// DomainConfig is a domain that a host knows from the beginning.
type DomainConfig struct {
	XML       string
	Running   bool // it runs when the host is made
	Autostart bool // it starts by itself whenever the host is powered on
	Transient bool // it has no definition that stays when it stops
}

// Delays is how long the hypervisor takes. Zero is at once.
type Delays struct {
	Answer   time.Duration // before any call is looked at
	Start    time.Duration // StartPaused, until the process exists
	Resume   time.Duration // until the virtual CPUs run
	Kill     time.Duration // until the process is gone
	Shutdown time.Duration // until the guest has shut down
	Migrate  time.Duration // until a GiB of memory is on another host
	Cutover  time.Duration // at the end of a migration, while the domain runs nowhere
}

// Host is one virtual host. It implements vmm.Hypervisor, and outlives the
// agents that use it: Close lets go of the subscriptions, and the next agent goes
// on with the same Host.
//
// A call with a delay that is given up (its context ends) takes effect all the
// same when the delay is over, as libvirtd carries out a request whose client has
// gone.
type Host struct {
	world *World
	cfg   HostConfig

	mu       sync.Mutex // guards everything below; never held while waiting
	changed  chan struct{}
	boot     int // lives of this host, from 1
	on       bool
	answers  daemon
	unproven bool
	deaf     bool // guests ignore Shutdown
	delays   Delays
	domains  map[string]*domain // by UUID
	faults   map[string]StartFault
	silent   map[string]bool // guests whose agent does not answer, by name or UUID
	bound    map[string]bool // domains that cannot be migrated, by name or UUID
	offer    vmm.Offer
	devices  []string       // that a guest can be handed; nil: all
	clashes  []string       // starts that were refused for want of one
	starting map[string]int // starts by UUID that were asked for and are not done
	subs     []*subscription
	ticks    uint64 // last start time that a process got
	pid      int    // last number that a process got

	migrateFaults map[string]MigrateFault
}

// daemon is what the hypervisor's daemon does with a call.
type daemon int

const (
	answering daemon = iota
	refusing         // it is not there
	hanging          // it takes the call and says nothing
)

// domain is one VM of one host.
type domain struct {
	domainxml.Definition
	xml       string
	hash      string
	devices   []string // of the host, by its definition
	transient bool
	autostart bool
	state     vmm.State
	reason    vmm.Reason
	process   vmm.Process
	run       int // number in the World while Running
	// arrival is what it is while it is a copy that was not let run yet; leaving and
	// arriving are the migration that takes it away or brings it.
	arrival           *arrival
	leaving, arriving *migration
}

var _ vmm.Hypervisor = (*Host)(nil)

// NewHost makes a host that is powered on, with its domains; those that are to
// run at once do. An error names the definition that cannot be taken.
func NewHost(w *World, cfg HostConfig) (*Host, error) {
	if cfg.CPUs == 0 {
		cfg.CPUs = 8
	}
	if cfg.MHz == 0 {
		cfg.MHz = 2400
	}
	if cfg.Memory == 0 {
		cfg.Memory = 64 << 30
	}
	h := &Host{
		world: w, cfg: cfg, boot: 1, on: true,
		changed:  make(chan struct{}),
		domains:  make(map[string]*domain),
		faults:   make(map[string]StartFault),
		silent:   make(map[string]bool),
		bound:    make(map[string]bool),
		offer:    cfg.Offer,
		starting: make(map[string]int),
		pid:      1000,

		migrateFaults: make(map[string]MigrateFault),
	}
	w.register(h)
	h.mu.Lock()
	defer h.unlock()
	for _, c := range cfg.Domains {
		d, err := h.define(c.XML)
		if err != nil {
			return nil, fmt.Errorf("domain of host %s: %w", cfg.Name, err)
		}
		d.autostart, d.transient = c.Autostart, c.Transient
		if c.Running {
			h.spawn(d)
			h.run(d, vmm.EventStarted)
		}
	}
	return h, nil
}

// Name is the host's name.
func (h *Host) Name() string { return h.cfg.Name }

// Boot is the number of the host's present life, from 1.
func (h *Host) Boot() int {
	h.mu.Lock()
	defer h.unlock()
	return h.boot
}

// unlock lets go of the mutex and then tells the world's listener what happened.
func (h *Host) unlock() {
	h.mu.Unlock()
	h.world.deliver()
}

// notify wakes the calls that wait for a change. Needs h.mu.
func (h *Host) notify() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// define takes a definition in. Needs h.mu.
func (h *Host) define(text string) (*domain, error) {
	def, err := domainxml.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", vmm.ErrBadXML, err)
	}
	hash, err := domainxml.Hash(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", vmm.ErrBadXML, err)
	}
	devices, err := domainxml.Devices(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", vmm.ErrBadXML, err)
	}
	for _, other := range h.domains {
		if other.Name == def.Name && other.UUID != def.UUID {
			return nil, fmt.Errorf("%w: domain %q already exists with uuid %s", vmm.ErrBadXML, def.Name, other.UUID)
		}
	}
	d := h.domains[def.UUID]
	if d == nil {
		d = &domain{state: vmm.Stopped, reason: vmm.ReasonUnknown}
		h.domains[def.UUID] = d
	}
	d.Definition, d.xml, d.hash, d.devices = def, text, hash, devices
	h.emit(d, vmm.EventDefined)
	return d, nil
}

// spawn gives a domain a process whose virtual CPUs do not run. Needs h.mu.
func (h *Host) spawn(d *domain) {
	h.pid++
	h.ticks++
	d.process = vmm.Process{PID: h.pid, StartTime: h.ticks}
	d.state, d.reason, d.arrival = vmm.Paused, vmm.ReasonUser, nil
}

// run lets the virtual CPUs of a domain run. Needs h.mu.
func (h *Host) run(d *domain, kind vmm.EventKind) {
	if d.state != vmm.Paused {
		return
	}
	d.state, d.reason = vmm.Running, ""
	d.run = h.world.begin(Run{UUID: d.UUID, Name: d.Name, Host: h.cfg.Name, Boot: h.boot}, d.arrival)
	d.arrival = nil
	h.emit(d, kind)
}

// pause stops the virtual CPUs of a domain. Needs h.mu.
func (h *Host) pause(d *domain, reason vmm.Reason) {
	if d.state != vmm.Running {
		return
	}
	h.world.end(d.run, EndedPaused)
	d.state, d.reason = vmm.Paused, reason
	h.emit(d, vmm.EventPaused)
}

// stop ends the process of a domain. Needs h.mu.
func (h *Host) stop(d *domain, reason vmm.Reason, how Ending) {
	if d.state == vmm.Stopped {
		return
	}
	if d.state == vmm.Running {
		h.world.end(d.run, how)
	}
	if h.answers == refusing {
		reason = vmm.ReasonCrashed // what libvirtd says of a process that it does not find again
	}
	d.state, d.reason, d.process, d.arrival = vmm.Stopped, reason, vmm.Process{}, nil
	for _, m := range []*migration{d.leaving, d.arriving} {
		if m != nil {
			m.fail(fmt.Errorf("its process on host %s ended", h.cfg.Name))
		}
	}
	d.leaving, d.arriving = nil, nil
	h.emit(d, vmm.EventStopped)
	if d.transient {
		delete(h.domains, d.UUID)
	}
}

// sorted returns the domains by name. Needs h.mu.
func (h *Host) sorted() []*domain {
	list := make([]*domain, 0, len(h.domains))
	for _, d := range h.domains {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b *domain) int {
		return strings.Compare(a.Name+"\x00"+a.UUID, b.Name+"\x00"+b.UUID)
	})
	return list
}

// enter waits until the daemon takes a call, and returns with h.mu held when err
// is nil.
func (h *Host) enter(ctx context.Context) error {
	h.mu.Lock()
	if d := h.delays.Answer; d > 0 {
		h.mu.Unlock()
		if err := sleep(ctx, d); err != nil {
			return h.unavailable(err)
		}
		h.mu.Lock()
	}
	for {
		switch {
		case ctx.Err() != nil:
			h.unlock()
			return h.unavailable(ctx.Err())
		case !h.on:
			h.unlock()
			return fmt.Errorf("%w: host %s is powered off", vmm.ErrUnavailable, h.cfg.Name)
		case h.answers == refusing:
			h.unlock()
			return fmt.Errorf("%w: its daemon on host %s is not there", vmm.ErrUnavailable, h.cfg.Name)
		case h.answers == answering:
			return nil
		}
		if err := h.wait(ctx); err != nil {
			return h.unavailable(err)
		}
	}
}

// wait lets go of h.mu until something about the host has changed, and takes it
// again. When ctx ends first it returns its error, without h.mu.
func (h *Host) wait(ctx context.Context) error {
	changed := h.changed
	h.unlock()
	select {
	case <-changed:
		h.mu.Lock()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Host) unavailable(err error) error {
	return fmt.Errorf("%w: host %s did not answer in time: %w", vmm.ErrUnavailable, h.cfg.Name, err)
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
