// Package witness is the mark that a lab guest leaves on its disk, so that a VM
// which runs twice convicts itself: one disk, one reader, and not a word of the
// manager's is believed. The guest (integration/lab/guest) writes it from inside,
// the judge (integration/lab) reads it from outside.
//
// The disk is raw and holds 4 KiB blocks. Block 0 is the heartbeat: who wrote
// last, and how often. Before every write the guest reads it back; a heartbeat
// of another life that appears after the guest's own first write means that two
// lives write at once, and the guest records that in block 1, where it stays.
// Blocks 2 and up list the lives in order of their start.
package witness

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	// BlockSize is the unit of reading and writing, in bytes; it suits O_DIRECT on any device.
	BlockSize = 4096
	// DiskSize is the size of a witness disk in bytes.
	DiskSize = 1 << 20
	// MaxLives is how many lives the list on the disk has room for.
	MaxLives = DiskSize/BlockSize - firstLife

	heartbeatBlock = 0
	conflictBlock  = 1
	firstLife      = 2
)

// ErrBlank says that a block was never written.
var ErrBlank = errors.New("blank block")

var magic = [8]byte{'h', 'f', 'w', 'i', 't', 'n', 's', '1'}

// Life names one boot of a guest, drawn at random when it boots.
type Life [16]byte

// String is the life in hexadecimal; the zero Life is "none".
func (l Life) String() string {
	if l == (Life{}) {
		return "none"
	}
	return hex.EncodeToString(l[:])
}

// Record is what one block holds.
type Record struct {
	Life  Life   // who wrote it
	Count uint64 // how many heartbeats that life had written, this one included
	// Other and OtherCount are the heartbeat that the writer found and did not
	// expect. In a heartbeat block they are what it found when it booted.
	Other      Life
	OtherCount uint64
}

// Disk is what a whole witness disk says.
type Disk struct {
	Heartbeat Record   // the last heartbeat; zero when there was none yet
	Conflict  *Record  // the first two-writer conflict that a guest saw, nil when none did
	Lives     []Record // one for each boot, oldest first
}

const recordLen = 8 + 16 + 8 + 16 + 8

// Encode fills block, which must be BlockSize long, with r.
func (r Record) Encode(block []byte) {
	clear(block)
	copy(block, magic[:])
	copy(block[8:], r.Life[:])
	binary.LittleEndian.PutUint64(block[24:], r.Count)
	copy(block[32:], r.Other[:])
	binary.LittleEndian.PutUint64(block[48:], r.OtherCount)
	binary.LittleEndian.PutUint32(block[recordLen:], crc32.ChecksumIEEE(block[:recordLen]))
}

// Decode reads a record. ErrBlank means a block of zeroes; any other error, a
// block that is torn or not ours.
func Decode(block []byte) (Record, error) {
	if len(block) < recordLen+4 {
		return Record{}, fmt.Errorf("witness block of %d bytes, want at least %d", len(block), recordLen+4)
	}
	if [8]byte(block[:8]) != magic {
		for _, b := range block {
			if b != 0 {
				return Record{}, errors.New("witness block with a foreign mark")
			}
		}
		return Record{}, ErrBlank
	}
	if want, got := binary.LittleEndian.Uint32(block[recordLen:]), crc32.ChecksumIEEE(block[:recordLen]); want != got {
		return Record{}, fmt.Errorf("witness block with checksum %08x, want %08x", got, want)
	}
	return Record{
		Life: Life(block[8:24]), Count: binary.LittleEndian.Uint64(block[24:]),
		Other: Life(block[32:48]), OtherCount: binary.LittleEndian.Uint64(block[48:]),
	}, nil
}

// ReadDisk reads everything that a witness disk says.
func ReadDisk(r io.ReaderAt) (Disk, error) {
	var d Disk
	block := make([]byte, BlockSize)
	for n := 0; n < firstLife+MaxLives; n++ {
		if _, err := r.ReadAt(block, int64(n)*BlockSize); err != nil {
			return d, fmt.Errorf("read witness block %d: %w", n, err)
		}
		rec, err := Decode(block)
		if errors.Is(err, ErrBlank) {
			if n < firstLife {
				continue
			}
			break
		}
		if err != nil {
			return d, fmt.Errorf("witness block %d: %w", n, err)
		}
		switch n {
		case heartbeatBlock:
			d.Heartbeat = rec
		case conflictBlock:
			d.Conflict = &rec
		default:
			d.Lives = append(d.Lives, rec)
		}
	}
	return d, nil
}

// ReadHeartbeat reads the last heartbeat alone; ErrBlank when there was none yet.
func ReadHeartbeat(r io.ReaderAt, block []byte) (Record, error) {
	if _, err := r.ReadAt(block[:BlockSize], heartbeatBlock*BlockSize); err != nil {
		return Record{}, fmt.Errorf("read witness heartbeat: %w", err)
	}
	return Decode(block[:BlockSize])
}
