package placement

import "slices"

// assign finds hosts for VMs, given in start order. It returns where they go, and
// whether that is known to be the best possible: as many as can be, those that
// start earlier before those that start later. VMs that find no host are left out.
//
// When all fit without going back, each takes the host that ranks first for it.
// Otherwise the exact search packs them. Otherwise VMs are taken one after the
// other, each kept if all that were kept so far still fit with it.
func (r *room) assign(vms []int32, work *int) (to map[int32]int32, exact bool) {
	able := slices.DeleteFunc(slices.Clone(vms), func(v int32) bool { return !r.placeable(v) })
	to, a := r.fit(able, work)
	if a == Yes {
		return to, true
	}
	exact = true
	var kept []int32
	to = map[int32]int32{}
	for len(able) > 0 {
		// All of one class and priority at once, which is what mostly succeeds.
		n := 1
		for n < len(able) && r.m.vms[able[n]].Class == r.m.vms[able[0]].Class && r.m.vms[able[n]].Priority == r.m.vms[able[0]].Priority {
			n++
		}
		more, unsure := r.keep(kept, able[:n], work)
		kept, able = append(kept, more...), able[n:]
		exact = exact && !unsure
	}
	if found, a := r.fit(kept, work); a == Yes {
		return r.fillUp(vms, found), exact
	}
	// Only a bound on the work leads here: what was proven one by one could not be
	// found once more as a whole.
	return r.fillUp(vms, to), false
}

// keep returns those of one level that can be kept beside the ones kept before,
// and whether a proof is missing for one that was left out.
func (r *room) keep(kept, level []int32, work *int) (more []int32, unsure bool) {
	if len(level) == 0 {
		return nil, false
	}
	try := append(slices.Clone(kept), level...)
	_, a := r.fit(try, work)
	switch {
	case a == Yes:
		return level, false
	case len(level) == 1:
		return nil, a == Unknown
	}
	// The first half may still fit as a whole; what it leaves decides about the second.
	half := len(level) / 2
	first, unsure := r.keep(kept, level[:half], work)
	second, unsure2 := r.keep(append(slices.Clone(kept), first...), level[half:], work)
	return append(slices.Clone(first), second...), unsure || unsure2
}

// fit finds hosts for all of the VMs.
func (r *room) fit(vms []int32, work *int) (map[int32]int32, Answer) {
	if len(vms) == 0 {
		return map[int32]int32{}, Yes
	}
	items := r.items(vms)
	if to := r.rankedFirst(items); to != nil {
		return to, Yes
	}
	p := newPacking(r, items, work)
	if to := r.rankedFirst(p.items); to != nil { // once more, the largest first
		return to, Yes
	}
	a := p.solve()
	if a != Yes {
		return nil, a
	}
	return p.placement(), Yes
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

// fillUp gives hosts to VMs that were left out and find room beside the others.
func (r *room) fillUp(vms []int32, to map[int32]int32) map[int32]int32 {
	try := r.clone()
	need := make([]int64, len(r.m.dims))
	for v, h := range to {
		try.enter(v, h, need)
	}
	for _, v := range vms {
		if _, ok := to[v]; ok {
			continue
		}
		it := try.item([]int32{v})
		if h := try.best(&it); h >= 0 {
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
