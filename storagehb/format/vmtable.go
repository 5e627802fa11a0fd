package format

import (
	"bytes"
	"crypto/sha256"
	"fmt"
)

// MaxVMs is how many protected VMs a host's table can hold.
const MaxVMs = 508

// VMState is what a host says of one of its protected VMs.
type VMState uint8

// The states of a VM. The numbers are on disk and never change.
const (
	VMUnknown         VMState = 0
	VMStarting        VMState = 1
	VMRunning         VMState = 2
	VMStopping        VMState = 3
	VMStopped         VMState = 4
	VMStoppedIsolated VMState = 5 // because of isolation: only such a VM is restarted elsewhere for it
	VMCrashed         VMState = 6 // ended by itself while the network did not bring the host: restarted elsewhere
)

// String is the state as people read it.
func (s VMState) String() string {
	names := [...]string{"unknown", "starting", "running", "stopping", "stopped", "stopped because of isolation", "crashed"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// VM is one line of a table.
type VM struct {
	UUID       UUID
	Generation uint64 // of its start
	State      VMState
	Flags      uint8 // none is defined yet
}

// VMTable lists the protected VMs on a host.
type VMTable struct {
	Incarnation uint64 // as in the heartbeat
	Run         uint64
	Seq         uint64 // counts the tables
	VMs         []VM   // by ascending UUID, each once, at most MaxVMs
}

const vmLen = 28

// Kind is KindVMTable.
func (t VMTable) Kind() Kind { return KindVMTable }

// Stamp is (incarnation, run, seq).
func (t VMTable) Stamp() Stamp { return Stamp{t.Incarnation, t.Run, t.Seq} }

// Validate refuses what cannot be written.
func (t VMTable) Validate() error {
	if len(t.VMs) > MaxVMs {
		return fmt.Errorf("it lists %d VMs, the most is %d", len(t.VMs), MaxVMs)
	}
	for i := 1; i < len(t.VMs); i++ {
		if a, b := t.VMs[i-1].UUID, t.VMs[i].UUID; bytes.Compare(a[:], b[:]) >= 0 {
			return fmt.Errorf("VM %v is listed after %v: want ascending UUIDs, each once", b, a)
		}
	}
	return nil
}

// Digest tells two tables with other VMs, generations or states apart. It does not
// depend on who wrote the table, or when.
func (t VMTable) Digest() (d [16]byte) {
	b := make([]byte, vmLen*len(t.VMs))
	t.putVMs(&cursor{b: b})
	sum := sha256.Sum256(b)
	copy(d[:], sum[:])
	return d
}

func (t VMTable) put(c *cursor) {
	c.putU64(t.Run)
	c.putU16(uint16(len(t.VMs)))
	c.at = headLen
	t.putVMs(c)
}

func (t VMTable) putVMs(c *cursor) {
	for _, vm := range t.VMs {
		c.putUUID(vm.UUID)
		c.putU64(vm.Generation)
		c.putU8(uint8(vm.State))
		c.putU8(vm.Flags)
		c.putU16(0)
	}
}

// DecodeVMTable reads a VM table.
func DecodeVMTable(b []byte) (VMTable, Origin, error) {
	c, o, s, err := open(b, KindVMTable)
	if err != nil {
		return VMTable{}, o, err
	}
	t := VMTable{Incarnation: s.Life, Run: c.u64(), Seq: s.Seq}
	count := int(c.u16())
	if count > MaxVMs {
		return VMTable{}, o, malformed(KindVMTable, "%d VMs, the most is %d", count, MaxVMs)
	}
	c.at = headLen
	for range count {
		vm := VM{UUID: c.uuid(), Generation: c.u64(), State: VMState(c.u8()), Flags: c.u8()}
		c.skip(2)
		t.VMs = append(t.VMs, vm)
	}
	if err := t.Validate(); err != nil {
		return VMTable{}, o, malformed(KindVMTable, "%v", err)
	}
	return t, o, nil
}
