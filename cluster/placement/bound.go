package placement

import "slices"

// impossible looks for a proof that the items cannot fit: for some set of hosts,
// those items that can go nowhere else need more than is free there, or more of
// them are larger than some size than gaps of that size exist; or an apart rule
// has more VMs than places. Not finding a proof says nothing.
func (p *packing) impossible() bool {
	seen := map[string]bool{}
	for i := range p.items {
		if key := string(p.items[i].hosts.appendKey(nil)); !seen[key] {
			seen[key] = true
			if p.overfull(p.items[i].hosts) {
				return true
			}
		}
	}
	all := p.m.none()
	for _, h := range p.hosts {
		all.set(h)
	}
	return p.overfull(all) || p.crowded()
}

// overfull is the proof for one set of hosts.
func (p *packing) overfull(within bits) bool {
	dims := len(p.m.dims)
	var inside []int
	for i := range p.items {
		if p.items[i].hosts.within(within) {
			inside = append(inside, i)
		}
	}
	var where []int
	for k, h := range p.hosts {
		if within.has(h) {
			where = append(where, k)
		}
	}
	sizes := make([]int64, 0, len(inside))
	for d := range dims {
		var need, free int64
		sizes = sizes[:0]
		for _, i := range inside {
			if n := p.items[i].need[d]; n > 0 {
				need += n
				sizes = append(sizes, n)
			}
		}
		for _, k := range where {
			free += max(0, p.start[k*dims+d])
		}
		*p.work -= len(where) + len(inside)
		if need > free {
			return true
		}
		slices.Sort(sizes)
		for i := len(sizes) - 1; i >= 0; i-- {
			if i > 0 && sizes[i-1] == sizes[i] {
				continue
			}
			gaps := 0
			for _, k := range where {
				if f := p.start[k*dims+d]; f >= sizes[i] {
					gaps += int(f / sizes[i])
				}
			}
			*p.work -= len(where)
			if len(sizes)-i > gaps {
				return true
			}
		}
	}
	return false
}

// crowded looks for an apart rule whose VMs cannot be given a place each.
func (p *packing) crowded() bool {
	rules := map[int32][]int{}
	for i := range p.items {
		for _, e := range p.items[i].apart {
			rules[e] = append(rules[e], i)
		}
	}
	for e := range p.m.exclusive {
		if items := rules[int32(e)]; len(items) > 1 && !p.matched(int32(e), items) {
			return true
		}
	}
	return false
}

// matched finds a scope of rule e for each of the items by augmenting paths.
func (p *packing) matched(e int32, items []int) bool {
	copy(p.free, p.start)
	copy(p.occ, p.begin)
	holder := map[int]int{} // scope → item
	var tried map[int]bool
	var assign func(i int) bool
	assign = func(i int) bool {
		for k, h := range p.hosts {
			s := p.m.scope(e, h)
			if tried[s] || !p.fits(&p.items[i], k) {
				continue
			}
			tried[s] = true
			if j, taken := holder[s]; !taken || assign(j) {
				holder[s] = i
				return true
			}
		}
		*p.work -= len(p.hosts)
		return false
	}
	for _, i := range items {
		tried = map[int]bool{}
		if !assign(i) {
			return false
		}
	}
	return true
}
