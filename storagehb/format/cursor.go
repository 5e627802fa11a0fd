package format

import (
	"encoding/binary"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// cursor walks over a record's fields in order; the same sequence of calls, one on
// each side, writes and reads it. The caller has made sure that all of it fits.
type cursor struct {
	b   []byte
	at  int
	bad bool // a value was read that cannot be
}

func (c *cursor) next(n int) []byte {
	c.at += n
	return c.b[c.at-n : c.at]
}

func (c *cursor) putU8(v uint8)       { c.next(1)[0] = v }
func (c *cursor) putU16(v uint16)     { binary.LittleEndian.PutUint16(c.next(2), v) }
func (c *cursor) putU32(v uint32)     { binary.LittleEndian.PutUint32(c.next(4), v) }
func (c *cursor) putU64(v uint64)     { binary.LittleEndian.PutUint64(c.next(8), v) }
func (c *cursor) putF64(v float64)    { c.putU64(math.Float64bits(v)) }
func (c *cursor) putBytes(v []byte)   { copy(c.next(len(v)), v) }
func (c *cursor) u8() uint8           { return c.next(1)[0] }
func (c *cursor) u16() uint16         { return binary.LittleEndian.Uint16(c.next(2)) }
func (c *cursor) u32() uint32         { return binary.LittleEndian.Uint32(c.next(4)) }
func (c *cursor) u64() uint64         { return binary.LittleEndian.Uint64(c.next(8)) }
func (c *cursor) f64() float64        { return math.Float64frombits(c.u64()) }
func (c *cursor) uuid() (u UUID)      { copy(u[:], c.next(len(u))); return u }
func (c *cursor) skip(n int)          { c.next(n) }
func (c *cursor) putUUID(u UUID)      { c.putBytes(u[:]) }
func (c *cursor) putWall(t time.Time) { c.putU64(wallNanos(t)) }

// putSpan writes a duration in nanoseconds; one below zero as zero.
func (c *cursor) putSpan(d time.Duration) { c.putU64(uint64(max(d, 0))) }

// span reads a duration in nanoseconds. One beyond what a Duration holds cannot be.
func (c *cursor) span() time.Duration {
	v := c.u64()
	if v > math.MaxInt64 {
		c.bad = true
		return 0
	}
	return time.Duration(v)
}

// putMillis writes a duration in whole milliseconds, within 0 to 49 days.
func (c *cursor) putMillis(d time.Duration) {
	c.putU32(uint32(min(max(d.Milliseconds(), 0), math.MaxUint32)))
}

func (c *cursor) millis() time.Duration { return time.Duration(c.u32()) * time.Millisecond }

// wallNanos is 0 for the zero time, which has no nanoseconds since 1970.
func wallNanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

func (c *cursor) wall() time.Time {
	v := c.u64()
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(v)).UTC()
}

// putText writes what fits of s into n bytes, cut between characters. It is for
// people, and a reason that is too long must not keep a heartbeat from being written.
func (c *cursor) putText(s string, n int) {
	field := c.next(n)
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	copy(field, s)
}

func (c *cursor) text(n int) string {
	s, _, _ := strings.Cut(string(c.next(n)), "\x00")
	return strings.ToValidUTF8(s, "\uFFFD")
}
