package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/holdfast-ha/holdfast/cluster/lease"
)

func TestDecodeRefuses(t *testing.T) {
	tests := []struct {
		name string
		kind Kind
		hurt func(b []byte) []byte
		seal bool
		want error
	}{
		{name: "never written", kind: KindClaim, hurt: func(b []byte) []byte { return make([]byte, len(b)) }, want: ErrEmpty},
		{name: "zeros but for the last byte", kind: KindVMTable, hurt: func(b []byte) []byte { clear(b); b[len(b)-1] = 1; return b }, want: ErrDamaged},
		{name: "too short", kind: KindHeartbeat, hurt: func(b []byte) []byte { return b[:512] }, want: ErrDamaged},
		{name: "nothing at all", kind: KindHeartbeat, hurt: func([]byte) []byte { return nil }, want: ErrDamaged},
		{name: "other magic", kind: KindSuper, hurt: func(b []byte) []byte { b[0] = 'h'; return b }, seal: true, want: ErrDamaged},
		{name: "first sum", kind: KindSuper, hurt: func(b []byte) []byte { b[300] ^= 1; return b }, want: ErrDamaged},
		{name: "second sum", kind: KindAcks, hurt: func(b []byte) []byte { b[7000] ^= 1; return b }, want: ErrDamaged},
		{name: "next major", kind: KindHeartbeat, hurt: func(b []byte) []byte { b[8] = 2; return b }, seal: true, want: ErrMajor},
		{name: "next major with a wrong sum", kind: KindHeartbeat, hurt: func(b []byte) []byte { b[8] = 2; return b }, want: ErrDamaged},
		{name: "another kind", kind: KindClaim, hurt: func(b []byte) []byte { b[12] = byte(KindHeartbeat); return b }, seal: true, want: ErrMisplaced},
		{name: "copy 2", kind: KindClaim, hurt: func(b []byte) []byte { b[13] = 2; return b }, seal: true, want: ErrMalformed},
		{name: "slot 256", kind: KindClaim, hurt: func(b []byte) []byte { b[15] = 1; return b }, seal: true, want: ErrMalformed},
		{name: "boot clock beyond a Duration", kind: KindHeartbeat, hurt: func(b []byte) []byte { b[87] = 0x80; return b }, seal: true, want: ErrMalformed},
		{name: "super: blocks of 512", kind: KindSuper, hurt: func(b []byte) []byte { binary.LittleEndian.PutUint32(b[96:], 512); return b }, seal: true, want: ErrMalformed},
		{name: "super: sector of 3", kind: KindSuper, hurt: func(b []byte) []byte { binary.LittleEndian.PutUint32(b[100:], 3); return b }, seal: true, want: ErrMalformed},
		{name: "super: no slot", kind: KindSuper, hurt: func(b []byte) []byte { binary.LittleEndian.PutUint32(b[104:], 0); return b }, seal: true, want: ErrMalformed},
		{name: "super: too many slots", kind: KindSuper, hurt: func(b []byte) []byte { binary.LittleEndian.PutUint32(b[104:], math.MaxUint32); return b }, seal: true, want: ErrMalformed},
		{name: "super: a lease of 300 years", kind: KindSuper, hurt: func(b []byte) []byte { b[127] = 0xff; return b }, seal: true, want: ErrMalformed},
		{name: "claim: suspect and evicted", kind: KindClaim, hurt: func(b []byte) []byte { b[144] |= 1; return b }, seal: true, want: ErrMalformed},
		{name: "claim: listed without an incarnation", kind: KindClaim, hurt: func(b []byte) []byte { b[112] |= 2; return b }, seal: true, want: ErrMalformed},
		{name: "acks: 257 hosts", kind: KindAcks, hurt: func(b []byte) []byte { binary.LittleEndian.PutUint16(b[96:], 257); return b }, seal: true, want: ErrMalformed},
		{name: "acks: a slot twice", kind: KindAcks, hurt: func(b []byte) []byte { copy(b[540:568], b[512:540]); return b }, seal: true, want: ErrMalformed},
		{name: "VM table: 509 VMs", kind: KindVMTable, hurt: func(b []byte) []byte { binary.LittleEndian.PutUint16(b[104:], 509); return b }, seal: true, want: ErrMalformed},
		{name: "VM table: a VM twice", kind: KindVMTable, hurt: func(b []byte) []byte { copy(b[540:568], b[512:540]); return b }, seal: true, want: ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.hurt(encode(t, sample(tt.kind, 41), 0))
			if tt.seal {
				seal(b, tt.kind)
			}
			if v, _, err := decode(tt.kind, b); !errors.Is(err, tt.want) {
				t.Errorf("got %v, error %v; want %v", v, err, tt.want)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	tests := []struct {
		name string
		v    Value
		o    Origin
		len  int
	}{
		{name: "short buffer", v: Heartbeat{}, len: 512},
		{name: "copy 2", v: Heartbeat{}, o: Origin{Copy: 2}},
		{name: "slot 256", v: Heartbeat{}, o: Origin{Slot: 256}},
		{name: "claim of slot 256", v: Claim{Listed: []Listing{{Slot: 256, Incarnation: 1, Standing: Suspect}}}},
		{name: "claim of slot -1", v: Claim{Listed: []Listing{{Slot: -1, Incarnation: 1, Standing: Suspect}}}},
		{name: "claim of no incarnation", v: Claim{Listed: []Listing{{Standing: Suspect}}}},
		{name: "claim of one that is clear", v: Claim{Listed: []Listing{{Incarnation: 1}}}},
		{name: "claim of a slot twice", v: Claim{Listed: []Listing{{Incarnation: 1, Standing: Suspect}, {Incarnation: 1, Standing: Evicted}}}},
		{name: "acks out of order", v: Acks{Heard: []Ack{{Slot: 2}, {Slot: 1}}}},
		{name: "509 VMs", v: VMTable{VMs: append(sample(KindVMTable, 1).(VMTable).VMs, VM{UUID: uuid(0xff)})}},
		{name: "a VM twice", v: VMTable{VMs: make([]VM, 2)}},
		{name: "no slots", v: Super{LogicalSector: 512}},
		{name: "sector of 8192", v: Super{LogicalSector: 8192, Slots: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.len == 0 {
				tt.len = tt.v.Kind().Length()
			}
			b := make([]byte, tt.len)
			if err := Encode(b, tt.v, tt.o); err == nil {
				t.Error("it was encoded")
			}
			if !isZero(b) {
				t.Error("and the buffer was touched")
			}
		})
	}
}

// A text that is too long is cut between characters, and disturbs nothing beside it.
func TestLongTextsAreCut(t *testing.T) {
	h := sample(KindHeartbeat, 41).(Heartbeat)
	h.Name, h.Reason = strings.Repeat("ä", 40)+"x", "x"+strings.Repeat("語", 60)
	got, _, err := DecodeHeartbeat(encode(t, h, 0))
	if err != nil {
		t.Fatal(err)
	}
	h.Name, h.Reason = strings.Repeat("ä", 32), "x"+strings.Repeat("語", 53)
	if diff := cmp.Diff(h, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNewest(t *testing.T) {
	k := KindHeartbeat
	hb := func(incarnation, run, seq uint64) Heartbeat {
		return Heartbeat{Incarnation: incarnation, Run: run, Seq: seq}
	}
	foreign := func(o *Origin) { o.Cluster = uuid(0xaa) }
	tests := []struct {
		name  string
		a, b  Heartbeat
		hurtA func(*Origin)
		hurtB func(*Origin)
		want  Stamp
		no    error // nothing is found; both are wrong in this way
	}{
		{name: "A is newer", a: hb(1, 1, 4), b: hb(1, 1, 3), want: Stamp{1, 1, 4}},
		{name: "B is newer", a: hb(1, 1, 4), b: hb(1, 1, 5), want: Stamp{1, 1, 5}},
		{name: "run before seq", a: hb(1, 2, 1), b: hb(1, 1, 9), want: Stamp{1, 2, 1}},
		{name: "incarnation before run", a: hb(1, 9, 9), b: hb(2, 1, 1), want: Stamp{2, 1, 1}},
		{name: "newer but of another cluster", a: hb(1, 1, 1), b: hb(9, 9, 9), hurtB: foreign, want: Stamp{1, 1, 1}},
		{name: "newer but of another slot", a: hb(9, 9, 9), hurtA: func(o *Origin) { o.Slot++ }, b: hb(1, 1, 1), want: Stamp{1, 1, 1}},
		{name: "newer but of another volume", a: hb(9, 9, 9), hurtA: func(o *Origin) { o.Volume = uuid(1) }, b: hb(1, 1, 1), want: Stamp{1, 1, 1}},
		{name: "newer but the other copy", a: hb(9, 9, 9), hurtA: func(o *Origin) { o.Copy = 1 }, b: hb(1, 1, 1), want: Stamp{1, 1, 1}},
		{name: "both of another cluster", a: hb(1, 1, 1), hurtA: foreign, b: hb(1, 1, 2), hurtB: foreign, no: ErrForeign},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			area := make([]byte, 2*k.Length())
			for i, v := range []Heartbeat{tt.a, tt.b} {
				o := origin(uint8(i))
				if hurt := []func(*Origin){tt.hurtA, tt.hurtB}[i]; hurt != nil {
					hurt(&o)
				}
				if err := Encode(area[i*BlockSize:(i+1)*BlockSize], v, o); err != nil {
					t.Fatal(err)
				}
			}
			f := newest(k, area)
			if tt.no != nil {
				if f.OK || !f.Is(tt.no) || f.Problem() == nil {
					t.Errorf("found %v, %v; want %v", f.OK, f.Errs, tt.no)
				}
				return
			}
			if !f.OK || f.Value.Stamp() != tt.want {
				t.Errorf("found %v (%v), want %v", f.Value, f.Errs, tt.want)
			}
			if hurt := tt.hurtA != nil || tt.hurtB != nil; hurt != (f.Problem() != nil) {
				t.Errorf("problem: %v", f.Problem())
			}
		})
	}
	if f := newest(k, make([]byte, 2*BlockSize)); f.OK || f.Problem() != nil || !f.Is(ErrEmpty) {
		t.Errorf("an area never written: %+v", f)
	}
}

// What a claim lists holds for older lives of the host too, and never for newer ones.
func TestStanding(t *testing.T) {
	c := Claim{Listed: []Listing{{Slot: 1, Incarnation: 5, Standing: Suspect}, {Slot: 2, Incarnation: 5, Standing: Evicted}}}
	tests := []struct {
		slot        int
		incarnation uint64
		want        Standing
	}{
		{0, 5, Clear}, {1, 4, Evicted}, {1, 5, Suspect}, {1, 6, Clear}, {2, 4, Evicted}, {2, 5, Evicted}, {2, 6, Clear},
	}
	for _, tt := range tests {
		if got := c.Standing(tt.slot, tt.incarnation); got != tt.want {
			t.Errorf("slot %d incarnation %d is %v, want %v", tt.slot, tt.incarnation, got, tt.want)
		}
	}
}

// No two records of a volume share a byte, and none lies outside of it.
func TestLayout(t *testing.T) {
	for _, tt := range []struct {
		slots       int
		size, table int64 // in blocks
	}{{1, 32, 24}, {64, 1040, 528}, {256, 4112, 2064}} {
		l := Layout{Slots: tt.slots}
		owner := map[int64]string{}
		take := func(what string, at int64, n int) {
			for b := at / BlockSize; b < (at+int64(n))/BlockSize; b++ {
				if owner[b] != "" || b >= tt.size {
					t.Fatalf("%d slots: block %d belongs to %s and to %s", tt.slots, b, owner[b], what)
				}
				if isTable := b < tt.table; isTable == strings.HasPrefix(what, "VM table") {
					t.Fatalf("%d slots: block %d is of %s, the table ends at %d", tt.slots, b, what, tt.table)
				}
				owner[b] = what
			}
		}
		for copy := range 2 {
			take("superblock", l.Offset(KindSuper, 0, copy), BlockSize)
			for slot := range tt.slots {
				for _, k := range kinds[1:] {
					take(fmt.Sprintf("%v of slot %d", k, slot), l.Offset(k, slot, copy), k.Length())
				}
			}
		}
		if n := len(owner); n != 2+tt.slots*SlotBlocks {
			t.Errorf("%d slots: %d blocks are in use", tt.slots, n)
		}
		for b := int64(2); b < 16; b++ {
			if owner[b] != "" {
				t.Errorf("reserved block %d belongs to %s", b, owner[b])
			}
		}
		if size := l.Size(); size != tt.size*BlockSize || l.TableSize() != tt.table*BlockSize {
			t.Errorf("%d slots take %d bytes, the table %d; want %d and %d blocks", tt.slots, size, l.TableSize(), tt.size, tt.table)
		}
		if got := SlotsIn(l.Size()); got != tt.slots {
			t.Errorf("%d bytes hold %d slots, want %d", l.Size(), got, tt.slots)
		}
		if got := SlotsIn(l.Size() - 1); got != tt.slots-1 {
			t.Errorf("%d bytes hold %d slots, want %d", l.Size()-1, got, tt.slots-1)
		}
	}
	if SlotsIn(0) != 0 || SlotsIn(1<<40) != MaxSlots {
		t.Errorf("nothing holds %d slots, 1 TiB holds %d", SlotsIn(0), SlotsIn(1<<40))
	}
	// Fixed for ever: what is on volumes lies there.
	for k, want := range map[Kind]int64{KindSuper: 1, KindHeartbeat: 16 + 2*5 + 1, KindClaim: 16 + 2*64 + 2*5 + 1, KindAcks: 16 + 4*64 + 4*5 + 2, KindVMTable: 16 + 8*64 + 8*5 + 4} {
		if got := (Layout{Slots: 64}).Offset(k, 5, 1); got != want*BlockSize {
			t.Errorf("of 64 slots, %v B of slot 5 is at block %d, want %d", k, got/BlockSize, want)
		}
	}
}

func TestTimingMustAgree(t *testing.T) {
	s := sample(KindSuper, 1).(Super)
	standard := s.Timing
	other := standard
	other.Profile, other.Election = "mine", 2*standard.Election
	for _, same := range []lease.Timing{standard, other} {
		if err := s.CheckTiming(same); err != nil {
			t.Errorf("the same terms are refused: %v", err)
		}
	}
	terms := map[string]func(*lease.Timing){
		"heartbeat_interval": func(t *lease.Timing) { t.Heartbeat++ },
		"lease":              func(t *lease.Timing) { t.Lease++ },
		"watchdog_timeout":   func(t *lease.Timing) { t.Watchdog += time.Second },
		"reset_time":         func(t *lease.Timing) { t.Reset++ },
		"drain_time":         func(t *lease.Timing) { t.Drain++ },
		"clock_error":        func(t *lease.Timing) { t.ClockError *= 2 },
		"grain":              func(t *lease.Timing) { t.Grain++ },
	}
	for name, change := range terms {
		timing := standard
		change(&timing)
		if err := s.CheckTiming(timing); err == nil || !strings.Contains(err.Error(), name+" is ") {
			t.Errorf("another %s: %v", name, err)
		}
	}
	s.Wait--
	if err := s.CheckTiming(standard); err == nil {
		t.Error("a wait computed otherwise is accepted")
	}
}

func TestUUID(t *testing.T) {
	u := uuid(0x10)
	if got, err := ParseUUID(u.String()); err != nil || got != u {
		t.Errorf("%v was read as %v, %v", u, got, err)
	}
	for _, bad := range []string{"", "x", strings.Repeat("0", 36), "6ba7b810-9dad-11d1-80b4-00c04fd430cg"} {
		if got, err := ParseUUID(bad); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}
