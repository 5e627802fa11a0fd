package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// ownerFile, in a lab's directory, names the process that made it.
	ownerFile = "owner"
	// removeTimeout is how long files may reappear under a removal, while killed hosts die.
	removeTimeout = 10 * time.Second
)

// runKeeper holds the network namespace that the cables of all hosts meet in and
// the lab's volumes, and outlives the lab's process only to let the volumes go and
// to remove its files. Its arguments are the directory and whether to remove it.
func runKeeper(conn *control) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	if len(os.Args) != 3 {
		return fmt.Errorf("want a directory and keep or remove, have %q", os.Args[1:])
	}
	dir, remove := os.Args[1], os.Args[2] == "remove"
	if err := mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE); err != nil {
		return err
	}
	k := volumeKeeper{images: map[string]*os.File{}}
	lost := k.serve(conn)
	err := errors.Join(throttlesOf(dir).release(), k.release())
	if !errors.Is(lost, io.EOF) && !errors.Is(lost, syscall.ECONNRESET) {
		err = errors.Join(fmt.Errorf("control connection: %w", lost), err)
	}
	if remove {
		err = errors.Join(err, removeDir(dir))
	}
	return errors.Join(err, throttlesOf(dir).remove())
}

// volumeKeeper is the keeper's part in the volumes: as long as it has them
// mounted they are there, and can be thawed, whatever becomes of the hosts.
type volumeKeeper struct {
	images map[string]*os.File // by the directory of the volume
}

// serve does what the lab asks for until the connection ends, and says how it ended.
func (k *volumeKeeper) serve(conn *control) error {
	for {
		var r request
		if err := conn.dec.Decode(&r); err != nil {
			return err
		}
		var answer reply
		var err error
		if answer.Device, err = k.do(r); err != nil {
			answer.Error = err.Error()
		}
		if err := conn.enc.Encode(answer); err != nil {
			return err
		}
	}
}

func (k *volumeKeeper) do(r request) (device loopDevice, err error) {
	switch r.Op {
	case "attach":
		return k.attach(r.Mount)
	case "unmount":
		return device, unmountVolume(r.Mount)
	case "freeze":
		return device, fileSystemCall(r.Mount, r.Mount, ioctlFreeze, 0)
	case "thaw":
		return device, thaw(r.Mount, r.Mount)
	case "fail":
		return device, fileSystemCall(r.Mount, r.Mount, ioctlShutdown, shutdownNow)
	}
	return device, fmt.Errorf("unknown request %q", r.Op)
}

// attach mounts a volume, which is made when there is none.
func (k *volumeKeeper) attach(dir string) (loopDevice, error) {
	image, made := k.images[dir]
	if !made {
		var err error
		if image, err = newImage(dir); err != nil {
			return loopDevice{}, err
		}
		k.images[dir] = image
	}
	device, open, err := attachLoop(image)
	if err != nil {
		return device, err
	}
	defer open.Close()
	if !made {
		mkfs, err := findProgram("mkfs.ext4")
		if err != nil {
			return device, err
		}
		if out, err := exec.Command(mkfs, "-q", device.Path).CombinedOutput(); err != nil {
			return device, fmt.Errorf("mkfs.ext4 %s: %w: %s", device.Path, err, out)
		}
	}
	return device, mountVolume(device.Path, dir)
}

// release lets the volumes go: no host waits for one any more, and what is frozen
// would outlive its last mount.
func (k *volumeKeeper) release() error {
	var all []error
	for dir := range k.images {
		if err := thaw(dir, dir); err != nil && !errors.Is(err, syscall.EIO) { // EIO: it has failed
			all = append(all, err)
		}
		all = append(all, unmountVolume(dir))
	}
	return errors.Join(all...)
}

// removeDir removes a lab's directory, again and again while dying processes
// still write in it.
func removeDir(dir string) error {
	var err error
	for deadline := time.Now().Add(removeTimeout); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = os.RemoveAll(dir); err == nil {
			_ = os.Remove(filepath.Dir(dir)) // goes when this was the last lab in it
			return nil
		}
	}
	return fmt.Errorf("remove the lab's files: %w", err)
}

// writeOwner marks dir as belonging to this process.
func writeOwner(dir string) error {
	start, err := processStart(os.Getpid())
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, ownerFile), fmt.Appendf(nil, "%d %d\n", os.Getpid(), start), 0o644)
}

// ownerAlive reports whether the process that made dir still runs. A directory
// without an owner that can be read belongs to nobody.
func ownerAlive(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, ownerFile))
	if err != nil {
		return false
	}
	var pid int
	var start uint64
	if _, err := fmt.Sscan(string(text), &pid, &start); err != nil {
		return false
	}
	now, err := processStart(pid)
	return err == nil && now == start
}

// Sweep removes what a lab under base left behind whose process is gone: its
// processes (and with them its namespaces, mounts and bridges) and its files. It
// does not touch labs that are in use, and returns the directories it removed.
// An empty base means DefaultBase. New calls it.
func Sweep(base string) ([]string, error) {
	if base == "" {
		base = DefaultBase
	}
	entries, err := os.ReadDir(base)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sweep old labs: %w", err)
	}
	var removed []string
	for _, e := range entries {
		dir := filepath.Join(base, e.Name())
		if !e.IsDir() || !strings.HasPrefix(e.Name(), dirPrefix) || ownerAlive(dir) {
			continue
		}
		for _, pid := range partsOf(dir) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // an error means that it has ended
		}
		if err := errors.Join(throttlesOf(dir).release(), thawOrphans(dir)); err != nil {
			return removed, err
		}
		if err := errors.Join(removeDir(dir), throttlesOf(dir).remove()); err != nil {
			return removed, err
		}
		removed = append(removed, dir)
	}
	return removed, nil
}

// partsOf lists the processes that are a part of the lab in dir.
func partsOf(dir string) []int {
	var pids []int
	for _, pid := range processes() {
		argv := commandLine(pid)
		if len(argv) > 1 && (argv[0] == hostProcess || argv[0] == keeperProcess) && argv[1] == dir {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processes lists the numbers of all processes that the lab's process sees.
func processes() []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func commandLine(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

// processStart is field 22 of /proc/PID/stat: with the number it names a process for good.
func processStart(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses and may hold anything.
	_, rest, ok := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, fmt.Errorf("process %d: cannot read its start time", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
