package placement

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

type placementCase struct {
	ID, Portability string
	Cluster         struct {
		Quorum         bool
		NoQuorumPolicy string `json:"no_quorum_policy"`
		Fencing        bool
		Placement      string
		Stickiness     int
		OptIn          bool `json:"opt_in"`
	}
	Hosts []struct {
		Name, State string
		Capacity    map[string]int64
	}
	VMs []struct {
		Name      string
		Priority  int
		RunningOn []string `json:"running_on"`
		Failure   *struct{ Host, Op string }
		Live      bool `json:"live_migratable"`
		Demand    map[string]int64
	}
	Rules []struct {
		Type, VM, Host, With, First, Then string
		VMs                               []string
		Score                             any
		Mandatory                         bool
	}
	Expect struct {
		Placement    map[string]string
		AnyOf        map[string][]string `json:"placement_any_of"`
		Apart        [][]string
		Together     [][]string
		Fenced       []string
		Order        [][]string
		Stopped      []string
		Untouched    []string
		LiveMigrated []string `json:"live_migrated"`
	}
}

// score reads a rule's weight, which may be written as infinity.
func score(v any) int {
	switch n := v.(type) {
	case float64:
		return int(n)
	case string:
		if strings.HasPrefix(n, "-") {
			return -1_000_000
		}
		return 1_000_000
	}
	return 1
}

// cluster turns a case into a cluster, and what is asked of it. events begin with
// what happens before anything is placed: fencing, and the end of VMs that must not go on as they are.
func (c *placementCase) cluster(t *testing.T) (out *Cluster, q Question, fenced, events []string) {
	out = &Cluster{Policy: Policy{Pack: c.Cluster.Placement == "minimal", NoQuorum: !c.Cluster.Quorum && c.Cluster.NoQuorumPolicy != "ignore"}}
	fence := func(host string) {
		if c.Cluster.Fencing && !out.Policy.NoQuorum && !slices.Contains(fenced, host) {
			fenced = append(fenced, host)
			events = append(events, "fence:"+host)
		}
	}
	var names []string // of what is limited; the first one ranks hosts too
	for _, h := range c.Hosts {
		for name := range h.Capacity {
			if !slices.Contains(names, name) && c.Cluster.Placement != "default" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, h := range c.Hosts {
		host := Host{Name: h.Name, Extra: map[string]int64{}}
		switch h.State {
		case "online":
		case "standby":
			host.State = Maintenance
			q.Leave = append(q.Leave, h.Name)
		default:
			host.State = Down
			fence(h.Name)
		}
		for i, name := range names {
			if i == 0 {
				host.Memory = h.Capacity[name]
			}
			host.Extra[name] = h.Capacity[name]
		}
		out.Hosts = append(out.Hosts, host)
	}
	for _, v := range c.VMs {
		vm := VM{Name: v.Name, Priority: v.Priority, Status: Waiting, Live: v.Live, Failback: true, Extra: map[string]int64{}}
		for i, name := range names {
			if i == 0 {
				vm.Memory = v.Demand[name]
			}
			if v.Demand[name] > 0 {
				vm.Extra[name] = v.Demand[name]
			}
		}
		if len(v.RunningOn) > 0 {
			vm.Status, vm.Host = Running, v.RunningOn[0]
			if c.Cluster.Stickiness > 0 {
				out.Rules = append(out.Rules, Rule{Name: "stay " + v.Name, Kind: OnHosts, VMs: []string{v.Name}, Hosts: map[string]int{vm.Host: c.Cluster.Stickiness}})
			}
		}
		again := len(v.RunningOn) > 1
		if v.Failure != nil && v.Failure.Op == "stop" && c.Cluster.Fencing && c.Cluster.Quorum {
			i := slices.IndexFunc(out.Hosts, func(h Host) bool { return h.Name == v.Failure.Host })
			if i < 0 {
				t.Fatalf("%s failed on %q, which is no host", v.Name, v.Failure.Host)
			}
			out.Hosts[i].State = Down
			fence(v.Failure.Host)
		} else if v.Failure != nil && (v.Failure.Op == "start" || v.Failure.Op == "monitor") {
			again = true
			if v.Failure.Op == "start" {
				vm.Barred = map[string]string{v.Failure.Host: "a start failed there"}
			}
		}
		if again {
			for _, h := range v.RunningOn {
				if slices.ContainsFunc(out.Hosts, func(o Host) bool { return o.Name == h && o.State == Down }) {
					continue // it ended there when the host was fenced
				}
				events = append(events, "stop:"+v.Name+"@"+h)
			}
			vm.Status = Waiting
		}
		out.VMs = append(out.VMs, vm)
		out.Groups = append(out.Groups, Group{Name: v.Name, VMs: []string{v.Name}})
	}
	c.rules(t, out)
	q.Moves = true
	return out, q, fenced, events
}

func (c *placementCase) rules(t *testing.T, out *Cluster) {
	lists := map[string]map[string]int{} // with opt-in, a VM runs only where a rule lets it
	for i, r := range c.Rules {
		rule := Rule{Name: fmt.Sprintf("%s %d", r.Type, i), VMs: []string{r.VM}, Hosts: map[string]int{r.Host: score(r.Score)}, Must: r.Mandatory, Weight: score(r.Score)}
		switch r.Type {
		case "prefer":
			rule.Must = false
			if rule.Kind = OnHosts; rule.Weight < 0 {
				rule.Kind, rule.Must, rule.Hosts = NotOnHosts, rule.Weight <= -1_000_000, map[string]int{r.Host: -rule.Weight}
			} else {
				if lists[r.VM] == nil {
					lists[r.VM] = map[string]int{}
				}
				lists[r.VM][r.Host] = 0
			}
		case "ban":
			rule.Kind, rule.Must = NotOnHosts, true
		case "together", "apart":
			if rule.Kind = Together; r.Type == "apart" {
				rule.Kind = Apart
			}
			rule.VMs, rule.Hosts = []string{r.With, r.VM}, nil
			if len(r.VMs) > 0 {
				rule.VMs = r.VMs
			}
		case "order":
			i := slices.IndexFunc(out.Groups, func(g Group) bool { return g.Name == r.Then })
			if i < 0 {
				t.Fatalf("order: there is no VM %q", r.Then)
			}
			g := &out.Groups[i]
			g.StartAfter = append(g.StartAfter, r.First)
			g.Strict = g.Strict || r.Mandatory
			continue
		default:
			t.Fatalf("unknown type of rule %q", r.Type)
		}
		out.Rules = append(out.Rules, rule)
	}
	if c.Cluster.OptIn {
		for _, v := range c.VMs {
			if lists[v.Name] == nil {
				lists[v.Name] = map[string]int{"": 0}
			}
			out.Rules = append(out.Rules, Rule{Name: "only " + v.Name, Kind: OnHosts, Must: true, VMs: []string{v.Name}, Hosts: lists[v.Name]})
		}
	}
}

// What another cluster manager's scheduler was seen to decide.
func TestPlacementCases(t *testing.T) {
	eachCase(t, loadCases(t, "placement_cases.json", "cluster"), func(t *testing.T, c placementCase, _ json.RawMessage) {
		cl, q, fenced, events := c.cluster(t)
		if err := cl.Validate(); err != nil {
			t.Fatal(err)
		}
		at, touched := map[string]string{}, map[string]bool{}
		for _, v := range cl.VMs {
			if v.Status == Running {
				at[v.Name] = v.Host
			} else {
				touched[v.Name] = slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "stop:"+v.Name+"@") })
			}
		}
		var live, stops, starts []string
		decisions := Decide(cl, q).Decisions
		if cl.Policy.NoQuorum {
			decisions = nil // nothing changes, whatever its state
			if c.Cluster.NoQuorumPolicy == "stop" {
				clear(at)
			}
		}
		for _, d := range decisions {
			switch {
			case d.Action == StayDown || d.Action == StayPut:
				delete(at, d.VM)
			case d.Action == Move && d.Live:
				live = append(live, d.VM)
				at[d.VM], touched[d.VM] = d.To, true
			default:
				if d.Action == Move {
					stops = append(stops, "stop:"+d.VM+"@"+d.From)
				}
				starts = append(starts, "start:"+d.VM+"@"+d.To)
				at[d.VM], touched[d.VM] = d.To, true
			}
		}
		slices.Reverse(stops) // the last to start is the first to stop
		events = append(append(events, stops...), starts...)
		c.judge(t, at, touched, fenced, events, live)
	})
}

func (c *placementCase) judge(t *testing.T, at map[string]string, touched map[string]bool, fenced, events, live []string) {
	x := c.Expect
	for vm, want := range x.Placement {
		if at[vm] != want {
			t.Errorf("%s is on %q, want %s", vm, at[vm], want)
		}
	}
	for vm, want := range x.AnyOf {
		if !slices.Contains(want, at[vm]) {
			t.Errorf("%s is on %q, want one of %v", vm, at[vm], want)
		}
	}
	for _, set := range x.Apart {
		seen := map[string]bool{}
		for _, vm := range set {
			if at[vm] != "" && seen[at[vm]] {
				t.Errorf("%v are not apart: %v", set, at)
			}
			seen[at[vm]] = true
		}
	}
	for _, set := range x.Together {
		for _, vm := range set {
			if at[vm] != at[set[0]] {
				t.Errorf("%v are not together: %v", set, at)
			}
		}
	}
	if c.Portability != "policy" { // stopping a VM for want of room is not what we do
		for _, vm := range x.Stopped {
			if at[vm] != "" {
				t.Errorf("%s runs on %s, want it stopped", vm, at[vm])
			}
		}
	}
	for _, vm := range x.Untouched {
		if touched[vm] {
			t.Errorf("%s was touched: %v", vm, events)
		}
	}
	slices.Sort(fenced)
	if !slices.Equal(fenced, slices.Sorted(slices.Values(x.Fenced))) {
		t.Errorf("fenced %v, want %v", fenced, x.Fenced)
	}
	for _, vm := range x.LiveMigrated {
		if !slices.Contains(live, vm) {
			t.Errorf("%s was not migrated live: %v", vm, live)
		}
	}
	find := func(event string) int {
		return slices.IndexFunc(events, func(e string) bool { return e == event || strings.HasPrefix(e, event+"@") })
	}
	for _, pair := range x.Order {
		if len(pair) != 2 {
			t.Errorf("an order is of two events, and not %v", pair)
			continue
		}
		if a, b := find(pair[0]), find(pair[1]); a < 0 || b < 0 || a > b {
			t.Errorf("want %s before %s, got %v", pair[0], pair[1], events)
		}
	}
}
