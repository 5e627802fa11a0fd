package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

// What a group does when one that it starts after is not ready within its timeout.
const (
	TimeoutContinue = "continue" // start all the same
	TimeoutStop     = "stop"     // stay down until it is
)

const (
	defaultReadyTimeout = 10 * time.Minute // vSphere's
	maxReadyTime        = 24 * time.Hour
	maxReadyProbes      = 16
	// maxNamed is how many VMs a group or rule may list by name.
	maxNamed = 10_000
)

// Group is a group block: VMs that are restarted together, after other groups.
type Group struct {
	Name string `json:"name"`
	// VMs are its members by name, and Match a pattern for the names of others.
	VMs   []string `json:"vms,omitempty"`
	Match string   `json:"match,omitempty"`
	// Spread asks for the members on different hosts, where possible.
	Spread bool `json:"spread,omitempty"`
	// StartAfter are groups whose members must be ready before one of this starts,
	// StartDelay what is waited besides, and OnTimeout (TimeoutContinue or
	// TimeoutStop) what happens when one of them is not ready in time.
	StartAfter []string      `json:"start_after,omitempty"`
	StartDelay time.Duration `json:"start_delay,omitempty"`
	OnTimeout  string        `json:"on_timeout"`
	Ready      Ready         `json:"ready"`
}

// Ready is a ready_when block: what makes a group ready besides that all its
// members run. All of it must hold.
type Ready struct {
	// GuestAgent: the guest agent answers in every member.
	GuestAgent bool `json:"guest_agent,omitempty"`
	// TCP are addresses (IP:port) that accept a connection, HTTP are URLs that answer with a status of 200
	// to 399.
	TCP  []string `json:"tcp,omitempty"`
	HTTP []string `json:"http,omitempty"`
	// Uptime is for how long every member has run.
	Uptime time.Duration `json:"uptime,omitempty"`
	// Timeout bounds the wait, from the moment when the members were to be started.
	Timeout time.Duration `json:"timeout"`
}

func groupSchema() *block {
	return &block{name: "group", label: "a name for the group", many: true, labelCheck: badName, attrs: []attr{
		membersAttr(), matchAttr(),
		{name: "spread", kind: kindBool},
		{name: "start_after", kind: kindList, check: namesOf("group"), like: `a list of groups, such as ["directory"]`},
		{name: "start_delay", kind: kindDuration, check: durationBetween(0, maxReadyTime)},
		{name: "on_timeout", kind: kindString, def: TimeoutContinue, words: []string{TimeoutContinue, TimeoutStop}},
	}, blocks: []*block{{name: "ready_when", attrs: []attr{
		{name: "guest_agent", kind: kindBool},
		{name: "tcp", kind: kindList, check: badTCP, like: `a list of addresses with ports, such as ["10.10.5.10:389"]`},
		{name: "http", kind: kindList, check: badHTTP, like: `a list of URLs, such as ["http://10.10.5.10/health"]`},
		{name: "uptime", kind: kindDuration, check: durationBetween(0, maxReadyTime)},
		{name: "timeout", kind: kindDuration, def: defaultReadyTimeout, check: durationBetween(time.Second, maxReadyTime)},
	}}}}
}

// membersAttr and matchAttr are how groups and rules name VMs: by their names as vm
// blocks do, by a pattern as vms blocks do, or both.
func membersAttr() attr {
	return attr{name: "vms", kind: kindList, like: `a list of VMs by name, such as ["db1", "db2"]`, check: func(v any) string {
		list := v.([]string)
		if len(list) == 0 || len(list) > maxNamed {
			return fmt.Sprintf("names %d VMs; 1 to %d are allowed", len(list), maxNamed)
		}
		seen := make(map[string]bool, len(list))
		for _, s := range list {
			if problem := badVMName(s); problem != "" {
				return fmt.Sprintf("holds %s, but a VM's name %s", quote(s), problem)
			}
			if seen[s] {
				return fmt.Sprintf("names %s twice", quote(s))
			}
			seen[s] = true
		}
		return ""
	}}
}

func matchAttr() attr {
	return attr{name: "match", kind: kindMap, words: []string{"name"}, check: validGlob}
}

// namesOf checks a list of names of blocks.
func namesOf(what string) func(any) string {
	return func(v any) string {
		list := v.([]string)
		if len(list) == 0 {
			return "is empty; leave it out"
		}
		for i, s := range list {
			if problem := badName(s); problem != "" {
				return fmt.Sprintf("holds %s, but the name of a %s %s", quote(s), what, problem)
			}
			if slices.Contains(list[:i], s) {
				return fmt.Sprintf("names %s twice", quote(s))
			}
		}
		return ""
	}
}

func badTCP(v any) string {
	list := v.([]string)
	if len(list) == 0 || len(list) > maxReadyProbes {
		return fmt.Sprintf("has %d addresses; 1 to %d are allowed", len(list), maxReadyProbes)
	}
	for _, s := range list {
		if a, err := netip.ParseAddrPort(s); err != nil || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
			return fmt.Sprintf("holds %s, but an IP address with a port is wanted, such as 10.10.5.10:389", quote(s))
		}
	}
	return ""
}

func badHTTP(v any) string {
	list := v.([]string)
	if len(list) == 0 || len(list) > maxReadyProbes {
		return fmt.Sprintf("has %d URLs; 1 to %d are allowed", len(list), maxReadyProbes)
	}
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || len(s) > maxNote {
			return fmt.Sprintf("holds %s, but a URL is wanted that begins with http:// or https:// and names a host, without a password", quote(s))
		}
	}
	return ""
}

// groups takes the group blocks over, and checks them against one another.
func (r *report) groups(p *Policy, root *node) {
	at := map[string]*node{}
	in := map[string]string{} // group by member
	for _, n := range root.all("group") {
		ready := n.one("ready_when")
		g := Group{Name: n.label, VMs: get[[]string](n, "vms"), Match: get[map[string]string](n, "match")["name"], Spread: get[bool](n, "spread"),
			StartAfter: get[[]string](n, "start_after"), StartDelay: get[time.Duration](n, "start_delay"), OnTimeout: get[string](n, "on_timeout"),
			Ready: Ready{GuestAgent: get[bool](ready, "guest_agent"), TCP: get[[]string](ready, "tcp"), HTTP: get[[]string](ready, "http"),
				Uptime: get[time.Duration](ready, "uptime"), Timeout: get[time.Duration](ready, "timeout")}}
		r.someVMs(n, "group")
		for _, vm := range g.VMs {
			if other := in[vm]; other != "" {
				r.add(n.at("vms"), "A VM in two groups",
					"VM %s is in group %s and in group %s. A VM starts with one group: take it out of the other.",
					quote(vm), quote(other), quote(g.Name))
			}
			in[vm] = g.Name
		}
		if len(g.StartAfter) == 0 && !n.set["start_after"].bad {
			for _, name := range []string{"start_delay", "on_timeout"} {
				if _, set := n.set[name]; set {
					r.add(n.at(name), name+" without start_after",
						"group %s starts after no other, so there is nothing that %s could be about. Set start_after, or take it out.",
						quote(g.Name), name)
				}
			}
		}
		at[g.Name] = n
		p.Groups = append(p.Groups, g)
	}
	for i := range p.Groups {
		g := &p.Groups[i]
		for _, name := range g.StartAfter {
			if at[name] == nil && !r.unread {
				r.add(at[g.Name].at("start_after"), "Unknown group",
					"group %s starts after %s, but there is no block: group %[2]s { ... }%s",
					quote(g.Name), quote(name), didYouMean(name, sortedKeys(at)))
			}
		}
	}
	if ring := ringOf(p.Groups); ring != nil {
		names := make([]string, 0, len(ring))
		for _, name := range ring {
			names = append(names, quote(name))
		}
		r.add(at[ring[0]].at("start_after"), "Groups wait for one another",
			"%s: none of them could ever start. Take one out of the start_after of another.", strings.Join(names, " starts after "))
	}
}

// someVMs notes a group or rule that is about no VM.
func (r *report) someVMs(n *node, what string) {
	_, named := n.set["vms"]
	if _, matched := n.set["match"]; !named && !matched {
		r.add(n.rng, "No VMs", "%s %s is about no VM. Say which: vms = [\"db1\"], match = { name = \"db*\" }, or both.", what, quote(n.label))
	}
}

// ringOf finds groups that start after one another in a ring: the names along it,
// the first one again at the end; nil when there is none.
func ringOf(groups []Group) []string {
	byName := map[string]*Group{}
	for i := range groups {
		byName[groups[i].Name] = &groups[i]
	}
	done := map[string]bool{}
	var path []string
	var visit func(name string) []string
	visit = func(name string) []string {
		if i := slices.Index(path, name); i >= 0 {
			return append(slices.Clone(path[i:]), name)
		}
		g := byName[name]
		if done[name] || g == nil {
			return nil
		}
		path = append(path, name)
		for _, before := range g.StartAfter {
			if ring := visit(before); ring != nil {
				return ring
			}
		}
		path = path[:len(path)-1]
		done[name] = true
		return nil
	}
	for i := range groups {
		if ring := visit(groups[i].Name); ring != nil {
			return ring
		}
	}
	return nil
}

func (g Group) said() []said {
	return []said{
		{"vms", g.VMs, []string(nil)},
		{"match", matchOf(g.Match), map[string]string(nil)},
		{"spread", g.Spread, false},
		{"start_after", g.StartAfter, []string(nil)},
		{"start_delay", g.StartDelay, noDuration},
		{"on_timeout", g.OnTimeout, TimeoutContinue},
	}
}

func (r Ready) said() []said {
	return []said{
		{"guest_agent", r.GuestAgent, false},
		{"tcp", r.TCP, []string(nil)},
		{"http", r.HTTP, []string(nil)},
		{"uptime", r.Uptime, noDuration},
		{"timeout", r.Timeout, defaultReadyTimeout},
	}
}

// matchOf is a pattern as match has it.
func matchOf(pattern string) map[string]string {
	if pattern == "" {
		return nil
	}
	return map[string]string{"name": pattern}
}

func putGroups(open func(kind string, labels ...string) *hclwrite.Body, groups []Group) {
	for _, g := range groups {
		b := open("group", g.Name)
		putSaid(b, g.said())
		if all := g.Ready.said(); anySaid(all) {
			b.AppendNewline()
			putSaid(b.AppendNewBlock("ready_when", nil).Body(), all)
		}
	}
}

// groups lists what differs.
func (d *differ) groups(a, b []Group) {
	index := func(list []Group) map[string]Group {
		m := map[string]Group{}
		for _, g := range list {
			m[g.Name] = g
		}
		return m
	}
	before, after := index(a), index(b)
	blocksDiffer(d, "group", before, after, func(g Group) []said {
		all := g.said()
		for _, s := range g.Ready.said() {
			all = append(all, said{"ready_when." + s.name, s.value, s.def})
		}
		return all
	})
	// The first whose pattern fits counts, so their order says something too.
	both := func(list []Group, other map[string]Group) string {
		var names []string
		for _, g := range list {
			if _, ok := other[g.Name]; ok {
				names = append(names, g.Name)
			}
		}
		return strings.Join(names, ", ")
	}
	d.field("order of group", both(a, after), both(b, before))
}
