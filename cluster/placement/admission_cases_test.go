package placement

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

type admissionCase struct {
	ID     string
	Policy struct {
		Type             string
		Order            string
		HostFailures     int      `json:"host_failures_tolerated"`
		MinMHz           int      `json:"vm_cpu_min_mhz"`
		MinMB            float64  `json:"vm_memory_min_mb"`
		MaxMHz           int      `json:"slot_cpu_mhz_max"`
		MaxMB            float64  `json:"slot_mem_mb_max"`
		CPUPercent       int      `json:"cpu_percent"`
		MemPercent       int      `json:"mem_percent"`
		Percent          int      `json:"percent"`
		Auto             bool     `json:"auto"`
		ToleratedPercent int      `json:"tolerated_reduction_percent"`
		FailoverHosts    []string `json:"failover_hosts"`
		FixedSlot        struct {
			MHz int     `json:"cpu_mhz"`
			MB  float64 `json:"mem_mb"`
		} `json:"fixed_slot"`
	}
	Hosts   []admissionHost
	VMs     []admissionVM
	Steps   []admissionStep
	Request *struct {
		TargetHost string `json:"target_host"`
		VM         *admissionVM
	}
	Left     float64 `json:"capacity_after_failover"`
	Usage    float64
	Expected map[string]any
}

type admissionHost struct {
	Name   string
	MHz    int     `json:"cpu_mhz"`
	MB     float64 `json:"mem_mb"`
	GB     float64 `json:"mem_gb"`
	FreeMB float64 `json:"free_mem_mb"`
	State  string
}

type admissionVM struct {
	Name       string
	MHz        int     `json:"cpu_reservation_mhz"`
	MB         float64 `json:"mem_reservation_mb"`
	NeedMB     float64 `json:"need_mem_mb"`
	OverheadMB float64 `json:"mem_overhead_mb"`
	On         bool    `json:"powered_on"`
	Host       string
}

type admissionStep struct {
	PowerOn     *admissionVM `json:"power_on"`
	Maintenance string       `json:"maintenance"`
	Expected    map[string]any
}

func (v admissionVM) vm() VM {
	out := VM{Name: v.Name, Host: v.Host, ReservedMHz: v.MHz, Memory: sizeOf(v.MB+v.NeedMB, 1<<20), Overhead: sizeOf(v.OverheadMB, 1<<20)}
	if !v.On {
		out.Status = Stopped
	}
	return out
}

func (c *admissionCase) cluster(t *testing.T) *Cluster {
	p := c.Policy
	out := &Cluster{Policy: Policy{Admission: Admission{
		Failures: p.HostFailures, MinMHz: p.MinMHz, MinMemory: sizeOf(p.MinMB, 1<<20), CPUPercent: p.CPUPercent, MemoryPercent: p.MemPercent, Auto: p.Auto,
		Slots: SlotSize{MaxMHz: p.MaxMHz, MaxMemory: sizeOf(p.MaxMB, 1<<20), FixedMHz: p.FixedSlot.MHz, FixedMemory: sizeOf(p.FixedSlot.MB, 1<<20)},
	}}}
	a := &out.Policy.Admission
	switch p.Type {
	case "slot":
		a.Kind = BySlots
	case "percentage":
		a.Kind = ByPercentage
		a.Auto = a.Auto || p.CPUPercent == 0 && p.MemPercent == 0 && p.HostFailures > 0
	case "reserve_only":
		a.Kind, a.MemoryPercent = ByPercentage, p.Percent
		a.Auto = p.HostFailures > 0
	case "failover_hosts":
		a.Kind = ByFailoverHosts
	case "placement":
		a.Kind = ByPlacement
	case "performance_degradation":
	default:
		t.Fatalf("unknown type of policy %q", p.Type)
	}
	for _, h := range c.Hosts {
		host := Host{Name: h.Name, MHz: h.MHz, Memory: sizeOf(h.MB+h.FreeMB+1024*h.GB, 1<<20), Failover: slices.Contains(p.FailoverHosts, h.Name)}
		switch h.State {
		case "", "connected", "green":
		case "maintenance", "standby":
			host.State = Maintenance
		default:
			host.State = Down
		}
		out.Hosts = append(out.Hosts, host)
	}
	for _, v := range c.VMs {
		vm := v.vm()
		if p.Type == "placement" {
			vm.Status = Waiting
		}
		out.VMs = append(out.VMs, vm)
	}
	return out
}

// figures are all that a case may expect, by the names of the schema.
func (c *admissionCase) figures(t *testing.T, cl *Cluster, ch Change) map[string]any {
	out := map[string]any{}
	v := Check(cl, ch)
	out["decision"] = "admit"
	if v.Refused {
		out["decision"] = "refuse"
		if v.Why == "" {
			t.Error("a refusal without a reason")
		}
	}
	if v.Slots == nil && v.Percentages == nil && v.Failover == nil && v.Tolerance == nil {
		v = Check(ch.apply(cl, ""), Change{}) // no host can take it, whatever the rule: the figures are those of sums
	}
	if s := v.Slots; s != nil {
		out["slot_cpu_mhz"], out["slot_mem_mb"] = s.MHz, s.Memory>>20
		out["slots_per_host"] = s.PerHost
		out["total_slots"], out["used_slots"], out["failover_slots"] = s.Total, s.Used, s.Failover
		out["available_slots"], out["current_failover_capacity"] = s.Available, max(0, s.Capacity)
		out["spanning_vms"] = s.Spanning
	}
	if p := v.Percentages; p != nil {
		out["total_cpu_mhz"], out["total_mem_mb"] = p.TotalMHz, p.TotalMemory>>20
		out["required_cpu_mhz"], out["required_mem_mb"] = p.RequiredMHz, p.RequiredMemory>>20
		out["current_cpu_failover_percent"], out["current_mem_failover_percent"] = p.CurrentCPU, p.CurrentMemory
		out["total_mem_gb"], out["reserved_mem_gb"] = gib(p.TotalMemory), gib(p.KeptMemory)
		out["usable_mem_gb"] = gib(p.TotalMemory - p.KeptMemory)
		for _, name := range []string{"cpu_percent", "reserved_cpu_percent", "auto_cpu_percent"} {
			out[name] = about(100 * float64(p.KeptMHz) / float64(max(1, p.TotalMHz)))
		}
		for _, name := range []string{"mem_percent", "reserved_mem_percent", "auto_mem_percent", "auto_percent", "percent", "reserved_percent"} {
			out[name] = about(100 * float64(p.KeptMemory) / float64(max(1, p.TotalMemory)))
		}
	}
	c.reserveFigures(cl, out)
	if v.Failover != nil {
		states := map[string]any{}
		for name, s := range v.Failover {
			states[name] = string(s)
		}
		out["failover_host_status"] = states
	}
	switch c.Policy.Type {
	case "performance_degradation":
		d := Degrade(c.Usage, c.Left, c.Policy.ToleratedPercent)
		out["reduction"], out["usage_after_reduction"], out["warn"] = d.Reduction, d.Usage, d.Warn
	case "placement":
		c.placementFigures(t, cl, out)
	}
	return out
}

// reserveFigures are what is left when the largest hosts are lost, and how a fixed
// percentage compares with that.
func (c *admissionCase) reserveFigures(cl *Cluster, out map[string]any) {
	var sizes []int64
	var total int64
	for _, h := range cl.Hosts {
		if h.State == Up {
			sizes = append(sizes, h.size())
			total += h.size()
		}
	}
	lost := largest(sizes, max(1, c.Policy.HostFailures))
	if _, known := out["usable_mem_gb"]; !known {
		out["total_mem_gb"], out["usable_mem_gb"], out["reserved_mem_gb"] = gib(total), gib(total-lost), gib(lost)
	}
	if kept, ok := out["reserved_mem_gb"].(float64); ok && total > 0 {
		out["wasted_mem_gb"] = math.Round(1000*(kept-gib(lost))) / 1000
		out["recommended_percent"] = math.Ceil(100 * float64(lost) / float64(total))
	}
}

func gib(n int64) float64 { return float64(n) / (1 << 30) }

// about is a share that a case may round in whatever way.
type about float64

func (c *admissionCase) placementFigures(t *testing.T, cl *Cluster, out map[string]any) {
	var free, gap int64
	for _, h := range cl.Hosts {
		free += h.size()
		gap = max(gap, h.size())
	}
	out["total_free_mb"] = free >> 20
	placed, unplaced := map[string]any{}, []any{}
	for _, d := range Decide(cl, Question{}).Decisions {
		if d.Action != StayDown {
			placed[d.VM] = d.To
			continue
		}
		unplaced = append(unplaced, d.VM)
		if want := Size(gap); !strings.Contains(d.Why, want) {
			t.Errorf("%s stays down, and the reason does not name the largest gap, %s: %s", d.VM, want, d.Why)
		}
	}
	if c.Policy.Order == "best_fit_decreasing" && len(unplaced) == 0 {
		m := newModel(cl)
		var vms []int32
		for v := range m.vms {
			vms = append(vms, int32(v))
		}
		r := newRoom(m)
		work := defaultWork
		if p := newPacking(r, r.items(vms), &work); p.greedy(false) {
			for v, h := range p.placement() {
				placed[m.vms[v].Name] = m.hosts[h].Name
			}
		}
	}
	out["placed"], out["unplaced"] = placed, unplaced
}

// expect compares figures with what a case says; both go through JSON, so that numbers meet as numbers.
func expect(t *testing.T, got, want map[string]any) {
	t.Helper()
	for name, w := range want {
		g, known := got[name]
		if !known {
			t.Errorf("the case expects %q, which is not reckoned here", name)
			continue
		}
		if a, ok := g.(about); ok {
			if n, ok := w.(float64); !ok || math.Abs(n-float64(a)) >= 1 {
				t.Errorf("%s: %v, want %v", name, g, w)
			}
			continue
		}
		text, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		if a, ok := plain.(float64); ok {
			if b, ok := w.(float64); ok && math.Abs(a-b) < 1e-6*max(1, math.Abs(b)) {
				continue // sizes are whole bytes here, and parts of a unit in the case
			}
		}
		if !reflect.DeepEqual(plain, w) {
			t.Errorf("%s: %v, want %v", name, plain, w)
		}
	}
}

// The worked examples of the policies that come from vSphere, with the published
// figures, or with what the published rules give where the source misprints.
func TestAdmissionCases(t *testing.T) {
	eachCase(t, loadCases(t, "admission_cases.json", "policy"), func(t *testing.T, c admissionCase, _ json.RawMessage) {
		cl := sound(t, c.cluster(t))
		if c.Expected == nil && len(c.Steps) == 0 {
			t.Fatal("the case expects nothing")
		}
		ch := Change{}
		if c.Request != nil {
			vm := VM{Name: "asked for", Memory: 1 << 20}
			if c.Request.VM != nil {
				vm = c.Request.VM.vm()
			}
			vm.Status = Running
			ch = Change{VM: &vm, Host: c.Request.TargetHost}
		}
		if c.Expected != nil {
			expect(t, c.figures(t, cl, ch), c.Expected)
		}
		for _, s := range c.Steps {
			ch := Change{Maintenance: s.Maintenance}
			if s.PowerOn != nil {
				vm := s.PowerOn.vm()
				vm.Status = Running
				ch.VM = &vm
			}
			sound(t, ch.apply(cl, ""))
			got := c.figures(t, cl, ch)
			expect(t, got, s.Expected)
			if got["decision"] == "admit" {
				cl = ch.apply(cl, "")
			}
		}
	})
}
