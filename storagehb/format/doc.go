// Package format is the bytes of a heartbeat volume (HBV1): what each block says,
// where it lies, when it is valid and which of two copies is the newer. It is
// pure: no I/O, no clock; it decodes whatever it is given without a panic.
//
// The rule that everything follows from: every block has exactly one writer, so a
// master that lost its office can never overwrite what its successor said.
//
// All integers are little-endian. A record is one or more blocks of 4096 bytes:
//
//	  0  magic "HAHBVOL\x01" · u16 major · u16 minor · u8 kind · u8 copy · u16 slot
//	 16  cluster, volume and host UUID, 16 bytes each
//	 64  u64 incarnation (claim, acks: epoch) · u64 seq (claim: version)
//	 80  u64 boot clock at submission, ns · u64 wall clock, ns (for people only)
//	 96  the head of the body
//	508  CRC-32C of bytes 0..507
//	512  the rest of the body, in claims, acks and VM tables alone
//	n-4  CRC-32C of bytes 508..n-5, where there is a rest
//
// What is vital lies within the first 512 bytes, which no device tears. The second
// sum covers the first one: otherwise a torn write could join the head of the new
// record to the rest of the one that the copy held before, each with a sum that is
// right. It begins at byte 508 and not at 0, because running a CRC over a message
// and its own CRC always gives the same value and would tell the two apart no better.
package format
