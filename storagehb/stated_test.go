package storagehb_test

import (
	"errors"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/durable"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/storagehb/hbtest"
)

// What a host has stated of its disk is found in its own slot alone, and on its own volume.
func TestStated(t *testing.T) {
	disk, err := hbtest.NewDisk(cluster, volume, format.Super{LogicalSector: 512, Slots: slots, Timing: standard(), Wait: standard().Wait(), Cluster: "site-a", Label: "hb1"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := disk.Path(2).Open()
	if err != nil {
		t.Fatal(err)
	}
	want := durable.Position{Term: 7, Vote: 6, Index: 4711}
	for copy, h := range []format.Heartbeat{{Incarnation: 3, Run: 1, Seq: 10, Disk: want}, {Incarnation: 3, Run: 1, Seq: 9, Disk: durable.Position{Term: 7, Vote: 6, Index: 4700}}} {
		b := make([]byte, format.KindHeartbeat.Length())
		if err := format.Encode(b, h, format.Origin{Copy: uint8(copy), Slot: 2, Cluster: cluster, Volume: volume, Host: id(0x50)}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(b, layout.Offset(format.KindHeartbeat, 2, copy)); err != nil {
			t.Fatal(err)
		}
	}
	at := format.Place{Cluster: cluster, Volume: volume, Slot: 2}
	for name, c := range map[string]struct {
		at   format.Place
		host format.UUID
		want durable.Position
		err  error
	}{
		"its own slot":               {at, id(0x50), want, nil},
		"another had it before":      {at, id(0x51), durable.Position{}, nil},
		"a slot that nobody used":    {format.Place{Cluster: cluster, Volume: volume, Slot: 1}, id(0x50), durable.Position{}, nil},
		"another volume at the path": {format.Place{Cluster: cluster, Volume: id(0x31), Slot: 2}, id(0x50), durable.Position{}, storagehb.ErrNotThisVolume},
		"a slot beyond the end":      {format.Place{Cluster: cluster, Volume: volume, Slot: slots}, id(0x50), durable.Position{}, storagehb.ErrNotThisVolume},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := storagehb.Stated(f, c.at, c.host)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("stated is %v (%v), want %v (%v)", got, err, c.want, c.err)
			}
		})
	}
}
