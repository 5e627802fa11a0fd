package placement

import (
	"cmp"
	"slices"
)

// item is what the search places as one: a VM, or VMs that must be together.
type item struct {
	vms   []int32
	mask  int32
	hosts bits    // of the mask
	need  []int64 // of the mask
	apart []int32 // apart rules of all of vms
	// never says that no host can ever take it: two of vms must be apart from one another.
	never bool
	size  int64 // the largest part it takes of an average host, per million
	wide  int   // hosts that could take it
}

// items makes items of the VMs to be placed, in room r: mates among them become
// one, and mates that run already bind it to their hosts. What is bound to one host so
// comes first: its room was spoken for when the first of its mates was placed.
func (r *room) items(vms []int32) []item { return r.itemsBeside(vms, true) }

// itemsBeside is items, with or without a look at mates that run.
func (r *room) itemsBeside(vms []int32, mates bool) []item {
	m := r.m
	out := make([]item, 0, len(vms))
	var wanted map[int32]bool // made when there are mates at all
	done := map[int32]bool{}
	bound := 0
	for _, v := range vms {
		crew := m.mates[v]
		if crew == nil {
			out = append(out, r.itemBeside([]int32{v}, mates))
			continue
		}
		if wanted == nil {
			wanted = make(map[int32]bool, len(vms))
			for _, x := range vms {
				wanted[x] = true
			}
		}
		if done[v] {
			continue
		}
		var some []int32
		for _, x := range crew {
			if wanted[x] {
				some = append(some, x)
				done[x] = true
			}
		}
		at, _ := r.mateHosts(v)
		if mates && at.len() > 1 {
			for _, x := range some { // torn apart already: each may join any of the others
				out = append(out, r.itemBeside([]int32{x}, mates))
			}
			continue
		}
		it := r.itemBeside(some, mates)
		if mates && at.len() == 1 {
			out = slices.Insert(out, bound, it)
			bound++
			continue
		}
		out = append(out, it)
	}
	return out
}

// item makes one item of VMs.
func (r *room) item(vms []int32) item { return r.itemBeside(vms, true) }

func (r *room) itemBeside(vms []int32, mates bool) item {
	m := r.m
	it := item{vms: vms, mask: m.maskOf(vms[0]), apart: m.apart[vms[0]]}
	at, mate := bits(nil), int32(-1)
	if mates {
		if at, mate = r.mateHosts(vms[0]); mate >= 0 {
			r.follower(vms, at)
		}
	}
	if len(vms) > 1 || mate >= 0 {
		it.mask = r.jointMask(vms, at, mate)
		it.apart = slices.Clip(it.apart)
		for _, v := range vms[1:] {
			for _, e := range m.apart[v] {
				it.never = it.never || slices.Contains(it.apart, e)
				it.apart = append(it.apart, e)
			}
		}
	}
	it.mask = r.living(it.mask)
	it.hosts, it.need = m.masks[it.mask].hosts, m.masks[it.mask].need
	it.wide = it.hosts.len()
	it.size = m.sizeOf(it.need)
	return it
}

// living is the mask without the hosts that are lost: what a VM could have had there
// makes no difference to where it can go, nor to the order in which VMs are packed.
func (r *room) living(id int32) int32 {
	m := r.m
	hosts := m.masks[id].hosts
	for i, w := range r.dead {
		if w&hosts[i] != 0 {
			able := slices.Clone(hosts)
			for j := i; j < len(able); j++ {
				able[j] &^= r.dead[j]
			}
			return m.intern(able, m.masks[id].need)
		}
	}
	return id
}

// jointMask is the mask of VMs that go together, and to where their mates run.
func (r *room) jointMask(vms []int32, at bits, mate int32) int32 {
	m := r.m
	need := make([]int64, len(m.dims))
	able := m.none()
	for i := range able {
		able[i] = ^uint64(0)
	}
	for _, v := range vms {
		one := m.masks[m.maskOf(v)]
		for i, n := range one.need {
			need[i] += n
		}
		for i, w := range one.hosts {
			able[i] &= w
		}
	}
	for h := range m.hosts {
		for i, n := range need {
			if n > 0 && n > m.capacity[h*len(need)+i] || mate >= 0 && !at.has(int32(h)) {
				able.clear(int32(h))
			}
		}
	}
	return m.intern(able, need)
}

// sizeOf is the largest part that a need takes of an average host, per million.
func (m *model) sizeOf(need []int64) int64 {
	var size int64
	for i, n := range need {
		if n > 0 && m.average[i] > 0 && m.dims[i].reason != TooManyVMs {
			size = max(size, int64(float64(n)*1e6/m.average[i]))
		}
	}
	return size
}

// bySize orders items for packing: the largest first, then those that few hosts
// can take; the same ones stay next to one another.
func bySize(a, b *item) int {
	return cmp.Or(-cmp.Compare(a.size, b.size), cmp.Compare(a.wide, b.wide), slices.Compare(a.hosts, b.hosts), slices.Compare(a.need, b.need),
		-cmp.Compare(len(a.apart), len(b.apart)), cmp.Compare(a.vms[0], b.vms[0]))
}

// same reports whether two items are interchangeable.
func same(a, b *item) bool {
	return a.mask == b.mask && len(a.apart) == 0 && len(b.apart) == 0
}
