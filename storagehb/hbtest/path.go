package hbtest

import (
	"bytes"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// ErrIO is what a broken path or disk answers.
var ErrIO = errors.New("input/output error")

// Fault is what becomes of the next write on a path.
type Fault struct {
	// Keep is how many bytes reach the disk; all of them when nil.
	Keep *int
	// Later is after how long they reach it, though the write has ended by then.
	Later time.Duration
	// Err is how the write ends; nil for success, though bytes may be missing.
	Err error
}

// Path is one host's way to a disk.
type Path struct {
	disk *Disk
	slot int

	// Guarded by the disk's lock.
	opens  int
	reads  int
	writes int
	delay  time.Duration
	err    error
	hang   chan struct{} // closed when the path goes on; nil while it does
	faults []Fault
	stale  []byte
	orphan bool
	dark   bool // its machine has lost its power
}

// Path returns a new way to the disk for the host that has that slot.
func (d *Disk) Path(slot int) *Path { return &Path{disk: d, slot: slot} }

// Open opens the disk. It hangs and fails as an I/O does.
func (p *Path) Open() (storagehb.File, error) {
	f := &file{Path: p}
	if err := f.pass(&p.opens); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	f.leave()
	return f, nil
}

// SetDelay makes every I/O that begins from now on take that long.
func (p *Path) SetDelay(d time.Duration) { p.set(func() { p.delay = d }) }

// SetError makes every I/O that begins from now on fail; nil ends that.
func (p *Path) SetError(err error) { p.set(func() { p.err = err }) }

// Hang makes every I/O that begins from now on wait for Release.
func (p *Path) Hang() {
	p.set(func() {
		if p.hang == nil {
			p.hang = make(chan struct{})
		}
	})
}

// Release ends Hang: what has waited goes on, and writes land, late.
func (p *Path) Release() {
	p.set(func() {
		if p.hang != nil {
			close(p.hang)
			p.hang = nil
		}
	})
}

// Heal makes the path as it was when it was new. What has hung goes on.
func (p *Path) Heal() {
	p.Release()
	p.set(func() { p.delay, p.err, p.faults, p.stale = 0, nil, nil, nil })
}

// Next says what becomes of the next write, and of those after it when called again.
func (p *Path) Next(f Fault) { p.set(func() { p.faults = append(p.faults, f) }) }

// Orphan says that the process on this path is gone. What it had under way may
// still reach the disk, and is not held against the host.
func (p *Path) Orphan() { p.set(func() { p.orphan = true }) }

// PowerLost says that the machine on this path is off. What it had under way may still
// reach the disk, even when the machine runs again.
func (p *Path) PowerLost() { p.set(func() { p.orphan, p.dark = true, true }) }

// Freeze makes reads show what is on the disk now, whatever is written, as a
// buffered reader of a shared device may; false ends that.
func (p *Path) Freeze(on bool) {
	p.set(func() {
		p.stale = nil
		if on {
			p.stale = bytes.Clone(p.disk.data)
		}
	})
}

// Counts are how often the disk was opened, read and written on this path.
func (p *Path) Counts() (opens, reads, writes int) {
	p.set(func() { opens, reads, writes = p.opens, p.reads, p.writes })
	return opens, reads, writes
}

func (p *Path) set(f func()) {
	p.disk.mu.Lock()
	defer p.disk.mu.Unlock()
	f()
}

// pass counts an I/O and makes it wait and fail as it has to.
func (f *file) pass(count *int) error {
	var delay time.Duration
	var hang chan struct{}
	var err error
	f.set(func() {
		*count++
		f.busy++
		if f.busy > 1 {
			f.disk.violate("the host of slot %d has %d I/Os under way at once", f.slot, f.busy)
		}
		delay, hang, err = f.delay, f.hang, f.err
	})
	if delay > 0 {
		time.Sleep(delay)
	}
	if hang != nil {
		<-hang
		f.set(func() { err = f.err })
	}
	if err != nil {
		f.leave()
	}
	return err
}

func (f *file) leave() { f.set(func() { f.busy-- }) }

// file is a path while it is open. It may be opened twice, by whoever looks what is there
// and by whoever uses it; each of them does one I/O at a time.
type file struct {
	*Path
	busy int // guarded by the disk's lock
}

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	f.aligned(b, off)
	if err := f.pass(&f.reads); err != nil {
		return 0, fmt.Errorf("read at %d: %w", off, err)
	}
	defer f.leave()
	n := 0
	f.set(func() {
		from := f.disk.data
		if f.stale != nil {
			from = f.stale
		}
		n = copy(b, from[min(off, int64(len(from))):])
	})
	if n < len(b) {
		return n, fmt.Errorf("read at %d: %w: it ends at %d", off, ErrIO, len(f.disk.data))
	}
	return n, nil
}

func (f *file) WriteAt(b []byte, off int64) (int, error) {
	f.aligned(b, off)
	before := bytes.Clone(b)
	f.set(func() { f.disk.begin(f) })
	defer f.set(func() { delete(f.disk.writing, f) })
	if err := f.pass(&f.writes); err != nil {
		return 0, fmt.Errorf("write at %d: %w", off, err)
	}
	defer f.leave()
	return f.land(b, before, off)
}

// land is the end of a write.
func (f *file) land(b, before []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if !bytes.Equal(before, b) {
		f.disk.violate("the host of slot %d changed a buffer whose write was under way", f.slot)
	}
	if !f.orphan {
		f.disk.watch(b, off, f.slot)
	}
	if delete(f.disk.late, off); f.dark {
		f.disk.late[off] = true
	}
	fault := Fault{}
	if len(f.faults) > 0 {
		fault, f.faults = f.faults[0], f.faults[1:]
	}
	keep := len(b)
	if fault.Keep != nil {
		keep = min(keep, *fault.Keep)
	}
	if fault.Later > 0 {
		f.disk.landLater(b[:keep], off, fault.Later)
	} else {
		copy(f.disk.data[off:], b[:keep])
	}
	if fault.Err != nil {
		return 0, fmt.Errorf("write at %d: %w", off, fault.Err)
	}
	return len(b), nil
}

func (f *file) Close() error { return nil }

// aligned holds the caller to what direct I/O asks for.
func (f *file) aligned(b []byte, off int64) {
	if len(b) == 0 || len(b)%format.BlockSize != 0 || off%format.BlockSize != 0 ||
		uintptr(unsafe.Pointer(unsafe.SliceData(b)))%format.BlockSize != 0 {
		f.set(func() {
			f.disk.violate("the host of slot %d moves %d bytes at %d, not aligned to %d", f.slot, len(b), off, format.BlockSize)
		})
	}
}
