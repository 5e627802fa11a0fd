package storagehb

import (
	"fmt"

	"github.com/holdfast-ha/holdfast/cluster/durable"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// Stated reads what a host has stated last of its own disk, in its slot of a volume;
// zero where it has stated nothing there. It fails where the volume is another one.
func Stated(f File, at format.Place, host format.UUID) (durable.Position, error) {
	fail := func(err error) (durable.Position, error) {
		return durable.Position{}, fmt.Errorf("read what was stated in slot %d: %w", at.Slot, err)
	}
	buf, err := newBuffer(format.SupersSize)
	if err != nil {
		return fail(err)
	}
	defer freeBuffer(buf)
	super, err := readSuper(f, buf)
	if err != nil {
		return fail(err)
	}
	if super.Origin.Cluster != at.Cluster || super.Origin.Volume != at.Volume {
		return fail(fmt.Errorf("%w: it is volume %v of cluster %v", ErrNotThisVolume, super.Origin.Volume, super.Origin.Cluster))
	}
	if at.Slot < 0 || at.Slot >= super.Value.Slots {
		return fail(fmt.Errorf("%w: it has %d slots", ErrNotThisVolume, super.Value.Slots))
	}
	buf = buf[:2*format.KindHeartbeat.Length()]
	if _, err := f.ReadAt(buf, format.Layout{Slots: super.Value.Slots}.Offset(format.KindHeartbeat, at.Slot, 0)); err != nil {
		return fail(err)
	}
	found := format.Newest(buf, at, format.DecodeHeartbeat)
	if !found.OK || found.Origin.Host != host {
		return durable.Position{}, nil // never written, or another's who had the slot before
	}
	return found.Value.Disk, nil
}
