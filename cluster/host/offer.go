package host

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/vmm"
)

// offerEvery is how often a host looks what it has for VMs, when nothing has changed
// that it knows of, and offerTimeout how long its hypervisor may take to say.
const (
	offerEvery   = 20 * time.Second
	offerTimeout = 10 * time.Second
)

// offers is what the host has for VMs, as it was last found.
type offers struct {
	offer      vmm.Offer
	datastores []string          // nil: not known
	devices    map[string]string // of the policy: why they cannot be handed to a guest; nil: not known
	policy     uint64            // revision that the two were looked for by
	next       time.Duration
	busy       bool
}

// lookForOffer looks what the host has for VMs: now and then, and when the policy has
// changed or the hypervisor is back. What it says last stands while it does not answer.
func (h *Host) lookForOffer(ctx context.Context) {
	s, _, _ := h.cfg.View()
	now := h.cfg.Now()
	if s == nil || h.offers.busy || h.offers.policy == s.Policy.Revision && now < h.offers.next {
		return
	}
	h.offers.busy = true
	policy, revision := h.cfg.Policy(s), s.Policy.Revision
	h.go_(func() {
		if h.cfg.Gate(ctx) != nil {
			return
		}
		has, devices := datastores(policy, h.cfg.Has), devices(policy, h.cfg.Name, h.cfg.Device)
		cctx, cancel := context.WithTimeout(ctx, offerTimeout)
		defer cancel()
		offer, err := h.cfg.Hypervisor.Offer(cctx)
		h.bring(ctx, func() {
			o := &h.offers
			o.busy, o.datastores, o.devices, o.policy, o.next = false, has, devices, revision, h.cfg.Now()+offerEvery
			if err != nil {
				h.cfg.Log.Debug("the hypervisor does not say what it offers", "error", err)
				return
			}
			o.offer = offer
		})
	})
}

// datastores are those of the policy that the host has, sorted; nil when that cannot be told.
func datastores(p *config.Policy, has func(config.Datastore) bool) []string {
	if has == nil {
		return nil
	}
	list := []string{}
	for name, d := range p.Datastores {
		if has(d) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// devices says of those that the policy names of the host why they cannot be handed to a guest, by
// their words; nil when it names none, or when that cannot be told.
func devices(p *config.Policy, host string, device func(word, id string) string) map[string]string {
	if device == nil {
		return nil
	}
	var all map[string]string
	for _, pool := range p.Devices {
		for _, word := range pool.Hosts[host] {
			if all == nil {
				all = map[string]string{}
			}
			all[word] = device(word, pool.ID)
		}
	}
	return all
}
