package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestUnderSystemd(t *testing.T) {
	if os.Getenv("HOLDFAST_SYSTEMD") == "" {
		t.Skip("boots three systemd in containers, as root, and takes minutes; `make systemd` runs it")
	}
	debs, err := filepath.Glob("../../dist/*.deb")
	if err != nil || len(debs) != 1 {
		t.Fatalf("packages in dist/: %v (%v), want one: make package", debs, err)
	}
	began := time.Now()
	w := build(t, debs[0])
	h := w.hosts[2]
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the journal of %s:\n%s", h.name, h.journal(began))
		}
	})
	t.Logf("a cluster under %s after %v", strings.SplitN(h.do("systemctl", "--version"), "\n", 2)[0], time.Since(began).Round(time.Second))
	w.protect(h, "web")
	w.protect(h, "db")

	for _, s := range []struct {
		name string
		play func(*testing.T, *world, *host)
	}{
		{"what is no shutdown", noShutdown},
		{"migrate at a power-off", migrateAtPowerOff},
		{"freeze at a reboot, longer than TimeoutStopSec", freezeAtReboot},
	} {
		if !t.Run(s.name, func(t *testing.T) {
			w.t, h.t = t, t
			s.play(t, w, h)
		}) {
			break
		}
		w.t, h.t = t, t
	}
}

// noShutdown: the agent ends and begins in all ways but one, and its VMs run on.
func noShutdown(t *testing.T, w *world, h *host) {
	w.policy("failover")
	was := h.do("pgrep", "qemu-system")
	for _, x := range [][]string{
		{"systemctl", "restart", "haagent"},
		{"systemctl", "kill", "--signal=KILL", "haagent"},
		{"dpkg", "--force-confold", "-i", "/root/holdfast.deb"},
		{"shutdown", "-h", "+1"},
		{"shutdown", "-c"},
	} {
		h.do(x...)
		w.within(30*time.Second, "the agent answers after "+strings.Join(x, " "), func() error {
			_, err := h.try("haadm", "status")
			return err
		})
	}
	if out, err := h.try("dpkg", "-r", "holdfast"); err == nil {
		t.Errorf("the package was removed while the agent ran: %s", out)
	}
	w.runsOn("web", h, 30*time.Second)
	w.runsOn("db", h, 30*time.Second)
	if now := h.do("pgrep", "qemu-system"); now != was {
		t.Errorf("QEMU ran as %q, and runs as %q", was, now)
	}
	if e := w.events("host_shut_down"); len(e) > 0 {
		t.Errorf("a shutdown was noted: %q", e)
	}
}

// stopOrder is the order of the units' stops in the journal of a host that went down with VMs.
var stopOrder = []string{
	"Stopping haagent.service", "Stopped haagent.service", "Stopping libvirt-guests.service", "Stopped libvirt-guests.service",
	"Stopping libvirtd.service", "Stopped libvirtd.service", "Stopping haguard.service", "Stopped haguard.service", "Reached target",
}

func inOrder(t *testing.T, journal string, want []string) {
	t.Helper()
	at := 0
	for _, s := range want {
		i := strings.Index(journal[at:], s)
		if i < 0 {
			t.Errorf("the journal has no %q, or not in the order %q", s, want)
			return
		}
		at += i
	}
}

// migrateAtPowerOff: systemd waits, with libvirt and the network, until the VMs have left alive.
func migrateAtPowerOff(t *testing.T, w *world, h *host) {
	w.policy("migrate")
	began := time.Now()
	h.do("systemctl", "poweroff")
	h.off(3 * time.Minute)
	inOrder(t, h.journal(began), append([]string{"is being shut down; its protected VMs", "VM has left", "VM has left"}, stopOrder[1:]...))
	for _, vm := range []string{"web", "db"} {
		if v, err := w.view(vm); err != nil || v.Host == h.name {
			t.Errorf("%s is on %q (%v), want it elsewhere", vm, v.Host, err)
		}
	}
	if e := w.events("vm_crashed"); len(e) > 0 {
		t.Errorf("crashes were noted: %q", e)
	}
}

// freezeAtReboot: without libvirt-guests, and with guests that take longer to end than systemd waits for a
// service, none of them is killed before the agent has given them back.
func freezeAtReboot(t *testing.T, w *world, h *host) {
	w.policy("freeze")
	h.link("/dev/null", "etc/systemd/system/libvirt-guests.service") // to stop it would end the guests
	h.write("etc/systemd/system/haagent.service.d/short.conf", "[Service]\nTimeoutStopSec=20s\n")
	h.powerOn()
	w.runsOn("web", h, 2*time.Minute) // they come back by themselves
	w.runsOn("db", h, 2*time.Minute)
	began := time.Now()
	h.do("systemctl", "reboot")
	h.off(4 * time.Minute)
	journal := h.journal(began)
	inOrder(t, journal, []string{"Stopping haagent.service", "reboot=true", "asked to stop", "Stopped haagent.service", "Stopping libvirtd.service", "Stopping haguard.service"})
	if strings.Contains(journal, "timed out. Killing") {
		t.Errorf("systemd did not wait as long as it was asked to")
	}
	for _, vm := range []string{"web", "db"} {
		if v, err := w.view(vm); err != nil || v.State == "running" {
			t.Errorf("%s is %s on %q (%v), want it to wait", vm, v.State, v.Host, err)
		}
	}
	h.powerOn()
	w.runsOn("web", h, 2*time.Minute)
	w.runsOn("db", h, 2*time.Minute)
}
