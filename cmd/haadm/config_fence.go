package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
)

// withoutSecrets is a policy as it may be shown.
func withoutSecrets(p *config.Policy) *config.Policy {
	q := p.Clone()
	for name, f := range q.Fences {
		if f.Password != "" {
			f.Password = api.Masked
		}
		for option := range f.Options {
			if api.SecretName(option) {
				f.Options[option] = api.Masked
			}
		}
		q.Fences[name] = f
	}
	return q
}

// wiring lists in what the fence devices of a policy do not fit the hosts that
// there are. A policy without devices is silent: waiting a dead host out is a choice.
func wiring(p *config.Policy, hosts []api.HostView) (all []string) {
	members := map[string]bool{}
	var names []string
	for _, h := range hosts {
		members[h.Name] = true
		names = append(names, h.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Hosts)) {
		if !members[name] {
			all = append(all, fmt.Sprintf("host %q is no member of the cluster%s: its block has no effect until it is",
				name, didYouMean(name, names)))
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return len(p.Hosts[name].Fence) > 0 })
	if len(p.Fences) > 0 && len(names) > 0 {
		all = append(all,
			fmt.Sprintf("without a fence device: %s. When such a host dies, its VMs wait until it cannot run any more for certain (%s)",
				strings.Join(names, ", "), bound(p.Timing.Wait())))
	}
	return all
}
