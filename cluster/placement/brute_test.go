package placement

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// What follows decides by trying everything, from the definitions alone and
// without any code of the planner: it is slow, and right.

// brute is a cluster for that purpose.
type brute struct {
	c    *Cluster
	at   []string // VM → host, "" when it runs nowhere
	dead map[string]bool
	skip map[string]bool // VMs that no failure plan can restart
}

func newBrute(c *Cluster, f Failures) *brute {
	b := &brute{c: c, at: make([]string, len(c.VMs)), dead: map[string]bool{}, skip: map[string]bool{}}
	for _, h := range c.Hosts {
		b.dead[h.Name] = h.State == Down
	}
	for i := range c.VMs {
		if v := &c.VMs[i]; v.Status == Running && !b.dead[v.Host] {
			b.at[i] = v.Host
		}
	}
	b.findUncovered(f.Domains)
	return b
}

// room: how much memory of a host may VMs be promised?
func (b *brute) room(h *Host) int64 {
	if x := b.c.Policy.MemoryOvercommit; x > 0 {
		return int64(float64(h.Memory-h.Reserve) * x)
	}
	return h.Memory - h.Reserve
}

// there: does VM j take room on that host?
func (b *brute) there(j int, host string) bool {
	return b.at[j] == host || b.at[j] != "" && b.at[j] == b.c.VMs[j].Host && b.c.VMs[j].Moving == host
}

func (b *brute) vm(name string) int {
	return slices.IndexFunc(b.c.VMs, func(v VM) bool { return v.Name == name })
}

func (b *brute) unit(h *Host, domains bool) string {
	if domains && h.Domain != "" {
		return "domain " + h.Domain
	}
	return "host " + h.Name
}

// able: could host h take all of these VMs if it was empty?
func (b *brute) able(vms []int, h *Host) bool {
	var memory int64
	cpus := 0
	for _, i := range vms {
		v := &b.c.VMs[i]
		memory += v.Memory + v.Overhead
		cpus += v.VCPUs
		if _, barred := v.Barred[h.Name]; barred || h.State != Up || len(v.Bound) > 0 && v.Host != h.Name {
			return false
		}
		for _, d := range v.Datastores {
			if !slices.Contains(h.Datastores, d) {
				return false
			}
		}
		for _, r := range b.c.Rules {
			if r.Must && slices.Contains(r.VMs, v.Name) {
				_, listed := r.Hosts[h.Name]
				if r.Kind == OnHosts && !listed || r.Kind == NotOnHosts && listed {
					return false
				}
			}
		}
	}
	if b.extraShort(vms, h, false) {
		return false
	}
	over := b.c.Policy.CPUOvercommit
	if h.MaxVMs > 0 && len(vms) > h.MaxVMs {
		return false
	}
	return memory <= b.room(h) && (over == 0 || float64(cpus) <= float64(h.CPUs)*over)
}

// extraShort: do these VMs ask for more of any countable thing than the host has, with or without what
// those hold that run there?
func (b *brute) extraShort(vms []int, h *Host, held bool) bool {
	sum := map[string]int64{}
	for _, i := range vms {
		for what, n := range b.c.VMs[i].Extra {
			if sum[what] += n; sum[what] > h.Extra[what] {
				return true
			}
		}
	}
	for _, i := range vms {
		for what, n := range b.c.VMs[i].Holds {
			if sum[what] > 0 && held && b.c.VMs[i].HeldOn == h.Name {
				if sum[what] += n; sum[what] > h.Extra[what] {
					return true
				}
			}
		}
	}
	return false
}

// addExtra gives some hosts of a cluster devices, which some of the VMs need, and keeps some for
// failures.
func addExtra(draw func(n int) int, c *Cluster) {
	devices := draw(3) == 0
	for i := range c.Hosts {
		c.Hosts[i].Failover = draw(8) == 0
		if n := draw(4); devices && n > 0 {
			c.Hosts[i].Extra = map[string]int64{"gpu": int64(n)}
		}
	}
	for i := range c.VMs {
		v := &c.VMs[i]
		h := c.Hosts[slices.IndexFunc(c.Hosts, func(h Host) bool { return h.Name == v.Host })]
		if n := int64(1 + draw(2)); devices && draw(4) == 0 && h.Extra["gpu"] >= n { // as few as its host has
			v.Extra = map[string]int64{"gpu": n}
		}
		if devices && draw(8) == 0 && h.Extra["gpu"] >= 1 {
			v.Holds, v.HeldOn = map[string]int64{"gpu": 1}, h.Name
		}
	}
}

// crew are the VMs tied to i by rules that must be together, however indirectly.
func (b *brute) crew(i int) []int {
	set := []int{i}
	for k := 0; k < len(set); k++ {
		for _, r := range b.c.Rules {
			if r.Kind == Together && r.Must && slices.Contains(r.VMs, b.c.VMs[set[k]].Name) {
				for _, name := range r.VMs {
					if j := b.vm(name); !slices.Contains(set, j) {
						set = append(set, j)
					}
				}
			}
		}
	}
	slices.Sort(set)
	return set
}

func (b *brute) findUncovered(domains bool) {
	elsewhere := func(vms []int, at string) bool {
		var home *Host
		for i := range b.c.Hosts {
			if b.c.Hosts[i].Name == at {
				home = &b.c.Hosts[i]
			}
		}
		return slices.ContainsFunc(b.c.Hosts, func(h Host) bool {
			return b.unit(&h, domains) != b.unit(home, domains) && b.able(vms, &h)
		})
	}
	units, up := map[string]bool{}, map[string]bool{}
	for i := range b.c.Hosts {
		h := &b.c.Hosts[i]
		units[b.unit(h, domains)] = true
		if h.State == Up {
			up[b.unit(h, domains)] = true
		}
	}
	alone := len(up) == 1 && len(units) > 1 // what is missing is other hosts that take VMs
	for i := range b.c.VMs {
		host := slices.IndexFunc(b.c.Hosts, func(h Host) bool { return h.Name == b.at[i] })
		if b.at[i] == "" || alone && len(b.c.VMs[i].Bound) == 0 && up[b.unit(&b.c.Hosts[host], domains)] {
			continue
		}
		if !elsewhere([]int{i}, b.at[i]) {
			b.skip[b.c.VMs[i].Name] = true
		}
	}
	if alone {
		return
	}
	kept := map[string][]int{}
	for i := range b.c.VMs { // names are in the order of the starts here
		crew := b.crew(i)
		if b.at[i] == "" || len(crew) < 2 || b.skip[b.c.VMs[i].Name] || b.c.VMs[i].Class != Protected {
			continue
		}
		key := fmt.Sprint(crew, b.at[i])
		if !elsewhere(append(slices.Clone(kept[key]), i), b.at[i]) {
			b.skip[b.c.VMs[i].Name] = true
			continue
		}
		kept[key] = append(kept[key], i)
	}
}

// fits: with everything where it is in b.at, is VM i at its host lawful beside the others?
func (b *brute) fits(i int, crewAt map[string]bool) bool {
	var host *Host
	for k := range b.c.Hosts {
		if b.c.Hosts[k].Name == b.at[i] {
			host = &b.c.Hosts[k]
		}
	}
	if b.dead[host.Name] || !b.able([]int{i}, host) {
		return false
	}
	memory, cpus := int64(0), 0
	var there []int
	for j := range b.c.VMs {
		if b.there(j, host.Name) {
			there = append(there, j)
			memory += b.c.VMs[j].Memory + b.c.VMs[j].Overhead
			cpus += b.c.VMs[j].VCPUs
		}
	}
	over := b.c.Policy.CPUOvercommit
	v := &b.c.VMs[i]
	if len(v.Extra) > 0 && b.extraShort(there, host, true) {
		return false
	}
	if v.Memory+v.Overhead > 0 && memory > b.room(host) || host.MaxVMs > 0 && len(there) > host.MaxVMs || over > 0 && v.VCPUs > 0 && float64(cpus) > float64(host.CPUs)*over {
		return false
	}
	for _, r := range b.c.Rules {
		if r.Kind != Apart || !r.Must || !slices.Contains(r.VMs, v.Name) {
			continue
		}
		for _, name := range r.VMs {
			j := b.vm(name)
			if j == i || b.at[j] == "" {
				continue
			}
			for k := range b.c.Hosts {
				if other := &b.c.Hosts[k]; b.there(j, other.Name) && b.unit(other, r.Domains) == b.unit(host, r.Domains) {
					return false
				}
			}
		}
	}
	return len(crewAt) == 0 || crewAt[host.Name]
}

// lose takes units away and returns the VMs that have to be placed.
func (b *brute) lose(units map[string]bool, domains bool) (*brute, []int) {
	n := &brute{c: b.c, at: slices.Clone(b.at), dead: map[string]bool{}, skip: b.skip}
	for i := range b.c.Hosts {
		h := &b.c.Hosts[i]
		n.dead[h.Name] = b.dead[h.Name] || units[b.unit(h, domains)]
	}
	var wanted []int
	for i := range n.at {
		if n.at[i] != "" && n.dead[n.at[i]] {
			n.at[i] = ""
			if v := &b.c.VMs[i]; v.Class == Protected && !b.skip[v.Name] {
				wanted = append(wanted, i)
			}
		}
	}
	return n, wanted
}

// place gives every lawful placement of the wanted VMs to then, until one is taken.
func (b *brute) place(wanted []int, then func() bool) bool {
	// Where mates run that were not lost, before anything is placed.
	crewAt := make([]map[string]bool, len(b.at))
	for _, i := range wanted {
		crewAt[i] = map[string]bool{}
		for _, j := range b.crew(i) {
			if j != i && b.at[j] != "" {
				crewAt[i][b.at[j]] = true
			}
		}
	}
	var try func(k int) bool
	try = func(k int) bool {
		if k == len(wanted) {
			return then()
		}
		i := wanted[k]
		allowed := crewAt[i]
		for _, j := range wanted[:k] {
			// Mates that are torn apart already do not tie those to come to one another.
			if slices.Contains(b.crew(i), j) && len(crewAt[i]) < 2 {
				if len(crewAt[i]) > 0 && !crewAt[i][b.at[j]] {
					return false
				}
				allowed = map[string]bool{b.at[j]: true}
			}
		}
		for h := range b.c.Hosts {
			b.at[i] = b.c.Hosts[h].Name
			if b.fits(i, allowed) && try(k+1) {
				return true
			}
			b.at[i] = ""
		}
		return false
	}
	return try(0)
}

func (b *brute) unitsAlive(domains bool) []string {
	var units []string
	for i := range b.c.Hosts {
		h := &b.c.Hosts[i]
		if u := b.unit(h, domains); !b.dead[h.Name] && !slices.Contains(units, u) {
			units = append(units, u)
		}
	}
	return units
}

func (b *brute) atOnce(f Failures) bool {
	units := b.unitsAlive(f.Domains)
	var pick func(from, left int, set map[string]bool) bool
	pick = func(from, left int, set map[string]bool) bool {
		n, wanted := b.lose(set, f.Domains)
		if !n.place(wanted, func() bool { return true }) {
			return false
		}
		if left == 0 {
			return true
		}
		for i := from; i < len(units); i++ {
			set[units[i]] = true
			if !pick(i+1, left-1, set) {
				return false
			}
			delete(set, units[i])
		}
		return true
	}
	return pick(0, f.N, map[string]bool{})
}

func (b *brute) successive(f Failures) bool {
	if f.N == 0 {
		return true
	}
	for _, u := range b.unitsAlive(f.Domains) {
		n, wanted := b.lose(map[string]bool{u: true}, f.Domains)
		next := f
		next.N--
		if !n.place(wanted, func() bool {
			after := &brute{c: n.c, at: slices.Clone(n.at), dead: n.dead, skip: n.skip}
			return after.successive(next)
		}) {
			return false
		}
	}
	return true
}

// smallCluster draws a cluster of few hosts and VMs whose sizes do not divide one
// another. draw(n) is a number from 0 to n-1.
func smallCluster(draw func(n int) int, mostHosts, mostVMs int) *Cluster {
	c := &Cluster{}
	some := func(p float64) bool { return draw(100) >= 100-int(100*p) }
	hosts, vms := 2+draw(mostHosts-1), 1+draw(mostVMs)
	withCPU, withRules := some(0.3), some(0.5)
	if withCPU {
		c.Policy.CPUOvercommit = 1 + float64(draw(3))/2
	}
	for i := range hosts {
		h := Host{Name: fmt.Sprintf("h%d", i), Memory: int64(5 + draw(19)), Reserve: int64(draw(3)), CPUs: 3 + draw(6), Datastores: []string{"a"}}
		if some(0.5) {
			h.Domain = fmt.Sprintf("d%d", draw(2))
		}
		if some(0.7) {
			h.Datastores = append(h.Datastores, "b")
		}
		if withRules && some(0.05) {
			h.State = []HostState{Closed, Maintenance, Down}[draw(3)]
		}
		c.Hosts = append(c.Hosts, h)
	}
	for i := range vms {
		v := VM{Name: fmt.Sprintf("v%d", i), Memory: int64(1 + draw(9)), VCPUs: 1 + draw(3), Host: c.Hosts[draw(hosts)].Name, Datastores: []string{"a"}}
		// A host is rarely more than full, as in life.
		for range 4 {
			var used int64
			for _, o := range c.VMs {
				if o.Host == v.Host {
					used += o.Memory
				}
			}
			h := c.Hosts[slices.IndexFunc(c.Hosts, func(h Host) bool { return h.Name == v.Host })]
			if used+v.Memory <= h.Memory-h.Reserve {
				break
			}
			v.Host = c.Hosts[draw(hosts)].Name
		}
		if c.Hosts[slices.IndexFunc(c.Hosts, func(h Host) bool { return h.Name == v.Host })].State == Down {
			v.Status = Stopped // where the planner puts what is lost already is another question
		}
		if some(0.15) {
			v.Datastores = append(v.Datastores, "b")
		}
		if some(0.1) {
			v.Class = []Class{BestEffort, Unprotected}[draw(2)]
		}
		if withRules && some(0.05) {
			v.Bound = []string{"local disk"}
		}
		if withRules && some(0.05) {
			v.Barred = map[string]string{c.Hosts[draw(hosts)].Name: "CPU"}
		}
		c.VMs = append(c.VMs, v)
	}
	if withRules {
		for i := range 1 + draw(3) {
			r := Rule{Name: fmt.Sprintf("r%d", i), Kind: []RuleKind{Apart, Apart, Together, OnHosts, NotOnHosts}[draw(5)], Must: true}
			if r.Kind == Together && slices.ContainsFunc(c.Rules, func(o Rule) bool { return o.Kind == Together }) {
				r.Kind = Apart // which of mates comes first is another question when rules share them
			}
			r.Domains = r.Kind == Apart && some(0.3)
			for k := range vms {
				if some(0.4) {
					r.VMs = append(r.VMs, fmt.Sprintf("v%d", k))
				}
			}
			if r.Kind == OnHosts || r.Kind == NotOnHosts {
				r.Hosts = map[string]int{c.Hosts[draw(hosts)].Name: 0, c.Hosts[draw(hosts)].Name: 0}
			}
			c.Rules = append(c.Rules, r)
		}
	}
	return c
}

var bruteStream = flag.Uint64("brute-stream", 4, "which random clusters TestToleranceAgainstTryingEverything draws")

// The planner's yes and no are compared with trying everything, for failures at
// once and one after the other, of hosts and of failure domains.
func TestToleranceAgainstTryingEverything(t *testing.T) {
	clusters := 20_000
	if testing.Short() {
		clusters = 2_000
	}
	counts := map[string]int{}
	for seed := range clusters {
		rng := rand.New(rand.NewPCG(uint64(seed), *bruteStream))
		f := Failures{N: 1 + rng.IntN(3), Domains: rng.IntN(4) == 0}
		c := smallCluster(rng.IntN, 7, 12)
		if rng.IntN(3) == 0 {
			f.Succession = true
			c = smallCluster(rng.IntN, 4, 7)
		}
		addExtra(rng.IntN, c)
		if rng.IntN(3) == 0 {
			c.Policy.MemoryOvercommit = []float64{1, 1.3, 2}[rng.IntN(3)]
		}
		if rng.IntN(3) == 0 {
			for i := range c.Hosts {
				c.Hosts[i].MaxVMs = rng.IntN(5)
			}
		}
		if rng.IntN(3) == 0 {
			for i := range c.VMs {
				if v := &c.VMs[i]; v.Status == Running && rng.IntN(5) == 0 && len(v.Bound) == 0 {
					if h := c.Hosts[rng.IntN(len(c.Hosts))]; h.State == Up && h.Name != v.Host {
						v.Moving = h.Name
					}
				}
			}
		}
		b := newBrute(c, f)
		want := No
		if f.Succession && b.successive(f) || !f.Succession && b.atOnce(f) {
			want = Yes
		}
		got := Tolerate(c, f)
		if got.Answer != want {
			t.Fatalf("seed %d: %s: %v, in truth %v (%s, lost %v)\n%s", seed, f, got.Answer, want, got.Why, got.Lost, describe(c))
		}
		if want == No && !f.Succession {
			if n, wanted := b.lose(lostUnits(b, got.Lost, f.Domains), f.Domains); n.place(wanted, func() bool { return true }) {
				t.Fatalf("seed %d: %s: says that %v may not be lost together, but they may\n%s", seed, f, got.Lost, describe(c))
			}
		}
		counts[fmt.Sprintf("%v succession=%v", want, f.Succession)]++
	}
	for _, k := range []string{"yes succession=false", "no succession=false", "yes succession=true", "no succession=true"} {
		if counts[k] < clusters/100 {
			t.Errorf("only %d of %d clusters were of the sort %q: the comparison is lopsided", counts[k], clusters, k)
		}
	}
	t.Logf("%d clusters: %v", clusters, counts)
}

func lostUnits(b *brute, lost []string, domains bool) map[string]bool {
	units := map[string]bool{}
	for i := range b.c.Hosts {
		if h := &b.c.Hosts[i]; slices.Contains(lost, h.Name) {
			units[b.unit(h, domains)] = true
		}
	}
	return units
}

// describe prints a cluster for a person who looks into a failed test.
func describe(c *Cluster) string {
	text := fmt.Sprintf("policy %+v\n", c.Policy)
	for _, h := range c.Hosts {
		text += fmt.Sprintf("host %s state %d memory %d-%d cpus %d domain %q datastores %v\n", h.Name, h.State, h.Memory, h.Reserve, h.CPUs, h.Domain, h.Datastores)
	}
	for _, v := range c.VMs {
		text += fmt.Sprintf("vm %s on %q status %d class %d memory %d+%d vcpus %d priority %d order %d bound %v barred %v datastores %v\n",
			v.Name, v.Host, v.Status, v.Class, v.Memory, v.Overhead, v.VCPUs, v.Priority, v.Order, v.Bound, v.Barred, v.Datastores)
	}
	for _, r := range c.Rules {
		text += fmt.Sprintf("rule %+v\n", r)
	}
	return text
}
