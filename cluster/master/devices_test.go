package master

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// A move that is planned, and for which the device that is free by number is another's, does not
// begin: it is told of once, and the VM goes once the device is free.
func TestAMoveWithoutADeviceIsToldOf(t *testing.T) {
	const ours, theirs = "pci:0000:41:00.0", "pci:0000:01:00.0"
	packed, err := fsm.PackXML(`<domain type='kvm'><name>gpu</name><uuid>` + uuid(1) + `</uuid><memory unit='GiB'>1</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices>
<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='0x41' slot='0' function='0'/></source></hostdev></devices></domain>`)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := config.ParsePolicy(map[string][]byte{"a.hcl": []byte(`cluster "test" {}
devices "gpu" {
  host "b" { pci = ["0000:41:00.0"] }
  host "a" { pci = ["0000:01:00.0"] }
}`)})
	if err != nil {
		t.Fatal(err)
	}
	staged(t, config.AdmissionOff, func(s *stage) {
		s.policy.Devices, s.policy.Migration.WhenNotLive = policy.Devices, config.NotLiveRestart
		s.must(&fsm.Protect{Epoch: 1, VM: fsm.VM{UUID: uuid(1), Name: "gpu", XML: packed, Intent: fsm.IntentStop, Memory: 1 << 30, VCPUs: 1, Devices: []string{ours}, DevicesOf: "b"}, Running: true, Host: "b", Incarnation: 1})
		s.must(&fsm.Report{Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: s.state().VMs[uuid(1)].Sighting.Generation, Outcome: fsm.OutcomeRunning})
		s.runs("b", 1, "gpu", 1<<30, vmm.Running)
		s.must(&fsm.Protect{Epoch: 1, VM: fsm.VM{UUID: uuid(2), Name: "left", XML: []byte("packed"), XMLHash: "old", Intent: fsm.IntentStop, Memory: 1 << 30, VCPUs: 1, Devices: []string{theirs}, DevicesOf: "a"}, Running: true, Host: "a", Incarnation: 1})
		s.must(&fsm.Report{Epoch: 1, UUID: uuid(2), Host: "a", Incarnation: 1, Generation: s.state().VMs[uuid(2)].Sighting.Generation, Outcome: fsm.OutcomeRunning})
		s.runs("a", 2, "left", 1<<30, vmm.Running)
		s.must(&fsm.Redefine{Epoch: 1, UUID: uuid(2), Name: "left", XML: []byte("packed"), XMLHash: "new", VCPUs: 1, Memory: 1 << 30}) // which it will be without once it is started anew
		s.beating(time.Second)
		s.maintain("b", true)
		s.beating(2 * time.Minute)
		if got := s.events("vm_evacuation_failed"); !slices.Equal(got, []string{"vm_evacuation_failed gpu"}) || s.under() != "" {
			t.Fatalf("told were %q, and under way is %q; want once that gpu stays", got, s.under())
		}
		for _, e := range s.state().Events {
			if e.Type == "vm_evacuation_failed" && !strings.HasSuffix(e.Text, "no device of pool gpu is free on a: "+theirs+" is left's") {
				t.Errorf("told was %q, want who has the device", e.Text)
			}
		}
		s.must(&fsm.Report{Epoch: 1, UUID: uuid(2), Host: "a", Incarnation: 1, Generation: s.state().VMs[uuid(2)].Generation, Outcome: fsm.OutcomeStopped})
		s.domains["a"] = nil
		s.beating(time.Minute)
		if got := s.under(); got != "gpu>a" {
			t.Errorf("once the device is free under way is %q, want gpu>a", got)
		}
	})
}
