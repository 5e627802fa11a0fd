package libvirt

import (
	"context"
	"errors"
	"fmt"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// Kill ends every process of the VM and returns nil when it has seen each one
// end and found no other. The daemon is asked first, for its own books' sake, and
// gets Config.Grace; then the processes are killed past it. A start of ours that
// the daemon has not answered yet could still make a process: Kill waits for it.
func (d *Driver) Kill(ctx context.Context, uuid string) error {
	canonical, err := domainxml.CanonicalUUID(uuid)
	if err != nil {
		return fmt.Errorf("kill: %w: %w", vmm.ErrNotProven, err) // a slip of the caller must not pass for a proof
	}
	if err := d.awaitStart(ctx, canonical); err != nil {
		return fmt.Errorf("kill %s: %w: a start that was asked for is not answered: %w", uuid, vmm.ErrNotProven, err)
	}
	if err := d.killProcesses(ctx, canonical); err != nil {
		return fmt.Errorf("kill %s: %w: %w", uuid, vmm.ErrNotProven, err)
	}
	return nil
}

// awaitStart waits until no start of ours is open for this VM.
func (d *Driver) awaitStart(ctx context.Context, uuid string) error {
	for {
		d.mu.Lock()
		pending := d.starting[uuid]
		d.mu.Unlock()
		if pending == nil {
			return nil
		}
		select {
		case <-pending:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// killProcesses looks, kills, waits, and looks again until nothing is found.
func (d *Driver) killProcesses(ctx context.Context, uuid string) error {
	d.destroy(ctx, uuid)
	for {
		found, err := scanFor(d.cfg.Proc, uuid)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return nil
		}
		for _, q := range found {
			if err := d.end(ctx, q); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// destroy has the daemon end the domain, if it answers and there is anything to
// end: also a start that a person has just asked for. What came of it is seen in
// the processes.
func (d *Driver) destroy(ctx context.Context, uuid string) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Grace)
	defer cancel()
	ref, err := reference(uuid)
	if err != nil {
		return
	}
	_, err = call(ctx, d, func(l *rpc.Libvirt) (struct{}, error) {
		return struct{}{}, l.DomainDestroyFlags(ref, rpc.DomainDestroyDefault)
	})
	if err != nil && !hasCode(err, rpc.ErrNoDomain, rpc.ErrOperationInvalid) {
		d.log.Warn("the daemon did not end a VM, its process is killed", "vm", uuid, "error", err)
	}
}

// end kills one process and waits for its end.
func (d *Driver) end(ctx context.Context, q qemu) error {
	h, err := hold(d.cfg.Proc, q)
	if err != nil || h == nil {
		return err
	}
	defer h.close()
	if err := h.kill(); err != nil {
		return err
	}
	if err := h.wait(ctx); err != nil {
		if errors.Is(err, ctx.Err()) {
			return fmt.Errorf("process %d got SIGKILL and is not gone: %w", q.PID, err)
		}
		return err
	}
	return nil
}
