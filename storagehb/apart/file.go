package apart

import (
	"fmt"
	"unsafe"

	"github.com/holdfast-ha/holdfast/storagehb"
)

// file is a volume that a process has open.
type file struct {
	opener  *Opener
	process *process
	path    string
}

// Memory is the beginning of what is shared with the process.
func (f *file) Memory(n int) ([]byte, error) {
	if n > memorySize {
		return nil, fmt.Errorf("share %d bytes with the process for the I/O of %s: the most is %d", n, f.path, memorySize)
	}
	return f.process.memory[:n], nil
}

// Do has the process do I/Os whose buffers are parts of Memory.
func (f *file) Do(ios ...storagehb.IO) (int, error) {
	r := request{Op: opDo, IOs: make([]transfer, 0, len(ios))}
	for _, io := range ios {
		at, ok := f.shared(io.Buffer)
		if !ok {
			return 0, fmt.Errorf("move %d bytes of %s at %d: the buffer is not in the memory shared with the process that does it",
				len(io.Buffer), f.path, io.Offset)
		}
		r.IOs = append(r.IOs, transfer{Write: io.Write, At: at, Length: len(io.Buffer), Offset: io.Offset})
	}
	done, _, err := f.process.ask(r)
	return done, err
}

// shared is where a buffer begins in the shared memory, if it is part of that.
func (f *file) shared(b []byte) (at int, ok bool) {
	memory := f.process.memory
	if len(b) == 0 || len(memory) == 0 {
		return 0, false
	}
	from, begin := uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	if from < begin || from+uintptr(len(b)) > begin+uintptr(len(memory)) {
		return 0, false
	}
	return int(from - begin), true
}

// one does an I/O with any buffer, by way of the beginning of the shared memory.
func (f *file) one(write bool, b []byte, off int64) (int, error) {
	if len(b) > memorySize {
		return 0, fmt.Errorf("move %d bytes of %s: more than %d at once", len(b), f.path, memorySize)
	}
	at, in := f.shared(b)
	if write && !in {
		copy(f.process.memory, b)
	}
	done, n, err := f.process.ask(request{Op: opDo, IOs: []transfer{{Write: write, At: at, Length: len(b), Offset: off}}})
	if done == 1 {
		n = len(b)
	}
	if n < 0 || n > len(b) {
		return 0, fmt.Errorf("move %d bytes of %s: %w: it says it has moved %d", len(b), f.path, ErrGone, n)
	}
	if !write && !in {
		copy(b, f.process.memory[:n])
	}
	return n, err
}

// ReadAt reads by way of the memory that Memory returns, save where p is part of it.
func (f *file) ReadAt(p []byte, off int64) (int, error) { return f.one(false, p, off) }

// WriteAt writes by way of the memory that Memory returns, save where p is part of it.
func (f *file) WriteAt(p []byte, off int64) (int, error) { return f.one(true, p, off) }

// Close closes the volume; what Memory returned is not to be touched any more.
func (f *file) Close() error {
	_, _, err := f.process.ask(request{Op: opClose})
	f.opener.keep(f.process, f.path)
	return err
}
