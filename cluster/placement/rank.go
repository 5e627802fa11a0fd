package placement

import (
	"cmp"
	"slices"
)

// better compares two hosts that could take a VM: negative when a comes first.
// Equal scores are told apart by the hosts' names, by whoever sorts.
func (a Score) better(b Score) int {
	if a.Uneven != b.Uneven {
		return cmp.Compare(a.Uneven, b.Uneven)
	}
	if c := a.wishes(b); c != 0 {
		return c
	}
	if a.pack {
		return cmp.Or(cmp.Compare(b.MemoryUsed, a.MemoryUsed), cmp.Compare(b.CPUs, a.CPUs), cmp.Compare(b.VMs, a.VMs))
	}
	if c := cmp.Compare(a.MemoryUsed/memoryStep, b.MemoryUsed/memoryStep); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(a.CPUs, b.CPUs),
		cmp.Compare(a.MemoryUsed, b.MemoryUsed),
		cmp.Compare(b.Free, a.Free),
		cmp.Compare(a.VMs, b.VMs),
	)
}

// wishes compares what rules and policy prefer, before any figures of load.
func (a Score) wishes(b Score) int {
	return cmp.Or(
		no(b.Returns, a.Returns),
		no(a.FailedHere, b.FailedHere),
		cmp.Compare(b.Preference, a.Preference),
		cmp.Compare(a.Broken, b.Broken),
		cmp.Compare(a.Members, b.Members),
		no(b.Failover, a.Failover),
		no(b.Home, a.Home),
	)
}

// memoryStep is the difference of memory in use below which processors decide: 5 %.
const memoryStep = 5000

// no prefers false.
func no(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// scores ranks all hosts for VMs that go together. It is made for one set of VMs and
// one state of the room.
type scores struct {
	r          *room
	vms        []int32
	preference []int
	broken     []int
	members    []int
	memory     int64
	cpu        int64
}

func (r *room) scores(vms []int32) *scores {
	n := len(r.m.hosts)
	three := make([]int, 3*n)
	s := &scores{r: r, vms: vms, preference: three[:n:n], broken: three[n : 2*n : 2*n], members: three[2*n:]}
	for _, v := range vms {
		memory, cpu := r.m.takes(v)
		s.memory += memory
		s.cpu += cpu
		for _, rule := range r.m.soft[v] {
			s.add(v, rule)
		}
		if g := r.m.spread[v]; g != nil {
			for _, x := range r.m.crowd[g] {
				if h := r.at[x]; h >= 0 && x != v {
					s.members[h]++
				}
			}
		}
	}
	return s
}

// add books one rule of VM v on the hosts that it favours or disfavours.
func (s *scores) add(v int32, rule *Rule) {
	m := s.r.m
	switch rule.Kind {
	case OnHosts, NotOnHosts:
		for name, weight := range rule.Hosts {
			h := m.hostOr(name)
			switch {
			case h < 0:
			case rule.Kind == OnHosts:
				s.preference[h] += weight + 1
			default:
				s.preference[h] -= weight + 1
			}
		}
	case Apart, Together:
		weight := max(1, rule.Weight)
		for _, x := range m.members[rule] {
			at := s.r.at[x]
			if at < 0 || x == v {
				continue
			}
			for h := range m.hosts {
				here := int32(h) == at || rule.Domains && m.domain[h] == m.domain[at]
				if here == (rule.Kind == Apart) {
					s.broken[h] += weight
				}
			}
		}
	}
}

// gathers reports whether a group that is to be spread, and is, would all be on host h.
func (s *scores) gathers(h, from int32) bool {
	m := s.r.m
	for _, v := range s.vms {
		g := m.spread[v]
		if g == nil {
			continue
		}
		others, there := 0, 0
		for _, x := range m.crowd[g] {
			if at := s.r.at[x]; at >= 0 && !slices.Contains(s.vms, x) {
				others++
				if at == h {
					there++
				}
			}
		}
		if others > 0 && there == others && h != from {
			return true
		}
	}
	return false
}

// of is the score of host h.
func (s *scores) of(h int32) Score {
	r := s.r
	host := r.m.hosts[h]
	sc := Score{
		pack: r.m.c.Policy.Pack, measured: r.m.c.Policy.Measured,
		Preference: s.preference[h], Broken: s.broken[h], Members: s.members[h], Failover: host.Failover,
		VMs: int(r.vms[h]) + len(s.vms), CPUs: (r.cpu[h] + s.cpu) / int64(max(1, host.CPUs)),
	}
	if size := r.m.capacity[int(h)*len(r.m.dims)]; size > 0 {
		sc.Free = size - r.memory[h] - s.memory
		sc.MemoryUsed = int64(float64(r.memory[h]+s.memory) / float64(size) * 100_000)
	}
	for _, v := range s.vms {
		sc.Home = sc.Home || r.m.vms[v].Home == host.Name
		for _, f := range r.m.vms[v].Failed {
			sc.FailedHere = sc.FailedHere || f == host.Name
		}
	}
	return sc
}

// accepts reports whether host h can take the item now.
func (r *room) accepts(it *item, h int32) bool {
	if r.dead.has(h) || r.leaving.has(h) || !it.hosts.has(h) || it.never {
		return false
	}
	free := r.free[int(h)*len(it.need):]
	for i, n := range it.need {
		if n > free[i] && n > 0 {
			return false
		}
	}
	for _, e := range it.apart {
		if r.occ[r.m.scope(e, h)] > 0 {
			return false
		}
	}
	return true
}

// best is the host that ranks first of those that can take the item, or -1.
func (r *room) best(it *item) int32 {
	s := r.scores(it.vms)
	found, top := int32(-1), Score{}
	for h := range int32(len(r.m.hosts)) {
		if !r.accepts(it, h) {
			continue
		}
		if sc := s.of(h); found < 0 || sc.better(top) < 0 {
			found, top = h, sc
		}
	}
	return found
}
