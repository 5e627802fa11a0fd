package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHarness proves the test bed with libvirt alone: it does what it says, and
// its judge convicts.
func TestHarness(t *testing.T) {
	l := newLab(t, Config{Hosts: 3})
	h1, h2, h3 := l.Host("h1"), l.Host("h2"), l.Host("h3")

	t.Run("hosts differ", func(t *testing.T) {
		seen := map[string]string{}
		for _, h := range l.Hosts() {
			boot, err := h.Exec(within(t, 5*time.Second), "cat", "/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/hostname")
			must(t, err)
			name := strings.Fields(boot)[1]
			if name != h.Name() {
				t.Errorf("%s calls itself %q", h.Name(), name)
			}
			if other, ok := seen[strings.Fields(boot)[0]]; ok {
				t.Errorf("%s has the boot ID of %s", h.Name(), other)
			}
			seen[strings.Fields(boot)[0]] = h.Name()
		}
	})

	t.Run("cables", func(t *testing.T) {
		// ping is whether h1 and h2 reach each other on mgmt and on storage.
		ping := func(from, to *Host, network string) bool {
			_, err := from.Exec(within(t, 5*time.Second), "busybox", "ping", "-c1", "-W1", to.Address(network).String())
			return err == nil
		}
		want := func(what string, mgmt, storage bool) {
			t.Helper()
			for network, open := range map[string]bool{"mgmt": mgmt, "storage": storage} {
				// The kernel may take a second to believe in a carrier that came back.
				got := ping(h1, h2, network)
				for deadline := time.Now().Add(5 * time.Second); got != open && time.Now().Before(deadline); {
					got = ping(h1, h2, network)
				}
				if got != open {
					t.Errorf("%s: ping over %s %v, want %v", what, network, got, open)
				}
			}
		}
		want("whole", true, true)
		must(t, h1.Cut(t.Context(), "mgmt"))
		want("mgmt cut", false, true)
		must(t, h1.Cut(t.Context(), All))
		want("all cut", false, false)
		if !ping(h2, h3, "mgmt") {
			t.Error("the cut of h1 separated h2 from h3")
		}
		must(t, h1.Heal(t.Context(), All))
		want("healed", true, true)
		must(t, h1.CutOneWay(t.Context(), "mgmt", Inbound))
		want("deaf on mgmt", false, true)
		must(t, h1.Heal(t.Context(), All))
		want("healed again", true, true)
	})

	t.Run("a VM moves after a power loss", func(t *testing.T) {
		g, err := l.CreateGuest("moves", Witness)
		must(t, err)
		must(t, h1.Define(t.Context(), g))
		begin := time.Now()
		must(t, h1.StartGuest(t.Context(), g))
		_, err = l.Judge().WaitRunning(within(t, 20*time.Second), g.Name, begin, "h1")
		must(t, err)
		first, err := l.Judge().WaitBeat(within(t, 60*time.Second), g.Name, begin)
		must(t, err)
		t.Logf("the guest wrote %v after its start", first.First.Sub(begin).Round(10*time.Millisecond))
		if pid := h1.QEMUs()[g.Name]; pid == 0 {
			t.Errorf("h1 does not list the VM: %v", h1.QEMUs())
		}

		at, err := h1.PowerOff(t.Context())
		must(t, err)
		if _, err := h1.Virsh(t.Context(), "list"); !errors.Is(err, ErrOff) {
			t.Errorf("virsh on a host without power: %v, want ErrOff", err)
		}
		must(t, l.Judge().WaitGone(within(t, 2*time.Second), g.Name))
		must(t, h2.Define(t.Context(), g))
		must(t, h2.StartGuest(t.Context(), g))
		_, err = l.Judge().WaitRunning(within(t, 20*time.Second), g.Name, at, "h2")
		must(t, err)
		_, err = l.Judge().WaitBeat(within(t, 60*time.Second), g.Name, at)
		must(t, err)
		must(t, l.Judge().Check(g.Name))

		must(t, h1.PowerOn(t.Context()))
		if list, err := h1.Virsh(t.Context(), "list", "--all", "--name"); err != nil || !strings.Contains(list, g.Name) {
			t.Errorf("after its power loss h1 has forgotten its definition: %q, %v", list, err)
		}
		if q := h1.QEMUs(); len(q) != 0 {
			t.Errorf("h1 came back with VMs: %v", q)
		}

		before := time.Now()
		_, err = h2.Virsh(t.Context(), "shutdown", g.Name)
		must(t, err)
		must(t, l.Judge().WaitGone(within(t, 20*time.Second), g.Name))
		t.Logf("the guest powered itself off %v after being asked", time.Since(before).Round(10*time.Millisecond))
	})

	t.Run("the judge convicts", func(t *testing.T) {
		g, err := l.CreateGuest("twice", Witness)
		must(t, err)
		for _, h := range []*Host{h1, h2} {
			must(t, h.Define(t.Context(), g))
			begin := time.Now()
			must(t, h.StartGuest(t.Context(), g))
			_, err = l.Judge().WaitBeat(within(t, 60*time.Second), g.Name, begin)
			must(t, err)
		}
		must(t, l.Judge().Wait(within(t, 10*time.Second), g.Name, "the lives interleave", func(_ []Run, lives []Life) bool { return len(lives) > 4 }))
		err = l.Judge().Check(g.Name)
		if !errors.Is(err, ErrTwice) {
			t.Fatalf("a VM ran on h1 and h2 and the judge says: %v", err)
		}
		for _, evidence := range []string{"virtual CPUs execute on h1", "on its disk", "writes again"} {
			if !strings.Contains(err.Error(), evidence) {
				t.Errorf("the judge's finding lacks %q:\n%v", evidence, err)
			}
		}
		t.Log(err)
		for _, h := range []*Host{h1, h2} {
			_, err = h.Virsh(t.Context(), "destroy", g.Name)
			must(t, err)
		}
	})

	t.Run("a paused copy does not count", func(t *testing.T) {
		g, err := l.CreateGuest("paused", Witness)
		must(t, err)
		for _, h := range []*Host{h2, h3} {
			must(t, h.Define(t.Context(), g))
		}
		begin := time.Now()
		must(t, h2.StartGuest(t.Context(), g))
		_, err = h3.Virsh(t.Context(), "start", "--paused", g.Name)
		must(t, err)
		_, err = l.Judge().WaitBeat(within(t, 60*time.Second), g.Name, begin)
		must(t, err)
		if runs := l.Judge().Runs(g.Name); len(runs) != 2 {
			t.Errorf("%d processes, want the running one and the paused one\n%s", len(runs), l.Judge().Report(g.Name))
		}
		if running := l.Judge().Running(g.Name); len(running) != 1 || running[0] != "h2" {
			t.Errorf("runs on %v, want h2 alone\n%s", running, l.Judge().Report(g.Name))
		}
		must(t, l.Judge().Check(g.Name))
		for _, h := range []*Host{h2, h3} {
			_, err = h.Virsh(t.Context(), "destroy", g.Name)
			must(t, err)
		}
	})

	t.Run("an empty guest", func(t *testing.T) {
		g, err := l.CreateGuest("empty", Empty)
		must(t, err)
		must(t, h3.Define(t.Context(), g))
		begin := time.Now()
		must(t, h3.StartGuest(t.Context(), g))
		r, err := l.Judge().WaitRunning(within(t, 20*time.Second), g.Name, begin)
		must(t, err)
		t.Logf("runs %v after the request", r.Executed.Sub(begin).Round(10*time.Millisecond))
		must(t, l.Judge().Check(g.Name))
	})

	if os.Getenv("HOLDFAST_LAB_KEEP") == "1" {
		return
	}
	dir, parts := l.Dir(), partsOf(l.Dir())
	if len(parts) != 4 {
		t.Errorf("%d processes carry the lab, want three hosts and a keeper", len(parts))
	}
	must(t, l.Close())
	nothingLeft(t, dir, parts)
}

// nothingLeft checks that a lab has gone from this machine.
func nothingLeft(t *testing.T, dir string, parts []int) {
	t.Helper()
	for _, pid := range parts {
		if !zombie(pid) {
			t.Errorf("process %d of the lab is left: %q", pid, commandLine(pid))
		}
	}
	for _, pid := range processes() {
		if line := strings.Join(commandLine(pid), " "); strings.Contains(line, dir) {
			t.Errorf("process %d names the lab's directory: %s", pid, line)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lab's directory is left: %v", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if strings.Contains(string(mounts), dir) {
		t.Errorf("a mount of the lab is left:\n%s", mounts)
	}
	if devices := loopsBelow(dir); len(devices) > 0 {
		t.Errorf("loop devices of the lab are left: %v", devices)
	}
	if groups, _ := filepath.Glob(throttlesOf(dir).prefix + "*"); len(groups) > 0 {
		t.Errorf("control groups of the lab are left: %v", groups)
	}
	links, err := os.ReadDir("/sys/class/net")
	must(t, err)
	for _, link := range links {
		for _, n := range DefaultNetworks() {
			if strings.HasSuffix(link.Name(), n.Name) {
				t.Errorf("interface %s of the lab is left", link.Name())
			}
		}
	}
}

// waitStuck waits until a thread of the host that executes the program is where no
// signal reaches it, and stays there; any healthy I/O is for a moment.
func (h *Host) waitStuck(ctx context.Context, program string, ended func() bool) error {
	stuck := 0
	return poll(ctx, func() error {
		if ended() {
			return permanent{fmt.Errorf("%s on %s ended, it should hang", program, h.name)}
		}
		found := slices.ContainsFunc(h.processesOf(program), func(pid int) bool {
			tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
			return slices.ContainsFunc(tasks, func(task string) bool {
				stat, err := os.ReadFile(task)
				return err == nil && strings.Contains(string(stat), ") D ")
			})
		})
		if stuck++; !found {
			stuck = 0
		}
		if stuck < 10 {
			return fmt.Errorf("no %s on %s is in uninterruptible sleep for long", program, h.name)
		}
		return nil
	})
}

// victimBase is the environment variable that makes this test program build a lab
// and wait for its death; it holds the base directory.
const victimBase = "HOLDFAST_LAB_VICTIM"

// TestVictim is not a test of its own: TestKilledHarnessLeavesNothing runs it.
func TestVictim(t *testing.T) {
	base := os.Getenv(victimBase)
	if base == "" {
		t.Skip("runs as a child of TestKilledHarnessLeavesNothing")
	}
	l := newLab(t, Config{Hosts: 2, Base: base, Volumes: 2})
	g, err := l.CreateGuest("orphan", Witness)
	must(t, err)
	must(t, l.Host("h1").Define(t.Context(), g))
	must(t, l.Host("h1").StartGuest(t.Context(), g))
	// Processes that cannot be killed: one waits for a frozen volume, one for a
	// volume that hangs for its host.
	frozen, hangs := l.Volumes()[0], l.Volumes()[1]
	must(t, os.WriteFile(filepath.Join(filepath.Dir(l.volumes[0].mount), "block"), make([]byte, 4096), 0o644))
	must(t, frozen.Freeze(t.Context()))
	stuck := map[string]*Volume{"h1": frozen}
	if err := l.Host("h2").SetHang(t.Context(), true); err == nil {
		stuck["h2"] = hangs
	} else if !errors.Is(err, errNoThrottle) {
		t.Fatal(err)
	}
	for h, v := range stuck {
		must(t, l.Host(h).startProgram(t.Context(), "stuck", []string{"/bin/dd", "if=" + filepath.Join(filepath.Dir(v.mount), "block"),
			"of=" + v.Path, "bs=4096", "oflag=direct,dsync", "conv=notrunc"}, nil, false))
		must(t, l.Host(h).waitStuck(within(t, 5*time.Second), "dd", func() bool { return false }))
	}
	must(t, os.WriteFile(filepath.Join(base, "ready"), []byte(l.Dir()), 0o644))
	<-t.Context().Done()
}

func TestKilledHarnessLeavesNothing(t *testing.T) {
	needLab(t)
	for _, tt := range []struct {
		name       string
		killKeeper bool // then Sweep has to remove the files
	}{
		{"harness killed", false},
		{"harness and keeper killed", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base, err := os.MkdirTemp("/var/tmp", "holdfast-victim-")
			must(t, err)
			t.Cleanup(func() { _ = os.RemoveAll(base) })
			victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestVictim$")
			victim.Env = append(os.Environ(), victimBase+"="+base)
			victim.Stdout, victim.Stderr = testWriter{t}, testWriter{t}
			victim.WaitDelay = time.Second
			must(t, victim.Start())
			var dir string
			must(t, poll(within(t, 60*time.Second), func() error {
				text, err := os.ReadFile(filepath.Join(base, "ready"))
				dir = string(text)
				return err
			}))
			parts := partsOf(dir)
			if len(parts) != 3 {
				t.Fatalf("%d processes carry the victim's lab, want two hosts and a keeper", len(parts))
			}
			if again, err := Sweep(base); err != nil || len(again) > 0 {
				t.Fatalf("Sweep took a lab that is in use: %v, %v", again, err)
			}
			if tt.killKeeper {
				for _, pid := range parts {
					if commandLine(pid)[0] == keeperProcess {
						must(t, syscall.Kill(pid, syscall.SIGKILL))
					}
				}
			}
			must(t, victim.Process.Kill())
			_ = victim.Wait() // it was killed
			if tt.killKeeper {
				if swept, err := Sweep(base); err != nil || len(swept) != 1 {
					t.Errorf("Sweep removed %v, %v; want %s", swept, err, dir)
				}
			}
			_ = poll(within(t, 10*time.Second), func() error {
				if _, err := os.Stat(dir); err == nil || len(partsOf(dir)) > 0 {
					return errors.New("not yet gone")
				}
				return nil
			}) // nothingLeft says what is left
			nothingLeft(t, dir, parts)
		})
	}
}
