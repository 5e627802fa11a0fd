package host

import (
	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Volumes are the heartbeat volumes of this host. None of its calls waits.
type Volumes interface {
	View() (*volumes.View, <-chan struct{})
	Submit(format.Value)
	// Beat leaves a heartbeat, and asks for a reading that begins after this call.
	Beat(format.Heartbeat)
	// Report is how the volumes of the policy do, for the master.
	Report() []api.VolumeReport
	// Others is what stands on them of hosts that the master does not hear, for the master.
	Others() []api.SlotReading
	// Broken are invariants that were seen violated on them.
	Broken() []api.Violation
}

// byStorage renews the lease by what the heartbeat volumes say: by acknowledgements
// that masters have written (S), and by the proof that nobody claims this host (Q).
// It begins none: a life begins over the network.
func (h *Host) byStorage() {
	v, _ := h.cfg.Volumes.View()
	s := h.volumeState()
	if len(v.Readings) == 0 || s == nil || s.Hosts[h.cfg.Name] == nil || h.record.Over || h.lease.Incarnation != h.record.Incarnation {
		return
	}
	slot := volumes.Slot(s.Hosts[h.cfg.Name])
	for _, r := range v.Readings {
		for i := range r.Table {
			// An eviction is written when it is committed, and stands for ever: any claim that names it will do.
			if c := &r.Table[i].Claim; c.OK && c.Value.Standing(slot, h.record.Incarnation) == format.Evicted {
				h.over("a claim on a heartbeat volume says that the cluster declared it over")
				return
			}
			if a := &r.Table[i].Acks; a.OK {
				h.masterSeen(a.Value, r.Started)
				h.acknowledgedBy(slot, a.Value)
			}
		}
	}
	if set, ok := h.proofSet(s); ok {
		if started, ok := set.Proof(v.Readings, slot, h.record.Incarnation); ok {
			h.renew(h.record.Incarnation, started, "by proof on the heartbeat volumes")
		}
	}
}

// volumeState is this host's copy of the state, or what it remembers while it has none
// of this life: in a copy of another one, perhaps from before this host left and joined
// again, the host may have another slot, and nobody claims it by that. Incarnations are
// not used again.
func (h *Host) volumeState() *fsm.State {
	if s, _, _ := h.cfg.View(); s != nil && s.Hosts[h.cfg.Name] != nil && s.Hosts[h.cfg.Name].Incarnation == h.record.Incarnation {
		return s
	}
	if h.record.Slot == 0 {
		return nil
	}
	return h.record.Remembered(h.cfg.Name, "", "")
}

// acknowledgedBy takes the acknowledgements that a host has written.
func (h *Host) acknowledgedBy(slot int, acks format.Acks) {
	a, ok := acks.Of(slot)
	if ok && a.Incarnation == h.record.Incarnation && a.Run == h.cfg.Run {
		h.acked = max(h.acked, a.Seq)
		h.renew(a.Incarnation, h.sent[a.Seq], "by the master's word on a heartbeat volume")
	}
}

// proofSet is the set that this life proves with: the newest that this host knows of,
// and never one older than before. That is saved before it is used.
func (h *Host) proofSet(s *fsm.State) (storagehb.Set, bool) {
	switch {
	case s.Volumes.Revision < h.record.Volumes:
		return storagehb.Set{}, false // this copy of the state is of long ago
	case s.Volumes.Revision > h.record.Volumes || s.Volumes.Revision != h.record.Set.Revision:
		r := h.record.clone()
		r.Volumes, r.Set, r.Slot = s.Volumes.Revision, s.Volumes, s.Hosts[h.cfg.Name].Slot
		if err := h.save(r); err != nil {
			h.cfg.Log.Error("cannot take up the new heartbeat volumes", "revision", r.Volumes, "error", err)
			return storagehb.Set{}, false
		}
		h.beatNow = true // nobody is evicted by the new set alone before this is known
	}
	return volumes.Set(s.Volumes), true
}

// storageHeartbeat is the heartbeat as it is written to the volumes.
func (h *Host) storageHeartbeat(hb api.Heartbeat) format.Heartbeat {
	out := format.Heartbeat{Incarnation: h.record.Incarnation, Run: h.cfg.Run, Seq: hb.Seq, Epoch: h.epoch, Applied: hb.Applied, Disk: hb.Disk,
		SetRevision: h.record.Volumes, Acked: h.acked, Lease: h.cfg.Timing.Lease, Watchdog: h.cfg.Timing.Watchdog,
		Interval: h.cfg.Timing.Heartbeat, Name: h.cfg.Name,
		TableSeq: h.around.table.Seq, Digest: h.around.table.Digest()}
	if id, err := format.ParseUUID(h.cfg.BootID); err == nil {
		out.BootID = id
	}
	for _, d := range h.list.domains {
		if h.record.knows(d.UUID) && d.State != vmm.Stopped {
			out.VMs++
		}
	}
	if out.Reason = h.cfg.Guard.Status().Reason(h.cfg.Now()); out.Reason == "" && h.cfg.LastReset != nil {
		out.Reason = h.cfg.LastReset.Why
	}
	if h.around.standing.Isolated() {
		out.Flags |= format.FlagIsolated
	}
	switch {
	case h.record.Over:
		out.Flags |= format.FlagSelfFencing
		if h.list.err == nil && h.list.no >= h.proofFrom && out.VMs == 0 {
			out.Flags |= format.FlagVMsStopped
		}
	case h.acked+3 >= hb.Seq:
		out.Flags |= format.FlagQuorum
	}
	return out
}

// noVolumes are the volumes of a host that has none.
type noVolumes struct{}

func (noVolumes) View() (*volumes.View, <-chan struct{}) { return &volumes.View{}, nil }
func (noVolumes) Submit(format.Value)                    {}
func (noVolumes) Beat(format.Heartbeat)                  {}
func (noVolumes) Report() []api.VolumeReport             { return nil }
func (noVolumes) Others() []api.SlotReading              { return nil }
func (noVolumes) Broken() []api.Violation                { return nil }
