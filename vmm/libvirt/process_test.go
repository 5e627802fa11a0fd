package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/vmm"
)

// Each run of the tests has VMs of its own: other tests may run on this machine.
var (
	uuidA = "3b1c2a44-0d6f-4a58-9f0e-" + fmt.Sprintf("%012x", time.Now().UnixNano()&0xffffffffffff)
	uuidB = "3b1c2a44-0d6f-4a58-9f0f-" + uuidA[24:]
)

// pretend tells this test binary to be a process that a test looks at.
const pretend = "HOLDFAST_TEST_PRETEND"

func TestMain(m *testing.M) {
	switch os.Getenv(pretend) {
	case "":
		os.Exit(m.Run())
	case "qemu":
		for { // not select {}: without cgo the runtime ends a process all of whose goroutines wait for one another
			_ = unix.Pause()
		}
	case "half dead qemu":
		endFirstThread()
	}
}

// endFirstThread ends the first thread of this process, the one that gives the
// process its number, and leaves the others.
func endFirstThread() {
	for {
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() == unix.Getpid() {
				_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
			}
			select {}
		}()
		runtime.LockOSThread() // so that the first thread becomes free for the others
		if unix.Gettid() == unix.Getpid() {
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
		}
		<-time.After(time.Millisecond)
	}
}

// pretendQEMU starts a process with the command line of a VM.
func pretendQEMU(t *testing.T, how, uuid string) *exec.Cmd {
	t.Helper()
	runtime.LockOSThread() // Pdeathsig is about the thread that started it
	t.Cleanup(runtime.UnlockOSThread)
	cmd := exec.Command(os.Args[0], "-name", "guest=web1,debug-threads=on", "-S", "-uuid", uuid)
	cmd.Env = append(os.Environ(), pretend+"="+how)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, "the process shows its command line", func() bool {
		found, err := scanFor("/proc", uuid)
		return err == nil && len(found) == 1
	})
	return cmd
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestParseCommandLine(t *testing.T) {
	tests := []struct {
		name string
		args []string
		uuid string // empty: no VM of libvirt's
		vm   string
	}{
		{"as libvirt starts it", []string{"/usr/bin/qemu-system-x86_64", "-name", "guest=web1,debug-threads=on", "-S", "-uuid", uuidA, "-no-user-config"}, uuidA, "web1"},
		{"another path, upper case", []string{"/opt/emulator", "-name", "guest=a b", "-S", "-uuid", strings.ToUpper(uuidA)}, uuidA, "a b"},
		{"started by hand", []string{"qemu-system-x86_64", "-name", "web1", "-uuid", uuidA}, "", ""},
		{"probe of capabilities", []string{"qemu-system-x86_64", "-S", "-no-user-config", "-machine", "none"}, "", ""},
		{"somebody looks for it", []string{"pgrep", "-f", "--", "-uuid " + uuidA}, "", ""},
		{"no value", []string{"qemu", "-name", "x", "-S", "-uuid"}, "", ""},
		{"no UUID", []string{"qemu", "-name", "x", "-S", "-uuid", "web1"}, "", ""},
		{"kernel thread", nil, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var line []byte
			for _, a := range tt.args {
				line = append(append(line, a...), 0)
			}
			uuid, vm, ok := parseCommandLine(line)
			if ok != (tt.uuid != "") || (ok && (uuid != tt.uuid || vm != tt.vm)) {
				t.Errorf("uuid %q, name %q, ok %v; want uuid %q, name %q", uuid, vm, ok, tt.uuid, tt.vm)
			}
		})
	}
}

func TestParseStat(t *testing.T) {
	tail := " 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 123456789 0 0"
	for _, name := range []string{"qemu", "a) R 1 2", "CPU 0/KVM", "((", ""} {
		state, start, err := parseStat([]byte("77 (" + name + ") S" + tail))
		if err != nil || state != 'S' || start != 123456789 {
			t.Errorf("name %q: state %c, start %d, error %v", name, state, start, err)
		}
	}
	for _, bad := range []string{"", "77 (qemu", "77 (qemu) S 1 2", "77 (qemu) S" + strings.Replace(tail, "123456789", "-1", 1)} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	self, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if state, start, err := parseStat(self); err != nil || start == 0 || state == 'Z' {
		t.Errorf("of this process: state %c, start %d, error %v", state, start, err)
	}
}

func TestScanFindsAndForgets(t *testing.T) {
	cmd := pretendQEMU(t, "qemu", uuidA)
	found, err := scanFor("/proc", uuidA)
	if err != nil {
		t.Fatal(err)
	}
	start := found[0].StartTime
	want := []qemu{{Process: vmm.Process{PID: cmd.Process.Pid, StartTime: start}, uuid: uuidA, name: "web1"}}
	if diff := cmp.Diff(want, found, cmp.AllowUnexported(qemu{})); diff != "" || start == 0 {
		t.Errorf("found (-want +got, start time above 0):\n%s", diff)
	}
	_ = cmd.Process.Kill()
	eventually(t, "a killed process that nobody has waited for is not found", func() bool {
		found, err := scanFor("/proc", uuidA)
		return err == nil && len(found) == 0
	})
	if _, err := scan("/proc/self/nothing"); err == nil {
		t.Error("a proc file system that is not there must be an error: an empty list is a proof")
	}
}

// A VM whose first thread has ended while another is stuck in the kernel can
// still write to its disk.
func TestScanFindsHalfDeadProcess(t *testing.T) {
	cmd := pretendQEMU(t, "half dead qemu", uuidA)
	pid := strconv.Itoa(cmd.Process.Pid)
	eventually(t, "the first thread has ended and the process shows no command line", func() bool {
		line, err := os.ReadFile("/proc/" + pid + "/cmdline")
		return err == nil && len(line) == 0
	})
	found, err := scanFor("/proc", uuidA)
	if err != nil || len(found) != 1 || found[0].PID != cmd.Process.Pid {
		t.Fatalf("found %v, error %v; want process %s", found, err, pid)
	}
	d := New(Config{Socket: t.TempDir() + "/none"})
	if err := d.Kill(within(t, 10*time.Second), uuidA); err != nil {
		t.Fatalf("kill: %v", err)
	}
	if line, err := os.ReadDir("/proc/" + pid + "/task"); err == nil && len(line) > 1 {
		t.Errorf("after the kill %d threads are there", len(line))
	}
}

func TestKillWithoutDaemon(t *testing.T) {
	d := New(Config{Socket: t.TempDir() + "/none"})
	a, b := pretendQEMU(t, "qemu", uuidA), pretendQEMU(t, "qemu", uuidB)
	if err := d.Kill(within(t, 10*time.Second), strings.ToUpper(uuidA)); err != nil {
		t.Fatalf("kill: %v", err)
	}
	if err := a.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the process ended with %v, want killed", err)
	}
	if found, err := scanFor("/proc", uuidB); err != nil || len(found) != 1 || found[0].PID != b.Process.Pid {
		t.Errorf("the other VM: %v, %v", found, err)
	}
	if err := d.Kill(within(t, 10*time.Second), uuidA); err != nil {
		t.Errorf("kill of a VM without process: %v", err)
	}
	if _, err := d.StartPaused(within(t, time.Second), `<domain type='qemu'><name>b</name><uuid>`+uuidB+`</uuid><memory>1024</memory></domain>`); !errors.Is(err, vmm.ErrRunning) {
		t.Errorf("start of a VM that has a process returned %v, want ErrRunning", err)
	}
}

// What cannot be looked at proves nothing.
func TestKillDoesNotProveBlindly(t *testing.T) {
	d := New(Config{Socket: t.TempDir() + "/none", Proc: t.TempDir() + "/none"})
	if err := d.Kill(within(t, time.Second), uuidA); !errors.Is(err, vmm.ErrNotProven) {
		t.Errorf("kill returned %v, want ErrNotProven", err)
	}
}

func TestHoldRefusesAnotherProcess(t *testing.T) {
	cmd := pretendQEMU(t, "qemu", uuidA)
	found, err := scanFor("/proc", uuidA)
	if err != nil || len(found) != 1 {
		t.Fatalf("found %v, %v", found, err)
	}
	older := found[0]
	older.StartTime--
	if h, err := hold("/proc", older); h != nil || err != nil {
		t.Errorf("a process of the same number, started at another time, was taken: %v, %v", h, err)
	}
	h, err := hold("/proc", found[0])
	if err != nil || h == nil {
		t.Fatalf("hold: %v, %v", h, err)
	}
	defer h.close()
	short := within(t, 100*time.Millisecond)
	if err := h.wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a process that lives returned %v", err)
	}
	_ = cmd.Process.Kill()
	if err := h.wait(within(t, 10*time.Second)); err != nil {
		t.Errorf("waiting for a process that was killed returned %v", err)
	}
}
