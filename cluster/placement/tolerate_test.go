package placement

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func TestTolerate(t *testing.T) {
	tests := []struct {
		name      string
		c         Cluster
		edit      func(c *Cluster)
		f         Failures
		want      Answer
		lost      string
		down      string
		uncovered string
		why       string
	}{
		{name: "room for one", c: Cluster{Hosts: hosts(2, 2, 2), VMs: on("h1", "h2", "h3")}, f: Failures{N: 1}, want: Yes, why: "any 1 host may fail"},
		{
			name: "not for two", c: Cluster{Hosts: hosts(2, 2, 2), VMs: on("h1", "h2", "h3")}, f: Failures{N: 2},
			want: No, lost: "h1 h2", down: "b", why: "with h1, h2 lost b would stay down",
		},
		{name: "no failures at all", c: Cluster{Hosts: hosts(1), VMs: on("h1")}, f: Failures{}, want: Yes},
		{name: "more failures than hosts", c: Cluster{Hosts: hosts(2, 2), VMs: on("h1")}, f: Failures{N: 5}, want: No, lost: "h1 h2", down: "a"},
		{name: "and nothing to restart", c: Cluster{Hosts: hosts(2, 2)}, f: Failures{N: 5}, want: Yes},
		{
			name: "a whole rack", c: Cluster{Hosts: hosts(4, 4, 2), VMs: on("h1", "h1", "h2")}, f: Failures{N: 1, Domains: true},
			edit: func(c *Cluster) { c.Hosts[0].Domain, c.Hosts[1].Domain = "r", "r" },
			want: No, lost: "h1 h2", down: "c",
		},
		{
			name: "what cannot move is counted apart", c: Cluster{Hosts: hosts(4, 4), VMs: on("h1", "h1")}, f: Failures{N: 1},
			edit: func(c *Cluster) { c.VMs[0].Bound = []string{"its disk vda is on a local pool"} },
			want: Yes, uncovered: "a: it cannot leave h1: its disk vda is on a local pool",
		},
		{
			name: "what is too large for all other hosts too", c: Cluster{Hosts: hosts(4, 2), VMs: on("h1", "h1")}, f: Failures{N: 1},
			edit: func(c *Cluster) { c.VMs[0].Memory = 3 * gibibyte },
			want: Yes, uncovered: "a: no other host could take it even if it was empty: h2: has 2 GiB of memory for VMs in all, 3 GiB of memory are needed",
		},
		{
			name: "and does not hide what the others lack", c: Cluster{Hosts: hosts(4, 1), VMs: on("h1", "h1", "h2")}, f: Failures{N: 1},
			edit: func(c *Cluster) { c.VMs[0].Bound = []string{"a disk"} },
			want: No, lost: "h1", down: "b", uncovered: "a: it cannot leave h1: a disk",
		},
		{
			name: "mates that no other host can take together", c: Cluster{Hosts: hosts(4, 2), VMs: on("h1", "h1", "h1")}, f: Failures{N: 1},
			edit: func(c *Cluster) {
				c.Rules = []Rule{{Name: "r", Kind: Together, Must: true, VMs: []string{"c", "a", "b"}}}
			},
			want: Yes, uncovered: "b: it must be with c, and no other host can take both",
		},
		{
			name: "that the only other host is down is no reason to count apart", c: Cluster{Hosts: hosts(4, 4), VMs: on("h1", "h1")}, f: Failures{N: 1},
			edit: func(c *Cluster) { c.Hosts[1].State, c.VMs[1].Bound = Down, []string{"a disk"} },
			want: No, lost: "h1", down: "a", uncovered: "b: it cannot leave h1: a disk", why: "with h1 lost a would stay down",
		},
		{
			name: "nor that all others are in maintenance", c: Cluster{Hosts: hosts(4, 4, 4), VMs: on("h1")}, f: Failures{N: 1},
			edit: func(c *Cluster) { c.Hosts[1].State, c.Hosts[2].State = Maintenance, Closed },
			want: No, lost: "h1", down: "a",
		},
		{
			name: "mates on the last host", c: Cluster{Hosts: hosts(4, 4), VMs: on("h1", "h1")}, f: Failures{N: 1},
			edit: func(c *Cluster) {
				c.Hosts[1].State = Down
				c.Rules = []Rule{{Name: "r", Kind: Together, Must: true, VMs: []string{"a", "b"}}}
			},
			want: No, lost: "h1", down: "a b",
		},
		{
			name: "the last host of two domains", c: Cluster{Hosts: hosts(4, 4, 4), VMs: on("h1")}, f: Failures{N: 1, Domains: true},
			edit: func(c *Cluster) { c.Hosts[0].Domain, c.Hosts[1].Domain, c.Hosts[2].State = "r", "r", Down },
			want: No, lost: "h1 h2", down: "a",
		},
		{
			name: "one host alone has no others", c: Cluster{Hosts: hosts(4), VMs: on("h1")}, f: Failures{N: 1},
			want: Yes, uncovered: "a: there is no other host", why: "every protected VM finds a host, but for a, which no plan covers",
		},
		{
			name: "a VM waits, and all hosts are down", c: Cluster{Hosts: hosts(4, 4), VMs: on("")}, f: Failures{N: 1},
			edit: func(c *Cluster) { c.Hosts[0].State, c.Hosts[1].State, c.VMs[0].Status = Down, Down, Waiting },
			want: No, down: "a", why: "a waits for a host even now",
		},
		{
			name: "only one host has the datastore, beside its own", c: Cluster{Hosts: hosts(4, 4, 4), VMs: on("h1")}, f: Failures{N: 2},
			edit: func(c *Cluster) {
				c.VMs[0].Datastores, c.Hosts[0].Datastores, c.Hosts[2].Datastores = []string{"san"}, []string{"san"}, []string{"san"}
			},
			want: No, lost: "h1 h3", down: "a",
		},
		{
			name: "best effort and unprotected VMs need no room elsewhere", c: Cluster{Hosts: hosts(9, 1), VMs: on("h1", "h1", "h1")}, f: Failures{N: 1},
			edit: func(c *Cluster) { c.VMs[0].Class, c.VMs[1].Class = BestEffort, Unprotected },
			want: Yes,
		},
		{
			name: "but they keep theirs", c: Cluster{Hosts: hosts(9, 2), VMs: on("h1", "h2", "h2")}, f: Failures{N: 1},
			edit: func(c *Cluster) { c.VMs[1].Class, c.VMs[2].Class = BestEffort, Unprotected },
			want: No, lost: "h1", down: "a",
		},
		{
			name: "a VM that waits is started first", c: Cluster{Hosts: hosts(2, 2), VMs: on("h1", "")}, f: Failures{N: 1},
			edit: func(c *Cluster) { c.VMs[1].Status = Waiting },
			want: Yes,
		},
		{
			name: "one that finds no host is missing already", c: Cluster{Hosts: hosts(2, 2), VMs: on("h1", "")}, f: Failures{},
			edit: func(c *Cluster) {
				c.VMs[1].Status, c.VMs[1].Memory, c.VMs[0].Memory = Waiting, 2*gibibyte, 2*gibibyte
				c.Hosts[1].State = Maintenance
			},
			want: No, down: "b", why: "b waits for a host even now",
		},
		{
			name: "unless no host could ever take it", c: Cluster{Hosts: hosts(2, 2), VMs: on("h1", "")}, f: Failures{N: 1},
			edit: func(c *Cluster) { c.VMs[1].Status, c.VMs[1].Memory = Waiting, 3*gibibyte },
			want: Yes, uncovered: "b",
		},
		{
			name: "hosts in maintenance are no room", c: Cluster{Hosts: hosts(2, 2, 2), VMs: on("h1", "h2")}, f: Failures{N: 1},
			edit: func(c *Cluster) {
				c.VMs[0].Memory, c.VMs[1].Memory = 2*gibibyte, gibibyte
				c.Hosts[2].State = Maintenance
			},
			want: No, lost: "h1", down: "a",
		},
		{
			name: "one after the other", c: Cluster{Hosts: hosts(3, 3, 3), VMs: on("h1", "h2", "h3")}, f: Failures{N: 2, Succession: true},
			want: Yes, why: "any 2 hosts one after the other may fail",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.c
			if tt.edit != nil {
				tt.edit(&c)
			}
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			got := Tolerate(&c, tt.f)
			var uncovered []string
			for _, u := range got.Uncovered {
				uncovered = append(uncovered, u.VM+": "+u.Why)
			}
			if got.Answer != tt.want || strings.Join(got.Lost, " ") != tt.lost || strings.Join(got.Down, " ") != tt.down {
				t.Errorf("%v, lost %v, down %v; want %v, %q, %q: %s", got.Answer, got.Lost, got.Down, tt.want, tt.lost, tt.down, got.Why)
			}
			if !strings.HasPrefix(strings.Join(uncovered, "; "), tt.uncovered) || tt.uncovered == "" && len(uncovered) > 0 {
				t.Errorf("uncovered %q, want %q", uncovered, tt.uncovered)
			}
			if !strings.Contains(got.Why, tt.why) {
				t.Errorf("reason %q, want %q", got.Why, tt.why)
			}
		})
	}
}

// However little work is allowed, the answer is the truth or that nobody knows.
func TestToleranceIsNeverWrongWhenWorkRunsOut(t *testing.T) {
	unknown := 0
	for seed := range 1500 {
		rng := rand.New(rand.NewPCG(uint64(seed), 10))
		c := smallCluster(rng.IntN, 5, 7)
		f := Failures{N: 2, Succession: rng.IntN(2) == 0}
		truth := Tolerate(c, f).Answer
		for _, c.Policy.Work = range []int{1, 30, 100, 300, 1000} {
			got := Tolerate(c, f).Answer
			if got == Unknown {
				unknown++
			} else if got != truth {
				t.Fatalf("seed %d, %d steps: %v, in truth %v\n%s", seed, c.Policy.Work, got, truth, describe(c))
			}
		}
	}
	if unknown < 500 {
		t.Errorf("only %d answers were unknown: the bound hardly bound anything", unknown)
	}
}

func TestMaxFailures(t *testing.T) {
	c := Cluster{Hosts: hosts(4, 4, 4, 4, 4), VMs: on("h1", "h2", "h3", "h4", "h5")}
	for i := range c.Hosts {
		c.Hosts[i].Voter = i < 3
	}
	got := MaxFailures(&c, Failures{})
	if got.Failures != 3 || !got.Exact || got.Quorum != 1 || got.Limit() != 1 || got.Beyond.Answer != No || got.Beyond.N != 4 {
		t.Errorf("%+v", got)
	}
	if got := MaxFailures(&Cluster{Hosts: hosts(4, 4)}, Failures{}); got.Failures != 2 || got.Quorum != -1 || got.Limit() != 2 {
		t.Errorf("without VMs and voters: %+v", got)
	}
	large := largeCluster(70, 64, 4096, 0.88)
	large.Policy.Work = 600_000
	if got := MaxFailures(large, Failures{}); got.Exact || got.Failures == 0 || got.Beyond.Answer != Unknown {
		t.Errorf("with little work: %+v", got)
	}
}

// The plans for every single host are those that Decide makes for each.
func TestEveryHost(t *testing.T) {
	c := largeCluster(2, 16, 400, 0.8)
	c.VMs[5].Status, c.VMs[5].Host = Waiting, ""
	settled := after(c, nil, Decide(c, Question{}))
	all := EveryHost(c)
	if len(all) != len(c.Hosts) {
		t.Fatalf("%d plans for %d hosts", len(all), len(c.Hosts))
	}
	for _, f := range all {
		want := Decide(settled, Question{Lost: []string{f.Host}})
		var got, wanted []string
		for i := range want.Decisions {
			got = append(got, fmt.Sprint(f.Decisions[i].VM, f.Decisions[i].Action, f.Decisions[i].To))
			wanted = append(wanted, fmt.Sprint(want.Decisions[i].VM, want.Decisions[i].Action, want.Decisions[i].To))
		}
		if !reflect.DeepEqual(got, wanted) {
			t.Errorf("%s: %v, want %v", f.Host, got, wanted)
		}
	}
}

// A spread that one VM has no place in is no even spread.
func TestSpreadOut(t *testing.T) {
	c := Cluster{Hosts: hosts(9, 4, 4), VMs: on("h1", "h1", "h1"), Groups: []Group{{Name: "g", Spread: true, VMs: []string{"a", "b", "c"}}}}
	c.VMs[2].Memory = 5 * gibibyte
	m := newModel(&c)
	r := newRoom(m)
	r.leaving.set(0)
	need := make([]int64, len(m.dims))
	for v := range int32(3) {
		r.leave(v, need)
	}
	if to, ok := r.spreadOut(r.grouped([]int32{0, 1, 2}), Evenly); ok {
		t.Errorf("evenly: %v", m.named(to))
	}
	to, ok := r.spreadOut(r.grouped([]int32{0, 1, 2}), OnTwoHosts)
	if want := map[string]any{"a": "h2", "b": "h3"}; !ok || !reflect.DeepEqual(m.named(to), want) {
		t.Errorf("on two hosts: %v, want %v", m.named(to), want)
	}
}

// A cluster that is far too full is where plans are hard. They end all the same,
// a little after the bound on the work, and still place what is easy to place.
func TestPlansEndWhenWorkRunsOut(t *testing.T) {
	c := largeCluster(3, 64, 4096, 0.98)
	m := newModel(c)
	const bound = 1_000_000
	work := bound
	p := m.decide(newRoom(m), Question{Lost: []string{"kvm003", "kvm017"}}, true, &work)
	if work < -2*bound {
		t.Errorf("%d steps were taken, %d were allowed", bound-work, bound)
	}
	if p.Exact {
		t.Error("the plan claims to be the best possible")
	}
	starts := 0
	for _, d := range p.Decisions {
		if d.Action == Start {
			starts++
			continue
		}
		if !strings.Contains(d.Why, "cut short") {
			t.Errorf("%s: %s does not say that the search was cut short", d.VM, d.Why)
		}
		for _, h := range d.Hosts {
			if h.Excluded == "" {
				t.Errorf("%s stays down, though %s", d.VM, h)
			}
		}
	}
	if starts < len(p.Decisions)/3 {
		t.Errorf("only %d of %d VMs were placed", starts, len(p.Decisions))
	}
}

// The votes of hosts that are down still count for the majority that the others must be.
func TestQuorum(t *testing.T) {
	for _, tt := range []struct{ voters, others, down, want int }{
		{0, 3, 0, -1}, {1, 0, 0, 0}, {2, 0, 0, 0}, {3, 0, 0, 1}, {4, 0, 0, 1}, {5, 0, 0, 2}, {5, 3, 0, 2}, {3, 0, 1, 0}, {5, 0, 1, 1}, {5, 0, 2, 0}, {5, 0, 4, 0},
	} {
		c := &Cluster{}
		for i := range tt.voters + tt.others {
			h := Host{Name: fmt.Sprint("h", i), Memory: gibibyte, Voter: i < tt.voters}
			if i < tt.down {
				h.State = Down
			}
			c.Hosts = append(c.Hosts, h)
		}
		if got := MaxFailures(c, Failures{}).Quorum; got != tt.want {
			t.Errorf("%d voters of %d hosts, %d of them down: %d more may fail, want %d", tt.voters, tt.voters+tt.others, tt.down, got, tt.want)
		}
	}
}
