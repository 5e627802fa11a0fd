// Package storagehb reads and writes heartbeat volumes: small areas of shared
// storage, a block device or a file, on which every host has a slot of its own. It
// owns the I/O (Device, Volume), the making and checking of volumes (Init, Verify,
// Dump) and the arithmetic of how many volumes of a set are enough (Set). The bytes
// are those of storagehb/format.
//
// It says what was read and written, and when that was begun; what follows from it
// for leases is for others to decide. It knows nothing of raft, masters or
// hypervisors, and nothing that decides ever waits for a volume.
package storagehb
