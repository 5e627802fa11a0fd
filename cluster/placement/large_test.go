package placement

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
)

// largeCluster draws a cluster of the size that an installation has: hosts of
// three sizes in racks, VMs of mixed sizes that fill the given part of the memory, and
// rules about some of them.
func largeCluster(seed uint64, hosts, vms int, load float64) *Cluster {
	rng := rand.New(rand.NewPCG(seed, 64))
	c := &Cluster{Policy: Policy{CPUOvercommit: 8 * max(1, float64(vms)/float64(hosts)/64), Admission: Admission{Kind: ByPlacement, Failures: 1}}}
	var total int64
	for i := range hosts {
		h := Host{
			Name: fmt.Sprintf("kvm%03d", i), Domain: fmt.Sprintf("rack-%02d", i/8),
			Memory: []int64{256, 256, 384, 512}[rng.IntN(4)] * gibibyte, Reserve: 8 * gibibyte, CPUs: []int{64, 96, 128}[rng.IntN(3)],
			Datastores: []string{"nfs"}, Networks: []string{"lan", "dmz"}, Capabilities: []string{"x86-64-v2"},
		}
		if i%4 != 0 {
			h.Datastores = append(h.Datastores, "san")
		}
		if i%2 == 0 {
			h.Capabilities = append(h.Capabilities, "x86-64-v3")
		}
		total += h.size()
		c.Hosts = append(c.Hosts, h)
	}
	// Sizes as people choose them; what they average to is scaled to the load.
	sizes := []int64{1, 2, 2, 3, 4, 4, 4, 6, 8, 8, 12, 16, 24, 32}
	giants := []int{0, 4, 16, 60}[seed%4] // in a thousand VMs; they alone fill a good part of a host
	var drawn []int64
	var sum int64
	for range vms {
		s := sizes[rng.IntN(len(sizes))]
		if rng.IntN(1000) < giants {
			s = int64(100 + rng.IntN(160))
		}
		drawn = append(drawn, s)
		sum += s
	}
	scale := load * float64(total) / float64(sum)
	if seed%8 == 7 { // a few databases that only the largest hosts could take
		for i := range 2 + rng.IntN(6) {
			drawn[i] = int64(float64(100+rng.IntN(150)) * gibibyte / scale)
		}
	}
	slices.SortStableFunc(drawn, func(a, b int64) int { return cmp.Compare(b, a) }) // large ones find room first
	free := make([]int64, hosts)
	cpus := make([]int, hosts)
	for i := range c.Hosts {
		free[i], cpus[i] = c.Hosts[i].size(), int(float64(c.Hosts[i].CPUs)*c.Policy.CPUOvercommit)
	}
	for i, s := range drawn {
		v := VM{Name: fmt.Sprintf("vm%05d", i), Memory: int64(float64(s)*scale) >> 28 << 28, VCPUs: 1 << rng.IntN(4), Datastores: []string{"nfs"}, Networks: []string{"lan"}, Live: true}
		v.Overhead = 64<<20 + int64(v.VCPUs)<<20
		v.Priority = []int{900, 500, 500, 500, 100}[rng.IntN(5)]
		switch rng.IntN(20) {
		case 0:
			v.Datastores = []string{"san"}
		case 1:
			v.Capabilities = []string{"x86-64-v3"}
		case 2:
			v.Class = BestEffort
		case 3:
			v.Class = Unprotected
		}
		h := rng.IntN(hosts)
		for range 8 * hosts {
			ok := free[h] >= v.need() && cpus[h] >= v.VCPUs
			ok = ok && (v.Datastores[0] == "nfs" || h%4 != 0) && (v.Capabilities == nil || h%2 == 0)
			if ok {
				break
			}
			h = rng.IntN(hosts)
		}
		free[h] -= v.need()
		cpus[h] -= v.VCPUs
		v.Host = c.Hosts[h].Name
		c.VMs = append(c.VMs, v)
	}
	// Pairs and triples of VMs that run on different hosts are kept apart.
	for i := 0; i+3 < vms && i < 40*hosts/16; i += 20 {
		r := Rule{Name: fmt.Sprintf("apart-%04d", i), Kind: Apart, Must: true, VMs: []string{c.VMs[i].Name}}
		for k := i + 1; k < i+4 && len(r.VMs) < 2+i/20%2; k++ {
			if distinct(c, r.VMs, c.VMs[k].Host) {
				r.VMs = append(r.VMs, c.VMs[k].Name)
			}
		}
		c.Rules = append(c.Rules, r)
		g := Group{Name: fmt.Sprintf("group-%04d", i), Spread: true}
		for k := i + 6; k < i+12 && k < vms; k++ {
			g.VMs = append(g.VMs, c.VMs[k].Name)
		}
		c.Groups = append(c.Groups, g)
	}
	return c
}

// distinct reports whether none of the VMs, all among the first ones, runs on that host.
func distinct(c *Cluster, names []string, host string) bool {
	for _, name := range names {
		for i := range c.VMs {
			if c.VMs[i].Name == name {
				if c.VMs[i].Host == host {
					return false
				}
				break
			}
		}
	}
	return true
}
