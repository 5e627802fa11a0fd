package libvirt

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/vmm"
)

// mute is a daemon that takes connections and does with them what a test wants.
func mute(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return socket
}

func TestDaemonThatDoesNotAnswer(t *testing.T) {
	tests := []struct {
		name   string
		socket func(t *testing.T) string
		soon   bool // the call must not take its whole time
	}{
		{"no socket", func(t *testing.T) string { return t.TempDir() + "/none" }, true},
		{"socket that nobody listens on", func(t *testing.T) string {
			file := filepath.Join(t.TempDir(), "sock")
			l, err := net.Listen("unix", file)
			if err != nil {
				t.Fatal(err)
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			_ = l.Close()
			return file
		}, true},
		{"hangs up at once", func(t *testing.T) string { return mute(t, func(c net.Conn) { _ = c.Close() }) }, true},
		{"hangs up in the middle", func(t *testing.T) string {
			return mute(t, func(c net.Conn) {
				_, _ = c.Read(make([]byte, 100))
				_ = c.Close()
			})
		}, true},
		{"says nothing", func(t *testing.T) string {
			return mute(t, func(c net.Conn) {
				for buf := make([]byte, 4096); ; {
					if _, err := c.Read(buf); err != nil {
						_ = c.Close()
						return
					}
				}
			})
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := New(Config{Socket: tt.socket(t), Grace: 50 * time.Millisecond})
			before := runtime.NumGoroutine()
			calls := map[string]func(context.Context) error{
				"Capacity":     func(ctx context.Context) error { _, err := d.Capacity(ctx); return err },
				"Usage":        func(ctx context.Context) error { _, err := d.Usage(ctx); return err },
				"Domains":      func(ctx context.Context) error { _, err := d.Domains(ctx); return err },
				"XML":          func(ctx context.Context) error { _, err := d.XML(ctx, uuidA); return err },
				"Resume":       func(ctx context.Context) error { return d.Resume(ctx, uuidA) },
				"Shutdown":     func(ctx context.Context) error { return d.Shutdown(ctx, uuidA) },
				"SetAutostart": func(ctx context.Context) error { return d.SetAutostart(ctx, uuidA, false) },
				"Subscribe":    func(ctx context.Context) error { _, err := d.Subscribe(ctx); return err },
				"StartPaused":  func(ctx context.Context) error { _, err := d.StartPaused(ctx, labXML("x", 1, "")); return err },
			}
			for name, call := range calls {
				began := time.Now()
				limit := 10 * time.Second
				if !tt.soon {
					limit = 100 * time.Millisecond
				}
				err := call(within(t, limit))
				if !errors.Is(err, vmm.ErrUnavailable) || errors.Is(err, vmm.ErrNotProven) {
					t.Errorf("%s returned %v, want ErrUnavailable and nothing left to prove", name, err)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("%s took %v", name, took)
				}
			}
			if err := d.Kill(within(t, 10*time.Second), uuidA); err != nil {
				t.Errorf("kill of a VM that has no process returned %v: no daemon is needed for that", err)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			eventually(t, "goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
		})
	}
}

func TestBadUUIDsAreNoDomains(t *testing.T) {
	d := New(Config{Socket: t.TempDir() + "/none"})
	for _, uuid := range []string{"", "web1", uuidA + "0", "../../x"} {
		if err := d.Resume(within(t, time.Second), uuid); !errors.Is(err, vmm.ErrNoDomain) {
			t.Errorf("resume of %q returned %v, want ErrNoDomain", uuid, err)
		}
	}
	ref, err := reference(strings.ToUpper(uuidA))
	if err != nil || formatUUID(ref.UUID) != uuidA {
		t.Errorf("reference is %v (%s), %v", ref, formatUUID(ref.UUID), err)
	}
}

// A process that libvirt does not account for may write to the VM's disks.
func TestProcessesOutsideTheBooksCountAsRunning(t *testing.T) {
	lost, unknown := pretendQEMU(t, "qemu", uuidA), pretendQEMU(t, "qemu", uuidB)
	processes := []qemu{}
	for _, uuid := range []string{uuidA, uuidB} {
		found, err := scanFor("/proc", uuid)
		if err != nil || len(found) != 1 {
			t.Fatalf("processes of %s: %v, %v", uuid, found, err)
		}
		processes = append(processes, found...)
	}
	processes = append(processes, qemu{Process: vmm.Process{PID: os.Getpid(), StartTime: 1}, uuid: labUUID(1)}) // has ended since
	d := New(Config{})
	got := d.addProcesses([]vmm.Domain{
		{UUID: uuidA, Name: "web1", State: vmm.Stopped, Reason: vmm.ReasonShutdown, Persistent: true},
		{UUID: labUUID(1), Name: "ended", State: vmm.Stopped, Reason: vmm.ReasonCrashed},
	}, processes)
	want := []vmm.Domain{
		{UUID: uuidA, Name: "web1", State: vmm.Running, Persistent: true, PID: lost.Process.Pid},
		{UUID: labUUID(1), Name: "ended", State: vmm.Stopped, Reason: vmm.ReasonCrashed},
		{UUID: uuidB, Name: "web1", State: vmm.Running, PID: unknown.Process.Pid},
	}
	for i, d := range got {
		if (d.StartTime != 0) != (d.PID != 0) {
			t.Errorf("domain %s has PID %d and start time %d", d.UUID, d.PID, d.StartTime)
		}
		got[i].StartTime = 0
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("domains (-want +got):\n%s", diff)
	}
}

func TestStateOf(t *testing.T) {
	tests := []struct {
		name          string
		state, reason int32
		want          vmm.State
		why           vmm.Reason
	}{
		{"no state: counts as running", 0, 0, vmm.Running, ""},
		{"running", int32(rpc.DomainRunning), 1, vmm.Running, ""},
		{"blocked", int32(rpc.DomainBlocked), 0, vmm.Running, ""},
		{"about to shut down", int32(rpc.DomainShutdown), 1, vmm.Running, ""},
		{"a state of a later libvirt", 99, 0, vmm.Running, ""},
		{"paused by a person", int32(rpc.DomainPaused), int32(rpc.DomainPausedUser), vmm.Paused, vmm.ReasonUser},
		{"paused on I/O", int32(rpc.DomainPaused), int32(rpc.DomainPausedIoerror), vmm.Paused, vmm.ReasonIOError},
		{"paused by a watchdog", int32(rpc.DomainPaused), int32(rpc.DomainPausedWatchdog), vmm.Paused, vmm.ReasonUnknown},
		{"panicked, preserved", int32(rpc.DomainCrashed), 1, vmm.Paused, vmm.ReasonCrashed},
		{"shut down", int32(rpc.DomainShutoff), int32(rpc.DomainShutoffShutdown), vmm.Stopped, vmm.ReasonShutdown},
		{"destroyed", int32(rpc.DomainShutoff), int32(rpc.DomainShutoffDestroyed), vmm.Stopped, vmm.ReasonDestroyed},
		{"crashed", int32(rpc.DomainShutoff), int32(rpc.DomainShutoffCrashed), vmm.Stopped, vmm.ReasonCrashed},
		{"lost by libvirtd", int32(rpc.DomainShutoff), int32(rpc.DomainShutoffDaemon), vmm.Stopped, vmm.ReasonCrashed},
		{"failed", int32(rpc.DomainShutoff), int32(rpc.DomainShutoffFailed), vmm.Stopped, vmm.ReasonFailed},
		{"saved", int32(rpc.DomainShutoff), int32(rpc.DomainShutoffSaved), vmm.Stopped, vmm.ReasonSaved},
		{"migrated", int32(rpc.DomainShutoff), int32(rpc.DomainShutoffMigrated), vmm.Stopped, vmm.ReasonMigrated},
		{"not known", int32(rpc.DomainShutoff), int32(rpc.DomainShutoffUnknown), vmm.Stopped, vmm.ReasonUnknown},
	}
	for _, tt := range tests {
		if state, why := stateOf(tt.state, tt.reason); state != tt.want || why != tt.why {
			t.Errorf("%s: %s (%s), want %s (%s)", tt.name, state, why, tt.want, tt.why)
		}
	}
}

func TestReadFigure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("MemFree:  12 kB\nMemAvailable:  34 kB\ncpu MHz\t\t: 2596.13\nbad: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]float64{"MemAvailable": 34, "cpu MHz": 2596.13, "bad": -1, "none": -1} {
		if got, ok := readFigure(file, key); ok != (want >= 0) || (ok && got != want) {
			t.Errorf("%s is %v, %v", key, got, ok)
		}
	}
	if got := version(10011012); got != "10.11.12" {
		t.Errorf("version is %s", got)
	}
}
