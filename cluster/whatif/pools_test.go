package whatif

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// Each device of a pool is counted once, whatever is the matter with it.
func TestCapacityCountsDevices(t *testing.T) {
	b, in := rack(t)
	p, err := config.ParsePolicy(map[string][]byte{"a.hcl": []byte(`cluster "c" {}
devices "gpu" {
  host "a" { pci = ["0000:01:00.0", "0000:02:00.0", "0000:03:00.0"] }
  host "b" { pci = ["0000:41:00.0"] }
  host "away" { pci = ["0000:51:00.0"] }
}`)})
	if err != nil {
		t.Fatal(err)
	}
	policy := *in.Policy
	policy.Devices, in.Policy = p.Devices, &policy
	for i := range in.Hosts {
		switch h := &in.Hosts[i]; h.Name {
		case "a":
			h.Devices = map[string]string{"pci:0000:02:00.0": "it is not there"}
			h.Domains = append(h.Domains, inventory.Domain{UUID: "x", Name: "x", Running: true, Devices: []string{"pci:0000:01:00.0"}})
		case "b":
			h.State = placement.Maintenance
		}
	}
	room, err := Room(b, in, Hypothesis{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []PoolRoom{{Name: "gpu", Total: 5, Held: 1, Free: 1, Closed: 2, Missing: []MissingDevice{{"a", "pci:0000:02:00.0", "it is not there"}}}}
	if d := cmp.Diff(want, room.Pools); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// With its pool full elsewhere a VM is not to be protected, and the refusal names the pool and how many
// it needs; one that is best effort is taken, for it only starts where a device is free.
func TestAFullPoolRefusesWhatIsToBeProtected(t *testing.T) {
	const devices = `
devices "gpu" {
  host "a" { pci = ["0000:01:00.0"] }
  host "b" { pci = ["0000:41:00.0"] }
}
class "low" { admission = "best_effort" }
vm "spare" { class = "low" }
admission_control {
  mode = "enforce"
  %s
}`
	one := func(name, word string) inventory.FileVM {
		return inventory.FileVM{Name: name, Memory: gib, VCPUs: 1, DevicesOf: "a",
			Ties: []inventory.FileTie{{Kind: domainxml.TieDevice, Effect: domainxml.Bound, Device: word, Text: word + " of the host is handed to the guest"}}}
	}
	const held = "cannot be protected: no other host has a device for it: b: device pool gpu: 1 needed, 0 of 1 free"
	for way, refusal := range map[string]string{
		"host_failures {}":   "any 1 host may not fail: with a lost first would stay down; it needs 1 of device pool gpu",
		"slots {}":           held,
		"reserve_percent {}": held,
	} {
		for name, tt := range map[string]struct {
			full     bool
			admitted bool
			why      string
		}{
			"first": {true, false, refusal},
			"spare": {true, true, ""},
			"free":  {false, true, ""},
		} {
			t.Run(way+" "+name, func(t *testing.T) {
				b, in := rack(t)
				p, err := config.ParsePolicy(map[string][]byte{"a.hcl": fmt.Appendf(nil, "cluster \"c\" {}\n"+devices, way)})
				if err != nil {
					t.Fatal(err)
				}
				in.Policy = p
				empty := *in.State
				empty.VMs = map[string]*fsm.VM{}
				in.State = &empty
				for i := range in.Hosts {
					in.Hosts[i].Domains = nil
				}
				if tt.full { // by what nobody protects
					for i := range in.Hosts {
						if h := &in.Hosts[i]; h.Name == "b" {
							h.Domains = append(h.Domains, inventory.Domain{UUID: "x", Name: "x", Running: true, Memory: gib, VCPUs: 1, Devices: []string{"pci:0000:41:00.0"}})
						}
					}
				}
				room, err := Room(b, in, Hypothesis{Add: []inventory.FileVM{one(name, "pci:0000:01:00.0")}}, nil)
				if err != nil {
					t.Fatal(err)
				}
				got := room.Added[0]
				if got.Admitted != tt.admitted || !strings.Contains(got.Why, tt.why) {
					t.Errorf("admitted: %v (%s), want %v, with the pool in a refusal", got.Admitted, got.Why, tt.admitted)
				}
			})
		}
	}
}

// What leaves with a host is not shown on one where no device of its pool is free, though by number there is:
// what a VM has had since it was started, and its definition has no more, is that VM's.
func TestHostsAreNotRemovedOntoDevicesThatAreTaken(t *testing.T) {
	const policy = `cluster "c" {}
devices "gpu" {
  host "a" { pci = ["0000:01:00.0"] }
  host "b" { pci = ["0000:41:00.0"] }
  host "c" { pci = ["0000:51:00.0"] }
}
migration { when_not_live = "restart" }`
	for _, tt := range []struct {
		name  string
		taken []string // hosts whose device is a VM's that is not seen to need it
		way   bool     // one that needs none any more is on its way to b, where one was chosen for it
		state placement.HostState
		want  string // where render is afterwards; empty: nowhere
		has   string
	}{
		{"a device is free", nil, false, placement.Maintenance, "b", "pci:0000:41:00.0"},
		{"the other has it", []string{"b"}, false, placement.Maintenance, "", ""},
		{"one of two", []string{"c"}, false, placement.Up, "b", "pci:0000:41:00.0"},
		{"both", []string{"b", "c"}, false, placement.Up, "", ""},
		{"one is on its way", []string{"c"}, true, placement.Up, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, in := rack(t)
			p, err := config.ParsePolicy(map[string][]byte{"a.hcl": []byte(policy)})
			if err != nil {
				t.Fatal(err)
			}
			in.Policy = p
			s := *in.State
			s.VMs = map[string]*fsm.VM{}
			in.State, in.Wants = &s, map[string]inventory.Wants{}
			for i := range in.Hosts {
				h := &in.Hosts[i]
				h.Domains = nil
				if h.Name == "c" {
					h.State = tt.state
				}
				for _, name := range tt.taken {
					if h.Name == name {
						uuid := "on " + name
						s.VMs[uuid] = &fsm.VM{UUID: uuid, Name: uuid, Memory: 1 << 30, VCPUs: 1, Intent: fsm.IntentRun, Home: name, Generation: 1,
							Owner: &fsm.Placement{Host: name, Incarnation: 1, Generation: 1, Phase: fsm.PhaseRunning}}
						h.Domains = []inventory.Domain{{UUID: uuid, Name: uuid, Running: true, VCPUs: 1, Memory: 1 << 30, Devices: in.Policy.Devices["gpu"].Hosts[name]}}
					}
				}
			}
			if tt.way {
				s.VMs["on c"].Move = &fsm.Move{ID: 1, Host: "b", Cold: true, Devices: []string{"pci:0000:41:00.0"}}
			}
			s.VMs["render"] = &fsm.VM{UUID: "render", Name: "render", Memory: 1 << 30, VCPUs: 1, Intent: fsm.IntentRun, Home: "a", Generation: 1, Devices: []string{"pci:0000:01:00.0"}, DevicesOf: "a",
				Owner: &fsm.Placement{Host: "a", Incarnation: 1, Generation: 1, Phase: fsm.PhaseRunning}}
			in.Wants["render"] = inventory.Wants{HighestCPU: -1, Ties: []domainxml.Tie{{Kind: domainxml.TieDevice, Effect: domainxml.Bound, Device: "pci:0000:01:00.0", Text: "a device"}}}
			out, _, problems, err := (&Hypothesis{RemoveHosts: []string{"a"}}).apply(b, in)
			if err != nil {
				t.Fatal(err)
			}
			got, has := "", ""
			if o := out.State.VMs["render"].Owner; o != nil {
				got, has = o.Host, strings.Join(o.Devices, " ")
			}
			if got != tt.want || has != tt.has || (len(problems) == 0) != (tt.want != "") {
				t.Errorf("render is on %q with %q (%q), want %q with %q", got, has, problems, tt.want, tt.has)
			}
			for _, why := range problems {
				if !strings.HasPrefix(why, "render runs on a, and would wait for a host once that is gone: no ") || !strings.Contains(why, "device") {
					t.Errorf("it is told that %s", why)
				}
			}
		})
	}
}
