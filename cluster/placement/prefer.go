package placement

import (
	"cmp"
	"slices"
)

// preferWork bounds how long one plan looks for better hosts than those it has packed VMs on.
const preferWork = 2_000_000

// prefer goes through a placement that was found, in start order. Each VM takes the host that
// ranks first of those with which all after it still find one.
func (r *room) prefer(vms []int32, found map[int32]int32) map[int32]int32 {
	items := r.items(vms)
	if to := r.rankedFirst(items); to != nil {
		return to
	}
	work := preferWork
	try, need := r.clone(), make([]int64, len(r.m.dims))
	to := make(map[int32]int32, len(found))
	at := make([]int32, len(items)) // where each is in a placement of all that fits beside those that have their hosts
	for i := range items {
		at[i] = found[items[i].vms[0]]
	}
	for i := range items {
		it := &items[i]
		rest := items[i+1:]
		for _, h := range try.ranked(it) {
			if h == at[i] || work < 0 {
				break
			}
			for _, v := range it.vms {
				try.enter(v, h, need)
			}
			p := newPacking(try, slices.Clone(rest), &work)
			a := p.solve()
			for _, v := range it.vms {
				try.leave(v, need)
			}
			if a == Yes {
				others := p.placement()
				for j := range rest {
					at[i+1+j] = others[rest[j].vms[0]]
				}
				at[i] = h
				break
			}
		}
		for _, v := range it.vms {
			try.enter(v, at[i], need)
			to[v] = at[i]
		}
	}
	return to
}

// ranked are the hosts that can take an item, best first.
func (r *room) ranked(it *item) (hosts []int32) {
	s := r.scores(it.vms)
	for h := range int32(len(r.m.hosts)) {
		if r.accepts(it, h) {
			hosts = append(hosts, h)
		}
	}
	of := make([]Score, len(r.m.hosts))
	for _, h := range hosts {
		of[h] = s.of(h)
	}
	slices.SortFunc(hosts, func(a, b int32) int { return cmp.Or(of[a].better(of[b]), cmp.Compare(a, b)) })
	return hosts
}
