package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/vmm"
)

// ErrStartFault is wrapped by the error of a start that a StartFault made fail.
var ErrStartFault = errors.New("start fails as it was told to")

// StartFault makes starts of a domain fail or take long.
type StartFault struct {
	// Fails is how many of the next starts fail; below zero, all of them do.
	Fails int
	// Delay replaces Delays.Start while the fault is set, for starts that work too.
	Delay time.Duration
}

// SetStartFault makes starts of a domain (by name or UUID; "*" is every domain
// that has none of its own) fail or take long on this host. The zero value ends
// it. The domain need not be known yet.
func (h *Host) SetStartFault(vm string, f StartFault) {
	h.mu.Lock()
	defer h.unlock()
	if f == (StartFault{}) {
		delete(h.faults, vm)
		return
	}
	h.faults[vm] = f
}

// fault finds the fault that a domain's start meets. Needs h.mu.
func (h *Host) fault(d *domain) (StartFault, bool) {
	for _, key := range []string{d.UUID, d.Name, "*"} {
		if f, ok := h.faults[key]; ok {
			return f, true
		}
	}
	return StartFault{}, false
}

// consumeFault fails a start if it is to fail, and counts it. Needs h.mu.
func (h *Host) consumeFault(d *domain) error {
	for _, key := range []string{d.UUID, d.Name, "*"} {
		f, ok := h.faults[key]
		if !ok {
			continue
		}
		if f.Fails == 0 {
			return nil
		}
		if f.Fails > 0 {
			f.Fails--
			h.faults[key] = f
		}
		return fmt.Errorf("domain %s on host %s: %w", d.Name, h.cfg.Name, ErrStartFault)
	}
	return nil
}

// SetDelays sets how long the hypervisor takes from now on.
func (h *Host) SetDelays(d Delays) {
	h.mu.Lock()
	defer h.unlock()
	h.delays = d
}

// SetDown takes the daemon away, or brings it back. While it is away calls return
// vmm.ErrUnavailable, subscriptions close, VMs go on, and Kill works by the
// process. A daemon that comes back does not know why VMs had stopped before it went
// (vmm.ReasonUnknown), and takes those that ended while it was away for crashed,
// also when the guest shut itself down.
func (h *Host) SetDown(down bool) {
	h.mu.Lock()
	defer h.unlock()
	switch {
	case down:
		h.answers = refusing
		h.dropSubscriptions()
		h.world.endMoves(h)
		for _, d := range h.domains {
			if d.state == vmm.Stopped {
				d.reason = vmm.ReasonUnknown
			}
		}
	case h.answers == refusing:
		h.answers = answering
	}
	h.notify()
}

// SetHang makes the daemon take calls and not answer: they wait until their
// context ends, or until SetHang(false). VMs go on, and Kill works by the process.
func (h *Host) SetHang(hang bool) {
	h.mu.Lock()
	defer h.unlock()
	switch {
	case hang:
		h.answers = hanging
	case h.answers == hanging:
		h.answers = answering
	}
	h.notify()
}

// SetOffer changes what the host offers from now on.
func (h *Host) SetOffer(o vmm.Offer) {
	h.mu.Lock()
	defer h.unlock()
	h.offer = o
}

// SetGuestSilent makes a guest's agent (by name or UUID of the domain; "*" is all of
// them) not answer PingGuest, until it is set to false. The domain need not be known yet.
func (h *Host) SetGuestSilent(vm string, silent bool) {
	h.mu.Lock()
	defer h.unlock()
	h.silent[vm] = silent
}

// SetKillFails makes Kill return vmm.ErrNotProven, the VM going on, until it is
// set to false: a process that hangs in the kernel.
func (h *Host) SetKillFails(fails bool) {
	h.mu.Lock()
	defer h.unlock()
	h.unproven = fails
}

// SetGuestsIgnoreShutdown makes guests ignore what Shutdown asks of them.
func (h *Host) SetGuestsIgnoreShutdown(ignore bool) {
	h.mu.Lock()
	defer h.unlock()
	h.deaf = ignore
}

// PowerOff ends every VM at once. Definitions stay; transient domains are gone.
// Calls return vmm.ErrUnavailable until PowerOn. The caller ends the agent.
func (h *Host) PowerOff() {
	h.mu.Lock()
	defer h.unlock()
	h.dropSubscriptions()
	for _, d := range h.sorted() {
		h.stop(d, vmm.ReasonUnknown, EndedPowerOff)
		d.reason = vmm.ReasonUnknown
	}
	h.on = false
	h.notify()
}

// PowerOn begins another life of the host: its daemon answers, nothing is late or
// hangs, and domains with autostart start, as libvirt starts them at boot.
func (h *Host) PowerOn() {
	h.mu.Lock()
	defer h.unlock()
	if h.on {
		return
	}
	h.on = true
	h.boot++
	h.answers = answering
	h.unproven = false
	for _, d := range h.sorted() {
		if d.autostart {
			h.spawn(d)
			h.run(d, vmm.EventStarted)
		}
	}
	h.notify()
}

// KillAll ends the process of every VM at once, whatever Kill was told to do: the
// guard, or a reset of the machine from which it comes back without losing its
// memory of definitions.
func (h *Host) KillAll() {
	h.mu.Lock()
	defer h.unlock()
	for _, d := range h.sorted() {
		h.stop(d, vmm.ReasonCrashed, EndedGuard)
	}
	h.notify()
}

// CrashVM ends a VM's process as a crash of QEMU does. All of the following take
// a name or a UUID, and return an error when there is nothing to do it to.
func (h *Host) CrashVM(vm string) error {
	return h.toProcess("crash", vm, func(d *domain) { h.stop(d, vmm.ReasonCrashed, EndedCrashed) })
}

// GuestShutdown has the guest shut itself down.
func (h *Host) GuestShutdown(vm string) error {
	return h.toProcess("shut down", vm, func(d *domain) { h.stop(d, vmm.ReasonShutdown, EndedShutdown) })
}

// StorageError pauses a VM as an I/O error on its disk does.
func (h *Host) StorageError(vm string) error {
	return h.toProcess("pause", vm, func(d *domain) { h.pause(d, vmm.ReasonIOError) })
}

// PersonDestroy is a person's "virsh destroy", past the agent.
func (h *Host) PersonDestroy(vm string) error {
	return h.byPerson("destroy", vm, func(d *domain) error {
		h.stop(d, vmm.ReasonDestroyed, EndedDestroyed)
		return nil
	})
}

// PersonSuspend is a person's "virsh suspend".
func (h *Host) PersonSuspend(vm string) error {
	return h.byPerson("suspend", vm, func(d *domain) error {
		h.pause(d, vmm.ReasonUser)
		return nil
	})
}

// PersonResume is a person's "virsh resume": no lease is looked at.
func (h *Host) PersonResume(vm string) error {
	return h.byPerson("resume", vm, func(d *domain) error {
		if err := d.complete(); err != nil {
			return err
		}
		h.run(d, vmm.EventResumed)
		return nil
	})
}

// PersonStart is a person's "virsh start": it runs at once, no lease is looked at.
func (h *Host) PersonStart(vm string) error {
	return h.byPerson("start", vm, func(d *domain) error {
		if d.state != vmm.Stopped {
			return vmm.ErrRunning
		}
		if err := h.handOver(d); err != nil {
			return err
		}
		h.spawn(d)
		h.run(d, vmm.EventStarted)
		return nil
	})
}

// PersonDefine is a person's "virsh define": a new domain, or another definition
// of a known one, which a running VM goes by when it starts the next time.
func (h *Host) PersonDefine(ctx context.Context, xml string) error {
	if err := h.enter(ctx); err != nil {
		return fmt.Errorf("define: %w", err)
	}
	defer h.unlock()
	if _, err := h.define(xml); err != nil {
		return fmt.Errorf("define: %w", err)
	}
	return nil
}

// PersonUndefine is a person's "virsh undefine".
func (h *Host) PersonUndefine(vm string) error {
	return h.byPerson("undefine", vm, func(d *domain) error {
		d.transient = true
		h.emit(d, vmm.EventGone)
		if d.state == vmm.Stopped {
			delete(h.domains, d.UUID)
		}
		return nil
	})
}

// toProcess does something to the process of a VM; the daemon is not asked.
func (h *Host) toProcess(verb, vm string, do func(*domain)) error {
	h.mu.Lock()
	defer h.unlock()
	d := h.find(vm)
	if d == nil || d.state == vmm.Stopped {
		return fmt.Errorf("%s %s on host %s: it has no process there", verb, vm, h.cfg.Name)
	}
	do(d)
	return nil
}

// byPerson does what a person asks of the daemon, which must be there.
func (h *Host) byPerson(verb, vm string, do func(*domain) error) error {
	h.mu.Lock()
	defer h.unlock()
	if !h.on || h.answers != answering {
		return fmt.Errorf("%s %s on host %s: %w", verb, vm, h.cfg.Name, vmm.ErrUnavailable)
	}
	d := h.find(vm)
	if d == nil {
		return fmt.Errorf("%s %s on host %s: %w", verb, vm, h.cfg.Name, vmm.ErrNoDomain)
	}
	if err := do(d); err != nil {
		return fmt.Errorf("%s %s on host %s: %w", verb, vm, h.cfg.Name, err)
	}
	return nil
}

// find returns a domain by name or UUID, or nil. Needs h.mu.
func (h *Host) find(vm string) *domain {
	if d := h.domains[canonical(vm)]; d != nil {
		return d
	}
	for _, d := range h.domains {
		if d.Name == vm {
			return d
		}
	}
	return nil
}
