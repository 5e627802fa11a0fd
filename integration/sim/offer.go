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
