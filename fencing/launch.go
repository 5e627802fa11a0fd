package fencing

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// GuardAlive reports whether a guard looked at the deadline lately.
func (s *Shared) GuardAlive(now time.Duration) bool {
	beat := s.Status().Beat
	return beat != 0 && now-beat < 10*Tick
}

// Launch starts a guard process on this memory: command is the agent's own
// program, which serves `guard --state PATH`. The guard is a session of its own
// and outlives the agent; where a guard runs already the new one waits for its end,
// so the caller launches one only when none is alive.
func (s *Shared) Launch(command string) error {
	cmd := exec.Command(command, "guard", "--state", s.path)
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
