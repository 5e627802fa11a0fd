package whatif

import (
	"time"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
)

// Frozen is a VM that waits for the host that it was shut down with.
type Frozen struct {
	VM   string `json:"vm"`
	Host string `json:"host"`
	// Until is when it waits no longer; left out: it waits for ever.
	Until time.Time `json:"until,omitzero"`
	Why   string    `json:"why"`
}

// setAside are the VMs that are frozen, which the picture has as stopped: nothing that fails meanwhile starts
// them elsewhere.
func setAside(inv *inventory.Inventory, in inventory.Input) (all []Frozen) {
	for _, vm := range in.State.SortedVMs() {
		if in.Frozen(vm) {
			until := inventory.FrozenUntil(vm.Frozen, in.Policy)
			all = append(all, Frozen{VM: inv.Names[vm.UUID], Host: vm.Frozen.Host, Until: until, Why: inventory.FrozenText(vm, until)})
		}
	}
	return all
}
