package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

func TestDevicesAreShown(t *testing.T) {
	p, err := config.ParsePolicy(map[string][]byte{"a.hcl": []byte(`cluster "c" {}
devices "gpu" {
  host "kvm1" { pci = ["0000:41:00.0", "0000:42:00.0"] }
  host "kvm2" { pci = ["0000:01:00.0"] }
}`)})
	if err != nil {
		t.Fatal(err)
	}
	vm := &fsm.VM{UUID: "u", Name: "a", Devices: []string{"pci:0000:41:00.0", "pci:0000:55:00.0"}, DevicesOf: "kvm1",
		Owner: &fsm.Placement{Host: "kvm2", Devices: []string{"pci:0000:01:00.0", "pci:0000:56:00.0"}}}
	w := World{Policy: p, State: &fsm.State{Hosts: map[string]*fsm.Host{"kvm1": {Name: "kvm1"}, "kvm2": {Name: "kvm2"}}, VMs: map[string]*fsm.VM{"u": vm}},
		Observed: map[string]HostObservation{"kvm1": {Devices: map[string]string{"pci:0000:41:00.0": "", "pci:0000:42:00.0": "it is not there"}}}}
	want := []DeviceView{{"pci:0000:01:00.0", "gpu"}, {"pci:0000:56:00.0", ""}}
	if d := cmp.Diff(want, w.vmView(vm).Devices); d != "" {
		t.Errorf("what it has (-want +got):\n%s", d)
	}
	vm.Owner = nil
	if got := w.vmView(vm).Devices; got != nil {
		t.Errorf("while nobody owns it it has %v", got)
	}
	var texts []string
	for _, x := range w.deviceProblems() {
		texts = append(texts, x.Text)
	}
	if d := cmp.Diff([]string{"kvm1 cannot hand out the device pci:0000:42:00.0 of pool gpu: it is not there; it counts as missing"}, texts); d != "" {
		t.Errorf("problems (-want +got):\n%s", d)
	}
}

// What is explained of a VM names each device of its pool and who has it; by the master alone.
func TestExplainNamesWhoHasDevices(t *testing.T) {
	p, err := config.ParsePolicy(map[string][]byte{"a.hcl": []byte(`cluster "c" {}
devices "gpu" {
  host "kvm1" { pci = ["0000:41:00.0", "0000:42:00.0"] }
  host "kvm2" { pci = ["0000:01:00.0"] }
}
devices "nic" {
  host "kvm1" { pci = ["0000:61:00.0"] }
}`)})
	if err != nil {
		t.Fatal(err)
	}
	has := func(uuid, name, host, word string) *fsm.VM {
		return &fsm.VM{UUID: uuid, Name: name, Intent: fsm.IntentRun, Devices: []string{word}, DevicesOf: "kvm1", Owner: &fsm.Placement{Host: host, Phase: fsm.PhaseRunning}}
	}
	a, b := has("u", "a", "kvm1", "pci:0000:41:00.0"), has("v", "b", "kvm2", "pci:0000:41:00.0")
	b.Owner.Devices = []string{"pci:0000:01:00.0"}
	w := World{Policy: p, State: &fsm.State{Hosts: map[string]*fsm.Host{"kvm1": {Name: "kvm1"}, "kvm2": {Name: "kvm2"}}, VMs: map[string]*fsm.VM{"u": a, "v": b}}}
	w.Picture = &inventory.Input{State: w.State, Policy: p, Hosts: []inventory.Host{{Name: "kvm1", Devices: map[string]string{"pci:0000:42:00.0": "it is not there"}}, {Name: "kvm2", State: placement.Maintenance, Why: "it was put into maintenance"}}}
	e, err := w.ExplainVM("a")
	if err != nil {
		t.Fatal(err)
	}
	want := []PoolView{{Name: "gpu", Devices: []PoolDeviceView{
		{Host: "kvm1", Device: "pci:0000:41:00.0", VM: "a"}, {Host: "kvm1", Device: "pci:0000:42:00.0", Missing: "it is not there"},
		{Host: "kvm2", Device: "pci:0000:01:00.0", VM: "b", Closed: "it was put into maintenance"}}}}
	if d := cmp.Diff(want, e.Pools); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	w.Picture = nil
	if e, err = w.ExplainVM("a"); err != nil || e.Pools != nil {
		t.Errorf("without the master's picture it names %v (%v)", e.Pools, err)
	}
}
