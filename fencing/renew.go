package fencing

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inherited names the descriptors that a guard hands to the program that replaces
// it: the lock's and the watchdog's ("-1": closed).
const inherited = "HAAGENT_GUARD_DESCRIPTORS"

// Renewed reports whether this program took the place of an earlier guard in its
// process. It is asked before RunGuard.
func Renewed() bool { return os.Getenv(inherited) != "" }

// inherit takes over what an earlier guard in this process left open.
func (g *guard) inherit() bool {
	var lock, dog int
	n, err := fmt.Sscanf(os.Getenv(inherited), "%d,%d", &lock, &dog)
	_ = os.Unsetenv(inherited) // a child has none of them
	if err != nil || n != 2 {
		return false
	}
	unix.CloseOnExec(lock)
	g.lock = os.NewFile(uintptr(lock), "guard lock")
	if dog >= 0 && g.dog != nil {
		unix.CloseOnExec(dog)
		g.dog.Adopt(dog)
	}
	return true
}

// renew replaces this process's program by what its file holds now. The process
// stays, and with it the lock and the open watchdog: at no moment is there another
// holder or none. It returns only when that did not come about.
func (g *guard) renew(o GuardOptions) error {
	t := g.shared.forKeeper(BootClock())
	if t.Covered && t.Now+g.renewTime()+3*margin > t.Deadline {
		return fmt.Errorf("become the new program: the lease leaves less than %v; ask again", g.renewTime()+3*margin)
	}
	self, err := program()
	if err != nil {
		return err
	}
	args := []string{self, "guard", "--state", o.Path}
	dog := -1
	if g.dog != nil {
		args = append(args, WatchdogFlags(g.dog.Path(), g.dog.Timeout())...)
		dog = g.dog.FD()
	}
	lock := int(g.lock.Fd())
	for _, fd := range []int{lock, dog} {
		if fd < 0 {
			continue
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("keep descriptor %d open: %w", fd, err)
		}
	}
	env := append(os.Environ(), fmt.Sprintf("%s=%d,%d", inherited, lock, dog))
	// Nobody is to take the silence for a death.
	atomic.StoreInt64(&g.shared.head().beat, int64(t.Now+g.renewTime()))
	err = syscall.Exec(self, args, env)
	unix.CloseOnExec(lock)
	if dog >= 0 {
		unix.CloseOnExec(dog)
	}
	return fmt.Errorf("become the program %s: %w", self, err)
}

// renewTime is the most that a program may take from its start to its first look:
// half of what the watchdog allows between two pets.
func (g *guard) renewTime() time.Duration {
	if g.dog == nil {
		return time.Second
	}
	return g.dog.Timeout() / 2
}

// tryProgram starts the program on the disk, which also reads it into memory, and
// sees whether it is there in time: the quickest of three, as the processor may be
// busy and the guard's own start is before all others.
func tryProgram(within time.Duration) error {
	self, err := program()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	took := time.Duration(math.MaxInt64)
	for range 3 {
		cmd := exec.CommandContext(ctx, self, "--version")
		began := time.Now()
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("try the new program %s: %w", self, err)
		}
		// As the guard's own start would be; where it may not, the trial is only slower.
		_ = unix.SchedSetAttr(cmd.Process.Pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 10}, 0)
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("try the new program %s: %w", self, err)
		}
		took = min(took, time.Since(began))
	}
	if took > within {
		return fmt.Errorf("the new program %s takes %v to start, allowed are %v", self, took.Round(time.Millisecond), within)
	}
	return nil
}

// program is the file that this program was started from, as it is now: after an
// upgrade the old one's entry is gone and the new one has its name.
func program() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return strings.TrimSuffix(self, " (deleted)"), nil
}

// WatchdogFlags are the arguments of `haagent guard` that name the watchdog; none
// for no device.
func WatchdogFlags(device string, timeout time.Duration) []string {
	if device == "" {
		return nil
	}
	return []string{"--watchdog", device, "--watchdog-timeout", timeout.String()}
}
