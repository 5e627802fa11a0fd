// Package fsm is the replicated state machine: what the cluster has agreed on,
// and the commands that change it. State is plain values; Apply is a total,
// deterministic function of (state, command). There is no I/O here, no clock and
// no goroutine: the proposer puts every moment, name and number into the
// command, and Apply checks it against the state it meets.
//
// What the rest of the cluster may rely on (docs/safety.md, I6 and O1):
// incarnations and generations only grow; a placement names a live incarnation;
// a VM gets a new placement only when the last one's incarnation is dead or has
// released it; what was acknowledged is in the log of a majority.
package fsm

import (
	"slices"
	"time"
)

// Format is the version of State as written to snapshots. A member refuses a
// snapshot of a newer one.
const Format = 1

// State is everything the members agree on. It is only changed by Apply; readers
// get it by way of Machine.View and must not modify it.
type State struct {
	Cluster Cluster           `json:"cluster"`
	Office  Office            `json:"office"`
	Policy  Policy            `json:"policy"`
	Hosts   map[string]*Host  `json:"hosts"`  // by name
	VMs     map[string]*VM    `json:"vms"`    // by UUID
	Tokens  map[string]*Token `json:"tokens"` // by id
	Events  []Event           `json:"events"` // the last EventsKept, oldest first
	// LastEvent is the number of the newest event ever recorded.
	LastEvent uint64 `json:"last_event"`
	// Slots counts host slots ever given out (heartbeat volumes; a slot is never reused).
	Slots uint16 `json:"slots"`
	// Volumes are the heartbeat volumes, OldVolumes those before the last change,
	// which count while a live host may still prove with them (Behind).
	Volumes    VolumeSet `json:"volumes,omitzero"`
	OldVolumes VolumeSet `json:"old_volumes,omitzero"`
	// RetiredIncarnation and RetiredGeneration are the highest of hosts that left
	// and VMs that were unprotected: one that comes back under the same name goes on above them.
	RetiredIncarnation uint64 `json:"retired_incarnation"`
	RetiredGeneration  uint64 `json:"retired_generation"`

	// Disarmed is set while the cluster does nothing by itself, as a person wants it.
	Disarmed *Disarm `json:"disarmed,omitempty"`
	// Armed is when that ended last; zero: it never was. What waited meanwhile has been due since then.
	Armed time.Time `json:"armed,omitzero"`

	// Left are the machines that were removed, name by machine ID. Whoever is neither
	// here nor in Hosts joined after this copy.
	Left map[string]string `json:"left,omitempty"`

	// Loose are VMs that were let go while a host ran them, or might have: host by
	// UUID. It may run them still, so whoever protects one again waits for its word.
	Loose map[string]string `json:"loose,omitempty"`

	// which maps this value may write to; the others are shared with older States.
	ownHosts, ownVMs, ownTokens, ownLoose bool
}

// EventsKept bounds the events in the state; older ones are dropped.
const EventsKept = 4096

// Cluster is what was decided once, at bootstrap.
type Cluster struct {
	ID      string    `json:"id"`   // UUID
	Name    string    `json:"name"` // for people
	Created time.Time `json:"created"`
	// CACert is the cluster's certificate authority, PEM.
	CACert []byte `json:"ca_cert"`
	// CAKey is its private key, sealed with the key that every host got when it joined.
	CAKey []byte `json:"ca_key"`
}

// Office is the master's: who holds it, and the epoch that numbers it.
type Office struct {
	Epoch  uint64    `json:"epoch"` // 0: nobody ever took office
	Master string    `json:"master"`
	Since  time.Time `json:"since"`
}

// Policy is the cluster policy as its author wrote it. The state machine does
// not look inside: members of different versions must not differ in what they accept.
type Policy struct {
	Revision uint64            `json:"revision"` // grows by one with each apply; 0 is the default policy
	Files    map[string][]byte `json:"files"`    // HCL text by file name
	By       string            `json:"by"`
	At       time.Time         `json:"at"`
}

// HostStatus is the committed standing of a host.
type HostStatus string

const (
	// HostJoining: known, but has no incarnation yet; it owns nothing.
	HostJoining HostStatus = "joining"
	// HostLive: its incarnation may hold a lease.
	HostLive HostStatus = "live"
	// HostDead: its incarnation was declared dead; it owns nothing until it begins a new one.
	HostDead HostStatus = "dead"
)

// Host is one member, voter or not.
type Host struct {
	Name string `json:"name"`
	// ID tells this machine from an earlier member of the same name; it is in its certificate.
	ID        string     `json:"id"`
	Slot      uint16     `json:"slot"`
	Addresses []Address  `json:"addresses"` // one per HA network, preferred first
	Joined    time.Time  `json:"joined"`
	Status    HostStatus `json:"status"`
	// Incarnation numbers the host's lives; it only grows. 0 before the first.
	Incarnation uint64    `json:"incarnation"`
	BootID      string    `json:"boot_id"` // of the boot this incarnation began in
	Since       time.Time `json:"since"`   // when Status last changed
	// Volumes is the revision of the heartbeat volumes that this incarnation proves
	// with, at least: it may be at a newer one, never at an older.
	Volumes uint64 `json:"volumes,omitempty"`
	// Watchdog is what this incarnation has said of it.
	Watchdog Watchdog `json:"watchdog,omitzero"`
	// Maintenance is set while the host is out of service; it outlives incarnations.
	Maintenance *Maintenance `json:"maintenance,omitempty"`
	// Shutdown is set from when the host is shut down in good order until it is back.
	Shutdown *Shutdown `json:"shutdown,omitempty"`
	// Held is set while a person wants the host to stay off.
	Held *Hold `json:"held,omitempty"`
	// Aside is set while the host stands aside, as it has said itself.
	Aside *Aside `json:"aside,omitempty"`
	// Verdict is the last committed verdict that matters, with its evidence.
	Verdict  string     `json:"verdict"`
	Evidence []Evidence `json:"evidence,omitempty"`
}

// Address is where a host listens on one HA network.
type Address struct {
	Network string `json:"network"` // the network's name, such as "mgmt"
	Addr    string `json:"addr"`    // IP:port
}

// Evidence is one signal behind a verdict.
type Evidence struct {
	Signal string        `json:"signal"` // such as "heartbeat over mgmt"
	Value  string        `json:"value"`  // what was seen, in words and figures
	Age    time.Duration `json:"age"`    // how old it was when judged
	By     string        `json:"by"`     // the host that read it
}

// Intent is what people want of a protected VM.
type Intent string

const (
	IntentRun  Intent = "run"  // it shall run: restart it when it does not
	IntentStop Intent = "stop" // a person stopped it: leave it
)

// VM is one protected VM.
type VM struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
	// XML is the domain's definition, packed by PackXML; a dead host cannot be asked for it.
	XML     []byte `json:"xml"`
	XMLHash string `json:"xml_hash"` // as the hypervisor computes it
	VCPUs   int    `json:"vcpus"`
	Memory  uint64 `json:"memory"` // bytes
	// Devices are the host's devices that the definition hands to the guest and that could be
	// exchanged for others, in its order, as words such as "pci:0000:41:00.0"; DevicesOf is the
	// host whose they are.
	Devices   []string `json:"devices,omitempty"`
	DevicesOf string   `json:"devices_of,omitempty"`
	Intent    Intent   `json:"intent"`
	// By is who protects it: "policy" or a person's name.
	By    string    `json:"by"`
	Since time.Time `json:"since"`
	// Generation counts the VM's placements; it only grows.
	Generation uint64 `json:"generation"`
	// Owner may run the VM now; nil when nobody may.
	Owner *Placement `json:"owner,omitempty"`
	// Sighting is set while the VM was seen running on a host that has not yet
	// confirmed that it guards it. Until then nobody may be given the VM: that
	// host could lose its lease without knowing that it has to stop it.
	Sighting *Sighting `json:"sighting,omitempty"`
	// Astray is set from when a sighting ends without its host having guarded the VM until somebody
	// owns it: whoever took it there by hand may have taken it on, to a host that has not told of it yet.
	Astray bool `json:"astray,omitempty"`
	// Move is set while its owner sends it to another host.
	Move *Move `json:"move,omitempty"`
	// Restart is set while its owner is to shut it down for a restart.
	Restart *Restart `json:"restart,omitempty"`
	// Frozen is set while nobody owns it, and it waits for the host that it was shut down with.
	Frozen *Frozen `json:"frozen,omitempty"`
	// Asked is set while the cluster is disarmed and this is to be started all the same (Disarm).
	Asked bool `json:"asked,omitempty"`
	// MoveFailures are its moves that came to nothing since the last that did not, newest last.
	MoveFailures []Failure `json:"move_failures,omitempty"`
	// Home is the host that last ran it (or where it was defined).
	Home string `json:"home"`
	// Away is set while it is elsewhere than where people had it run last.
	Away *Away `json:"away,omitempty"`
	// Choice is the newest decision that gave it a host, while that is the last that was given
	// it; nil where there was none, as of a VM that was found running.
	Choice *Choice `json:"choice,omitempty"`
	// Failures are the crashes since it last ran for long, and the starts that failed since it last ran
	// at all, newest last (at most failuresKept).
	Failures []Failure `json:"failures,omitempty"`
	// Waiting says why nobody owns it, while it shall run and nobody does.
	Waiting string `json:"waiting,omitempty"`
	// Cause is the event that what happens to the VM next follows from: what took its
	// owner away, or the order to start it. 0 while it runs.
	Cause uint64 `json:"cause,omitempty"`
	// WaitingSince is since when it counts as down, for reports of how long it was: when its
	// host was last heard, where Lost is set (that died); else when it was known that it is to be
	// started: a report that it had ended, which may come long after that, or a person's wish.
	WaitingSince time.Time `json:"waiting_since,omitzero"`
	Lost         bool      `json:"lost,omitempty"`
}

// Phase is how far a placement has come.
type Phase string

const (
	PhaseOrdered Phase = "ordered" // committed; the host has not reported it running yet
	PhaseRunning Phase = "running" // the host reported it running
)

// Placement is the permission of one incarnation to run one generation of a VM.
type Placement struct {
	Host        string    `json:"host"`
	Incarnation uint64    `json:"incarnation"`
	Generation  uint64    `json:"generation"`
	Phase       Phase     `json:"phase"`
	At          time.Time `json:"at"`
	// Since is when its host reported it running; zero before, and for one that was seen running at At.
	Since time.Time `json:"since,omitzero"`
	// Round numbers the tries to start it by the policy's schedule, from 1 (Assign.Round).
	Round int `json:"round,omitempty"`
	// From is the host that it was moved from, whose copy of it waits on this one or is lost.
	From string `json:"from,omitempty"`
	// Cold says that nothing of its memory came: a copy that waits here is of another move.
	Cold bool `json:"cold,omitempty"`
	// Devices are those of the host that were chosen for it, in the place of VM.Devices and in
	// that order. Nobody else is given them while this placement stands. nil: those of its definition.
	Devices []string `json:"devices,omitempty"`
	// Why is the placement's reason, for people: cause and the figures that ranked the host.
	Why string `json:"why"`
}

// Sighting is an unowned VM running on a host.
type Sighting struct {
	Host       string    `json:"host"`
	Generation uint64    `json:"generation"` // that the host will own once it confirms
	At         time.Time `json:"at"`
}

// Failure is one start that failed, or one crash.
type Failure struct {
	Host       string    `json:"host"`
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at"`
	Detail     string    `json:"detail"`
	Crash      bool      `json:"crash,omitempty"` // it had been running
	// Round is that of the placement that failed.
	Round int `json:"round,omitempty"`
}

const (
	// failuresKept is no less than the hosts that one round of tries may take a VM to.
	failuresKept = 64
	// failureMemory is how long a VM must run for its earlier crashes to be forgotten.
	failureMemory = 10 * time.Minute
)

// Token is an invitation to join, good for one use.
type Token struct {
	ID      string    `json:"id"`
	Hash    []byte    `json:"hash"` // SHA-256 of the secret
	Host    string    `json:"host"` // only a host of this name may use it; empty: any
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	By      string    `json:"by"`
	UsedBy  string    `json:"used_by,omitempty"`
}

// Severity ranks events for people.
type Severity string

const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Event is one line of the cluster's history. Type is a name in the style
// noun_verb_in_past_tense, one of the Event... constants or a host's own.
type Event struct {
	ID       uint64    `json:"id"`
	At       time.Time `json:"at"` // wall clock of the proposer, for people only
	Type     string    `json:"type"`
	Severity Severity  `json:"severity"`
	Host     string    `json:"host,omitempty"`
	VM       string    `json:"vm,omitempty"` // name
	From     string    `json:"from,omitempty"`
	To       string    `json:"to,omitempty"`
	Text     string    `json:"text"`
	// Cause is the id of the event that led to this one; 0 when there is none.
	Cause    uint64     `json:"cause,omitempty"`
	Evidence []Evidence `json:"evidence,omitempty"`
	By       string     `json:"by,omitempty"` // a person, where one asked for it
	// Considered is what was said of every host that was looked at, where the event is a
	// decision about where a VM goes.
	Considered []Lot `json:"considered,omitempty"`
}

// The event types recorded by Apply.
const (
	EventClusterCreated  = "cluster_created"
	EventMasterElected   = "leader_elected"
	EventHostJoined      = "host_joined"
	EventHostLeft        = "host_left"
	EventHostAvailable   = "host_available"
	EventHostSuspected   = "host_unreachable"
	EventHostHeardAgain  = "host_heard_again"
	EventHostPartitioned = "host_partitioned"
	EventHostIsolated    = "host_isolated"
	EventHostAgentDown   = "host_agent_unreachable"
	EventHostDead        = "host_confirmed_fenced"
	EventVMProtected     = "vm_protection_added"
	EventVMUnprotected   = "vm_protection_removed"
	EventVMRedefined     = "vm_redefined"
	EventVMSeenRunning   = "vm_seen_running"
	EventVMAssigned      = "vm_recovery_assigned"
	EventVMStarted       = "vm_started"
	EventVMStopped       = "vm_stopped"
	EventVMCrashed       = "vm_crashed"
	EventVMStartFailed   = "vm_start_failed"
	EventVMNoHost        = "vm_no_eligible_host"
	EventVMHeld          = "vm_start_held"
	EventVMGivenUp       = "vm_given_up"
	EventVMIntentChanged = "vm_intent_changed"
	EventTokenCreated    = "token_created"
	EventTokenRevoked    = "token_revoked"
	EventPolicyApplied   = "policy_applied"
)

// Owned lists the VMs that the incarnation owns, ordered by name.
func (s *State) Owned(host string, incarnation uint64) []*VM {
	var vms []*VM
	for _, vm := range s.VMs {
		if vm.Owner != nil && vm.Owner.Host == host && vm.Owner.Incarnation == incarnation {
			vms = append(vms, vm)
		}
	}
	slices.SortFunc(vms, byName)
	return vms
}

// SortedVMs lists the protected VMs by name.
func (s *State) SortedVMs() []*VM {
	vms := make([]*VM, 0, len(s.VMs))
	for _, vm := range s.VMs {
		vms = append(vms, vm)
	}
	slices.SortFunc(vms, byName)
	return vms
}

// SortedHosts lists the hosts by name.
func (s *State) SortedHosts() []*Host {
	hosts := make([]*Host, 0, len(s.Hosts))
	for _, h := range s.Hosts {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b *Host) int { return compare(a.Name, b.Name) })
	return hosts
}

// FindVM returns the protected VM of that name or UUID, or nil.
func (s *State) FindVM(nameOrUUID string) *VM {
	if vm := s.VMs[nameOrUUID]; vm != nil {
		return vm
	}
	for _, vm := range s.VMs {
		if vm.Name == nameOrUUID {
			return vm
		}
	}
	return nil
}

// Live reports whether (host, incarnation) may own VMs.
func (s *State) Live(host string, incarnation uint64) bool {
	h := s.Hosts[host]
	return h != nil && h.Status == HostLive && h.Incarnation == incarnation && incarnation != 0
}

func byName(a, b *VM) int {
	if a.Name != b.Name {
		return compare(a.Name, b.Name)
	}
	return compare(a.UUID, b.UUID)
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
