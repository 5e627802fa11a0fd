package fencing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Tick is how often the guard looks at the deadline.
const Tick = 50 * time.Millisecond

// BootClock reads CLOCK_BOOTTIME, which goes on in suspend (Go's own clock does not).
func BootClock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("CLOCK_BOOTTIME cannot be read: " + err.Error()) // since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}

// RunGuard is the guard: it looks at the deadline each Tick until ctx ends, and
// kills what is covered once the deadline has passed. One guard at a time serves a
// file: another waits until that one has ended. It locks its memory and asks for real-time scheduling;
// where the system refuses either, warn is told and it goes on without.
func RunGuard(ctx context.Context, path string, warn func(error)) error {
	s, err := OpenShared(path)
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // the process ends with it
	lock, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the guard's memory to lock it: %w", err)
	}
	defer lock.Close() // the process ends with it
	if err := waitLock(ctx, lock); err != nil || ctx.Err() != nil {
		return err
	}
	// From here on: no allocation, so no collection; one thread, real-time, resident.
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	// On fault: what the runtime has only reserved stays unused.
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		warn(fmt.Errorf("lock the guard's memory: %w", err))
	}
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 50}, 0); err != nil {
		warn(fmt.Errorf("ask for real-time scheduling: %w", err))
	}
	atomic.StoreUint64(&s.head().guardPID, uint64(os.Getpid()))
	defer atomic.StoreInt64(&s.head().beat, 0)
	for ctx.Err() == nil {
		s.look(BootClock())
		// Asleep in the kernel, on this thread: the wake-up waits for no other goroutine.
		ts := unix.NsecToTimespec(int64(Tick))
		if err := unix.ClockNanosleep(unix.CLOCK_BOOTTIME, 0, &ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("sleep between two looks: %w", err)
		}
	}
	return nil
}

// waitLock takes the file's lock, which a guard holds as long as it lives.
func waitLock(ctx context.Context, f *os.File) error {
	tick := time.NewTicker(2 * Tick)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock the guard's memory: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Watch looks at the deadline each Tick until ctx ends.
func (s *Shared) Watch(ctx context.Context) {
	tick := time.NewTicker(Tick)
	defer tick.Stop()
	for {
		s.look(BootClock())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look is one turn of the guard at moment now of the boot clock.
func (s *Shared) look(now time.Duration) {
	h := s.head()
	atomic.StoreInt64(&h.beat, int64(now))
	d := atomic.LoadInt64(&h.deadline)
	if d == 0 || int64(now) < d {
		return
	}
	// tripped is set before the pass, so that an agent which covers a VM during it
	// finds out (see Cover).
	atomic.CompareAndSwapInt64(&h.tripped, 0, int64(now))
	left := uint64(0)
	for i := range s.entries() {
		e := &s.entries()[i]
		pid := atomic.LoadUint64(&e.pid)
		if pid == 0 {
			continue
		}
		if s.end(int(pid), e.start) {
			atomic.CompareAndSwapUint64(&e.pid, pid, 0)
		} else {
			left++
		}
	}
	atomic.StoreUint64(&h.leftover, left)
}

// kill sends SIGKILL to the process and reports whether it is gone. A process
// that waits in the kernel for its storage may stay for long; the next turn tries again.
func (s *Shared) kill(pid int, start uint64) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return errors.Is(err, unix.ESRCH)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing to do about it
	if st, ok := startTime(pid); ok && st != start {
		return true // the number belongs to another process by now
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return errors.Is(err, unix.ESRCH)
	}
	atomic.AddUint64(&s.head().killed, 1)
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 20)
	return err == nil && n == 1 // readable once the process has ended
}
