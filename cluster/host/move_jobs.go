package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/vmm"
)

// journey is a migration that this agent waits for.
type journey struct {
	move   uint64
	cancel context.CancelFunc
}

// migrate sends a VM to another host. That it was begun has been saved before.
func (h *Host) migrate(ctx context.Context, d Departure) {
	if _, leaves := h.leaving[d.UUID]; leaves || h.busy[d.UUID] {
		return
	}
	h.cfg.Log.Info("migrating VM", "vm", d.Name, "to", d.Host, "move", d.Move)
	mctx, cancel := context.WithCancel(ctx)
	h.leaving[d.UUID] = journey{move: d.Move, cancel: cancel}
	h.go_(func() {
		defer cancel()
		began := h.cfg.Now()
		err := h.tryMigrate(mctx, d)
		h.bring(ctx, func() {
			delete(h.leaving, d.UUID)
			h.settle[d.UUID], h.listDue = h.listNo+1, true // what it is now a list says that begins after this
			switch {
			case err == nil:
				h.cfg.Log.Info("VM has left", "vm", d.Name, "to", d.Host, "took", (h.cfg.Now() - began).Round(time.Millisecond))
				h.left[d.UUID] = Left{Move: d.Move, Moved: true}
				return
			case !errors.Is(err, vmm.ErrNotProven):
				h.left[d.UUID] = Left{Move: d.Move, Detail: err.Error()}
			}
			h.cfg.Log.Warn("VM was not migrated", "vm", d.Name, "to", d.Host, "error", err)
		})
	})
}

// tryMigrate returns nil when the target has the whole of the VM and nothing of it is left
// here; an error that wraps vmm.ErrNotProven leaves both open.
func (h *Host) tryMigrate(ctx context.Context, d Departure) error {
	if err := h.cfg.Gate(ctx); err != nil {
		return err
	}
	to := vmm.Destination{Host: d.Host}
	if h.cfg.Reach != nil {
		way, done, err := h.cfg.Reach(ctx, d.Host, d.UUID, d.Name)
		if err != nil {
			return fmt.Errorf("reach the hypervisor of %s: %w", d.Host, err)
		}
		defer done()
		to = way
	}
	s, _, _ := h.cfg.View()
	to.Bandwidth = h.cfg.Policy(s).Migration.Bandwidth
	return h.cfg.Hypervisor.Migrate(ctx, d.UUID, to)
}

// abort ends a migration from here: the one that this agent waits for, or one that an
// earlier agent began, or whose end is not known.
func (h *Host) abort(ctx context.Context, uuid string) {
	if j, leaves := h.leaving[uuid]; leaves {
		j.cancel()
		return
	}
	if h.busy[uuid] {
		return
	}
	move := h.record.Ways[uuid].Move
	h.cfg.Log.Warn("ending a migration that nobody waits for", "vm", uuid, "move", move)
	h.job(ctx, uuid, func(ctx context.Context) func() {
		if err := h.cfg.Gate(ctx); err != nil {
			return nil
		}
		cctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		if err := h.cfg.Hypervisor.AbortMigration(cctx, uuid); err != nil {
			h.cfg.Log.Error("cannot end a migration; trying again", "vm", uuid, "error", err)
			h.pause(ctx, time.Second)
			return nil
		}
		return func() {
			h.left[uuid] = Left{Move: move, Detail: "the agent of its host lost sight of it on its way, and ended that"}
		}
	})
}
