package whatif

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// Hypothesis is what a question takes to be otherwise than it is, before anything fails: hosts
// are added, then hosts are taken away, then VMs are added.
type Hypothesis struct {
	// Add are VMs that are protected and started besides.
	Add []inventory.FileVM `json:"add,omitempty"`
	// AddHosts are hosts besides, and AddLike names hosts of each of which there is one more.
	AddHosts []inventory.FileHost `json:"add_hosts,omitempty"`
	AddLike  []string             `json:"add_like,omitempty"`
	// RemoveHosts are hosts that have left the cluster for good. What they run has gone to the
	// others, as it would for maintenance.
	RemoveHosts []string `json:"remove_hosts,omitempty"`
}

// None reports whether everything is taken as it is.
func (h *Hypothesis) None() bool {
	return len(h.Add)+len(h.AddHosts)+len(h.AddLike)+len(h.RemoveHosts) == 0
}

// apply makes the hypothesis the picture. uuids are those of the VMs that are added, which wait in
// it; problems say of what runs on hosts that are taken away what becomes of it, where it is not
// on another. Errors wrap ErrBadQuestion, or inventory.ErrBadFile for what makes no sense.
func (h *Hypothesis) apply(b *inventory.Builder, in inventory.Input) (out inventory.Input, uuids, problems []string, err error) {
	if len(h.AddHosts) > 0 {
		if in, err = inventory.MoreHosts(in, h.AddHosts); err != nil {
			return in, nil, nil, err
		}
	}
	for _, like := range h.AddLike {
		more, _, ok := inventory.HostLike(in, like)
		if !ok {
			return in, nil, nil, fmt.Errorf("%w: nothing is known of what a host %q has, so there can be no other like it; there are %s", ErrBadQuestion, like, strings.Join(hostNames(in.Hosts), ", "))
		}
		in = more
	}
	if len(h.RemoveHosts) > 0 {
		if in, problems, err = remove(b, in, h.RemoveHosts); err != nil {
			return in, nil, nil, err
		}
	}
	if len(h.AddHosts)+len(h.AddLike)+len(h.RemoveHosts) > 0 {
		vote(in.Hosts)
	}
	in, uuids, err = add(in, h.Add)
	return in, uuids, problems, err
}

func hostNames(hosts []inventory.Host) (all []string) {
	for i := range hosts {
		all = append(all, hosts[i].Name)
	}
	slices.Sort(all)
	return all
}

// remove takes hosts away, once their VMs are where PlanMoves would have them.
func remove(b *inventory.Builder, in inventory.Input, hosts []string) (out inventory.Input, problems []string, err error) {
	inv := b.Build(in)
	c := inv.Cluster
	for _, host := range hosts {
		i, err := hostIn(c, host)
		if err != nil {
			return in, nil, err
		}
		c = withState(c, i, placement.Maintenance)
	}
	gone := func(host string) bool { return slices.Contains(hosts, host) }
	plan := placement.PlanMoves(c, inventory.MoveSettings(in.Policy))
	to, why, devices := map[string]string{}, map[string]string{}, map[string][]string{} // by UUID
	choose := inventory.NewChooser(in)
	for _, r := range slices.Concat(plan.Begin, plan.Later) {
		uuid := inv.UUIDs[r.VM]
		vm := in.State.VMs[uuid]
		if !gone(r.From) || vm == nil {
			continue
		}
		if devices[uuid], why[uuid] = choose.Choose(vm, r.To); why[uuid] == "" {
			to[uuid] = r.To
		}
	}
	for _, x := range plan.Stay {
		if gone(x.Host) {
			why[inv.UUIDs[x.VM]] = x.Why
		}
	}
	s := *in.State
	s.Hosts, s.VMs = maps.Clone(s.Hosts), maps.Clone(s.VMs)
	for _, host := range hosts {
		delete(s.Hosts, host)
	}
	for uuid, vm := range s.VMs {
		at := runsOn(vm)
		if vm.Move != nil && gone(vm.Move.Host) || gone(at) {
			one := *vm
			if vm = &one; gone(at) {
				vm.Owner, vm.Sighting, vm.Intent = nil, nil, fsm.IntentRun
			}
			vm.Move, s.VMs[uuid] = nil, vm
		}
		switch host := to[uuid]; {
		case !gone(at):
		case host == "":
			reason := why[uuid]
			if reason == "" {
				reason = "no other host was found for it"
			}
			problems = append(problems, fmt.Sprintf("%s runs on %s, and would wait for a host once that is gone: %s", vm.Name, at, reason))
		default:
			vm.Owner = &fsm.Placement{Host: host, Incarnation: 1, Generation: vm.Generation, Phase: fsm.PhaseRunning, Devices: devices[uuid]}
		}
	}
	in.State = &s
	for i := range in.Hosts {
		if h := &in.Hosts[i]; gone(h.Name) {
			for _, d := range h.Domains {
				if d.Running && s.VMs[d.UUID] == nil {
					problems = append(problems, fmt.Sprintf("%s, which nobody protects, runs on %s, and is left out once that is gone", d.Name, h.Name))
				}
			}
		}
	}
	in.Hosts = slices.DeleteFunc(slices.Clone(in.Hosts), func(h inventory.Host) bool { return gone(h.Name) })
	if len(in.Hosts) == 0 {
		return in, nil, fmt.Errorf("%w: no host is left", ErrBadQuestion)
	}
	slices.Sort(problems)
	return in, problems, nil
}

// runsOn is the host that owns the VM, or on which it was seen; empty: it runs nowhere.
func runsOn(vm *fsm.VM) string {
	switch {
	case vm.Owner != nil:
		return vm.Owner.Host
	case vm.Sighting != nil:
		return vm.Sighting.Host
	}
	return ""
}

// vote has hosts vote as the cluster would have them (docs/architecture.md, Voters): an odd
// number, five at most; those that do now first. Where nothing is known of votes it stays so.
func vote(hosts []inventory.Host) {
	if !slices.ContainsFunc(hosts, func(h inventory.Host) bool { return h.Voter }) {
		return
	}
	most := 1
	if len(hosts) > 2 {
		most = min(5, (len(hosts)-1)|1)
	}
	order := make([]*inventory.Host, len(hosts))
	for i := range hosts {
		order[i] = &hosts[i]
	}
	rank := func(h *inventory.Host) int {
		switch {
		case h.State == placement.Down:
			return 2
		case h.Voter:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(order, func(a, b *inventory.Host) int { return rank(a) - rank(b) })
	for i, h := range order {
		h.Voter = i < most
	}
}
