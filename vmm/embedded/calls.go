package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// Capacity tells the configured size, and what the processes that exist leave free.
func (h *Host) Capacity(ctx context.Context) (vmm.Capacity, error) {
	if err := h.enter(ctx); err != nil {
		return vmm.Capacity{}, fmt.Errorf("read capacity: %w", err)
	}
	defer h.unlock()
	c := vmm.Capacity{
		CPUs: h.cfg.CPUs, MHz: h.cfg.MHz, Memory: h.cfg.Memory, MemoryFree: h.cfg.Memory,
		Hypervisor: "embedded",
	}
	for _, d := range h.domains {
		if d.state != vmm.Stopped {
			c.MemoryFree -= min(d.Memory, c.MemoryFree)
		}
	}
	return c, nil
}

// Offer tells what the host was made with, or SetOffer said last.
func (h *Host) Offer(ctx context.Context) (vmm.Offer, error) {
	if err := h.enter(ctx); err != nil {
		return vmm.Offer{}, fmt.Errorf("read what the host offers: %w", err)
	}
	defer h.unlock()
	o := h.offer
	o.Networks, o.Pools = slices.Clone(o.Networks), slices.Clone(o.Pools)
	o.Capabilities, o.HugePages = slices.Clone(o.Capabilities), maps.Clone(o.HugePages)
	return o, nil
}

// PingGuest is answered by every guest that runs, unless SetGuestSilent says otherwise.
func (h *Host) PingGuest(ctx context.Context, uuid string) error {
	if err := h.enter(ctx); err != nil {
		return fmt.Errorf("ask the guest agent of %s: %w", uuid, err)
	}
	defer h.unlock()
	d, err := h.known(uuid)
	switch {
	case err != nil:
		return fmt.Errorf("ask the guest agent: %w", err)
	case d.state != vmm.Running:
		return fmt.Errorf("ask the guest agent of %s: the domain does not run", d.Name)
	case h.silent[d.Name] || h.silent[d.UUID] || h.silent["*"]:
		return fmt.Errorf("ask the guest agent of %s: it does not answer", d.Name)
	}
	return nil
}

// Domains lists every domain, by name.
func (h *Host) Domains(ctx context.Context) ([]vmm.Domain, error) {
	if err := h.enter(ctx); err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	defer h.unlock()
	list := make([]vmm.Domain, 0, len(h.domains))
	for _, d := range h.sorted() {
		list = append(list, vmm.Domain{
			UUID: d.UUID, Name: d.Name, State: d.state, Reason: d.reason,
			Persistent: !d.transient, Autostart: d.autostart, PID: d.process.PID, StartTime: d.process.StartTime,
			VCPUs: d.VCPUs, Memory: d.Memory, XMLHash: d.hash, Devices: d.devices,
		})
	}
	return list, nil
}

// XML returns the text that the domain was last defined from.
func (h *Host) XML(ctx context.Context, uuid string) (string, error) {
	if err := h.enter(ctx); err != nil {
		return "", fmt.Errorf("read definition of %s: %w", uuid, err)
	}
	defer h.unlock()
	d, err := h.known(uuid)
	if err != nil {
		return "", fmt.Errorf("read definition of %s: %w", uuid, err)
	}
	return d.xml, nil
}

// StartPaused defines the domain and creates its process after Delays.Start.
// When ctx ends before that, the error wraps vmm.ErrNotProven: the process will
// appear (paused), and Kill waits for it before it proves anything.
func (h *Host) StartPaused(ctx context.Context, xml string) (vmm.Process, error) {
	if err := h.enter(ctx); err != nil {
		return vmm.Process{}, fmt.Errorf("start domain: %w", err)
	}
	d, delay, err := h.prepare(xml)
	if err != nil {
		h.unlock()
		return vmm.Process{}, fmt.Errorf("start domain: %w", err)
	}
	uuid, name := d.UUID, d.Name
	h.starting[uuid]++
	h.unlock()

	var process vmm.Process
	err = h.later(ctx, delay, func(alive bool) error {
		if h.starting[uuid]--; h.starting[uuid] == 0 {
			delete(h.starting, uuid)
		}
		if !alive {
			return fmt.Errorf("%w: host %s lost its power", vmm.ErrUnavailable, h.cfg.Name)
		}
		var err error
		process, err = h.create(uuid)
		return err
	})
	if errors.Is(err, errGivenUp) {
		return vmm.Process{}, fmt.Errorf("start domain %s: %w: the start was asked for and may still happen: %w: %w",
			name, vmm.ErrNotProven, vmm.ErrUnavailable, err)
	}
	if err != nil {
		return vmm.Process{}, fmt.Errorf("start domain %s: %w", name, err)
	}
	return process, nil
}

// prepare checks and defines what is to be started and says how long the start
// takes. Needs h.mu.
func (h *Host) prepare(xml string) (*domain, time.Duration, error) {
	def, err := domainxml.Parse(xml)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", vmm.ErrBadXML, err)
	}
	if d := h.domains[def.UUID]; (d != nil && d.state != vmm.Stopped) || h.starting[def.UUID] > 0 {
		return nil, 0, fmt.Errorf("%s: %w", def.Name, vmm.ErrRunning)
	}
	d, err := h.define(xml)
	if err != nil {
		return nil, 0, err
	}
	d.autostart, d.transient = false, false
	delay := h.delays.Start
	if f, ok := h.fault(d); ok && f.Delay > 0 {
		delay = f.Delay
	}
	return d, delay, nil
}

// create makes the process of a domain, or fails as a fault tells it to. Needs h.mu.
func (h *Host) create(uuid string) (vmm.Process, error) {
	d, err := h.known(uuid)
	if err != nil {
		return vmm.Process{}, err
	}
	if d.state != vmm.Stopped {
		return vmm.Process{}, fmt.Errorf("%s: %w", d.Name, vmm.ErrRunning)
	}
	if err := h.consumeFault(d); err != nil {
		d.reason = vmm.ReasonFailed // libvirt has no event for this either
		return vmm.Process{}, err
	}
	if err := h.handOver(d); err != nil {
		d.reason = vmm.ReasonFailed
		return vmm.Process{}, err
	}
	h.spawn(d)
	h.emit(d, vmm.EventStarted) // libvirt says both, in this order
	h.emit(d, vmm.EventPaused)
	return d.process, nil
}

// Resume lets a paused domain run, after Delays.Resume. Resuming one that runs is
// no error.
func (h *Host) Resume(ctx context.Context, uuid string) error {
	if err := h.enter(ctx); err != nil {
		return fmt.Errorf("resume %s: %w", uuid, err)
	}
	d, err := h.known(uuid)
	if err != nil {
		h.unlock()
		return fmt.Errorf("resume: %w", err)
	}
	name, process, delay := d.Name, d.process, h.delays.Resume
	h.unlock()
	err = h.later(ctx, delay, func(alive bool) error {
		if !alive || d.state == vmm.Stopped || d.process != process {
			return errors.New("the domain has no process")
		}
		if err := d.complete(); err != nil {
			return err
		}
		h.run(d, vmm.EventResumed)
		return nil
	})
	if errors.Is(err, errGivenUp) {
		err = h.unavailable(ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("resume %s: %w", name, err)
	}
	return nil
}

// complete refuses a copy whose memory is not all here, and a domain that leaves at this moment.
func (d *domain) complete() error {
	switch {
	case d.arrival != nil && !d.arrival.whole:
		return errors.New("its memory has not all come from the other host")
	case d.leaving != nil && d.state == vmm.Paused:
		return errors.New("it is leaving for another host")
	}
	return nil
}

// Shutdown asks the guest, which obeys after Delays.Shutdown unless it ignores
// such requests. A domain that has stopped already is no error.
func (h *Host) Shutdown(ctx context.Context, uuid string) error {
	if err := h.enter(ctx); err != nil {
		return fmt.Errorf("shut down %s: %w", uuid, err)
	}
	defer h.unlock()
	d, err := h.known(uuid)
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	if h.deaf || d.state != vmm.Running {
		return nil
	}
	if h.delays.Shutdown <= 0 {
		h.stop(d, vmm.ReasonShutdown, EndedShutdown)
		return nil
	}
	process := d.process
	time.AfterFunc(h.delays.Shutdown, func() {
		h.mu.Lock()
		defer h.unlock()
		if d.process == process && d.state == vmm.Running {
			h.stop(d, vmm.ReasonShutdown, EndedShutdown)
		}
	})
	return nil
}

// Kill ends the domain's process, after Delays.Kill, whether the daemon answers
// or not. It returns nil when there is no process and no start that could still
// make one.
func (h *Host) Kill(ctx context.Context, uuid string) error {
	uuid, err := domainxml.CanonicalUUID(uuid)
	if err != nil {
		return fmt.Errorf("kill: %w: %w", vmm.ErrNotProven, err) // a slip of the caller must not pass for a proof
	}
	h.mu.Lock()
	for h.starting[uuid] > 0 {
		if err := h.wait(ctx); err != nil {
			return fmt.Errorf("kill %s: %w: a start that was asked for is not done: %w", uuid, vmm.ErrNotProven, err)
		}
	}
	d := h.domains[uuid]
	if d == nil || d.state == vmm.Stopped {
		h.unlock()
		return nil
	}
	name, process, delay := d.Name, d.process, h.delays.Kill
	if h.unproven {
		h.unlock()
		return fmt.Errorf("kill %s: %w: process %d does not end", name, vmm.ErrNotProven, process.PID)
	}
	h.unlock()
	err = h.later(ctx, delay, func(bool) error {
		if d.process == process {
			reason := vmm.ReasonDestroyed
			if h.answers != answering {
				reason = vmm.ReasonCrashed // the process was killed past the daemon
			}
			h.stop(d, reason, EndedKilled)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("kill %s: %w: process %d: %w", name, vmm.ErrNotProven, process.PID, err)
	}
	return nil
}

// SetAutostart sets whether PowerOn starts the domain.
func (h *Host) SetAutostart(ctx context.Context, uuid string, on bool) error {
	if err := h.enter(ctx); err != nil {
		return fmt.Errorf("set autostart of %s: %w", uuid, err)
	}
	defer h.unlock()
	d, err := h.known(uuid)
	if err != nil {
		return fmt.Errorf("set autostart: %w", err)
	}
	if d.transient {
		return fmt.Errorf("set autostart of %s: a transient domain cannot have it", d.Name)
	}
	d.autostart = on
	return nil
}

// Close ends every subscription. The VMs go on, and so does the Host: the next
// agent uses the same one.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.unlock()
	h.dropSubscriptions()
	return nil
}

// known finds a domain. Needs h.mu.
func (h *Host) known(uuid string) (*domain, error) {
	d := h.domains[canonical(uuid)]
	if d == nil {
		return nil, fmt.Errorf("%s on host %s: %w", uuid, h.cfg.Name, vmm.ErrNoDomain)
	}
	return d, nil
}

func canonical(uuid string) string {
	if c, err := domainxml.CanonicalUUID(uuid); err == nil {
		return c
	}
	return uuid
}

// errGivenUp: the caller's context ended; the request takes effect all the same.
var errGivenUp = errors.New("given up")

// later carries out effect under h.mu once delay is over, and waits for it. alive
// tells effect whether the host has been powered on all the time. The effect
// happens even when ctx ends first; then the error wraps errGivenUp.
func (h *Host) later(ctx context.Context, delay time.Duration, effect func(alive bool) error) error {
	h.mu.Lock()
	boot := h.boot
	finish := func() error { // needs h.mu
		defer h.unlock()
		err := effect(h.on && h.boot == boot)
		h.notify()
		return err
	}
	if delay <= 0 {
		return finish()
	}
	h.mu.Unlock()
	done := make(chan error, 1)
	time.AfterFunc(delay, func() {
		h.mu.Lock()
		done <- finish()
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errGivenUp, ctx.Err())
	}
}
