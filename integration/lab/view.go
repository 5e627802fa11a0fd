package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// view is the file system as one host sees it: the machine's, with places of its own.
type view struct {
	Hostname string
	// Private maps a directory of the host to the one of the machine that holds
	// what is in it. The directory need not exist on the machine.
	Private map[string]string
	// Volumes maps the directories of shared volumes to their devices.
	Volumes map[string]string
	// BootID is a file that stands in for /proc/sys/kernel/random/boot_id, since
	// all hosts share a kernel.
	BootID string
}

// shadowed are the directories in which a host may have entries that the machine
// has not: each is covered by a memory file system that shows the machine's
// entries, and the private ones on top.
var shadowed = []string{"/etc", "/var/lib", "/var/log", "/var/cache"}

// enter makes the view that of the calling process, which must be alone in a new
// mount namespace.
func (v *view) enter() error {
	if err := syscall.Sethostname([]byte(v.Hostname)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC); err != nil {
		return err
	}
	// A new sysfs shows this network namespace's interfaces.
	if err := mount("sysfs", "/sys", "sysfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC); err != nil {
		return err
	}
	for _, dir := range shadowed {
		if err := shadow(dir); err != nil {
			return err
		}
	}
	if err := mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV); err != nil {
		return err
	}
	if err := os.Mkdir("/run/lock", 0o1777); err != nil {
		return err
	}
	for dir, from := range v.Private {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := mount(from, dir, "", syscall.MS_BIND); err != nil {
			return err
		}
	}
	for dir, device := range v.Volumes {
		if err := mountVolume(device, dir); err != nil {
			return err
		}
	}
	if err := mount(v.BootID, "/proc/sys/kernel/random/boot_id", "", syscall.MS_BIND); err != nil {
		return err
	}
	return hideWatchdogs()
}

// shadow covers dir with a memory file system that shows the same entries.
// Directories and files are bound, so that they stay the machine's own.
func shadow(dir string) error {
	machine, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer machine.Close()
	entries, err := machine.ReadDir(-1)
	if err != nil {
		return err
	}
	if err := mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	below := fmt.Sprintf("/proc/self/fd/%d", machine.Fd())
	for _, e := range entries {
		from, to := filepath.Join(below, e.Name()), filepath.Join(dir, e.Name())
		switch {
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(from)
			if err == nil {
				err = os.Symlink(target, to)
			}
			if err != nil {
				return fmt.Errorf("show %s: %w", to, err)
			}
			continue
		case e.IsDir():
			err = os.Mkdir(to, 0o755)
		case e.Type().IsRegular():
			err = os.WriteFile(to, nil, 0o644)
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("show %s: %w", to, err)
		}
		if err := mount(from, to, "", syscall.MS_BIND|syscall.MS_REC); err != nil {
			return err
		}
	}
	return nil
}

// hideWatchdogs makes sure that no program of a host can arm a watchdog of the machine.
func hideWatchdogs() error {
	devices, err := filepath.Glob("/dev/watchdog*")
	if err != nil {
		return err
	}
	for _, dev := range devices {
		if err := mount(os.DevNull, dev, "", syscall.MS_BIND); err != nil {
			return err
		}
	}
	return nil
}

func mount(from, to, kind string, flags uintptr) error {
	if err := syscall.Mount(from, to, kind, flags, ""); err != nil {
		return fmt.Errorf("mount %s%s on %s: %w", kind, from, to, err)
	}
	return nil
}
