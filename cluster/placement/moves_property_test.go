package placement

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// travel is a cluster whose moves are carried out in whatever order.
type travel struct {
	c     *Cluster
	set   MoveSettings
	ended int64 // moves that have arrived
}

func drawTravel(t *rapid.T) *travel {
	draw := draws(t)
	c := drawCluster(draw)
	for i := range c.VMs {
		v := &c.VMs[i]
		v.Live = len(v.Bound) == 0 && draw(8) != 7
		if draw(4) == 3 {
			v.Return = c.Hosts[draw(len(c.Hosts))].Name
		}
	}
	if draw(2) == 1 {
		if h := &c.Hosts[draw(len(c.Hosts))]; h.State == Up {
			h.State = Maintenance
		}
	}
	return &travel{c: c, set: MoveSettings{PerHost: 1 + draw(3), Restart: draw(2) == 1, Balance: Balance{On: draw(2) == 1, Held: true, Threshold: float64(10 * draw(5)), Margin: 10}}}
}

// breaches are the musts that are broken now, each by a pair of VM and host or of VMs: what is
// under way counts at both ends. Mates that are not together are not among them.
func (x *travel) breaches() map[string]bool {
	out := map[string]bool{}
	places := map[string][]string{}
	domain := map[string]string{}
	free := map[string]int64{}
	cpus := map[string]float64{}
	for _, h := range x.c.Hosts {
		domain[h.Name] = "host " + h.Name
		if h.Domain != "" {
			domain[h.Name] = h.Domain
		}
		free[h.Name] = h.Memory - h.Reserve
		cpus[h.Name] = float64(h.CPUs) * x.c.Policy.CPUOvercommit
	}
	for _, v := range x.c.VMs {
		if v.Status != Running {
			continue
		}
		at := []string{v.Host}
		if v.Moving != "" {
			at = append(at, v.Moving)
		}
		places[v.Name] = at
		for _, h := range at {
			free[h] -= v.Memory + v.Overhead
			cpus[h] -= float64(v.VCPUs)
		}
	}
	for h, n := range free {
		if n < 0 {
			out[fmt.Sprintf("%s is overfull by %d", h, -n)] = true
		}
		if x.c.Policy.CPUOvercommit > 0 && cpus[h] < 0 {
			out[fmt.Sprintf("%s has %g virtual CPUs too many", h, -cpus[h])] = true
		}
	}
	for _, r := range x.c.Rules {
		if !r.Must {
			continue
		}
		for _, a := range r.VMs {
			for _, h := range places[a] {
				_, listed := r.Hosts[h]
				if r.Kind == OnHosts && !listed || r.Kind == NotOnHosts && listed {
					out[fmt.Sprintf("%s: %s on %s", r.Name, a, h)] = true
				}
			}
			for _, b := range r.VMs {
				for _, h := range places[a] {
					for _, g := range places[b] {
						if r.Kind == Apart && a < b && (h == g || r.Domains && domain[h] == domain[g]) {
							out[fmt.Sprintf("%s: %s and %s on %s and %s", r.Name, a, b, h, g)] = true
						}
					}
				}
			}
		}
	}
	return out
}

// torn are the together rules that are a must and broken.
func (x *travel) torn() (rules []string) {
	for _, r := range x.c.Rules {
		var at []string
		for _, v := range x.c.VMs {
			if v.Status == Running && slices.Contains(r.VMs, v.Name) && x.c.host(v.Host).State != Down {
				at = append(at, v.Host)
			}
		}
		slices.Sort(at)
		if r.Must && r.Kind == Together && len(slices.Compact(at)) > 1 {
			rules = append(rules, r.Name)
		}
	}
	return rules
}

func (c *Cluster) host(name string) *Host {
	return &c.Hosts[slices.IndexFunc(c.Hosts, func(h Host) bool { return h.Name == name })]
}

func (x *travel) vm(name string) *VM {
	return &x.c.VMs[slices.IndexFunc(x.c.VMs, func(v VM) bool { return v.Name == name })]
}

// begin begins moves, and checks each.
func (x *travel) begin(t *rapid.T, moves []Relocation) {
	for _, l := range moves {
		v, to := x.vm(l.VM), x.c.host(l.To)
		switch {
		case v.Status != Running || v.Host != l.From || v.Moving != "" || l.From == l.To:
			t.Fatalf("%+v cannot begin: %+v", l, *v)
		case v.Class == Unprotected || len(v.Bound) > 0 || v.Held != "":
			t.Fatalf("%s must not be touched, and moves: %+v", v.Name, l)
		case l.Cold != !v.Live || l.Cold && (l.Cause != Evacuate || !x.set.Restart):
			t.Fatalf("%s is live: %v, and moves: %+v", v.Name, v.Live, l)
		case to.State != Up || to.Failover:
			t.Fatalf("%s takes no VMs: %+v", to.Name, l)
		case l.Cause == Evacuate != (x.c.host(l.From).State == Maintenance):
			t.Fatalf("%s leaves %s, which is %v: %+v", v.Name, l.From, x.c.host(l.From).State, l)
		case l.Why == "" || len(l.Hosts) != len(x.c.Hosts):
			t.Fatalf("%s moves without an explanation: %+v", v.Name, l)
		}
		if why, barred := v.Barred[l.To]; barred || slices.ContainsFunc(v.Datastores, func(d string) bool { return !slices.Contains(to.Datastores, d) }) {
			t.Fatalf("%s cannot run on %s: %s", v.Name, l.To, why)
		}
		v.Moving = l.To
	}
	busy := map[string]int{}
	for _, v := range x.c.VMs {
		if v.Moving != "" {
			busy[v.Host]++
			busy[v.Moving]++
		}
	}
	for h, n := range busy {
		if n > x.set.PerHost {
			t.Fatalf("%d moves from or to %s are under way, and %d may be", n, h, x.set.PerHost)
		}
	}
}

// end ends a move: it arrives, or stays where it was for a while.
func (x *travel) end(v *VM, arrives bool) {
	if !arrives {
		v.Moving, v.Held = "", "it failed"
		return
	}
	if x.c.host(v.Host).State == Maintenance && v.Return == "" {
		v.Return = v.Host
	}
	x.ended++
	v.From, v.Moved, v.Host, v.Moving = v.Host, time.Unix(x.ended, 0), v.Moving, ""
	if v.Return == v.Host {
		v.Return = ""
	}
}

// Whatever order moves end in, and whether they succeed: no must is broken by them at any
// moment, bounds are kept, they come to an end, and mates that were together are so again.
func TestMovesAreLawfulAndEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := drawTravel(t)
		what := describe(x.c)
		torn := x.torn()
		broken := x.breaches()
		failures := 6
		for round := 0; ; round++ {
			if round > 300 {
				t.Fatalf("moves do not come to an end:\n%s\nnow\n%s\n%s", what, describe(x.c), PlanMoves(x.c, x.set).told())
			}
			m := PlanMoves(x.c, x.set)
			before := x.overfull()
			x.begin(t, m.Begin)
			for b := range x.breaches() {
				if !broken[b] && !x.wasFuller(before, m.Begin) {
					t.Fatalf("%s breaks a must: %s\n%s\nnow\n%s", m.told(), b, what, describe(x.c))
				}
			}
			var way []*VM
			held := false
			for i := range x.c.VMs {
				if x.c.VMs[i].Moving != "" {
					way = append(way, &x.c.VMs[i])
				}
				held = held || x.c.VMs[i].Held != ""
			}
			if len(way) == 0 && !held {
				if len(m.Later) > 0 {
					t.Fatalf("nothing is under way, and moves wait: %+v\n%s", m.Later, describe(x.c))
				}
				break
			}
			if len(way) > 0 {
				fails := failures > 0 && rapid.IntRange(0, 5).Draw(t, "fails") == 5
				if fails {
					failures--
				}
				x.end(way[rapid.IntRange(0, len(way)-1).Draw(t, "ends")], !fails)
			}
			if len(way) == 0 || rapid.IntRange(0, 3).Draw(t, "again") == 3 {
				for i := range x.c.VMs {
					x.c.VMs[i].Held = ""
				}
			}
			broken = x.breaches()
		}
		for _, r := range x.torn() {
			if !slices.Contains(torn, r) {
				t.Fatalf("the VMs of rule %s were together, and are not any more\n%s\nnow\n%s", r, what, describe(x.c))
			}
		}
		stays := map[string]bool{}
		for _, s := range PlanMoves(x.c, x.set).Stay {
			stays[s.VM] = true
		}
		for _, v := range x.c.VMs {
			if v.Status == Running && x.c.host(v.Host).State == Maintenance && !stays[v.Name] {
				t.Fatalf("%s is left on %s, which is in maintenance, and nobody says why\n%s", v.Name, v.Host, describe(x.c))
			}
		}
	})
}

// overfull is by how much each host is, with what is under way.
func (x *travel) overfull() map[string]int64 {
	out := map[string]int64{}
	for _, h := range x.c.Hosts {
		over := h.Reserve - h.Memory
		for _, v := range x.c.VMs {
			if v.Status == Running && (v.Host == h.Name || v.Moving == h.Name) {
				over += v.Memory + v.Overhead
			}
		}
		out[h.Name] = over
	}
	return out
}

// wasFuller reports whether a host that was overfull before is so by no more now, and no
// move goes to one: the figure in the breach is another, and the breach the same.
func (x *travel) wasFuller(before map[string]int64, begun []Relocation) bool {
	now := x.overfull()
	for _, l := range begun {
		if now[l.To] > 0 {
			return false
		}
	}
	return reflect.DeepEqual(before, now)
}

// The order of what goes in means nothing, and nothing that goes in is changed.
func TestMovesDoNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := drawTravel(t)
		for i := range x.c.VMs {
			if v := &x.c.VMs[i]; rapid.IntRange(0, 4).Draw(t, "moving") == 4 {
				v.Moving = x.c.Hosts[rapid.IntRange(0, len(x.c.Hosts)-1).Draw(t, "to")].Name
			}
		}
		before := text(x.c)
		m := PlanMoves(x.c, x.set)
		if text(x.c) != before {
			t.Fatalf("the input was changed from\n%s\nto\n%s", before, text(x.c))
		}
		other := *x.c
		other.Hosts, other.VMs = rapid.Permutation(x.c.Hosts).Draw(t, "hosts"), rapid.Permutation(x.c.VMs).Draw(t, "VMs")
		other.Rules = rapid.Permutation(x.c.Rules).Draw(t, "rules")
		if got := PlanMoves(&other, x.set); !reflect.DeepEqual(got, m) {
			t.Fatalf("another order, other moves:\n%s\n%s\n%s", text(m), text(got), describe(x.c))
		}
	})
}
