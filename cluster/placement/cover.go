package placement

import (
	"cmp"
	"slices"
)

// span is units lo to hi, less one, of which n fail.
type span struct{ lo, hi, n int }

// atOnce decides whether any n units may fail together. With No it names hosts
// whose loss cannot be taken.
func (s *survey) atOnce(n int) (Answer, []int32) {
	n = min(n, len(s.units))
	if n == 0 {
		return s.exactly(nil)
	}
	for _, set := range s.suspects(n) {
		if a, lost := s.exactly(set); a == No {
			return No, lost
		}
	}
	answer := Yes
	for k := n; k > 0; k-- {
		a, lost := s.cover([]span{{0, len(s.units), k}})
		switch {
		case a == No:
			return No, lost
		case a == Unknown:
			answer = Unknown
		}
		if s.settled {
			break // fewer failures are never worse
		}
	}
	return answer, nil
}

// cover decides about all sets that take n units of each span.
func (s *survey) cover(spans []span) (Answer, []int32) {
	all, fail := 0, 0
	widest := -1
	for i, p := range spans {
		all += p.hi - p.lo
		fail += p.n
		if p.n < p.hi-p.lo && (widest < 0 || p.hi-p.lo > spans[widest].hi-spans[widest].lo) {
			widest = i
		}
	}
	if widest < 0 {
		return s.exactly(spans)
	}
	if *s.work < 0 {
		return Unknown, nil
	}
	if all < len(s.units) && s.survives(spans, all <= 2*fail+2) {
		return Yes, nil
	}
	p := spans[widest]
	mid := (p.lo + p.hi) / 2
	answer := Yes
	for left := min(p.n, mid-p.lo); left >= max(0, p.n-(p.hi-mid)); left-- {
		parts := slices.Clone(spans[:widest])
		if left > 0 {
			parts = append(parts, span{p.lo, mid, left})
		}
		if p.n > left {
			parts = append(parts, span{mid, p.hi, p.n - left})
		}
		a, lost := s.cover(append(parts, spans[widest+1:]...))
		if a == No {
			return No, lost
		}
		if a == Unknown {
			answer = Unknown
		}
	}
	return answer, nil
}

// exactly decides about the one set that takes all units of the spans.
func (s *survey) exactly(spans []span) (Answer, []int32) {
	*s.work -= len(s.m.vms)
	r := s.r.clone()
	var vms, lost []int32
	for _, p := range spans {
		for _, u := range s.units[p.lo:p.hi] {
			vms = append(vms, u.all...)
			lost = append(lost, u.hosts...)
		}
	}
	if len(vms) == 0 {
		return Yes, nil
	}
	r.lose(lost)
	return newPacking(r, r.items(vms), s.work).solve(), lost
}

// survives tries to place the VMs of all units of the spans on the other hosts,
// in a way that would do for each part of them too: VMs of the spans keep their
// old place in the eyes of the rules, since their host may be one that does not fail.
func (s *survey) survives(spans []span, thorough bool) bool {
	clear(s.counts)
	clear(s.dead)
	copy(s.dead, s.r.dead)
	tricky := s.tricky[:0]
	for _, p := range spans {
		for i := p.lo; i < p.hi; i++ {
			u := &s.units[i]
			for _, c := range u.counts {
				s.counts[c.kind] += c.n
			}
			for _, h := range u.hosts {
				s.dead.set(h)
			}
			tricky = append(tricky, u.tricky...)
		}
	}
	s.tricky = tricky
	copy(s.free, s.r.free)
	*s.work -= len(s.kinds) * 4
	ok := (len(tricky) == 0 || s.placeTricky(tricky)) && s.placeKinds()
	if !ok && thorough {
		copy(s.free, s.r.free)
		*s.work -= len(s.order) * 8
		ok = (len(tricky) == 0 || s.placeTricky(tricky)) && s.placeBestFit()
	}
	return ok
}

// placeKinds fills the hosts with VMs kind by kind, the largest first, on the
// host with the least room at the start.
func (s *survey) placeKinds() bool {
	for k := range s.kinds {
		if s.counts[k] > 0 && !s.placeKind(k, s.order) {
			return false
		}
	}
	return true
}

// placeKind fills the hosts, in this order, with the VMs of one kind.
func (s *survey) placeKind(k int, order []int32) bool {
	d := len(s.m.dims)
	n := int64(s.counts[k])
	it := &s.kinds[k].item
	for _, h := range order {
		if s.dead.has(h) || !it.hosts.has(h) {
			continue
		}
		free := s.free[int(h)*d : (int(h)+1)*d]
		take := n
		for i, need := range it.need {
			if need > 0 {
				if need > free[i] {
					take = 0
					break
				}
				if take > 1 {
					take = min(take, free[i]/need)
				}
			}
		}
		if take == 0 {
			continue
		}
		for i, need := range it.need {
			free[i] -= take * need
		}
		if n -= take; n == 0 {
			break
		}
	}
	*s.work -= 8
	return n == 0
}

// placeBestFit is placeKinds with the hosts put in order anew for each kind: those
// that have the least left beside it first.
func (s *survey) placeBestFit() bool {
	d := len(s.m.dims)
	left := make([]float64, len(s.order))
	order := slices.Clone(s.order)
	for k := range s.kinds {
		if s.counts[k] == 0 {
			continue
		}
		for _, h := range order {
			left[h] = 0
			for j, avg := range s.m.average {
				if avg > 0 {
					left[h] += float64(s.free[int(h)*d+j]) / avg
				}
			}
		}
		slices.SortFunc(order, func(a, b int32) int { return cmp.Or(cmp.Compare(left[a], left[b]), cmp.Compare(a, b)) })
		if !s.placeKind(k, order) {
			return false
		}
	}
	return true
}

// placeTricky places VMs with musts, one by one, on the host with the least left.
func (s *survey) placeTricky(vms []int32) bool {
	r, m, d := s.r, s.m, len(s.m.dims)
	for _, v := range vms {
		// Mates that run on different hosts already: only a set by itself can tell.
		if slices.ContainsFunc(m.mates[v], func(x int32) bool { return r.at[x] >= 0 && r.at[x] != r.at[v] }) {
			return false
		}
	}
	items := r.itemsBeside(vms, false)
	slices.SortFunc(items, func(a, b item) int { return bySize(&a, &b) })
	occ := slices.Clone(r.occ)
	for i := range items {
		it := &items[i]
		best, left := int32(-1), 0.0
		for h := range int32(len(m.hosts)) {
			if s.dead.has(h) || !it.hosts.has(h) || it.never || s.occupied(it, h, occ) {
				continue
			}
			free, sum, ok := s.free[int(h)*d:(int(h)+1)*d], 0.0, true
			for j, n := range it.need {
				if n > 0 && n > free[j] {
					ok = false
					break
				}
				if avg := m.average[j]; avg > 0 {
					sum += float64(free[j]-n) / avg
				}
			}
			if ok && (best < 0 || sum < left) {
				best, left = h, sum
			}
		}
		*s.work -= len(m.hosts)
		if best < 0 {
			return false
		}
		for j, n := range it.need {
			s.free[int(best)*d+j] -= n
		}
		for _, e := range it.apart {
			occ[m.scope(e, best)]++
		}
	}
	return true
}

// occupied reports whether an apart rule keeps the item from host h, where the
// item's own VMs, at their old places, are not in their own way.
func (s *survey) occupied(it *item, h int32, occ []int16) bool {
	for _, e := range it.apart {
		at := s.m.scope(e, h)
		n := occ[at]
		for _, v := range it.vms {
			if s.m.scope(e, s.r.at[v]) == at && slices.Contains(s.m.apart[v], e) {
				n--
			}
		}
		if n > 0 {
			return true
		}
	}
	return false
}

// gaps is how many VMs like the item host h has room for.
func (s *survey) gaps(it *item, h int32) int64 {
	if !it.hosts.has(h) {
		return 0
	}
	n := int64(boundless)
	for i, need := range it.need {
		if need > 0 {
			n = min(n, max(0, s.r.free[int(h)*len(it.need)+i])/need)
		}
	}
	return n
}

// atLeast reports whether a is no less than b in anything.
func atLeast(a, b []int64) bool {
	for i := range a {
		if a[i] < b[i] {
			return false
		}
	}
	return true
}

// suspects are sets of n units that are likely not to be survivable: for each kind
// of VM, the units that together hold the most VMs of at least that size and gaps
// for them, and the units that hold the most in all.
func (s *survey) suspects(n int) [][]span {
	var sets [][]span
	seen := map[string]bool{}
	propose := func(weight func(u *unit) int64) {
		order := make([]int, len(s.units))
		for i := range order {
			order[i] = i
		}
		weights := make([]int64, len(s.units))
		for i := range s.units {
			weights[i] = weight(&s.units[i])
		}
		slices.SortStableFunc(order, func(a, b int) int { return int(max(-1, min(1, weights[b]-weights[a]))) })
		set := slices.Sorted(slices.Values(order[:n]))
		var spans []span
		var key []byte
		for _, u := range set {
			spans = append(spans, span{u, u + 1, 1})
			key = append(key, byte(u), byte(u>>8))
		}
		if !seen[string(key)] {
			seen[string(key)] = true
			sets = append(sets, spans)
		}
	}
	propose(func(u *unit) int64 { return u.weight })
	propose(func(u *unit) int64 { return int64(len(u.tricky)) })
	const most = 48 // kinds, the largest first
	for k := range s.kinds[:min(most, len(s.kinds))] {
		it := &s.kinds[k].item
		propose(func(u *unit) int64 {
			var sum int64
			for _, h := range u.hosts {
				sum += s.gaps(it, h)
			}
			for _, c := range u.counts {
				if other := &s.kinds[c.kind].item; atLeast(other.need, it.need) && other.hosts.within(it.hosts) {
					sum += int64(c.n)
				}
			}
			return sum
		})
	}
	return sets
}
