package placement

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A host that keeps room for a VM that waits gives it to that VM, and to others what is left.
func TestKeptRoom(t *testing.T) {
	big := func(c *Cluster) { c.VMs[0].Memory, c.VMs[1].Memory = 6*gibibyte, 6*gibibyte }
	for _, tt := range []struct {
		name string
		edit func(c *Cluster)
		want string // VM>host, VM! of one that finds none; in order
		why  string // in what is said of b or a
	}{
		{"one that comes first and ranks it first", big, "a>h2 b>h1", "h1 kept its room for it"},
		{"with no room kept", func(c *Cluster) { big(c); c.VMs[1].Kept = "" }, "a>h1 b>h2", ""},
		{"there is room for both", func(*Cluster) {}, "a>h1 b>h1", ""},
		{"a protected VM that fits nowhere else", func(c *Cluster) {
			big(c)
			c.Hosts[1].Memory = 6 * gibibyte
		}, "a>h1 b!", ""},
		{"a best-effort VM that fits nowhere else", func(c *Cluster) {
			big(c)
			c.Hosts[1].Memory, c.VMs[0].Class = 6*gibibyte, BestEffort
		}, "b>h1 a!", "h1: 2 GiB of memory free besides what is kept for b, 6 GiB of memory needed"},
		{"both are best effort, and the other comes first", func(c *Cluster) {
			big(c)
			c.Hosts[1].Memory, c.VMs[0].Class, c.VMs[1].Class = 6*gibibyte, BestEffort, BestEffort
		}, "a! b>h1", "besides what is kept for b"},
		{"it is best effort, and the other protected", func(c *Cluster) {
			big(c)
			c.Hosts[1].Memory, c.VMs[1].Class = 6*gibibyte, BestEffort
		}, "a>h1 b!", ""},
		{"its start failed there", func(c *Cluster) { big(c); c.VMs[1].Failed = []string{"h1"} }, "a>h1 b>h2", ""},
		{"it no longer fits there", func(c *Cluster) { big(c); c.Hosts[0].Memory = 5 * gibibyte; c.Hosts[1].Memory = 16 * gibibyte }, "a>h2 b>h2", ""},
		{"it must be with one that waits too, and both do not fit", func(c *Cluster) {
			c.VMs[0].Memory, c.VMs[1].Memory = 5*gibibyte, 5*gibibyte
			c.Hosts[1].Memory = 16 * gibibyte
			c.Rules = []Rule{{Name: "r", Kind: Together, Must: true, VMs: []string{"a", "b"}}}
		}, "a>h2 b>h2", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1", "h2")}
			c.VMs[0].Status, c.VMs[1].Status = Waiting, Waiting
			c.VMs[0].Priority, c.VMs[1].Kept, c.VMs[1].Home = 1, "h1", "h1"
			c.VMs[2].Class = Unprotected
			tt.edit(c)
			var got []string
			text := ""
			for _, d := range Decide(c, Question{}).Decisions {
				if d.To == "" {
					got = append(got, d.VM+"!")
				} else {
					got = append(got, d.VM+">"+d.To)
				}
				text += d.Why + "\n"
			}
			if strings.Join(got, " ") != tt.want || !strings.Contains(text, tt.why) {
				t.Errorf("%v, want %s with %q:\n%s", got, tt.want, tt.why, text)
			}
		})
	}
}

// Balance leaves that room alone.
func TestBalanceLeavesKeptRoom(t *testing.T) {
	c := &Cluster{Hosts: hosts(8, 16), VMs: on("h2", "h2", "h1")}
	for i := range c.VMs {
		c.VMs[i].Memory, c.VMs[i].Live = 5*gibibyte, true
	}
	c.VMs[2].Status = Waiting
	set := MoveSettings{PerHost: 1, Balance: Balance{On: true, Held: true, Threshold: 5, Margin: 5}}
	c.VMs[2].Kept = "h1"
	if got := PlanMoves(c, set).Begin; len(got) != 0 {
		t.Errorf("with room kept on h1: %+v", got)
	}
	c.VMs[2].Status = Stopped
	if got := PlanMoves(c, set).Begin; len(got) != 1 || got[0].To != "h1" {
		t.Errorf("with nobody waiting for it: %+v, want a move to h1", got)
	}
}

// Whatever room is kept for whom, every protected VM that would be started without is.
func TestKeptRoomCostsNoProtectedVM(t *testing.T) {
	changed := 0
	for seed := range 3000 {
		rng := rand.New(rand.NewPCG(uint64(seed), *bruteStream))
		c := smallCluster(rng.IntN, 5, 9)
		for i := range c.VMs {
			v := &c.VMs[i]
			if v.Status == Running && v.Class != Unprotected && rng.IntN(2) == 0 {
				v.Status, v.Priority = Waiting, rng.IntN(3)
				if rng.IntN(2) == 0 {
					v.Kept, v.Home = v.Host, v.Host
				}
			}
		}
		plain := *c
		plain.VMs = slices.Clone(c.VMs)
		for i := range plain.VMs {
			plain.VMs[i].Kept = ""
		}
		kept, without := Decide(c, Question{}), Decide(&plain, Question{})
		class := map[string]Class{}
		for _, v := range c.VMs {
			class[v.Name] = v.Class
		}
		for _, name := range kept.Down() {
			if class[name] == Protected && !slices.Contains(without.Down(), name) {
				t.Fatalf("seed %d: %s stays down for room that is kept\n%s", seed, name, describe(c))
			}
		}
		if !slices.EqualFunc(kept.Decisions, without.Decisions, func(a, b Decision) bool { return a.VM == b.VM && a.To == b.To }) {
			changed++
		}
	}
	if changed < 30 {
		t.Errorf("only in %d clusters was anything decided otherwise: nothing was tried", changed)
	}
}
