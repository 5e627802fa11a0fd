package storagehb

import (
	"errors"
	"fmt"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// What is wrong with a volume, rather than with one I/O.
var (
	// ErrWentBack refuses a value that is not newer than what its block has held already (I7).
	ErrWentBack = errors.New("not newer than what was written before")
	// ErrSecondWriter is a record in the host's own slot that this Volume did not
	// write. It ends all writing: two that write as one host cannot be told apart.
	ErrSecondWriter = errors.New("somebody else writes to this host's slot")
	// ErrLostWrite is a completed write that reading does not show: the volume, or
	// the path to it, loses writes or serves old data, and what else is read from it
	// proves nothing.
	ErrLostWrite = errors.New("a write that had completed is not there any more")
	// ErrNotThisVolume is a device that holds no volume, or another one.
	ErrNotThisVolume = errors.New("not this heartbeat volume")
)

// Slot is what a volume says of one host. Only values with OK set are evidence.
type Slot struct {
	Heartbeat format.Found[format.Heartbeat]
	Claim     format.Found[format.Claim]
	Acks      format.Found[format.Acks]
}

// problem is the first record that is not as it should be.
func (s *Slot) problem() error {
	return errors.Join(s.Heartbeat.Problem(), s.Claim.Problem(), s.Acks.Problem())
}

func (s *Slot) is(err error) bool { return s.Heartbeat.Is(err) || s.Claim.Is(err) || s.Acks.Is(err) }

// Table is what a volume says of all hosts, by slot. It does not change once made.
type Table []Slot

// Highest returns the claim that counts on this volume, and the slot that it
// stands in; ok is false when there is none.
func (t Table) Highest() (claim format.Claim, slot int, ok bool) {
	for i := range t {
		if c := &t[i].Claim; c.OK && (!ok || c.Value.Stamp().Compare(claim.Stamp()) > 0) {
			claim, slot, ok = c.Value, i, true
		}
	}
	return claim, slot, ok
}

// decodeSlot reads what an image of the table says of one host.
func decodeSlot(table []byte, l format.Layout, at format.Place) Slot {
	return Slot{
		Heartbeat: newest(table, l, format.KindHeartbeat, at, format.DecodeHeartbeat),
		Claim:     newest(table, l, format.KindClaim, at, format.DecodeClaim),
		Acks:      newest(table, l, format.KindAcks, at, format.DecodeAcks),
	}
}

func newest[V format.Value](
	table []byte, l format.Layout, k format.Kind, at format.Place, decode func([]byte) (V, format.Origin, error),
) format.Found[V] {
	return format.Newest(both(table, l, k, at.Slot), at, decode)
}

// both are the two copies of a record in an image of the table.
func both(table []byte, l format.Layout, k format.Kind, slot int) []byte {
	begin := l.Offset(k, slot, 0)
	return table[begin : begin+2*int64(k.Length())]
}

// checkSuper refuses what is no volume that this version can use. b holds the superblocks.
func checkSuper(b []byte) (format.Found[format.Super], error) {
	s := format.NewestSuper(b[:format.SupersSize])
	switch {
	case s.Is(format.ErrMajor), s.OK && (s.Is(format.ErrForeign) || s.Is(format.ErrMisplaced)):
		return s, fmt.Errorf("%w: %w", ErrNotThisVolume, s.Problem())
	case !s.OK:
		return s, fmt.Errorf("%w: superblock A: %w; B: %w", ErrNotThisVolume, s.Errs[0], s.Errs[1])
	}
	return s, nil
}

// readSuper reads the superblocks into buf, and checks them.
func readSuper(f File, buf []byte) (format.Found[format.Super], error) {
	if _, err := f.ReadAt(buf[:format.SupersSize], 0); err != nil {
		return format.Found[format.Super]{}, fmt.Errorf("read the superblocks: %w", err)
	}
	return checkSuper(buf)
}

// readImage reads the beginning of the volume, the superblocks first. It is one read:
// the kernel splits what the storage does not take at once, and has the parts under
// way together.
func readImage(f File, buf []byte) error {
	if _, err := f.ReadAt(buf, 0); err != nil {
		return fmt.Errorf("read the table: %w", err)
	}
	return nil
}

// readVMTable reads one host's VM table by way of buf.
func readVMTable(f File, buf []byte, l format.Layout, at format.Place) (format.Found[format.VMTable], error) {
	buf = buf[:2*format.KindVMTable.Length()]
	if _, err := f.ReadAt(buf, l.Offset(format.KindVMTable, at.Slot, 0)); err != nil {
		return format.Found[format.VMTable]{}, fmt.Errorf("read the VM table of slot %d: %w", at.Slot, err)
	}
	return format.Newest(buf, at, format.DecodeVMTable), nil
}
