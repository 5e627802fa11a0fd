package fencing

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// GuardAlive reports whether a guard looked at the deadline lately.
func (s *Shared) GuardAlive(now time.Duration) bool {
	beat := s.Status().Beat
	return beat != 0 && now-beat < 10*Tick
}

// InLine reports whether a guard waits for the present one to end.
func (s *Shared) InLine(now time.Duration) bool {
	waiting := time.Duration(atomic.LoadInt64(&s.head().waiting))
	return waiting != 0 && now-waiting < 3*lineTick
}

// Launch starts a guard process on this memory: command is the agent's own
// program, which serves `guard --state PATH`, and the watchdog that the last guard
// had is given to it. The guard is a session of its own and outlives the agent;
// where a guard runs already the new one waits for its end, so the caller launches
// one only when none is alive.
func (s *Shared) Launch(command string) error {
	w := s.Status().Watchdog
	cmd := exec.Command(command, append([]string{"guard", "--state", s.path}, WatchdogFlags(w.Device, w.Timeout)...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GOMAXPROCS=1"}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the guard: %w", err)
	}
	// Reaped here so that a guard that ends does not stay as a zombie; the
	// goroutine ends with the guard, or with this process.
	go func() { _ = cmd.Wait() }()
	return nil
}

// EndSilent kills the guard that holds this memory if it has not looked at the
// deadline for a while: one that is stopped or hangs keeps the next from taking
// its place, and the watchdog would reset a host whose lease is good. It reports
// whether there was one to kill.
//
// The kernel pets the watchdog at that moment, as at any death of its holder. So
// it is the caller's to do it only while the lease holds.
func (s *Shared) EndSilent(now time.Duration) (bool, error) {
	if s.GuardAlive(now) {
		return false, nil
	}
	h := s.head()
	pid, start := int(atomic.LoadUint64(&h.guardPID)), atomic.LoadUint64(&h.guardStart)
	if pid == 0 || start == 0 {
		return false, nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) { // ended, or about to
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("look for the silent guard: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing to do about it
	if st, ok := new(procReader).startTime(pid); !ok || st != start {
		return false, nil // the number belongs to another process by now
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return false, fmt.Errorf("end the silent guard: %w", err)
	}
	return true, nil
}
