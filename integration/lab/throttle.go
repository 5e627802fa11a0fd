package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// blkioRoot is where the block I/O controller of control groups version 1 is. A
// limit of one byte per second there is how the storage of one host hangs.
const blkioRoot = "/sys/fs/cgroup/blkio"

// errNoThrottle says that storage cannot hang for one host alone on this machine.
var errNoThrottle = errors.New("this machine has no block I/O controller at " + blkioRoot)

func canThrottle() bool {
	_, err := os.Stat(filepath.Join(blkioRoot, "blkio.throttle.read_bps_device"))
	return err == nil
}

// throttles are the control groups of a lab's hosts.
type throttles struct{ prefix string }

// throttle is one host's: everything that runs in the host is in it.
type throttle struct{ dir string }

// throttlesOf are those of the lab in dir; its name is unlike any other's.
func throttlesOf(dir string) throttles {
	return throttles{prefix: filepath.Join(blkioRoot, "holdfast-"+filepath.Base(filepath.Dir(dir))+"-"+filepath.Base(dir)) + "-"}
}

func (t throttles) of(host string) throttle { return throttle{t.prefix + host} }

// enter puts a host's first process in, before it has children.
func (t throttle) enter(pid int) error {
	if !canThrottle() {
		return nil // SetHang says so to whoever needs it
	}
	if err := os.Mkdir(t.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.WriteFile(filepath.Join(t.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
}

// wrap makes a command one that enters the group before anything else.
func (t throttle) wrap(argv []string) []string {
	if _, err := os.Stat(t.dir); err != nil {
		return argv
	}
	return append([]string{"/bin/sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(t.dir, "cgroup.procs")}, argv...)
}

// set makes all I/O to the devices hang, or lets it go on.
func (t throttle) set(devices []loopDevice, hang bool) error {
	limit := "0" // none
	if hang {
		limit = "1"
	}
	for _, d := range devices {
		for _, what := range []string{"read", "write"} {
			err := os.WriteFile(filepath.Join(t.dir, "blkio.throttle."+what+"_bps_device"), []byte(d.Number+" "+limit), 0o644)
			if err != nil {
				return fmt.Errorf("limit of %s for %s: %w", what, d.Path, err)
			}
		}
	}
	return nil
}

// release lifts every limit of every host.
func (t throttles) release() error { return throttle{t.prefix + "*"}.release() }

// release lifts every limit, whatever device it is for.
func (t throttle) release() error {
	var all []error
	files, _ := filepath.Glob(t.dir + "/blkio.throttle.*_bps_device")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has just been removed
		}
		for line := range strings.Lines(string(text)) {
			number, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if number == "" {
				continue
			}
			if err := os.WriteFile(file, []byte(number+" 0"), 0o644); err != nil && !errors.Is(err, syscall.ENODEV) {
				all = append(all, fmt.Errorf("lift the limit of %s: %w", number, err))
			}
		}
	}
	return errors.Join(all...)
}

// remove removes the groups, which works once the hosts are dead.
func (t throttles) remove() error {
	dirs, _ := filepath.Glob(t.prefix + "*")
	var err error
	for _, dir := range dirs {
		for deadline := time.Now().Add(removeTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if err = os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
				err = nil
				break
			}
		}
		if err != nil {
			return fmt.Errorf("remove a host's control group: %w", err)
		}
	}
	return nil
}
