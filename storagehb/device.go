package storagehb

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/holdfast-ha/holdfast/storagehb/format"
	"golang.org/x/sys/unix"
)

// File is what a volume needs of a device. Offsets, lengths and the addresses of
// buffers are multiples of format.BlockSize. Both calls return only when the bytes
// have been moved, or with an error; they may take for ever.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// IO is one of several I/Os that are asked for together.
type IO struct {
	Write  bool // of Buffer to Offset; otherwise a reading
	Buffer []byte
	Offset int64
}

// Batcher is a File to which several I/Os can be given at once, which is worth it
// where handing them over costs more than they do.
type Batcher interface {
	File
	// Memory returns n bytes to do I/O with, which save a copy of what is moved. They
	// begin on a page, are the same at each call, and are gone with Close.
	Memory(n int) ([]byte, error)
	// Do does the I/Os in their order, each after the one before has ended, and none
	// after one that failed. It returns how many ended well, and why the next did not.
	Do(ios ...IO) (int, error)
}

// Do does several I/Os as a Batcher does, whether f is one or not.
func Do(f File, ios ...IO) (done int, err error) {
	if b, ok := f.(Batcher); ok {
		return b.Do(ios...)
	}
	for i, io := range ios {
		if io.Write {
			_, err = f.WriteAt(io.Buffer, io.Offset)
		} else {
			_, err = f.ReadAt(io.Buffer, io.Offset)
		}
		if err != nil {
			return i, err
		}
	}
	return len(ios), nil
}

// Device is a block device or a file of fixed size, opened for direct and
// synchronous I/O. Its methods are not for use by several goroutines.
type Device struct {
	path   string
	fd     int
	size   int64
	sector int
	block  bool
}

// Open opens a volume's device or file as it is: it never creates, truncates or
// extends. It may hang as long as the storage does.
func Open(path string) (*Device, error) { return openDevice(path, unix.O_DSYNC) }

// openDevice adds flags to those that every use of a volume needs: buffered reads
// of a shared device show what another host wrote late, or never.
func openDevice(path string, flags int) (*Device, error) {
	// Looked at before, since opening a pipe that way fails with a misleading error.
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err == nil && !suitable(&st) {
		return nil, fmt.Errorf("open %s: %w", path, errUnsuitable)
	}
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC|flags, 0)
	})
	switch {
	case errors.Is(err, unix.EINVAL):
		return nil, fmt.Errorf("open %s: its file system does not know direct I/O (O_DIRECT), and what another host writes could be read late; use one that does, or a block device: %w",
			path, err)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	d := &Device{path: path, fd: fd}
	if err := d.look(); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, d.Close()))
	}
	return d, nil
}

var errUnsuitable = errors.New("it is neither a block device nor a regular file")

func suitable(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFREG || st.Mode&unix.S_IFMT == unix.S_IFBLK
}

// look finds out what was opened and whether blocks of 4096 bytes can be written to it.
func (d *Device) look() error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		d.size, d.sector = st.Size, format.BlockSize
		var x unix.Statx_t
		if err := unix.Statx(d.fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &x); err == nil && x.Mask&unix.STATX_DIOALIGN != 0 {
			if x.Dio_offset_align == 0 {
				return errors.New("its file system does not do direct I/O on this file (encrypted or compressed?)")
			}
			if x.Dio_offset_align > format.BlockSize || x.Dio_mem_align > format.BlockSize {
				return fmt.Errorf("direct I/O on it needs an alignment of %d bytes, more than a block of %d", max(x.Dio_offset_align, x.Dio_mem_align), format.BlockSize)
			}
		}
	case unix.S_IFBLK:
		d.block = true
		sector, err := unix.IoctlGetInt(d.fd, unix.BLKSSZGET)
		if err != nil {
			return fmt.Errorf("ask for its logical sector: %w", err)
		}
		var size uint64
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&size))); errno != 0 {
			return fmt.Errorf("ask for its size: %w", errno)
		}
		d.size, d.sector = int64(size), sector
		if sector > format.BlockSize {
			return fmt.Errorf("its logical sector is %d bytes: a block of %d cannot be written alone, and its neighbour is another host's", sector, format.BlockSize)
		}
	default:
		return errUnsuitable
	}
	return nil
}

// Size is the size in bytes; a volume uses the beginning.
func (d *Device) Size() int64 { return d.size }

// Sector is the logical sector in bytes; format.BlockSize for a file.
func (d *Device) Sector() int { return d.sector }

// ReadAt reads all of p, which must be aligned.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	return d.all("read", unix.Pread, p, off, io.ErrUnexpectedEOF)
}

// WriteAt writes p, which must be aligned, and returns when the storage has it. A
// part of it may be there after an error.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	return d.all("write", unix.Pwrite, p, off, io.ErrShortWrite)
}

// all is one call: what came out short is not continued, because a record that is
// written in two goes is not one write.
func (d *Device) all(verb string, call func(int, []byte, int64) (int, error), p []byte, off int64, short error) (int, error) {
	n, err := ignoringEINTR(func() (int, error) { return call(d.fd, p, off) })
	if err == nil && n < len(p) {
		err = short
	}
	if err != nil {
		return max(n, 0), fmt.Errorf("%s %d bytes at %d of %s: %w", verb, len(p), off, d.path, err)
	}
	return n, nil
}

// Close closes the device. No I/O may be under way.
func (d *Device) Close() error { return unix.Close(d.fd) }

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
