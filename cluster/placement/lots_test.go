package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// eachIsToldOf checks that of every host of the cluster something is said after a decision:
// that the VM goes there, what excluded it, or how it ranked; and that this is so of lots too.
func eachIsToldOf(t failer, c *Cluster, vm, to string, all []Considered) {
	t.Helper()
	if len(all) != len(c.Hosts) {
		t.Fatalf("%s goes to %q: of %d hosts %d were looked at", vm, to, len(c.Hosts), len(all))
	}
	can := 0
	for _, h := range all {
		if h.Excluded == "" {
			can++
		} else if h.Host == to {
			t.Fatalf("%s goes to %s, which is excluded: %s", vm, to, h)
		}
	}
	for _, detail := range []Detail{Brief, Ranges, Each} {
		lots := Lots(all, to, detail)
		var told []string
		ranks := map[int]bool{}
		for _, l := range lots {
			told = append(told, l.Hosts...)
			if (l.Excluded == "") != (l.Rank > 0) || l.Text == "" && (l.Excluded == "" || detail != Brief) {
				t.Fatalf("%s goes to %q: a lot says neither what excluded its hosts nor how they ranked, or both: %+v", vm, to, l)
			}
			for i := range l.Hosts {
				if h := all[slices.IndexFunc(all, func(h Considered) bool { return h.Host == l.Hosts[i] })]; h.Excluded != l.Excluded {
					t.Fatalf("%s goes to %q: %s is in the lot of %+v", vm, to, h, l)
				}
				if l.Rank > 0 {
					ranks[l.Rank+i] = true
				}
			}
		}
		if to != "" && (len(lots[0].Hosts) != 1 || lots[0].Hosts[0] != to || lots[0].Rank == 0) {
			t.Fatalf("%s goes to %s, and the first lot is %+v", vm, to, lots[0])
		}
		if len(ranks) != can {
			t.Fatalf("%s goes to %q: %d hosts could take it, the lots have %d ranks: %+v", vm, to, can, len(ranks), lots)
		}
		slices.Sort(told)
		if n := len(told); n != len(all) || len(slices.Compact(told)) != n {
			t.Fatalf("%s goes to %q: the lots have %v, which are not all %d hosts once each", vm, to, told, len(all))
		}
	}
}

// Whatever is decided about a VM, each host is the one that it goes to, or is excluded by a
// constraint, or has its rank.
func TestEveryHostIsToldOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCluster(draws(t))
		for _, d := range Decide(c, Question{Lost: drawLost(draws(t), c), Leave: []string{c.Hosts[0].Name}, Moves: true}).Decisions {
			if d.Why != "" && strings.Contains(d.Why, "it starts after") {
				continue // no host was looked at: it waits for another VM
			}
			eachIsToldOf(t, c, d.VM, d.To, d.Hosts)
		}
	})
}

// The same of moves: out of maintenance, to mend rules, back, and for balance.
func TestEveryHostIsToldOfByMoves(t *testing.T) {
	seen := map[Cause]int{}
	look := func(t *rapid.T, x *travel) {
		m := PlanMoves(x.c, x.set)
		for _, l := range slices.Concat(m.Begin, m.Later) {
			seen[l.Cause]++
			eachIsToldOf(t, x.c, l.VM, l.To, l.Hosts)
		}
	}
	causes := []Cause{Evacuate, Mend, Failback, Even}
	all := func() bool { return !slices.ContainsFunc(causes, func(c Cause) bool { return seen[c] == 0 }) }
	for round := 0; round < 5 || !all() && round < 100; round++ { // one round of draws may hold no move for one of the causes
		rapid.Check(t, func(t *rapid.T) { look(t, drawTravel(t)) })
		rapid.Check(t, func(t *rapid.T) {
			x := drawTravel(t)
			x.set.Balance = Balance{On: true, Held: true}
			x.c.Groups, x.c.Rules = nil, nil // all that comes before balance
			look(t, x)
		})
	}
	for _, cause := range causes {
		if seen[cause] == 0 {
			t.Errorf("no move for %s was drawn", cause)
		}
	}
}

// What is said of many hosts is short, and has the figures.
func TestLotsOfManyHosts(t *testing.T) {
	c := &Cluster{Rules: []Rule{{Name: "db-apart", Kind: Apart, Must: true, VMs: []string{"db1", "db2", "db3"}}}}
	const gib = 1 << 30
	for i := range 64 {
		h := Host{Name: fmt.Sprintf("kvm%d", i+1), State: Up, CPUs: 32, Memory: 256 * gib, Datastores: []string{"nfs"}}
		switch {
		case i < 2:
			h.State, h.Why = Down, "it is dead"
		case i == 2:
			h.State, h.Why = Maintenance, "new memory, by ann"
		case i < 20:
			h.Memory = int64(i) * gib / 2
		case i > 60:
			h.Datastores = nil
		}
		c.Hosts = append(c.Hosts, h)
		if i >= 20 {
			c.VMs = append(c.VMs, VM{Name: fmt.Sprintf("load%d", i), Status: Running, Host: h.Name, Memory: int64(3*i) * gib, VCPUs: i, Class: Unprotected})
		}
	}
	c.VMs = append(c.VMs, VM{Name: "db1", Status: Waiting, Memory: 16 * gib, VCPUs: 4, Class: Protected, Datastores: []string{"nfs"}},
		VM{Name: "db2", Status: Running, Host: "kvm30", Memory: gib, VCPUs: 1, Class: Protected},
		VM{Name: "db3", Status: Running, Host: "kvm31", Memory: gib, VCPUs: 1, Class: Protected})
	d := Decide(c, Question{}).Decisions[0]
	var got []string
	for _, l := range Lots(d.Hosts, d.To, DetailFor(len(d.Hosts))) {
		got = append(got, fmt.Sprintf("%d %s %s+%d: %s", l.Rank, l.Excluded, l.Hosts[0], len(l.Hosts)-1, l.Text))
	}
	want := []string{
		"1  kvm21+0: memory 29.6 % used, 0.75 virtual CPUs per processor, 2 VMs",
		"2  kvm22+0: more memory used: memory 30.8 % used, 0.78 virtual CPUs per processor, 2 VMs",
		"3  kvm23+0: more memory used: memory 32.0 % used, 0.81 virtual CPUs per processor, 2 VMs",
		"4  kvm24+0: more memory used: memory 33.2 % used, 0.84 virtual CPUs per processor, 2 VMs",
		"5  kvm25+34: more memory used: memory 34.3 to 76.5 % used, 0.87 to 2.00 virtual CPUs per processor, 2 VMs",
		"0 down kvm1+1: is lost (it is dead)",
		"0 too_small kvm10+16: have 1.5 to 9.5 GiB of memory for VMs in all, 16 GiB of memory are needed",
		"0 maintenance kvm3+0: is in maintenance (new memory, by ann)",
		"0 apart kvm30+1: VMs run there that it must be apart from (rule db-apart)",
		"0 datastore kvm62+2: has no datastore nfs",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("64 hosts are told of so (-want +got):\n%s", diff)
	}
}
