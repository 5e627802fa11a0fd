package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// listing is what the hypervisor said when it was asked last.
type listing struct {
	no       uint64
	began    time.Duration // boot clock
	domains  []vmm.Domain
	capacity vmm.Capacity
	err      error
}

const (
	startTimeout = 60 * time.Second // of creating a VM's process
	killTimeout  = 10 * time.Second // of one try to end it
	callTimeout  = 10 * time.Second // of any other call to the hypervisor
)

// job runs f for one VM, whose state is not counted on until a listing that
// began after f has ended.
func (h *Host) job(ctx context.Context, uuid string, f func(ctx context.Context) (after func())) {
	h.busy[uuid] = true
	h.go_(func() {
		after := f(ctx)
		h.bring(ctx, func() {
			delete(h.busy, uuid)
			h.settle[uuid] = h.listNo + 1
			h.listDue = true
			if after != nil {
				after()
			}
		})
	})
}

// start carries out an order: create the process with its processors stopped, or take the
// copy that waits so, have the guard cover it, check the lease again, and only then let it run.
// That the order is executed has been saved before (O2).
func (h *Host) start(ctx context.Context, o Order) {
	if !h.assertLawful(o) {
		return
	}
	h.starts++
	l, t, dog := h.lease, h.cfg.Timing, h.record.Watchdog.Timeout != 0
	h.cfg.Log.Info("starting VM", "vm", o.Name, "generation", o.Generation, "reason", o.Why)
	h.job(ctx, o.UUID, func(ctx context.Context) func() {
		fail := h.tryStart(ctx, o, func() bool { return h.permits(l, t) && (!dog || h.resetBy() != 0) })
		return func() {
			h.starts--
			if fail == nil {
				delete(h.failed, o.UUID)
				h.ran[o.UUID] = o.Generation
				if o.Lost {
					h.anew[o.UUID] = o.Generation
				}
				return
			}
			h.cfg.Log.Warn("VM was not started", "vm", o.Name, "generation", o.Generation, "error", fail.Detail)
			if !fail.Running {
				h.failed[o.UUID] = *fail
			}
		}
	})
}

// permits reports whether the lease under which something was begun still leaves the margin. The
// deadline that counts is the guard's: it may have been extended meanwhile, never revived.
func (h *Host) permits(l lease.Lease, t lease.Timing) bool {
	g := h.cfg.Guard.Status()
	return g.Incarnation == l.Incarnation && g.Tripped == 0 && h.cfg.Now()+t.StartMargin() <= g.Deadline
}

// tryStart returns nil once the VM runs; otherwise no process of it is left, or
// the guard covers what is.
func (h *Host) tryStart(ctx context.Context, o Order, permitted func() bool) *StartFailure {
	failed := func(format string, args ...any) *StartFailure {
		return &StartFailure{Generation: o.Generation, Detail: fmt.Sprintf(format, args...)}
	}
	xml, err := fsm.UnpackXML(o.XML)
	if err == nil && o.Devices != nil {
		xml, err = domainxml.WithDevices(xml, o.Devices)
	}
	if err != nil {
		return failed("%v", err)
	}
	if err := h.cfg.Gate(ctx); err != nil || !permitted() {
		if o.Copy != (vmm.Process{}) {
			h.undo(ctx, o.UUID)
		}
		return &StartFailure{Generation: o.Generation,
			Detail: "the lease left too little time to start it, or the watchdog was lost", Released: true}
	}
	sctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p := o.Copy
	if p == (vmm.Process{}) {
		p, err = h.cfg.Hypervisor.StartPaused(sctx, xml)
	}
	if errors.Is(err, vmm.ErrRunning) && !errors.Is(err, vmm.ErrNotProven) {
		return &StartFailure{Generation: o.Generation, Detail: err.Error(), Running: true} // not ours to end: the next round takes it as it is
	}
	if err != nil {
		h.undo(ctx, o.UUID)
		return failed("%v", err)
	}
	if err := h.cfg.Guard.Cover(o.UUID, p.PID, p.StartTime); err != nil {
		h.undo(ctx, o.UUID)
		return failed("the guard does not cover it: %v", err)
	}
	if err := h.cfg.Gate(ctx); err != nil || !permitted() {
		h.undo(ctx, o.UUID)
		return &StartFailure{Generation: o.Generation, Detail: "the lease ran out while its process was created", Released: true}
	}
	if err := h.cfg.Hypervisor.Resume(sctx, o.UUID); err != nil {
		h.undo(ctx, o.UUID)
		return failed("%v", err)
	}
	return nil
}

// undo ends what a failed start may have left, and tries until it is proven.
func (h *Host) undo(ctx context.Context, uuid string) {
	for ctx.Err() == nil {
		kctx, cancel := context.WithTimeout(ctx, killTimeout)
		err := h.cfg.Hypervisor.Kill(kctx, uuid)
		cancel()
		if err == nil || errors.Is(err, vmm.ErrNoDomain) {
			h.cfg.Guard.Uncover(uuid)
			return
		}
		h.cfg.Log.Error("cannot undo a start", "vm", uuid, "error", err)
		h.pause(ctx, time.Second)
	}
}

func (h *Host) kill(ctx context.Context, uuid, why string) {
	if h.busy[uuid] {
		return
	}
	h.cfg.Log.Warn("stopping VM", "vm", uuid, "reason", why)
	h.job(ctx, uuid, func(ctx context.Context) func() {
		if err := h.cfg.Gate(ctx); err != nil {
			return nil
		}
		kctx, cancel := context.WithTimeout(ctx, killTimeout)
		defer cancel()
		err := h.cfg.Hypervisor.Kill(kctx, uuid)
		if err == nil || errors.Is(err, vmm.ErrNoDomain) {
			h.cfg.Guard.Uncover(uuid)
			return func() {
				delete(h.unproven, uuid)
				h.killed[uuid] = why
			}
		}
		h.cfg.Log.Error("cannot stop VM; trying again", "vm", uuid, "error", err)
		h.pause(ctx, 200*time.Millisecond)
		return func() { h.unproven[uuid] = true }
	})
}

// cover has the guard cover a VM that runs already.
// The guard may take a while, which the heartbeats must not wait for.
func (h *Host) cover(ctx context.Context, d vmm.Domain) {
	if h.covering[d.UUID] {
		return
	}
	h.covering[d.UUID] = true
	h.go_(func() {
		err := h.cfg.Guard.Cover(d.UUID, d.PID, d.StartTime)
		expired := errors.Is(err, fencing.ErrExpired)
		if err != nil && !expired {
			h.cfg.Log.Error("the guard does not cover VM", "vm", d.Name, "error", err)
			h.pause(ctx, time.Second)
		}
		h.bring(ctx, func() {
			delete(h.covering, d.UUID)
			switch {
			case expired:
				h.kill(ctx, d.UUID, "the lease has ended")
			case err == nil:
				h.covers[d.UUID] = vmm.Process{PID: d.PID, StartTime: d.StartTime}
			}
		})
	})
}

func (h *Host) shutdown(ctx context.Context, uuid string) {
	h.go_(func() {
		cctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		if err := h.cfg.Hypervisor.Shutdown(cctx, uuid); err != nil {
			h.cfg.Log.Warn("cannot ask VM to shut down", "vm", uuid, "error", err)
		}
	})
}

func (h *Host) autostartOff(ctx context.Context, uuid string) {
	if h.busy[uuid] {
		return
	}
	h.job(ctx, uuid, func(ctx context.Context) func() {
		cctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		if err := h.cfg.Hypervisor.SetAutostart(cctx, uuid, false); err != nil {
			h.cfg.Log.Warn("cannot switch autostart off", "vm", uuid, "error", err)
			h.pause(ctx, time.Second)
		}
		return nil
	})
}
