// Package hbtest is shared storage in memory, for tests and the simulation of
// heartbeat volumes: every host has a path of its own to a disk, and paths and disk
// can be made slow, silent, lossy and wrong. It also watches what is written, and
// notes whatever no host may do.
package hbtest

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// Disk is a heartbeat volume in memory. Inside of a synctest bubble it keeps to the
// bubble's time; it has to be made there.
type Disk struct {
	mu         sync.Mutex // guards everything below; never held while waiting
	data       []byte
	layout     format.Layout
	violations []string
	writing    map[*file]bool // writes under way
	late       map[int64]bool // where a write landed that was under way when its machine lost power
}

// NewDisk returns a disk that was initialised as s says.
func NewDisk(cluster, volume format.UUID, s format.Super) (*Disk, error) {
	d := &Disk{layout: format.Layout{Slots: s.Slots}, writing: map[*file]bool{}, late: map[int64]bool{}}
	d.data = make([]byte, d.layout.Size())
	for copy := range 2 {
		s.Seq = 2 + uint64(copy)
		o := format.Origin{Copy: uint8(copy), Cluster: cluster, Volume: volume, Wall: s.Created}
		if err := format.Encode(d.data[copy*format.BlockSize:(copy+1)*format.BlockSize], s, o); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// OverNewest is what Violations say of a write over the newest copy of a record, which is
// no fault of the host's where a volume went back.
const OverNewest = "is written over the newest copy"

// Violations are the broken rules so far: two I/Os at once on one path, two writes at
// once to one slot, a buffer changed while its write was under way, a write into
// another's slot, a record that goes back, a write over the newest copy. What a machine
// had under way when it lost its power is excused: nobody there can wait for it.
func (d *Disk) Violations() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.violations...)
}

// Layout is where the records lie.
func (d *Disk) Layout() format.Layout { return d.layout }

// Corrupt changes n bytes, to other values than they have.
func (d *Disk) Corrupt(off int64, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range n {
		d.data[off+int64(i)] ^= 0xff
	}
}

// Wipe sets n bytes to zero.
func (d *Disk) Wipe(off int64, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.data[off : off+int64(n)])
}

// Image is a copy of all that is stored.
func (d *Disk) Image() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.data)
}

// Restore goes back to an image, as storage does that fails over to an old copy.
func (d *Disk) Restore(image []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.data, image)
}

// violate notes a broken rule; the lock is held.
func (d *Disk) violate(format string, args ...any) {
	d.violations = append(d.violations, fmt.Sprintf(format, args...))
}

// watch looks at a write before it is stored; the lock is held.
func (d *Disk) watch(p []byte, off int64, slot int) {
	for copy := range 2 {
		switch off {
		case d.layout.Offset(format.KindHeartbeat, slot, copy):
			watchKind(d, format.KindHeartbeat, p, slot, copy, format.DecodeHeartbeat)
		case d.layout.Offset(format.KindClaim, slot, copy):
			watchKind(d, format.KindClaim, p, slot, copy, format.DecodeClaim)
		case d.layout.Offset(format.KindAcks, slot, copy):
			watchKind(d, format.KindAcks, p, slot, copy, format.DecodeAcks)
		case d.layout.Offset(format.KindVMTable, slot, copy):
			watchKind(d, format.KindVMTable, p, slot, copy, format.DecodeVMTable)
		default:
			continue
		}
		return
	}
	d.violate("the host of slot %d writes %d bytes at %d, where no record of its begins", slot, len(p), off)
}

func watchKind[V format.Value](d *Disk, k format.Kind, p []byte, slot, at int, decode func([]byte) (V, format.Origin, error)) {
	v, o, err := decode(p)
	if err != nil || int(o.Copy) != at || int(o.Slot) != slot {
		d.violate("slot %d: what is written is no %v of copy %d: %v, %+v", slot, k, at, err, o)
		return
	}
	area := d.layout.Offset(k, slot, 0)
	found := format.Newest(d.data[area:area+2*int64(k.Length())], format.Place{Cluster: o.Cluster, Volume: o.Volume, Slot: slot}, decode)
	if !found.OK {
		return
	}
	if v.Stamp().Compare(found.Value.Stamp()) <= 0 {
		d.violate("slot %d: %v goes back from %v to %v", slot, k, found.Value.Stamp(), v.Stamp())
	}
	if o.Copy == found.Origin.Copy && !d.late[d.layout.Offset(k, slot, int(o.Copy))] {
		d.violate("slot %d: %v %v "+OverNewest+", %v", slot, k, v.Stamp(), found.Value.Stamp())
	}
}

// begin notes that a write is under way; the lock is held.
func (d *Disk) begin(f *file) {
	for other := range d.writing {
		if other.slot == f.slot && !other.dark {
			d.violate("slot %d: a write begins while another to that slot is under way", f.slot)
		}
	}
	d.writing[f] = true
}

// landLater stores a write after a while, whatever was stored there meanwhile.
func (d *Disk) landLater(p []byte, off int64, after time.Duration) {
	late := bytes.Clone(p)
	time.AfterFunc(after, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		copy(d.data[off:], late)
	})
}
