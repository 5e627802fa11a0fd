package master

import (
	"maps"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// observed is what this office has seen of one host.
type observed struct {
	watch lease.Watch
	// incarnation is the committed one that watch is about.
	incarnation uint64
	// condemned: the host's death has been proposed; nothing is withdrawn any more (R7).
	condemned bool
	// since is when the present life of the host or of its agent was first seen.
	since     time.Duration
	run       uint64
	networks  map[string]time.Duration // when a heartbeat last came, boot clock
	applied   uint64
	report    *api.HostReport
	reportRev uint64
	// reportIncarnation is the one the report was sent in.
	reportIncarnation uint64
	wanted            map[string]bool   // definitions asked for, by UUID
	defs              map[string]string // definitions that came
	quiet             map[string]bool   // networks whose silence has been told
	twice             map[string]bool   // VMs of others whose running here has been told, by UUID
	broken            map[string]bool   // violations that have been told
	refusing          time.Duration     // since when its own disk refuses what is written, by the boot clock; 0: it does not
	late, lateKnown   bool              // people were told that its lease is renewed late; whether is known
	fence             fencing
	stored            stored
	// confirmed: the wait is over, and the claim that has to stand was read once more since.
	confirmed bool
	// proves is the revision of the heartbeat volumes that it says it proves with.
	proves uint64
	// watchdog is what it says last of what bounds its VMs.
	watchdog fsm.Watchdog
	// relayed is what other members read in its slots, by reader.
	relayed map[string]relayed
	// awaited: people were told that only a proof ends the wait for it.
	awaited bool
	// reachedAt is when the network last brought a heartbeat of this incarnation.
	reachedAt time.Duration
	// exchange is the heartbeat that came last over the network; nil: none came yet.
	exchange *exchange
	// spoke is when the host last spoke, in whatever incarnation, or in none.
	spoke time.Duration
}

// stored is what the heartbeat volumes say of a host.
type stored struct {
	beat  format.Heartbeat
	on    format.UUID          // the volume that it was read on
	at    time.Duration        // when the last news was read
	marks map[format.UUID]mark // by volume
	// due says that it is to be acknowledged by storage too.
	due bool
}

// fencing is what has become of switching a host off by its devices, in this office.
type fencing struct {
	busy     bool
	off      time.Duration // boot clock at which it was proven off; 0: it was not
	evidence string
	again    time.Duration // not to be tried before, after a failure
}

// mark is the newest heartbeat on one volume, and when it was seen to come; at is 0 for
// one that was there already when this office began to read, or began again.
type mark struct {
	stamp format.Stamp
	at    time.Duration
	read  time.Duration // when the last reading was begun
}

func newObserved(now, elected time.Duration, incarnation uint64) *observed {
	return &observed{watch: lease.Watch{Heard: now, Elected: elected}, incarnation: incarnation, since: now,
		reachedAt: now, stored: stored{marks: map[format.UUID]mark{}}, networks: map[string]time.Duration{},
		wanted: map[string]bool{}, defs: map[string]string{}, quiet: map[string]bool{}}
}

// note takes what a heartbeat says. It does not acknowledge.
func (o *observed) note(hb api.Heartbeat, now time.Duration) (news bool) {
	if hb.Run != o.run {
		o.run, o.report, o.reportRev, o.reportIncarnation, o.since = hb.Run, nil, 0, 0, now
		clear(o.networks)
	}
	o.spoke = now
	if hb.Incarnation == o.incarnation { // another life says nothing for this one
		o.watch.Heard, o.reachedAt = now, now
		news = hb.Volumes > o.proves || hb.Watchdog.Word > o.watchdog.Word
		o.proves = max(o.proves, hb.Volumes)
		if hb.Watchdog.Word > o.watchdog.Word {
			o.watchdog = hb.Watchdog
		}
	}
	if hb.Network != "" {
		o.networks[hb.Network] = now
	}
	o.applied = max(o.applied, hb.Applied)
	if hb.Report != nil && (hb.ReportRev > o.reportRev || hb.Incarnation > o.reportIncarnation) {
		o.report, o.reportRev, o.reportIncarnation, news = hb.Report, hb.ReportRev, hb.Incarnation, true
	}
	for uuid, xml := range hb.Definitions {
		o.defs[uuid] = xml
		delete(o.wanted, uuid)
		news = true
	}
	return news
}

// hear takes what the volumes say of the host: its newest heartbeat on any of them.
// That counts as heard if it is newer than what was read before, no longer than a lease
// ago (what is found after a longer break may be of any time in it), and if the
// host does not say itself that this life is over. One that the network has not brought
// lately, or whose acknowledgements do not get through, is acknowledged by storage.
func (o *observed) hear(slot int, v *volumes.View, now time.Duration, t lease.Timing) (news bool) {
	newest, fresh := o.stored.beat, false
	for id, r := range v.Readings {
		was, known := o.stored.marks[id]
		if known && was.read == r.Started || slot >= len(r.Table) {
			continue
		}
		is := mark{stamp: was.stamp, at: was.at, read: r.Started}
		if found := r.Table[slot].Heartbeat; found.OK && found.Value.Stamp().Compare(was.stamp) > 0 {
			is.stamp, is.at = found.Value.Stamp(), 0
			lately := known && r.Started-was.read <= t.Lease
			if lately {
				is.at = now
			}
			if is.stamp.Compare(newest.Stamp()) > 0 {
				newest, o.stored.on, fresh = found.Value, id, lately
			}
		}
		o.stored.marks[id] = is
	}
	if newest.Stamp() == o.stored.beat.Stamp() {
		return false
	}
	o.stored.beat = newest
	if !fresh || newest.Incarnation != o.incarnation || newest.Flags&format.FlagSelfFencing != 0 {
		return false
	}
	o.watch.Heard, o.spoke, o.stored.at = now, now, now
	o.proves = max(o.proves, newest.SetRevision)
	o.stored.due = !o.reached(now, t) || newest.Acked+2 < newest.Seq
	return true
}

// reached reports whether the network has brought a heartbeat of the host lately.
func (o *observed) reached(now time.Duration, t lease.Timing) bool {
	for _, at := range o.networks {
		if now-at <= t.SuspectAfter() {
			return true
		}
	}
	return false
}

// heard reports whether the host itself has been heard in this office. Its watch
// begins at the election, as if it had been.
func (o *observed) heard() bool { return len(o.networks) > 0 || o.stored.at != 0 }

// speaks reports whether the host itself was heard within the bound, in whatever life.
func (o *observed) speaks(now time.Duration, t lease.Timing) bool {
	return o.heard() && now-o.spoke <= t.SuspectAfter()
}

// seen is the report that need not be sent again: one of the host's present life.
func (o *observed) seen(incarnation uint64) uint64 {
	if o.reportIncarnation != incarnation {
		return 0
	}
	return o.reportRev
}

// present returns the report if it is of the host's present life.
func (o *observed) present() *api.HostReport {
	if o.report == nil || o.reportIncarnation != o.incarnation {
		return nil
	}
	return o.report
}

// signals is what the verdict goes by.
func (o *observed) signals(st *fsm.State, h *fsm.Host, v *volumes.View, now time.Duration, t lease.Timing, by string) verdict.Signals {
	s := verdict.Signals{Status: h.Status, Incarnation: h.Incarnation, Networks: map[string]time.Duration{},
		Heard: now - o.reachedAt, Suspected: o.watch.Suspected != 0, Bound: t.SuspectAfter(),
		By: by, Watched: now - o.since, StorageBound: t.Lease}
	for _, a := range h.Addresses {
		s.Networks[a.Network] = -1
		if at, ok := o.networks[a.Network]; ok {
			s.Networks[a.Network] = now - at
		}
	}
	if r := o.report; r != nil {
		s.Hypervisor = r.HypervisorError
	}
	for _, vol := range st.AllVolumes() {
		id, err := format.ParseUUID(vol.ID)
		if err != nil {
			continue
		}
		if s.Volumes == nil {
			s.Volumes = map[string]verdict.VolumeSign{}
		}
		state, begun := v.States[id]
		sign := verdict.VolumeSign{Age: -1, Readable: begun && state.State == storagehb.Working}
		if state.Err != nil {
			sign.Detail = state.Err.Error()
		} else if !sign.Readable {
			sign.Detail = "it is " + state.State.String()
		}
		if m := o.stored.marks[id]; m.at != 0 && m.stamp.Life == h.Incarnation {
			sign.Age = now - m.at
		}
		s.Volumes[vol.Name] = sign
		if b := o.stored.beat; id == o.stored.on && b.Incarnation != 0 {
			s.Slot = slotOf(b.Incarnation, b.Flags, b.Reason)
			s.Slot.Volume, s.Slot.Age = vol.Name, max(sign.Age, 0)
		}
	}
	o.signs(&s, st, h, now, t)
	return s
}

// snapshot copies what a decision reads, so that it can be read without the lock.
func (o *observed) snapshot() *observed {
	c := *o
	c.networks, c.wanted, c.defs = maps.Clone(o.networks), maps.Clone(o.wanted), maps.Clone(o.defs)
	c.quiet, c.twice, c.broken = maps.Clone(o.quiet), maps.Clone(o.twice), maps.Clone(o.broken)
	c.stored.marks, c.relayed = maps.Clone(o.stored.marks), maps.Clone(o.relayed)
	return &c
}
