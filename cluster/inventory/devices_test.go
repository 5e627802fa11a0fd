package inventory

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

const pools = `
devices "gpu" {
  host "kvm1" { pci = ["0000:41:00.0", "0000:42:00.0"] }
  host "kvm2" { pci = ["0000:01:00.0"] }
}
devices "sound" {
  host "kvm1" { pci = ["0000:43:00.1", "0000:41:00.1", "0000:42:00.1"] }
  host "kvm2" { pci = ["0000:01:00.1"] }
}
`

// pciDevices are children of <devices>: PCI devices of buses, as "41.0".
func pciDevices(at ...string) string {
	text := ""
	for _, a := range at {
		bus, function, _ := strings.Cut(a, ".")
		text += fmt.Sprintf(`<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='0x%s' slot='0' function='%s'/></source></hostdev>`, bus, function)
	}
	return text
}

// words are those devices as the state has them.
func words(at ...string) (all []string) {
	for _, a := range at {
		bus, function, _ := strings.Cut(a, ".")
		all = append(all, "pci:0000:"+bus+":00."+function)
	}
	return all
}

// passing is a VM with PCI devices of kvm1; it runs on host, unless that is empty.
func passing(t *testing.T, name, host string, at ...string) *fsm.VM {
	t.Helper()
	v := vm(t, name, host, definition(name, "", pciDevices(at...)))
	v.Devices, v.DevicesOf = words(at...), "kvm1"
	return v
}

func inCluster(t *testing.T, text string, vms ...*fsm.VM) Input {
	t.Helper()
	in := Input{State: state(vms...), Policy: policy(t, text)}
	for _, name := range []string{"kvm1", "kvm2", "kvm3"} {
		in.Hosts = append(in.Hosts, host(name))
		in.State.Hosts[name] = &fsm.Host{Name: name, Status: fsm.HostLive, Incarnation: 1}
	}
	return in
}

// A device of a pool is something that hosts have some of; one that is in none ties its VM to its host.
func TestPoolsInThePicture(t *testing.T) {
	const gpu = placement.DevicePool + "gpu"
	tests := []struct {
		name  string
		text  string
		vm    *fsm.VM
		edit  func(in *Input)
		extra map[string]int64 // of the VM
		bound string
		kvm1  int64 // devices of gpu
	}{
		{"no pools", "", passing(t, "a", "kvm1", "41.0"), nil, nil, "PCI device 0000:41:00.0 of the host is handed to the guest", 0},
		{"in a pool", pools, passing(t, "a", "kvm1", "41.0"), nil, map[string]int64{gpu: 1}, "", 2},
		{"two of a pool", pools, passing(t, "a", "kvm1", "41.0", "42.0"), nil, map[string]int64{gpu: 2}, "", 2},
		{"one in none", pools, passing(t, "a", "kvm1", "41.0", "55.0"), nil, map[string]int64{gpu: 1}, "PCI device 0000:55:00.0 of the host is handed to the guest, and is in no devices block of the policy for host kvm1", 2},
		{"of another host", pools, func() *fsm.VM { v := passing(t, "a", "kvm1", "41.0"); v.DevicesOf = "kvm2"; return v }(), nil, nil,
			"PCI device 0000:41:00.0 of the host is handed to the guest, and is in no devices block of the policy for host kvm2", 2},
		{"one is not there", pools, passing(t, "a", "kvm1", "41.0"), func(in *Input) {
			in.Hosts[0].Devices = map[string]string{"pci:0000:42:00.0": "it is not there", "pci:0000:41:00.0": ""}
		}, map[string]int64{gpu: 1}, "", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := inCluster(t, tt.text, tt.vm)
			if tt.edit != nil {
				tt.edit(&in)
			}
			inv := build(t, in)
			v := find(t, inv, "a")
			if d := cmp.Diff(tt.extra, v.Extra); d != "" {
				t.Errorf("what it takes (-want +got):\n%s", d)
			}
			if got := strings.Join(v.Bound, "; "); got != tt.bound {
				t.Errorf("it is bound by %q, want %q", got, tt.bound)
			}
			if v.Live {
				t.Error("it can be moved while it runs")
			}
			i := slices.IndexFunc(inv.Cluster.Hosts, func(h placement.Host) bool { return h.Name == "kvm1" })
			if got := inv.Cluster.Hosts[i].Extra[gpu]; got != tt.kvm1 {
				t.Errorf("kvm1 has %d of %s, want %d", got, gpu, tt.kvm1)
			}
		})
	}
}

// What the planner says of a VM whose pool is taken names the pool, with its figures.
func TestATakenPoolIsNamed(t *testing.T) {
	in := inCluster(t, pools, passing(t, "a", "kvm1", "41.0"))
	in.Hosts[1].Domains = []Domain{{UUID: uuidOf("u"), Name: "u", Running: true, VCPUs: 1, Memory: gib, Devices: words("01.0")}}
	inv := build(t, in)
	var got []string
	for _, d := range placement.Decide(inv.Cluster, placement.Question{Lost: []string{"kvm1"}}).Decisions {
		if d.VM == "a" && d.Action == placement.StayDown {
			for _, h := range d.Hosts {
				got = append(got, h.String())
			}
		}
	}
	want := []string{"kvm1: is lost", "kvm2: device pool gpu: 1 needed, 0 of 1 free", "kvm3: has 0 of device pool gpu for VMs in all, 1 of device pool gpu are needed"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("why it stays down (-want +got):\n%s", d)
	}
	a, _ := inv.Agility("a")
	for _, h := range a.Hosts {
		if h.Host == "kvm3" && strings.Join(h.Reasons, "; ") != "the policy names no device of it in the pool gpu, 1 needed" || h.Host == "kvm2" && len(h.Reasons) > 0 {
			t.Errorf("%s is kept from it by %q", h.Host, h.Reasons)
		}
	}
}

func TestChoose(t *testing.T) {
	owned := func(v *fsm.VM, at ...string) *fsm.VM { v.Owner.Devices = words(at...); return v }
	tests := []struct {
		name   string
		others []*fsm.VM
		edit   func(in *Input)
		vm     *fsm.VM
		host   string
		want   []string
		why    string
	}{
		{"what it has there", nil, nil, passing(t, "a", "", "42.0"), "kvm1", words("42.0"), ""},
		{"elsewhere", nil, nil, passing(t, "a", "", "42.0"), "kvm2", words("01.0"), ""},
		{"another, when its own is taken", []*fsm.VM{owned(passing(t, "b", "kvm1", "41.0"), "42.0")}, nil, passing(t, "a", "", "42.0"), "kvm1", words("41.0"), ""},
		{"by its definition alone another has it", []*fsm.VM{passing(t, "b", "kvm1", "42.0")}, nil, passing(t, "a", "", "42.0"), "kvm1", words("41.0"), ""},
		{"none is free", []*fsm.VM{owned(passing(t, "b", "kvm2", "41.0"), "01.0")}, nil, passing(t, "a", "", "42.0"), "kvm2", nil, "no device of pool gpu is free on kvm2: pci:0000:01:00.0 is b's"},
		{"its definition names it no more, and it runs with it", []*fsm.VM{owned(vm(t, "b", "kvm2", definition("b", "", "")), "01.0")}, nil, passing(t, "a", "", "42.0"), "kvm2", nil, "no device of pool gpu is free on kvm2: pci:0000:01:00.0 is b's"},
		{"nobody protects who has it", nil, func(in *Input) { in.Hosts[1].Domains = []Domain{{Name: "u", Running: true, Devices: words("01.0")}} }, passing(t, "a", "", "42.0"), "kvm2", nil, "no device of pool gpu is free on kvm2: pci:0000:01:00.0 is u's"},
		{"who had it does not run", nil, func(in *Input) { in.Hosts[1].Domains = []Domain{{Name: "u", Devices: words("01.0")}} }, passing(t, "a", "", "42.0"), "kvm2", words("01.0"), ""},
		{"it is not there", nil, func(in *Input) {
			in.Hosts[1].Devices = map[string]string{"pci:0000:01:00.0": "it is not there"}
		}, passing(t, "a", "", "42.0"), "kvm2", nil, "no device of pool gpu is free on kvm2: pci:0000:01:00.0 is missing (it is not there)"},
		{"on its way there", []*fsm.VM{func() *fsm.VM {
			v := passing(t, "b", "kvm1", "41.0")
			v.Move = &fsm.Move{ID: 1, Host: "kvm2", Cold: true, Devices: words("01.0")}
			return v
		}()}, nil, passing(t, "a", "", "42.0"), "kvm2", nil, "no device of pool gpu is free on kvm2: pci:0000:01:00.0 is b's"},
		{"one of two pools is taken", nil, func(in *Input) { in.Hosts[1].Domains = []Domain{{Name: "u", Running: true, Devices: words("01.1")}} }, passing(t, "a", "", "41.0", "41.1"), "kvm2", nil, "no device of pool sound is free on kvm2: pci:0000:01:00.1 is u's"},
		{"functions of a card together", []*fsm.VM{owned(passing(t, "b", "kvm1", "41.0"), "41.0")}, nil, passing(t, "a", "", "41.0", "41.1"), "kvm1", words("42.0", "42.1"), ""},
		{"one in no pool, at home", nil, nil, passing(t, "a", "", "55.0", "41.0"), "kvm1", words("55.0", "41.0"), ""},
		{"one in no pool, elsewhere", nil, nil, passing(t, "a", "", "55.0", "41.0"), "kvm2", nil, "device pci:0000:55:00.0 of kvm1 is in no pool"},
		{"none in a pool", nil, nil, passing(t, "a", "", "55.0"), "kvm1", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := inCluster(t, pools, append(tt.others, tt.vm)...)
			if tt.edit != nil {
				tt.edit(&in)
			}
			got, why := NewChooser(in).Choose(tt.vm, tt.host)
			if !slices.Equal(got, tt.want) || why != tt.why {
				t.Errorf("Choose is %q (%q), want %q (%q)", got, why, tt.want, tt.why)
			}
		})
	}
	t.Run("of two in one round", func(t *testing.T) {
		a, b, c := passing(t, "a", "", "41.0"), passing(t, "b", "", "41.0"), passing(t, "c", "", "41.0")
		choose := NewChooser(inCluster(t, pools, a, b, c))
		first, _ := choose.Choose(a, "kvm1")
		second, _ := choose.Choose(b, "kvm1")
		_, why := choose.Choose(c, "kvm1")
		if !slices.Equal(first, words("41.0")) || !slices.Equal(second, words("42.0")) || why == "" {
			t.Errorf("they get %q and %q, and the third %q", first, second, why)
		}
	})
	t.Run("what was not given is not taken", func(t *testing.T) {
		a, b := passing(t, "a", "", "41.0", "55.0"), passing(t, "b", "", "41.0")
		choose := NewChooser(inCluster(t, pools, a, b))
		if _, why := choose.Choose(a, "kvm2"); why == "" {
			t.Fatal("it was given what is in no pool")
		}
		if got, why := choose.Choose(b, "kvm2"); !slices.Equal(got, words("01.0")) {
			t.Errorf("the next gets %q (%s)", got, why)
		}
	})
}

// A definition that names other devices has the same hash: the picture goes by the new ones.
func TestTheBuilderReadsExchangedDevicesAnew(t *testing.T) {
	v := passing(t, "a", "kvm1", "41.0")
	in := inCluster(t, pools, v)
	b := new(Builder)
	b.Build(in)
	next := vm(t, "a", "kvm2", definition("a", "", pciDevices("01.0")))
	next.Devices, next.DevicesOf = words("01.0"), "kvm2"
	in.State.VMs[next.UUID] = next
	if got := find(t, b.Build(in), "a"); len(got.Bound) > 0 || got.Extra[placement.DevicePool+"gpu"] != 1 {
		t.Errorf("on kvm2 it takes %v and is bound by %q", got.Extra, got.Bound)
	}
}

// An inventory file has all of it: what was written answers as the cluster did.
func TestPoolsInAFile(t *testing.T) {
	moved := passing(t, "a", "kvm2", "41.0")
	moved.Owner.Devices = words("01.0")
	in := inCluster(t, pools, moved, passing(t, "b", "kvm1", "42.0", "55.0"))
	in.Hosts[0].Devices = map[string]string{"pci:0000:41:00.0": "it is not there"}
	in.Hosts[0].Domains = []Domain{{UUID: uuidOf("u"), Name: "u", Running: true, VCPUs: 1, Memory: gib, Devices: words("41.1")}}
	f := new(Builder).NewFile(in)
	again, err := f.Input()
	if err != nil {
		t.Fatal(err)
	}
	was, is := build(t, in), build(t, again)
	for _, name := range []string{"a", "b", "u"} {
		x, y := find(t, was, name), find(t, is, name)
		if d := cmp.Diff([]any{x.Extra, x.Bound, x.Host}, []any{y.Extra, y.Bound, y.Host}); d != "" {
			t.Errorf("%s (-cluster +file):\n%s", name, d)
		}
	}
	for i := range was.Cluster.Hosts {
		if d := cmp.Diff(was.Cluster.Hosts[i].Extra, is.Cluster.Hosts[i].Extra); d != "" {
			t.Errorf("%s (-cluster +file):\n%s", was.Cluster.Hosts[i].Name, d)
		}
	}
}

// A VM for which no other host has a device free is not to be protected; best effort is no matter.
func TestAdmissionAsksForADevice(t *testing.T) {
	const enforce = pools + `
admission_control {
  mode = "enforce"
  host_failures {}
}
class "spare" { admission = "best_effort" }
vm "spare1" { class = "spare" }
`
	for name, tt := range map[string]struct {
		vm      string
		taken   bool
		refused bool
	}{
		"one is free elsewhere":      {"a", false, false},
		"none is":                    {"a", true, true},
		"none is, and it is no must": {"spare1", true, false},
		"one is, and it is no must":  {"spare1", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := inCluster(t, enforce, passing(t, tt.vm, "kvm1", "41.0"))
			if tt.taken {
				in.Hosts[1].Domains = []Domain{{UUID: uuidOf("u"), Name: "u", Running: true, VCPUs: 1, Memory: gib, Devices: words("01.0")}}
			}
			inv := build(t, in)
			v := *find(t, inv, tt.vm)
			inv.Cluster.VMs = slices.DeleteFunc(inv.Cluster.VMs, func(x placement.VM) bool { return x.Name == tt.vm })
			got := placement.Check(inv.Cluster, placement.Change{VM: &v, Host: "kvm1"})
			if got.Refused != tt.refused || tt.refused && !strings.Contains(got.Why, "device pool gpu") {
				t.Errorf("refused: %v (%s), want %v with the pool named", got.Refused, got.Why, tt.refused)
			}
		})
	}
}

// What a VM has of a pool, and its definition does not ask for, it holds where it is; what it asks for counts once.
func TestDevicesThatAreHeldAndNotAskedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		vm   *fsm.VM
		runs []string // devices that it runs with on kvm1
		want int64    // that it holds besides
	}{
		"what it asks for":                     {passing(t, "a", "kvm1", "41.0"), words("41.0"), 0},
		"it is only being started":             {passing(t, "a", "kvm1", "41.0"), nil, 0},
		"it was taken out while it runs":       {vm(t, "a", "kvm1", definition("a", "", "")), words("41.0"), 1},
		"it runs with another than was chosen": {passing(t, "a", "kvm1", "41.0"), words("42.0"), 1},
		"one of another pool":                  {passing(t, "a", "kvm1", "41.0"), words("41.0", "43.1"), 0},
		"it runs elsewhere":                    {passing(t, "a", "kvm2", "41.0"), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			in := inCluster(t, pools, tt.vm)
			if tt.runs != nil {
				in.Hosts[0].Domains = []Domain{{UUID: tt.vm.UUID, Name: "a", Running: true, Devices: tt.runs}}
			}
			if got := find(t, build(t, in), "a").Holds[placement.DevicePool+"gpu"]; got != tt.want {
				t.Errorf("it holds %d besides what it asks for, want %d", got, tt.want)
			}
		})
	}
	in := inCluster(t, pools, vm(t, "a", "kvm1", definition("a", "", "")))
	in.Hosts[0].Devices = map[string]string{"pci:0000:41:00.0": "it is not there"}
	in.Hosts[0].Domains = []Domain{{UUID: uuidOf("a"), Name: "a", Running: true, Devices: words("41.0")}}
	if got := find(t, build(t, in), "a").Holds[placement.DevicePool+"gpu"]; got != 0 {
		t.Errorf("one that counts as missing is held as well: %d", got)
	}
}
