package placement

import (
	"errors"
	"math"
	"strings"
	"testing"
)

// on are VMs of one GiB that run on the hosts.
func on(at ...string) []VM {
	var vms []VM
	for i, h := range at {
		vms = append(vms, VM{Name: string(rune('a' + i)), Host: h, Memory: gibibyte})
	}
	return vms
}

// hosts are hosts of so many GiB each, named h1, h2, ...
func hosts(gib ...int64) []Host {
	var all []Host
	for i, n := range gib {
		all = append(all, Host{Name: "h" + string(rune('1'+i)), Memory: n * gibibyte})
	}
	return all
}

func TestDecide(t *testing.T) {
	tests := []struct {
		name string
		edit func(c *Cluster)
		c    Cluster
		q    Question
		want string // VM>host of starts, VM>>host of moves, VM! of those that find no host; in order
	}{
		{
			name: "the host with the least memory in use", c: Cluster{Hosts: hosts(8, 8, 8), VMs: on("h1", "h2")},
			q: Question{Lost: []string{"h1"}}, want: "a>h3",
		},
		{
			name: "in proportion to size", c: Cluster{Hosts: hosts(8, 40, 80), VMs: on("h1", "h1", "h1")},
			q: Question{Lost: []string{"h1"}}, want: "a>h3 b>h3 c>h2",
		},
		{
			name: "processors decide where memory is alike", c: Cluster{Hosts: hosts(8, 100, 100), VMs: on("h1")},
			edit: func(c *Cluster) { c.VMs[0].VCPUs, c.Hosts[1].CPUs, c.Hosts[2].CPUs = 4, 4, 8 },
			q:    Question{Lost: []string{"h1"}}, want: "a>h3",
		},
		{
			name: "packed, where the policy says so", c: Cluster{Hosts: hosts(8, 40, 80), VMs: on("h1", "h1", "h2"), Policy: Policy{Pack: true}},
			q: Question{Lost: []string{"h1"}}, want: "a>h2 b>h2",
		},
		{
			name: "virtual CPUs are limited", c: Cluster{Hosts: hosts(8, 100, 50), VMs: on("h1")},
			edit: func(c *Cluster) {
				c.VMs[0].VCPUs, c.Hosts[1].CPUs, c.Hosts[2].CPUs, c.Policy.CPUOvercommit = 5, 2, 3, 2
			},
			q: Question{Lost: []string{"h1"}}, want: "a>h3",
		},
		{
			name: "a bound on the number of VMs", c: Cluster{Hosts: hosts(8, 100, 8), VMs: on("h1", "h2")},
			edit: func(c *Cluster) { c.Hosts[1].MaxVMs = 1 },
			q:    Question{Lost: []string{"h1"}}, want: "a>h3",
		},
		{
			name: "a virtual GPU that is free", c: Cluster{Hosts: hosts(8, 100, 8), VMs: on("h1", "h2")},
			edit: func(c *Cluster) {
				c.Hosts[1].Extra, c.Hosts[2].Extra = map[string]int64{"vgpu": 1}, map[string]int64{"vgpu": 1}
				c.VMs[0].Extra, c.VMs[1].Extra = map[string]int64{"vgpu": 1}, map[string]int64{"vgpu": 1}
			},
			q: Question{Lost: []string{"h1"}}, want: "a>h3",
		},
		{
			name: "a host where a start failed is the last choice", c: Cluster{Hosts: hosts(8, 8, 8), VMs: on("h1", "h3")},
			edit: func(c *Cluster) { c.VMs[0].Failed = []string{"h2"} },
			q:    Question{Lost: []string{"h1"}}, want: "a>h3",
		},
		{
			name: "and is one all the same", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")},
			edit: func(c *Cluster) { c.VMs[0].Failed = []string{"h2"} },
			q:    Question{Lost: []string{"h1"}}, want: "a>h2",
		},
		{
			name: "failover hosts first", c: Cluster{Hosts: hosts(8, 100, 8), VMs: on("h1")},
			edit: func(c *Cluster) { c.Hosts[2].Failover = true },
			q:    Question{Lost: []string{"h1"}}, want: "a>h3",
		},
		{
			name: "other hosts when those are full", c: Cluster{Hosts: hosts(8, 100, 1), VMs: on("h1", "h1")},
			edit: func(c *Cluster) { c.Hosts[2].Failover = true },
			q:    Question{Lost: []string{"h1"}}, want: "a>h3 b>h2",
		},
		{
			name: "classes, priorities and orders", c: Cluster{Hosts: hosts(8, 2), VMs: on("h1", "h1", "h1", "h1")},
			edit: func(c *Cluster) {
				c.VMs[0].Class, c.VMs[0].Priority = BestEffort, 900
				c.VMs[1].Order, c.VMs[2].Order, c.VMs[3].Priority = 7, 3, 1
			},
			q: Question{Lost: []string{"h1"}}, want: "d>h2 c>h2 b! a!",
		},
		{
			name: "a large VM gives way to small ones only by priority", c: Cluster{Hosts: hosts(8, 3), VMs: on("h1", "h1")},
			edit: func(c *Cluster) { c.VMs[0].Memory, c.VMs[0].Priority = 3*gibibyte, 1 },
			q:    Question{Lost: []string{"h1"}}, want: "a>h2 b!",
		},
		{
			name: "packed where spreading would not do", c: Cluster{Hosts: hosts(20, 4, 3), VMs: on("h1", "h1", "h1")},
			edit: func(c *Cluster) {
				c.VMs[0].Memory, c.VMs[1].Memory, c.VMs[2].Memory = 2*gibibyte, 2*gibibyte, 3*gibibyte
			},
			q: Question{Lost: []string{"h1"}}, want: "a>h2 b>h2 c>h3",
		},
		{
			name: "dependencies before priorities", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1")},
			edit: func(c *Cluster) {
				c.VMs[0].Priority = 9
				c.Groups = []Group{{Name: "app", VMs: []string{"a"}, StartAfter: []string{"db"}}, {Name: "db", VMs: []string{"b"}}}
			},
			q: Question{Lost: []string{"h1"}}, want: "b>h2 a>h2",
		},
		{
			name: "strictly held back by what stays down, and its room given to others", c: Cluster{Hosts: hosts(8, 2), VMs: on("h1", "h1", "h1")},
			edit: func(c *Cluster) {
				c.VMs[0].Memory, c.VMs[1].Memory, c.VMs[1].Priority, c.VMs[0].Priority = 9*gibibyte, 2*gibibyte, 5, 6
				c.Groups = []Group{{Name: "app", VMs: []string{"b"}, StartAfter: []string{"db"}, Strict: true}, {Name: "db", VMs: []string{"a"}}}
			},
			q: Question{Lost: []string{"h1"}}, want: "b! a! c>h2",
		},
		{
			name: "emptying a host", c: Cluster{Hosts: hosts(8, 8, 8), VMs: on("h1", "h1", "h2")},
			edit: func(c *Cluster) { c.VMs[1].Bound = []string{"a disk of its host"} },
			q:    Question{Leave: []string{"h1"}}, want: "a>>h3 b!",
		},
		{
			name: "back to the host that is preferred", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1")},
			edit: func(c *Cluster) {
				c.VMs[0].Failback = true
				c.Rules = []Rule{{Name: "home", Kind: OnHosts, VMs: []string{"a", "b"}, Hosts: map[string]int{"h2": 0}}}
			},
			q: Question{Moves: true}, want: "a>>h2",
		},
		{
			name: "the more preferred of two, and no move between equals", c: Cluster{Hosts: hosts(8, 8, 8), VMs: on("h2", "h3")},
			edit: func(c *Cluster) {
				c.VMs[0].Failback, c.VMs[1].Failback = true, true
				c.Rules = []Rule{
					{Name: "ranked", Kind: OnHosts, VMs: []string{"a"}, Hosts: map[string]int{"h2": 1, "h3": 2}},
					{Name: "equal", Kind: OnHosts, VMs: []string{"b"}, Hosts: map[string]int{"h1": 1, "h3": 1}},
				}
			},
			q: Question{Moves: true}, want: "a>>h3",
		},
		{
			name: "a preference of one takes its mates along", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1")},
			edit: func(c *Cluster) {
				c.VMs[0].Failback = true
				c.Rules = []Rule{
					{Name: "home", Kind: OnHosts, VMs: []string{"a"}, Hosts: map[string]int{"h2": 0}},
					{Name: "pair", Kind: Together, Must: true, VMs: []string{"a", "b"}},
				}
			},
			q: Question{Moves: true}, want: "a>>h2 b>>h2",
		},
		{
			name: "mates gather with as few moves as can be", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h2", "h2")},
			edit: func(c *Cluster) {
				c.Rules = []Rule{{Name: "trio", Kind: Together, Must: true, VMs: []string{"a", "b", "c"}}}
			},
			q: Question{Moves: true}, want: "a>>h2",
		},
		{
			name: "apart again, the less important one moves", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h1")},
			edit: func(c *Cluster) {
				c.VMs[1].Priority = 1
				c.Rules = []Rule{{Name: "pair", Kind: Apart, Must: true, VMs: []string{"a", "b"}}}
			},
			q: Question{Moves: true}, want: "a>>h2",
		},
		{
			name: "apart by failure domain", c: Cluster{Hosts: hosts(8, 80, 8), VMs: on("h1", "h2")},
			edit: func(c *Cluster) {
				c.Hosts[0].Domain, c.Hosts[1].Domain = "rack", "rack"
				c.Hosts = append(c.Hosts, Host{Name: "h4", Domain: "rack", Memory: 90 * gibibyte})
				c.Rules = []Rule{{Name: "pair", Kind: Apart, Must: true, Domains: true, VMs: []string{"a", "b"}}}
			},
			q: Question{Lost: []string{"h1"}}, want: "a>h3",
		},
		{
			name: "moved off a host that a must forbids", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1")},
			edit: func(c *Cluster) {
				c.Rules = []Rule{{Name: "no", Kind: NotOnHosts, Must: true, VMs: []string{"a"}, Hosts: map[string]int{"h1": 0}}}
			},
			q: Question{Moves: true}, want: "a>>h2",
		},
		{
			name: "rules that are no must give way", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h2")},
			edit: func(c *Cluster) { c.Rules = []Rule{{Name: "pair", Kind: Apart, VMs: []string{"a", "b"}}} },
			q:    Question{Lost: []string{"h1"}}, want: "a>h2",
		},
		{
			name: "without a majority nothing starts", c: Cluster{Hosts: hosts(8, 8), VMs: on("h1"), Policy: Policy{NoQuorum: true}},
			q: Question{Lost: []string{"h1"}}, want: "a!",
		},
		{
			name: "a VM under way to another host keeps room on both", c: Cluster{Hosts: hosts(8, 2, 3), VMs: on("h1", "h3")},
			edit: func(c *Cluster) { c.VMs[1].Moving, c.VMs[1].Memory, c.VMs[0].Memory = "h2", 2*gibibyte, gibibyte },
			q:    Question{Lost: []string{"h1"}}, want: "a>h3",
		},
		{
			name: "which is given up when it is lost", c: Cluster{Hosts: hosts(8, 2), VMs: on("h1")},
			edit: func(c *Cluster) { c.VMs[0].Moving, c.VMs[0].Memory = "h2", 2*gibibyte },
			q:    Question{Lost: []string{"h1"}}, want: "a>h2",
		},
		{
			name: "the weights of a must rank the hosts that it allows", c: Cluster{Hosts: hosts(8, 8, 80, 8), VMs: on("h1", "h4")},
			edit: func(c *Cluster) {
				c.Rules = []Rule{{Name: "only", Kind: OnHosts, Must: true, VMs: []string{"a"}, Hosts: map[string]int{"h2": 0, "h4": 3}}}
			},
			q: Question{Lost: []string{"h1"}}, want: "a>h4",
		},
		{
			name: "memory may be overcommitted by policy", c: Cluster{Hosts: hosts(8, 1), VMs: on("h1", "h2"), Policy: Policy{MemoryOvercommit: 2}},
			q: Question{Lost: []string{"h1"}}, want: "a>h2",
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
			p := Decide(&c, tt.q)
			var words []string
			for _, d := range p.Decisions {
				words = append(words, d.VM+map[Action]string{Start: ">", Move: ">>", StayDown: "!", StayPut: "!"}[d.Action]+d.To)
				if d.Why == "" {
					t.Errorf("%s: no reason", d.VM)
				}
			}
			if got := strings.Join(words, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
				for _, d := range p.Decisions {
					t.Logf("%+v", d)
				}
			}
		})
	}
}

// Every exclusion is named with its figures.
func TestReasons(t *testing.T) {
	c := Cluster{Hosts: hosts(8, 8, 8, 8, 8, 8, 8, 8, 4, 8, 8, 1), VMs: on("h1", "h8", "h10", "h11")}
	for i := range c.Hosts {
		c.Hosts[i].Name = "kvm" + string(rune('a'+i))
		c.Hosts[i].Datastores, c.Hosts[i].Networks, c.Hosts[i].Capabilities = []string{"nfs"}, []string{"lan"}, []string{"v3"}
	}
	for i, h := range []int{0, 7, 9, 10} {
		c.VMs[i].Host = c.Hosts[h].Name
	}
	a := &c.VMs[0]
	a.Memory, a.Datastores, a.Networks, a.Capabilities = 3*gibibyte, []string{"nfs"}, []string{"lan"}, []string{"v3"}
	c.Hosts[1].State, c.Hosts[1].Why = Closed, "its guard does not answer"
	c.Hosts[2].State = Maintenance
	c.Hosts[3].State = Down
	c.Hosts[4].Datastores = nil
	c.Hosts[5].Networks = nil
	c.Hosts[6].Capabilities = nil
	c.VMs[1].Memory = 6 * gibibyte // on kvmh
	a.Barred = map[string]string{"kvmi": "its CPU lacks avx2"}
	c.Rules = []Rule{
		{Name: "apart", Kind: Apart, Must: true, VMs: []string{"a", "c"}},
		{Name: "licence", Kind: NotOnHosts, Must: true, VMs: []string{"a"}, Hosts: map[string]int{"kvmk": 0}},
	}
	want := []string{
		"kvma: is lost", "kvmb: takes no VMs (its guard does not answer)", "kvmc: is in maintenance", "kvmd: is lost",
		"kvme: has no datastore nfs", "kvmf: has no network lan", "kvmg: does not offer v3",
		"kvmh: 2 GiB of memory free, 3 GiB of memory needed", "kvmi: its CPU lacks avx2", "kvmj: c runs there (rule apart)",
		"kvmk: rule licence forbids it", "kvml: has 1 GiB of memory for VMs in all, 3 GiB of memory are needed",
	}
	d := Decide(&c, Question{Lost: []string{"kvma"}}).Decisions[0]
	if d.Action != StayDown {
		t.Fatalf("%+v", d)
	}
	for i, h := range d.Hosts {
		if got := h.String(); got != want[i] {
			t.Errorf("got  %q\nwant %q", got, want[i])
		}
	}
	a.Class = Protected
	c.VMs[0].Bound = []string{"its disk vda is a file of kvma", "its CD is"}
	if got := Decide(&c, Question{Lost: []string{"kvma"}}).Decisions[0].Hosts[7].String(); got != "kvmh: a can run on kvma only: its disk vda is a file of kvma; its CD is" {
		t.Error(got)
	}
}

func TestCrowdedGroups(t *testing.T) {
	for _, tt := range []struct {
		name   string
		spread bool
		vms    []string
		want   string
	}{
		{"all on one host", true, []string{"a-kvm1", "b-kvm1"}, "group web is to be spread, and all of it that runs is on kvm1: a-kvm1, b-kvm1"},
		{"on two hosts", true, []string{"a-kvm1", "b-kvm1", "a-kvm2"}, ""},
		{"one alone", true, []string{"a-kvm1"}, ""},
		{"not to be spread", false, []string{"a-kvm1", "b-kvm1"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := three(Admission{})
			c.Groups = []Group{{Name: "web", Spread: tt.spread, VMs: tt.vms}}
			why := ""
			for _, v := range Violations(c, MoveSettings{}) {
				why += v.Why
				if v.Must {
					t.Error("it is a must")
				}
			}
			if why != tt.want {
				t.Errorf("violations %q, want %q", why, tt.want)
			}
		})
	}
}

func TestViolations(t *testing.T) {
	c := Cluster{Hosts: hosts(2, 8), VMs: on("h1", "h1", "h1")}
	c.Rules = []Rule{
		{Name: "wish", Kind: OnHosts, VMs: []string{"a"}, Hosts: map[string]int{"h2": 0}},
		{Name: "pair", Kind: Apart, Must: true, VMs: []string{"a", "b"}},
		{Name: "kept", Kind: Together, Must: true, VMs: []string{"a", "c"}},
	}
	got := Violations(&c, MoveSettings{})
	if len(got) != 3 || got[0].Rule != "pair" || got[1].Rule != "wish" || got[2].Rule != "" {
		t.Fatalf("%+v", got)
	}
	if r := got[0].Repair; len(r) != 1 || r[0].VM != "b" || r[0].To != "h2" {
		t.Errorf("repair of %s: %+v", got[0].Why, r)
	}
	if want := "h1 is overfull: 1 GiB of memory too much"; got[2].Why != want {
		t.Errorf("%q, want %q", got[2].Why, want)
	}
	if want := "a cannot be moved while it runs: "; len(got[1].Repair) != 0 || got[1].Stays != want {
		t.Errorf("%s: repair %+v, stays %q, want %q", got[1].Why, got[1].Repair, got[1].Stays, want)
	}
	c.VMs[1].Host, c.Rules = "h2", c.Rules[1:]
	if got := Violations(&c, MoveSettings{}); len(got) != 0 {
		t.Errorf("nothing is wrong: %+v", got)
	}
}

func TestValidate(t *testing.T) {
	base := func() Cluster { return Cluster{Hosts: hosts(8, 8), VMs: on("h1", "h2", "h2")} }
	tests := []struct {
		name string
		edit func(c *Cluster)
		want error
		text string
	}{
		{"nothing wrong", func(*Cluster) {}, nil, ""},
		{"a host twice", func(c *Cluster) { c.Hosts[1].Name = "h1" }, ErrBadCluster, "host h1 is there twice"},
		{"a VM twice", func(c *Cluster) { c.VMs[1].Name = "a" }, ErrBadCluster, "VM a is there twice"},
		{"a VM on no host", func(c *Cluster) { c.VMs[0].Host = "h9" }, ErrBadCluster, `"h9", which is no host`},
		{"a size below zero", func(c *Cluster) { c.VMs[0].Memory = -1 }, ErrBadCluster, "below zero"},
		{"a size that would overflow", func(c *Cluster) { c.VMs[0].Memory = 1 << 62 }, ErrBadCluster, "more memory than any host"},
		{"overcommit below zero", func(c *Cluster) { c.Policy.CPUOvercommit = -1 }, ErrBadCluster, "overcommit of CPU is -1"},
		{"overcommit that is no number", func(c *Cluster) { c.Policy.MemoryOvercommit = math.NaN() }, ErrBadCluster, "overcommit of memory is NaN"},
		{"an amount below zero", func(c *Cluster) { c.VMs[0].Extra = map[string]int64{"vgpu": -1} }, ErrBadCluster, "-1 is no amount of vgpu"},
		{"on the way to no host", func(c *Cluster) { c.VMs[0].Moving = "h9" }, ErrBadCluster, `moves to "h9"`},
		{"an unknown kind of rule", func(c *Cluster) { c.Rules = []Rule{{Name: "r", Kind: "near"}} }, ErrBadCluster, `unknown kind "near"`},
		{"a rule about nobody", func(c *Cluster) { c.Rules = []Rule{{Name: "r", Kind: Apart, VMs: []string{"x"}}} }, ErrBadCluster, "no VM x"},
		{"a host rule without a host", func(c *Cluster) { c.Rules = []Rule{{Name: "r", Kind: OnHosts, VMs: []string{"a"}}} }, ErrBadCluster, "names no host"},
		{"domains where they mean nothing", func(c *Cluster) { c.Rules = []Rule{{Name: "r", Kind: Together, Domains: true}} }, ErrBadCluster, "failure domains"},
		{
			"together and apart, by way of a third", func(c *Cluster) {
				c.Rules = []Rule{
					{Name: "one", Kind: Together, Must: true, VMs: []string{"a", "b"}}, {Name: "two", Kind: Together, Must: true, VMs: []string{"b", "c"}},
					{Name: "three", Kind: Apart, Must: true, VMs: []string{"a", "c"}},
				}
			}, ErrContradiction, "rule three keeps a and c apart",
		},
		{
			"the same as wishes", func(c *Cluster) {
				c.Rules = []Rule{{Name: "one", Kind: Together, VMs: []string{"a", "b"}}, {Name: "two", Kind: Apart, VMs: []string{"a", "b"}}}
			}, nil, "",
		},
		{
			"in two groups", func(c *Cluster) {
				c.Groups = []Group{{Name: "one", VMs: []string{"a"}}, {Name: "two", VMs: []string{"a"}}}
			}, ErrTwoGroups, "a is in one and in two",
		},
		{
			"a ring of groups", func(c *Cluster) {
				c.Groups = []Group{{Name: "one", StartAfter: []string{"two"}}, {Name: "two", StartAfter: []string{"three"}}, {Name: "three", StartAfter: []string{"one"}}}
			}, ErrRing, "one after two after three after one",
		},
		{"after no group", func(c *Cluster) { c.Groups = []Group{{Name: "one", StartAfter: []string{"two"}}} }, ErrBadCluster, "which is no group"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := base()
			tt.edit(&c)
			err := c.Validate()
			if !errors.Is(err, tt.want) || tt.want != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %v with %q", err, tt.want, tt.text)
			}
			Decide(&c, Question{Lost: []string{"h1"}, Moves: true}) // bad input never panics
			Tolerate(&c, Failures{N: 2})
		})
	}
}
