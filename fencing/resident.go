package fencing

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// realTime puts every thread of this process before all ordinary ones: the loop's,
// and those of the runtime, which may hold what the loop needs next. Children are
// ordinary again.
func realTime() error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list this process's threads: %w", err)
	}
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 50, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.SchedSetAttr(tid, &attr, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// LockMemory keeps in memory what this process uses from now on, its program included.
// Where memory is short the kernel gives up pages of programs, which can be read again: a
// process that is not locked then waits for the disk at every step.
func LockMemory() error {
	// On fault: what the runtime has only reserved stays unused.
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("lock this process's memory: %w", err)
	}
	return nil
}

// touchProgram reads one byte of every page of this program's own file that is
// mapped. With MCL_ONFAULT that is what locks them.
func touchProgram() error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("read this process's map: %w", err)
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if len(f) < 6 || !strings.HasPrefix(f[5], "/") || !strings.HasPrefix(f[1], "r") || f[1][3] != 'p' {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		lo, err := strconv.ParseUint(from, 16, 64)
		if err != nil {
			return fmt.Errorf("line %q of this process's map: %w", line, err)
		}
		hi, err := strconv.ParseUint(to, 16, 64)
		if err != nil {
			return fmt.Errorf("line %q of this process's map: %w", line, err)
		}
		// The kernel reads the pages in and, as the mapping is locked, keeps them. Before Linux 5.14 it
		// does not know the request; then they are locked as they are used.
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(lo), uintptr(hi-lo), unix.MADV_POPULATE_READ)
		if errno != 0 && errno != unix.EINVAL {
			return fmt.Errorf("read %s into memory: %w", f[5], errno)
		}
	}
	return nil
}
