package placement

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

type plannerCase struct {
	ID, Kind   string
	hosts      []plannerHost
	whole      map[string]any
	Failures   int        `json:"failures_to_tolerate"`
	NewVM      *plannerVM `json:"new_vm"`
	Members    int        `json:"cluster_members"`
	Evacuate   string
	Dead       []string
	Free       map[string]int64
	VMs        map[string]int64
	Placement  map[string]string
	BinFails   int    `json:"failures"`
	Affinity   string `json:"affinity_host"`
	Start      struct{ Group string }
	Others     []struct{ Host, Group, State string }
	Expect     map[string]any
	hostsNamed []string
}

type plannerHost struct {
	Name     string
	Memory   float64 `json:"memory_gib"`
	Overhead float64 `json:"overhead_gib"`
	VMs      []plannerVM
}

type plannerVM struct {
	Name       string
	Memory     float64 `json:"memory_gib"`
	Protection string
	Agile      bool
	Power      string
	ShouldRun  bool `json:"should_run"`
	Group      string
}

const gibibyte = 1 << 30

func (v plannerVM) vm(host string) VM {
	out := VM{Name: v.Name, Host: host, Memory: sizeOf(v.Memory, gibibyte), Class: Unprotected}
	switch v.Protection {
	case "protected", "restart":
		out.Class = Protected
	case "best_effort", "best-effort":
		out.Class = BestEffort
	}
	if v.Power != "running" && v.Power != "paused" {
		out.Status = Stopped
		if v.ShouldRun && out.Class == Protected {
			out.Status = Waiting
		}
	}
	if !v.Agile {
		out.Bound = []string{"a local disk"}
	}
	return out
}

func (c *plannerCase) cluster() *Cluster {
	out := &Cluster{Policy: Policy{Admission: Admission{Kind: ByPlacement, Failures: c.Failures}}}
	groups := map[string][]string{}
	for i, h := range c.hosts {
		out.Hosts = append(out.Hosts, Host{Name: h.Name, Memory: sizeOf(h.Memory, gibibyte), Reserve: sizeOf(h.Overhead, gibibyte), Voter: i < c.Members})
		for _, v := range h.VMs {
			out.VMs = append(out.VMs, v.vm(h.Name))
			if v.Group != "" {
				groups[v.Group] = append(groups[v.Group], v.Name)
			}
		}
	}
	for name, free := range c.Free {
		h := Host{Name: name, Memory: free}
		for v, at := range c.Placement {
			if at == name {
				h.Memory += c.VMs[v]
			}
		}
		out.Hosts = append(out.Hosts, h)
	}
	for name, size := range c.VMs {
		out.VMs = append(out.VMs, VM{Name: name, Memory: size, Host: c.Placement[name]})
	}
	for name, vms := range groups {
		out.Groups = append(out.Groups, Group{Name: name, VMs: vms, Spread: true})
	}
	return out
}

// toldApart gives names to VMs that share one: names are labels where the cases come
// from, and what tells VMs apart here.
func (c *plannerCase) toldApart() {
	seen := map[string]bool{}
	apart := func(v *plannerVM) {
		for seen[v.Name] {
			v.Name += "'"
		}
		seen[v.Name] = true
	}
	for i := range c.hosts {
		for j := range c.hosts[i].VMs {
			apart(&c.hosts[i].VMs[j])
		}
	}
	if c.NewVM != nil {
		apart(c.NewVM)
	}
}

// planStatus is the three-fold answer of the schema.
func planStatus(c *Cluster, n int) string {
	t := Tolerate(c, Failures{N: n})
	switch {
	case t.Answer != Yes:
		return "no_plan"
	case len(t.Uncovered) > 0:
		return "plan_excluding_non_agile"
	}
	return "plan_for_all"
}

// The worked cases of the planner: those of XenServer's own, with its answers
// where they are right, and with the right ones where they are not.
func TestPlannerCases(t *testing.T) {
	kinds := map[string]func(*testing.T, *plannerCase){
		"protected_set": casesProtected, "plan_exists": casePlanExists, "admission": caseAdmission,
		"max_failures": caseMaxFailures, "max_failures_quorum_stack": caseMaxFailures,
		"evacuate_anti_affinity": caseSpread, "evacuate_three_phase": caseThreePhases,
		"group_membership": caseGroups, "agility": caseAgility, "rank_hosts_for_start": caseRank,
		"binpack": caseBinpack, "restart_plan": caseRestart,
	}
	eachCase(t, loadCases(t, "planner_cases.json", "kind"), func(t *testing.T, c plannerCase, raw json.RawMessage) {
		c.whole = decode[map[string]any](t, raw)
		if c.Kind == "rank_hosts_for_start" {
			c.hostsNamed = decode[struct{ Hosts []string }](t, raw).Hosts
		} else {
			c.hosts = decode[struct{ Hosts []plannerHost }](t, raw).Hosts
		}
		run := kinds[c.Kind]
		switch {
		case run == nil:
			t.Fatalf("unknown kind of case %q", c.Kind)
		case len(c.Expect) == 0:
			t.Fatal("the case expects nothing")
		}
		c.toldApart()
		sound(t, c.cluster())
		run(t, &c)
	})
}

func casesProtected(t *testing.T, c *plannerCase) {
	got := []any{}
	for _, v := range c.cluster().VMs {
		if v.Class == Protected && v.Status != Stopped {
			got = append(got, v.Name)
		}
	}
	expect(t, map[string]any{"protected": got}, c.Expect)
}

func casePlanExists(t *testing.T, c *plannerCase) {
	cl := c.cluster()
	if upstream, ok := c.Expect["upstream_status"]; ok {
		if got := planStatus(cl, c.Failures); got != upstream {
			t.Errorf("status %s, want %v", got, upstream)
		}
	} else if got, want := planStatus(cl, c.Failures), c.Expect["status"]; got != want && (got != "no_plan" || want == "plan_for_all" || want == "plan_excluding_non_agile") {
		t.Errorf("status %s, want %v", got, want)
	}
	if c.NewVM == nil {
		return
	}
	// A VM that cannot move is counted apart and does not switch the check off:
	// what must hold is that an admitted VM can be restarted after every failure.
	vm := c.NewVM.vm("")
	vm.Status = Running
	v := Check(cl, Change{VM: &vm})
	possible := false
	for _, h := range cl.Hosts {
		after := Change{VM: &vm}.apply(cl, h.Name)
		free := h.Memory - h.Reserve
		for _, o := range after.VMs {
			if o.Host == h.Name && o.Status == Running {
				free -= o.Memory
			}
		}
		f := Failures{N: c.Failures}
		possible = possible || free >= 0 && newBrute(after, f).atOnce(f)
	}
	if v.Refused == possible {
		t.Errorf("refused %v (%s), but admissible %v", v.Refused, v.Why, possible)
	}
}

func caseAdmission(t *testing.T, c *plannerCase) {
	vm := c.NewVM.vm("")
	vm.Status = Running
	v := Check(c.cluster(), Change{VM: &vm})
	if v.Refused == (c.Expect["admit"] == true) {
		t.Errorf("refused: %v (%s), want admitted: %v", v.Refused, v.Why, c.Expect["admit"])
	}
	switch {
	case !v.Refused:
	case v.Culprit == "" || v.Why == "":
		t.Errorf("a refusal that does not say why: %+v", v)
	case v.Tolerance == nil && !strings.Contains(v.Why, "MiB"): // no host can run it at all
		t.Errorf("a refusal without figures: %+v", v)
	case v.Tolerance != nil && len(v.Tolerance.Lost) == 0 && !v.uncovered:
		t.Errorf("a refusal without the hosts that must not be lost: %+v", v)
	}
}

func caseMaxFailures(t *testing.T, c *plannerCase) {
	cl := c.cluster()
	got := MaxFailures(cl, Failures{})
	limit := got.Failures
	if c.Members > 0 {
		// Hosts that are no members of the quorum do not count for it when they fail.
		limit = min(limit, got.Quorum+len(cl.Hosts)-c.Members)
	}
	expect(t, map[string]any{"max_failures": limit}, c.Expect)
}

func caseSpread(t *testing.T, c *plannerCase) {
	m := newModel(c.cluster())
	r := newRoom(m)
	h := m.hostByID[c.Evacuate]
	var vms []int32
	need := make([]int64, len(m.dims))
	for v := range m.vms {
		if r.at[v] == h {
			vms = append(vms, int32(v))
			r.leave(int32(v), need)
		}
	}
	r.leaving.set(h)
	got := map[string]any{}
	for _, phase := range []Spread{Evenly, OnTwoHosts} {
		to, _ := r.spreadOut(r.grouped(vms), phase)
		got[string(phase)] = m.named(to)
	}
	expect(t, got, c.Expect)
}

// named writes a placement by names.
func (m *model) named(to map[int32]int32) map[string]any {
	out := map[string]any{}
	for v, h := range to {
		out[m.vms[v].Name] = m.hosts[h].Name
	}
	return out
}

func caseThreePhases(t *testing.T, c *plannerCase) {
	p := Decide(c.cluster(), Question{Leave: []string{c.Evacuate}})
	plan := map[string]any{}
	for _, d := range p.Decisions {
		if d.Action == Move {
			plan[d.VM] = d.To
		}
	}
	expect(t, map[string]any{"phase": string(p.Spread), "plan": plan}, c.Expect)
}

func caseGroups(t *testing.T, c *plannerCase) {
	cl := &Cluster{VMs: []VM{{Name: "a", Status: Stopped}}, Groups: []Group{{Name: "A", VMs: []string{"a"}}}}
	if c.Expect["ok"] != true {
		cl.Groups = append(cl.Groups, Group{Name: "B", VMs: []string{"a"}})
	}
	if err := cl.Validate(); errors.Is(err, ErrTwoGroups) == (c.Expect["ok"] == true) {
		t.Errorf("Validate: %v", err)
	}
}

func caseAgility(t *testing.T, c *plannerCase) {
	cl := &Cluster{Hosts: []Host{{Name: "m", Memory: 10}, {Name: "s", Memory: 10}}, VMs: []VM{{Name: "vm", Host: "m", Memory: 1}}}
	if notShared(c.whole) {
		cl.VMs[0].Bound = []string{"a disk or network that other hosts do not have"}
	}
	got := len(Tolerate(cl, Failures{N: 1}).Uncovered) == 0
	expect(t, map[string]any{"agile": got}, c.Expect)
}

// notShared finds, anywhere in a case but in its answer, a thing that is said not to be shared.
func notShared(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for name, x := range v {
			shared := name == "agile" || strings.HasSuffix(name, "shared")
			switch {
			case name == "id" || name == "what" || name == "expect":
			case shared && x == false || name == "local" && x == true || notShared(x):
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, notShared)
	case string:
		return v == "local"
	}
	return false
}

func caseRank(t *testing.T, c *plannerCase) {
	cl := &Cluster{VMs: []VM{{Name: "start", Status: Waiting}}}
	for _, name := range c.hostsNamed {
		cl.Hosts = append(cl.Hosts, Host{Name: name})
	}
	groups := map[string][]string{c.Start.Group: {"start"}}
	for i, o := range c.Others {
		v := VM{Name: "other" + string(rune('0'+i)), Host: o.Host, Moving: ""}
		switch o.State {
		case "running", "starting", "resuming", "migrating":
		default: // a paused one does not count for the spread of its group
			v.Status = Stopped
		}
		cl.VMs = append(cl.VMs, v)
		if o.Group != "" {
			groups[o.Group] = append(groups[o.Group], v.Name)
		}
	}
	for name, vms := range groups {
		cl.Groups = append(cl.Groups, Group{Name: name, VMs: vms, Spread: true})
	}
	if c.Affinity != "" {
		cl.Rules = []Rule{{Name: "affinity", Kind: OnHosts, VMs: []string{"start"}, Hosts: map[string]int{c.Affinity: 0}}}
	}
	all := Decide(cl, Question{}).Decisions[0].Hosts
	slices.SortStableFunc(all, func(a, b Considered) int { return a.Score.better(b.Score) })
	ranking := [][]string{}
	for i, h := range all {
		if i == 0 || h.Score.Preference != all[i-1].Score.Preference || h.Score.Members != all[i-1].Score.Members {
			ranking = append(ranking, nil)
		}
		last := &ranking[len(ranking)-1]
		*last = append(*last, h.Host)
		slices.Sort(*last)
	}
	expect(t, map[string]any{"ranking": ranking}, c.Expect)
}

func caseBinpack(t *testing.T, c *plannerCase) {
	cl := c.cluster()
	f := Failures{N: c.BinFails}
	for name, want := range c.Expect {
		switch name {
		case "always_possible", "exact_simultaneous", "possible":
			got := Tolerate(cl, f)
			if (got.Answer == Yes) != (want == true) || got.Answer == Unknown {
				t.Errorf("%s: %v (%s), want %v", name, got.Answer, got.Why, want)
			}
		case "exact_successive":
			one := f
			one.Succession = true
			if got := Tolerate(cl, one); (got.Answer == Yes) != (want == true) || got.Answer == Unknown {
				t.Errorf("%s: %v (%s), want %v", name, got.Answer, got.Why, want)
			}
		case "exact_max_failures", "max_failures":
			if got := MaxFailures(cl, Failures{}); got.Failures != int(want.(float64)) || !got.Exact {
				t.Errorf("%s: %+v, want %v", name, got, want)
			}
		case "upstream_packs_all_on_simultaneous_loss_of":
			for lost := range maps.Keys(want.(map[string]any)) {
				var hosts []string
				for _, h := range cl.Hosts {
					if slices.Contains(strings.Split(lost, ","), h.Name) {
						hosts = append(hosts, h.Name)
					}
				}
				if down := Decide(cl, Question{Lost: hosts}).Down(); len(down) > 0 && c.Expect["exact_simultaneous"] == true {
					t.Errorf("with %s lost, %v stay down", lost, down)
				}
			}
		default:
			if strings.HasPrefix(name, "upstream_") {
				continue // what the other planner answers is a fact about it
			}
			t.Errorf("the case expects %q, which is not reckoned here", name)
		}
	}
}

func caseRestart(t *testing.T, c *plannerCase) {
	got := map[string]any{}
	for _, d := range Decide(c.cluster(), Question{Lost: c.Dead}).Decisions {
		if d.Action == Start {
			got[d.VM] = d.To
		}
	}
	want := c.Expect["group_respecting"]
	if want == nil {
		want = c.Expect["plan"]
	}
	if !reflect.DeepEqual(any(got), want) {
		t.Errorf("plan %v, want %v", got, want)
	}
}
