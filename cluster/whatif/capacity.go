package whatif

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
)

// Capacity is how much room there is, now and after failures.
type Capacity struct {
	Admission Admission `json:"admission"`
	// MaxFailures is how many hosts, or failure domains, may fail.
	MaxFailures MaxFailures `json:"max_failures"`
	// LargestAdmitted is the most memory, bytes, with which admission control takes one more
	// protected VM that asks for nothing else, and LargestFits that of a VM that a host has room for now.
	LargestAdmitted int64      `json:"largest_admitted_bytes"`
	LargestFits     int64      `json:"largest_fits_bytes"`
	Hosts           []HostRoom `json:"hosts"` // by name
	Total           HostRoom   `json:"total"` // of those that are up
	// Pools are the pools of devices that the policy names, by name.
	Pools []PoolRoom `json:"pools,omitempty"`
	// Frozen are VMs that wait for the host that they were shut down with: they count there, and take no
	// room of others.
	Frozen []Frozen `json:"frozen,omitempty"`
	// Performance is whether VMs would feel the failures; nil where nothing is known of what they take.
	Performance *Performance `json:"performance,omitempty"`
	// Added is what admission control says to each VM that was to be there besides.
	Added    []Added  `json:"added,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

// Admission is what admission control says to the cluster as it is.
type Admission struct {
	Mode string                  `json:"mode"` // enforce, warn or off
	By   placement.AdmissionKind `json:"by"`
	// Failures are to be borne: of hosts, or of failure domains; in succession, or all at once. 0
	// where the policy says what is kept in per cent, and not for how many failures.
	Failures   int    `json:"failures"`
	Domains    bool   `json:"domains,omitempty"`
	Succession bool   `json:"succession,omitempty"`
	Answer     string `json:"answer"` // whether that room is there: yes, no or unknown
	Why        string `json:"why"`
	Culprit    string `json:"culprit,omitempty"`
	// Uncovered are protected VMs that no plan can restart, whatever the mode and the way.
	Uncovered []Uncovered `json:"uncovered,omitempty"`
	// The figures of the way in which it is reckoned; the others are left out.
	Slots       *Slots                             `json:"slots,omitempty"`
	Percentages *Percentages                       `json:"percentages,omitempty"`
	Tolerance   *Tolerance                         `json:"tolerance,omitempty"`
	Standby     map[string]placement.FailoverState `json:"standby,omitempty"`
}

// Slots are the figures of admission control by slots.
type Slots struct {
	MHz       int            `json:"mhz"`          // of one slot
	Memory    int64          `json:"memory_bytes"` // of one slot
	PerHost   map[string]int `json:"per_host"`
	Total     int            `json:"total"`
	Used      int            `json:"used"`
	Kept      int            `json:"kept"` // for failures
	Available int            `json:"available"`
	Spanning  []string       `json:"spanning,omitempty"` // VMs that take several
	Largest   string         `json:"largest,omitempty"`  // the VM that sets the size
}

// Percentages are the figures of admission control by a part of all capacity.
type Percentages struct {
	CPUFree    int    `json:"cpu_free_percent"`
	MemoryFree int    `json:"memory_free_percent"`
	KeptMHz    int64  `json:"kept_mhz"`
	KeptMemory int64  `json:"kept_memory_bytes"`
	Largest    string `json:"largest,omitempty"`
}

// MaxFailures is how many hosts may fail.
type MaxFailures struct {
	Failures int `json:"failures"`
	// Exact says that one more is proven to be too many.
	Exact bool `json:"exact"`
	// Quorum is how many voters may fail before there is no majority; -1 without voters.
	Quorum int `json:"quorum"`
	// Beyond is the answer about one more.
	Beyond Tolerance `json:"beyond"`
}

// HostRoom is what a host has for VMs and what they take.
type HostRoom struct {
	Name  string `json:"name,omitempty"`
	State string `json:"state,omitempty"` // up, closed, maintenance or down
	Why   string `json:"why,omitempty"`
	// Memory is for VMs in all, Used what they take with QEMU's own, bytes.
	Memory int64 `json:"memory_bytes"`
	Used   int64 `json:"used_bytes"`
	CPUs   int   `json:"cpus"`
	VCPUs  int   `json:"vcpus"`
	VMs    int   `json:"vms"`
}

// Free is the memory that is left, bytes.
func (h HostRoom) Free() int64 { return max(0, h.Memory-h.Used) }

// overhead is what QEMU takes beside a guest of which nothing more is known, bytes.
const overhead = 64 << 20

// Room reckons how much room there is, or would be. known, which may be nil, is used where it is
// about the same picture. Errors are those of a hypothesis: they wrap ErrBadQuestion, or
// inventory.ErrBadFile for hosts and VMs that make no sense.
func Room(b *inventory.Builder, in inventory.Input, h Hypothesis, known *Outlook) (*Capacity, error) {
	is := in
	in, added, problems, err := h.apply(b, in)
	if err != nil {
		return nil, err
	}
	inv := b.Build(in)
	p := &Plan{}
	c := p.admit(inv.Cluster, inv, added)
	a := &c.Policy.Admission
	var v placement.Verdict
	var most placement.Capability
	if h.None() && known.about(inv) {
		v, most = known.Room, known.Capability
	} else {
		v = placement.Check(c, placement.Change{})
		most = placement.MaxFailures(c, placement.Failures{Domains: a.Domains, Succession: a.Succession})
	}
	if len(h.RemoveHosts) > 0 {
		stranded(placement.Check(b.Build(is).Cluster, placement.Change{}).Uncovered, a, &v)
	}
	if why := nobody(c, v.Uncovered); why != "" && a.Failures > 0 && a.Mode != placement.Off && v.Answer == placement.Yes {
		v.Answer, v.Why, v.Culprit = placement.No, why, v.Uncovered[0].VM
		most.Failures, most.Exact = 0, true
		most.Beyond.N, most.Beyond.Answer, most.Beyond.Why = 1, placement.No, why
	}
	out := &Capacity{Problems: slices.Concat(problems, inv.Problems), Added: p.Added, Hosts: []HostRoom{}, Admission: Admission{
		Mode: map[placement.Mode]string{placement.Enforce: "enforce", placement.Warn: "warn", placement.Off: "off"}[a.Mode],
		By:   a.Kind, Failures: a.Failures, Domains: a.Domains, Succession: a.Succession, Answer: v.Answer.String(), Why: v.Why, Culprit: v.Culprit, Standby: v.Failover}}
	if a.Kind == placement.ByPercentage && !a.Auto {
		out.Admission.Failures = 0
	}
	for _, u := range v.Uncovered {
		out.Admission.Uncovered = append(out.Admission.Uncovered, Uncovered(u))
	}
	if v.Tolerance != nil {
		out.Admission.Tolerance = tolerance(*v.Tolerance)
	}
	if s := v.Slots; s != nil {
		out.Admission.Slots = &Slots{MHz: s.MHz, Memory: s.Memory, PerHost: s.PerHost, Total: s.Total, Used: s.Used, Kept: s.Failover, Available: s.Available, Spanning: s.Spanning, Largest: s.Largest}
	}
	if p := v.Percentages; p != nil {
		out.Admission.Percentages = &Percentages{CPUFree: p.CurrentCPU, MemoryFree: p.CurrentMemory, KeptMHz: p.KeptMHz, KeptMemory: p.KeptMemory, Largest: p.Largest}
	}
	out.MaxFailures = MaxFailures{Failures: most.Failures, Exact: most.Exact, Quorum: most.Quorum, Beyond: *tolerance(most.Beyond)}
	out.LargestAdmitted = placement.LargestVM(c, placement.VM{Name: unnamed(c), VCPUs: 1, Overhead: overhead, Class: placement.Protected})
	out.rooms(c)
	out.Pools, out.Frozen = poolRooms(in), setAside(inv, in)
	if p := Perform(in); h.None() && (p.Processors > 0 || p.Memory > 0) { // what VMs would take elsewhere nobody has measured
		out.Performance = &p
	}
	return out, nil
}

// stranded makes it a no when hosts leave that alone could take a VM if its host was lost. Such VMs
// are counted apart, and would go unseen.
func stranded(before []placement.Uncovered, a *placement.Admission, v *placement.Verdict) {
	for _, u := range v.Uncovered {
		if a.Failures == 0 || a.Mode == placement.Off || slices.ContainsFunc(before, func(x placement.Uncovered) bool { return x.VM == u.VM }) {
			continue
		}
		v.Answer, v.Culprit = placement.No, u.VM
		v.Why = fmt.Sprintf("no plan could restart %s any more if its host is lost: %s", u.VM, u.Why)
		return
	}
}

// unnamed is a name that no VM has.
func unnamed(c *placement.Cluster) string {
	name := "one more VM"
	for slices.ContainsFunc(c.VMs, func(v placement.VM) bool { return v.Name == name }) {
		name += "'"
	}
	return name
}

// rooms adds up what VMs take of each host.
func (out *Capacity) rooms(c *placement.Cluster) {
	at := map[string]*HostRoom{}
	over := c.Policy.MemoryOvercommit
	if over == 0 {
		over = 1
	}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		state := map[placement.HostState]string{placement.Up: "up", placement.Closed: "closed", placement.Maintenance: "maintenance", placement.Down: "down"}[h.State]
		out.Hosts = append(out.Hosts, HostRoom{Name: h.Name, State: state, Why: h.Why, CPUs: h.CPUs, Memory: int64(float64(max(0, h.Memory-h.Reserve)) * over)})
	}
	slices.SortFunc(out.Hosts, func(a, b HostRoom) int { return strings.Compare(a.Name, b.Name) })
	for i := range out.Hosts {
		at[out.Hosts[i].Name] = &out.Hosts[i]
	}
	for i := range c.VMs {
		v := &c.VMs[i]
		if v.Status != placement.Running {
			continue
		}
		for _, name := range []string{v.Host, v.Moving} {
			if h := at[name]; h != nil {
				h.Used += v.Memory + v.Overhead
				h.VCPUs += v.VCPUs
				h.VMs++
			}
		}
	}
	for _, h := range out.Hosts {
		if h.State != "up" {
			continue
		}
		t := &out.Total
		t.Memory, t.Used, t.CPUs, t.VCPUs, t.VMs = t.Memory+h.Memory, t.Used+h.Used, t.CPUs+h.CPUs, t.VCPUs+h.VCPUs, t.VMs+h.VMs
		out.LargestFits = max(out.LargestFits, h.Free()-overhead)
	}
}

// Violation is a rule that is broken where VMs run now, or a host that is overfull.
type Violation struct {
	Rule string   `json:"rule,omitempty"` // or the group that is to be spread; empty for a host that is overfull
	Must bool     `json:"must"`
	VMs  []string `json:"vms,omitempty"`
	Why  string   `json:"why"`
	// Repair are the moves that would put it right, or, of a rule that is no must, make it better
	// kept; none where no lawful one does.
	Repair []Decision `json:"repair,omitempty"`
	// Stays says why nothing is moved for a rule that is no must; empty: it is, once it has been
	// broken for as long as the policy's balance.hold asks.
	Stays string `json:"stays,omitempty"`
}

// Violations lists what is wrong with where VMs run now.
func Violations(b *inventory.Builder, in inventory.Input) (list []Violation, problems []string) {
	inv := b.Build(in)
	list = []Violation{}
	for _, v := range placement.Violations(inv.Cluster, inventory.MoveSettings(in.Policy)) {
		x := Violation{Rule: v.Rule, Must: v.Must, VMs: v.VMs, Why: v.Why, Stays: v.Stays}
		for _, d := range v.Repair {
			x.Repair = append(x.Repair, DecisionOf(d))
		}
		list = append(list, x)
	}
	return list, inv.Problems
}
