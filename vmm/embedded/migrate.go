package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/vmm"
)

// ErrMigrateFault is wrapped by the error of a migration that a MigrateFault made fail.
var ErrMigrateFault = errors.New("migration fails as it was told to")

// MigrateFault makes migrations of a domain fail.
type MigrateFault struct {
	// Fails is how many of the next migrations from this host break off half way; below
	// zero, all of them do.
	Fails int
	// Lost makes the last answer of the target get lost: its copy is whole, and the domain
	// goes on here all the same, so that the copy is older than its disk.
	Lost bool
}

// SetMigrateFault makes migrations of a domain (by name or UUID; "*" is every domain
// that has none of its own) from this host fail. The zero value ends it.
func (h *Host) SetMigrateFault(vm string, f MigrateFault) {
	h.mu.Lock()
	defer h.unlock()
	if f == (MigrateFault{}) {
		delete(h.migrateFaults, vm)
		return
	}
	h.migrateFaults[vm] = f
}

// SetMigratable sets whether a domain (by name or UUID) can be migrated from this host:
// one with a device of the host cannot. All can in the beginning.
func (h *Host) SetMigratable(vm string, can bool) {
	h.mu.Lock()
	defer h.unlock()
	h.bound[vm] = !can
}

// migration is one domain on its way from a host to another.
type migration struct {
	from, to   *Host
	uuid, name string
	process    vmm.Process // at the source
	copied     vmm.Process // at the target
	settled    chan struct{}

	mu     sync.Mutex // guards what follows; the innermost lock of all
	why    error      // what ended it before its time
	broken chan struct{}
}

// fail ends the migration, once. It may be called with any lock held.
func (m *migration) fail(why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.why == nil {
		m.why = why
		close(m.broken)
	}
}

func (m *migration) failed() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.why
}

// arrival is what a domain is that came from another host and has not been let run yet.
type arrival struct {
	whole bool // all of its memory is here
	runs  int  // of the VM, anywhere, that had begun when it became so
}

// Migrate sends a running domain to another host of the same World. Its memory takes
// Delays.Migrate for each GiB, its last pages Delays.Cutover, during which it runs nowhere.
// A copy is left at the target when it cannot be reached at the end, and when the answer is lost.
func (h *Host) Migrate(ctx context.Context, uuid string, to vmm.Destination) error {
	if err := h.enter(ctx); err != nil {
		return fmt.Errorf("migrate %s: %w", uuid, err)
	}
	d, err := h.known(uuid)
	if err != nil {
		h.unlock()
		return fmt.Errorf("migrate: %w", err)
	}
	delays, memory, uuid, name := h.delays, d.Memory, d.UUID, d.Name
	h.unlock()
	m := &migration{from: h, to: h.world.host(to.Host), uuid: uuid, name: name, settled: make(chan struct{}), broken: make(chan struct{})}
	if m.to == nil || m.to.cfg.Name == h.cfg.Name {
		return fmt.Errorf("migrate %s: there is no other host %q in this world", name, to.Host)
	}
	fault, err := m.begin()
	if err != nil {
		return fmt.Errorf("migrate %s to %s: %w", name, to.Host, err)
	}
	defer close(m.settled)
	transfer := time.Duration(float64(delays.Migrate) * float64(memory) / (1 << 30))
	if fault.Fails != 0 {
		m.wait(ctx, transfer/2)
		m.fail(ErrMigrateFault)
	}
	m.wait(ctx, transfer)
	m.both(func(d, _ *domain) {
		if m.failed() == nil && d != nil {
			h.pause(d, vmm.ReasonMigrated)
		}
	})
	m.wait(ctx, delays.Cutover)
	if err := m.settle(fault.Lost); err != nil {
		return fmt.Errorf("migrate %s to %s: %w", name, to.Host, err)
	}
	return nil
}

// begin creates the copy, and returns the fault that the migration meets.
func (m *migration) begin() (fault MigrateFault, err error) {
	m.both(func(d, c *domain) {
		h, t := m.from, m.to
		switch {
		case d == nil || d.state != vmm.Running:
			err = errors.New("the domain does not run")
		case d.leaving != nil:
			err = errors.New("it is on its way already")
		case h.bound[d.Name] || h.bound[d.UUID]:
			err = errors.New("it has a device of the host and cannot be migrated")
		case !m.reachable():
			err = fmt.Errorf("the hypervisor of host %s does not answer", t.cfg.Name)
		case c != nil && c.state != vmm.Stopped || t.starting[m.uuid] > 0:
			err = fmt.Errorf("on host %s: %w", t.cfg.Name, vmm.ErrRunning)
		}
		if err != nil {
			return
		}
		known := c != nil
		if c, err = t.define(d.xml); err != nil {
			return
		}
		if !known {
			c.transient = true // its definition stays once it is whole
		}
		c.autostart = false
		t.spawn(c)
		c.reason, c.arrival, c.arriving = vmm.ReasonIncoming, &arrival{}, m
		m.process, m.copied, d.leaving = d.process, c.process, m
		h.world.move(m)
		t.emit(c, vmm.EventStarted)
		t.emit(c, vmm.EventPaused)
		t.notify()
		fault = h.consumeMigrateFault(d)
	})
	return fault, err
}

// consumeMigrateFault counts a migration that is to fail. Needs h.mu.
func (h *Host) consumeMigrateFault(d *domain) MigrateFault {
	for _, key := range []string{d.UUID, d.Name, "*"} {
		f, ok := h.migrateFaults[key]
		if !ok {
			continue
		}
		if left := f; f.Fails > 0 {
			left.Fails--
			h.migrateFaults[key] = left
		}
		return f
	}
	return MigrateFault{}
}

// wait lets the time pass that something takes, unless the migration is ended before.
func (m *migration) wait(ctx context.Context, d time.Duration) {
	if d > 0 && m.failed() == nil && ctx.Err() == nil {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-m.broken:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		m.fail(fmt.Errorf("it was called off: %w", ctx.Err()))
	}
}

// both looks at the two domains with both hosts locked, always in the same order. A
// domain is nil that is not the migration's any more.
func (m *migration) both(do func(d, c *domain)) {
	first, second := m.from, m.to
	if second.cfg.Name < first.cfg.Name {
		first, second = second, first
	}
	first.mu.Lock()
	second.mu.Lock()
	defer m.from.world.deliver()
	defer first.mu.Unlock()
	defer second.mu.Unlock()
	d, c := m.from.domains[m.uuid], m.to.domains[m.uuid]
	if d != nil && m.process != (vmm.Process{}) && d.process != m.process {
		d = nil
	}
	if c != nil && m.copied != (vmm.Process{}) && c.process != m.copied {
		c = nil
	}
	do(d, c)
}

// reachable needs both hosts' mutexes.
func (m *migration) reachable() bool {
	return m.to.on && m.to.answers == answering && m.from.on && !m.from.world.cut(m.from.cfg.Name, m.to.cfg.Name)
}

// settle ends the migration one way or the other. lost: what the target says at the
// end does not arrive.
func (m *migration) settle(lost bool) (err error) {
	m.both(func(d, c *domain) {
		m.from.world.moved(m)
		if d != nil {
			d.leaving = nil
		}
		if c != nil {
			c.arriving = nil
		}
		err = m.failed()
		if err == nil && (d == nil || c == nil || d.state != vmm.Paused || d.reason != vmm.ReasonMigrated || !m.reachable()) {
			err = errors.New("it broke off at the end")
		}
		if err == nil {
			c.arrival.whole, c.arrival.runs, c.transient = true, m.from.world.began(m.uuid), false
			m.to.notify()
			switch {
			case lost:
				err = fmt.Errorf("%w: the last answer was lost", ErrMigrateFault)
			case m.from.unproven:
				err = fmt.Errorf("%w: process %d does not end", vmm.ErrNotProven, m.process.PID)
				return
			default:
				m.from.stop(d, vmm.ReasonMigrated, EndedMigrated)
				m.from.notify()
				return
			}
		}
		if c != nil && !c.arrival.whole && m.reachable() {
			m.to.stop(c, vmm.ReasonFailed, EndedCrashed)
			m.to.notify()
		}
		if d != nil && d.state == vmm.Paused && d.reason == vmm.ReasonMigrated {
			m.from.run(d, vmm.EventResumed)
		}
	})
	return err
}

// AbortMigration ends a migration from here, waits until that is done, and lets a
// domain go on that was stopped for one.
func (h *Host) AbortMigration(ctx context.Context, uuid string) error {
	if err := h.enter(ctx); err != nil {
		return fmt.Errorf("abort the migration of %s: %w", uuid, err)
	}
	d := h.domains[canonical(uuid)]
	if d == nil || d.leaving == nil {
		if d != nil && d.state == vmm.Paused && d.reason == vmm.ReasonMigrated {
			h.run(d, vmm.EventResumed)
		}
		h.unlock()
		return nil
	}
	m := d.leaving
	h.unlock()
	m.fail(errors.New("it was called off"))
	select {
	case <-m.settled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("abort the migration of %s: %w", m.name, h.unavailable(ctx.Err()))
	}
}

// SetCut cuts the connection between the hypervisors of two hosts, by name, or mends
// it. A migration between them ends at once, and its copy is left at the target.
func (w *World) SetCut(a, b string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b < a {
		a, b = b, a
	}
	w.cuts[[2]string{a, b}] = cut
	for m := range w.moving {
		if cut && (m.from.cfg.Name == a && m.to.cfg.Name == b || m.from.cfg.Name == b && m.to.cfg.Name == a) {
			m.fail(fmt.Errorf("the connection between %s and %s broke", m.from.cfg.Name, m.to.cfg.Name))
		}
	}
}

// endMoves ends the migrations that a host has a part in: its daemon goes away. It may be
// called with the host's mutex held.
func (w *World) endMoves(h *Host) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for m := range w.moving {
		if m.from == h || m.to == h {
			m.fail(fmt.Errorf("the daemon of host %s went away", h.cfg.Name))
		}
	}
}

func (w *World) cut(a, b string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b < a {
		a, b = b, a
	}
	return w.cuts[[2]string{a, b}]
}

func (w *World) host(name string) *Host {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hosts[name]
}

func (w *World) move(m *migration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moving[m] = true
}

func (w *World) moved(m *migration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.moving, m)
}

// began counts the runs of a VM that ever began.
func (w *World) began(uuid string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.begun[uuid]
}
