package placement

import (
	"slices"
	"strings"
)

// keeps reports whether host h keeps room for v, which waits.
func (m *model) keeps(v, h int32) bool {
	vm := m.vms[v]
	return vm.Kept != "" && vm.Status == Waiting && vm.Kept == m.hosts[h].Name && !slices.Contains(vm.Failed, vm.Kept)
}

// assignKept is assign where hosts keep room for some of the VMs: those go there first. No protected VM stays
// down for that: where one would, room is kept for protected ones alone, or for none.
func (r *room) assignKept(vms []int32, work *int) (to map[int32]int32, exact bool) {
	m := r.m
	plain, exact := r.assign(vms, work)
	if !slices.ContainsFunc(vms, func(v int32) bool { return m.vms[v].Kept != "" }) {
		return plain, exact
	}
	need := make([]int64, len(m.dims))
	for _, least := range []Class{BestEffort, Protected} {
		try := r.clone()
		var rest, kept []int32
		for _, v := range vms {
			h := m.hostOr(m.vms[v].Kept)
			astray := func(x int32) bool { return r.at[x] < 0 && m.vms[x].Status != Stopped && (h < 0 || !m.keeps(x, h)) }
			if h >= 0 && m.keeps(v, h) && m.vms[v].Class <= least && !slices.ContainsFunc(m.mates[v], astray) {
				if it := try.item([]int32{v}); try.accepts(&it, h) {
					try.enter(v, h, need)
					kept = append(kept, v)
					continue
				}
			}
			rest = append(rest, v)
		}
		to, sure := try.assign(rest, work)
		for _, v := range kept {
			to[v] = try.at[v]
		}
		if !slices.ContainsFunc(vms, func(v int32) bool {
			_, was := plain[v]
			_, is := to[v]
			return m.vms[v].Class == Protected && was && !is
		}) {
			return to, exact && sure
		}
	}
	return plain, exact
}

// enterKept puts VMs in their places that hosts kept room for, so that what others are told of those
// hosts is with them. It returns them.
func (r *room) enterKept(vms []int32, to map[int32]int32, need []int64) (kept []int32) {
	for _, v := range vms {
		if h, ok := to[v]; ok && r.m.keeps(v, h) {
			r.enter(v, h, need)
			kept = append(kept, v)
		}
	}
	return kept
}

// keptFor names the VMs besides v that a host keeps room for; empty: none.
func (r *room) keptFor(h, v int32) string {
	var names []string
	for _, x := range r.m.awaited {
		if x != v && r.at[x] == h && r.m.keeps(x, h) {
			names = append(names, r.m.vms[x].Name)
		}
	}
	return strings.Join(few(names), ", ")
}
