package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// tightCluster is one host whose VMs have to go to few others that have hardly
// more room than they need, so that quick packing and quick proofs often fail.
func tightCluster(rng *rand.Rand) *Cluster {
	c := &Cluster{Hosts: []Host{{Name: "h0", Memory: 1000, CPUs: 100}}}
	var memory int64
	cpus := 0
	vms := 5 + rng.IntN(4)
	kinds := 2 + rng.IntN(4)
	sizes := make([][2]int, kinds)
	for i := range sizes {
		sizes[i] = [2]int{3 + rng.IntN(12), 1 + rng.IntN(5)}
	}
	withCPU := rng.IntN(2) == 0
	if withCPU {
		c.Policy.CPUOvercommit = 1
	}
	for i := range vms {
		s := sizes[rng.IntN(kinds)]
		c.VMs = append(c.VMs, VM{Name: fmt.Sprintf("v%d", i), Host: "h0", Memory: int64(s[0]), VCPUs: s[1]})
		memory += int64(s[0])
		cpus += s[1]
	}
	hosts := 2 + rng.IntN(2)
	for i := range hosts {
		spare := int64(rng.IntN(4))
		c.Hosts = append(c.Hosts, Host{Name: fmt.Sprintf("h%d", i+1), Memory: memory/int64(hosts) + spare, CPUs: cpus/hosts + rng.IntN(4)})
	}
	if rng.IntN(3) == 0 {
		for k := range 1 + rng.IntN(2) {
			r := Rule{Name: fmt.Sprintf("r%d", k), Kind: Apart, Must: true}
			for i := range c.VMs {
				if rng.IntN(3) == 0 {
					r.VMs = append(r.VMs, c.VMs[i].Name)
				}
			}
			c.Rules = append(c.Rules, r)
		}
	}
	for i := range c.VMs {
		if rng.IntN(6) == 0 {
			c.VMs[i].Barred = map[string]string{c.Hosts[1+rng.IntN(hosts)].Name: "CPU"}
		}
	}
	return c
}

// The exact search, where nothing quicker settles the question.
func TestSearchAgainstTryingEverything(t *testing.T) {
	clusters := 6_000
	if testing.Short() {
		clusters = 1_000
	}
	searched := map[Answer]int{}
	for seed := range clusters {
		c := tightCluster(rand.New(rand.NewPCG(uint64(seed), 6)))
		b := fresh(c, []string{"h0"})
		wanted := make([]int, len(c.VMs))
		for i := range wanted {
			wanted[i] = i
		}
		want := No
		if b.place(wanted, func() bool { return true }) {
			want = Yes
		}
		m := newModel(c)
		r := newRoom(m)
		var vms []int32
		for v := range m.vms {
			vms = append(vms, int32(v))
		}
		r.lose([]int32{m.hostByID["h0"]})
		work := defaultWork
		p := newPacking(r, r.items(vms), &work)
		if got := p.search(); got != want {
			t.Fatalf("seed %d: %v, in truth %v\n%s", seed, got, want, describe(c))
		}
		if want == Yes {
			checkPacking(t, p, seed)
		}
		for _, little := range []int{1, 10, 40} {
			if got := newPacking(r, r.items(vms), &little).search(); got != want && got != Unknown {
				t.Fatalf("seed %d, with little work: %v, in truth %v", seed, got, want)
			}
		}
		if p.impossible() && want == Yes {
			t.Fatalf("seed %d: proven impossible, yet it is not\n%s", seed, describe(c))
		}
		if !p.heuristics() && !p.impossible() {
			searched[want]++
		}
	}
	t.Logf("%d clusters, of which only the search could settle %v", clusters, searched)
	if searched[Yes] < clusters/100 || searched[No] < clusters/100 {
		t.Errorf("too few clusters needed the search: %v of %d", searched, clusters)
	}
}

// checkPacking adds up what a packing put where.
func checkPacking(t *testing.T, p *packing, seed int) {
	d := len(p.m.dims)
	left := append([]int64(nil), p.start...)
	for i := range p.items {
		k := int(p.pos[i])
		if !p.items[i].hosts.has(p.hosts[k]) {
			t.Fatalf("seed %d: item %d is on a host that it cannot use", seed, i)
		}
		for j, n := range p.items[i].need {
			if left[k*d+j] -= n; left[k*d+j] < 0 {
				t.Fatalf("seed %d: host %d is overfull", seed, k)
			}
		}
	}
}

// Two hosts with the same room are not the same once a VM runs on one of them that
// another, still to come, must be apart from.
func TestSearchTellsOccupiedHostsApart(t *testing.T) {
	c := &Cluster{
		Hosts: []Host{{Name: "lost", Memory: 9}, {Name: "x", Memory: 5}, {Name: "y", Memory: 5}},
		VMs: []VM{
			{Name: "first", Host: "lost", Memory: 3}, {Name: "plain", Host: "lost", Memory: 2}, {Name: "last", Host: "lost", Memory: 1},
			{Name: "there", Host: "x", Memory: 3},
		},
		Rules: []Rule{{Name: "apart", Kind: Apart, Must: true, VMs: []string{"first", "last"}}},
	}
	m := newModel(c)
	r := newRoom(m)
	r.lose([]int32{m.hostByID["lost"]})
	work := defaultWork
	p := newPacking(r, r.items([]int32{m.vmByID["first"], m.vmByID["plain"], m.vmByID["last"]}), &work)
	if got := p.search(); got != Yes {
		t.Errorf("%v: first and plain fit on y, last on x", got)
	}
}

// Failures one after the other are harder to bear than all at once: VMs that were
// restarted are not moved again. That they differ is rare, so the clusters are drawn
// where it is most likely: two hosts with VMs, three others with hardly enough room.
func TestSuccessionAgainstTryingEverything(t *testing.T) {
	clusters := 5_000
	if testing.Short() {
		clusters = 2_500
	}
	differ, yes := 0, 0
	for seed := range clusters {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		c := &Cluster{}
		used := make([]int64, 5)
		for i := range 6 {
			h := rng.IntN(2)
			v := VM{Name: fmt.Sprintf("v%d", i), Host: fmt.Sprintf("h%d", h), Memory: int64(2 + rng.IntN(4))}
			used[h] += v.Memory
			c.VMs = append(c.VMs, v)
		}
		for h, least := range []int64{0, 3, 5, 5, 5} {
			c.Hosts = append(c.Hosts, Host{Name: fmt.Sprintf("h%d", h), Memory: used[h] + least + int64(rng.IntN(4))})
		}
		f := Failures{N: 2, Succession: true}
		b := newBrute(c, f)
		want := No
		if b.successive(f) {
			want = Yes
			yes++
		} else if b.atOnce(f) {
			differ++
		}
		if got := Tolerate(c, f); got.Answer != want {
			t.Fatalf("seed %d: %v, in truth %v (%s)\n%s", seed, got.Answer, want, got.Why, describe(c))
		}
	}
	t.Logf("%d clusters: %d bear it, %d would only at once", clusters, yes, differ)
	if differ < 3 || yes < clusters/50 {
		t.Errorf("too few telling clusters: %d bear it, %d would only at once, of %d", yes, differ, clusters)
	}
}
