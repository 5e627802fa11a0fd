package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/fsm"
)

// compare finds what is different from host to host and should not be.
func compare(all []Facts) []Finding {
	var out []Finding
	hypervisors, cpus := groups{}, groups{}
	networks := map[string]groups{}
	for _, f := range all {
		for _, n := range f.Networks {
			if n.MTU > 0 {
				if networks[n.Name] == nil {
					networks[n.Name] = groups{}
				}
				networks[n.Name].add(fmt.Sprint(n.MTU), f.Name)
			}
		}
		if !f.Embedded {
			hypervisors.add(f.Hypervisor, f.Name)
			cpus.add(f.CPU, f.Name)
		}
	}
	if len(hypervisors) > 1 {
		out = append(out, Finding{Code: "versions_differ", Severity: fsm.Info,
			Text: "hosts have different hypervisors: " + hypervisors.String() + ". A VM whose machine type is newer than a host's QEMU does not start there"})
	}
	for name, mtus := range networks {
		if len(mtus) > 1 {
			out = append(out, Finding{Code: "mtu_differs", Severity: fsm.Warning,
				Text: fmt.Sprintf("network %s has an MTU of %s: what is larger than the smallest can get lost, while heartbeats still arrive",
					name, mtus)})
		}
	}
	slices.SortFunc(out, func(a, b Finding) int { return strings.Compare(a.Text, b.Text) })
	if vms := passedThrough(all); len(cpus) > 1 && len(vms) > 0 {
		out = append(out, Finding{Code: "cpus_differ", Severity: fsm.Info,
			Text: fmt.Sprintf("hosts have different processors: %s. %s: the guest finds another processor when it starts elsewhere (cpu mode host-passthrough)",
				cpus, strings.Join(vms, ", "))})
	}
	return out
}

// passedThrough are the VMs that are given their host's own processor, by name.
func passedThrough(all []Facts) []string {
	var names []string
	for _, f := range all {
		for _, vm := range f.VMs {
			if vm.CPUMode == "host-passthrough" {
				names = append(names, vm.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// groups are the hosts that have the same of something.
type groups map[string][]string

func (g groups) add(what, host string) {
	if what != "" {
		g[what] = append(g[what], host)
	}
}

// String is "A on kvm1, kvm2; B on kvm3".
func (g groups) String() string {
	var parts []string
	for what, hosts := range g {
		parts = append(parts, what+" on "+strings.Join(hosts, ", "))
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}
