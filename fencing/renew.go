package fencing

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
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
	if t.Covered && t.Now+renewTime+3*margin > t.Deadline {
		return fmt.Errorf("become the new program: the lease leaves less than %v; ask again", renewTime+3*margin)
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
	err = syscall.Exec(self, args, env)
	unix.CloseOnExec(lock)
	if dog >= 0 {
		unix.CloseOnExec(dog)
	}
	return fmt.Errorf("become the program %s: %w", self, err)
}

// renewTime is the most that a program may take from its start to its first look.
const renewTime = 500 * time.Millisecond

// tryProgram starts the program on the disk once, which also reads it into memory,
// and measures whether it is there in time.
func tryProgram() error {
	self, err := program()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, self, "--version").CombinedOutput(); err != nil {
		return fmt.Errorf("try the new program %s: %w: %s", self, err, strings.TrimSpace(string(out)))
	}
	began := time.Now()
	if err := exec.CommandContext(ctx, self, "--version").Run(); err != nil {
		return fmt.Errorf("try the new program %s: %w", self, err)
	}
	if took := time.Since(began); took > renewTime/2 {
		return fmt.Errorf("the new program %s takes %v to start, allowed are %v", self, took.Round(time.Millisecond), renewTime/2)
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
