package placement

import "slices"

// assign finds hosts for VMs, given in start order. It returns where they go, and
// whether that is known to be the best possible: as many as can be, those that
// start earlier before those that start later. VMs that find no host are left out.
//
// When all fit without going back, each takes the host that ranks first for it.
// Otherwise the exact search packs them. Otherwise VMs are taken one after the
// other, each kept if all that were kept so far still fit with it. Of what was packed
// each VM, one after the other, takes the host that ranks first of those with which the
// rest still fits: asked again when some have started, the others get the same hosts.
func (r *room) assign(vms []int32, work *int) (to map[int32]int32, exact bool) {
	able := slices.DeleteFunc(slices.Clone(vms), func(v int32) bool { return !r.placeable(v) })
	to, ranked, a := r.fit(able, work)
	switch {
	case ranked:
		return to, true
	case a == Yes:
		return r.prefer(able, to), true
	}
	whole := len(able)
	k := &keeper{base: r, work: work, to: map[int32]int32{}, now: r.clone()}
	for len(able) > 0 {
		// All of one class and priority at once, which is what mostly succeeds.
		n := 1
		for n < len(able) && r.m.vms[able[n]].Class == r.m.vms[able[0]].Class && r.m.vms[able[n]].Priority == r.m.vms[able[0]].Priority {
			n++
		}
		if n == whole || !k.keepAll(able[:n]) {
			for _, v := range able[:n] {
				k.keep(v)
			}
		}
		able = able[n:]
	}
	kept := slices.DeleteFunc(slices.Clone(vms), func(v int32) bool { _, yes := k.to[v]; return !yes })
	k.settle(r.prefer(kept, k.to))
	if k.unsure {
		k.fillUp(vms)
	}
	return k.to, !k.unsure
}

// keeper takes VMs one after the other and keeps those that fit beside all it has kept.
type keeper struct {
	base *room // without the VMs
	now  *room // with those that were kept, at to
	work *int
	kept []int32
	to   map[int32]int32
	// refused are VMs, bound by no rule, that were left out. What needs as much and can go
	// nowhere else is left out with them, for what is kept only grows.
	refused []int32
	unsure  bool // a VM was left out without a proof
}

// keepAll keeps all of the VMs or none.
func (k *keeper) keepAll(vms []int32) bool {
	if *k.work < 0 {
		return false
	}
	to, _, a := k.base.fit(append(slices.Clone(k.kept), vms...), k.work)
	if a != Yes {
		return false
	}
	k.kept = append(k.kept, vms...)
	k.settle(to)
	return true
}

// keep keeps a VM if it can.
func (k *keeper) keep(v int32) {
	it := k.now.item([]int32{v})
	if h := k.now.best(&it); h >= 0 {
		k.kept = append(k.kept, v)
		k.to[v] = h
		k.now.enter(v, h, make([]int64, len(it.need)))
		return
	}
	if slices.ContainsFunc(k.refused, func(x int32) bool { return k.base.asks(v, x) }) {
		return
	}
	a := Unknown
	if *k.work >= 0 {
		var to map[int32]int32
		all := append(slices.Clone(k.kept), v)
		p := newPacking(k.base, k.base.items(all), k.work)
		if a = p.solve(); a == Yes {
			to = p.placement()
			k.kept = all
			k.settle(to)
			return
		}
	}
	k.unsure = k.unsure || a == Unknown
	if m := k.base.m; m.apart[v] == nil && m.mates[v] == nil {
		k.refused = append(k.refused, v)
	}
}

// asks reports whether v asks for no less than x does, which is bound by no rule.
func (r *room) asks(v, x int32) bool {
	a, b := &r.m.masks[r.m.maskOf(v)], &r.m.masks[r.m.maskOf(x)]
	return atLeast(a.need, b.need) && a.hosts.within(b.hosts)
}

// settle takes the VMs that are kept to new places.
func (k *keeper) settle(to map[int32]int32) {
	k.to, k.now = to, k.base.clone()
	need := make([]int64, len(k.base.m.dims))
	for v, h := range to {
		k.now.enter(v, h, need)
	}
}

// fillUp gives hosts to VMs that were left out and find room beside the others.
func (k *keeper) fillUp(vms []int32) {
	for _, v := range vms {
		if _, ok := k.to[v]; ok {
			continue
		}
		it := k.now.item([]int32{v})
		if h := k.now.best(&it); h >= 0 {
			k.now.enter(v, h, make([]int64, len(it.need)))
			k.to[v] = h
		}
	}
}

// fit finds hosts for all of the VMs; ranked is set where each, in this order, has the one that
// ranks first for it.
func (r *room) fit(vms []int32, work *int) (to map[int32]int32, ranked bool, a Answer) {
	if len(vms) == 0 {
		return map[int32]int32{}, true, Yes
	}
	*work -= 4 * len(vms) * len(r.m.hosts)
	items := r.items(vms)
	if to = r.rankedFirst(items); to != nil {
		return to, true, Yes
	}
	p := newPacking(r, items, work)
	if to = r.rankedFirst(p.items); to != nil { // once more, the largest first
		return to, false, Yes
	}
	if a = p.solve(); a != Yes {
		return nil, false, a
	}
	return p.placement(), false, Yes
}

// rankedFirst gives each item, in this order, the host that ranks first for it; nil when one finds none.
func (r *room) rankedFirst(items []item) map[int32]int32 {
	try := r.clone()
	to := map[int32]int32{}
	need := make([]int64, len(r.m.dims))
	for i := range items {
		h := try.best(&items[i])
		if h < 0 {
			return nil
		}
		for _, v := range items[i].vms {
			try.enter(v, h, need)
			to[v] = h
		}
	}
	return to
}

// placeable reports whether any host could take the VM alone.
func (r *room) placeable(v int32) bool {
	it := r.item([]int32{v})
	for h := range int32(len(r.m.hosts)) {
		if r.accepts(&it, h) {
			return true
		}
	}
	return false
}
