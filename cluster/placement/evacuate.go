package placement

import (
	"cmp"
	"maps"
	"slices"
)

// evacuate decides where the VMs of hosts go that shall be emptied. Groups that
// are to be spread make it three tries: spread evenly; at least on two hosts; as
// the VMs fit. The first that finds a host for every VM counts, else the last.
func (m *model) evacuate(r *room, p *Plan, from []int32, work *int, explain bool) {
	if r.leaving.empty() {
		return
	}
	var vms []int32
	for v := range m.vms {
		if h := r.at[v]; h >= 0 && r.leaving.has(h) {
			vms = append(vms, int32(v))
		}
	}
	m.clear(r, p, vms, from, work, explain)
}

// clear is evacuate for some of the VMs there; from is where each of all VMs runs.
func (m *model) clear(r *room, p *Plan, vms, from []int32, work *int, explain bool) {
	need := make([]int64, len(m.dims))
	for _, v := range vms {
		r.leave(v, need)
	}
	slices.SortFunc(vms, m.startOrder)
	to, phase, exact := r.empty(vms, work)
	stays := map[int32]bool{} // beside which the others were placed
	for rest := vms; ; {
		hem := r.hemming(rest, to, from)
		if len(hem) == 0 {
			break
		}
		rest = slices.DeleteFunc(slices.Clone(rest), func(v int32) bool { return slices.Contains(hem, v) })
		for _, v := range hem {
			stays[v] = true
			r.enter(v, from[v], need)
		}
		to, phase, exact = r.empty(rest, work)
	}
	p.Exact, p.Spread = p.Exact && exact, phase
	first := len(p.Decisions)
	for _, v := range vms {
		h, ok := to[v]
		if !ok {
			h = -1
		}
		d := Decision{VM: m.vms[v].Name}
		if !stays[v] {
			d = r.cleared(v, from[v], h, to, explain)
		}
		if ok {
			r.enter(v, h, need)
		}
		p.Decisions = append(p.Decisions, d)
	}
	for _, v := range vms {
		if _, ok := to[v]; !ok && !stays[v] {
			r.enter(v, from[v], need)
		}
	}
	for i, v := range vms {
		if !stays[v] {
			continue
		}
		r.leave(v, need)
		h := int32(-1)
		if m.mates[v] == nil { // the others may have left it a place
			it := r.item([]int32{v})
			h = r.best(&it)
		}
		p.Decisions[first+i] = r.cleared(v, from[v], h, to, explain)
		if h < 0 {
			h = from[v]
		}
		r.enter(v, h, need)
	}
}

// cleared is the decision that a VM leaves its host for h, or that it stays where h is -1.
func (r *room) cleared(v, from, h int32, to map[int32]int32, explain bool) Decision {
	m := r.m
	d := Decision{VM: m.vms[v].Name, Action: Move, From: m.hosts[from].Name, Live: m.vms[v].Live}
	if explain || h < 0 {
		d.Hosts, d.Why = r.explain(v, h, to)
	}
	if h < 0 {
		d.Action = StayPut
	} else {
		d.To = m.hosts[h].Name
	}
	return d
}

// hemming are those of the VMs that found no host and stay in a failure domain that others were
// to go to, which must not be there beside them.
func (r *room) hemming(vms []int32, to map[int32]int32, from []int32) (hem []int32) {
	m := r.m
	for _, v := range vms {
		if _, ok := to[v]; ok {
			continue
		}
		for _, e := range m.apart[v] {
			if slices.ContainsFunc(m.exclusive[e].members, func(x int32) bool {
				h, goes := to[x]
				return goes && m.scope(e, h) == m.scope(e, from[v])
			}) {
				hem = append(hem, v)
				break
			}
		}
	}
	return hem
}

// Spread is how well an evacuation keeps to groups that are to be spread.
type Spread string

const (
	// Evenly: members are spread as evenly as hosts allow.
	Evenly Spread = "spread_evenly"
	// OnTwoHosts: each group runs on two hosts at least.
	OnTwoHosts Spread = "no_breach"
	// AsTheyFit: the VMs fit, and groups were not looked at.
	AsTheyFit Spread = "binpack"
)

// empty finds hosts for VMs that leave theirs.
func (r *room) empty(vms []int32, work *int) (map[int32]int32, Spread, bool) {
	grouped := r.grouped(vms)
	if len(grouped) == 0 {
		to, exact := r.assign(vms, work)
		return to, "", exact
	}
	for _, phase := range []Spread{Evenly, OnTwoHosts} {
		to, ok := r.spreadOut(grouped, phase)
		if !ok {
			continue
		}
		try := r.clone()
		need := make([]int64, len(r.m.dims))
		var rest []int32
		for _, v := range vms {
			if h, placed := to[v]; placed {
				try.enter(v, h, need)
			} else {
				rest = append(rest, v)
			}
		}
		if others, _, a := try.fit(rest, work); a == Yes {
			maps.Copy(to, others)
			return to, phase, true
		}
	}
	to, exact := r.assign(vms, work)
	return to, AsTheyFit, exact
}

// grouped are those of the VMs that are in a spread group and bound to no mates,
// the smallest first: a small one leaves the others their choice.
func (r *room) grouped(vms []int32) []int32 {
	out := slices.DeleteFunc(slices.Clone(vms), func(v int32) bool { return r.m.spread[v] == nil || r.m.mates[v] != nil })
	slices.SortFunc(out, func(a, b int32) int {
		return cmp.Or(cmp.Compare(r.m.vms[a].need(), r.m.vms[b].need()), cmp.Compare(a, b))
	})
	return out
}

// spreadOut gives each grouped VM the host with the fewest members of its group, of
// these the one with the least free memory. Evenly is all or nothing: it reports
// false when a VM finds no host. OnTwoHosts takes only hosts without a member, stops
// with each group that has two hosts, and leaves alone what does not fit.
func (r *room) spreadOut(grouped []int32, phase Spread) (map[int32]int32, bool) {
	try := r.clone()
	m, d := r.m, len(r.m.dims)
	need := make([]int64, d)
	to := map[int32]int32{}
	for _, v := range grouped {
		members := try.scores([]int32{v}).members
		most := len(m.vms)
		if phase == OnTwoHosts {
			most = 0
			on := slices.DeleteFunc(slices.Clone(members), func(n int) bool { return n == 0 })
			if len(on) >= 2 {
				continue
			}
		}
		it := try.item([]int32{v})
		found := int32(-1)
		for h := range int32(len(m.hosts)) {
			if members[h] > most || !try.accepts(&it, h) {
				continue
			}
			if found < 0 || cmp.Or(cmp.Compare(members[h], members[found]), cmp.Compare(try.free[int(h)*d], try.free[int(found)*d])) < 0 {
				found = h
			}
		}
		switch {
		case found >= 0:
			try.enter(v, found, need)
			to[v] = found
		case phase == Evenly:
			return nil, false
		}
	}
	return to, true
}
