package whatif

import (
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
)

// Frozen is a VM that waits for the host that it was shut down with.
type Frozen struct {
	VM   string `json:"vm"`
	Host string `json:"host"`
	// Until is when it waits no longer; left out: it waits for ever.
	Until time.Time `json:"until,omitzero"`
	Why   string    `json:"why"`
}

// setAside is the cluster without the VMs that are frozen: nothing that fails meanwhile starts them
// elsewhere. Maintenance of the host that they wait for does.
func (p *Plan) setAside(c *placement.Cluster, inv *inventory.Inventory, in inventory.Input, maintenance []string) *placement.Cluster {
	for _, vm := range in.State.SortedVMs() {
		if in.Frozen(vm) && !slices.Contains(maintenance, vm.Frozen.Host) {
			until := inventory.FrozenUntil(vm.Frozen, in.Policy)
			p.Frozen = append(p.Frozen, Frozen{VM: inv.Names[vm.UUID], Host: vm.Frozen.Host, Until: until, Why: inventory.FrozenText(vm, until)})
		}
	}
	if len(p.Frozen) == 0 {
		return c
	}
	after := *c
	after.VMs = slices.Clone(c.VMs)
	for i := range after.VMs {
		if slices.ContainsFunc(p.Frozen, func(f Frozen) bool { return f.VM == after.VMs[i].Name }) {
			after.VMs[i].Status = placement.Stopped
		}
	}
	return &after
}
