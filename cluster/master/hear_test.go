package master

import (
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// What the master finds in a slot after it could not read it for a while may have been
// written at any time in between: a host that died then was not heard just now.
func TestASlotReadAgainAfterABreakIsNoNews(t *testing.T) {
	timing := standard(t)
	id := format.UUID{1}
	view := func(at time.Duration, seq uint64) *volumes.View {
		var slot storagehb.Slot
		slot.Heartbeat.OK, slot.Heartbeat.Value = true, format.Heartbeat{Incarnation: 2, Run: 1, Seq: seq}
		return &volumes.View{Readings: map[format.UUID]storagehb.Reading{id: {Started: at, Table: storagehb.Table{slot}}}}
	}
	o := newObserved(elected, elected, 2)
	for _, tt := range []struct {
		name string
		at   time.Duration
		seq  uint64
		want bool
	}{
		{"the first reading of the office", now, 7, false},
		{"an interval later, a newer one", now + timing.Heartbeat, 8, true},
		{"the same reading again", now + timing.Heartbeat, 8, false},
		{"an interval later, the same one", now + 2*timing.Heartbeat, 8, false},
		{"a lease later, a newer one", now + 2*timing.Heartbeat + timing.Lease, 9, true},
		{"after a longer break, a newer one", now + 2*timing.Heartbeat + 2*timing.Lease + 1, 14, false},
		{"an interval after that, a newer one", now + 3*timing.Heartbeat + 2*timing.Lease + 1, 15, true},
	} {
		if got := o.hear(0, view(tt.at, tt.seq), tt.at, timing); got != tt.want {
			t.Errorf("%s: heard is %v, want %v", tt.name, got, tt.want)
		}
		if heard := o.watch.Heard == tt.at; heard != tt.want && tt.name != "the same reading again" {
			t.Errorf("%s: heard at %v, read at %v", tt.name, o.watch.Heard, tt.at)
		}
	}
}
