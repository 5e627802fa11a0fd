package fencing_test

import (
	"context"
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
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fencing/watchdogtest"
)

// gaps is a watchdog that knows the longest time between two pets, by the clock at
// each pet: not by the turn's, which is read before the VMs are looked at.
type gaps struct {
	*watchdogtest.Chip
	last, longest time.Duration
	pets          int
}

func (g *gaps) Arm() error {
	g.last = fencing.BootClock() // it is a pet
	return g.Chip.Arm()
}

func (g *gaps) Pet() error {
	now := fencing.BootClock()
	g.longest, g.last, g.pets = max(g.longest, now-g.last), now, g.pets+1
	return g.Chip.Pet()
}

// measured is a guard with a chip for its watchdog. It prints what the chip saw.
func measured(path string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	dog := &gaps{Chip: watchdogtest.New(3*time.Second, fencing.BootClock)}
	o := fencing.GuardOptions{Path: path, Device: "/dev/chip", Timeout: 3 * time.Second, Warn: func(err error) { fmt.Fprintln(os.Stderr, "warning:", err) }}
	if err := fencing.RunGuard(ctx, fencing.Instead(o, dog)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "pets=%d longest=%d\n", dog.pets, dog.longest)
}

// reader reads a file over and over, so that its control group is always short of memory.
func reader(path string) {
	f, err := os.Open(path)
	if err != nil {
		os.Exit(1)
	}
	b := make([]byte, 1<<20)
	for os.Getppid() != 1 {
		switch _, err := f.Read(b); {
		case errors.Is(err, io.EOF):
			_, err = f.Seek(0, io.SeekStart)
			if err == nil {
				continue
			}
			os.Exit(1)
		case err != nil:
			os.Exit(1)
		}
	}
}

// stage is a disk of the test's own and the control groups of what runs from it.
type stage struct {
	t      *testing.T
	dir    string
	device string   // "7:0"
	groups []string // of memory and of I/O, version 1
}

const stageMemory = 96 << 20 // for the guard and the reader; the reader's file has ten times as much

// newStage mounts a file system on a loop device. A process apart takes it down
// again when the test ends, however it ends: a file system that stays frozen
// would keep whoever touches it.
func newStage(t *testing.T) *stage {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a disk and stall it")
	}
	for _, p := range []string{"mke2fs", "mount", "umount", "fsfreeze"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("there is no %s here", p)
		}
	}
	top := memory(t)
	s := &stage{t: t, dir: filepath.Join(top, "disk")}
	image := filepath.Join(top, "image")
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 128<<20); err != nil {
		t.Fatal(err)
	}
	s.do("mke2fs", "-q", "-t", "ext4", "-F", image)
	s.do("mount", "-o", "loop,noatime", image, s.dir)
	end := exec.Command("sh", "-c", `read -r _; fsfreeze -u "$1" 2>/dev/null; umount -l "$1"`, "sh", s.dir)
	hold, err := end.StdinPipe()
	if err == nil {
		err = end.Start()
	}
	if err != nil {
		s.do("umount", s.dir)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = hold.Close()
		_ = end.Wait()
	})
	var st unix.Stat_t
	if err := unix.Stat(s.dir, &st); err != nil {
		t.Fatal(err)
	}
	s.device = fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	s.group("memory", "memory.limit_in_bytes", strconv.Itoa(stageMemory))
	s.group("blkio", "", "")
	return s
}

// memory is a folder on a tmpfs, where the guard's memory is on a host too.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "holdfast-measure")
	if err != nil {
		t.Skipf("there is no tmpfs here: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (s *stage) do(name string, args ...string) {
	s.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

// group makes a control group of version 1; where there are none, the test says so and goes on.
func (s *stage) group(controller, file, value string) {
	dir := filepath.Join("/sys/fs/cgroup", controller, "holdfast-measure-"+strconv.Itoa(os.Getpid()))
	if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "cgroup.procs")); err != nil {
		s.t.Logf("not part of the load: no control group of version 1 for %s", controller)
		return
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { // after the processes are gone, which takes the kernel a moment to notice
		var err error
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if err = os.Remove(dir); err == nil {
				return
			}
		}
		s.t.Error(err)
	})
	if file != "" {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	s.groups = append(s.groups, dir)
}

// play starts this program from the stage's own disk, in its groups.
func (s *stage) play(part string, args ...string) *exec.Cmd {
	s.t.Helper()
	script := `for g in $GROUPS_OF_STAGE; do echo $$ >"$g/cgroup.procs" || exit 1; done; exec "$@"`
	cmd := exec.Command("sh", append([]string{"-c", script, "sh", filepath.Join(s.dir, "program")}, args...)...)
	cmd.Env = append(os.Environ(), role+"="+part, "GROUPS_OF_STAGE="+strings.Join(s.groups, " "))
	cmd.Stderr = &said{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// fill puts this program and the reader's file on the disk, and out of the memory of this process.
func (s *stage) fill() {
	s.t.Helper()
	text, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, "program"), text, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, "much"), nil, 0o600)
	}
	if err == nil {
		err = os.Truncate(filepath.Join(s.dir, "much"), 10*stageMemory) // holes: to be read while the disk is stalled
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.do("sync", "-f", s.dir)
	f, err := os.Open(filepath.Join(s.dir, "program"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		s.t.Fatal(err)
	}
}

// stall makes the disk answer nobody: nothing is written any more, and what is in
// the groups reads a byte a second.
func (s *stage) stall() {
	s.t.Helper()
	for _, g := range s.groups {
		for _, what := range []string{"read", "write"} {
			file := filepath.Join(g, "blkio.throttle."+what+"_bps_device")
			if _, err := os.Stat(file); err != nil {
				continue
			}
			if err := os.WriteFile(file, []byte(s.device+" 1"), 0o644); err != nil {
				s.t.Fatal(err)
			}
			s.t.Cleanup(func() { _ = os.WriteFile(file, []byte(s.device+" 0"), 0o644) })
		}
	}
	s.do("fsfreeze", "-f", s.dir)
	s.t.Cleanup(func() { s.do("fsfreeze", "-u", s.dir) }) // before its writer is waited for
}

// reclaimed is how often the stage has wanted memory that it could not have.
func (s *stage) reclaimed() string {
	for _, g := range s.groups {
		if text, err := os.ReadFile(filepath.Join(g, "memory.failcnt")); err == nil {
			return strings.TrimSpace(string(text))
		}
	}
	return "0"
}

// waits reports whether a thread of the process waits in the kernel for a disk.
func waits(pid int) bool {
	states, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, file := range states {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), ") D ") {
			return true
		}
	}
	return false
}

// The longest time between two pets of a guard that runs from a disk which is
// stalled half of the time, in a group that is always short of memory, while eight
// processes want the processors. A look is Tick after the last in every timing
// profile, and 20 ms late at most.
func TestMeasurePets(t *testing.T) {
	if os.Getenv("HOLDFAST_BENCH") != "1" {
		t.Skip("a measurement for a quiet machine: make bench runs it (HOLDFAST_BENCH=1)")
	}
	const each = 20 * time.Second
	stage := newStage(t)
	stage.fill()
	path := filepath.Join(memory(t), "guard")
	s, err := fencing.OpenShared(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	guard := stage.play("measured", path)
	eventually(t, "a guard is alive", func() bool { return s.GuardAlive(fencing.BootClock()) })
	pid, start, gone := sleeper(t)
	vm := fmt.Sprintf(vmUUID, 1)
	if err := errors.Join(s.Begin(1, fencing.BootClock()+time.Hour), s.Cover(vm, pid, start)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watchdog is armed", func() bool { return s.Status().Watchdog.State == fencing.DogArmed })
	for range 8 {
		play(t, "cpu")
	}
	play(t, "memory")
	stage.play("reader", filepath.Join(stage.dir, "much"))
	writer := play(t, "disk", filepath.Join(stage.dir, "written"))
	run := func(what string) {
		t.Helper()
		before := stage.reclaimed()
		for end := time.Now().Add(each); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if !s.GuardAlive(fencing.BootClock()) || gone() {
				t.Fatalf("%s: the guard is silent, or has ended the VM", what)
			}
		}
		t.Logf("%s for %v: largest gap between two looks so far %v; allocations that had to wait for memory: %s before, %s after; writer on the disk waits for it: %v",
			what, each, s.Status().Gap, before, stage.reclaimed(), waits(writer.Process.Pid))
	}
	run("8 processes on the processors, memory short, disk busy")
	stage.stall()
	run("the same, disk stalled")
	s.Uncover(vm)
	if err := guard.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := guard.Wait(); err != nil {
		t.Fatalf("the guard ended with %v: %s", err, guard.Stderr.(*said))
	}
	text := guard.Stderr.(*said).String()
	var pets int
	var longest time.Duration
	if i := strings.Index(text, "pets="); i < 0 {
		t.Fatalf("the guard has not said what it measured: %s", text)
	} else if _, err := fmt.Sscanf(text[i:], "pets=%d longest=%d", &pets, &longest); err != nil {
		t.Fatal(err)
	}
	limit := fencing.Tick + 20*time.Millisecond
	t.Logf("guard, every timing profile (tick %v): longest of %d gaps between pets %v, limit %v", fencing.Tick, pets, longest, limit)
	if refused := strings.Contains(text, "warning"); refused {
		t.Logf("the system refused it something, so the limit is not held: %s", text)
	} else if longest > limit || pets < int(2*each/limit) {
		t.Errorf("%d pets in %v, and %v between two of them; want every %v, %v at most", pets, 2*each, longest, fencing.Tick, limit)
	}
}
