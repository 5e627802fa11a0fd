package placement

import (
	"cmp"
	"slices"
)

// greedy is the planner that others have, for comparison: memory alone, the VMs of
// a lost host placed largest first on the host with the most free memory, and
// every sequence of n hosts tried. Above a number of sequences it takes all VMs
// to be as large as the largest.
type greedy struct {
	free []int64
	vms  [][]int64 // sizes per host
}

// greedySequences is the number of sequences from which on it estimates.
const greedySequences = 3500

func newGreedy(c *Cluster) *greedy {
	g := &greedy{free: make([]int64, len(c.Hosts)), vms: make([][]int64, len(c.Hosts))}
	at := map[string]int{}
	for i, h := range c.Hosts {
		at[h.Name] = i
		g.free[i] = h.size()
	}
	for i := range c.VMs {
		v := &c.VMs[i]
		h := at[v.Host]
		g.free[h] -= v.need()
		if v.Class == Protected {
			g.vms[h] = append(g.vms[h], v.need())
		}
	}
	return g
}

// sequences is how many there are of n hosts.
func (g *greedy) sequences(n int) int {
	total := 1
	for i := range n {
		total *= len(g.free) - i
	}
	return total
}

// any tries all sequences, or estimates where it would not.
func (g *greedy) any(n int) bool {
	if g.sequences(n) >= greedySequences {
		return g.estimate(n)
	}
	return g.every(n)
}

func (g *greedy) every(n int) bool {
	if n == 0 {
		return true
	}
	for h := range g.free {
		if g.free[h] < 0 {
			continue // gone
		}
		after := &greedy{free: slices.Clone(g.free), vms: slices.Clone(g.vms)}
		if !after.fail(h) || !after.every(n-1) {
			return false
		}
	}
	return true
}

// fail loses host h and places its VMs.
func (g *greedy) fail(h int) bool {
	vms := slices.Clone(g.vms[h])
	slices.SortFunc(vms, func(a, b int64) int { return cmp.Compare(b, a) })
	g.free[h], g.vms[h] = -1, nil
	for _, size := range vms {
		most := 0
		for k := range g.free {
			if g.free[k] > g.free[most] {
				most = k
			}
		}
		if g.free[most] < size {
			return false
		}
		g.free[most] -= size
		g.vms[most] = append(slices.Clone(g.vms[most]), size)
	}
	return true
}

// estimate counts slots of the size of the largest VM.
func (g *greedy) estimate(n int) bool {
	var size int64
	most := 0
	for _, vms := range g.vms {
		for _, s := range vms {
			size = max(size, s)
		}
		most = max(most, len(vms))
	}
	if size == 0 {
		return true
	}
	slots, all := make([]int64, len(g.free)), int64(0)
	for h := range g.free {
		slots[h] = max(0, g.free[h]) / size
		all += slots[h]
	}
	return all-largest(slots, n) >= int64(n*most)
}
