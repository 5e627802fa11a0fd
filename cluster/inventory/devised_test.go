package inventory

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// A move that finds room by number and no device does not begin; the VM stays, with the
// reason, and others go.
func TestAMoveForWhichNoDeviceIsFree(t *testing.T) {
	in := inCluster(t, pools, passing(t, "a", "kvm1", "41.0"), vm(t, "b", "kvm1", definition("b", "", "")), passing(t, "left", "kvm3", "01.0"))
	in.Hosts[1].Domains = []Domain{{UUID: uuidOf("left"), Name: "left", Running: true, Devices: words("01.0")}} // it was placed elsewhere, and its end has not been said
	inv := build(t, in)
	m := &placement.Moves{Begin: []placement.Relocation{{VM: "a", From: "kvm1", To: "kvm2", Cause: placement.Evacuate, Cold: true}, {VM: "b", From: "kvm1", To: "kvm2", Cause: placement.Evacuate}},
		Stay: []placement.Stay{{VM: "c", Host: "kvm1"}}}
	plan := Devised(in, inv, m)
	want := []placement.Stay{{VM: "c", Host: "kvm1"}, {VM: "a", Host: "kvm1", Cause: placement.Evacuate, Why: "no device of pool gpu is free on kvm2: pci:0000:01:00.0 is left's"}}
	if d := cmp.Diff(want, plan.Stay); d != "" {
		t.Errorf("who stays (-want +got):\n%s", d)
	}
	if len(plan.Begin) != 1 || plan.Begin[0].VM != "b" || len(m.Begin) != 2 || len(m.Stay) != 1 {
		t.Errorf("of the plan %+v is left %+v, want that b goes, and that the plan is as it was", m, plan)
	}
}

func TestPools(t *testing.T) {
	going := passing(t, "b", "kvm1", "42.0")
	going.Move = &fsm.Move{ID: 1, Host: "kvm2", Cold: true, Devices: words("01.0")}
	in := inCluster(t, pools, passing(t, "a", "kvm1", "41.0"), going)
	in.Hosts[0].Devices = map[string]string{"pci:0000:42:00.0": "it is not there"}
	in.Hosts[1].State, in.Hosts[1].Why = placement.Maintenance, "it was put into maintenance"
	in.Hosts[1].Domains = []Domain{{UUID: uuidOf("u"), Name: "u", Running: true, Devices: words("01.1")}}
	var got []string
	for _, p := range Pools(in) {
		for _, d := range p.Devices {
			free := ""
			if d.Free() {
				free = "free"
			}
			got = append(got, strings.Join([]string{p.Name, d.Host, d.Word, d.VM, d.Missing, d.Closed, free}, "|"))
		}
	}
	want := []string{
		"gpu|kvm1|pci:0000:41:00.0|a|||", "gpu|kvm1|pci:0000:42:00.0|b|it is not there||", "gpu|kvm2|pci:0000:01:00.0|b||it was put into maintenance|",
		"sound|kvm1|pci:0000:43:00.1||||free", "sound|kvm1|pci:0000:41:00.1||||free", "sound|kvm1|pci:0000:42:00.1||||free", "sound|kvm2|pci:0000:01:00.1|u||it was put into maintenance|",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the pools (-want +got):\n%s", d)
	}
}
