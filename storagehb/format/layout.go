package format

import "fmt"

const (
	// BlockSize is the unit of every read and write, on devices of any sector size:
	// a 512-byte write on a device with larger physical sectors is a
	// read-modify-write of bytes that may be another host's.
	BlockSize = 4096
	// MaxSlots is the most hosts that a volume can serve.
	MaxSlots = 256
	// SlotBlocks is how many blocks each host has to itself.
	SlotBlocks = 16
	// SlotSize is a slot in bytes.
	SlotSize = SlotBlocks * BlockSize
	// HeadSize is what readers fetch of each slot every interval: heartbeat, claim
	// and acknowledgements, both copies. The VM tables follow it.
	HeadSize = 8 * BlockSize
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

// InSlot is where copy 0 of the record begins within a slot, in bytes; copy 1 follows it.
func (k Kind) InSlot() int {
	switch k {
	case KindClaim:
		return 2 * BlockSize
	case KindAcks:
		return 4 * BlockSize
	case KindVMTable:
		return HeadSize
	}
	return 0
}

// Offset is where a copy of a record begins on the volume, in bytes. Superblocks
// are in no slot. It panics on a slot or copy that no volume has, for a write to
// the offset computed from it would be into another's block.
func Offset(k Kind, slot, copy int) int64 {
	if slot < 0 || slot >= MaxSlots || copy < 0 || copy > 1 || k.Length() == 0 {
		panic(fmt.Sprintf("format: there is no %v of slot %d, copy %d", k, slot, copy))
	}
	if k == KindSuper {
		return int64(copy) * BlockSize
	}
	return SlotOffset(slot) + int64(k.InSlot()+copy*k.Length())
}

// SlotOffset is where a slot begins on the volume, in bytes.
func SlotOffset(slot int) int64 { return (reservedBlocks + int64(slot)*SlotBlocks) * BlockSize }

// VolumeSize is the size in bytes of a volume with that many slots.
func VolumeSize(slots int) int64 { return SlotOffset(slots) }

// SlotsIn is how many slots fit into size bytes, at most MaxSlots.
func SlotsIn(size int64) int {
	return int(min(max(size/BlockSize-reservedBlocks, 0)/SlotBlocks, MaxSlots))
}
