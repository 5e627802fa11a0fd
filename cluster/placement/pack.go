package placement

import (
	"cmp"
	"slices"
)

// Answer is what a search found.
type Answer int

const (
	// No: it was proven that it cannot be.
	No Answer = iota
	// Yes: a placement was found.
	Yes
	// Unknown: the bound on the work was reached before either.
	Unknown
)

func (a Answer) String() string {
	return [...]string{"no", "yes", "unknown"}[a]
}

// packing is one question: do these items fit into this room? It works on
// copies; the room stays as it is.
type packing struct {
	m     *model
	items []item
	hosts []int32 // candidates, least free first
	free  []int64 // candidate × dim
	start []int64 // free at the beginning
	occ   []int16
	begin []int16
	pos   []int32 // item → candidate
	work  *int    // steps left, shared by all searches of one question
}

// newPacking takes the room without those of the items' VMs that run in it.
func newPacking(r *room, items []item, work *int) *packing {
	m := r.m
	p := &packing{m: m, items: items, work: work, pos: make([]int32, len(items))}
	union := m.none()
	for i := range items {
		for w := range union {
			union[w] |= items[i].hosts[w] &^ (r.dead[w] | r.leaving[w])
		}
	}
	for h := range m.hosts {
		if union.has(int32(h)) {
			p.hosts = append(p.hosts, int32(h))
		}
	}
	d := len(m.dims)
	slices.SortFunc(p.hosts, func(a, b int32) int {
		return cmp.Or(cmp.Compare(r.free[int(a)*d], r.free[int(b)*d]), cmp.Compare(a, b))
	})
	for _, h := range p.hosts {
		p.start = append(p.start, r.free[int(h)*d:(int(h)+1)*d]...)
	}
	p.free, p.begin, p.occ = slices.Clone(p.start), r.occ, slices.Clone(r.occ)
	slices.SortFunc(p.items, func(a, b item) int { return bySize(&a, &b) })
	return p
}

// solve answers the question. After a Yes, p.pos holds a placement.
func (p *packing) solve() Answer {
	for i := range p.items {
		if p.items[i].never || p.items[i].wide == 0 {
			return No
		}
	}
	if p.heuristics() {
		return Yes
	}
	if p.impossible() {
		return No
	}
	// One search must not use up what there is for all: the next may be an easy one.
	all := p.work
	part := *all / 4
	*all -= part
	p.work = &part
	a := p.search()
	p.work = all
	*all += part
	return a
}

// placement is where every VM went, after a Yes.
func (p *packing) placement() map[int32]int32 {
	out := make(map[int32]int32, len(p.items))
	for i := range p.items {
		for _, v := range p.items[i].vms {
			out[v] = p.hosts[p.pos[i]]
		}
	}
	return out
}

// heuristics tries to place all items, largest first, without ever going back.
func (p *packing) heuristics() bool {
	if p.greedy(false) || p.greedy(true) {
		return true
	}
	// Those with the fewest hosts first, if that is another order.
	order := func(a, b item) int {
		return cmp.Or(cmp.Compare(a.wide, b.wide), bySize(&a, &b))
	}
	if slices.IsSortedFunc(p.items, order) {
		return false
	}
	slices.SortFunc(p.items, order)
	if p.greedy(false) {
		return true
	}
	slices.SortFunc(p.items, func(a, b item) int { return bySize(&a, &b) })
	return false
}

// greedy places items in order, each on the host that has the least left after
// it, or the most.
func (p *packing) greedy(most bool) bool {
	copy(p.free, p.start)
	copy(p.occ, p.begin)
	for i := range p.items {
		it := &p.items[i]
		best, bestLeft := -1, 0.0
		for k := range p.hosts {
			if !p.fits(it, k) {
				continue
			}
			left := p.left(it, k)
			if most {
				left = -left
			}
			if best < 0 || left < bestLeft {
				best, bestLeft = k, left
			}
		}
		*p.work -= len(p.hosts)
		if best < 0 {
			return false
		}
		p.put(i, best, 1)
	}
	return true
}

// left is how much candidate k has free after it took the item, in average hosts.
func (p *packing) left(it *item, k int) float64 {
	left := 0.0
	for i, n := range it.need {
		if avg := p.m.average[i]; avg > 0 {
			left += float64(p.free[k*len(it.need)+i]-n) / avg
		}
	}
	return left
}

// fits reports whether candidate k can take the item now.
func (p *packing) fits(it *item, k int) bool {
	h := p.hosts[k]
	if !it.hosts.has(h) {
		return false
	}
	free := p.free[k*len(it.need):]
	for i, n := range it.need {
		if n > free[i] && n > 0 {
			return false
		}
	}
	for _, e := range it.apart {
		if p.occ[p.m.scope(e, h)] > 0 {
			return false
		}
	}
	return true
}

// put books item i on candidate k (sign 1) or off it (-1).
func (p *packing) put(i, k int, sign int64) {
	it := &p.items[i]
	p.pos[i] = int32(k)
	for d, n := range it.need {
		p.free[k*len(it.need)+d] -= sign * n
	}
	for _, e := range it.apart {
		p.occ[p.m.scope(e, p.hosts[k])] += int16(sign)
	}
}
