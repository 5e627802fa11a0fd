package api

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// World is everything that the views are functions of. They change nothing in it
// and ask nobody.
type World struct {
	Self  Self
	State *fsm.State // not nil
	// Observed is what the master sees, by host; nil when this host is not the master.
	Observed map[string]HostObservation
	Members  []Member
	// Picture is what the planner goes by, and Outlook what the master reckoned last; nil: not known here.
	Picture *inventory.Input
	Outlook *whatif.Outlook
	// Leaving is what is left to be done on hosts in maintenance, by name; nil: not known here.
	Leaving map[string]*whatif.Service
	// Policy is the one of State; nil: it is parsed where it is needed.
	Policy *config.Policy
	// Timing judges ages; the zero Timing judges nothing.
	Timing lease.Timing
	Now    time.Time // wall clock, to tell an expired token
}

func (w World) source() *Source {
	src := sourceOf(w.Self)
	return &src
}

// EvidenceView is one signal behind a verdict.
type EvidenceView struct {
	Signal string  `json:"signal"`
	Value  string  `json:"value"`
	Age    Seconds `json:"age_seconds"` // when it was judged
	By     string  `json:"by"`          // the host that read it
}

func evidenceViews(ev []fsm.Evidence) []EvidenceView {
	var out []EvidenceView
	for _, e := range ev {
		out = append(out, EvidenceView{Signal: e.Signal, Value: e.Value, Age: Seconds(e.Age), By: e.By})
	}
	return out
}

// The states of a network in a HostView.
const (
	NetworkOK     = "ok"     // heard within one and a half heartbeats
	NetworkLate   = "late"   // longer ago, but within the lease
	NetworkSilent = "silent" // not heard for longer than the lease
	NetworkNever  = "never"  // not heard since the master took office
)

// NetworkView is how a host is heard over one HA network.
type NetworkView struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"`
	// State is one of the Network constants; empty when it is not known.
	State string `json:"state,omitempty"`
	// Age is since the last heartbeat; nil when it is not known.
	Age *Seconds `json:"age_seconds,omitempty"`
}

// HostView is a host as it is shown.
type HostView struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	// State is the master's present verdict, or the committed one where nobody observes.
	State string `json:"state"`
	// Committed is the standing that the cluster has agreed on: joining, live or dead.
	Committed   string         `json:"committed"`
	Since       time.Time      `json:"since"`
	Incarnation uint64         `json:"incarnation"`
	Joined      time.Time      `json:"joined"`
	Master      bool           `json:"master"`
	Voter       *bool          `json:"voter,omitempty"` // nil: not known
	Evidence    []EvidenceView `json:"evidence"`
	// DeadIn is how long until a suspected host may be declared dead.
	DeadIn Seconds `json:"dead_in_seconds,omitempty"`
	// Maintenance is set while it is out of service.
	Maintenance *MaintenanceView `json:"maintenance,omitempty"`
	// Shutdown is set from when it is being shut down in good order until it is back.
	Shutdown *ShutdownView `json:"shutdown,omitempty"`
	// Held is set while a person wants it to stay off: the cluster does not switch it on.
	Held *HoldView `json:"held,omitempty"`
	// Aside is set while it takes part in nothing, since its disk went back (safety.md, L1).
	Aside *AsideView `json:"aside,omitempty"`
	// NeedsProof says that it is suspected, and that no wait makes it dead: a fence device
	// or a person has to prove it off.
	NeedsProof bool `json:"needs_proof,omitempty"`
	// Bound is what proves that its VMs have stopped when it is silent: one of the Bound constants.
	Bound    string        `json:"bound,omitempty"`
	Networks []NetworkView `json:"networks"`
	// Observed is false when nobody watches: what follows is then missing.
	Observed        bool   `json:"observed"`
	CPUs            int    `json:"cpus,omitempty"`
	Memory          uint64 `json:"memory_bytes,omitempty"`
	MemoryFree      uint64 `json:"memory_free_bytes,omitempty"`
	Hypervisor      string `json:"hypervisor,omitempty"`
	HypervisorError string `json:"hypervisor_error,omitempty"`
	// DiskError is why its own disk refuses what is written to its log, DiskRefuses for how long it has.
	DiskError   string  `json:"disk_error,omitempty"`
	DiskRefuses Seconds `json:"disk_refuses,omitempty"`
	// LeaseGone is how much of its lease had gone, at most, when that was renewed late again and
	// again; 0: it is renewed in time. LeaseBy is what renewed it then.
	LeaseGone Seconds `json:"lease_gone_seconds,omitempty"`
	LeaseBy   string  `json:"lease_by,omitempty"`
	Guard     string  `json:"guard,omitempty"`
	Watchdog  string  `json:"watchdog,omitempty"` // "none", or its state and timeout
	Version   string  `json:"version,omitempty"`
	Applied   uint64  `json:"applied,omitempty"`
	// Storage is how it does on the heartbeat volumes; nil where there are none.
	Storage  *HostStorage `json:"storage,omitempty"`
	VMs      []VMOnHost   `json:"vms"`                // that it owns
	Others   []OtherView  `json:"others,omitempty"`   // its VMs outside protection
	Problems []string     `json:"problems,omitempty"` // only of the host that answers
}

// HoldView says who wants a host to stay off, and since when.
type HoldView struct {
	By string    `json:"by,omitempty"`
	At time.Time `json:"at"`
}

// AsideView says what a host that stands aside has found, and when the cluster learned of it.
type AsideView struct {
	At  time.Time `json:"at"`
	Why string    `json:"why"`
}

// VMOnHost is a protected VM in a list of a host's.
type VMOnHost struct {
	Name       string `json:"name"`
	UUID       string `json:"uuid"`
	State      string `json:"state"`
	Generation uint64 `json:"generation"`
}

// OtherView is a domain outside protection.
type OtherView struct {
	Name   string    `json:"name"`
	UUID   string    `json:"uuid"`
	State  vmm.State `json:"state"`
	VCPUs  int       `json:"vcpus"`
	Memory uint64    `json:"memory_bytes"`
}

// Hosts shows every host, by name.
func (w World) Hosts() []HostView {
	out, volumes := []HostView{}, w.volumes()
	for _, h := range w.State.SortedHosts() {
		out = append(out, w.hostView(h, volumes))
	}
	return out
}

// Host shows one host.
func (w World) Host(name string) (HostView, error) {
	h := w.State.Hosts[name]
	if h == nil {
		return HostView{}, noHost(w.State, name)
	}
	return w.hostView(h, w.volumes()), nil
}

// hostState is the word for how a host stands.
func (w World) hostState(h *fsm.Host) string {
	if o, ok := w.Observed[h.Name]; ok && o.Verdict != "" {
		return o.Verdict
	}
	if h.Status == fsm.HostLive && w.masterUnknown() {
		return "unknown" // nobody watches it: that it was live is all that is known
	}
	if h.Status == fsm.HostLive && h.Verdict != "" {
		return h.Verdict
	}
	return string(h.Status)
}

// master is the host that holds the office as far as this copy knows; empty when nobody does.
func (w World) master() string {
	if w.Self.IsMaster {
		return w.Self.Name
	}
	return w.Self.Master
}

func (w World) hostView(h *fsm.Host, volumes []VolumeView) HostView {
	v := HostView{
		Name: h.Name, ID: h.ID, State: w.hostState(h), Committed: string(h.Status), Since: h.Since, Incarnation: h.Incarnation,
		Joined: h.Joined, Master: h.Name == w.master(), Evidence: evidenceViews(h.Evidence), Networks: []NetworkView{}, VMs: []VMOnHost{},
	}
	for _, m := range w.Members {
		if m.Name == h.Name {
			voter := m.Voter
			v.Voter = &voter
		}
	}
	v.Maintenance, v.Shutdown = w.maintenanceView(h), w.shutdownView(h)
	if h.Held != nil {
		v.Held = &HoldView{By: h.Held.By, At: h.Held.At}
	}
	if h.Aside != nil {
		v.Aside = &AsideView{At: h.Aside.At, Why: h.Aside.Why}
	}
	if h.Name == w.Self.Name {
		v.Problems = w.Self.Problems
	}
	if h.Status == fsm.HostLive {
		v.Bound = w.bound(h)
	}
	for _, vm := range w.State.Owned(h.Name, h.Incarnation) {
		v.VMs = append(v.VMs, VMOnHost{Name: vm.Name, UUID: vm.UUID, State: w.vmState(vm), Generation: vm.Owner.Generation})
	}
	o, ok := w.Observed[h.Name]
	v.Networks = w.networks(h, o, ok)
	if !ok {
		return v
	}
	v.Observed = true
	if v.Storage = w.hostStorage(h, o, volumes); v.Storage != nil {
		v.Storage.Alone = w.alone(v)
	}
	if len(o.Evidence) > 0 {
		v.Evidence = evidenceViews(o.Evidence)
	}
	v.DeadIn, v.NeedsProof = Seconds(o.DeadIn), o.NeedsProof
	v.CPUs, v.Memory, v.MemoryFree, v.Hypervisor = o.Capacity.CPUs, o.Capacity.Memory, o.Capacity.MemoryFree, o.Capacity.Hypervisor
	v.DiskError, v.DiskRefuses = o.DiskError, Seconds(o.DiskRefuses)
	if l := o.Late; l != nil {
		v.LeaseGone, v.LeaseBy = Seconds(l.Gone), l.By
	}
	v.HypervisorError, v.Guard, v.Watchdog, v.Version, v.Applied = o.HypervisorError, o.Guard, o.Watchdog, o.Version, o.Applied
	for _, d := range o.Domains {
		if w.State.VMs[d.UUID] == nil {
			v.Others = append(v.Others, OtherView{Name: d.Name, UUID: d.UUID, State: d.State, VCPUs: d.VCPUs, Memory: d.Memory})
		}
	}
	return v
}

// networks joins the addresses that were committed with what is heard over them.
func (w World) networks(h *fsm.Host, o HostObservation, observed bool) []NetworkView {
	out := []NetworkView{}
	for _, a := range h.Addresses {
		n := NetworkView{Name: a.Network, Address: a.Addr}
		// The master hears itself without a network.
		if age, ok := o.Networks[a.Network]; ok && observed {
			n.State = w.networkState(age)
			if age >= 0 {
				s := Seconds(age)
				n.Age = &s
			}
		}
		out = append(out, n)
	}
	return out
}

func (w World) networkState(age time.Duration) string {
	switch {
	case age < 0:
		return NetworkNever
	case w.Timing.Lease == 0:
		return "" // nothing to judge by
	case age <= w.Timing.SuspectAfter():
		return NetworkOK
	case age <= w.Timing.Lease:
		return NetworkLate
	}
	return NetworkSilent
}

func (w World) memberViews() []MemberView {
	out := []MemberView{}
	for _, m := range w.Members {
		v := MemberView{Name: m.Name, Addresses: m.Addresses, Voter: m.Voter, Master: m.Master, Applied: m.Applied, Healthy: m.Healthy}
		if m.Contact >= 0 {
			c := Seconds(m.Contact)
			v.Contact = &c
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b MemberView) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (w World) tokenViews() []TokenView {
	out := []TokenView{}
	for _, t := range w.State.Tokens {
		v := TokenView{ID: t.ID, State: "open", Host: t.Host, Created: t.Created, Expires: t.Expires, By: t.By, UsedBy: t.UsedBy}
		switch {
		case t.UsedBy != "":
			v.State = "used"
		case !t.Expires.After(w.Now):
			v.State = "expired"
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b TokenView) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return out
}
