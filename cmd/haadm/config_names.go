package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
)

// strangers lists the VMs and hosts that a policy names and that are not there: a VM or a host
// may be made later, and a name may be mistyped, which nothing else would ever tell. Hosts with
// blocks of their own are wiring's.
func strangers(p *config.Policy, vms []api.VMView, hosts []api.HostView) (all []string) {
	var vmNames, hostNames []string
	for i := range vms {
		vmNames = append(vmNames, vms[i].Name)
	}
	for i := range hosts {
		hostNames = append(hostNames, hosts[i].Name)
	}
	vmsOf := func(where string, names []string) {
		if unknown := missing(names, vmNames); unknown != "" {
			all = append(all, fmt.Sprintf("%s names a VM that no host has: %s", where, unknown))
		}
	}
	vmsOf("a vm block", slices.Sorted(maps.Keys(p.VMs)))
	for _, g := range p.Groups {
		vmsOf(fmt.Sprintf("group %q", g.Name), g.VMs)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Rules)) {
		r := p.Rules[name]
		where := fmt.Sprintf("rule %q", name)
		vmsOf(where, r.VMs)
		if unknown := missing(slices.Sorted(maps.Keys(r.Hosts)), hostNames); unknown != "" {
			all = append(all, fmt.Sprintf("%s names a host that is no member of the cluster: %s", where, unknown))
		}
	}
	return all
}

// missing are the names that are not among those known, each with what may have been meant.
func missing(names, known []string) string {
	var out []string
	for _, n := range names {
		if !slices.Contains(known, n) {
			out = append(out, n+didYouMean(n, known))
		}
	}
	return strings.Join(out, ", ")
}
