package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
	"github.com/holdfast-ha/holdfast/vmm/vmmtest"
)

// TestLab runs inside of the namespaces only; TestOnLibvirt starts it there.
func TestLab(t *testing.T) {
	if os.Getenv(inside) == "" {
		t.Skip("is run by TestOnLibvirt in namespaces of its own")
	}
	h := &host{t: t}
	d := New(Config{})
	defer d.Close()

	if _, err := d.Domains(within(t, callTime)); !errors.Is(err, vmm.ErrUnavailable) {
		t.Errorf("before libvirtd is there the list returned %v, want ErrUnavailable", err)
	}
	h.start()
	defer func() { h.kill() }()
	lab := &lab{host: h, d: d}
	t.Run("conformance", func(t *testing.T) {
		vmmtest.Run(t, vmmtest.Setup{Hypervisor: d, XML: embedded.MinimalXML, Timeout: callTime})
	})
	t.Run("who stopped it", lab.whoStoppedIt)
	t.Run("start fails", lab.startFails)
	t.Run("starts past the schema", lab.startsPastSchema)
	t.Run("autostart is switched off", lab.autostart)
	t.Run("offer", lab.offer)
	t.Run("definition and hash", lab.definition)
	t.Run("exchanged devices", lab.exchanged)
	t.Run("daemon is killed and comes back", lab.daemonRestarts)
	t.Run("daemon hangs", lab.daemonHangs)
	t.Run("kill while the daemon is dead", lab.killWithoutDaemon)
	t.Run("start that was given up", lab.givenUpStart)
	t.Run("hung VM process", lab.hungProcess)
	t.Run("cost of listing", lab.cost)
	t.Run("no goroutine is left", lab.close)
}

type lab struct {
	*host
	d *Driver
}

func (l *lab) run(t *testing.T, name string, n int, devices string) vmm.Process {
	t.Helper()
	p, err := l.d.StartPaused(within(t, callTime), labXML(name, n, devices))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.d.Resume(within(t, callTime), labUUID(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the test's own context has ended by then
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		defer cancel()
		if err := l.d.Kill(ctx, labUUID(n)); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (l *lab) domain(t *testing.T, n int) vmm.Domain {
	t.Helper()
	list, err := l.d.Domains(within(t, callTime))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		if d.UUID == labUUID(n) {
			return d
		}
	}
	return vmm.Domain{}
}

func (l *lab) want(t *testing.T, n int, state vmm.State, reason vmm.Reason) vmm.Domain {
	t.Helper()
	var d vmm.Domain
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if d = l.domain(t, n); d.State == state && d.Reason == reason {
			return d
		}
	}
	t.Errorf("domain %d is %q (%s), want %q (%s)\n%s", n, d.State, d.Reason, state, reason, virsh(t, "list", "--all"))
	return d
}

func (l *lab) whoStoppedIt(t *testing.T) {
	tests := []struct {
		name   string
		disk   bool
		stop   func(t *testing.T, p vmm.Process)
		reason vmm.Reason
	}{
		{"guest switches itself off", true, func(*testing.T, vmm.Process) {}, vmm.ReasonShutdown},
		{"person pulls the plug", false, func(t *testing.T, _ vmm.Process) { virsh(t, "destroy", "who") }, vmm.ReasonDestroyed},
		{"process is killed", false, func(t *testing.T, p vmm.Process) {
			if err := unix.Kill(p.PID, unix.SIGKILL); err != nil {
				t.Error(err)
			}
		}, vmm.ReasonCrashed},
		{"person saves it", false, func(t *testing.T, _ vmm.Process) { virsh(t, "managedsave", "who") }, vmm.ReasonSaved},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := l.d.Subscribe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			disk := ""
			if tt.disk {
				disk = "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='" + powerOffDisk(t) + "'/><target dev='hda' bus='ide'/></disk>"
			}
			tt.stop(t, l.run(t, "who", 1, disk))
			l.want(t, 1, vmm.Stopped, tt.reason)
			var seen []string
			for timeout := time.After(10 * time.Second); ; {
				select {
				case ev := <-events:
					seen = append(seen, string(ev.Kind)+" "+string(ev.Reason))
					if ev.Kind != vmm.EventStopped {
						continue
					}
					if ev.Reason != tt.reason {
						t.Errorf("stopped event has reason %q, want %q", ev.Reason, tt.reason)
					}
				case <-timeout:
					t.Errorf("no stopped event; seen %v", seen)
				}
				break
			}
			t.Logf("events: %v", seen)
			if tt.reason == vmm.ReasonSaved {
				virsh(t, "managedsave-remove", "who")
			}
		})
	}
	t.Run("pauses", func(t *testing.T) {
		l.run(t, "who", 1, "")
		virsh(t, "suspend", "who")
		l.want(t, 1, vmm.Paused, vmm.ReasonUser)
		virsh(t, "resume", "who")
		l.want(t, 1, vmm.Running, "")
	})
	t.Run("transient domain", func(t *testing.T) {
		file := t.TempDir() + "/t.xml"
		if err := os.WriteFile(file, []byte(labXML("transient", 2, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		virsh(t, "create", file)
		if d := l.want(t, 2, vmm.Running, ""); d.Persistent || d.PID == 0 {
			t.Errorf("domain is %+v, want it not persistent and with a PID", d)
		}
		if err := l.d.Kill(within(t, callTime), labUUID(2)); err != nil {
			t.Fatal(err)
		}
		if d := l.domain(t, 2); d.UUID != "" {
			t.Errorf("a transient domain is listed after its end: %+v", d)
		}
	})
}

// startsPastSchema: what another libvirt took, past its schema or with a newer
// one, must not fail for the first time at a failover.
func (l *lab) startsPastSchema(t *testing.T) {
	const n = 19
	if _, err := l.d.StartPaused(within(t, callTime), labXML("teapot", n, "<teapot/>")); err != nil {
		t.Fatalf("start with an element that this libvirt does not know: %v", err)
	}
	if err := l.d.Kill(within(t, callTime), labUUID(n)); err != nil {
		t.Error(err)
	}
}

func (l *lab) startFails(t *testing.T) {
	tests := []struct {
		name    string
		devices string
		sure    bool // libvirt has the domain and says that it failed
		want    error
	}{
		{"disk that is not there", "<disk type='file' device='disk'><source file='/nowhere/disk'/><target dev='hda' bus='ide'/></disk>", true, nil},
		{"QEMU refuses a device", "<disk type='file' device='cdrom'><driver name='qemu' type='qcow2'/><source file='/etc/hostname'/><target dev='hdb' bus='ide'/></disk>", true, nil},
		{"value that libvirt does not take", "<disk type='file' device='teapot'><target dev='hda'/></disk>", false, vmm.ErrBadXML},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := 10 + i
			events, err := l.d.Subscribe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = l.d.StartPaused(within(t, callTime), labXML("fails"+labUUID(n)[30:], n, tt.devices))
			if err == nil || errors.Is(err, vmm.ErrNotProven) || errors.Is(err, vmm.ErrUnavailable) || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Errorf("start returned %v", err)
			}
			t.Log(err)
			if found, err := scanFor("/proc", labUUID(n)); err != nil || len(found) > 0 {
				t.Errorf("processes: %v, %v", found, err)
			}
			if tt.sure {
				l.want(t, n, vmm.Stopped, vmm.ReasonFailed)
				t.Logf("events: %v", drain(events))
			} else if d := l.domain(t, n); d.UUID != "" {
				t.Errorf("a refused definition left %+v", d)
			}
		})
	}
}

// drain returns what has come so far.
func drain(events <-chan vmm.Event) (seen []string) {
	for {
		select {
		case ev := <-events:
			seen = append(seen, string(ev.Kind)+" "+string(ev.Reason))
		default:
			return seen
		}
	}
}

func (l *lab) autostart(t *testing.T) {
	file := t.TempDir() + "/a.xml"
	if err := os.WriteFile(file, []byte(labXML("auto", 3, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	virsh(t, "define", file)
	virsh(t, "autostart", "auto")
	if !l.domain(t, 3).Autostart {
		t.Error("autostart that a person set is not seen")
	}
	l.run(t, "auto", 3, "")
	if l.domain(t, 3).Autostart {
		t.Error("autostart is on after a start of ours")
	}
}

func (l *lab) definition(t *testing.T) {
	l.run(t, "portable", 4, "<serial type='pty'/>")
	text, err := l.d.XML(within(t, callTime), labUUID(4))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "pass4") {
		t.Error("the definition lacks the VNC password: the VM could not be started elsewhere with it")
	}
	if strings.Contains(text, "/dev/pts") || strings.Contains(text, " id='") {
		t.Errorf("the definition holds what only the running VM has:\n%s", text)
	}
	running := l.domain(t, 4).XMLHash
	virsh(t, "setvcpus", "portable", "1", "--config")
	virsh(t, "desc", "portable", "--config", "new words")
	if changed := l.domain(t, 4).XMLHash; changed == running {
		t.Error("another definition has the same hash")
	}
	virsh(t, "desc", "portable", "--config", "")
	if back := l.domain(t, 4).XMLHash; back != running {
		t.Errorf("the same definition has hash %s, before %s", back, running)
	}
	// Defining it from what was read must not change it: that is what another host does.
	if err := l.d.Kill(within(t, callTime), labUUID(4)); err != nil {
		t.Fatal(err)
	}
	virsh(t, "undefine", "portable")
	if _, err := l.d.StartPaused(within(t, callTime), text); err != nil {
		t.Fatal(err)
	}
	if moved := l.domain(t, 4).XMLHash; moved != running {
		again, _ := l.d.XML(within(t, callTime), labUUID(4))
		t.Errorf("defined from its own definition it has hash %s, before %s; it was\n%s\nand is\n%s", moved, running, text, again)
	}
}

// A definition as libvirt gives it out, with other devices of the host put into it, is one that libvirt
// takes, and gives out again with those devices in that order.
func (l *lab) exchanged(t *testing.T) {
	const devices = `<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x41' slot='0x00' function='0x0'/></source></hostdev>
<interface type='hostdev' managed='yes'><mac address='52:54:00:6d:90:02'/><source><address type='pci' domain='0x0000' bus='0x42' slot='0x10' function='0x1'/></source></interface>
<hostdev mode='subsystem' type='usb'><source><vendor id='0x0529'/><product id='0x0001'/></source></hostdev>
<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>`
	define := func(text string) (string, []string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "exchanged.xml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		virsh(t, "define", "--validate", file)
		text = virsh(t, "dumpxml", "--inactive", "exchanged")
		words, err := domainxml.Devices(text)
		if err != nil {
			t.Fatal(err)
		}
		return text, words
	}
	text, was := define(labXML("exchanged", 31, devices))
	t.Cleanup(func() { virsh(t, "undefine", "exchanged") })
	// libvirt gives out network interfaces before all other devices.
	if known := []string{"pci:0000:42:10.1", "pci:0000:41:00.0", "usb:0529:0001", "mdev:c2177883-f1bb-47f0-914d-32a22e3a8804"}; !slices.Equal(was, known) {
		t.Errorf("libvirt has the devices %q, want %q", was, known)
	}
	want := []string{"pci:0001:c2:00.3", "pci:0000:01:1f.7", "usb:1d6b:0104", "mdev:a297db4a-f4c2-11e6-90f6-d3b88d6c9525"}
	text, err := domainxml.WithDevices(text, want)
	if err != nil {
		t.Fatal(err)
	}
	back, got := define(text)
	if !slices.Equal(got, want) {
		t.Errorf("libvirt has the devices %q, want %q\n%s", got, want, back)
	}
	if reported := l.domain(t, 31).Devices; !slices.Equal(reported, want) {
		t.Errorf("it is listed with %q, want %q", reported, want)
	}
}

func (l *lab) daemonRestarts(t *testing.T) {
	before := l.run(t, "keeps", 5, "")
	l.run(t, "dies", 6, "")
	l.run(t, "ends", 30, "")
	l.run(t, "stops", 7, "")
	virsh(t, "destroy", "stops")
	hashes := map[int]string{5: l.domain(t, 5).XMLHash, 7: l.domain(t, 7).XMLHash}
	events, err := l.d.Subscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.kill()
	for timeout, open := time.After(10*time.Second), true; open; {
		select {
		case _, open = <-events:
		case <-timeout:
			t.Fatal("the channel of events is open though libvirtd is dead")
		}
	}
	if _, err := l.d.Domains(within(t, callTime)); !errors.Is(err, vmm.ErrUnavailable) {
		t.Errorf("list returned %v, want ErrUnavailable", err)
	}
	if found, err := scanFor("/proc", labUUID(6)); err != nil || len(found) != 1 {
		t.Fatalf("VM without daemon: %v, %v", found, err)
	} else if err := unix.Kill(found[0].PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if found, err := scanFor("/proc", labUUID(30)); err != nil || len(found) != 1 {
		t.Fatalf("VM without daemon: %v, %v", found, err)
	} else if err := unix.Kill(found[0].PID, unix.SIGTERM); err != nil { // an orderly end
		t.Fatal(err)
	}
	eventually(t, "the VM has ended", func() bool {
		found, err := scanFor("/proc", labUUID(30))
		return err == nil && len(found) == 0
	})
	l.start()
	d := l.want(t, 5, vmm.Running, "")
	if d.PID != before.PID || d.XMLHash != hashes[5] {
		t.Errorf("after the restart PID %d and hash %s, before %d and %s", d.PID, d.XMLHash, before.PID, hashes[5])
	}
	if d := l.want(t, 7, vmm.Stopped, vmm.ReasonUnknown); d.XMLHash != hashes[7] {
		t.Errorf("after the restart hash %s, before %s", d.XMLHash, hashes[7])
	}
	for _, n := range []int{6, 30} {
		gone := l.want(t, n, vmm.Stopped, vmm.ReasonCrashed)
		t.Logf("%s, which ended while libvirtd was away, is %s (%s): %s", gone.Name, gone.State, gone.Reason, virsh(t, "domstate", "--reason", gone.Name))
	}
	if _, err := l.d.Subscribe(t.Context()); err != nil {
		t.Errorf("subscribe again: %v", err)
	}
}

func (l *lab) daemonHangs(t *testing.T) {
	l.run(t, "hangs", 8, "")
	goroutines := runtime.NumGoroutine()
	l.signal(syscall.SIGSTOP)
	defer l.signal(syscall.SIGCONT)
	results := make(chan error, 20)
	began := time.Now()
	for range cap(results) {
		go func() {
			_, err := l.d.Capacity(within(t, time.Second))
			results <- err
		}()
	}
	for range cap(results) {
		if err := <-results; !errors.Is(err, vmm.ErrUnavailable) {
			t.Errorf("a call to a daemon that hangs returned %v", err)
		}
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("calls with a deadline of 1 s took %v", took)
	}
	eventually(t, "no goroutine waits for calls that were given up", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	began = time.Now()
	if err := l.d.Kill(within(t, callTime), labUUID(8)); err != nil {
		t.Errorf("kill past a daemon that hangs: %v", err)
	}
	t.Logf("kill past a daemon that hangs took %v", time.Since(began))
	l.signal(syscall.SIGCONT)
	d := l.want(t, 8, vmm.Stopped, l.domainReason(t, 8))
	t.Logf("afterwards the VM is %s (%s)", d.State, d.Reason)
}

// domainReason waits until a domain is stopped and returns why.
func (l *lab) domainReason(t *testing.T, n int) vmm.Reason {
	t.Helper()
	eventually(t, "domain is stopped", func() bool { return l.domain(t, n).State == vmm.Stopped })
	return l.domain(t, n).Reason
}

func (l *lab) killWithoutDaemon(t *testing.T) {
	p := l.run(t, "orphan", 9, "")
	l.kill()
	began := time.Now()
	if err := l.d.Kill(within(t, 5*time.Second), labUUID(9)); err != nil {
		t.Errorf("kill without daemon: %v", err)
	}
	t.Logf("kill without daemon took %v", time.Since(began))
	if err := unix.Kill(p.PID, 0); !errors.Is(err, unix.ESRCH) {
		if stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID)); !strings.Contains(string(stat), ") Z") {
			t.Errorf("process %d is there after the kill: %v, %s", p.PID, err, stat)
		}
	}
	l.start()
}

func (l *lab) givenUpStart(t *testing.T) {
	_, err := l.d.StartPaused(within(t, time.Second), labXML("slow", 20, "")) // a hook makes it take 4 s
	if !errors.Is(err, vmm.ErrNotProven) || !errors.Is(err, vmm.ErrUnavailable) {
		t.Fatalf("start returned %v, want ErrNotProven and ErrUnavailable", err)
	}
	if _, err := l.d.StartPaused(within(t, time.Second), labXML("slow", 20, "")); !errors.Is(err, vmm.ErrRunning) {
		t.Errorf("a start beside one that is not answered returned %v, want ErrRunning", err)
	}
	if err := l.d.Kill(within(t, 500*time.Millisecond), labUUID(20)); !errors.Is(err, vmm.ErrNotProven) {
		t.Errorf("kill beside a start that is not answered returned %v, want ErrNotProven", err)
	}
	if err := l.d.Kill(within(t, callTime), labUUID(20)); err != nil {
		t.Errorf("kill: %v", err)
	}
	if d := l.domain(t, 20); d.State != vmm.Stopped {
		t.Errorf("domain is %+v", d)
	}
}

// A VM whose process does not react must neither hide the others nor outlive a kill.
func (l *lab) hungProcess(t *testing.T) {
	p := l.run(t, "stuck", 21, "")
	if err := unix.Kill(p.PID, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if d := l.domain(t, 21); d.State != vmm.Running {
		t.Errorf("domain is %+v", d)
	}
	ctx := within(t, 2*time.Second)
	if err := l.d.Resume(ctx, labUUID(21)); err != nil {
		t.Logf("resume: %v", err)
	}
	began := time.Now()
	if err := l.d.Kill(within(t, callTime), labUUID(21)); err != nil {
		t.Errorf("kill: %v", err)
	}
	took := time.Since(began)
	t.Logf("kill of a hung process took %v", took)
	if took > 10*time.Second {
		t.Errorf("kill of a hung process took %v: the daemon's patience, not ours", took)
	}
}

// offer: what libvirt and the kernel have is told, and follows what people do.
func (l *lab) offer(t *testing.T) {
	if out, err := exec.Command("ip", "link", "add", "br77", "type", "bridge").CombinedOutput(); err != nil {
		t.Fatalf("make a bridge: %v\n%s", err, out)
	}
	pool, net := t.TempDir(), t.TempDir()+"/net.xml"
	if err := os.WriteFile(net, []byte("<network><name>inner</name></network>"), 0o600); err != nil {
		t.Fatal(err)
	}
	virsh(t, "pool-create-as", "images", "dir", "--target", pool)
	virsh(t, "net-define", net)
	began := time.Now()
	o, err := l.d.Offer(within(t, callTime))
	if err != nil {
		t.Fatal(err)
	}
	first := time.Since(began)
	has := func(list []string, word string, want bool) {
		t.Helper()
		if slices.Contains(list, word) != want {
			t.Errorf("%q listed: %v, want %v: %q", word, !want, want, list)
		}
	}
	has(o.Networks, "bridge:br77", true)
	has(o.Networks, "network:inner", false) // it is not active
	has(o.Networks, "device:lo", false)
	has(o.Pools, "images", true)
	for _, word := range []string{"type:qemu", "arch:x86_64", "machine:pc", "machine:pc-q35-7.2", "cpu:qemu64", "cpu:Nehalem"} {
		has(o.Capabilities, word, true)
	}
	has(o.Capabilities, "cpu:Icelake-Server", false) // neither QEMU itself nor anything here can do all of it
	// A bridge that only libvirt makes needs no firewall tool when nothing is forwarded.
	if out, err := exec.Command("virsh", "-q", "net-start", "inner").CombinedOutput(); err != nil {
		t.Logf("libvirt cannot start a network here: %s", out)
	} else {
		if o, err = l.d.Offer(within(t, callTime)); err != nil {
			t.Fatal(err)
		}
		has(o.Networks, "network:inner", true)
	}
	virsh(t, "pool-destroy", "images")
	began = time.Now()
	if o, err = l.d.Offer(within(t, callTime)); err != nil {
		t.Fatal(err)
	}
	t.Logf("the first offer took %v, the next one %v; %d words", first, time.Since(began), len(o.Capabilities))
	has(o.Pools, "images", false)
	if out, err := exec.Command("ip", "link", "delete", "br77").CombinedOutput(); err != nil {
		t.Fatalf("delete the bridge: %v\n%s", err, out)
	}
	if o, err = l.d.Offer(within(t, callTime)); err != nil {
		t.Fatal(err)
	}
	has(o.Networks, "bridge:br77", false)
}

func (l *lab) cost(t *testing.T) {
	const vms = 50
	for n := 100; n < 100+vms; n++ {
		file := t.TempDir() + "/c.xml"
		if err := os.WriteFile(file, []byte(labXML("cost"+labUUID(n)[30:], n, "<serial type='pty'/>")), 0o600); err != nil {
			t.Fatal(err)
		}
		virsh(t, "define", file)
	}
	l.domain(t, 100) // reads what is not known yet
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	began := time.Now()
	const rounds = 20
	for range rounds {
		if d := l.domain(t, 100); d.UUID == "" {
			t.Fatal("domain is not listed")
		}
	}
	wall := time.Since(began) / rounds
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	cpu := time.Duration(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano()) / rounds
	t.Logf("listing %d domains takes %v, of it %v CPU of ours", vms, wall, cpu)
	for n := 100; n < 100+vms; n++ {
		virsh(t, "undefine", labUUID(n))
	}
}

func (l *lab) close(t *testing.T) {
	before := runtime.NumGoroutine()
	d := New(Config{})
	events, err := d.Subscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Capacity(within(t, callTime)); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	for range events {
	}
	if _, err := d.Capacity(within(t, callTime)); !errors.Is(err, vmm.ErrUnavailable) {
		t.Errorf("a call after Close returned %v", err)
	}
	eventually(t, "goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
}
