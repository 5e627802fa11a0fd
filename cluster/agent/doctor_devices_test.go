package agent

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// without is a machine that lacks one device, and has another in its place.
type without struct{ everywhereNFS }

func (without) Device(word, id string) string {
	if word == "pci:0000:02:00.0" {
		return "it is not a " + id
	}
	return ""
}

// listed is a hypervisor that has these VMs.
type listed struct {
	vmm.Hypervisor
	domains []vmm.Domain
}

func (l listed) Domains(context.Context) ([]vmm.Domain, error) { return l.domains, nil }

// Of each device of a pool the doctor is told whether this host has it, and who has it that nobody protects.
func TestWhatTheDoctorIsToldOfDevices(t *testing.T) {
	p, err := config.ParsePolicy(map[string][]byte{"a.hcl": []byte(`cluster "c" {}
devices "gpu" {
  id = "10de:1eb8"
  host "kvm1" { pci = ["0000:02:00.0", "0000:01:00.0", "0000:03:00.0"] }
  host "kvm2" { pci = ["0000:41:00.0"] }
}`)})
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{env: Env{Name: "kvm1", Look: without{}, Hypervisor: listed{domains: []vmm.Domain{
		{UUID: "u1", Name: "db1", State: vmm.Running, Devices: []string{"pci:0000:01:00.0"}},
		{UUID: "u2", Name: "test", State: vmm.Running, Devices: []string{"pci:0000:01:00.0"}},
		{UUID: "u3", Name: "build", State: vmm.Paused, Devices: []string{"pci:0000:01:00.0", "pci:0000:41:00.0"}},
		{UUID: "u4", Name: "off", State: vmm.Stopped, Devices: []string{"pci:0000:03:00.0"}},
	}}}}
	got := a.devices(t.Context(), &fsm.State{VMs: map[string]*fsm.VM{"u1": {}}}, p)
	want := []doctor.Device{{Pool: "gpu", Word: "pci:0000:02:00.0", Missing: "it is not a 10de:1eb8"}, {Pool: "gpu", Word: "pci:0000:01:00.0", Strangers: []string{"build", "test"}}, {Pool: "gpu", Word: "pci:0000:03:00.0"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
