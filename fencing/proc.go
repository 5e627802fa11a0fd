package fencing

import (
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// procReader reads /proc/PID/stat in room of its own: the guard's loop uses it
// when memory may be short and nothing may be allocated.
type procReader struct {
	path [32]byte
	text [1024]byte
	poll [1]unix.PollFd
	// grace is what the pass has left for waiting for processes to be gone.
	grace time.Duration
}

// startTime reads field 22 of /proc/PID/stat.
func (r *procReader) startTime(pid int) (uint64, bool) {
	p := append(r.path[:0], "/proc/"...)
	p = append(strconv.AppendInt(p, int64(pid), 10), "/stat\x00"...)
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, atFDCWD, uintptr(unsafe.Pointer(&p[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return 0, false
	}
	n, err := unix.Read(int(fd), r.text[:])
	_ = unix.Close(int(fd)) // it was read from
	if err != nil {
		return 0, false
	}
	return statStart(r.text[:n])
}

// statStart picks field 22 out of the line. The name, field 2, stands in brackets
// and may hold anything; field 3 follows the last one.
func statStart(line []byte) (uint64, bool) {
	i := len(line) - 1
	for i >= 0 && line[i] != ')' {
		i--
	}
	if i < 0 {
		return 0, false
	}
	field := 2
	var n uint64
	digits := 0
	for _, c := range line[i+1:] {
		switch {
		case c == ' ':
			if field == 22 {
				return n, digits > 0
			}
			field++
		case field == 22 && c >= '0' && c <= '9':
			n, digits = n*10+uint64(c-'0'), digits+1
		case field == 22:
			return 0, false
		}
	}
	return n, field == 22 && digits > 0
}
