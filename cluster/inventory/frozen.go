package inventory

import (
	"fmt"
	"maps"
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

// Standing is what a host is to the VMs that were shut down with it.
type Standing int

const (
	Gone  Standing = iota // it is no member any more
	Away                  // it is, and takes no VMs yet
	Takes                 // it takes VMs
)

// Await says whether a VM that was shut down with its host, and that nobody runs, belongs to it still, and until when
// (zero: for ever). While the host is away it waits for it, and is started nowhere else; once that takes VMs
// its room there is kept until it is placed. stands says what the host is now.
func Await(vm *fsm.VM, p *config.Policy, now time.Time, stands func(host string) Standing) (until time.Time, waits, kept bool) {
	if vm.Frozen == nil || vm.Owner != nil || vm.Sighting != nil || vm.Intent != fsm.IntentRun {
		return time.Time{}, false, false
	}
	until = FrozenUntil(vm.Frozen, p)
	if !until.IsZero() && !now.Before(until) {
		return time.Time{}, false, false
	}
	s := stands(vm.Frozen.Host)
	return until, s == Away, s == Takes
}

func (in *Input) await(vm *fsm.VM) (until time.Time, waits, kept bool) {
	return Await(vm, in.Policy, in.Now, func(host string) Standing {
		switch i := slices.IndexFunc(in.Hosts, func(h Host) bool { return h.Name == host }); {
		case i < 0:
			return Gone
		case in.Hosts[i].State == placement.Up:
			return Takes
		}
		return Away
	})
}

// Frozen reports whether a VM waits for the host that it was shut down with, and is started nowhere
// else until then: the host takes no VMs yet, and the time for that is not over.
func (in *Input) Frozen(vm *fsm.VM) bool {
	_, waits, _ := in.await(vm)
	return waits
}

// Thawed is the same with VMs that wait for one of these hosts no more, as they do once it is in maintenance.
func (in *Input) Thawed(hosts ...string) Input {
	out := *in
	s := *in.State
	s.VMs = maps.Clone(s.VMs)
	for uuid, vm := range s.VMs {
		if vm.Frozen != nil && slices.Contains(hosts, vm.Frozen.Host) {
			one := *vm
			one.Frozen = nil
			s.VMs[uuid] = &one
		}
	}
	out.State = &s
	return out
}
