package format

import "fmt"

const (
	// BlockSize is the unit of every read and write, on devices of any sector size:
	// a 512-byte write on a device with larger physical sectors is a
	// read-modify-write of bytes that may be another host's.
	BlockSize = 4096
	// MaxSlots is the most hosts that a volume can serve.
	MaxSlots = 256
	// SlotBlocks is how many blocks each host has to itself, over all regions.
	SlotBlocks = 16
	// SupersSize is the area of the two superblocks, at the volume's beginning.
	SupersSize = 2 * BlockSize

	reservedBlocks = 16 // superblock A, B and 14 blocks of zeros
)

// Kind says what a record is. The numbers are on disk and never change.
type Kind uint8

// The kinds of records.
const (
	KindSuper     Kind = 1 // what the volume is; written by init alone
	KindHeartbeat Kind = 2 // a host is there, and how it is
	KindClaim     Kind = 3 // what a host says while, and because, it is or was master
	KindAcks      Kind = 4 // the heartbeats that a master heard
	KindVMTable   Kind = 5 // the protected VMs on a host
)

// String is the kind in the words of people.
func (k Kind) String() string {
	switch k {
	case KindSuper:
		return "superblock"
	case KindHeartbeat:
		return "heartbeat"
	case KindClaim:
		return "claim"
	case KindAcks:
		return "acknowledgements"
	case KindVMTable:
		return "VM table"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Length is a record of this kind in bytes, one copy; 0 for an unknown kind.
func (k Kind) Length() int {
	switch k {
	case KindSuper, KindHeartbeat, KindClaim:
		return BlockSize
	case KindAcks:
		return 2 * BlockSize
	case KindVMTable:
		return 4 * BlockSize
	}
	return 0
}

// hasRest reports whether the body goes on past the first 512 bytes.
func (k Kind) hasRest() bool { return k == KindClaim || k == KindAcks || k == KindVMTable }

// Layout is where the records of a volume with that many slots lie: the superblocks,
// zeros up to block 16, then a region for each kind, heartbeats first, VM tables
// last, and in each region both copies of slot 0, of slot 1 and so on. What is read
// of every host each interval lies together at the beginning, because a few large
// reads cost a small part of what a read for every slot does.
type Layout struct {
	Slots int // 1 to MaxSlots
}

// Offset is where a copy of a record begins on the volume, in bytes. Superblocks
// belong to no slot. It panics on a slot or copy that the volume does not have, for
// a write to the offset computed from it would be into another's block.
func (l Layout) Offset(k Kind, slot, copy int) int64 {
	if slot < 0 || slot >= min(l.Slots, MaxSlots) || copy < 0 || copy > 1 || k.Length() == 0 {
		panic(fmt.Sprintf("format: a volume of %d slots has no %v of slot %d, copy %d", l.Slots, k, slot, copy))
	}
	if k == KindSuper {
		return int64(copy) * BlockSize
	}
	at := int64(reservedBlocks * BlockSize)
	for region := KindHeartbeat; region < k; region++ {
		at += int64(l.Slots * 2 * region.Length())
	}
	return at + int64((2*slot+copy)*k.Length())
}

// TableSize is how many bytes from the volume's beginning hold the superblocks and
// every host's heartbeat, claim and acknowledgements.
func (l Layout) TableSize() int64 { return l.Offset(KindVMTable, 0, 0) }

// Size is the size of the volume in bytes.
func (l Layout) Size() int64 { return int64(reservedBlocks+l.Slots*SlotBlocks) * BlockSize }

// SlotsIn is how many slots fit into size bytes, at most MaxSlots.
func SlotsIn(size int64) int {
	return int(min(max(size/BlockSize-reservedBlocks, 0)/SlotBlocks, MaxSlots))
}
