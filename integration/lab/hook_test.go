package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// officeAway is for how long after this machine has hesitated the office can be vacant: some elections.
const officeAway = 2 * time.Second

// packagedHook is libvirt's hook as the package installs it, for another path of haagent.
func packagedHook(t *testing.T, agent string) string {
	t.Helper()
	const installed = "/usr/bin/haagent"
	b, err := os.ReadFile("../../packaging/libvirt/qemu.d-holdfast")
	must(t, err)
	if n := strings.Count(string(b), installed); n != 2 {
		t.Fatalf("packaging/libvirt/qemu.d-holdfast names %s %d times, want 2", installed, n)
	}
	return strings.ReplaceAll(string(b), installed, agent)
}

// lone makes a guest without an operating system that nobody protects, with so much
// memory in its definition, and defines it on hosts.
func (w *world) lone(t *testing.T, mib uint64, on ...*Host) *Guest {
	t.Helper()
	w.guests++
	g, err := w.CreateGuest(fmt.Sprintf("lone%d", w.guests), Empty)
	must(t, err)
	const memory = "<memory unit='MiB'>"
	before, after, ok := strings.Cut(g.XML, memory)
	if !ok {
		t.Fatalf("the definition has no %s:\n%s", memory, g.XML)
	}
	_, after, _ = strings.Cut(after, "<")
	g.XML = fmt.Sprintf("%s%s%d<%s", before, memory, mib, after)
	must(t, os.WriteFile(w.xmlFile(g), []byte(g.XML), 0o644))
	for _, h := range on {
		must(t, h.Define(t.Context(), g))
	}
	t.Cleanup(func() { w.remove(t, g) })
	return g
}

// admission sets the policy's admission control: nearly all memory is kept for failovers.
func (w *world) admission(t *testing.T, policy, mode string) {
	t.Helper()
	if mode != "" {
		policy += fmt.Sprintf("\nadmission_control {\n  mode = %q\n\n  reserve_percent {\n    cpu    = 1\n    memory = 99\n  }\n}\n", mode)
	}
	file := filepath.Join(w.Dir(), "admission.hcl")
	must(t, os.WriteFile(file, []byte(policy), 0o600))
	_, err := w.master(t).Adm(within(t, settle), "config", "apply", file, "--yes")
	must(t, err)
}

// startUnprotected: libvirt's hook asks about VMs that nobody protects too. Where admission
// control is enforced one that takes the room of failovers is refused, on the master and on a
// member, and who typed virsh reads why; a small one starts. Protected ones are refused as ever.
// Where it warns the large one starts and the history tells of it.
func startUnprotected(t *testing.T, w *world) {
	master, member := w.master(t), w.member(t)
	var machine syscall.Sysinfo_t
	must(t, syscall.Sysinfo(&machine))
	// More than what is not kept, a hundredth of three hosts with the machine's memory each.
	large, small := w.lone(t, machine.Totalram*uint64(machine.Unit)>>20/16, master, member), w.lone(t, 16, member)
	protected := w.lone(t, 16, master, member)
	must(t, member.StartGuest(t.Context(), protected))
	must(t, w.Protect(within(t, settle), protected.Name))

	policy, err := master.Adm(t.Context(), "config", "show", "--secrets")
	must(t, err)
	w.admission(t, policy, "enforce")
	t.Cleanup(func() { w.admission(t, policy, "") })
	for _, h := range []*Host{master, member} {
		begin := time.Now()
		_, err := h.Virsh(t.Context(), "start", large.Name)
		t.Logf("virsh start on %s after %v: %v", h.Name(), time.Since(begin).Round(time.Millisecond), err)
		if err == nil { // a master that does not answer within a second stops nobody
			w.presumes(t, begin.Add(-officeAway), "virsh start of %s on %s: not refused", large.Name, h.Name())
			_, _ = h.Virsh(t.Context(), "destroy", large.Name) // remove does it again
			continue
		}
		for _, want := range []string{"the start of " + large.Name + ", which nobody protects, on " + h.Name(), "admission control (reserve_percent) says", `mode = "warn"`} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("virsh start on %s: %v; want it refused with %q", h.Name(), err, want)
			}
		}
	}
	must(t, member.StartGuest(t.Context(), small))
	_, err = master.Virsh(t.Context(), "start", protected.Name)
	if err == nil || !strings.Contains(err.Error(), "owned by "+member.Name()) {
		t.Errorf("virsh start of a protected VM on %s: %v; want it refused with the owner's name, %s", master.Name(), err, member.Name())
	}

	w.admission(t, policy, "warn")
	at := time.Now()
	must(t, member.StartGuest(t.Context(), large))
	_, err = w.Judge().WaitRunning(within(t, takeover), large.Name, at, member.Name())
	must(t, err)
	must(t, poll(within(t, settle), func() error {
		events, err := w.Events(t.Context(), 0)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Type == "admission_control_warned" && e.VM == large.Name {
				return nil
			}
		}
		return errors.New("the history has no warning of admission control about " + large.Name)
	}))
}
