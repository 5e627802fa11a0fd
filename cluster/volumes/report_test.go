package volumes

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
)

// Hosts that suffer from the same fault say the same of it, and go on saying it.
func TestFaultIsToldAlike(t *testing.T) {
	device := func(off int) error { return fmt.Errorf("write 4096 bytes at %d of /dev/hb: %w", off, syscall.EIO) }
	for _, tt := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("write heartbeat 1.45.71: %w", device(65536)), "input/output error"},
		{fmt.Errorf("write heartbeat 1.46.99: %w", device(73728)), "input/output error"},
		{fmt.Errorf("read the table: %w", syscall.ETIMEDOUT), "connection timed out"},
		{errors.New("an I/O does not end"), "an I/O does not end"},
	} {
		if got := fault(tt.err); got != tt.want {
			t.Errorf("of %q it is said %q, want %q", tt.err, got, tt.want)
		}
	}
}
