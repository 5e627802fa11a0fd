package recovery

import (
	"fmt"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// waitsFor is how it begins that a VM waits for the host that it was shut down with.
const waitsFor = "it waits for "

// awaitFrozen has VMs wait for the host that they were shut down with, as the policy's host_shutdown says,
// until it takes VMs again or has not come back in time. The planner then goes by their home, which that is.
func (p *planner) awaitFrozen() (steps []Step) {
	for _, vm := range p.State.SortedVMs() {
		f := vm.Frozen
		if f == nil || p.waiting[vm.UUID] == nil {
			continue
		}
		h := p.hosts[f.Host]
		if h == nil || h.State == placement.Up {
			continue
		}
		was, until := "shut down", ""
		if f.Reboot {
			was = "rebooted"
		}
		s := Step{VM: vm, For: fsm.WaitHeld}
		if most := p.Policy.Shutdown.FreezeTimeout; most > 0 {
			if s.Retry = f.Since.Add(most); !p.Now.Before(s.Retry) {
				continue
			}
			until = fmt.Sprintf(", until %s at the latest", s.Retry.UTC().Format("15:04:05 MST"))
		}
		s.Why = fmt.Sprintf("%s%s, which was %s at %s with it%s: `haadm vms retry %s` starts it elsewhere now", waitsFor, f.Host, was, f.Since.UTC().Format("15:04:05 MST"), until, vm.Name)
		steps = append(steps, s)
		p.drop(vm)
	}
	return steps
}
