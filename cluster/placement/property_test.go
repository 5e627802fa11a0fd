package placement

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawCluster is smallCluster with what plans look at besides: VMs that wait,
// priorities, rules that are no must, groups, hosts that are preferred.
func drawCluster(draw func(n int) int) *Cluster {
	c := smallCluster(draw, 5, 7)
	for i := range c.VMs {
		v := &c.VMs[i]
		v.Priority, v.Order = 100*draw(3), draw(2)
		v.Failback = draw(3) == 2
		if draw(6) == 5 {
			v.Status = Waiting
		}
		if draw(8) == 7 {
			v.Failed = []string{c.Hosts[draw(len(c.Hosts))].Name}
		}
	}
	for i := range draw(3) {
		r := Rule{Name: "soft " + string(rune('a'+i)), Kind: []RuleKind{Apart, Together, OnHosts, NotOnHosts}[draw(4)], Weight: draw(3)}
		for k := range c.VMs {
			if draw(2) == 1 {
				r.VMs = append(r.VMs, c.VMs[k].Name)
			}
		}
		if r.Kind == OnHosts || r.Kind == NotOnHosts {
			r.Hosts = map[string]int{c.Hosts[draw(len(c.Hosts))].Name: draw(4)}
		}
		c.Rules = append(c.Rules, r)
	}
	g := Group{Name: "g", Spread: true}
	for k := range c.VMs {
		if draw(3) == 2 {
			g.VMs = append(g.VMs, c.VMs[k].Name)
		}
	}
	c.Groups = append(c.Groups, g)
	if c.Policy.Measured = draw(4) == 3; c.Policy.Measured {
		for i := range c.VMs {
			if draw(3) > 0 {
				c.VMs[i].Use = &Use{Processors: float64(draw(5)) / 2, Memory: int64(draw(9)) - 1}
			}
		}
	}
	return c
}

// draws lets rapid choose, and make failures small.
func draws(t *rapid.T) func(n int) int {
	return func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
}

func drawLost(draw func(n int) int, c *Cluster) []string {
	var lost []string
	for _, h := range c.Hosts {
		if draw(3) == 2 {
			lost = append(lost, h.Name)
		}
	}
	return lost
}

// fresh is the cluster as trying everything sees it, with the hosts lost. VMs
// that are to be started run nowhere in it.
func fresh(c *Cluster, lost []string) *brute {
	b := &brute{c: c, at: make([]string, len(c.VMs)), dead: map[string]bool{}, skip: map[string]bool{}}
	for _, h := range c.Hosts {
		b.dead[h.Name] = h.State == Down || slices.Contains(lost, h.Name)
	}
	for i := range c.VMs {
		if v := &c.VMs[i]; v.Status == Running && !b.dead[v.Host] {
			b.at[i] = v.Host
		}
	}
	return b
}

// after is the cluster as it is once the plan was carried out.
func after(c *Cluster, lost []string, p *Plan) *Cluster {
	out := *c
	out.Hosts, out.VMs = slices.Clone(c.Hosts), slices.Clone(c.VMs)
	for i := range out.Hosts {
		if slices.Contains(lost, out.Hosts[i].Name) {
			out.Hosts[i].State = Down
		}
	}
	for i := range out.VMs {
		v := &out.VMs[i]
		if v.Status == Running && v.Class == Unprotected && slices.ContainsFunc(out.Hosts, func(h Host) bool { return h.Name == v.Host && h.State == Down }) {
			v.Status = Stopped
		}
		for _, d := range p.Decisions {
			if d.VM == v.Name && (d.Action == Start || d.Action == Move) {
				v.Status, v.Host = Running, d.To
			}
		}
	}
	return &out
}

// A plan breaks no constraint that is hard, leaves a VM down only where keeping
// it with all that come before it is impossible, and says of each host why.
func TestPlansAreLawfulAndBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCluster(draws(t))
		lawfulAndBest(t, c, drawLost(draws(t), c))
	})
	// Once more for many that nobody has to make small.
	clusters := 4_000
	if testing.Short() {
		clusters = 500
	}
	for seed := range clusters {
		rng := rand.New(rand.NewPCG(uint64(seed), 8))
		c := drawCluster(rng.IntN)
		lawfulAndBest(t, c, drawLost(rng.IntN, c))
		tight := tightCluster(rng)
		for i := range tight.VMs {
			tight.VMs[i].Priority = rng.IntN(3)
		}
		for i := range tight.Hosts {
			tight.Hosts[i].Memory = max(1, tight.Hosts[i].Memory-int64(rng.IntN(6)))
		}
		lawfulAndBest(t, tight, []string{"h0"})
	}
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func lawfulAndBest(t failer, c *Cluster, lost []string) {
	t.Helper()
	p := Decide(c, Question{Lost: lost})
	if !p.Exact {
		t.Fatalf("so small a cluster ran out of work")
	}
	b := fresh(c, lost)
	crews := make([]map[string]bool, len(c.VMs)) // where mates run that were not lost
	for i := range c.VMs {
		crews[i] = map[string]bool{}
		for _, j := range b.crew(i) {
			if j != i && b.at[j] != "" {
				crews[i][b.at[j]] = true
			}
		}
	}
	var kept []int
	for _, d := range p.Decisions {
		i := b.vm(d.VM)
		_, before := p.place(d.VM)
		possible := fresh(c, lost).place(append(slices.Clone(kept), i), func() bool { return true })
		if possible != (d.Action == Start) {
			t.Fatalf("%s: %s (%s), but with those before it this is possible: %v\n%s", d.VM, d.Action, d.Why, possible, describe(c))
		}
		if d.Action == Start {
			kept = append(kept, i)
		}
		explained(t, c, d, before)
	}
	for _, i := range kept {
		b.at[i], _ = p.place(c.VMs[i].Name)
	}
	for _, i := range kept {
		if !b.fits(i, crews[i]) {
			t.Fatalf("%s does not fit on %s\n%s", c.VMs[i].Name, b.at[i], describe(c))
		}
		for _, j := range b.crew(i) {
			if slices.Contains(kept, j) && b.at[j] != b.at[i] && len(crews[i]) < 2 {
				t.Fatalf("%s and %s are not together; lost %v, crew at %v\n%s\n%s", c.VMs[i].Name, c.VMs[j].Name, lost, crews[i], text(p), describe(c))
			}
		}
	}
}

// place is where a plan puts a VM, and the index of that decision.
func (p *Plan) place(vm string) (string, int) {
	i := slices.IndexFunc(p.Decisions, func(d Decision) bool { return d.VM == vm })
	return p.Decisions[i].To, i
}

// explained checks that a decision tells all there is to tell.
func explained(t failer, c *Cluster, d Decision, n int) {
	if d.Why == "" || len(d.Hosts) != len(c.Hosts) {
		t.Fatalf("decision %d, %s: reason %q, %d of %d hosts", n, d.VM, d.Why, len(d.Hosts), len(c.Hosts))
	}
	for _, h := range d.Hosts {
		if h.String() == "" {
			t.Fatalf("nothing is said about %s", h.Host)
		}
		switch {
		case d.Action == StayDown && h.Excluded == "":
			t.Fatalf("%s stays down, though %s could take it: %s", d.VM, h.Host, h)
		case d.Action == Start && h.Host == d.To && h.Excluded != "":
			t.Fatalf("%s starts on %s, which is excluded: %s", d.VM, h.Host, h)
		}
	}
}

// What runs stays where it is, and a plan that was carried out leaves nothing to do.
func TestPlansAreStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCluster(draws(t))
		lost := drawLost(draws(t), c)
		p := Decide(c, Question{Lost: lost})
		for _, d := range p.Decisions {
			v := c.VMs[newBrute(c, Failures{}).vm(d.VM)]
			gone := slices.ContainsFunc(c.Hosts, func(h Host) bool { return h.Name == v.Host && (h.State == Down || slices.Contains(lost, h.Name)) })
			if v.Status == Running && !gone {
				t.Fatalf("%s runs on %s, which is not lost, and the plan has it: %+v", v.Name, v.Host, d)
			}
		}
		again := Decide(after(c, lost, p), Question{})
		for _, d := range again.Decisions {
			if d.Action != StayDown || !slices.Contains(p.Down(), d.VM) {
				t.Fatalf("the plan was carried out, and now %s is to %s\n%s", d.VM, d.Action, describe(c))
			}
		}
		// Moves are asked for until there are none, and that comes soon.
		now := after(c, lost, p)
		for round := 0; ; round++ {
			moves := Decide(now, Question{Moves: true})
			if !slices.ContainsFunc(moves.Decisions, func(d Decision) bool { return d.Action == Move }) {
				break
			}
			if round == 10 {
				t.Fatalf("moves do not come to an end: %+v\n%s", moves.Decisions, describe(now))
			}
			now = after(now, nil, moves)
		}
	})
}

// The order of hosts, VMs, rules and what is listed in them means nothing, and
// nothing that goes in is changed.
func TestPlansDoNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCluster(draws(t))
		q := Question{Lost: drawLost(draws(t), c), Moves: true}
		if len(q.Lost) < len(c.Hosts) {
			q.Leave = []string{c.Hosts[rapid.IntRange(0, len(c.Hosts)-1).Draw(t, "leave")].Name}
		}
		f := Failures{N: 2, Domains: rapid.Bool().Draw(t, "domains")}
		before := text(c)
		plan, tol := Decide(c, q), Tolerate(c, f)
		if text(c) != before {
			t.Fatalf("the input was changed from\n%s\nto\n%s", before, text(c))
		}
		other := *c
		other.Hosts, other.VMs = rapid.Permutation(c.Hosts).Draw(t, "hosts"), rapid.Permutation(c.VMs).Draw(t, "VMs")
		other.Rules = rapid.Permutation(c.Rules).Draw(t, "rules")
		if got := Decide(&other, q); !reflect.DeepEqual(got, plan) {
			t.Fatalf("another order, another plan:\n%s\n%s\n%s", text(plan), text(got), describe(c))
		}
		if got := Tolerate(&other, f); !reflect.DeepEqual(got, tol) {
			t.Fatalf("another order, another answer:\n%+v\n%+v\n%s", tol, got, describe(c))
		}
	})
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// What is promised is kept: where any N hosts may fail, the plan for each of these
// failures leaves no protected VM down but those that are counted apart.
func TestPlansKeepWhatToleranceSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCluster(draws(t))
		f := Failures{N: rapid.IntRange(1, 2).Draw(t, "N")}
		tol := Tolerate(c, f)
		if tol.Answer != Yes {
			t.Skip("promises nothing")
		}
		now := after(c, nil, Decide(c, Question{}))
		lost := rapid.SliceOfNDistinct(rapid.IntRange(0, len(c.Hosts)-1), 0, min(f.N, len(c.Hosts)), rapid.ID[int]).Draw(t, "lost")
		var names []string
		for _, i := range lost {
			names = append(names, c.Hosts[i].Name)
		}
		for _, d := range Decide(now, Question{Lost: names}).Decisions {
			i := newBrute(c, Failures{}).vm(d.VM)
			uncovered := slices.ContainsFunc(tol.Uncovered, func(u Uncovered) bool { return u.VM == d.VM })
			if d.Action == StayDown && c.VMs[i].Class == Protected && !uncovered {
				t.Fatalf("%s was said to be borne; with %v lost, %s stays down: %s\n%s", f, names, d.VM, d.Why, describe(c))
			}
		}
	})
}

// Emptying a host moves its VMs to lawful places, or says why one stays.
func TestEvacuationsAreLawful(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCluster(draws(t))
		leave := c.Hosts[rapid.IntRange(0, len(c.Hosts)-1).Draw(t, "leave")].Name
		now := after(c, nil, Decide(c, Question{}))
		p := Decide(now, Question{Leave: []string{leave}})
		moved := after(now, nil, p)
		b := fresh(moved, nil)
		for _, d := range p.Decisions {
			switch {
			case d.Action == StayDown:
				continue
			case d.From != leave || d.To == leave:
				t.Fatalf("%s is emptied, and the plan has %+v", leave, d)
			case d.Action == StayPut && slices.ContainsFunc(d.Hosts, func(h Considered) bool { return h.Excluded == "" }):
				t.Fatalf("%s stays, though a host could take it: %+v", d.VM, d)
			case d.Action == Move && !b.fits(b.vm(d.VM), nil):
				t.Fatalf("%s does not fit on %s\n%s", d.VM, d.To, describe(moved))
			}
		}
	})
}

// Whatever a cluster says, valid or not, nothing panics and everything ends.
func TestBadInputNeverPanics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e"})
		names := rapid.SliceOfN(name, 0, 4)
		size := rapid.SampledFrom([]int64{-1 << 62, -1, 0, 1, 2, 3, 7, 1 << 49, 1<<63 - 1})
		c := &Cluster{}
		for range rapid.IntRange(0, 4).Draw(t, "hosts") {
			c.Hosts = append(c.Hosts, Host{
				Name: name.Draw(t, "host"), State: HostState(rapid.IntRange(-1, 5).Draw(t, "state")), Memory: size.Draw(t, "memory"), Reserve: size.Draw(t, "reserve"),
				CPUs: int(size.Draw(t, "CPUs")), MHz: int(size.Draw(t, "MHz")), MaxVMs: int(size.Draw(t, "MaxVMs")), Domain: name.Draw(t, "domain"),
				Datastores: names.Draw(t, "datastores"), Extra: map[string]int64{"x": size.Draw(t, "x")}, Failover: rapid.Bool().Draw(t, "failover"),
			})
		}
		for range rapid.IntRange(0, 5).Draw(t, "VMs") {
			c.VMs = append(c.VMs, VM{
				Name: name.Draw(t, "VM"), Status: Status(rapid.IntRange(-1, 4).Draw(t, "status")), Class: Class(rapid.IntRange(-1, 4).Draw(t, "class")),
				Host: name.Draw(t, "at"), Moving: name.Draw(t, "moving"), Memory: size.Draw(t, "memory"), VCPUs: int(size.Draw(t, "VCPUs")),
				ReservedMHz: int(size.Draw(t, "MHz")), Datastores: names.Draw(t, "datastores"), Extra: map[string]int64{"x": size.Draw(t, "x")},
				Bound: names.Draw(t, "bound"), Barred: map[string]string{name.Draw(t, "barred"): "why"}, Failback: true,
			})
		}
		for range rapid.IntRange(0, 3).Draw(t, "rules") {
			c.Rules = append(c.Rules, Rule{
				Name: name.Draw(t, "rule"), Kind: rapid.SampledFrom([]RuleKind{"", Together, Apart, OnHosts, NotOnHosts}).Draw(t, "kind"), Must: rapid.Bool().Draw(t, "must"),
				VMs: names.Draw(t, "VMs"), Hosts: map[string]int{name.Draw(t, "on"): int(size.Draw(t, "weight"))}, Domains: rapid.Bool().Draw(t, "domains"),
			})
			c.Groups = append(c.Groups, Group{Name: name.Draw(t, "group"), VMs: names.Draw(t, "VMs"), StartAfter: names.Draw(t, "after"), Spread: true, Strict: true})
		}
		over := rapid.SampledFrom([]float64{-1, 0, 1, math.NaN(), math.Inf(1), 1e300})
		c.Policy = Policy{CPUOvercommit: over.Draw(t, "CPU"), MemoryOvercommit: over.Draw(t, "memory"), Work: 100_000}
		c.Policy.Admission = Admission{
			Kind: rapid.SampledFrom([]AdmissionKind{"", ByPlacement, BySlots, ByPercentage, ByFailoverHosts}).Draw(t, "kind"), Failures: rapid.IntRange(-1, 3).Draw(t, "N"),
			Auto: rapid.Bool().Draw(t, "auto"), MemoryPercent: int(size.Draw(t, "percent")),
		}
		_ = c.Validate()
		lost := names.Draw(t, "lost")
		Decide(c, Question{Lost: lost, Leave: names.Draw(t, "leave"), Moves: true})
		EveryHost(c)
		Violations(c, MoveSettings{})
		Tolerate(c, Failures{N: rapid.IntRange(-1, 3).Draw(t, "N"), Domains: rapid.Bool().Draw(t, "domains"), Succession: rapid.Bool().Draw(t, "succession")})
		vm := VM{Name: name.Draw(t, "VM"), Memory: size.Draw(t, "memory"), Host: name.Draw(t, "at")}
		Check(c, Change{VM: &vm, Host: name.Draw(t, "to"), Maintenance: name.Draw(t, "maintenance")})
	})
}
