package format

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/durable"
)

// Flags are a host's own words about its state.
type Flags uint32

// The flags of a heartbeat. The numbers are on disk and never change.
const (
	FlagQuorum          Flags = 1 << iota // it follows a master that has a majority
	FlagIsolated                          // it hears nobody on any network
	FlagVMsStopped                        // every protected domain is proven gone
	FlagWatchdogArmed                     // a watchdog will reset it if it hangs
	FlagMaintenance                       // it was put into maintenance
	FlagCleanExit                         // its agent ended in good order, with no VM left
	FlagStorageDegraded                   // it has a volume that does not answer in time
	FlagSelfFencing                       // its lease ended; it is stopping or being reset
)

// String lists the flags that are set, for people.
func (f Flags) String() string {
	names := []string{"quorum", "isolated", "vms_stopped", "watchdog_armed", "maintenance", "clean_exit", "storage_degraded", "self_fencing"}
	var set []string
	for i, name := range names {
		if f&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	if rest := f >> len(names); rest != 0 {
		set = append(set, fmt.Sprintf("unknown %#x", uint32(rest)<<len(names)))
	}
	return strings.Join(set, " ")
}

// Heartbeat says that a host is there, and how it is.
type Heartbeat struct {
	Incarnation uint64        // the host's life, numbered by the cluster
	Run         uint64        // counts the agent's starts
	Seq         uint64        // of the heartbeat; the same on every medium, never starts again
	BootID      UUID          // the kernel's
	Epoch       uint64        // of the master that it follows
	Applied     uint64        // highest raft index that it has applied
	SetRevision uint64        // of the volume set that it proves with
	Acked       uint64        // highest own seq acknowledged to it, by any medium
	Flags       Flags         // its own state
	Lease       time.Duration // its setting; whole milliseconds, like the next three
	Watchdog    time.Duration // effective timeout; 0 without one
	Interval    time.Duration // between its heartbeats
	Latency     time.Duration // of its last I/O on this volume
	VMs         uint32        // protected VMs on it
	TableSeq    uint64        // seq of the VM table that belongs to Digest
	Digest      [16]byte      // VMTable.Digest of its VMs
	Name        string        // of the host, up to 64 bytes
	Reason      string        // why it was fenced last, up to 160 bytes
	// Disk is how far the host's own disk had come when this was submitted: what the host
	// states here it still finds when its disk has gone back to a backup.
	Disk durable.Position
}

const (
	nameLen        = 64
	fenceReasonLen = 160
)

// Kind is KindHeartbeat.
func (h Heartbeat) Kind() Kind { return KindHeartbeat }

// Stamp is (incarnation, run, seq).
func (h Heartbeat) Stamp() Stamp { return Stamp{h.Incarnation, h.Run, h.Seq} }

// Validate refuses nothing: texts are cut to what fits.
func (h Heartbeat) Validate() error { return nil }

func (h Heartbeat) put(c *cursor) {
	c.putUUID(h.BootID)
	for _, v := range []uint64{h.Run, h.Epoch, h.Applied, h.SetRevision, h.Acked} {
		c.putU64(v)
	}
	c.putU32(uint32(h.Flags))
	for _, d := range []time.Duration{h.Lease, h.Watchdog, h.Interval, h.Latency} {
		c.putMillis(d)
	}
	c.putU32(h.VMs)
	c.putU64(h.TableSeq)
	c.putBytes(h.Digest[:])
	c.putText(h.Name, nameLen)
	c.putText(h.Reason, fenceReasonLen)
	for _, v := range []uint64{h.Disk.Term, h.Disk.Vote, h.Disk.Index} {
		c.putU64(v)
	}
}

// DecodeHeartbeat reads a heartbeat.
func DecodeHeartbeat(b []byte) (Heartbeat, Origin, error) {
	c, o, s, err := open(b, KindHeartbeat)
	if err != nil {
		return Heartbeat{}, o, err
	}
	h := Heartbeat{Incarnation: s.Life, Seq: s.Seq, BootID: c.uuid()}
	for _, v := range []*uint64{&h.Run, &h.Epoch, &h.Applied, &h.SetRevision, &h.Acked} {
		*v = c.u64()
	}
	h.Flags = Flags(c.u32())
	for _, d := range []*time.Duration{&h.Lease, &h.Watchdog, &h.Interval, &h.Latency} {
		*d = c.millis()
	}
	h.VMs, h.TableSeq = c.u32(), c.u64()
	copy(h.Digest[:], c.next(len(h.Digest)))
	h.Name, h.Reason = c.text(nameLen), c.text(fenceReasonLen)
	h.Disk = durable.Position{Term: c.u64(), Vote: c.u64(), Index: c.u64()}
	return h, o, nil
}
