// Package inventory makes of what the cluster knows the one picture that the
// planner goes by: the replicated state, the policy, what hosts say of themselves
// and the VMs' definitions become a placement.Cluster. Recovery, admission
// control, plans and what-if questions all see the cluster through it, and so does
// a question about hosts that have not been bought yet, from a File.
//
// It decides nothing and asks nobody: values go in, values come out. What is not
// known of a host never excludes it; what cannot be made sense of is left out and
// listed in Inventory.Problems.
package inventory

import (
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// Host is one host as whoever asks judges it, with what it says of itself.
type Host struct {
	Name string
	// State says what it is good for, and Why, for people, why it is not Up.
	State placement.HostState
	Why   string
	// Frozen says why nothing can be moved away from it now; empty: it can.
	Frozen string
	// Memory is what is installed and Reserve what it keeps for itself, bytes.
	Memory, Reserve uint64
	CPUs            int // logical processors
	MHz             int // of one of them
	Voter           bool
	// Datastores are those of the policy that it has; nil: not known.
	Datastores []string
	// Devices say of devices that the policy names of it why they cannot be handed to a guest,
	// by their words; empty: they can. Of what is not among them nothing is known.
	Devices map[string]string
	vmm.Offer
	// Domains are all that its hypervisor knows of, and Uses what those that have a process
	// really take, by UUID, where that is known.
	Domains []Domain
	Uses    map[string]Use
}

// Use is what a VM really takes of its host, by the mean of a minute.
type Use struct {
	Processors float64 // that it keeps busy
	Memory     uint64  // that its process holds, bytes
}

// Serviced says of a host in maintenance, for people, since when, by whom and why.
func Serviced(m *fsm.Maintenance) string {
	text := "since " + m.Since.UTC().Format("2006-01-02 15:04 MST")
	if m.By != "" {
		text += ", by " + m.By
	}
	if m.Why != "" {
		text += ": " + m.Why
	}
	return text
}

// Domain is what a host's hypervisor says of a VM.
type Domain struct {
	UUID, Name string
	Running    bool // it has a process
	VCPUs      int
	Memory     uint64 // bytes
	// Devices are those of the host that it is handed, as in vmm.Domain.
	Devices []string
}

// maxSize is the largest size that the planner is given, bytes: 512 TiB. More is no
// host's, and no VM's.
const maxSize = 1 << 49

// amount is a size as the planner takes it.
func amount(n uint64) int64 { return int64(min(n, maxSize)) }

// Wants is what a VM asks of the host that runs it.
type Wants struct {
	// Overhead is what QEMU takes beside the guest's memory, bytes.
	Overhead uint64
	// HugePages is the guest's memory in huge pages, bytes by the size of a page in KiB.
	HugePages map[uint64]uint64
	// HighestCPU is the highest number of a processor that it is pinned to; -1: none.
	HighestCPU int
	// Paths are files and devices, Pools libvirt's storage pools, that its disks are on.
	Paths []domainxml.Path
	Pools []string
	// Networks and Capabilities are words as in vmm.Offer.
	Networks, Capabilities []string
	// Ties are what ties it to its host, besides paths that are not shared.
	Ties []domainxml.Tie
}

// defaultOverhead is taken for a VM whose definition is not known, bytes.
const defaultOverhead = 64 << 20

// WantsOf is what a definition asks for.
func WantsOf(n *domainxml.Needs) Wants {
	w := Wants{Overhead: n.Overhead, HugePages: n.HugePages, HighestCPU: n.HighestCPU, Paths: n.Paths, Pools: n.Pools,
		Capabilities: n.Capabilities(), Ties: n.Ties(func(string) bool { return true })}
	for _, x := range n.Networks {
		w.Networks = append(w.Networks, x.String())
	}
	return w
}

// Input is everything that a picture is made of.
type Input struct {
	State  *fsm.State
	Policy *config.Policy
	// Hosts are all members.
	Hosts []Host
	// Wants are those of VMs by UUID, where they are not to be read from definitions.
	Wants map[string]Wants
	// NoQuorum: no majority is heard.
	NoQuorum bool
	// Now is the wall clock, for waits between moves; zero: none waits.
	Now time.Time
}

// Inventory is the picture.
type Inventory struct {
	// Cluster is valid (placement.Cluster.Validate).
	Cluster *placement.Cluster
	// Problems are what was left out, for people: each a sentence.
	Problems []string
	// UUIDs and Names lead from a VM's name in Cluster to its UUID, and back for
	// protected VMs. The names are the VMs' own, unless two have one name.
	UUIDs map[string]string
	Names map[string]string

	ties   map[string][]domainxml.Tie // by name in Cluster
	policy *config.Policy
}

// Builder makes pictures. It remembers definitions that it has read; the zero value
// is ready. Several may use one at once.
type Builder struct {
	mu   sync.Mutex         // guards read; not held while a definition is read
	read map[string]reading // by UUID
}

type reading struct {
	hash  string
	wants Wants
	err   error
}

// Read reads the definitions of all protected VMs, so that the pictures that follow take
// no time for it: half a second for some thousands.
func (b *Builder) Read(s *fsm.State) {
	for _, vm := range s.VMs {
		_, _ = b.wants(vm) // what is wrong with one is said in each picture
	}
}

// wants reads what a protected VM asks for, once for each definition.
func (b *Builder) wants(vm *fsm.VM) (Wants, error) {
	b.mu.Lock()
	r, ok := b.read[vm.UUID]
	b.mu.Unlock()
	hash := vm.XMLHash
	if len(vm.Devices) > 0 { // which they are makes no difference to the hash
		hash += fmt.Sprint(vm.DevicesOf, vm.Devices)
	}
	if ok && r.hash == hash && vm.XMLHash != "" {
		return r.wants, r.err
	}
	r = reading{hash: hash, wants: Wants{Overhead: defaultOverhead, HighestCPU: -1}}
	if len(vm.XML) > 0 {
		text, err := fsm.UnpackXML(vm.XML)
		if err == nil {
			var n *domainxml.Needs
			if n, err = domainxml.ParseNeeds(text); err == nil {
				r.wants = WantsOf(n)
			}
		}
		r.err = err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.read == nil {
		b.read = map[string]reading{}
	}
	b.read[vm.UUID] = r
	return r.wants, r.err
}

// forget drops the definitions of VMs that are no more.
func (b *Builder) forget(s *fsm.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for uuid := range b.read {
		if s.VMs[uuid] == nil {
			delete(b.read, uuid)
		}
	}
}
