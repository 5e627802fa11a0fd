package placement

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Whatever of a plan has been carried out, the rest of it is planned again: of the VMs that a
// bound on starts holds back, each gets the host that the whole plan gave it.
func TestPlansAreKeptWhenSomeHaveStarted(t *testing.T) {
	clusters := 4_000
	if testing.Short() {
		clusters = 1_000
	}
	packed, again := 0, 0
	for seed := range clusters {
		rng := rand.New(rand.NewPCG(uint64(seed), 12))
		c := tightCluster(rng)
		for i := range c.VMs {
			c.VMs[i].Priority = 100 * rng.IntN(3)
		}
		if rng.IntN(3) == 0 {
			c.Rules = append(c.Rules, Rule{Name: "mates", Kind: Together, Must: true, VMs: []string{"v1", "v4"}})
		}
		lost := "h0"
		whole := Decide(c, Question{Lost: []string{lost}})
		m := newModel(c)
		r := newRoom(m)
		r.lose([]int32{m.hostByID[lost]})
		var starts []int32
		planned := map[string]string{}
		for _, d := range whole.Decisions {
			planned[d.VM] = d.To
			if d.Action == Start {
				starts = append(starts, m.vmByID[d.VM])
			}
		}
		if r.rankedFirst(r.items(starts)) == nil {
			packed++
		}
		now := *c
		now.Hosts, now.VMs = slices.Clone(c.Hosts), slices.Clone(c.VMs)
		now.Hosts[slices.IndexFunc(now.Hosts, func(h Host) bool { return h.Name == lost })].State = Down
		for i := range now.VMs {
			if _, ok := planned[now.VMs[i].Name]; ok {
				now.VMs[i].Status = Waiting
			}
		}
		for round := 0; ; round++ {
			p := Decide(&now, Question{})
			begun := map[string]bool{}
			for _, d := range p.Decisions {
				if d.To != planned[d.VM] {
					t.Fatalf("seed %d, round %d: %s goes to %q, and was to go to %q\n%s", seed, round, d.VM, d.To, planned[d.VM], describe(&now))
				}
				if d.Action == Start && !begun[d.To] { // one at once on each host
					begun[d.To] = true
					v := &now.VMs[slices.IndexFunc(now.VMs, func(v VM) bool { return v.Name == d.VM })]
					v.Status, v.Host = Running, d.To
					again++
				}
			}
			if len(begun) == 0 {
				break
			}
		}
	}
	if packed < clusters/50 {
		t.Errorf("in %d of %d clusters alone VMs had to be packed", packed, clusters)
	}
	t.Logf("%d clusters, in %d of which VMs were packed, %d starts one after the other on each host", clusters, packed, again)
}
