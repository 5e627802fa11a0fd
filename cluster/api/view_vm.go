package api

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// The states of a VM in a VMView. Those of a VM outside protection are vmm's.
const (
	VMRunning  = "running"  // its owner reported it running, and is heard
	VMPaused   = "paused"   // the owner's hypervisor says so
	VMStarting = "starting" // ordered; the owner has not reported it running yet
	VMWaiting  = "waiting"  // it shall run and nobody owns it
	VMStopped  = "stopped"  // stopped by a person or from inside: left alone
	VMSeen     = "seen"     // seen running on a host that has not confirmed yet that it guards it
	VMUnknown  = "unknown"  // its owner is not heard at the moment: it may run or not
)

// VMView is a VM as it is shown.
type VMView struct {
	Name      string `json:"name"`
	UUID      string `json:"uuid"`
	Protected bool   `json:"protected"`
	State     string `json:"state"`
	// Host is the owner, or where a VM was seen that is not guarded yet or not
	// protected; empty: nobody's.
	Host       string         `json:"host,omitempty"`
	VCPUs      int            `json:"vcpus"`
	Memory     uint64         `json:"memory_bytes"`
	Intent     fsm.Intent     `json:"intent,omitempty"`
	By         string         `json:"by,omitempty"` // who protects it
	Since      time.Time      `json:"since,omitzero"`
	Generation uint64         `json:"generation,omitempty"`
	Placement  *PlacementView `json:"placement,omitempty"`
	Home       string         `json:"home,omitempty"` // the host that last ran it
	// Devices are those of its host that it has.
	Devices  []DeviceView  `json:"devices,omitempty"`
	Failures []FailureView `json:"failures,omitempty"`
	// Move is set while it is on its way to another host; MoveFailures are moves that came to
	// nothing since the last that did not, newest last.
	Move         *MoveView     `json:"move,omitempty"`
	MoveFailures []FailureView `json:"move_failures,omitempty"`
	// Restart is set while it is shut down to be started again.
	Restart *RestartView `json:"restart,omitempty"`
	// Belongs is where it goes back to when it can, as the policy says: it had to leave that host.
	Belongs string `json:"belongs,omitempty"`
	// Waiting says why nobody owns it although it shall run.
	Waiting      string    `json:"waiting,omitempty"`
	WaitingSince time.Time `json:"waiting_since,omitzero"`
	// Frozen is set while it waits for the host that it was shut down with.
	Frozen  *FrozenView `json:"frozen,omitempty"`
	XMLHash string      `json:"xml_hash,omitempty"`
	// Ready says, of a protected VM that runs, that what its group's ready_when asks holds, and
	// NotReady why not; nil where that is not known.
	Ready    *bool  `json:"ready,omitempty"`
	NotReady string `json:"not_ready,omitempty"`
	// Rules are what the policy says of a protected VM; only in an answer about one VM.
	Rules *RulesView `json:"rules,omitempty"`
	// Agility is where it could run; only in an answer about one VM, by the master.
	Agility *AgilityView `json:"agility,omitempty"`
}

// RulesView is what the policy in force says of one VM.
type RulesView struct {
	Class    string `json:"class,omitempty"`
	Priority string `json:"priority"`
	Order    int    `json:"order"`
	Group    string `json:"group,omitempty"`
	// Isolation is what its host does with it when isolated, Failback when it goes back.
	Isolation  string `json:"isolation"`
	Failback   string `json:"failback"`
	BestEffort bool   `json:"best_effort,omitempty"` // no room is kept for it
	// Why names the block that decides; what that leaves out comes from its class, then the defaults.
	Why string `json:"why"`
}

func (w World) rules(name string) *RulesView {
	policy := w.policy()
	p := policy.VM(name)
	v := &RulesView{Class: p.Class, Priority: p.Priority, Order: p.Order, Isolation: p.Isolation,
		Failback: p.Failback, BestEffort: p.BestEffort, Why: p.Why}
	if g := policy.GroupOf(name); g != nil {
		v.Group = g.Name
	}
	return v
}

// Text is it for people.
func (v *RulesView) Text() string {
	text := fmt.Sprintf("priority %s, order %d", v.Priority, v.Order)
	if v.Class != "" {
		text = "class " + v.Class + ", " + text
	}
	if v.Group != "" {
		text += ", starts with group " + v.Group
	}
	if v.BestEffort {
		text += ", best effort"
	}
	return text + fmt.Sprintf("; when its host is isolated: %s; failback: %s (decided by %s)", v.Isolation, v.Failback, v.Why)
}

// PlacementView is the permission of a host to run a VM.
type PlacementView struct {
	Host        string    `json:"host"`
	Incarnation uint64    `json:"incarnation"`
	Generation  uint64    `json:"generation"`
	Phase       fsm.Phase `json:"phase"`
	At          time.Time `json:"at"`
	// From is the host that it was moved from.
	From string `json:"from,omitempty"`
	Why  string `json:"why"`
}

// FailureView is one start that failed, or one crash.
type FailureView struct {
	Host       string    `json:"host"`
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at"`
	Detail     string    `json:"detail"`
	Crash      bool      `json:"crash,omitempty"` // it had run
}

// VMs shows every protected VM and, on the master, every other domain, by name.
func (w World) VMs() []VMView {
	out := []VMView{}
	for _, vm := range w.State.SortedVMs() {
		out = append(out, w.vmView(vm))
	}
	out = append(out, w.unprotected()...)
	slices.SortStableFunc(out, func(a, b VMView) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID))
	})
	return out
}

// VM shows one VM, by name or UUID, protected or not.
func (w World) VM(name string) (VMView, error) {
	vm, err := findVM(w.State, name)
	if err == nil {
		v := w.vmView(vm)
		v.Rules = w.rules(vm.Name)
		return v, nil
	}
	for _, v := range w.unprotected() {
		if v.Name == name || v.UUID == name {
			return v, nil
		}
	}
	return VMView{}, err
}

// unprotected are the domains outside protection that the hosts report, one for
// each UUID: where it runs, or else the first host that has it defined.
func (w World) unprotected() []VMView {
	byUUID := map[string]VMView{}
	for _, h := range w.State.SortedHosts() {
		live := w.hostState(h) == string(fsm.HostLive)
		for _, d := range w.Observed[h.Name].Domains {
			if w.State.VMs[d.UUID] != nil || d.Waits() {
				continue
			}
			if seen, ok := byUUID[d.UUID]; ok && (seen.State != string(vmm.Stopped) || d.State == vmm.Stopped) {
				continue
			}
			state := string(d.State)
			if !live && d.State != vmm.Stopped {
				state = VMUnknown // the report is an old one
			}
			byUUID[d.UUID] = VMView{Name: d.Name, UUID: d.UUID, State: state, Host: h.Name, VCPUs: d.VCPUs, Memory: d.Memory, XMLHash: d.XMLHash}
		}
	}
	out := []VMView{}
	for _, v := range byUUID {
		out = append(out, v)
	}
	return out
}

// vmState is the word for what a protected VM does, as far as this copy and the
// observations can tell.
func (w World) vmState(vm *fsm.VM) string {
	o := vm.Owner
	switch {
	case o == nil && vm.Sighting != nil:
		return VMSeen
	case o == nil && vm.Intent == fsm.IntentStop:
		return VMStopped
	case o == nil:
		return VMWaiting
	}
	if h := w.State.Hosts[o.Host]; h == nil || w.hostState(h) != string(fsm.HostLive) {
		return VMUnknown
	}
	if o.Phase == fsm.PhaseOrdered {
		return VMStarting
	}
	if d := w.domain(o.Host, vm.UUID); d != nil && d.State == vmm.Paused {
		return VMPaused
	}
	return VMRunning
}

// masterUnknown: nobody watches the hosts, so nobody can say that a VM runs.
func (w World) masterUnknown() bool { return w.master() == "" }

// domain is what a host reports of a VM, or nil.
func (w World) domain(host, uuid string) *DomainReport {
	ds := w.Observed[host].Domains
	for i := range ds {
		if ds[i].UUID == uuid {
			return &ds[i]
		}
	}
	return nil
}

func (w World) vmView(vm *fsm.VM) VMView {
	v := VMView{
		Name: vm.Name, UUID: vm.UUID, Protected: true, State: w.vmState(vm), VCPUs: vm.VCPUs, Memory: vm.Memory, Intent: vm.Intent,
		By: vm.By, Since: vm.Since, Generation: vm.Generation, Home: vm.Home, Waiting: w.waiting(vm),
		WaitingSince: vm.WaitingSince, XMLHash: vm.XMLHash,
	}
	if o := vm.Owner; o != nil {
		v.Host = o.Host
		v.Placement = &PlacementView{Host: o.Host, Incarnation: o.Incarnation, Generation: o.Generation,
			Phase: o.Phase, At: o.At, From: o.From, Why: o.Why}
	}
	if d := w.domain(v.Host, vm.UUID); d != nil && v.State == VMRunning && (d.Ready || d.NotReady != "") {
		v.Ready, v.NotReady = &d.Ready, d.NotReady
	}
	if g := vm.Sighting; g != nil {
		v.Host = g.Host
	}
	v.Move, v.Devices, v.Frozen = moveView(vm.Move), w.devices(vm, v.Host), w.frozenView(vm)
	if r := vm.Restart; r != nil {
		v.Restart = &RestartView{ID: r.ID, At: r.At, By: r.By, Why: r.Why}
	}
	if vm.Away != nil {
		v.Belongs = vm.Away.Host
	}
	for _, f := range vm.MoveFailures {
		v.MoveFailures = append(v.MoveFailures, FailureView{Host: f.Host, Generation: f.Generation, At: f.At, Detail: f.Detail})
	}
	for _, f := range vm.Failures {
		v.Failures = append(v.Failures, FailureView{Host: f.Host, Generation: f.Generation, At: f.At, Detail: f.Detail, Crash: f.Crash})
	}
	return v
}
