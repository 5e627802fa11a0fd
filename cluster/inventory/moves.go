package inventory

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// After a move that came to nothing the next waits for firstAgain, which doubles with each,
// to lastAgain at most.
const (
	firstAgain = 30 * time.Second
	lastAgain  = time.Hour
)

// MoveAgain is when a VM may be moved again after moves that came to nothing; zero when none has.
func MoveAgain(vm *fsm.VM) time.Time {
	n := len(vm.MoveFailures)
	if n == 0 {
		return time.Time{}
	}
	return vm.MoveFailures[n-1].At.Add(min(lastAgain, firstAgain<<min(n-1, 16)))
}

// MoveSettings are the policy's bounds of moves. Whether load has been uneven for long enough
// (placement.Balance.Held) is not the policy's to say: placement.Watch does.
func MoveSettings(p *config.Policy) placement.MoveSettings {
	b := p.Balance
	return placement.MoveSettings{PerHost: p.Migration.MaxPerHost, Restart: p.Migration.WhenNotLive == config.NotLiveRestart,
		Balance: placement.Balance{On: b.Mode == config.BalanceAutomatic, Measured: b.By == config.BalanceMeasured, Threshold: float64(b.Threshold), Margin: float64(b.Margin)}}
}

// moves says of a protected VM whether and where it may be moved while it runs.
func (k *maker) moves(v *placement.VM, vm *fsm.VM, p config.VMPolicy) {
	if v.Status == placement.Waiting && k.in.Policy.Balance.Mode != config.BalanceOff && vm.Frozen == nil {
		v.Home = "" // it goes where there is least load
	}
	if v.Status != placement.Running {
		return
	}
	v.Failback = config.GoesBack(p.Failback, config.FailbackPreferred)
	if a := vm.Away; a != nil && k.hosts[a.Host] != nil {
		reason := config.FailbackAlways
		if a.Maintenance {
			reason = config.FailbackMaintenance
		}
		if config.GoesBack(p.Failback, reason) {
			v.Return = a.Host
		}
	}
	if vm.Owner != nil {
		v.From, v.Moved = vm.Owner.From, vm.Owner.At
	}
	for _, f := range vm.MoveFailures {
		v.Failed = append(v.Failed, f.Host)
	}
	slices.Sort(v.Failed)
	v.Failed = slices.Compact(v.Failed)
	again := MoveAgain(vm)
	switch h := k.hosts[v.Host]; {
	case vm.Owner == nil:
		v.Held = v.Host + " has not confirmed yet that it guards it"
	case vm.Owner.Phase != fsm.PhaseRunning:
		v.Held = "it is being started"
	case vm.Intent != fsm.IntentRun:
		v.Held = "it is to stop"
	case vm.Restart != nil:
		v.Held = "it is being restarted"
	case h != nil && h.Frozen != "":
		v.Held = fmt.Sprintf("nothing can be moved from %s: %s", h.Name, h.Frozen)
	case k.in.Now.Before(again):
		v.Held = fmt.Sprintf("its last move came to nothing (%s), and is tried again at %s", vm.MoveFailures[len(vm.MoveFailures)-1].Detail, again.UTC().Format("15:04:05 MST"))
	}
}

// notLive lists what keeps a VM from being moved while it runs.
func notLive(ties []domainxml.Tie) (why []string) {
	for _, t := range ties {
		if t.Effect == domainxml.NotLive {
			why = append(why, t.Text)
		}
	}
	return why
}

// Devised is a plan of moves without those to begin for which no devices can be chosen, though by
// number there are enough: something has them there that is not counted. Those VMs stay, and it
// is said why. Of VMs that stay since too few are free by number it says who has them. inv was built of in.
func Devised(in Input, inv *Inventory, m *placement.Moves) *placement.Moves {
	c := NewChooser(in)
	out := *m
	out.Begin, out.Stay = nil, slices.Clone(m.Stay)
	for _, r := range m.Begin {
		if vm := in.State.VMs[inv.UUIDs[r.VM]]; vm != nil {
			if _, why := c.Choose(vm, r.To); why != "" {
				out.Stay = append(out.Stay, placement.Stay{VM: r.VM, Host: r.From, Cause: r.Cause, Why: why, Hosts: r.Hosts})
				continue
			}
		}
		out.Begin = append(out.Begin, r)
	}
	for i := range m.Stay {
		s := &out.Stay[i]
		vm := in.State.VMs[inv.UUIDs[s.VM]]
		for _, h := range s.Hosts {
			if vm == nil || h.Excluded != placement.NoExtra || !strings.HasPrefix(h.What, placement.DevicePool) {
				continue
			}
			if _, why := c.Choose(vm, h.Host); why != "" {
				s.Why += "; " + why
			}
		}
	}
	return &out
}
