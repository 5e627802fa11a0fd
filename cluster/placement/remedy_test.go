package placement

import (
	"strings"
	"testing"
)

// What is said about a rule that is no must and broken: which move mends it, or why none does.
func TestRemedies(t *testing.T) {
	apart := Rule{Name: "r", Kind: Apart, Weight: 5, VMs: []string{"a", "b"}}
	tests := []struct {
		name   string
		at     []string
		rule   Rule
		edit   func(c *Cluster, s *MoveSettings)
		repair string
		stays  string
	}{
		{name: "one move", at: []string{"h1", "h1"}, rule: apart, repair: "b>>h2"},
		{name: "balance moves nothing", at: []string{"h1", "h1"}, rule: apart, edit: func(_ *Cluster, s *MoveSettings) { s.Balance.On = false }, repair: "b>>h2",
			stays: `nothing is moved for it: only mode = "automatic" in the policy's balance block mends rules that are no must`},
		{name: "it goes to where it is preferred", at: []string{"h1"}, rule: Rule{Name: "r", Kind: OnHosts, VMs: []string{"a"}, Hosts: map[string]int{"h2": 0}}, repair: "a>>h2",
			edit: func(c *Cluster, _ *MoveSettings) { c.VMs[0].Failback = true }},
		{name: "it must not go back", at: []string{"h1"}, rule: Rule{Name: "r", Kind: NotOnHosts, VMs: []string{"a"}, Hosts: map[string]int{"h1": 0}},
			stays: "a stays: failback does not take it to hosts that rules prefer"},
		{name: "no room where it is preferred", at: []string{"h1"}, rule: Rule{Name: "r", Kind: OnHosts, VMs: []string{"a"}, Hosts: map[string]int{"h2": 0}},
			edit:  func(c *Cluster, _ *MoveSettings) { c.VMs[0].Failback, c.Hosts[1].Memory = true, 1<<20 },
			stays: "a stays: h2: has 1 MiB of memory for VMs in all, 1 GiB of memory are needed"},
		{name: "each for a reason of its own", at: []string{"h1", "h1"}, rule: apart, edit: func(c *Cluster, _ *MoveSettings) {
			c.VMs[0].Live, c.VMs[0].NotLive = false, []string{"a device of the host is passed through"}
			c.VMs[1].Held = "a move failed a minute ago"
		}, stays: "a cannot be moved while it runs: a device of the host is passed through; b is not moved now: a move failed a minute ago"},
		{name: "nobody protects one, the other has no place", at: []string{"h1", "h1"}, rule: apart, edit: func(c *Cluster, _ *MoveSettings) {
			c.VMs[0].Class = Unprotected
			c.Hosts[1].State, c.Hosts[1].Why = Closed, "its guard does not answer"
		}, stays: "a stays: it is not protected: move or stop it by hand; b stays: h2: takes no VMs (its guard does not answer)"},
		{name: "another rule is worth as much", at: []string{"h1", "h1", "h2"}, rule: apart, edit: func(c *Cluster, _ *MoveSettings) {
			c.Rules = append(c.Rules, Rule{Name: "s", Kind: Apart, Weight: 5, VMs: []string{"a", "c"}}, Rule{Name: "t", Kind: Apart, Weight: 6, VMs: []string{"b", "c"}})
		}, stays: "a stays: h2: rule s (weight 5) would be kept less; b stays: h2: rule t (weight 6) would be kept less"},
		{name: "lighter ones together are", at: []string{"h1", "h1", "h2"}, rule: apart, edit: func(c *Cluster, _ *MoveSettings) {
			c.VMs[1].Live = false
			c.Rules = append(c.Rules, Rule{Name: "s", Kind: Apart, Weight: 3, VMs: []string{"a", "c"}}, Rule{Name: "t", Kind: Apart, Weight: 3, VMs: []string{"a", "c"}})
		}, stays: "a stays: h2: lighter rules would be kept less, which weigh as much together; b cannot be moved while it runs: "},
		{name: "it is preferred where it is", at: []string{"h1", "h1"}, rule: apart, edit: func(c *Cluster, _ *MoveSettings) {
			c.Rules = append(c.Rules, Rule{Name: "s", Kind: OnHosts, VMs: []string{"a", "b"}, Hosts: map[string]int{"h1": 0}})
		}, stays: "a stays: h2: host rules prefer h1; b stays: h2: host rules prefer h1"},
		{name: "it would cost the room for failures", at: []string{"h1", "h1", "h3"}, rule: apart, edit: func(c *Cluster, _ *MoveSettings) {
			c.Hosts = hosts(2, 2, 2)
			c.VMs[2].Memory, c.Policy.Admission.Failures = 2*gibibyte, 1
		}, stays: "a stays: h2: it would cost the room for failures that there is, h3: 0 MiB of memory free, 1 GiB of memory needed; b stays: h2: it would cost the room for failures that there is, h3: 0 MiB of memory free, 1 GiB of memory needed"},
		{name: "one of them is on its way", at: []string{"h1", "h1", "h2"}, rule: Rule{Name: "r", Kind: Apart, VMs: []string{"a", "b", "c"}}, edit: func(c *Cluster, _ *MoveSettings) { c.VMs[2].Moving = "h1" },
			stays: "a waits: a VM of rule r is on its way, or is to be moved or started first; b waits: a VM of rule r is on its way, or is to be moved or started first"},
		{name: "no majority", at: []string{"h1", "h1"}, rule: apart, edit: func(c *Cluster, _ *MoveSettings) { c.Policy.NoQuorum = true }, stays: "no majority is heard, and without one nothing is moved"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &Cluster{Hosts: hosts(8, 8), VMs: on(tt.at...), Rules: []Rule{tt.rule}}
			for i := range c.VMs {
				c.VMs[i].Live = true
			}
			set := MoveSettings{PerHost: 2, Balance: Balance{On: true, Threshold: 1000}}
			if tt.edit != nil {
				tt.edit(c, &set)
			}
			var got []Violation
			for _, v := range Violations(c, set) {
				if v.Rule == tt.rule.Name {
					got = append(got, v)
				}
			}
			if len(got) != 1 {
				t.Fatalf("%+v", got)
			}
			var moves []string
			for _, d := range got[0].Repair {
				moves = append(moves, d.VM+">>"+d.To)
			}
			if repair := strings.Join(moves, " "); repair != tt.repair || got[0].Stays != tt.stays {
				t.Errorf("repair %q, want %q\nstays %q\n want %q", repair, tt.repair, got[0].Stays, tt.stays)
			}
		})
	}
}
