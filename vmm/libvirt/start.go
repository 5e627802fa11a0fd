package libvirt

import (
	"context"
	"errors"
	"fmt"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// StartPaused defines the domain and creates its process with the virtual CPUs
// stopped. When ctx ends while the daemon is at it, the error wraps
// vmm.ErrNotProven and vmm.ErrUnavailable: the process may still appear, and Kill
// waits until that is settled. Until then another start of the same VM is refused
// with vmm.ErrRunning.
func (d *Driver) StartPaused(ctx context.Context, xml string) (vmm.Process, error) {
	def, err := domainxml.Parse(xml)
	if err != nil {
		return vmm.Process{}, fmt.Errorf("start domain: %w: %w", vmm.ErrBadXML, err)
	}
	settle, err := d.claimStart(def.UUID)
	if err != nil {
		return vmm.Process{}, fmt.Errorf("start domain %s: %w", def.Name, err)
	}
	if err := d.prepare(ctx, def.UUID, xml); err != nil {
		settle()
		return vmm.Process{}, fmt.Errorf("start domain %s: %w", def.Name, err)
	}
	if err := d.create(ctx, def.UUID, settle); err != nil {
		return vmm.Process{}, fmt.Errorf("start domain %s: %w", def.Name, err)
	}
	found, err := scanFor(d.cfg.Proc, def.UUID)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("the daemon says that it runs, and it has %d processes", len(found))
	}
	if err != nil {
		return vmm.Process{}, fmt.Errorf("start domain %s: %w", def.Name, d.cleanUp(ctx, def.UUID, err))
	}
	return found[0].Process, nil
}

// claimStart makes this start the only one of its VM until settle is called.
func (d *Driver) claimStart(uuid string) (settle func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.starting[uuid] != nil {
		return nil, fmt.Errorf("%w: an earlier start is not answered yet", vmm.ErrRunning)
	}
	settled := make(chan struct{})
	d.starting[uuid] = settled
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.starting, uuid)
		close(settled)
	}, nil
}

// prepare makes sure that the VM does not run and defines it, without autostart.
func (d *Driver) prepare(ctx context.Context, uuid, xml string) error {
	found, err := scanFor(d.cfg.Proc, uuid)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("%w: process %d", vmm.ErrRunning, found[0].PID)
	}
	ref, err := reference(uuid)
	if err != nil {
		return err
	}
	_, err = call(ctx, d, func(l *rpc.Libvirt) (struct{}, error) {
		// An active domain has not been found by its process: it starts just now.
		state, _, err := l.DomainGetState(ref, 0)
		if err == nil && rpc.DomainState(state) != rpc.DomainShutoff {
			return struct{}{}, errActive
		}
		if err != nil && !hasCode(err, rpc.ErrNoDomain) {
			return struct{}{}, err
		}
		// Not held against the schema: another libvirt took this definition, perhaps
		// past its schema too, and a failover is no time to find that out.
		if _, err := l.DomainDefineXMLFlags(xml, 0); err != nil {
			return struct{}{}, refusedDefinition(err)
		}
		return struct{}{}, l.DomainSetAutostart(ref, 0)
	})
	if errors.Is(err, errActive) {
		return vmm.ErrRunning
	}
	return err
}

// errActive travels through call as an answer of the daemon.
var errActive = rpc.Error{Code: uint32(rpc.ErrOperationInvalid), Message: "domain is active"}

// refusedDefinition wraps vmm.ErrBadXML around the daemon's refusal of a
// definition; a connection that broke is no refusal.
func refusedDefinition(err error) error {
	if isAnswer(err) {
		return fmt.Errorf("%w: %w", vmm.ErrBadXML, err)
	}
	return err
}

// create has the daemon make the process. Unlike call it keeps the connection
// when ctx ends: how the start came out will be said on it, and settle waits for
// that. A daemon that goes away has settled it too: what it made is in /proc.
func (d *Driver) create(ctx context.Context, uuid string, settle func()) error {
	ref, err := reference(uuid)
	if err != nil {
		settle()
		return err
	}
	c, err := d.pool.get(ctx)
	if err != nil {
		settle()
		return err
	}
	answers := make(chan error, 1)
	go func() {
		defer d.pool.running.Done()
		_, err := c.rpc.DomainCreateWithFlags(ref, uint32(rpc.DomainStartPaused))
		if err != nil && !isAnswer(err) {
			d.pool.discard(c)
		} else {
			d.pool.put(c)
		}
		settle()
		answers <- err
	}()
	select {
	case err = <-answers:
	case <-ctx.Done():
		return fmt.Errorf("%w: the daemon was asked for it and may still do it: %w: %w", vmm.ErrNotProven, vmm.ErrUnavailable, ctx.Err())
	}
	if err == nil {
		return nil
	}
	if hasCode(err, rpc.ErrOperationInvalid) {
		// Somebody else started it since prepare looked: that one is not ours to end.
		if found, scanErr := scanFor(d.cfg.Proc, uuid); scanErr != nil || len(found) > 0 {
			return fmt.Errorf("%w: %w", vmm.ErrRunning, err)
		}
	}
	if !isAnswer(err) {
		err = fmt.Errorf("%w: connection lost: %w", vmm.ErrUnavailable, err)
	}
	return d.cleanUp(ctx, uuid, translate(err))
}

// cleanUp leaves no process of a start that failed; if it cannot prove that, the
// error it returns says so.
func (d *Driver) cleanUp(ctx context.Context, uuid string, failed error) error {
	found, err := scanFor(d.cfg.Proc, uuid)
	for _, q := range found {
		if err == nil {
			err = d.end(ctx, q)
		}
	}
	if err != nil {
		return fmt.Errorf("%w; %w: %w", failed, vmm.ErrNotProven, err)
	}
	return failed
}

// Resume lets the virtual CPUs of a paused domain run. Resuming one that runs is
// no error. A copy that came by Migrate is one of this host's VMs from then on, without
// autostart; one that has not come as a whole is refused.
func (d *Driver) Resume(ctx context.Context, uuid string) error {
	return d.simple(ctx, "resume", uuid, func(l *rpc.Libvirt, ref rpc.Domain) error {
		if err := wholeIfMarked(l, ref); err != nil {
			return err
		}
		err := l.DomainResume(ref)
		if hasCode(err, rpc.ErrOperationInvalid) {
			if state, _, stateErr := l.DomainGetState(ref, 0); stateErr == nil && rpc.DomainState(state) == rpc.DomainRunning {
				err = nil
			}
		}
		if err != nil {
			return err
		}
		// It runs: what its books still say of its arrival is no failure to let it run.
		if err := settleIn(l, ref); err != nil {
			d.log.Warn("a VM that was let run still counts as one that comes from another host, should it be paused", "vm", uuid, "error", err)
		}
		return nil
	})
}

// Shutdown asks the guest, by its agent or its power button, as libvirt thinks
// best. A domain that has stopped already is no error.
func (d *Driver) Shutdown(ctx context.Context, uuid string) error {
	return d.simple(ctx, "shut down", uuid, func(l *rpc.Libvirt, ref rpc.Domain) error {
		err := l.DomainShutdown(ref)
		if hasCode(err, rpc.ErrOperationInvalid) {
			if state, _, stateErr := l.DomainGetState(ref, 0); stateErr == nil && rpc.DomainState(state) == rpc.DomainShutoff {
				return nil
			}
		}
		return err
	})
}

// SetAutostart sets whether libvirtd starts the domain when it starts.
func (d *Driver) SetAutostart(ctx context.Context, uuid string, on bool) error {
	value := int32(0)
	if on {
		value = 1
	}
	return d.simple(ctx, "set autostart of", uuid, func(l *rpc.Libvirt, ref rpc.Domain) error {
		return l.DomainSetAutostart(ref, value)
	})
}
