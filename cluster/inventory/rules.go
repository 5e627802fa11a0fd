package inventory

import (
	"fmt"
	"path"
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// policyOf is the cluster-wide part of the rules.
func policyOf(in Input) placement.Policy {
	p := in.Policy
	a := p.Admission
	out := placement.Policy{CPUOvercommit: p.Placement.CPUOvercommit, MemoryOvercommit: p.Placement.MemoryOvercommit, Pack: p.Placement.Strategy == config.StrategyPack, NoQuorum: in.NoQuorum,
		Measured: p.Balance.Mode != config.BalanceOff && p.Balance.By == config.BalanceMeasured,
		Admission: placement.Admission{
			Kind:     map[string]placement.AdmissionKind{config.RoomSlots: placement.BySlots, config.RoomPercent: placement.ByPercentage, config.RoomStandby: placement.ByFailoverHosts}[a.By],
			Mode:     map[string]placement.Mode{config.AdmissionWarn: placement.Warn, config.AdmissionOff: placement.Off}[a.Mode],
			Slots:    placement.SlotSize{MaxMHz: a.Slot.MaxMHz, FixedMHz: a.Slot.MHz, MaxMemory: int64(a.Slot.MemoryMax), FixedMemory: int64(a.Slot.Memory)},
			Failures: a.Tolerate, Domains: a.Domain == config.DomainFailure, Succession: a.Succession,
			CPUPercent: a.CPU, MemoryPercent: a.Memory, MinMHz: a.MinMHz, MinMemory: int64(a.Slot.MemoryMin), ProtectedOnly: !a.CountUnprotected,
		}}
	if out.Admission.Kind == "" {
		out.Admission.Kind = placement.ByPlacement
	}
	out.Admission.Auto = a.By == config.RoomPercent && a.CPU == 0 && a.Memory == 0
	return out
}

// rules adds the policy's rules with the VMs that there are.
func (k *maker) rules() {
	p := k.in.Policy
	tied := map[string]string{} // VMs that must be together lead to one of them
	root := func(vm string) string {
		for tied[vm] != "" {
			vm = tied[vm]
		}
		return vm
	}
	names := make([]string, 0, len(p.Rules))
	for name := range p.Rules {
		names = append(names, name)
	}
	slices.Sort(names)
	vms := k.own()
	var apart []placement.Rule
	var all []placement.Rule
	for _, name := range names {
		r := p.Rules[name]
		x := placement.Rule{Name: name, Kind: placement.RuleKind(r.Kind), Must: r.Strength == config.RuleMust, VMs: membersOf(r.VMs, r.Match, vms), Domains: r.Domain == config.DomainFailure, Weight: int(r.Weight)}
		if x.Kind == placement.OnHosts || x.Kind == placement.NotOnHosts {
			x.Hosts = p.RuleHosts(r)
			member := false
			for h := range x.Hosts {
				member = member || k.hosts[h] != nil
			}
			if !member && len(x.VMs) > 0 {
				k.problem("rule %q names no host that is a member of the cluster", name)
			}
			if len(x.Hosts) == 0 {
				continue
			}
		}
		if x.Must && x.Kind == placement.Apart {
			apart = append(apart, x)
		}
		all = append(all, x)
	}
	for _, x := range all {
		if x.Must && x.Kind == placement.Together {
			if other, pair := collides(x, apart, root); other != "" {
				k.problem("rule %q would keep %s together, which rule %q keeps apart: it is left out", x.Name, pair, other)
				continue
			}
			for _, vm := range x.VMs {
				if a, b := root(x.VMs[0]), root(vm); a != b {
					tied[b] = a
				}
			}
		}
		k.inv.Cluster.Rules = append(k.inv.Cluster.Rules, x)
	}
}

// collides finds a rule that keeps VMs apart which rule x would tie to one another.
func collides(x placement.Rule, apart []placement.Rule, root func(string) string) (rule, pair string) {
	mates := map[string]bool{}
	for _, vm := range x.VMs {
		mates[root(vm)] = true
	}
	for _, a := range apart {
		first := ""
		for _, vm := range a.VMs {
			switch {
			case !mates[root(vm)]:
			case first == "":
				first = vm
			default:
				return a.Name, fmt.Sprintf("%s and %s", first, vm)
			}
		}
	}
	return "", ""
}

// named is a VM under its own name and under its name in the picture.
type named struct{ own, in string }

// own lists the VMs in order; a protected VM seen on a second host is not listed again.
func (k *maker) own() []named {
	var all []named
	for i := range k.inv.Cluster.VMs {
		v := &k.inv.Cluster.VMs[i]
		uuid := k.inv.UUIDs[v.Name]
		if own, stranger := k.strangers[v.Name]; stranger {
			all = append(all, named{own, v.Name})
		} else if k.inv.Names[uuid] == v.Name {
			all = append(all, named{k.in.State.VMs[uuid].Name, v.Name})
		}
	}
	return all
}

// membersOf are the VMs that a list names, in its order, and then those that a pattern fits.
func membersOf(list []string, pattern string, vms []named) (out []string) {
	place := make(map[string]int, len(list))
	for i, name := range list {
		place[name] = i + 1
	}
	var fit []named
	for _, v := range vms {
		if place[v.own] > 0 || matches(pattern, v.own) {
			fit = append(fit, v)
		}
	}
	rank := func(v named) int {
		if i := place[v.own]; i > 0 {
			return i
		}
		return len(list) + 1
	}
	slices.SortStableFunc(fit, func(a, b named) int { return rank(a) - rank(b) })
	for _, v := range fit {
		out = append(out, v.in)
	}
	return out
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return pattern != "" && err == nil && ok
}

// groups adds the policy's groups with the protected VMs that start with each.
func (k *maker) groups(protected []*fsm.VM) {
	listed := map[string]int{}
	for i := range k.in.Policy.Groups {
		for _, name := range k.in.Policy.Groups[i].VMs {
			if _, twice := listed[name]; !twice {
				listed[name] = i
			}
		}
	}
	members := make([][]string, len(k.in.Policy.Groups))
	for _, vm := range protected {
		i, ok := listed[vm.Name]
		for j := 0; !ok && j < len(members); j++ {
			if ok = matches(k.in.Policy.Groups[j].Match, vm.Name); ok {
				i = j
			}
		}
		if ok {
			members[i] = append(members[i], k.inv.Names[vm.UUID])
		}
	}
	for i, g := range k.in.Policy.Groups {
		k.inv.Cluster.Groups = append(k.inv.Cluster.Groups, placement.Group{Name: g.Name, VMs: members[i], Spread: g.Spread,
			StartAfter: slices.Clone(g.StartAfter), Strict: g.OnTimeout == config.TimeoutStop})
	}
}
