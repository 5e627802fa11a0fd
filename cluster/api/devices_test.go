package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"

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
