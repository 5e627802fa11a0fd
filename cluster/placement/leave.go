package placement

import (
	"slices"
	"strings"
)

// evacuate empties hosts in maintenance.
func (k *mover) evacuate() {
	if k.r.leaving.empty() {
		return
	}
	var vms []int32
	for v, vm := range k.m.vms {
		h := k.r.at[v]
		if h < 0 || !k.r.leaving.has(h) || k.held[v] != "" && vm.Held == "" {
			continue // it is elsewhere, or on its way
		}
		why := k.stuck(int32(v))
		if why == "" && !vm.Live && !k.set.Restart {
			why = "it cannot be moved while it runs: " + strings.Join(vm.NotLive, "; ")
		}
		if why != "" {
			k.out.Stay = append(k.out.Stay, Stay{VM: vm.Name, Host: k.m.hosts[h].Name, Cause: Evacuate, Why: why})
			continue
		}
		vms = append(vms, int32(v))
	}
	var second []Decision // of VMs that go once others have gone
	for {
		p := &Plan{Exact: true}
		after := k.r.clone()
		k.m.clear(after, p, vms, slices.Clone(k.r.at), &k.work, true)
		left := k.leftBehind(p)
		if len(left) == 0 {
			d := k.deadlocked(p)
			if d == nil {
				k.r = after
				k.settle(p, Evacuate)
				break
			}
			second = append(second, *d)
			vms = slices.DeleteFunc(vms, func(v int32) bool { return k.m.vms[v].Name == d.VM })
		}
		// Who must be together stays together: the room that some of them had is others'.
		for _, s := range left {
			k.out.Stay = append(k.out.Stay, s)
			vms = slices.DeleteFunc(vms, func(v int32) bool { return k.m.vms[v].Name == s.VM })
		}
	}
	k.waitFor(second)
}

// deadlocked is one of the moves off hosts in maintenance, the last of them, that wait for one
// another: a VM is to go to the failure domain that another leaves, which must not be there beside
// it, and that one to where the first is. nil: none do.
func (k *mover) deadlocked(p *Plan) (last *Decision) {
	need := make([]int64, len(k.m.dims))
	try := k.r.clone() // all that is under way has arrived
	var wait []*Decision
	for i := range p.Decisions {
		if d := &p.Decisions[i]; d.Action == Move {
			wait = append(wait, d)
		}
	}
	for before := -1; len(wait) > 0 && len(wait) != before; {
		before = len(wait)
		wait = slices.DeleteFunc(wait, func(d *Decision) bool {
			v, to := k.m.vmByID[d.VM], k.m.hostByID[d.To]
			if k.beside(try, v, to) >= 0 {
				return false
			}
			try.leave(v, need)
			try.enter(v, to, need)
			return true
		})
	}
	if len(wait) == 0 {
		return nil
	}
	return wait[len(wait)-1]
}

// waitFor says of VMs that would have to change places with others that they go later, or not at
// all where none of those that they must be apart from goes first.
func (k *mover) waitFor(second []Decision) {
	moves := slices.Concat(k.out.Begin, k.out.Later)
	for _, d := range second {
		v := k.m.vmByID[d.VM]
		k.m.fixed[v] = true
		rule, first := "", ""
		for _, e := range k.m.apart[v] {
			for _, x := range k.m.exclusive[e].members {
				if x != v && slices.ContainsFunc(moves, func(l Relocation) bool { return l.VM == k.m.vms[x].Name }) && first == "" {
					rule, first = k.m.exclusive[e].rule.Name, k.m.vms[x].Name
				}
			}
		}
		if first != "" {
			k.later([]Decision{d}, Evacuate, first+", which it must be apart from (rule "+rule+"), goes first")
			continue
		}
		k.out.Stay = append(k.out.Stay, Stay{VM: d.VM, Host: d.From, Cause: Evacuate, Hosts: d.Hosts,
			Why: "it would have to change failure domains with a VM that it must be apart from, and neither can go first"})
	}
}

// leftBehind are VMs of which some, but not all, would leave the host that they are
// together on.
func (k *mover) leftBehind(p *Plan) (all []Stay) {
	stays := map[int32]*Decision{}
	for i := range p.Decisions {
		if d := &p.Decisions[i]; d.Action == StayPut {
			stays[k.m.vmByID[d.VM]] = d
		}
	}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		v := k.m.vmByID[d.VM]
		if d.Action != Move || k.torn(v) {
			continue
		}
		var first *Decision
		for _, x := range k.m.mates[v] {
			if stays[x] != nil && first == nil {
				first = stays[x]
			}
		}
		if first != nil {
			all = append(all, Stay{VM: d.VM, Host: d.From, Cause: Evacuate,
				Why: "it must be with " + first.VM + ", which stays: " + first.Why, Hosts: d.Hosts})
		}
	}
	for v, d := range stays {
		if slices.ContainsFunc(all, func(s Stay) bool { return slices.Contains(k.m.mates[v], k.m.vmByID[s.VM]) }) {
			all = append(all, Stay{VM: d.VM, Host: d.From, Cause: Evacuate, Why: d.Why, Hosts: d.Hosts})
		}
	}
	slices.SortFunc(all, func(a, b Stay) int { return strings.Compare(a.VM, b.VM) })
	return all
}
