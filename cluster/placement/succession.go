package placement

import "slices"

// successive decides whether units may fail one after the other: whichever fails
// next, its VMs can be placed so that whichever fails after that, and so on. It is
// a game of the planner against the failures, and searched as one.
func (s *survey) successive(f Failures) (Answer, []int32) {
	// Where the VMs are in the end is a placement for all failures at once, so
	// that much is needed, and quickly refuted.
	if a, lost := s.atOnce(f.N); a == No {
		return No, lost
	}
	return s.play(f)
}

// play decides about f.N further failures.
func (s *survey) play(f Failures) (Answer, []int32) {
	if f.N <= 1 {
		return s.atOnce(f.N)
	}
	answer := Yes
	for i := range s.units {
		if *s.work < 0 {
			return Unknown, nil
		}
		a, then := s.afterLoss(&s.units[i], Failures{N: f.N - 1, Domains: f.Domains})
		if a == No {
			return No, append(slices.Clone(s.units[i].hosts), then...)
		}
		if a == Unknown {
			answer = Unknown
		}
	}
	return answer, nil
}

// afterLoss decides whether the VMs of a unit that fails can be placed so that the
// cluster bears f afterwards. What the planner would do comes first, then other
// quick placements, then all of them.
func (s *survey) afterLoss(u *unit, f Failures) (Answer, []int32) {
	r := s.r.clone()
	r.lose(u.hosts)
	items := r.items(u.all)
	var lost []int32
	unsure := false
	try := func(to map[int32]int32) bool {
		after := r.clone()
		need := make([]int64, len(s.m.dims))
		for v, h := range to {
			after.enter(v, h, need)
		}
		a, then := newSurvey(after, f, s.skip, s.work).play(f)
		switch a {
		case No:
			lost = then
		case Unknown:
			unsure = true
		}
		return a == Yes
	}
	if len(items) == 0 {
		if try(nil) {
			return Yes, nil
		}
		if unsure {
			return Unknown, nil
		}
		return No, lost
	}
	if to := r.rankedFirst(items); to != nil && try(to) {
		return Yes, nil
	}
	p := newPacking(r, items, s.work)
	for _, most := range []bool{true, false} {
		if p.greedy(most) && try(p.placement()) {
			return Yes, nil
		}
	}
	if s.every(p, try) {
		return Yes, nil
	}
	if unsure || *s.work < 0 {
		return Unknown, nil
	}
	return No, lost
}

// every gives all placements of the items to try, until one is taken. Items that
// are the same take hosts in ascending order.
func (s *survey) every(p *packing, try func(map[int32]int32) bool) bool {
	copy(p.free, p.start)
	copy(p.occ, p.begin)
	var place func(i, from int) bool
	place = func(i, from int) bool {
		if i == len(p.items) {
			return try(p.placement())
		}
		for k := from; k < len(p.hosts); k++ {
			if *s.work -= 4; *s.work < 0 {
				return false
			}
			if !p.fits(&p.items[i], k) {
				continue
			}
			p.put(i, k, 1)
			next := 0
			if i+1 < len(p.items) && same(&p.items[i], &p.items[i+1]) {
				next = k
			}
			if place(i+1, next) {
				return true
			}
			p.put(i, k, -1)
		}
		return false
	}
	return place(0, 0)
}
