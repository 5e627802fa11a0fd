package recovery

import (
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/fsm"
)

// waitsFor is how it begins that a VM waits for the host that it was shut down with.
const waitsFor = "it waits for "

// awaitFrozen has VMs wait for the host that they were shut down with, as the policy's host_shutdown says,
// until it takes VMs again or has not come back in time. The planner then goes by their home, which that is.
func (p *planner) awaitFrozen() (steps []Step) {
	for _, vm := range p.State.SortedVMs() {
		if p.waiting[vm.UUID] == nil || !p.seen.Frozen(vm) {
			continue
		}
		until := inventory.FrozenUntil(vm.Frozen, p.Policy)
		steps = append(steps, Step{VM: vm, For: fsm.WaitHeld, Retry: until, Why: inventory.FrozenText(vm, until)})
		p.drop(vm)
	}
	return steps
}
