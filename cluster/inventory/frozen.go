package inventory

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// FrozenUntil is when a VM waits no longer for the host that it was shut down with, by the policy's
// host_shutdown; zero: it waits for ever.
func FrozenUntil(f *fsm.Frozen, p *config.Policy) time.Time {
	if most := p.Shutdown.FreezeTimeout; most > 0 {
		return f.Since.Add(most)
	}
	return time.Time{}
}

// FrozenText says of a frozen VM what it waits for, until when, and what ends that.
func FrozenText(vm *fsm.VM, until time.Time) string {
	const clock = "15:04:05 MST"
	f, was, end := vm.Frozen, "shut down", ""
	if f.Reboot {
		was = "rebooted"
	}
	if !until.IsZero() {
		end = fmt.Sprintf(", until %s at the latest", until.UTC().Format(clock))
	}
	return fmt.Sprintf("it waits for %s, which was %s at %s with it%s: `haadm vms retry %s` starts it elsewhere now", f.Host, was, f.Since.UTC().Format(clock), end, vm.Name)
}

// Frozen reports whether a VM waits for the host that it was shut down with, and is started nowhere
// else until then: the host takes no VMs yet, and the time for that is not over.
func (in *Input) Frozen(vm *fsm.VM) bool {
	if vm.Frozen == nil || vm.Owner != nil || vm.Sighting != nil || vm.Intent != fsm.IntentRun {
		return false
	}
	i := slices.IndexFunc(in.Hosts, func(h Host) bool { return h.Name == vm.Frozen.Host })
	until := FrozenUntil(vm.Frozen, in.Policy)
	return i >= 0 && in.Hosts[i].State != placement.Up && (until.IsZero() || in.Now.Before(until))
}
