package api

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

var (
	// ErrNotMember: this agent belongs to no cluster yet (bootstrap or join first).
	ErrNotMember = errors.New("this host is not a member of a cluster")
	// ErrNoMaster: there is no master, or no quorum, at the moment.
	ErrNoMaster = errors.New("the cluster has no master at the moment")
	// ErrNotMaster: this host is not the master; ask the one that Self names.
	ErrNotMaster = errors.New("this host is not the master")
	// ErrUnknownOutcome: the change was proposed but its fate is not known; look before trying again.
	ErrUnknownOutcome = errors.New("the outcome of the change is unknown")
	// ErrRefused wraps every refusal by a rule, with its reason.
	ErrRefused = errors.New("refused")
)

// Self is what an agent says of itself without asking anybody.
type Self struct {
	Name        string        `json:"name"`
	Version     string        `json:"version"`
	Member      bool          `json:"member"` // of a cluster
	ClusterID   string        `json:"cluster_id,omitempty"`
	ClusterName string        `json:"cluster_name,omitempty"`
	Master      string        `json:"master,omitempty"` // empty: none known
	IsMaster    bool          `json:"is_master"`        // this host holds the office
	Epoch       uint64        `json:"epoch"`
	Applied     uint64        `json:"applied"` // log index
	Contact     time.Duration `json:"contact"` // since the master was last heard; 0 on the master
	Incarnation uint64        `json:"incarnation"`
	// LeaseLeft is how long this host may go on running protected VMs without another renewal.
	LeaseLeft time.Duration `json:"lease_left"`
	Guard     string        `json:"guard"`
	// Problems are this host's own, in words: hypervisor unavailable, data directory full, …
	Problems []string `json:"problems,omitempty"`
}

// HostObservation is what the master sees of a host at the moment; nothing of it is replicated.
type HostObservation struct {
	// Verdict is the present one, which may not be committed (docs/architecture.md lists them).
	Verdict  string         `json:"verdict"`
	Evidence []fsm.Evidence `json:"evidence"`
	// Networks is the age of the last heartbeat on each HA network, by name; negative: never heard.
	Networks map[string]time.Duration `json:"networks"`
	Capacity vmm.Capacity             `json:"capacity"`
	// Offer, Datastores, Devices and Reserve are as in HostReport.
	Offer      vmm.Offer         `json:"offer,omitzero"`
	Datastores []string          `json:"datastores,omitzero"`
	Devices    map[string]string `json:"devices,omitempty"`
	Reserve    uint64            `json:"reserve,omitempty"`
	Draining   bool              `json:"draining,omitempty"`
	// HypervisorError is why the host's hypervisor cannot be asked.
	HypervisorError string `json:"hypervisor_error,omitempty"`
	// DiskError is why the host's own disk refuses what is written to its log, and DiskRefuses
	// for how long it has, as far as this office knows.
	DiskError   string         `json:"disk_error,omitempty"`
	DiskRefuses time.Duration  `json:"disk_refuses,omitempty"`
	Late        *Lateness      `json:"late,omitempty"` // as in HostReport
	Domains     []DomainReport `json:"domains,omitempty"`
	Guard       string         `json:"guard,omitempty"`
	Watchdog    string         `json:"watchdog,omitempty"`
	Version     string         `json:"version,omitempty"`
	Applied     uint64         `json:"applied"` // log index the host has applied
	// Volumes are the heartbeat volumes as the host found them, in the report of its
	// present life; nil: there is no such report yet.
	Volumes []VolumeReport `json:"volumes,omitempty"`
	// Stored is the age of its last heartbeat on each heartbeat volume in use, as the
	// master reads them, by name; negative: none in this office.
	Stored map[string]time.Duration `json:"stored,omitempty"`
	// Suspected says that the master has stopped acknowledging it.
	Suspected bool `json:"suspected,omitempty"`
	// SuspectedFor is for how long; 0 when it is not.
	SuspectedFor time.Duration `json:"suspected_for,omitempty"`
	// Losses are on the master's own host: what its office knows of heartbeat volumes
	// that were lost.
	Losses choice.Losses `json:"losses,omitzero"`
	// DeadIn is how long until a suspected host may be declared dead; 0 when it is not suspected.
	DeadIn time.Duration `json:"dead_in,omitempty"`
	// NeedsProof says that a suspected host is not declared dead by the wait: it has no
	// watchdog that counts, and a fence device or a person has to prove it off.
	NeedsProof bool `json:"needs_proof,omitempty"`
	// Unsure are VMs, by UUID, that are started nowhere before this host has been heard once
	// more (O5): somebody may have started them on it by hand.
	Unsure []string `json:"unsure,omitempty"`
}

// Member is one raft server.
type Member struct {
	Name      string        `json:"name"`
	Addresses []Address     `json:"addresses"`
	Voter     bool          `json:"voter"`
	Master    bool          `json:"master"`
	Contact   time.Duration `json:"contact"` // since the master last heard it; negative: not known
	Applied   uint64        `json:"applied"`
	Healthy   bool          `json:"healthy"`
}

// FenceDevice is a fence device with the finding of its last check.
type FenceDevice struct {
	Name  string `json:"name"`
	Agent string `json:"agent"`
	Host  string `json:"host,omitempty"`  // that it switches; empty: no host names it
	Level int    `json:"level,omitempty"` // from 1: the order in which it is tried
	OK    bool   `json:"ok"`
	State string `json:"state"` // in words
	// Checked is when it was last asked; zero: not yet.
	Checked time.Time `json:"checked,omitzero"`
}

// BootstrapRequest makes a new cluster of this host.
type BootstrapRequest struct {
	Name string `json:"name"`
	// Policy is the first policy's HCL by file name; empty: the default policy.
	Policy map[string][]byte `json:"policy,omitempty"`
}

// Backend is the agent behind the API. Calls marked *master* return ErrNotMaster
// or ErrNoMaster elsewhere, and the server then forwards the request.
type Backend interface {
	Self() Self
	// State is this host's copy of the replicated state; read only. Nil when not a member.
	State() *fsm.State
	// Changed is closed at the next change of State.
	Changed() <-chan struct{}
	// Observations are the master's, by host. *master*
	Observations() (map[string]HostObservation, error)
	// Picture is what the planner goes by now, with the hosts as the master judges them. *master*
	Picture() (inventory.Input, error)
	// Outlook is what the master reckoned last of the loss of hosts and of the room for it; an
	// error while there is none. It may be of a moment ago. *master*
	Outlook() (*whatif.Outlook, error)
	// Members lists the raft servers as this host knows them.
	Members() ([]Member, error)
	// Apply commits one command and returns what the state machine answered;
	// a refusal is a *fsm.Refusal. *master*
	Apply(ctx context.Context, c fsm.Command) (any, error)
	// Prospect is the VM of that name or UUID as it would be if it was protected now. *master*
	Prospect(ctx context.Context, vm string) (*fsm.VM, error)
	// Protect protects the VM of that name or UUID, wherever it is, and returns
	// it as committed. *master*
	Protect(ctx context.Context, vm, by string) (*fsm.VM, error)
	// CreateToken commits an invitation and returns the string to hand out, which is kept nowhere. *master*
	CreateToken(ctx context.Context, host string, ttl time.Duration, by string) (token string, t *fsm.Token, err error)
	// ApplyPolicy parses, validates and commits a policy on top of revision previous. Admission
	// control is asked whether the room that it asks for is there; even overrides it. *master*
	ApplyPolicy(ctx context.Context, files map[string][]byte, previous uint64, even bool, by string) (revision uint64, err error)
	// SetMaintenance takes a host out of service, if admission control lets it, or puts it back. *master*
	SetMaintenance(ctx context.Context, host string, r MaintenanceRequest, by string) error
	// Move has protected VMs, named by UUID, moved if all of them can be, and returns the plan
	// with the numbers of the moves by UUID. *master*
	Move(ctx context.Context, r MoveRequest, by string) (*whatif.Granted, map[string]uint64, error)
	// SetIntent has a protected VM, named by UUID, started or stopped; admission control is
	// asked about a start. *master*
	SetIntent(ctx context.Context, uuid string, r IntentRequest, by string) error
	// Restart has a protected VM, named by UUID, shut down and started again, and returns the
	// number of the order. Admission control is asked before anything is stopped. *master*
	Restart(ctx context.Context, uuid string, r RestartRequest, by string) (order uint64, err error)
	// Leave removes a host from the cluster in an orderly way. *master*
	Leave(ctx context.Context, host, by string) error
	// FenceDevices are the policy's fence devices with their last checks, by name. *master*
	FenceDevices() ([]FenceDevice, error)
	// FenceTest has the fence devices of a host asked for its power now, and switches nothing. *master*
	FenceTest(ctx context.Context, host string) ([]FenceDevice, error)
	// Fence has a host switched by its fence devices, as a person asks. What could
	// not be done or proven is in the report; an error means that nothing was tried. *master*
	Fence(ctx context.Context, host string, r FenceRequest, by string) (FenceReport, error)
	// ConfirmOff takes a person's word that a silent host is off, and returns how many VMs that frees. *master*
	ConfirmOff(ctx context.Context, host, by string) (freed int, err error)
	// TransferMaster hands the office to a voter (any when empty). *master*
	TransferMaster(ctx context.Context, to string) error
	// Bootstrap makes a new cluster of this host; Join makes it a member of an existing one. Local socket only.
	Bootstrap(ctx context.Context, r BootstrapRequest) (Self, error)
	Join(ctx context.Context, token string) (Self, error)
	// Heartbeat, Begin and Admit serve other agents. *master*
	Heartbeat(ctx context.Context, hb Heartbeat) (HeartbeatReply, error)
	Begin(ctx context.Context, r BeginRequest) (BeginReply, error)
	Admit(ctx context.Context, r JoinRequest) (JoinReply, error)
	// Claim gives an unowned VM to the host on which a person is about to start it. *master*
	Claim(ctx context.Context, r ClaimRequest) error
	// AdmitStranger says whether a VM that nobody protects may take room on a host; only
	// ErrRefused is a no. *master*
	AdmitStranger(ctx context.Context, r StrangerRequest) error
	// StandAside notes that a host takes part in nothing. *master*
	StandAside(ctx context.Context, n AsideNotice) error
	// AdmitStart says whether a VM may be started on this host now; nil is yes. Local socket only.
	AdmitStart(ctx context.Context, r AdmitRequest) error
	// Facts are what this host says of itself and of the disks of protected VMs.
	Facts(ctx context.Context) (doctor.Facts, error)
}
