package placement

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// told is what is to begin, what waits (in brackets) and what stays (with a mark).
func (m *Moves) told() string {
	var words []string
	for _, l := range m.Begin {
		arrow := ">>"
		if l.Cold {
			arrow = "~>"
		}
		words = append(words, l.VM+arrow+l.To)
	}
	for _, l := range m.Later {
		words = append(words, "("+l.VM+">>"+l.To+")")
	}
	for _, s := range m.Stay {
		words = append(words, s.VM+"!")
	}
	return strings.Join(words, " ")
}

func TestPlanMoves(t *testing.T) {
	maintain := func(c *Cluster) { c.Hosts[0].State = Maintenance }
	rule := func(kind RuleKind, hosts map[string]int, vms ...string) Rule {
		return Rule{Name: string(kind) + " " + strings.Join(vms, ""), Kind: kind, Must: true, VMs: vms, Hosts: hosts}
	}
	// h1 and h3 are one failure domain, h2 and h4 the other, and h1 and h2 are left.
	swap := func(c *Cluster, apart Rule) {
		c.Hosts[1].State = Maintenance
		c.Hosts[0].Domain, c.Hosts[2].Domain, c.Hosts[1].Domain, c.Hosts[3].Domain = "x", "x", "y", "y"
		apart.Domains = true
		c.Rules = []Rule{apart}
	}
	tests := []struct {
		name string
		c    Cluster
		edit func(c *Cluster)
		set  MoveSettings
		want string
		why  string // of the first that begins, or that stays
	}{
		{name: "nothing is wrong", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1", "h1")}},
		{name: "off a host in maintenance, as many at once as may be", c: Cluster{Hosts: hosts(8, 8, 8), VMs: on("h1", "h1", "h1", "h1")}, edit: maintain,
			want: "a>>h2 b>>h3 (c>>h2) (d>>h3)", why: "h1 is in maintenance; h2 ranks first of 2 that can take it: "},
		{name: "one at once to the one that is free", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1")}, edit: maintain, set: MoveSettings{PerHost: 1}, want: "a>>h2 (b>>h2)"},
		{name: "the next once it has arrived", c: Cluster{Hosts: hosts(8, 8), VMs: on("h2", "h1")}, edit: maintain, set: MoveSettings{PerHost: 1}, want: "b>>h2"},
		{name: "what is under way counts on both", c: Cluster{Hosts: hosts(8, 8, 8), VMs: on("h1", "h1", "h1")}, set: MoveSettings{PerHost: 2}, edit: func(c *Cluster) {
			maintain(c)
			c.VMs[0].Moving = "h2"
		}, want: "b>>h3 (c>>h2)"},
		{name: "in proportion to what there is", c: Cluster{Hosts: hosts(8, 20, 10), VMs: on("h1", "h1", "h1")}, set: MoveSettings{PerHost: 9}, edit: maintain, want: "a>>h2 b>>h2 c>>h3"},
		{name: "so that all fit", c: Cluster{Hosts: hosts(8, 4, 5), VMs: on("h1", "h1", "h1")}, set: MoveSettings{PerHost: 9}, edit: func(c *Cluster) {
			maintain(c)
			c.VMs[0].Memory, c.VMs[1].Memory, c.VMs[2].Memory = 2*gibibyte, 2*gibibyte, 5*gibibyte
		}, want: "a>>h2 b>>h2 c>>h3"},
		{name: "what cannot leave is named", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1")}, edit: func(c *Cluster) {
			maintain(c)
			c.VMs[0].Bound = []string{"a disk of its host"}
		}, want: "b>>h2 a!"},
		{name: "what cannot be moved while it runs stays", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")}, edit: func(c *Cluster) {
			maintain(c)
			c.VMs[0].Live, c.VMs[0].NotLive = false, []string{"a device of the host is passed through"}
		}, want: "a!", why: "it cannot be moved while it runs: a device of the host is passed through"},
		{name: "or is restarted elsewhere", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")}, set: MoveSettings{Restart: true}, edit: func(c *Cluster) {
			maintain(c)
			c.VMs[0].Live = false
		}, want: "a~>h2"},
		{name: "what nobody protects is not touched", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")}, edit: func(c *Cluster) {
			maintain(c)
			c.VMs[0].Class = Unprotected
		}, want: "a!", why: "it is not protected: move or stop it by hand"},
		{name: "no room", c: Cluster{Hosts: hosts(8, 2), VMs: on("h1", "h2", "h2")}, edit: maintain, want: "a!", why: "no host can take it: h1: is in maintenance (its VMs leave it); h2: 0 MiB of memory free, 1 GiB of memory needed"},
		{name: "a preference does not keep it there", c: Cluster{Hosts: hosts(8, 8, 8), VMs: on("h1", "h2")}, edit: func(c *Cluster) {
			maintain(c)
			c.Rules = []Rule{rule(Apart, nil, "a", "b"), {Name: "p", Kind: OnHosts, VMs: []string{"a", "b"}, Hosts: map[string]int{"h1": 0, "h2": 0}}}
		}, want: "a>>h3"},
		{name: "hosts for failures are not for moves", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")}, edit: func(c *Cluster) {
			maintain(c)
			c.Hosts[1].Failover = true
		}, want: "a!"},
		{name: "mates leave together", c: Cluster{Hosts: hosts(8, 8, 8), VMs: on("h1", "h1", "h2")}, edit: func(c *Cluster) {
			maintain(c)
			c.Rules = []Rule{rule(Together, nil, "a", "b")}
		}, want: "a>>h3 b>>h3"},
		{name: "mates wait until there is room for all", c: Cluster{Hosts: hosts(8, 2), VMs: on("h1", "h1", "h2")}, edit: func(c *Cluster) {
			c.Hosts[0].State = Maintenance
			c.Hosts = append(c.Hosts, Host{Name: "h3", Memory: gibibyte})
			c.VMs[2].Moving = "h3"
			c.Rules = []Rule{rule(Together, nil, "a", "b")}
		}, want: "(a>>h2) (b>>h2)"},
		{name: "a mate that stays keeps the other", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1")}, edit: func(c *Cluster) {
			maintain(c)
			c.VMs[0].Live = false
			c.Rules = []Rule{rule(Together, nil, "a", "b")}
		}, want: "a! b!"},
		{name: "after a failure, later", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")}, edit: func(c *Cluster) {
			maintain(c)
			c.VMs[0].Held = "a move failed a minute ago"
		}, want: "(a>>h2)"},
		{name: "where a rule wants it", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")}, edit: func(c *Cluster) {
			c.Rules = []Rule{rule(OnHosts, map[string]int{"h2": 0}, "a")}
		}, want: "a>>h2", why: "rule on_hosts a is broken where it is; h2 is the only choice: "},
		{name: "the one that can move does", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1")}, edit: func(c *Cluster) {
			c.VMs[1].Live = false
			c.Rules = []Rule{rule(Apart, nil, "a", "b")}
		}, want: "a>>h2"},
		{name: "to the mate that cannot move", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1", "h2")}, edit: func(c *Cluster) {
			c.VMs[2].Live = false
			c.Rules = []Rule{rule(Together, nil, "a", "b", "c")}
		}, want: "a>>h2 b>>h2"},
		{name: "the rest follows the first", c: Cluster{Hosts: hosts(8, 8), VMs: on("h2", "h1", "h1")}, edit: func(c *Cluster) {
			c.VMs[0].From = "h1"
			c.Rules = []Rule{rule(Together, nil, "a", "b", "c")}
		}, want: "b>>h2 c>>h2"},
		{name: "the rest follows the last that was moved", c: Cluster{Hosts: hosts(8, 8), VMs: on("h2", "h1", "h1")}, edit: func(c *Cluster) {
			c.VMs[0].From, c.VMs[0].Moved = "h1", time.Unix(20, 0)
			c.VMs[1].From, c.VMs[1].Moved = "h2", time.Unix(10, 0)
			c.Rules = []Rule{rule(Together, nil, "a", "b", "c")}
		}, want: "b>>h2 c>>h2"},
		{name: "the rest follows the first that is on its way", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1", "h1")}, edit: func(c *Cluster) {
			c.VMs[0].Moving = "h2"
			c.Rules = []Rule{rule(Together, nil, "a", "b", "c")}
		}, want: "b>>h2 (c>>h2)"},
		{name: "not before the other has left", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1", "h2")}, edit: func(c *Cluster) {
			c.Hosts = append(c.Hosts, Host{Name: "h3", Memory: 8 * gibibyte})
			c.VMs[2].Moving = "h3"
			c.Rules = []Rule{rule(Apart, nil, "a", "b", "c")}
		}, want: "(b>>h2)"},
		{name: "back where its rules prefer it", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")}, edit: func(c *Cluster) {
			c.VMs[0].Failback = true
			c.Rules = []Rule{{Name: "p", Kind: OnHosts, VMs: []string{"a"}, Hosts: map[string]int{"h2": 1}}}
		}, want: "a>>h2", why: "h2 is preferred; h2 ranks first of 2 that can take it: preference 2; "},
		{name: "not without a word for it", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")}, edit: func(c *Cluster) {
			c.Rules = []Rule{{Name: "p", Kind: OnHosts, VMs: []string{"a"}, Hosts: map[string]int{"h2": 1}}}
		}},
		{name: "back home", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")}, edit: func(c *Cluster) { c.VMs[0].Return = "h2" }, want: "a>>h2", why: "it goes back to h2, which it had to leave"},
		{name: "not home where its rules like it less", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")}, edit: func(c *Cluster) {
			c.VMs[0].Return = "h2"
			c.Rules = []Rule{{Name: "p", Kind: OnHosts, VMs: []string{"a"}, Hosts: map[string]int{"h1": 1}}}
		}},
		{name: "mates go home together", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1")}, edit: func(c *Cluster) {
			c.VMs[0].Return, c.VMs[1].Return = "h2", "h2"
			c.Rules = []Rule{rule(Together, nil, "a", "b")}
		}, want: "a>>h2 b>>h2"},
		{name: "home has no room", c: Cluster{Hosts: hosts(8, 1), VMs: on("h1", "h2")}, edit: func(c *Cluster) { c.VMs[0].Return = "h2" }},
		{name: "not home where that costs the room for failures", c: Cluster{Hosts: hosts(2, 3, 3), VMs: on("h1", "h3")}, edit: func(c *Cluster) {
			c.VMs[0].Return, c.VMs[1].Memory = "h2", 3*gibibyte
			c.Policy.Admission.Failures = 1
		}},
		{name: "what waits for a start comes first", c: Cluster{Hosts: hosts(8, 1, 1), VMs: on("h1", "h1")}, edit: func(c *Cluster) {
			maintain(c)
			c.VMs[1].Status = Waiting
			c.Hosts[2].State = Closed
		}, want: "a!"},
		{name: "what waits does not hold up those that it must be with", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1", "h2")}, edit: func(c *Cluster) {
			c.VMs[0].Status, c.VMs[2].From = Waiting, "h1"
			c.Rules = []Rule{rule(Together, nil, "a", "b", "c")}
		}, want: "b>>h2"},
		{name: "it does not take the room of those that follow", c: Cluster{Hosts: hosts(8, 2), VMs: on("h1", "h1", "h2")}, edit: func(c *Cluster) {
			maintain(c)
			c.VMs[0].Status, c.VMs[2].From = Waiting, "h1"
			c.Rules = []Rule{rule(Together, nil, "a", "b", "c")}
		}, want: "b>>h2"},
		{name: "nor keeps them where it fits", c: Cluster{Hosts: hosts(8, 2), VMs: on("h1", "h1", "h2")}, edit: func(c *Cluster) {
			c.VMs[0].Status, c.VMs[0].Memory, c.VMs[2].From = Waiting, 7*gibibyte, "h1"
			c.Rules = []Rule{rule(Together, nil, "a", "b", "c")}
		}, want: "b>>h2"},
		{name: "beside those that stay in a failure domain", c: Cluster{Hosts: hosts(8, 8, 8), VMs: on("h1", "h1", "h3")}, edit: func(c *Cluster) {
			maintain(c)
			c.Hosts[0].Domain, c.Hosts[1].Domain = "x", "x"
			c.Rules = []Rule{rule(Apart, nil, "a", "b", "c")}
			c.Rules[0].Domains = true
		}, want: "a! b!"},
		{name: "one after the other where failure domains would be changed", c: Cluster{Hosts: hosts(8, 8, 8, 8), VMs: on("h1", "h2", "h3")}, edit: func(c *Cluster) {
			maintain(c)
			swap(c, rule(Apart, nil, "a", "b"))
		}, want: "a>>h3 (b>>h3)", why: "h1 is in maintenance"},
		{name: "neither of two that would have to change them", c: Cluster{Hosts: hosts(8, 8, 8, 8), VMs: on("h1", "h2", "h3")}, edit: func(c *Cluster) {
			maintain(c)
			swap(c, rule(Apart, nil, "a", "b"))
			c.VMs[0].Barred, c.VMs[1].Barred = map[string]string{"h3": "CPU"}, map[string]string{"h4": "CPU"}
		}, want: "a! b!"},
		{name: "no majority, no moves", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")}, edit: func(c *Cluster) {
			maintain(c)
			c.Policy.NoQuorum = true
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.c
			for i := range c.VMs {
				c.VMs[i].Live = true
			}
			if tt.edit != nil {
				tt.edit(&c)
			}
			if tt.set.PerHost == 0 {
				tt.set.PerHost = 2
			}
			m := PlanMoves(&c, tt.set)
			if got := m.told(); got != tt.want {
				t.Errorf("moves %q, want %q\n%+v", got, tt.want, *m)
			}
			why := ""
			if len(m.Begin) > 0 {
				why = m.Begin[0].Why
			} else if len(m.Stay) > 0 {
				why = m.Stay[0].Why
			}
			if !strings.HasPrefix(why, tt.why) {
				t.Errorf("the reason is %q, want %q", why, tt.why)
			}
			for _, l := range m.Later {
				if l.Waits == "" {
					t.Errorf("%s waits for nothing", l.VM)
				}
			}
		})
	}
}

func TestBalance(t *testing.T) {
	four := func() Cluster {
		c := Cluster{Hosts: hosts(32, 32, 32), VMs: on("h1", "h1", "h1", "h1")}
		for i := range c.VMs {
			c.VMs[i].Live, c.VMs[i].Memory, c.VMs[i].VCPUs = true, 8*gibibyte, 2
		}
		for i := range c.Hosts {
			c.Hosts[i].CPUs = 8
		}
		return c
	}
	on := Balance{On: true, Held: true, Threshold: 30, Margin: 10}
	tests := []struct {
		name string
		edit func(c *Cluster, b *Balance)
		want string // of each round, until none is left
	}{
		{"four on one of three", nil, "a>>h2; b>>h3"},
		{"off", func(_ *Cluster, b *Balance) { b.On = false }, ""},
		{"not for long enough", func(_ *Cluster, b *Balance) { b.Held = false }, ""},
		{"not uneven enough", func(_ *Cluster, b *Balance) { b.Threshold = 150 }, ""},
		{"no move takes enough of it away", func(_ *Cluster, b *Balance) { b.Margin = 90 }, ""},
		{"one VM is uneven, and would be elsewhere", func(c *Cluster, _ *Balance) { c.VMs = c.VMs[:1] }, ""},
		{"mates as one", func(c *Cluster, _ *Balance) {
			c.Rules = []Rule{{Name: "t", Kind: Together, Must: true, VMs: []string{"a", "b"}}}
		}, "a>>h2 b>>h2; c>>h3"},
		{"not against a must", func(c *Cluster, _ *Balance) {
			c.Rules = []Rule{{Name: "p", Kind: OnHosts, Must: true, VMs: []string{"a", "b", "c"}, Hosts: map[string]int{"h1": 0}}}
		}, "d>>h2"},
		{"not against a wish", func(c *Cluster, _ *Balance) {
			c.Rules = []Rule{{Name: "p", Kind: OnHosts, VMs: []string{"a", "b", "c"}, Hosts: map[string]int{"h1": 0}}}
		}, "d>>h2"},
		{"not while something else moves", func(c *Cluster, _ *Balance) { c.VMs[0].Moving = "h3" }, ""},
		{"not to hosts that are kept for failures", func(c *Cluster, _ *Balance) { c.Hosts[1].Failover = true }, "a>>h3; b>>h3"},
		{"not what cannot be moved", func(c *Cluster, _ *Balance) { c.VMs[0].Live, c.VMs[1].Live = false, false }, "c>>h2; d>>h3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, b := four(), on
			if tt.edit != nil {
				tt.edit(&c, &b)
			}
			var rounds []string
			for range 10 {
				m := PlanMoves(&c, MoveSettings{PerHost: 2, Balance: b})
				if len(m.Begin) == 0 {
					break
				}
				rounds = append(rounds, m.told())
				for _, l := range m.Begin {
					for i := range c.VMs {
						if c.VMs[i].Name == l.VM {
							c.VMs[i].Host = l.To
						}
					}
				}
			}
			if got := strings.Join(rounds, "; "); got != tt.want {
				t.Errorf("moves %q, want %q", got, tt.want)
			}
		})
	}
	if c := four(); fmt.Sprintf("%.1f", PlanMoves(&c, MoveSettings{Balance: on}).Imbalance) != "141.4" {
		t.Errorf("all on one of three is %.1f %% uneven, want 141.4", PlanMoves(&c, MoveSettings{Balance: on}).Imbalance)
	}
}
