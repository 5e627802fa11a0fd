package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Which moves mend rules that are no must, round after round until none is left.
func TestWishesAreMended(t *testing.T) {
	apart := func(weight int, vms ...string) Rule {
		return Rule{Name: "apart " + strings.Join(vms, ""), Kind: Apart, Weight: weight, VMs: vms}
	}
	together := func(weight int, vms ...string) Rule {
		return Rule{Name: "together " + strings.Join(vms, ""), Kind: Together, Weight: weight, VMs: vms}
	}
	must := func(r Rule) Rule {
		r.Name, r.Must = "must "+r.Name, true
		return r
	}
	group := func(members string) func(c *Cluster, _ *MoveSettings) {
		return func(c *Cluster, _ *MoveSettings) {
			c.Groups = []Group{{Name: "g", Spread: true, VMs: strings.Split(members, "")}}
		}
	}
	prefer := func(vm string, hosts ...string) Rule {
		r := Rule{Name: "prefer " + vm, Kind: OnHosts, VMs: []string{vm}, Hosts: map[string]int{}}
		for _, h := range hosts {
			r.Hosts[h] = 1
		}
		return r
	}
	tests := []struct {
		name  string
		at    []string // host of each of a, b, c ...
		rules []Rule
		edit  func(c *Cluster, s *MoveSettings)
		want  string
		why   string // in that of the first move
	}{
		{name: "two that should be apart", at: []string{"h1", "h1"}, rules: []Rule{apart(1, "a", "b")}, want: "b>>h2", why: "a rule is not kept; rule apart ab is better kept there"},
		{name: "they are", at: []string{"h1", "h2"}, rules: []Rule{apart(1, "a", "b")}},
		{name: "balance moves nothing", at: []string{"h1", "h1"}, rules: []Rule{apart(1, "a", "b")}, edit: func(_ *Cluster, s *MoveSettings) { s.Balance.On = false }},
		{name: "not broken for long enough", at: []string{"h1", "h1"}, rules: []Rule{apart(1, "a", "b")}, edit: func(_ *Cluster, s *MoveSettings) { s.Balance.Ripe = map[string]bool{} }},
		{name: "the other has been", at: []string{"h1", "h1", "h1", "h1"}, rules: []Rule{apart(1, "a", "b"), apart(1, "c", "d")}, want: "d>>h2",
			edit: func(_ *Cluster, s *MoveSettings) { s.Balance.Ripe = map[string]bool{"apart cd": true} }},
		{name: "three, one after the other", at: []string{"h1", "h1", "h1"}, rules: []Rule{apart(1, "a", "b", "c")}, want: "c>>h2; b>>h3"},
		{name: "by failure domain", at: []string{"h1", "h1"}, rules: []Rule{{Name: "r", Kind: Apart, Domains: true, VMs: []string{"a", "b"}}}, want: "b>>h3",
			edit: func(c *Cluster, _ *MoveSettings) { c.Hosts[0].Domain, c.Hosts[1].Domain = "x", "x" }},
		{name: "two that should be together", at: []string{"h1", "h2"}, rules: []Rule{together(1, "a", "b")}, want: "b>>h1"},
		{name: "the smaller part comes", at: []string{"h1", "h2", "h2"}, rules: []Rule{together(1, "a", "b", "c")}, want: "a>>h2"},
		{name: "two rules at once", at: []string{"h1", "h1", "h2", "h2"}, rules: []Rule{apart(1, "a", "b"), apart(1, "c", "d")}, want: "d>>h3 b>>h2"},
		{name: "mates as one", at: []string{"h1", "h1", "h1"}, rules: []Rule{must(together(1, "a", "b")), apart(1, "a", "c")}, want: "c>>h2"},
		{name: "mates as one, when the other cannot", at: []string{"h1", "h1", "h1"}, rules: []Rule{must(together(1, "a", "b")), apart(1, "a", "c")}, want: "a>>h2 b>>h2",
			edit: func(c *Cluster, _ *MoveSettings) { c.VMs[2].Live = false }},
		{name: "not more at once than may move", at: []string{"h1", "h1", "h1"}, rules: []Rule{must(together(1, "a", "b")), apart(1, "a", "c")},
			edit: func(c *Cluster, s *MoveSettings) { c.VMs[2].Live, s.PerHost = false, 1 }},
		{name: "not at the cost of a must", at: []string{"h1", "h1", "h2", "h3"}, rules: []Rule{apart(5, "a", "b"), must(apart(1, "b", "c")), must(apart(1, "b", "d")), must(apart(1, "a", "c")), must(apart(1, "a", "d"))}},
		{name: "not at the cost of a rule of the same weight", at: []string{"h1", "h1", "h2", "h3"}, rules: []Rule{apart(5, "a", "b"), apart(5, "a", "b", "c"), apart(10, "b", "d"), apart(10, "a", "d"), apart(10, "a", "c"), apart(10, "b", "c")}},
		{name: "at the cost of a lighter one", at: []string{"h1", "h1", "h2", "h3"}, rules: []Rule{apart(5, "a", "b"), apart(2, "b", "c"), apart(9, "b", "d")}, want: "a>>h2"},
		{name: "when nothing cheaper does", at: []string{"h1", "h1", "h2"}, rules: []Rule{apart(5, "a", "b"), apart(2, "b", "c"), apart(2, "a", "c")}, want: "b>>h2", why: "rule apart ab is better kept there, which weighs more than rule apart bc",
			edit: func(c *Cluster, _ *MoveSettings) { c.Hosts = c.Hosts[:2] }},
		{name: "not at the cost of many lighter ones", at: []string{"h1", "h1", "h2"}, rules: []Rule{apart(5, "a", "b"), apart(2, "b", "c"), apart(2, "a", "c"), {Name: "x", Kind: Apart, Weight: 4, VMs: []string{"a", "b", "c"}}},
			edit: func(c *Cluster, _ *MoveSettings) {
				c.Hosts = c.Hosts[:2]
				c.Rules[3].VMs = []string{"b", "c"}
				c.Rules[2].Weight = 6
			}},
		{name: "not to where it is liked less", at: []string{"h1", "h1"}, rules: []Rule{apart(5, "a", "b"), prefer("b", "h1")}, want: "a>>h2"},
		{name: "not to where both are liked less", at: []string{"h1", "h1"}, rules: []Rule{apart(5, "a", "b"), prefer("b", "h1"), prefer("a", "h1")}},
		{name: "to another that it likes", at: []string{"h1", "h1"}, rules: []Rule{apart(5, "a", "b"), prefer("b", "h1", "h3")}, want: "b>>h3"},
		{name: "what cannot move stays", at: []string{"h1", "h1"}, rules: []Rule{apart(1, "a", "b")}, want: "a>>h2", edit: func(c *Cluster, _ *MoveSettings) { c.VMs[1].Bound = []string{"a disk of its host"} }},
		{name: "not to where there is no room", at: []string{"h1", "h1"}, rules: []Rule{apart(1, "a", "b")}, want: "b>>h3", edit: func(c *Cluster, _ *MoveSettings) { c.Hosts[1].Memory = 0 }},
		{name: "not to hosts that are kept for failures", at: []string{"h1", "h1"}, rules: []Rule{apart(1, "a", "b")}, want: "b>>h3", edit: func(c *Cluster, _ *MoveSettings) { c.Hosts[1].Failover = true }},
		{name: "not while one of them is on its way", at: []string{"h1", "h1", "h1"}, rules: []Rule{apart(1, "a", "b", "c")}, edit: func(c *Cluster, _ *MoveSettings) { c.VMs[0].Moving = "h2" }},
		{name: "not while one of them is to be started", at: []string{"h1", "h1", ""}, rules: []Rule{apart(1, "a", "b", "c")}, edit: func(c *Cluster, _ *MoveSettings) { c.VMs[2].Status = Waiting }},
		{name: "not at the cost of the room for failures", at: []string{"h1", "h1", "h3"}, rules: []Rule{apart(1, "a", "b")}, edit: func(c *Cluster, _ *MoveSettings) {
			c.Hosts = hosts(2, 2, 2)
			c.VMs[2].Memory, c.Policy.Admission.Failures = 2*gibibyte, 1
		}},
		{name: "a group on one host", at: []string{"h1", "h1", "h1"}, edit: group("abc"), want: "c>>h2", why: "a rule is not kept; group g is better kept there"},
		{name: "a group on two hosts", at: []string{"h1", "h1", "h2"}, edit: group("abc")},
		{name: "a group of one", at: []string{"h1", "h1", "h2"}, edit: group("a")},
		{name: "two groups", at: []string{"h1", "h1", "h2", "h2"}, edit: func(c *Cluster, s *MoveSettings) {
			group("ab")(c, s)
			c.Groups = append(c.Groups, Group{Name: "other", Spread: true, VMs: []string{"c", "d"}})
		}, want: "d>>h3 b>>h2"},
		{name: "a group on one host not for long enough", at: []string{"h1", "h1"}, edit: func(c *Cluster, s *MoveSettings) {
			group("ab")(c, s)
			s.Balance.Ripe = map[string]bool{"g": true}
		}},
		{name: "a group, not at the cost of a rule", at: []string{"h1", "h1"}, rules: []Rule{together(1, "a", "b")}, edit: group("ab")},
		{name: "a rule that weighs more than a group", at: []string{"h1", "h2"}, rules: []Rule{together(2, "a", "b")}, edit: group("ab"), want: "b>>h1", why: "which weighs more than group g, which is kept less"},
		{name: "a group, not to where a VM is liked less", at: []string{"h1", "h1"}, rules: []Rule{prefer("b", "h1")}, edit: group("ab"), want: "a>>h2"},
		{name: "a group whose VMs must be together", at: []string{"h1", "h1"}, rules: []Rule{must(together(1, "a", "b"))}, edit: group("ab")},
		{name: "home no more where a group would be on one host", at: []string{"h1", "h2"}, edit: func(c *Cluster, s *MoveSettings) {
			group("ab")(c, s)
			c.VMs[0].Return = "h2"
		}},
		{name: "home no more where a rule likes it less", at: []string{"h1", "h2"}, rules: []Rule{apart(1, "a", "b")}, edit: func(c *Cluster, _ *MoveSettings) { c.VMs[0].Return = "h2" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &Cluster{Hosts: hosts(16, 16, 16), VMs: on(tt.at...), Rules: tt.rules}
			for i := range c.VMs {
				c.VMs[i].Live = true
			}
			set := MoveSettings{PerHost: 2, Balance: Balance{On: true, Threshold: 1000}}
			if tt.edit != nil {
				tt.edit(c, &set)
			}
			var rounds []string
			why := ""
			for range 5 {
				m := PlanMoves(c, set)
				if m.told() == "" {
					break
				}
				if len(rounds) == 0 && len(m.Begin) > 0 {
					why = m.Begin[0].Why
				}
				rounds = append(rounds, m.told())
				arrive(c, m.Begin)
			}
			if got := strings.Join(rounds, "; "); got != tt.want {
				t.Errorf("moves %q, want %q", got, tt.want)
			}
			if !strings.Contains(why, tt.why) {
				t.Errorf("the reason is %q, want %q in it", why, tt.why)
			}
		})
	}
}

// A rule is mended once every plan of the hold time found it broken, and a plan is due then.
func TestWishesAreHeld(t *testing.T) {
	c := &Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1"), Rules: []Rule{{Name: "r", Kind: Apart, VMs: []string{"a", "b"}}}}
	c.VMs[0].Live, c.VMs[1].Live = true, true
	set := MoveSettings{PerHost: 1, Balance: Balance{On: true, Threshold: 1000}}
	var w Watch
	for _, step := range []struct {
		at    int    // s
		host  string // of b
		moves string
		again int // s
	}{
		{10, "h1", "", 60}, {40, "h1", "", 30}, {50, "h2", "", 0}, {60, "h1", "", 60}, {100, "h1", "", 20}, {120, "h1", "b>>h2", 0},
	} {
		c.VMs[1].Host = step.host
		m, again := w.Plan(time.Duration(step.at)*time.Second, time.Minute, c, set)
		if m.told() != step.moves || again != time.Duration(step.again)*time.Second {
			t.Errorf("at %d s, b on %s: moves %q, again in %v; want %q, %d s", step.at, step.host, m.told(), again, step.moves, step.again)
		}
	}
}

// unkept is what is broken of rules that are no must, from their definitions: their weight, by
// rules and by pairs of VMs, pairs of each rule, and what host rules like of where VMs are.
type unkept struct {
	rules, pairs int
	each         map[string]int
	liked        int
}

func (x *travel) unkept() unkept {
	u := unkept{each: map[string]int{}}
	domain := func(h string) string {
		if d := x.c.host(h).Domain; d != "" {
			return "domain " + d
		}
		return h
	}
	for _, r := range x.c.Rules {
		if r.Must {
			continue
		}
		var at []string
		for _, name := range slices.Compact(slices.Sorted(slices.Values(r.VMs))) {
			if v := x.vm(name); v.Status == Running && x.c.host(v.Host).State != Down {
				at = append(at, v.Host)
			}
		}
		n := 0
		for i := range at {
			if w, listed := r.Hosts[at[i]]; listed && r.Kind == OnHosts {
				u.liked += w + 1
			} else if listed && r.Kind == NotOnHosts {
				u.liked -= w + 1
			}
			for j := range i {
				near := at[i] == at[j] || r.Domains && domain(at[i]) == domain(at[j])
				if r.Kind == Apart && near || r.Kind == Together && !near {
					n++
				}
			}
		}
		if n > 0 {
			u.rules += max(1, r.Weight)
		}
		u.pairs += n * max(1, r.Weight)
		u.each[r.Name] = n
	}
	for _, g := range x.c.Groups {
		hosts, n := map[string]bool{}, 0
		for _, name := range g.VMs {
			if v := x.vm(name); v.Status == Running && x.c.host(v.Host).State != Down {
				hosts[v.Host] = true
				n++
			}
		}
		if g.Spread && n > 1 && len(hosts) == 1 {
			u.rules++
			u.pairs++
			u.each["group "+g.Name] = 1
		}
	}
	for _, r := range x.c.Rules {
		if r.Must && r.Kind == OnHosts { // weights of a must rank the hosts that it allows
			for _, name := range slices.Compact(slices.Sorted(slices.Values(r.VMs))) {
				if v := x.vm(name); v.Status == Running {
					if w, listed := r.Hosts[v.Host]; listed {
						u.liked += w + 1
					}
				}
			}
		}
	}
	return u
}

// dearer says what makes a move for a wish one that must not be; empty: nothing does.
func dearer(c *Cluster, was, is unkept) string {
	mended, harmed := 0, 0
	for _, r := range c.Rules {
		switch d := is.each[r.Name] - was.each[r.Name]; {
		case d < 0:
			mended = max(mended, r.Weight, 1)
		case d > 0:
			harmed = max(harmed, r.Weight, 1)
		}
	}
	for _, g := range c.Groups {
		switch d := is.each["group "+g.Name] - was.each["group "+g.Name]; {
		case d < 0:
			mended = max(mended, 1)
		case d > 0:
			harmed = max(harmed, 1)
		}
	}
	switch {
	case is.rules > was.rules:
		return fmt.Sprintf("rules of weight %d are broken, and were of %d", is.rules, was.rules)
	case is.pairs >= was.pairs:
		return fmt.Sprintf("pairs of weight %d are not as they should be, and were of %d", is.pairs, was.pairs)
	case harmed >= mended:
		return fmt.Sprintf("a rule of weight %d is kept less, for one of %d", harmed, mended)
	case is.liked < was.liked:
		return fmt.Sprintf("host rules like it less: %d, before %d", is.liked, was.liked)
	}
	return ""
}

// Each move that mends rules that are no must makes them better kept and no heavier one worse,
// whatever else comes to nothing meanwhile; and when no more is proposed, no VM is left that could
// have been moved so.
func TestWishesAreMendedAsFarAsCanBe(t *testing.T) {
	mended, spread := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		x := drawTravel(t)
		x.set.Balance = Balance{On: true, Threshold: 1000}
		x.c.Policy.Admission.Failures = 0 // it is asked last, and has tests of its own
		for i := range rapid.IntRange(0, 4).Draw(t, "more rules") {
			r := Rule{Name: fmt.Sprintf("wish %d", i), Kind: rapid.SampledFrom([]RuleKind{Apart, Together}).Draw(t, "kind"), Weight: rapid.IntRange(0, 9).Draw(t, "weight")}
			for _, v := range x.c.VMs {
				if rapid.Bool().Draw(t, "in") {
					r.VMs = append(r.VMs, v.Name)
				}
			}
			x.c.Rules = append(x.c.Rules, r)
		}
		what := describe(x.c)
		failures := 4
		for round := 0; ; round++ {
			if round > 200 {
				t.Fatalf("moves do not come to an end:\n%s\nnow\n%s\n%s", what, describe(x.c), PlanMoves(x.c, x.set).told())
			}
			m := PlanMoves(x.c, x.set)
			x.begin(t, m.Begin)
			var way []*VM
			wish := map[string]bool{}
			for _, l := range m.Begin {
				if l.Cause == Wish {
					wish[l.VM] = true
				}
			}
			for i := range x.c.VMs {
				if x.c.VMs[i].Moving != "" {
					way = append(way, &x.c.VMs[i])
				}
			}
			if len(way) == 0 {
				break
			}
			for len(way) > 0 { // in any order, each judged by itself, mates once all have arrived
				i := rapid.IntRange(0, len(way)-1).Draw(t, "ends")
				v := way[i]
				crew := []*VM{v}
				for _, r := range x.c.Rules {
					if r.Must && r.Kind == Together && slices.Contains(r.VMs, v.Name) {
						crew = way // too intricate to tell apart
					}
				}
				was := x.unkept()
				fails := len(crew) == 1 && failures > 0 && rapid.IntRange(0, 3).Draw(t, "fails") == 3
				if fails {
					failures--
				}
				all, arrived := true, len(crew)
				for _, y := range crew {
					all = all && wish[y.Name]
					x.end(y, !fails)
				}
				if all && !fails {
					mended += arrived
					spread += was.each["group g"] - x.unkept().each["group g"]
					if why := dearer(x.c, was, x.unkept()); why != "" {
						t.Fatalf("%s is moved for a wish: %s\n%s\nnow\n%s", v.Name, why, what, describe(x.c))
					}
				}
				way = slices.DeleteFunc(way, func(y *VM) bool { return y.Moving == "" })
			}
			for i := range x.c.VMs {
				x.c.VMs[i].Held = ""
			}
		}
		for i := range x.c.VMs {
			x.nothingLeft(t, &x.c.VMs[i])
		}
		for _, v := range Violations(x.c, x.set) {
			if i := slices.IndexFunc(x.c.Rules, func(r Rule) bool { return r.Name == v.Rule && !r.Must }); (i >= 0 || v.Rule == "g") && (len(v.Repair) > 0 || v.Stays == "") {
				t.Fatalf("no more moves are planned, and %s: repair %+v, stays %q\n%s", v.Why, v.Repair, v.Stays, describe(x.c))
			}
		}
	})
	t.Logf("%d VMs were moved for a wish, %d so that a group is spread", mended, spread)
}

// nothingLeft fails the test when the VM, alone, could still be moved for a wish.
func (x *travel) nothingLeft(t *rapid.T, v *VM) {
	waits := slices.ContainsFunc(x.c.VMs, func(v VM) bool { return v.Status == Waiting || v.Class == Unprotected })
	mates := slices.ContainsFunc(x.c.Rules, func(r Rule) bool { return r.Must && r.Kind == Together && slices.Contains(r.VMs, v.Name) })
	if waits || mates || v.Status != Running || v.Class == Unprotected || !v.Live || len(v.Bound) > 0 || x.c.host(v.Host).State == Down || x.c.Policy.NoQuorum {
		return
	}
	was, broken, home := x.unkept(), x.breaches(), v.Host
	defer func() { v.Host = home }()
	for _, h := range x.c.Hosts {
		_, barred := v.Barred[h.Name]
		if h.Name == home || h.State != Up || h.Failover || barred || h.MaxVMs > 0 || slices.ContainsFunc(v.Datastores, func(d string) bool { return !slices.Contains(h.Datastores, d) }) {
			continue
		}
		v.Host = h.Name
		lawful := true
		for b := range x.breaches() {
			lawful = lawful && broken[b]
		}
		if lawful && dearer(x.c, was, x.unkept()) == "" {
			v.Host = home
			t.Fatalf("%s could be moved to %s for a wish, and nobody does\n%s", v.Name, h.Name, describe(x.c))
		}
		v.Host = home
	}
}

// Of a group on one host people read which VM moves, or why none does.
func TestCrowdedGroupsAreExplained(t *testing.T) {
	tests := []struct {
		name         string
		edit         func(c *Cluster, s *MoveSettings)
		repair, want string
	}{
		{"by a move", nil, "b>>h2", ""},
		{"balance moves nothing", func(_ *Cluster, s *MoveSettings) { s.Balance.On = false }, "b>>h2", `only mode = "automatic"`},
		{"no room", func(c *Cluster, _ *MoveSettings) { c.Hosts[1].Memory = 0 }, "", "a stays: h2: has 0 MiB of memory for VMs in all, 1 GiB of memory are needed; b stays: h2:"},
		{"not at the cost of a rule", func(c *Cluster, _ *MoveSettings) {
			c.Rules = []Rule{{Name: "r", Kind: Together, VMs: []string{"a", "b"}}}
		}, "", "a stays: h2: rule r (weight 1) would be kept less"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &Cluster{Hosts: hosts(16, 16), VMs: on("h1", "h1"), Groups: []Group{{Name: "g", Spread: true, VMs: []string{"a", "b"}}}}
			c.VMs[0].Live, c.VMs[1].Live = true, true
			set := MoveSettings{PerHost: 2, Balance: Balance{On: true, Threshold: 1000}}
			if tt.edit != nil {
				tt.edit(c, &set)
			}
			all := Violations(c, set)
			if len(all) != 1 || all[0].Rule != "g" {
				t.Fatalf("violations %+v, want one of g", all)
			}
			var repair []string
			for _, d := range all[0].Repair {
				repair = append(repair, d.VM+">>"+d.To)
			}
			if got := strings.Join(repair, " "); got != tt.repair || !strings.Contains(all[0].Stays, tt.want) || (tt.want == "") != (all[0].Stays == "") {
				t.Errorf("repair %q, stays %q; want %q, %q", got, all[0].Stays, tt.repair, tt.want)
			}
		})
	}
}
