package format

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func FuzzDecodeSuper(f *testing.F)     { fuzz(f, KindSuper) }
func FuzzDecodeHeartbeat(f *testing.F) { fuzz(f, KindHeartbeat) }
func FuzzDecodeClaim(f *testing.F)     { fuzz(f, KindClaim) }
func FuzzDecodeAcks(f *testing.F)      { fuzz(f, KindAcks) }
func FuzzDecodeVMTable(f *testing.F)   { fuzz(f, KindVMTable) }

// fuzz holds a decoder to this: it never panics, it accepts nothing whose sums are
// wrong, and what it read it can write such that it is read the same. Half of the
// inputs are given right sums, or none would get past them.
func fuzz(f *testing.F, k Kind) {
	for n := range uint64(3) {
		b := encode(f, sample(k, 41+n), uint8(n&1))
		f.Add(b, true)
		f.Add(b, false)
		f.Add(b[:headLen], true)
	}
	f.Add(make([]byte, k.Length()), false)
	f.Fuzz(func(t *testing.T, raw []byte, right bool) {
		b := make([]byte, k.Length())
		copy(b, raw)
		if right {
			copy(b, magic)
			seal(b, k)
		}
		v, o, err := decode(k, b)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, []byte(magic)) || binary.LittleEndian.Uint16(b[8:]) != Major {
			t.Errorf("accepted with magic and major % x", b[:10])
		}
		if got := slowCRC(b[:508]); got != binary.LittleEndian.Uint32(b[508:]) {
			t.Errorf("accepted, but the first sum should be %08x", got)
		}
		if end := len(b) - 4; k.hasRest() {
			if got := slowCRC(b[508:end]); got != binary.LittleEndian.Uint32(b[end:]) {
				t.Errorf("accepted, but the second sum should be %08x", got)
			}
		}
		again := make([]byte, len(b))
		if err := Encode(again, v, o); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		v2, o2, err := decode(k, again)
		if err != nil {
			t.Fatalf("what was written again cannot be read: %v", err)
		}
		third := make([]byte, len(b))
		if err := Encode(third, v2, o2); err != nil || !bytes.Equal(again, third) || v.Stamp() != v2.Stamp() {
			t.Errorf("read as\n%+v\nand, written again, as\n%+v (%v)", v, v2, err)
		}
	})
}

// slowCRC is CRC-32C from its polynomial, bit by bit.
func slowCRC(b []byte) uint32 {
	crc := ^uint32(0)
	for _, x := range b {
		crc ^= uint32(x)
		for range 8 {
			low := crc & 1
			crc >>= 1
			if low == 1 {
				crc ^= 0x82f63b78
			}
		}
	}
	return ^crc
}
