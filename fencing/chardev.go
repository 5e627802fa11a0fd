package fencing

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Device is a watchdog of the Linux kernel's, such as /dev/watchdog0.
type Device struct {
	path string
	want time.Duration // whole seconds
	fd   int           // -1: not open
	info Info
	name []byte // path with a zero at its end, so that opening allocates nothing
}

// Info is what the driver says of itself.
type Info struct {
	Identity string // "i6300ESB timer"
	// MagicClose: the timer stops when its holder says so before closing, and goes on when it dies.
	MagicClose bool
	// NoWayOut: nothing stops the timer once it runs.
	NoWayOut bool
	// FiredLast: the driver says that it was the one that reset the machine last.
	FiredLast bool
	// Timeout is the time to a reset that the driver has set.
	Timeout time.Duration
}

// OpenDevice describes the device at path without touching it: opening it would
// start its timer. timeout is what it will be asked for, in whole seconds. Whether
// there is such a device is found out by Arm, each time: a guard without its
// watchdog still has VMs to end, and a driver may be loaded later.
func OpenDevice(path string, timeout time.Duration) (*Device, error) {
	if timeout < time.Second || timeout%time.Second != 0 {
		return nil, fmt.Errorf("watchdog timeout of %v: watchdogs count whole seconds, from 1s", timeout)
	}
	return &Device{path: path, want: timeout, fd: -1, name: append([]byte(path), 0)}, nil
}

// look makes sure that what is about to be opened can be a watchdog.
func (d *Device) look() error {
	var st unix.Stat_t
	if err := unix.Stat(d.path, &st); err != nil {
		return fmt.Errorf("look at the watchdog %s: %w", d.path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return fmt.Errorf("%s is not a character device, so no watchdog: %w", d.path, unix.ENODEV)
	}
	d.info.NoWayOut = noWayOut(st.Rdev)
	return nil
}

// noWayOut reads the driver's setting from sysfs. /dev/watchdog is the same
// device as /dev/watchdog0 under an older number that sysfs does not lead on from.
func noWayOut(rdev uint64) bool {
	dir := fmt.Sprintf("/sys/dev/char/%d:%d", unix.Major(rdev), unix.Minor(rdev))
	if unix.Major(rdev) == 10 {
		dir = "/sys/class/watchdog/watchdog0"
	}
	b, err := os.ReadFile(filepath.Join(dir, "nowayout"))
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// Adopt takes over a descriptor of the device that is open already.
func (d *Device) Adopt(fd int) { d.fd = fd }

// FD is the open descriptor, -1 when the device is closed.
func (d *Device) FD() int { return d.fd }

// Info is what the driver said when it was armed last.
func (d *Device) Info() Info { return d.info }

// Path is the device's.
func (d *Device) Path() string { return d.path }

// Timeout is what the device was asked for; Arm refuses a driver that sets another.
func (d *Device) Timeout() time.Duration { return d.want }

// Enduring reports whether the timer outlives its holder.
func (d *Device) Enduring() bool { return d.info.MagicClose || d.info.NoWayOut }

// Arm opens the device, which starts it, and sets its timeout. A driver that
// sets another than it was asked for is refused: the cluster waits by the figure
// in its policy, and a host that takes longer to die would still be running.
func (d *Device) Arm() error {
	if d.fd < 0 {
		if err := d.look(); err != nil {
			return err
		}
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, atFDCWD, uintptr(unsafe.Pointer(&d.name[0])), unix.O_WRONLY|unix.O_CLOEXEC, 0, 0, 0)
		if errno == unix.EBUSY {
			return fmt.Errorf("open the watchdog %s: %w: another program holds it (systemd's RuntimeWatchdogSec, a watchdog daemon, sbd)", d.path, errno)
		} else if errno != 0 {
			return fmt.Errorf("open the watchdog %s: %w", d.path, errno)
		}
		d.fd = int(fd)
	}
	if err := d.setUp(); err != nil {
		if errors.Is(err, unix.ENODEV) { // the driver has gone; another may come under its name
			return errors.Join(err, d.CloseHard())
		}
		if released := d.Release(); released != nil {
			err = errors.Join(err, released)
		}
		return err
	}
	return nil
}

const atFDCWD = ^uintptr(99) // AT_FDCWD, -100, in a register

func (d *Device) setUp() error {
	wi, err := unix.IoctlGetWatchdogInfo(d.fd)
	if err != nil {
		return fmt.Errorf("ask the watchdog %s what it is: %w", d.path, err)
	}
	d.info.Identity = strings.TrimRight(string(wi.Identity[:]), "\x00")
	d.info.MagicClose = wi.Options&unix.WDIOF_MAGICCLOSE != 0
	if boot, err := unix.IoctlGetInt(d.fd, unix.WDIOC_GETBOOTSTATUS); err == nil {
		d.info.FiredLast = boot > 0 && boot&unix.WDIOF_CARDRESET != 0
	}
	if wi.Options&unix.WDIOF_SETTIMEOUT == 0 {
		return fmt.Errorf("the watchdog %s (%s) has a timeout that cannot be set", d.path, d.info.Identity)
	}
	got, err := d.setTimeout(d.want)
	if err != nil {
		return err
	}
	d.info.Timeout = got
	if got != d.want {
		return fmt.Errorf("the watchdog %s (%s) was asked for %v and set %v: choose a watchdog_timeout that it can do", d.path, d.info.Identity, d.want, got)
	}
	return nil
}

// setTimeout returns what the driver made of it: the call writes it back, and it
// is read once more because not every driver does.
func (d *Device) setTimeout(timeout time.Duration) (time.Duration, error) {
	v := int32(timeout / time.Second)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), unix.WDIOC_SETTIMEOUT, uintptr(unsafe.Pointer(&v))); errno != 0 {
		return 0, fmt.Errorf("set the timeout of the watchdog %s to %v: %w", d.path, timeout, errno)
	}
	set := time.Duration(v) * time.Second
	if got, err := unix.IoctlGetInt(d.fd, unix.WDIOC_GETTIMEOUT); err == nil {
		set = max(set, time.Duration(got)*time.Second)
	}
	return set, nil
}

// Pet restarts the timer.
func (d *Device) Pet() error {
	// Neither the call nor its errors allocate.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), unix.WDIOC_KEEPALIVE, 0); errno != 0 {
		return errno
	}
	return nil
}

// CloseHard closes without the magic letter.
func (d *Device) CloseHard() error {
	fd := d.fd
	d.fd = -1
	return unix.Close(fd)
}

// Release writes the magic letter and closes. A driver that is neither enduring
// nor knows the letter stops at any close.
func (d *Device) Release() error {
	if d.info.NoWayOut {
		return ErrNoWayOut
	}
	if d.fd < 0 {
		return nil
	}
	if _, err := unix.Write(d.fd, magicClose); err != nil {
		return fmt.Errorf("stop the watchdog %s: %w", d.path, err)
	}
	return d.CloseHard()
}

// Retire is for a guard that ends while the timer cannot be stopped: it sets a
// timeout as long as a shutdown may take, and leaves.
func (d *Device) Retire() error {
	if d.fd < 0 {
		return nil
	}
	_, err := d.setTimeout(retirement)
	return errors.Join(err, d.CloseHard())
}

// retirement is what systemd gives a shutdown.
const retirement = 10 * time.Minute

var magicClose = []byte{'V'}

// String names the device for people.
func (d *Device) String() string {
	return d.path + " (" + d.info.Identity + ", " + strconv.Itoa(int(d.want/time.Second)) + " s)"
}
