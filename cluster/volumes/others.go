package volumes

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// seen is when the heartbeats on one volume were last seen to change, by slot.
type seen []changed

// changed is the newest heartbeat of a slot. at is the beginning of the reading that
// showed it; 0 for one that stood there when this host began to read: how old it is
// nobody can say.
type changed struct {
	stamp format.Stamp
	at    time.Duration
}

// after is what is known after one more reading.
func (s seen) after(r storagehb.Reading) seen {
	next := make(seen, len(r.Table))
	for slot := range r.Table {
		known := slot < len(s)
		if known {
			next[slot] = s[slot]
		}
		if h := &r.Table[slot].Heartbeat; h.OK && h.Value.Stamp().Compare(next[slot].stamp) > 0 {
			next[slot] = changed{stamp: h.Value.Stamp()}
			if known {
				next[slot].at = r.Started
			}
		}
	}
	return next
}

// Others is what this host reads of live members that the master does not hear, as far
// as it knows the master's verdicts, by host and volume. While all is well there are none.
func (v *Volumes) Others() []api.SlotReading {
	s, _, _ := v.cfg.State()
	if s == nil {
		return nil
	}
	var all []api.SlotReading
	for _, h := range s.SortedHosts() {
		if h.Status != fsm.HostLive || h.Name == v.cfg.Host || h.Verdict == "" || h.Verdict == string(verdict.Live) {
			continue
		}
		for _, vol := range s.AllVolumes() {
			if id, err := format.ParseUUID(vol.ID); err == nil {
				all = append(all, v.other(h, id))
			}
		}
	}
	slices.SortFunc(all, func(a, b api.SlotReading) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Volume, b.Volume))
	})
	return all
}

func (v *Volumes) other(h *fsm.Host, id format.UUID) api.SlotReading {
	now := v.cfg.Now()
	v.mu.Lock()
	view, seen := v.view, v.seen[id]
	v.mu.Unlock()
	r := api.SlotReading{Host: h.Name, Volume: id.String(), Age: -1}
	if state := view.States[id]; state.Err != nil {
		r.Error = state.Err.Error()
	} else if state.State != storagehb.Working {
		r.Error = "it is " + state.State.String()
	}
	slot := Slot(h)
	if table := view.Readings[id].Table; slot < 0 || slot >= len(table) || slot >= len(seen) || !table[slot].Heartbeat.OK {
		return r
	}
	b := view.Readings[id].Table[slot].Heartbeat.Value
	r.Incarnation, r.Run, r.Seq, r.Flags, r.Reason = b.Incarnation, b.Run, b.Seq, uint32(b.Flags), b.Reason
	if at := seen[slot].at; at != 0 {
		r.Age = now - at
	}
	return r
}
