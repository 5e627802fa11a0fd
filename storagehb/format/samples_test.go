package format

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/durable"
	"github.com/holdfast-ha/holdfast/cluster/lease"
)

func uuid(first byte) (u UUID) {
	for i := range u {
		u[i] = first + byte(i)
	}
	return u
}

var here = Place{Cluster: uuid(0x10), Volume: uuid(0x30), Slot: 7}

func origin(copy uint8) Origin {
	return Origin{Copy: copy, Slot: uint16(here.Slot), Cluster: here.Cluster, Volume: here.Volume, Host: uuid(0x50),
		Boot: 123456789 * time.Microsecond, Wall: time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)}
}

// sample is a value of every kind. Those with a higher n are newer, and differ in
// head and rest alike.
func sample(k Kind, n uint64) Value {
	switch k {
	case KindSuper:
		t := lease.Timing{Profile: "standard", Heartbeat: time.Second, Lease: 4 * time.Second, Watchdog: 3 * time.Second,
			Reset: 500 * time.Millisecond, Drain: 2 * time.Second, ClockError: 5e-4, Grain: 500 * time.Millisecond, Election: 500 * time.Millisecond}
		return Super{Seq: n, LogicalSector: 512, Slots: 64, Timing: t, Wait: 13312806404,
			Created: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Cluster: "site-a", Label: fmt.Sprintf("hb%d", n)}
	case KindHeartbeat:
		return Heartbeat{Incarnation: 3, Run: 2, Seq: n, BootID: uuid(0x70), Epoch: 5, Applied: 1000 + n, SetRevision: 6, Acked: n - 1,
			Flags: FlagQuorum | FlagWatchdogArmed, Lease: 4 * time.Second, Watchdog: 3 * time.Second, Interval: time.Second,
			Latency: 12 * time.Millisecond, VMs: 2, TableSeq: 9, Digest: sample(KindVMTable, n).(VMTable).Digest(),
			Name: "kvm-07", Reason: "the lease ended 2026-01-01 00:00:00", Disk: durable.Position{Term: 12, Vote: 11, Index: 1000 + n}}
	case KindClaim:
		return Claim{Epoch: 5, Version: n, Incarnation: 3, Index: 4711, Reason: "not heard for 1.5s",
			Listed: []Listing{{Slot: 0, Incarnation: n, Standing: Suspect}, {Slot: 9, Incarnation: 4 + n, Standing: Evicted}, {Slot: 255, Incarnation: 1, Standing: Suspect}}}
	case KindAcks:
		a := Acks{Epoch: 5, Seq: n}
		for slot := range MaxSlots {
			a.Heard = append(a.Heard, Ack{Slot: slot, Incarnation: 3, Run: 2, Seq: n + uint64(slot)})
		}
		return a
	case KindVMTable:
		t := VMTable{Incarnation: 3, Run: 2, Seq: n}
		for i := range MaxVMs {
			u := uuid(0x90)
			u[0], u[1] = byte(i>>8), byte(i)
			t.VMs = append(t.VMs, VM{UUID: u, Generation: n * uint64(1+i), State: VMState(i % 6), Flags: 0})
		}
		return t
	}
	panic(k)
}

var kinds = []Kind{KindSuper, KindHeartbeat, KindClaim, KindAcks, KindVMTable}

func place(k Kind) Place {
	if k == KindSuper {
		return Place{Cluster: here.Cluster, Volume: here.Volume}
	}
	return here
}

func encode(t testing.TB, v Value, copy uint8) []byte {
	t.Helper()
	o := origin(copy)
	o.Slot = uint16(place(v.Kind()).Slot)
	b := make([]byte, v.Kind().Length())
	if err := Encode(b, v, o); err != nil {
		t.Fatal(err)
	}
	return b
}

// decode is the decoder of the kind, with its own type forgotten.
func decode(k Kind, b []byte) (Value, Origin, error) {
	switch k {
	case KindSuper:
		return forget(DecodeSuper)(b)
	case KindHeartbeat:
		return forget(DecodeHeartbeat)(b)
	case KindClaim:
		return forget(DecodeClaim)(b)
	case KindAcks:
		return forget(DecodeAcks)(b)
	}
	return forget(DecodeVMTable)(b)
}

func forget[V Value](f func([]byte) (V, Origin, error)) func([]byte) (Value, Origin, error) {
	return func(b []byte) (Value, Origin, error) { return f(b) }
}

// newest reads an area of two copies as a reader of volumes does.
func newest(k Kind, area []byte) Found[Value] {
	return Newest(area, place(k), func(b []byte) (Value, Origin, error) { return decode(k, b) })
}
