package fencing

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Watch looks at the deadline each Tick until ctx ends.
func (s *Shared) Watch(ctx context.Context) {
	tick := time.NewTicker(Tick)
	defer tick.Stop()
	for {
		now := BootClock()
		s.look(now)
		atomic.StoreInt64(&s.head().beat, int64(now))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look is one turn of the guard at moment now of the boot clock: when the lease
// has ended, what is covered is killed, and crossed out once it is proven gone.
func (s *Shared) look(now time.Duration) {
	h := s.head()
	if atomic.LoadInt64(&h.tripped) == 0 {
		// Read in this order: Begin clears tripped only after it has taken the last incarnation's
		// deadline away, so that one cannot end the next incarnation's lease here.
		if d := atomic.LoadInt64(&h.deadline); d == 0 || int64(now) < d {
			return
		}
		// tripped is set before the pass, so that an agent which covers a VM during it
		// finds out (see Cover). Whatever becomes of the deadline now, the guard goes on.
		atomic.StoreInt64(&h.tripped, int64(now))
	}
	left := uint64(0)
	s.proc.grace = killGrace // for the whole pass: a host full of VMs that hang must not hold up the next turn
	for i := range s.entries() {
		e := &s.entries()[i]
		pid := atomic.LoadUint64(&e.pid)
		if pid == 0 {
			continue
		}
		if atomic.LoadInt64(&h.tripped) == 0 {
			return // the next incarnation has begun during this pass: what is listed now is its
		}
		if s.end(int(pid), e.start) {
			atomic.CompareAndSwapUint64(&e.pid, pid, 0)
		} else {
			left++
		}
	}
	atomic.StoreUint64(&h.leftover, left)
}

// killGrace is how long one pass waits for processes that it has killed to be gone.
const killGrace = 20 * time.Millisecond

// kill sends SIGKILL to the process and reports whether it is gone. A process
// that waits in the kernel for its storage may stay for long; the next turn tries
// again.
func (s *Shared) kill(pid int, start uint64) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return s.nobody(err, pid, start)
	}
	gone := s.killByFD(fd, pid, start)
	_ = unix.Close(fd) // nothing to do about it
	return gone
}

// nobody reports whether a number that cannot be opened belongs to no process of
// that start. The kernel says EINVAL of one that has ended while something still
// refers to it, and of a thread's.
func (s *Shared) nobody(err error, pid int, start uint64) bool {
	switch {
	case errors.Is(err, unix.ESRCH):
		return true
	case errors.Is(err, unix.EINVAL):
		st, ok := s.proc.startTime(pid)
		return !ok || st != start
	}
	return false
}

func (s *Shared) killByFD(fd, pid int, start uint64) bool {
	if st, ok := s.proc.startTime(pid); ok && st != start {
		return true // the number belongs to another process by now
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return errors.Is(err, unix.ESRCH)
	}
	atomic.AddUint64(&s.head().killed, 1)
	before, grace := BootClock(), &s.proc.grace
	s.proc.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	n, err := unix.Poll(s.proc.poll[:], int(*grace/time.Millisecond))
	*grace = max(0, *grace-(BootClock()-before))
	return err == nil && n == 1 // readable once the process has ended
}
