package storagehb

import (
	"time"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// Event is what a Volume reports: Opened, Written, TableRead, VMsRead or Changed.
// All moments are readings of the boot clock given to the Volume.
type Event interface{ event() }

// Opened says that the volume is the one that was asked for, and what stands in the
// host's own slot; whatever is written next must be newer. It comes again each time
// that the device had to be opened anew.
type Opened struct {
	Super format.Super
	Slot
	VMs format.Found[format.VMTable]
}

// Written is the end of a write: of a submitted value that no newer one replaced
// before its write began.
type Written struct {
	Kind  format.Kind
	Stamp format.Stamp
	// Submitted is the moment before the write was begun. Whatever it proves counts
	// from here at most, and only if Err is nil.
	Submitted time.Duration
	// Completed is when it was known to have ended.
	Completed time.Duration
	// Err is nil when the storage has the value. Otherwise the value may be there,
	// may yet appear, or was refused (ErrWentBack); it is not tried again.
	Err error
}

// TableRead is the end of a reading of all slots.
type TableRead struct {
	Reading
	Completed time.Duration
	Err       error // the table is empty, and proves nothing
}

// VMsRead is the end of a reading of one host's VM table.
type VMsRead struct {
	Slot      int
	VMs       format.Found[format.VMTable]
	Started   time.Duration
	Completed time.Duration
	Err       error
}

// State is how a volume does for this host.
type State uint8

// The states of a volume.
const (
	Opening  State = iota // nothing has completed yet
	Working               // the last I/O succeeded
	Degraded              // an I/O has been under way for longer than the deadline, or one of an earlier process is
	Failing               // the last I/O ended in an error, or the volume is not to be used
)

// String is the state as people read it.
func (s State) String() string {
	return [...]string{"opening", "working", "degraded", "failing"}[min(s, Failing)]
}

// Changed says that the volume's state is another one now.
type Changed struct {
	State State
	Since time.Duration
	Err   error // why it is failing; ErrHeld where it is degraded by another process
}

func (Opened) event()    {}
func (Written) event()   {}
func (TableRead) event() {}
func (VMsRead) event()   {}
func (Changed) event()   {}
