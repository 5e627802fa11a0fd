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

// decodeSlot reads the head of a slot.
func decodeSlot(head []byte, at format.Place) Slot {
	return Slot{
		Heartbeat: newest(head, format.KindHeartbeat, at, format.DecodeHeartbeat),
		Claim:     newest(head, format.KindClaim, at, format.DecodeClaim),
		Acks:      newest(head, format.KindAcks, at, format.DecodeAcks),
	}
}

// newest reads the copies of one kind out of a slot, or the beginning of one.
func newest[V format.Value](slot []byte, k format.Kind, at format.Place, decode func([]byte) (V, format.Origin, error)) format.Found[V] {
	begin := k.InSlot()
	return format.Newest(slot[begin:begin+2*k.Length()], at, decode)
}

// readSuper reads the superblocks and refuses what is no volume that this version
// can use. buf has room for both.
func readSuper(f File, buf []byte) (format.Found[format.Super], error) {
	buf = buf[:format.SupersSize]
	if _, err := f.ReadAt(buf, 0); err != nil {
		return format.Found[format.Super]{}, fmt.Errorf("read the superblocks: %w", err)
	}
	s := format.NewestSuper(buf)
	switch {
	case s.Is(format.ErrMajor), s.OK && (s.Is(format.ErrForeign) || s.Is(format.ErrMisplaced)):
		return s, fmt.Errorf("%w: %w", ErrNotThisVolume, s.Problem())
	case !s.OK:
		return s, fmt.Errorf("%w: superblock A: %w; B: %w", ErrNotThisVolume, s.Errs[0], s.Errs[1])
	}
	return s, nil
}

// readSlots calls each with the beginning of every slot in turn; the bytes are valid
// during the call alone. buf has room for a slot.
func readSlots(f File, buf []byte, slots, length int, each func(slot int, b []byte) error) error {
	for slot := range slots {
		if _, err := f.ReadAt(buf[:length], format.SlotOffset(slot)); err != nil {
			return fmt.Errorf("read slot %d: %w", slot, err)
		}
		if err := each(slot, buf[:length]); err != nil {
			return err
		}
	}
	return nil
}
