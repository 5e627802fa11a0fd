package master

import (
	"maps"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// relayed is what another member said last that it reads in a host's slots. It is
// evidence for people and for verdicts. It is not having heard the host: it renews no
// lease, withdraws no suspicion and puts off no death (R5, R6, R7).
type relayed struct {
	at    time.Duration // when it came
	slots []api.SlotReading
}

// relay takes what a member's heartbeat says of the slots of others. The lock is held.
func (o *office) relay(hb api.Heartbeat, now time.Duration) {
	for name, x := range o.hosts {
		var of []api.SlotReading
		for _, r := range hb.Slots {
			if r.Host == name && name != hb.Host {
				of = append(of, r)
			}
		}
		switch {
		case len(of) == 0:
			delete(x.relayed, hb.Host)
		case x.relayed == nil:
			x.relayed = map[string]relayed{hb.Host: {now, of}}
		default:
			x.relayed[hb.Host] = relayed{now, of}
		}
	}
}

// signs adds what others read of the host to what the verdict goes by. What a reader
// said counts for as long as a lease.
func (o *observed) signs(s *verdict.Signals, st *fsm.State, h *fsm.Host, now time.Duration, t lease.Timing) {
	own := o.stored.beat.Stamp()
	for _, by := range slices.Sorted(maps.Keys(o.relayed)) {
		said := o.relayed[by]
		if now-said.at > t.Lease {
			continue
		}
		for _, r := range said.slots {
			at := slices.IndexFunc(st.AllVolumes(), func(v fsm.Volume) bool { return v.ID == r.Volume })
			if at < 0 {
				continue
			}
			name := st.AllVolumes()[at].Name
			sign := verdict.VolumeSign{Age: -1, Readable: r.Error == "", Detail: r.Error, By: by}
			if r.Age >= 0 && r.Incarnation == h.Incarnation {
				sign.Age = r.Age + now - said.at
			}
			s.Relayed = append(s.Relayed, verdict.RelayedSign{Volume: name, VolumeSign: sign})
			if is := (format.Stamp{Life: r.Incarnation, Run: r.Run, Seq: r.Seq}); is.Compare(own) > 0 {
				own = is
				s.Slot = slotOf(r.Incarnation, format.Flags(r.Flags), r.Reason)
				s.Slot.Volume, s.Slot.By, s.Slot.Age = name, by, max(sign.Age, 0)
			}
		}
	}
}

// slotOf is a host's own words in a heartbeat record.
func slotOf(incarnation uint64, f format.Flags, reason string) verdict.Slot {
	return verdict.Slot{Incarnation: incarnation, Isolated: f&format.FlagIsolated != 0, Stopped: f&format.FlagVMsStopped != 0,
		CleanExit: f&format.FlagCleanExit != 0, SelfFencing: f&format.FlagSelfFencing != 0, FenceReason: reason}
}
