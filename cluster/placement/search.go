package placement

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// search is the exact part: depth first over the items, largest first, each on
// every host in turn. What is left out is only what cannot matter:
//
//   - the same items take hosts in ascending order (swapping them changes nothing),
//   - of hosts that are equal in all that the remaining items can see, the first is tried,
//   - a state that was seen to fail is not looked at again,
//   - what remains must fit by volume and by count.
type search struct {
	*packing
	kind    []int32 // candidate → hosts of one kind differ only in what is free
	touched []int32 // candidate → items with apart rules placed there
	rest    []int64 // item × dim: sum of need from there on
	least   []int64 // item × dim: smallest need from there on
	run     []int   // item → end of the run of items that are the same
	plain   bool    // no item has an apart rule
	failed  map[string]struct{}
	nodes   int
	order   []int // scratch
	key     []byte
}

// Failed states are kept from so many nodes on, which most searches never reach.
const failedAfter = 16

// failedKept bounds the memory of failed states; further ones are not kept.
const failedKept = 1 << 15

func (p *packing) search() Answer {
	copy(p.free, p.start)
	copy(p.occ, p.begin)
	n, d := len(p.items), len(p.m.dims)
	s := &search{packing: p, touched: make([]int32, len(p.hosts)), failed: map[string]struct{}{}, plain: true,
		rest: make([]int64, (n+1)*d), least: make([]int64, (n+1)*d), run: make([]int, n), order: make([]int, len(p.hosts))}
	for i := range d {
		s.least[n*d+i] = boundless
	}
	for i := n - 1; i >= 0; i-- {
		it := &p.items[i]
		s.plain = s.plain && len(it.apart) == 0
		for j, need := range it.need {
			s.rest[i*d+j] = s.rest[(i+1)*d+j] + need
			s.least[i*d+j] = min(s.least[(i+1)*d+j], need)
		}
		s.run[i] = i + 1
		if i+1 < n && same(it, &p.items[i+1]) {
			s.run[i] = s.run[i+1]
		}
	}
	s.sortOut()
	return s.place(0, 0)
}

// sortOut finds the kinds of hosts: which items they could take, and where they
// stand with the rules of those.
func (s *search) sortOut() {
	kinds := map[string]int32{}
	for _, h := range s.hosts {
		var key []byte
		for i := range s.items {
			if i > 0 && same(&s.items[i-1], &s.items[i]) {
				continue
			}
			b := byte(0)
			if s.items[i].hosts.has(h) {
				b = 1
			}
			key = append(key, b)
			for _, e := range s.items[i].apart {
				key = binary.AppendVarint(key, int64(s.begin[s.m.scope(e, h)]))
				if s.m.exclusive[e].domains {
					key = binary.AppendVarint(key, int64(s.m.domain[h]))
				}
			}
		}
		id, ok := kinds[string(key)]
		if !ok {
			id = int32(len(kinds))
			kinds[string(key)] = id
		}
		s.kind = append(s.kind, id)
	}
}

// place places item i and all after it. Candidates before from are not tried.
func (s *search) place(i, from int) Answer {
	if i == len(s.items) {
		return Yes
	}
	it := &s.items[i]
	s.nodes++
	*s.work -= len(s.hosts) * (1 + len(s.m.dims))
	if *s.work < 0 {
		return Unknown
	}
	if !s.hopeful(i, from) {
		return No
	}
	fresh := from == 0 && (i == 0 || s.run[i-1] == i)
	if fresh && s.plain && s.nodes > failedAfter {
		if _, seen := s.failed[string(s.state(i))]; seen {
			return No
		}
	}
	var tried []int
	for k := from; k < len(s.hosts); k++ {
		if !s.fits(it, k) || slices.ContainsFunc(tried, func(j int) bool { return s.equal(j, k) }) {
			continue
		}
		tried = append(tried, k)
		s.put(i, k, 1)
		if len(it.apart) > 0 {
			s.touched[k]++
		}
		next := 0
		if s.run[i] > i+1 {
			next = k
		}
		if a := s.place(i+1, next); a != No {
			return a
		}
		s.put(i, k, -1)
		if len(it.apart) > 0 {
			s.touched[k]--
		}
	}
	if fresh && s.plain && s.nodes > failedAfter && len(s.failed) < failedKept {
		s.failed[string(s.state(i))] = struct{}{}
	}
	return No
}

// equal reports whether two candidates are the same to all items that remain.
func (s *search) equal(j, k int) bool {
	d := len(s.m.dims)
	return s.kind[j] == s.kind[k] && s.touched[j] == 0 && s.touched[k] == 0 && slices.Equal(s.free[j*d:(j+1)*d], s.free[k*d:(k+1)*d])
}

// hopeful checks what remains from item i on against what is free: the volume,
// counting only hosts that could take the smallest item, and the number of gaps
// for the run of same items that i begins or continues.
func (s *search) hopeful(i, from int) bool {
	d := len(s.m.dims)
	it := &s.items[i]
	gaps, wanted := int64(0), int64(s.run[i]-i)
	for j := range d {
		rest, least := s.rest[i*d+j], s.least[i*d+j]
		for k := range s.hosts {
			if f := s.free[k*d+j]; f >= least && f > 0 {
				if rest -= f; rest <= 0 {
					break
				}
			}
		}
		if rest > 0 {
			return false
		}
	}
	if len(it.apart) > 0 {
		return true
	}
	for k := from; k < len(s.hosts) && gaps < wanted; k++ {
		if !s.fits(it, k) {
			continue
		}
		most := wanted
		for j, n := range it.need {
			if n > 0 {
				most = min(most, s.free[k*d+j]/n)
			}
		}
		gaps += most
	}
	return gaps >= wanted
}

// state is a key for what place(i, 0) would meet: the free room of the
// candidates, those of one kind in ascending order.
func (s *search) state(i int) []byte {
	d := len(s.m.dims)
	for k := range s.order {
		s.order[k] = k
	}
	slices.SortFunc(s.order, func(a, b int) int {
		return cmp.Or(cmp.Compare(s.kind[a], s.kind[b]), slices.Compare(s.free[a*d:(a+1)*d], s.free[b*d:(b+1)*d]))
	})
	*s.work -= 16 * len(s.hosts)
	s.key = binary.AppendVarint(s.key[:0], int64(i))
	for _, k := range s.order {
		for _, f := range s.free[k*d : (k+1)*d] {
			s.key = binary.AppendVarint(s.key, f)
		}
	}
	return s.key
}
