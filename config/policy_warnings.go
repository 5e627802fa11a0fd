package config

import (
	"cmp"
	"fmt"
	"slices"
)

// Muted are the standing warnings that people have said they know of. Nothing else
// depends on it.
type Muted struct {
	Volumes   bool `json:"volumes,omitempty"`    // fewer heartbeat volumes than two
	OneServer bool `json:"one_server,omitempty"` // all heartbeat volumes in use on one server
	Networks  bool `json:"networks,omitempty"`   // a host on a single HA network
}

// enoughVolumes is how many heartbeat volumes a policy names that has nothing to lose by losing one.
const enoughVolumes = 2

func warningsSchema() *block {
	return &block{name: "warnings", attrs: []attr{
		{name: "few_heartbeat_volumes", kind: kindBool, def: true},
		{name: "volumes_on_one_server", kind: kindBool, def: true},
		{name: "single_network", kind: kindBool, def: true},
	}}
}

// FewVolumes says what it means that the policy names fewer than two heartbeat
// volumes; empty where it does not, or where that is muted.
func (p *Policy) FewVolumes() string {
	switch n := len(p.Volumes); {
	case p.Muted.Volumes || min(n, p.VolumeUse.Count) >= enoughVolumes:
		return ""
	case n >= enoughVolumes:
		return "heartbeat_volumes.count is 1: when the array or file server of the one in use fails, no silent host can be declared dead by the clock until another takes its place; two at once mend that"
	case n == 1:
		return "the policy names one heartbeat volume: when its array or file server fails, no silent host can be declared dead by the clock; a second one elsewhere mends that"
	}
	return "the policy names no heartbeat volume: when the network between the hosts fails, their VMs are stopped; two on arrays or file servers that do not fail together keep them running"
}

// muted prints what is not at its default.
func (p *Policy) muted() (names []string) {
	if p.Muted.Volumes {
		names = append(names, "few_heartbeat_volumes")
	}
	if p.Muted.OneServer {
		names = append(names, "volumes_on_one_server")
	}
	if p.Muted.Networks {
		names = append(names, "single_network")
	}
	return names
}

// unasked says that a host has nobody to ask whether it is cut off.
func (p *Policy) unasked() []string {
	if p.Isolation.Gateway || len(p.Isolation.Addresses) > 0 {
		return nil
	}
	return []string{"isolation_check: with use_default_gateway = false and no addresses there is nobody to ask, so every host that no member answers counts as isolated, and as partitioned none"}
}

// backwards lists groups of VMs that come before others by priority and wait for them all the
// same, as far as the VMs are named: where room is short the others stay down, and these wait.
func (p *Policy) backwards() (list []string) {
	members := map[string][]string{}
	for _, g := range p.Groups {
		members[g.Name] = g.VMs
	}
	byLevel := func(a, b string) int { return cmp.Compare(p.level(a), p.level(b)) }
	for _, g := range p.Groups {
		for _, first := range g.StartAfter {
			if len(g.VMs) == 0 || len(members[first]) == 0 {
				continue
			}
			high, low := slices.MaxFunc(g.VMs, byLevel), slices.MinFunc(members[first], byLevel)
			if p.level(high) > p.level(low) {
				list = append(list,
					fmt.Sprintf("group %q starts after %q, and its %s has priority %q, %s there only %q: where room is short the former waits for a VM that stays down",
						g.Name, first, high, p.VM(high).Priority, low, p.VM(low).Priority))
			}
		}
	}
	return list
}

func (p *Policy) level(vm string) int { return PriorityLevel(p.VM(vm).Priority) }
