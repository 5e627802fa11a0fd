// Package agent puts one host's agent together: identity, connections, the
// replicated log, the host's duty, the master's office and the API. It decides
// nothing. What differs between a real host, the demo and the simulation comes in
// by Env.
package agent

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/host"
	"github.com/holdfast-ha/holdfast/cluster/identity"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/master"
	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/raftnode"
	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Env is the world that an agent lives in. All fields are needed but those that
// say otherwise.
type Env struct {
	// Name is this host's, unique in the cluster.
	Name string
	// Listen is where this host listens on each HA network, preferred first.
	Listen []peer.Address
	// Reserve is the memory kept for the host itself, bytes.
	Reserve uint64
	Version string
	// BootID changes with each boot of the machine.
	BootID string
	// LastReset is why the watchdog reset the host at the end of an earlier boot; nil: it never did.
	LastReset *fencing.Note
	// Run numbers this life of the agent: greater than any before it in the same boot.
	Run uint64

	// OpenVolume opens a heartbeat volume at a path to be used, by one process of this host
	// at a time; LookVolume opens what is at a path to be read alone. nil: this host can use
	// none. They may hang.
	OpenVolume func(path string, volume format.UUID) (storagehb.File, error)
	LookVolume func(path string) (storagehb.File, error)
	// LocateVolume finds out what stands behind a path; nil: nobody knows. It does not hang.
	LocateVolume func(path string) (volumes.Place, error)

	// Reach tells what this host can reach; nil: it cannot tell, and never holds itself for isolated.
	Reach Reach

	// Passage is how VMs travel between the hypervisors of two hosts; nil: they find each other by name.
	Passage *Passage

	// Look tells of the machine itself; nil: the doctor is told that it cannot be looked at.
	Look Look

	// Fencer switches hosts off and on; nil: by the fence agents that are installed here, as the policy
	// names them, which are checked at intervals.
	Fencer master.Fencer
	// FenceAgents is the directory of the fence agents; empty: device.AgentDir.
	FenceAgents string

	Network    peer.Network
	Hypervisor vmm.Hypervisor
	Guard      host.Guard
	Store      Store
	// Now reads the boot clock, Wall the wall clock (for people).
	Now  func() time.Duration
	Wall func() time.Time
	// Gate is called before each step of the agent's loops; nil: never blocks. The
	// simulation freezes an agent in it.
	Gate func(context.Context) error
	// Grace is how long after an election VMs wait for a home that has never come up; 0: two minutes.
	Grace  time.Duration
	Logger hclog.Logger
}

// Store is what of an agent outlives its process.
type Store interface {
	// Membership returns what was saved last; nil when this host is no member of a cluster.
	Membership() (*Membership, error)
	SaveMembership(*Membership) error
	// Record is the host's own (host.Record); the zero Record when none was saved.
	Record() (host.Record, error)
	SaveRecord(host.Record) error
	// Forget puts all that belongs to the membership aside: this host left its cluster.
	Forget() error
	// OpenRaft opens the log's stores. The agent closes them.
	OpenRaft(hclog.Logger) (raftnode.Stores, error)
}

// Membership is what makes this host a member before it has heard from anybody.
type Membership struct {
	Identity *identity.Identity
	Timing   lease.Timing
	// Peers is where the members listened when last heard of.
	Peers map[string][]peer.Address
	// Genesis is the command that creates the cluster, kept by the first host
	// until it has been committed.
	Genesis []byte
}

func peerAddresses(all []api.Address) []peer.Address {
	out := make([]peer.Address, 0, len(all))
	for _, a := range all {
		out = append(out, peer.Address(a))
	}
	return out
}
