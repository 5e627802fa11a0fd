package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// survey decides about many sets of failing hosts at once. VMs that are the same
// to the search are counted, not listed: a set of hosts is a sum of counts.
//
// Its lever is that whatever places the VMs of a large set of hosts on the others
// also places those of each part of that set: a placement for eight lost hosts
// proves all 56 sets of three among them. So sets are tried as large as they
// go, and split where they do not.
type survey struct {
	r     *room
	m     *model
	work  *int
	units []unit
	// kinds of VMs, the largest first.
	kinds []kind
	// order of the hosts for packing, least free first.
	order     []int32
	uncovered []Uncovered
	skip      map[int32]string // VMs that are uncovered

	counts  []int32 // scratch: VMs per kind
	free    []int64 // scratch: host × dim
	dead    bits    // scratch
	tricky  []int32 // scratch
	settled bool    // every set of units is a part of a larger one for all rules; see cover
}

// unit is hosts that fail as one, with what has to be restarted then.
type unit struct {
	hosts  []int32
	counts []count
	tricky []int32 // VMs with rules that are a must, one by one
	all    []int32 // all of them
	weight int64
}

type count struct {
	kind int32
	n    int32
}

// kind is VMs with the same mask and no must between them.
type kind struct {
	mask int32
	item item
}

// newSurvey looks at the VMs that run in room r, but for those in skip; without
// skip it finds out itself which have nowhere to go.
func newSurvey(r *room, f Failures, skip map[int32]string, work *int) *survey {
	m := r.m
	*work -= 16 * (len(m.vms) + len(m.hosts))
	s := &survey{r: r, m: m, work: work, dead: m.none(), free: make([]int64, len(r.free)), settled: true}
	units, owner := r.owners(f.Domains)
	for _, hosts := range units {
		s.units = append(s.units, unit{hosts: hosts})
	}
	if s.skip = skip; skip == nil {
		s.skip = r.uncovered(owner, r.alone(owner, f.Domains))
	}
	kindOf := map[int32]int32{}
	for v, vm := range m.vms {
		h := r.at[v]
		if h < 0 || owner[h] < 0 || vm.Class != Protected {
			continue
		}
		if why, yes := s.skip[int32(v)]; yes {
			s.uncovered = append(s.uncovered, Uncovered{vm.Name, why})
			continue
		}
		u := &s.units[owner[h]]
		u.all = append(u.all, int32(v))
		if len(m.apart[int32(v)]) > 0 || m.mates[int32(v)] != nil {
			u.tricky = append(u.tricky, int32(v))
			continue
		}
		id := m.maskOf(int32(v))
		k, ok := kindOf[id]
		if !ok {
			k = int32(len(s.kinds))
			kindOf[id] = k
			s.kinds = append(s.kinds, kind{mask: id, item: r.item([]int32{int32(v)})})
		}
		u.add(k)
	}
	s.sortKinds()
	s.sortUnits()
	s.counts = make([]int32, len(s.kinds))
	for h := range int32(len(m.hosts)) {
		s.order = append(s.order, h)
	}
	d := len(m.dims)
	slices.SortFunc(s.order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(r.free[int(a)*d], r.free[int(b)*d]), cmp.Compare(a, b))
	})
	// With rules about failure domains, or mates, a set may be worse off than a
	// larger one: what the larger one takes away can be in the way of the rest.
	for v := range m.mates {
		s.settled = s.settled && r.at[v] < 0
	}
	for _, e := range m.exclusive {
		s.settled = s.settled && !e.domains
	}
	return s
}

func (u *unit) add(k int32) {
	for i := range u.counts {
		if u.counts[i].kind == k {
			u.counts[i].n++
			return
		}
	}
	u.counts = append(u.counts, count{k, 1})
}

func (s *survey) sortKinds() {
	order := make([]int32, len(s.kinds))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return bySize(&s.kinds[a].item, &s.kinds[b].item) })
	place := make([]int32, len(order))
	kinds := make([]kind, len(order))
	for i, k := range order {
		place[k], kinds[i] = int32(i), s.kinds[k]
	}
	s.kinds = kinds
	for u := range s.units {
		for i := range s.units[u].counts {
			c := &s.units[u].counts[i]
			c.kind = place[c.kind]
		}
	}
}

// sortUnits puts those first whose loss hurts most: they take away the most room
// and ask for the most. Neighbours are alike, so that sets that fail stay small.
func (s *survey) sortUnits() {
	d := len(s.m.dims)
	for i := range s.units {
		u := &s.units[i]
		for j, avg := range s.m.average {
			if avg == 0 {
				continue
			}
			var sum int64
			for _, h := range u.hosts {
				sum += max(0, s.r.free[int(h)*d+j])
			}
			for _, v := range u.all {
				sum += s.m.masks[s.m.maskOf(v)].need[j]
			}
			u.weight = max(u.weight, int64(float64(sum)*1e6/avg))
		}
	}
	slices.SortStableFunc(s.units, func(a, b unit) int {
		return cmp.Or(-cmp.Compare(a.weight, b.weight), cmp.Compare(a.hosts[0], b.hosts[0]))
	})
}

// uncovered lists the protected VMs of a cluster that no plan can restart. Those that wait now
// are taken to run where Decide would start them.
func uncovered(c *Cluster) []Uncovered {
	m, work := newModel(c), c.Policy.work()
	r := newRoom(m)
	var all []Uncovered
	for _, d := range m.decide(r, Question{}, false, &work).Decisions {
		if v := m.vmByID[d.VM]; d.Action == StayDown && m.vms[v].Class == Protected && m.uncoveredNow(r, v) {
			all = append(all, Uncovered{d.VM, d.Why})
		}
	}
	all = append(all, newSurvey(r, Failures{N: 1, Domains: c.Policy.Admission.Domains}, nil, &work).uncovered...)
	slices.SortFunc(all, func(a, b Uncovered) int { return cmp.Compare(a.VM, b.VM) })
	return all
}

// owners are the units, and for each host the number of its own; -1 for one that is down.
func (r *room) owners(domains bool) (units [][]int32, owner []int32) {
	owner = make([]int32, len(r.m.hosts))
	for i := range owner {
		owner[i] = -1
	}
	units = r.units(domains)
	for u, hosts := range units {
		for _, h := range hosts {
			owner[h] = int32(u)
		}
	}
	return units, owner
}

// alone is the unit of the hosts that are up where there are others, and none of them
// takes VMs; -1 elsewhere.
func (r *room) alone(owner []int32, domains bool) int32 {
	m := r.m
	up := slices.IndexFunc(m.hosts, func(h *Host) bool { return h.State == Up })
	if up < 0 {
		return -1
	}
	others := false
	for h, host := range m.hosts {
		if h == up || domains && m.domain[h] == m.domain[up] {
			continue
		}
		if others = true; host.State == Up {
			return -1
		}
	}
	if !others {
		return -1
	}
	return owner[up]
}

// nowhere lists the protected VMs that could not be restarted anywhere if their unit was lost
// now: those that no plan covers, and all where the other hosts are out of service.
func (r *room) nowhere(domains bool, work *int) []Uncovered {
	*work -= 16 * (len(r.m.vms) + len(r.m.hosts))
	_, owner := r.owners(domains)
	why := r.uncovered(owner, -1)
	var all []Uncovered
	for v, vm := range r.m.vms {
		if text, yes := why[int32(v)]; yes {
			all = append(all, Uncovered{vm.Name, text})
		}
	}
	return all
}

// uncovered finds protected VMs that have nowhere to go when their own unit is
// lost, whatever else is free, and says why. Those of the unit alone are none if they could
// leave it: that all other hosts are out of service is room that is missing.
func (r *room) uncovered(owner []int32, alone int32) map[int32]string {
	m := r.m
	out := map[int32]string{}
	elsewhere := func(it *item, h int32) bool {
		for g := range int32(len(m.hosts)) {
			if it.hosts.has(g) && owner[g] != owner[h] {
				return true
			}
		}
		return false
	}
	stuck := map[[2]int32]bool{} // by mask and unit, so that it is worked out once
	for v, vm := range m.vms {
		h := r.at[v]
		if h < 0 || owner[h] < 0 || vm.Class != Protected || alone == owner[h] && len(vm.Bound) == 0 {
			continue
		}
		key := [2]int32{m.maskOf(int32(v)), owner[h]}
		no, known := stuck[key]
		if !known {
			it := item{hosts: m.masks[key[0]].hosts}
			no = !elsewhere(&it, h)
			stuck[key] = no
		}
		if no {
			out[int32(v)] = r.whyNowhere(int32(v), owner)
		}
	}
	if alone < 0 {
		for _, crew := range m.crews {
			r.uncoveredMates(crew, elsewhere, out)
		}
	}
	return out
}

// uncoveredMates drops from a set of mates that run on one host those that no
// other host could take beside the ones before them: they could go somewhere each,
// but nowhere together.
func (r *room) uncoveredMates(crew []int32, elsewhere func(*item, int32) bool, out map[int32]string) {
	m := r.m
	crew = slices.Clone(crew)
	slices.SortFunc(crew, m.startOrder)
	kept := map[int32][]int32{} // by host
	for _, x := range crew {
		h := r.at[x]
		if _, gone := out[x]; gone || h < 0 || m.vms[x].Class != Protected {
			continue
		}
		try := append(slices.Clone(kept[h]), x)
		it := item{hosts: m.masks[r.jointMask(try, nil, -1)].hosts}
		if !elsewhere(&it, h) {
			out[x] = fmt.Sprintf("it must be with %s, and no other host can take both", m.vms[kept[h][0]].Name)
			continue
		}
		kept[h] = try
	}
}

// whyNowhere says what keeps every host outside its unit from taking v.
func (r *room) whyNowhere(v int32, owner []int32) string {
	m := r.m
	vm := m.vms[v]
	if len(vm.Bound) > 0 {
		return "it cannot leave " + vm.Host + ": " + strings.Join(vm.Bound, "; ")
	}
	need := m.demand(v, make([]int64, len(m.dims)))
	var words []string
	for h := range int32(len(m.hosts)) {
		if owner[h] != owner[r.at[v]] {
			c := m.able(v, h, need)
			words = append(words, c.String())
		}
	}
	if len(words) == 0 {
		return "there is no other host"
	}
	return "no other host could take it even if it was empty: " + strings.Join(few(words), "; ")
}
