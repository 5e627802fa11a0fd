package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/fsm"
)

// unsure are the hosts that have to be heard once more before the VM is started anywhere (O5).
func (w World) unsure(vm *fsm.VM) (hosts []string) {
	if w.vmState(vm) != VMWaiting {
		return nil
	}
	for _, h := range w.State.SortedHosts() {
		if slices.Contains(w.Observed[h.Name].Unsure, vm.UUID) {
			hosts = append(hosts, h.Name)
		}
	}
	return hosts
}

// waiting says why nobody owns a VM that shall run; empty where nothing is known.
func (w World) waiting(vm *fsm.VM) string {
	hosts := w.unsure(vm)
	switch f := w.frozenView(vm); {
	case len(hosts) == 0 && f != nil:
		return inventory.FrozenText(vm, f.Until)
	case len(hosts) == 0:
		return vm.Waiting
	}
	return fmt.Sprintf("somebody may have started it by hand, so every host is heard once more before it is started (rule O5); still to be heard: %s",
		strings.Join(hosts, ", "))
}

// explainUnsure says which hosts are waited for by O5, and what a person can do.
func (w World) explainUnsure(e *Explanation, vm *fsm.VM) {
	hosts := w.unsure(vm)
	if len(hosts) == 0 {
		return
	}
	e.fact(time.Time{}, "not heard since it was lost sight of: %s", strings.Join(hosts, ", "))
	interval := ""
	if t := w.Timing.Heartbeat; t > 0 {
		interval = fmt.Sprintf(", which takes about %v", 2*t)
	}
	e.rule("O5",
		"it ran, and its host never said that it guards it: whoever had it run there may have started it on another host since. It is started nowhere before every host that the network brings has said once more what it runs%s. "+
			"A host that does not say so for longer is between two lives: see haadm explain host %s, and what keeps VMs from ending there; restart its agent, or power it off",
		interval, hosts[0])
}
