package main

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
)

func TestDevicesOfPoolsAsPeopleReadThem(t *testing.T) {
	var out bytes.Buffer
	p := &program{stdout: &out}
	p.poolTable(nil)
	p.poolsOf(nil)
	if out.Len() > 0 {
		t.Errorf("without pools it says %q", out.String())
	}
	p.poolTable([]whatif.PoolRoom{{Name: "gpu", Total: 4, Held: 1, Free: 1, Closed: 1, Missing: []whatif.MissingDevice{{Host: "kvm1", Device: "pci:0000:42:00.0", Why: "it is not there"}}}})
	p.poolsOf([]api.PoolView{{Name: "gpu", Devices: []api.PoolDeviceView{
		{Host: "kvm1", Device: "pci:0000:41:00.0", VM: "a"}, {Host: "kvm1", Device: "pci:0000:42:00.0", Missing: "it is not there"},
		{Host: "kvm2", Device: "pci:0000:01:00.0", Closed: "it is dead"}, {Host: "kvm3", Device: "pci:0000:02:00.0"}, {Host: "kvm3", Device: "pci:0000:03:00.0", VM: "b", Missing: "it is not there"}}}})
	want := `
DEVICE POOL  DEVICES  HELD  FREE  CLOSED  MISSING
gpu                4     1     1       1  1
  pci:0000:42:00.0 of pool gpu is missing on kvm1: it is not there

Devices of pool gpu now
HOST  DEVICE            IT IS
kvm1  pci:0000:41:00.0  a's
kvm1  pci:0000:42:00.0  missing: it is not there
kvm2  pci:0000:01:00.0  not to be had, for its host takes no VMs: it is dead
kvm3  pci:0000:02:00.0  free
kvm3  pci:0000:03:00.0  b's, and missing: it is not there
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
