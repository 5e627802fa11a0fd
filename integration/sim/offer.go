package sim

import (
	"context"

	"github.com/holdfast-ha/holdfast/vmm"
)

// Offer implements vmm.Hypervisor.
func (h *hypervisor) Offer(ctx context.Context) (vmm.Offer, error) {
	return call(ctx, h, h.host.Offer)
}

// PingGuest implements vmm.Hypervisor.
func (h *hypervisor) PingGuest(ctx context.Context, uuid string) error {
	return do(ctx, h, func(ctx context.Context) error { return h.host.PingGuest(ctx, uuid) })
}

// Migrate implements vmm.Hypervisor. An agent that is killed ends no migration: the
// hypervisors go on with it.
func (h *hypervisor) Migrate(ctx context.Context, uuid string, to vmm.Destination) error {
	return do(ctx, h, func(ctx context.Context) error {
		mctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan error, 1)
		go func() {
			defer cancel()
			done <- h.host.Migrate(mctx, uuid, to)
		}()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
		}
		if h.l.ended() {
			return errKilled
		}
		cancel()
		return <-done
	})
}

// AbortMigration implements vmm.Hypervisor.
func (h *hypervisor) AbortMigration(ctx context.Context, uuid string) error {
	return do(ctx, h, func(ctx context.Context) error { return h.host.AbortMigration(ctx, uuid) })
}

// Usage implements vmm.Hypervisor.
func (h *hypervisor) Usage(ctx context.Context) (map[string]vmm.Use, error) {
	return call(ctx, h, h.host.Usage)
}
