package storagehb

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// newBuffer returns n bytes that begin on a page, as direct I/O needs them. They
// lie outside of Go's heap: a write that hangs in the kernel goes on reading them
// for as long as it hangs, whatever becomes of the goroutine that submitted it.
func newBuffer(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes for I/O: %w", n, err)
	}
	return b, nil
}

// freeBuffer gives a buffer back. No I/O may be under way with it.
func freeBuffer(b []byte) {
	if b != nil {
		_ = unix.Munmap(b) // it fails for what is no mapping alone, and newBuffer made it
	}
}
