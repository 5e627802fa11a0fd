package api

import (
	"time"

	"github.com/holdfast-ha/holdfast/cluster/durable"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Heartbeat is what a host sends to the master each interval over every HA
// network. Its acknowledgement renews the host's lease (safety.md, rule N).
type Heartbeat struct {
	Host        string `json:"host"`
	Incarnation uint64 `json:"incarnation"` // 0: the host has none and holds no lease
	// Run tells one life of the agent process from the next; it grows within a boot.
	Run uint64 `json:"run"`
	// Seq numbers the exchanges of a run; the copies sent over several networks, and
	// the one written to the heartbeat volumes, share one.
	Seq uint64 `json:"seq"`
	// Volumes is the revision of the heartbeat volumes that the host proves with: from
	// now on no older one.
	Volumes uint64 `json:"volumes,omitempty"`
	// Watchdog is what this incarnation says of the watchdog that bounds its VMs.
	Watchdog fsm.Watchdog `json:"watchdog,omitzero"`
	// Slots are what the host reads on the heartbeat volumes of members that the master
	// does not hear: evidence for its verdicts, and for nothing else.
	Slots []SlotReading `json:"slots,omitempty"`
	// TiedSeen is the revision of the newest HeartbeatReply.Tied that the host has.
	TiedSeen uint64 `json:"tied_seen,omitempty"`
	// Network is the HA network that this copy travels on.
	Network string `json:"network"`
	// Applied is the index of the last log entry that the host has applied.
	Applied uint64 `json:"applied"`
	// Disk is how far the host's disk had come when this was sent (safety.md, L1).
	Disk durable.Position `json:"disk,omitzero"`
	// Report is what the host knows of itself. It is left out while ReportSeen of
	// the last reply says that the master has it.
	Report *HostReport `json:"report,omitempty"`
	// ReportRev numbers reports within a run; it grows when anything in them changes.
	ReportRev uint64 `json:"report_rev"`
	// Definitions are domain definitions the master asked for, by UUID.
	Definitions map[string]string `json:"definitions,omitempty"`
}

// SlotReading is what one host reads in another's slot on one heartbeat volume.
type SlotReading struct {
	Host   string `json:"host"`   // whose slot it is
	Volume string `json:"volume"` // its UUID
	// Error is why the reader cannot read the volume now; what follows is then of its last reading.
	Error string `json:"error,omitempty"`
	// Age is the time since the reader saw the heartbeat there change; negative: never.
	Age time.Duration `json:"age"`
	// Incarnation, Run and Seq are the newest heartbeat's; Incarnation 0: there is none.
	Incarnation uint64 `json:"incarnation,omitempty"`
	Run         uint64 `json:"run,omitempty"`
	Seq         uint64 `json:"seq,omitempty"`
	// Flags are its words about itself (format.Flags), and Reason why it was fenced last.
	Flags  uint32 `json:"flags,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// HostReport is the slow-changing part of what a host says about itself.
type HostReport struct {
	Capacity vmm.Capacity `json:"capacity"`
	// Offer is what VMs find here besides room, and Datastores are those of the policy that
	// the host has, sorted. A nil list is not known: nothing follows from it.
	Offer      vmm.Offer `json:"offer,omitzero"`
	Datastores []string  `json:"datastores,omitzero"`
	// Devices say of the devices that the policy names of this host why they cannot be handed to a
	// guest, by their words; empty: they can. nil: not known.
	Devices map[string]string `json:"devices,omitempty"`
	// HypervisorError is why the hypervisor could not be asked; empty when it answers.
	HypervisorError string         `json:"hypervisor_error,omitempty"`
	Domains         []DomainReport `json:"domains"` // all, ordered by name
	// Uses are what those that have a process really take, by UUID; of one that is missing it is not known.
	Uses map[string]Use `json:"uses,omitempty"`
	// Outcomes are what became of the VMs that the host owns or owned, by UUID.
	Outcomes []OutcomeReport `json:"outcomes,omitempty"`
	// Draining says that the host is being shut down: it gives its VMs back and takes none.
	Draining bool `json:"draining,omitempty"`
	// Reboot says, of a host that is being shut down, that it is to boot again.
	Reboot bool `json:"reboot,omitempty"`
	// Reserve is what the host keeps for itself, bytes.
	Reserve uint64 `json:"reserve"`
	// DiskError is why the host's own disk refuses what is written to its log; empty where it does not.
	DiskError string `json:"disk_error,omitempty"`
	// Late is set while the host's lease is renewed late again and again.
	Late *Lateness `json:"late,omitempty"`
	// Guard says whether the guard process answers, for people.
	Guard string `json:"guard"`
	// Watchdog says how the hardware watchdog stands: "none", or its state and timeout.
	Watchdog string `json:"watchdog"`
	// Volumes are the heartbeat volumes of the policy as this host finds them.
	Volumes []VolumeReport `json:"volumes,omitempty"`
	// Broken are invariants that the host has seen violated since its agent began.
	Broken  []Violation `json:"broken,omitempty"`
	Version string      `json:"version"`
}

// Lateness is how late a lease was renewed, when that was told.
type Lateness struct {
	// Gone is how much of the lease had gone, at most, By what renewed it then, for people.
	Gone time.Duration `json:"gone"`
	By   string        `json:"by"`
}

// Violation is an invariant of docs/safety.md that was seen violated, which is a fault of
// Holdfast or of what it rests on.
type Violation struct {
	Rule string `json:"rule"` // I1 to I8
	Text string `json:"text"` // what was seen; of the same thing always the same
}

// VolumeReport is one heartbeat volume as a host finds it.
type VolumeReport struct {
	Name string `json:"name"`
	Path string `json:"path"`
	// ID is the volume's UUID; empty while it is not known.
	ID string `json:"id,omitempty"`
	// InUse says that the host writes to it; State is then how it does: "opening",
	// "working", "degraded" or "failing".
	InUse bool   `json:"in_use,omitempty"`
	State string `json:"state,omitempty"`
	// Error is why it cannot be used, or fails.
	Error string `json:"error,omitempty"`
	// Kind is "block", "nfs" or "other"; Server is the array or file server behind it,
	// by address or name, several with commas between them. Empty while not known.
	Kind   string `json:"kind,omitempty"`
	Server string `json:"server,omitempty"`
}

// DomainReport is one domain of a host.
type DomainReport struct {
	UUID    string     `json:"uuid"`
	Name    string     `json:"name"`
	State   vmm.State  `json:"state"`
	Reason  vmm.Reason `json:"reason"`
	VCPUs   int        `json:"vcpus"`
	Memory  uint64     `json:"memory"`
	XMLHash string     `json:"xml_hash"`
	// Devices are as in vmm.Domain.
	Devices []string `json:"devices,omitempty"`
	// Persistent is false for a domain that is gone once it stops.
	Persistent bool `json:"persistent"`
	// Ready, of a VM that the host owns, says that it runs and that what the policy asks of
	// its group (ready_when) held when its host asked last. NotReady is why not, or not yet.
	Ready    bool   `json:"ready,omitempty"`
	NotReady string `json:"not_ready,omitempty"`
}

// Use is what a VM takes of its host, by the mean of the last minute. It is rounded, so that a
// host whose VMs do what they did has nothing new to say.
type Use struct {
	// Processors is how many it keeps busy, in steps of 0.05.
	Processors float64 `json:"processors"`
	// Memory is what its process holds, bytes, in steps of 32 MiB.
	Memory uint64 `json:"memory"`
}

// Waits reports whether it is a copy that came, or comes, from another host and was not let
// run: it runs nowhere by that (safety.md, M4).
func (d DomainReport) Waits() bool { return d.State == vmm.Paused && d.Reason == vmm.ReasonIncoming }

// OutcomeReport is what became of one generation of a VM, repeated until the
// state machine has it.
type OutcomeReport struct {
	UUID       string `json:"uuid"`
	Generation uint64 `json:"generation"`
	Outcome    string `json:"outcome"` // an fsm.Outcome
	Detail     string `json:"detail,omitempty"`
	// Move is the one that the outcome is of (fsm.Move.ID); 0: of none.
	Move uint64 `json:"move,omitempty"`
}

// HeartbeatReply is the master's answer.
type HeartbeatReply struct {
	// Acknowledged renews the lease of (Incarnation, Run, Seq), worth the moment
	// at which that heartbeat was sent. False while the host is suspected, or its
	// incarnation is not the live one.
	Acknowledged bool   `json:"acknowledged"`
	Epoch        uint64 `json:"epoch"`
	Incarnation  uint64 `json:"incarnation"`
	Run          uint64 `json:"run"`
	Seq          uint64 `json:"seq"`
	// Over says that this incarnation is dead or superseded: stop every protected
	// VM, prove it, and begin a new one.
	Over bool `json:"over,omitempty"`
	// Commit is an index that had been applied by the master when it answered: a
	// host that has restarted acts on its copy of the state only from there on.
	Commit uint64 `json:"commit"`
	// ReportSeen is the newest report of this run that the master has.
	ReportSeen uint64 `json:"report_seen"`
	// Wanted are the domains whose definition the master asks for, by UUID.
	Wanted []string `json:"wanted,omitempty"`
	// Tied are the host's VMs that no other could take if it was lost, by UUID, and why, as the
	// failover plan has it. TiedRev tells one such list from another, also of another master; 0:
	// there is no plan yet. The list is left out where the host has that one.
	Tied    map[string]string `json:"tied,omitempty"`
	TiedRev uint64            `json:"tied_rev,omitempty"`
	// Disks are how far the disks of those that vote had come when the master heard of it
	// last, by the hosts' IDs: every host remembers it for them.
	Disks map[string]durable.Position `json:"disks,omitempty"`
}

// BeginRequest asks for a new incarnation. By sending it the host states that it
// has proven that none of its protected VMs runs.
type BeginRequest struct {
	Host     string `json:"host"`
	Previous uint64 `json:"previous"` // the incarnation the host knew last
	BootID   string `json:"boot_id"`
	Run      uint64 `json:"run"`
	Why      string `json:"why"`
}

// BeginReply is the granted incarnation; its lease begins with the first
// acknowledged heartbeat.
type BeginReply struct {
	Incarnation uint64 `json:"incarnation"`
	Commit      uint64 `json:"commit"`
	// Volumes is the revision of the heartbeat volumes that the host may prove with from here on.
	Volumes uint64 `json:"volumes,omitempty"`
}

// ClaimRequest asks the master to give a protected VM that nobody owns to a host
// on which a person is about to start it.
type ClaimRequest struct {
	Host        string `json:"host"`
	Incarnation uint64 `json:"incarnation"`
	UUID        string `json:"uuid"`
	Generation  uint64 `json:"generation"` // that the host saw (compare-and-set)
	// Memory and VCPUs are those of the definition that is about to be started, bytes; 0: as
	// the cluster has it.
	Memory uint64 `json:"memory,omitempty"`
	VCPUs  int    `json:"vcpus,omitempty"`
}

// StrangerRequest asks the master whether a VM that nobody protects, as the host knows, may
// take the room that it takes there. Someone is about to start it, or to bring it there.
type StrangerRequest struct {
	Host string `json:"host"`
	UUID string `json:"uuid"`
	Name string `json:"name"`
	// Memory and VCPUs are those of the definition that is about to be started, bytes.
	Memory uint64 `json:"memory"`
	VCPUs  int    `json:"vcpus"`
}

// AsideNotice tells the master that the host stands aside, since its disk went back (safety.md, L1).
type AsideNotice struct {
	Host string `json:"host"`
	// Run is as in Heartbeat. Why is what the host found.
	Run uint64 `json:"run"`
	Why string `json:"why"`
}

// AdmitRequest is what the hypervisor's hook asks the agent of its own host.
type AdmitRequest struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
	// Operation is the hypervisor's word for it, such as "prepare" or "migrate".
	Operation string `json:"operation"`
	// Memory and VCPUs are those of the definition that is about to be started, bytes.
	Memory uint64 `json:"memory,omitempty"`
	VCPUs  int    `json:"vcpus,omitempty"`
}

// JoinRequest is what a new host sends with its token; it has no certificate yet.
type JoinRequest struct {
	TokenID string `json:"token_id"`
	Secret  string `json:"secret"`
	Name    string `json:"name"`
	// ID is the new machine's UUID, made by itself.
	ID        string    `json:"id"`
	CSR       []byte    `json:"csr"` // PEM
	Addresses []Address `json:"addresses"`
	Version   string    `json:"version"`
	// Clock is the new host's wall clock, to tell people about a large difference.
	Clock time.Time `json:"clock"`
}

// Address is where a host listens on one HA network.
type Address struct {
	Network string `json:"network"`
	Addr    string `json:"addr"` // IP:port
}

// JoinReply is what an admitted host needs to become a member.
type JoinReply struct {
	ClusterID   string `json:"cluster_id"`
	ClusterName string `json:"cluster_name"`
	CACert      []byte `json:"ca_cert"`  // PEM
	Cert        []byte `json:"cert"`     // PEM, for the CSR
	SealKey     []byte `json:"seal_key"` // opens what the state keeps sealed
	// Peers are the addresses of all members, by name.
	Peers map[string][]Address `json:"peers"`
	// Timing is the cluster's: a host must know it before it can hold a lease.
	Timing lease.Timing `json:"timing"`
}
