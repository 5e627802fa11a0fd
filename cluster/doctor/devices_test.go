package doctor

import (
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/fsm"
)

// Of a device of a pool it is said when no VM can be started with it, and by whose fault.
func TestDevicesOfPools(t *testing.T) {
	f := well("kvm2")
	f.Devices = []Device{
		{Pool: "gpu", Word: "pci:0000:01:00.0"},
		{Pool: "gpu", Word: "pci:0000:02:00.0", Missing: "it is a 10de:2204, and not a 10de:1eb8"},
		{Pool: "nic", Word: "pci:0000:03:00.0", Strangers: []string{"build", "test"}},
	}
	r := Examine([]Facts{f})
	want := "warning device_missing kvm2\ninfo device_held kvm2\n"
	if got := text(r); got != want {
		t.Fatalf("found was\n%swant\n%s", got, want)
	}
	for i, says := range []string{"kvm2: it cannot hand out the device pci:0000:02:00.0 of pool gpu: it is a 10de:2204, and not a 10de:1eb8", "the device pci:0000:03:00.0 of pool nic is held by build, test, which nobody protects"} {
		if !strings.Contains(r.Findings[i].Text, says) {
			t.Errorf("it says %q, want %q in it", r.Findings[i].Text, says)
		}
	}
	if r.Findings[1].Severity != fsm.Info || !r.Asks() {
		t.Error("what is missing asks for something to be done, and what is held does not")
	}
}
