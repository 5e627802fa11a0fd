package host

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// A VM is started with the devices that its placement has, and the master is told which its
// definition hands over then.
func TestAStartHandsOverWhatWasChosen(t *testing.T) {
	const was, is = "pci:0000:41:00.0", "pci:0000:02:00.0"
	handing := strings.Replace(xml(web, "web"), "</domain>", `<devices><hostdev mode='subsystem' type='pci'><source><address domain='0x0000' bus='0x41' slot='0x00' function='0x0'/></source></hostdev></devices></domain>`, 1)
	for name, tt := range map[string]struct {
		devices []string
		fails   string // why it does not start; empty: it does
	}{
		"one for one":     {[]string{is}, ""},
		"of another kind": {[]string{"mdev:c2177883-f1bb-47f0-914d-32a22e3a8804"}, "cannot take the place of"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				packed, err := fsm.PackXML(handing)
				if err != nil {
					t.Fatal(err)
				}
				r.hyp.SetDevices(is)
				r.apply(&fsm.Redefine{Epoch: 1, UUID: web, Name: "web", XML: packed, XMLHash: "h", VCPUs: 1, Memory: 1 << 30, Host: "b", Devices: []string{was}})
				r.start()
				r.pass(2 * time.Second)
				s := r.state()
				r.apply(&fsm.Assign{Epoch: 1, UUID: web, Previous: s.VMs[web].Generation, Host: "a", Incarnation: s.Hosts["a"].Incarnation, Devices: tt.devices, Why: "a test"})
				r.pass(3 * time.Second)
				var last api.HostReport
				r.master.set(func(m *fakeMaster) { last = *m.report })
				vm := r.state().VMs[web]
				if runs := vm.Owner != nil && vm.Owner.Phase == fsm.PhaseRunning; runs != (tt.fails == "") || runs != r.running() {
					t.Fatalf("it is %+v, running: %v", vm.Owner, r.running())
				}
				if tt.fails != "" {
					if len(vm.Failures) != 1 || !strings.Contains(vm.Failures[0].Detail, tt.fails) {
						t.Errorf("it failed with %+v, want %q", vm.Failures, tt.fails)
					}
					return
				}
				if got := last.Domains[0].Devices; !slices.Equal(got, []string{is}) {
					t.Errorf("the master is told that it hands over %q, want %q", got, is)
				}
			})
		})
	}
}

func TestDevicesOfThePolicyAreLookedFor(t *testing.T) {
	p := policyOf(t, `
devices "gpu" {
  id = "10de:1eb8"
  host "a" { pci = ["0000:41:00.0", "0000:42:00.0"] }
  host "b" { pci = ["0000:43:00.0"] }
}
devices "dongle" {
  host "a" { usb = ["0529:0001"] }
}`)
	got := devices(p, "a", func(word, id string) string {
		if word == "pci:0000:42:00.0" {
			return "no " + id
		}
		return ""
	})
	if d := cmp.Diff(map[string]string{"pci:0000:41:00.0": "", "pci:0000:42:00.0": "no 10de:1eb8", "usb:0529:0001": ""}, got); d != "" {
		t.Errorf("what is told (-want +got):\n%s", d)
	}
	if got := devices(p, "a", nil); got != nil {
		t.Errorf("told as %v where nobody can look, want nothing known", got)
	}
}
