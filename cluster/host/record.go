package host

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/holdfast-ha/holdfast/fsm"
)

// Record is what a host must not forget: which life it is in and what it has
// executed in it. It is saved before it is used (O2, O4).
type Record struct {
	// Incarnation is the life the host is in; 0 before its first.
	Incarnation uint64 `json:"incarnation"`
	// BootID is the boot in which that life began.
	BootID string `json:"boot_id"`
	// Over says that the life has ended: no protected VM may run until a new one begins.
	Over bool `json:"over"`
	// Volumes is the revision of the heartbeat volumes that this life proves with: it
	// never goes back.
	Volumes uint64 `json:"volumes,omitempty"`
	// Watchdog is what this life has said last of the host's watchdog.
	Watchdog fsm.Watchdog `json:"watchdog,omitzero"`
	// Executed is the highest generation executed or given back, by VM UUID.
	Executed map[string]uint64 `json:"executed,omitempty"`
	// Set is that set of volumes, and Slot this host's number in the state: a restarted agent
	// that hears nobody has no other copy to prove by.
	Set  fsm.VolumeSet `json:"set,omitzero"`
	Slot uint16        `json:"slot,omitempty"`
	// Isolated are the generations that this life stopped, or meant to, because the host
	// was isolated, by VM UUID: nobody's wish, so they are given back.
	Isolated map[string]uint64 `json:"isolated,omitempty"`
	// Crashed are the generations that ended by themselves while the network brought no master,
	// by VM UUID: the VM table says so, others may have them since, and nothing of them runs here again.
	Crashed map[string]uint64 `json:"crashed,omitempty"`
	// Ways are the moves that this life has begun to carry out, by VM UUID, until they are over:
	// none is begun twice, and an agent that restarts knows what may still go on (M6).
	Ways map[string]Way `json:"ways,omitempty"`
	// Known are the VMs that are protected, as far as this host knows: it stops
	// them at the end of its lease even when it has not read the state yet.
	Known []string `json:"known,omitempty"`
}

func (r Record) clone() Record {
	r.Executed = maps.Clone(r.Executed)
	if r.Executed == nil {
		r.Executed = map[string]uint64{}
	}
	if r.Isolated = maps.Clone(r.Isolated); r.Isolated == nil {
		r.Isolated = map[string]uint64{}
	}
	if r.Crashed = maps.Clone(r.Crashed); r.Crashed == nil {
		r.Crashed = map[string]uint64{}
	}
	if r.Ways = maps.Clone(r.Ways); r.Ways == nil {
		r.Ways = map[string]Way{}
	}
	r.Known = slices.Clone(r.Known)
	return r
}

// Remembered is what of the state this host needs to prove its lease by storage, as it
// knew it last: for an agent whose copy is empty until it hears from a master.
func (r Record) Remembered(name, machineID, cluster string) *fsm.State {
	return &fsm.State{Cluster: fsm.Cluster{ID: cluster}, Volumes: r.Set, OldVolumes: r.Set,
		Hosts: map[string]*fsm.Host{name: {Name: name, ID: machineID, Slot: r.Slot, Volumes: r.Set.Revision}}}
}

// knows reports whether the VM is one the host stops at the end of its lease.
func (r Record) knows(uuid string) bool {
	_, ok := slices.BinarySearch(r.Known, uuid)
	return ok
}

// remember saves what the plan needs saved before anything else is done.
func (h *Host) remember(p Plan) error {
	r := h.record.clone()
	r.Known = p.Known
	for uuid, g := range p.Isolate {
		r.Isolated[uuid] = g
	}
	for uuid, g := range p.Crash {
		r.Crashed[uuid] = g
	}
	for _, uuid := range p.Spared {
		delete(r.Isolated, uuid)
	}
	for uuid, w := range p.Ways {
		r.Ways[uuid] = w
	}
	for _, uuid := range p.Forget {
		delete(r.Ways, uuid)
	}
	for uuid, g := range p.Raise {
		r.Executed[uuid] = max(r.Executed[uuid], g)
	}
	for _, o := range p.Start {
		r.Executed[o.UUID] = max(r.Executed[o.UUID], o.Generation)
	}
	return h.save(r)
}

func (h *Host) save(r Record) error {
	if reflect.DeepEqual(r, h.record) {
		return nil
	}
	if err := h.cfg.Save(r); err != nil {
		return fmt.Errorf("save the host's record: %w", err)
	}
	h.record = r
	return nil
}
