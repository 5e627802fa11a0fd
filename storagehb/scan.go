package storagehb

import (
	"context"
	"fmt"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// scanned is all of a volume, for people.
type scanned struct {
	super format.Found[format.Super]
	slots []scannedSlot
}

type scannedSlot struct {
	Slot
	vms format.Found[format.VMTable]
}

// empty reports whether nobody ever wrote to the slot.
func (s *scannedSlot) empty() bool {
	return !s.Heartbeat.OK && !s.Claim.OK && !s.Acks.OK && !s.vms.OK && s.problem() == nil && s.vms.Problem() == nil
}

// scan reads all of a volume, of whichever cluster it is.
func scan(ctx context.Context, f File) (v scanned, err error) {
	supers, err := newBuffer(format.SupersSize)
	if err != nil {
		return v, err
	}
	defer freeBuffer(supers)
	if v.super, err = readSuper(f, supers); err != nil {
		return v, err
	}
	l := format.Layout{Slots: v.super.Value.Slots}
	if d, ok := f.(*Device); ok && d.Size() < l.Size() {
		return v, fmt.Errorf("it has %d bytes, its %d slots need %d: it was cut", d.Size(), l.Slots, l.Size())
	}
	buf, err := newBuffer(int(max(l.TableSize(), 2*int64(format.KindVMTable.Length()))))
	if err != nil {
		return v, err
	}
	defer freeBuffer(buf)
	image := buf[:l.TableSize()]
	if err := readImage(f, image); err != nil {
		return v, err
	}
	v.slots = make([]scannedSlot, l.Slots)
	for slot := range v.slots {
		v.slots[slot].Slot = decodeSlot(image, l, v.place(slot))
	}
	for slot := range v.slots {
		if err := ctx.Err(); err != nil {
			return v, err
		}
		if v.slots[slot].vms, err = readVMTable(f, buf, l, v.place(slot)); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (v *scanned) place(slot int) format.Place {
	return format.Place{Cluster: v.super.Origin.Cluster, Volume: v.super.Origin.Volume, Slot: slot}
}
