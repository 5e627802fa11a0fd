package format

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
)

// What is wrong with a block. Only ErrEmpty and ErrDamaged are to be expected in
// daily life: a slot never used, a write cut short.
var (
	// ErrEmpty is a record that was never written: all zeros.
	ErrEmpty = errors.New("never written")
	// ErrDamaged is a record whose magic or sums are wrong: torn, corrupt, or something else altogether.
	ErrDamaged = errors.New("damaged")
	// ErrMajor is a format that this version cannot read. The whole volume is to be refused.
	ErrMajor = errors.New("written in a format that this version does not know")
	// ErrForeign is a sound record of another cluster: never evidence, but shown to people.
	ErrForeign = errors.New("of another cluster")
	// ErrMisplaced is a sound record that does not belong where it was read.
	ErrMisplaced = errors.New("misplaced")
	// ErrMalformed is a record with right sums and impossible content.
	ErrMalformed = errors.New("malformed")
)

// Major and Minor are the format that Encode writes. A reader refuses another
// major, whose first 512 bytes keep magic, version and sum where they are; of a
// newer minor it reads the fields that it knows.
const (
	Major = 1
	Minor = 0
)

const (
	magic     = "HAHBVOL\x01"
	headerLen = 96
	headSum   = 508 // where the first sum is
	headLen   = 512 // what no device tears
	sumLen    = 4
)

// Origin is the part of a record's header that is the same for every kind: who
// wrote it, where it belongs and when.
type Origin struct {
	Minor   uint16        // of the format; Encode ignores it and writes Minor
	Copy    uint8         // 0 for A, 1 for B
	Slot    uint16        // the writer's; 0 in superblocks
	Cluster UUID          // whose volume it is
	Volume  UUID          // made anew by each init, so that an old life of the device is recognised
	Host    UUID          // the writer
	Boot    time.Duration // the writer's boot clock when it submitted the write; never compared across hosts
	Wall    time.Time     // the writer's wall clock, for people only
}

// Stamp orders what one writer says of one kind; it only grows. Claims and
// acknowledgements have (epoch, 0, version), superblocks (0, 0, seq).
type Stamp struct {
	Life uint64 // the incarnation, or the epoch
	Run  uint64 // counts the agent's starts within the incarnation
	Seq  uint64 // counts the writes
}

// Compare is negative when s is older than t, positive when it is newer.
func (s Stamp) Compare(t Stamp) int {
	return cmp.Or(cmp.Compare(s.Life, t.Life), cmp.Compare(s.Run, t.Run), cmp.Compare(s.Seq, t.Seq))
}

// String is life.run.seq, for logs.
func (s Stamp) String() string { return fmt.Sprintf("%d.%d.%d", s.Life, s.Run, s.Seq) }

// Value is the content of a record: Super, Heartbeat, Claim, Acks or VMTable.
type Value interface {
	// Kind says which of them it is.
	Kind() Kind
	// Stamp is its place in the order of what its writer says.
	Stamp() Stamp
	// Validate refuses what cannot be written, naming the field and its value.
	Validate() error

	put(c *cursor)
}

// Encode writes v with both sums into b, which must be as long as a record of its
// kind. Every byte of b is set. On an error b is unchanged.
func Encode(b []byte, v Value, o Origin) error {
	k := v.Kind()
	if len(b) != k.Length() {
		return fmt.Errorf("encode %v: the buffer has %d bytes, want %d", k, len(b), k.Length())
	}
	if o.Copy > 1 || o.Slot >= MaxSlots || o.Boot < 0 {
		return fmt.Errorf("encode %v: there is no copy %d of slot %d at boot clock %v", k, o.Copy, o.Slot, o.Boot)
	}
	if err := v.Validate(); err != nil {
		return fmt.Errorf("encode %v: %w", k, err)
	}
	clear(b)
	s := v.Stamp()
	c := &cursor{b: b}
	c.putBytes([]byte(magic))
	c.putU16(Major)
	c.putU16(Minor)
	c.putU8(uint8(k))
	c.putU8(o.Copy)
	c.putU16(o.Slot)
	c.putUUID(o.Cluster)
	c.putUUID(o.Volume)
	c.putUUID(o.Host)
	c.putU64(s.Life)
	c.putU64(s.Seq)
	c.putSpan(o.Boot)
	c.putWall(o.Wall)
	v.put(c)
	seal(b, k)
	return nil
}

func seal(b []byte, k Kind) {
	binary.LittleEndian.PutUint32(b[headSum:], sum(b[:headSum]))
	if end := len(b) - sumLen; k.hasRest() {
		binary.LittleEndian.PutUint32(b[end:], sum(b[headSum:end]))
	}
}

func sum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// open checks that b is a sound record of kind k and returns its header's fields,
// with the cursor at the body.
func open(b []byte, k Kind) (c *cursor, o Origin, s Stamp, err error) {
	fail := func(err error, format string, args ...any) (*cursor, Origin, Stamp, error) {
		return nil, Origin{}, Stamp{}, fmt.Errorf("%v: %w: %s", k, err, fmt.Sprintf(format, args...))
	}
	switch {
	case len(b) != k.Length():
		return fail(ErrDamaged, "it has %d bytes, want %d", len(b), k.Length())
	case string(b[:len(magic)]) != magic:
		if isZero(b) {
			return nil, Origin{}, Stamp{}, ErrEmpty // bare: it is what most records of most volumes are
		}
		return fail(ErrDamaged, "the magic is %q", b[:len(magic)])
	case binary.LittleEndian.Uint32(b[headSum:]) != sum(b[:headSum]):
		return fail(ErrDamaged, "the sum of the first %d bytes is wrong", headSum)
	}
	c = &cursor{b: b, at: len(magic)}
	if major := c.u16(); major != Major {
		return fail(ErrMajor, "major %d, this is %d", major, Major)
	}
	o.Minor = c.u16()
	if is := Kind(c.u8()); is != k {
		return fail(ErrMisplaced, "it is a %v", is)
	}
	if end := len(b) - sumLen; k.hasRest() && binary.LittleEndian.Uint32(b[end:]) != sum(b[headSum:end]) {
		return fail(ErrDamaged, "the sum of its rest is wrong: a torn write")
	}
	o.Copy, o.Slot = c.u8(), c.u16()
	o.Cluster, o.Volume, o.Host = c.uuid(), c.uuid(), c.uuid()
	s.Life, s.Seq = c.u64(), c.u64()
	boot := c.u64()
	o.Boot, o.Wall = time.Duration(boot), c.wall()
	if o.Copy > 1 || o.Slot >= MaxSlots || boot > math.MaxInt64 {
		return fail(ErrMalformed, "copy %d, slot %d, boot clock %d", o.Copy, o.Slot, boot)
	}
	return c, o, s, nil
}

func isZero(b []byte) bool { return bytes.Count(b, []byte{0}) == len(b) }

func malformed(k Kind, format string, args ...any) error {
	return fmt.Errorf("%v: %w: %s", k, ErrMalformed, fmt.Sprintf(format, args...))
}
