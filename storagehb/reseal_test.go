package storagehb_test

import (
	"encoding/binary"
	"hash/crc32"
)

// reseal gives a block that was changed right sums again.
func reseal(block []byte) {
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(block[508:], crc32.Checksum(block[:508], table))
	binary.LittleEndian.PutUint32(block[len(block)-4:], crc32.Checksum(block[508:len(block)-4], table))
}
