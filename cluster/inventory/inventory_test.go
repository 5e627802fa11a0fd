package inventory

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

const gib = 1 << 30

// policy parses the policy of a cluster c with these blocks.
func policy(t testing.TB, text string) *config.Policy {
	t.Helper()
	p, err := config.ParsePolicy(map[string][]byte{"cluster.hcl": []byte("cluster \"c\" {}\n" + text)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// host is one that is up, with 64 GiB and 8 processors of 2 GHz.
func host(name string) Host {
	return Host{Name: name, Memory: 64 * gib, Reserve: 4 * gib, CPUs: 8, MHz: 2000, Voter: true}
}

// uuidOf is the UUID of the VM of that name in these tests.
func uuidOf(name string) string {
	return fmt.Sprintf("00000000-0000-0000-0000-%012x", []byte(fmt.Sprintf("%6s", name)))
}

// definition is a VM's, with children of <domain> and of <devices>.
func definition(name, top, devices string) string {
	return fmt.Sprintf(`<domain type='kvm'><name>%s</name><uuid>%s</uuid><memory unit='GiB'>8</memory><vcpu>2</vcpu>%s<devices>%s</devices></domain>`, name, uuidOf(name), top, devices)
}

// vm is a protected one of 8 GiB with 2 processors, with its definition.
func vm(t testing.TB, name, host, xml string) *fsm.VM {
	t.Helper()
	v := &fsm.VM{UUID: uuidOf(name), Name: name, XMLHash: "1", VCPUs: 2, Memory: 8 * gib, Intent: fsm.IntentRun, Home: host, Generation: 1}
	if xml != "" {
		packed, err := fsm.PackXML(xml)
		if err != nil {
			t.Fatal(err)
		}
		v.XML = packed
	}
	if host != "" {
		v.Owner = &fsm.Placement{Host: host, Incarnation: 1, Generation: 1, Phase: fsm.PhaseRunning}
	}
	return v
}

func state(vms ...*fsm.VM) *fsm.State {
	s := &fsm.State{VMs: map[string]*fsm.VM{}, Hosts: map[string]*fsm.Host{}}
	for _, v := range vms {
		s.VMs[v.UUID] = v
	}
	return s
}

// build makes a picture, which must be valid and make sense of everything.
func build(t testing.TB, in Input) *Inventory {
	t.Helper()
	inv := new(Builder).Build(in)
	if err := inv.Cluster.Validate(); err != nil {
		t.Fatalf("the picture is not valid: %v", err)
	}
	if len(inv.Problems) > 0 {
		t.Fatalf("problems: %q", inv.Problems)
	}
	return inv
}

func find(t testing.TB, inv *Inventory, name string) *placement.VM {
	t.Helper()
	for i := range inv.Cluster.VMs {
		if inv.Cluster.VMs[i].Name == name {
			return &inv.Cluster.VMs[i]
		}
	}
	t.Fatalf("there is no VM %q in %v", name, inv.UUIDs)
	return nil
}

func TestBuildMapsEverything(t *testing.T) {
	p := policy(t, `
host "kvm1" {
  failure_domain = "rack-a"
  max_vms        = 20
  memory_reserve = "6GiB"
  labels         = { gpu = "a2" }
}
host "kvm3" { standby = true }
datastore "nfs" { path = "/srv/vm" }
placement {
  memory_overcommit = 1.5
  cpu_overcommit    = 4
  strategy          = "pack"
}
admission_control {
  mode = "enforce"
  host_failures {
    tolerate   = 2
    domain     = "failure_domain"
    succession = true
  }
}
class "critical" { priority = "highest" }
class "spare" { admission = "best_effort" }
vm "db1" {
  class            = "critical"
  order            = 3
  cpu_reserved_mhz = 1500
}
vm "spare1" { class = "spare" }
group "database" { vms = ["db1"] }
group "web" {
  match       = { name = "web*" }
  spread      = true
  start_after = ["database"]
  on_timeout  = "stop"
}
rule "gpu" {
  kind        = "on_hosts"
  strength    = "must"
  vms         = ["web1"]
  host_labels = { gpu = "a2" }
  hosts       = { kvm2 = 5 }
}
rule "apart" {
  kind     = "apart"
  strength = "should"
  match    = { name = "*1" }
  vms      = ["web1"]
  domain   = "failure_domain"
  weight   = 7
}
`)
	db := vm(t, "db1", "kvm1", definition("db1", `<os><type arch='x86_64' machine='q35'>hvm</type></os>`,
		`<disk type='file' device='disk'><source file='/srv/vm/db1'/><target dev='vda'/></disk><disk type='volume' device='disk'><source pool='iscsi' volume='1'/><target dev='vdb'/></disk>
<interface type='bridge'><source bridge='br0'/></interface>`))
	web := vm(t, "web1", "", definition("web1", "", ""))
	web.Home = "kvm2"
	web.Failures = []fsm.Failure{{Host: "kvm1", Round: 2}, {Host: "kvm3", Crash: true}, {Host: "kvm1", Round: 1}, {Host: "kvm2", Round: 2}}
	spare := vm(t, "spare1", "", "")
	spare.Intent = fsm.IntentStop
	seen := vm(t, "seen1", "", "")
	seen.Sighting = &fsm.Sighting{Host: "kvm2", Generation: 2}
	hosts := []Host{host("kvm1"), host("kvm2"), host("kvm3")}
	hosts[0].Datastores = []string{"nfs"}
	hosts[0].Offer = vmm.Offer{Networks: []string{"bridge:br0", "bridge:br9"}, Pools: []string{"iscsi"}, Capabilities: []string{"machine:q35", "machine:pc"}}
	hosts[0].Domains = []Domain{{UUID: db.UUID, Name: "db1", Running: true, Memory: 8 * gib, VCPUs: 2}, {UUID: uuidOf("other1"), Name: "other1", Running: true, Memory: 2 * gib, VCPUs: 1},
		{UUID: uuidOf("off1"), Name: "off1", Memory: 2 * gib, VCPUs: 1}}
	hosts[1].Domains = []Domain{{UUID: db.UUID, Name: "db1", Running: true, Memory: 8 * gib, VCPUs: 2}, {UUID: seen.UUID, Name: "seen1", Running: true, Memory: 8 * gib, VCPUs: 2}}
	hosts[1].State, hosts[1].Why = placement.Closed, "it is suspected to be dead"
	hosts[2].Offer = vmm.Offer{Networks: []string{}, Pools: []string{}, Capabilities: []string{"machine:pc"}}
	hosts[2].Datastores, hosts[2].Voter = []string{}, false

	const own = int64(64 << 20)
	want := &placement.Cluster{
		Hosts: []placement.Host{
			{Name: "kvm1", Memory: 64 * gib, Reserve: 6 * gib, CPUs: 8, MHz: 16000, MaxVMs: 20, Domain: "rack-a", Voter: true,
				Datastores: []string{"nfs", "pool:iscsi"}, Networks: []string{"bridge:br0"}, Capabilities: []string{"arch:x86_64", "machine:q35", "type:kvm"}},
			{Name: "kvm2", State: placement.Closed, Why: "it is suspected to be dead", Memory: 64 * gib, Reserve: 4 * gib, CPUs: 8, MHz: 16000, Voter: true,
				Datastores: []string{"nfs", "pool:iscsi"}, Networks: []string{"bridge:br0"}, Capabilities: []string{"arch:x86_64", "machine:q35", "type:kvm"}},
			{Name: "kvm3", Memory: 64 * gib, Reserve: 4 * gib, CPUs: 8, MHz: 16000, Failover: true, Capabilities: []string{"arch:x86_64", "type:kvm"}, Datastores: []string{}},
		},
		VMs: []placement.VM{
			{Name: "db1", Host: "kvm1", Memory: 8 * gib, Overhead: own, VCPUs: 2, ReservedMHz: 1500, Datastores: []string{"nfs", "pool:iscsi"}, Networks: []string{"bridge:br0"},
				Capabilities: []string{"type:kvm", "arch:x86_64", "machine:q35"}, Priority: 5, Order: 3, Home: "kvm1", Failback: true, Live: true},
			{Name: "seen1", Host: "kvm2", Memory: 8 * gib, Overhead: own, VCPUs: 2, Priority: 3, Failback: true, Held: "kvm2 has not confirmed yet that it guards it", Live: true},
			{Name: "spare1", Status: placement.Stopped, Memory: 8 * gib, Overhead: own, VCPUs: 2, Priority: 3, Class: placement.BestEffort, Live: true},
			{Name: "web1", Status: placement.Waiting, Host: "kvm2", Home: "kvm2", Memory: 8 * gib, Overhead: own, VCPUs: 2, Priority: 3, Capabilities: []string{"type:kvm"}, Failed: []string{"kvm2"}, Live: true},
			{Name: "other1", Host: "kvm1", Memory: 2 * gib, Overhead: own, VCPUs: 1, Class: placement.Unprotected},
			{Name: "db1 on kvm2", Host: "kvm2", Memory: 8 * gib, Overhead: own, VCPUs: 2, Class: placement.Unprotected},
		},
		Rules: []placement.Rule{
			{Name: "apart", Kind: placement.Apart, VMs: []string{"web1", "db1", "seen1", "spare1", "other1"}, Domains: true, Weight: 7},
			{Name: "gpu", Kind: placement.OnHosts, Must: true, VMs: []string{"web1"}, Hosts: map[string]int{"kvm1": 0, "kvm2": 5}, Weight: 1},
		},
		Groups: []placement.Group{{Name: "database", VMs: []string{"db1"}}, {Name: "web", VMs: []string{"web1"}, Spread: true, StartAfter: []string{"database"}, Strict: true}},
		Policy: placement.Policy{CPUOvercommit: 4, MemoryOvercommit: 1.5, Pack: true, Admission: placement.Admission{Kind: placement.ByPlacement, Mode: placement.Enforce,
			Failures: 2, Domains: true, Succession: true, MinMHz: 32}},
	}
	got := build(t, Input{State: state(db, web, spare, seen), Policy: p, Hosts: hosts})
	if d := cmp.Diff(want, got.Cluster); d != "" {
		t.Errorf("the picture (-want +got):\n%s", d)
	}
}

func TestAdmissionIsMapped(t *testing.T) {
	base := placement.Admission{Mode: placement.Warn, Failures: 1, MinMHz: 32}
	with := func(change func(a *placement.Admission)) placement.Admission {
		a := base
		change(&a)
		return a
	}
	for text, want := range map[string]placement.Admission{
		"":                                   with(func(a *placement.Admission) { a.Kind = placement.ByPlacement }),
		`admission_control { mode = "off" }`: with(func(a *placement.Admission) { a.Kind, a.Mode = placement.ByPlacement, placement.Off }),
		`admission_control {
  count_unprotected = false
  slots {
    tolerate    = 2
    cpu_min_mhz = 100
    cpu_max_mhz = 500
    memory_min  = "1GiB"
    memory_max  = "8GiB"
  }
}`: with(func(a *placement.Admission) {
			a.Kind, a.Failures, a.MinMHz, a.MinMemory, a.ProtectedOnly = placement.BySlots, 2, 100, gib, true
			a.Slots = placement.SlotSize{MaxMHz: 500, MaxMemory: 8 * gib}
		}),
		`admission_control {
  slots {
    cpu_mhz = 700
    memory  = "4GiB"
  }
}`: with(func(a *placement.Admission) {
			a.Kind, a.Slots = placement.BySlots, placement.SlotSize{FixedMHz: 700, FixedMemory: 4 * gib}
		}),
		"admission_control {\n  reserve_percent {\n    cpu = 25\n    memory = 30\n  }\n}": with(func(a *placement.Admission) {
			a.Kind, a.CPUPercent, a.MemoryPercent = placement.ByPercentage, 25, 30
		}),
		"admission_control {\n  reserve_percent { tolerate = 2 }\n}": with(func(a *placement.Admission) {
			a.Kind, a.Auto, a.Failures = placement.ByPercentage, true, 2
		}),
		"host \"kvm1\" { standby = true }\nadmission_control {\n  standby_hosts {}\n}": with(func(a *placement.Admission) { a.Kind = placement.ByFailoverHosts }),
	} {
		got := build(t, Input{State: state(), Policy: policy(t, text), Hosts: []Host{host("kvm1")}}).Cluster.Policy.Admission
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s\n(-want +got):\n%s", text, d)
		}
	}
}

// A VM goes to the only host that has what it needs; a host that does not say what it has is not left out.
func TestWhatHostsLack(t *testing.T) {
	disk := func(path string) string {
		return `<disk type='file' device='disk'><source file='` + path + `'/><target dev='vda'/></disk>`
	}
	const nfs = `datastore "nfs" { path = "/srv/vm" }`
	tests := []struct {
		name, policy, top, devices string
		lack                       func(h *Host) // what kvm2 says
		want                       placement.Reason
	}{
		{"nothing is said", nfs, `<os><type machine='q35'>hvm</type></os>`, disk("/srv/vm/a") + `<interface type='bridge'><source bridge='br0'/></interface>`, func(*Host) {}, ""},
		{"a datastore", nfs, "", disk("/srv/vm/a"), func(h *Host) { h.Datastores = []string{} }, placement.NoDatastore},
		{"a datastore that it does not need", nfs + "\ndatastore \"san\" { path = \"/san\" }", "", disk("/srv/vm/a"), func(h *Host) { h.Datastores = []string{"nfs"} }, ""},
		{"a pool", "", "", `<disk type='volume' device='disk'><source pool='p' volume='v'/><target dev='vda'/></disk>`, func(h *Host) { h.Pools = []string{"q"} }, placement.NoDatastore},
		{"a bridge", "", "", `<interface type='bridge'><source bridge='br0'/></interface>`, func(h *Host) { h.Networks = []string{"network:br0"} }, placement.NoNetwork},
		{"a machine type", "", `<os><type machine='pc-q35-9.0'>hvm</type></os>`, "", func(h *Host) { h.Capabilities = []string{"machine:pc-q35-7.2"} }, placement.NoCapability},
		{"machine types are not told", "", `<os><type machine='pc-q35-9.0'>hvm</type></os>`, "", func(h *Host) { h.Capabilities = []string{"cpu:EPYC"} }, ""},
		{"a processor's model", "", `<cpu mode='custom'><model>EPYC-Milan</model></cpu>`, "", func(h *Host) { h.Capabilities = []string{"cpu:EPYC"} }, placement.NoCapability},
		{"processors that it is pinned to", "", `<vcpu cpuset='5-6'>2</vcpu>`, "", func(h *Host) { h.CPUs = 6 }, placement.CannotRun},
		{"a local disk", nfs, "", disk("/var/a"), func(*Host) {}, placement.NotAgile},
		{"no datastore is named", "", "", disk("/var/a"), func(*Host) {}, ""},
		{"the host's CD drive", "", "", `<disk type='block' device='cdrom'><source dev='/dev/sr0'/><target dev='sda'/></disk>`, func(*Host) {}, placement.NotAgile},
		{"a PCI device", "", "", `<hostdev mode='subsystem' type='pci'><source><address bus='1'/></source></hostdev>`, func(*Host) {}, placement.NotAgile},
		{"local NVRAM stays behind", nfs, `<os><type>hvm</type><nvram>/var/lib/libvirt/qemu/nvram/a</nvram></os>`, "", func(*Host) {}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h2 := host("kvm2")
			tt.lack(&h2)
			top := tt.top
			xml := definition("a", top, tt.devices)
			if strings.Contains(top, "<vcpu") {
				xml = strings.Replace(xml, "<vcpu>2</vcpu>", "", 1)
			}
			inv := build(t, Input{State: state(vm(t, "a", "kvm1", xml)), Policy: policy(t, tt.policy), Hosts: []Host{host("kvm1"), h2}})
			plan := placement.Decide(inv.Cluster, placement.Question{Lost: []string{"kvm1"}})
			if len(plan.Decisions) != 1 {
				t.Fatalf("decisions: %+v", plan.Decisions)
			}
			d := plan.Decisions[0]
			var got placement.Reason
			for _, c := range d.Hosts {
				if c.Host == "kvm2" {
					got = c.Excluded
				}
			}
			if got != tt.want || (d.To == "kvm2") != (tt.want == "") {
				t.Errorf("kvm2 is excluded by %q, want %q: %s", got, tt.want, d.Why)
			}
			a, ok := inv.Agility("a")
			i := slices.IndexFunc(a.Hosts, func(f Fit) bool { return f.Host == "kvm2" })
			if !ok || i < 0 || (len(a.Hosts[i].Reasons) == 0) != (tt.want == "") || a.Agile != (tt.want == "") {
				t.Errorf("agility disagrees with the planner: %+v", a)
			}
		})
	}
}

func TestAgilityListsEverything(t *testing.T) {
	p := policy(t, `
datastore "nfs" { path = "/srv/vm" }
placement { cpu_overcommit = 0.1 }
rule "here" {
  kind     = "on_hosts"
  strength = "must"
  vms      = ["a"]
  hosts    = ["kvm1"]
}
`)
	xml := definition("a", `<os><type machine='q35'>hvm</type></os><cputune><vcpupin vcpu='0' cpuset='7'/></cputune>`,
		`<disk type='file' device='disk'><source file='/srv/vm/a'/><target dev='vda'/></disk><disk type='file' device='disk'><source file='/var/a'/><target dev='vdb'/></disk>
<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev><interface type='bridge'><source bridge='br0'/></interface><tpm><backend type='emulator'/></tpm>`)
	h2 := host("kvm2")
	h2.Memory, h2.CPUs, h2.Datastores, h2.Offer = 8*gib, 4, []string{}, vmm.Offer{Networks: []string{}, Capabilities: []string{"machine:pc"}}
	a, ok := build(t, Input{State: state(vm(t, "a", "kvm1", xml)), Policy: p, Hosts: []Host{h2, host("kvm1")}}).Agility("a")
	if !ok || a.Agile || len(a.Ties) != 3 {
		t.Fatalf("agility: %+v, want not agile, with three ties", a)
	}
	want := []Fit{
		{"kvm1", []string{"its 8 processors may carry 1 virtual ones, 2 are needed"}},
		{"kvm2", []string{
			"disk vdb: /var/a is on no datastore of the policy",
			"USB device 1234:beef of the host is handed to the guest",
			"it is pinned to processor 7, and kvm2 has processors 0 to 3",
			"datastore nfs is not there",
			"network bridge:br0 is not there",
			"capability machine:q35 is not there",
			"it has 4 GiB for VMs in all, 8.1 GiB are needed",
			"its 4 processors may carry 0 virtual ones, 2 are needed",
			"rule here forbids it",
		}},
	}
	if d := cmp.Diff(want, a.Hosts); d != "" {
		t.Errorf("reasons (-want +got):\n%s", d)
	}
	if _, ok := (&Inventory{Cluster: &placement.Cluster{}}).Agility("a"); ok {
		t.Error("a VM that is not there has an agility")
	}
}

func TestHugePages(t *testing.T) {
	xml := definition("a", `<memoryBacking><hugepages><page size='2' unit='MiB'/></hugepages></memoryBacking>`, "")
	s := state(vm(t, "a", "kvm1", xml))
	h1, h2 := host("kvm1"), host("kvm2")
	h1.HugePages = map[uint64]uint64{2048: 16 * gib}
	in := Input{State: s, Policy: policy(t, ""), Hosts: []Host{h1, h2}}
	if v := find(t, build(t, in), "a"); v.Memory != 8*gib || v.Extra != nil {
		t.Errorf("where a host does not say what it has they are ordinary memory: %+v", v)
	}
	in.Hosts[1].HugePages = map[uint64]uint64{2048: 4 * gib}
	inv := build(t, in)
	if v := find(t, inv, "a"); v.Memory != 0 || v.Extra["huge pages of 2048 KiB"] != 8*gib {
		t.Errorf("memory %d and extra %v, want all of it in huge pages", v.Memory, v.Extra)
	}
	if h := inv.Cluster.Hosts[0]; h.Memory != 48*gib || h.Extra["huge pages of 2048 KiB"] != 16*gib {
		t.Errorf("kvm1 has memory %d and %v", h.Memory, h.Extra)
	}
	a, _ := inv.Agility("a")
	if a.Agile || !strings.Contains(strings.Join(a.Hosts[1].Reasons, ""), "huge pages of 2048 KiB") {
		t.Errorf("agility: %+v, want kvm2 without enough huge pages", a)
	}
}

// A VM that names no size of its huge pages gets those of the size that hosts have by
// default, where that is known; otherwise they count as ordinary memory.
func TestHugePagesWithoutSize(t *testing.T) {
	const usual = "huge pages of 2048 KiB"
	for _, tt := range []struct {
		name     string
		defaults [2]uint64
		pages    map[uint64]uint64
		extra    map[string]int64
	}{
		{"known", [2]uint64{2048, 2048}, map[uint64]uint64{2048: 16 * gib}, map[string]int64{usual: 8 * gib}},
		{"not known of the first", [2]uint64{0, 2048}, map[uint64]uint64{2048: 16 * gib}, map[string]int64{}},
		{"not known of the second", [2]uint64{2048, 0}, map[uint64]uint64{2048: 16 * gib}, map[string]int64{}},
		{"not the same", [2]uint64{2048, 1 << 20}, map[uint64]uint64{2048: 16 * gib}, map[string]int64{}},
		{"told without a size", [2]uint64{0, 0}, map[uint64]uint64{0: 16 * gib}, map[string]int64{"huge pages": 8 * gib}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := Input{State: state(vm(t, "a", "kvm1", definition("a", "<memoryBacking><hugepages/></memoryBacking>", ""))), Policy: policy(t, ""), Hosts: []Host{host("kvm1"), host("kvm2")}}
			for i := range in.Hosts {
				in.Hosts[i].HugePages, in.Hosts[i].DefaultPage = tt.pages, tt.defaults[i]
			}
			v := find(t, build(t, in), "a")
			if d := cmp.Diff(tt.extra, v.Extra); d != "" {
				t.Errorf("extra (-want +got):\n%s", d)
			}
			if want := int64(8*gib) - v.Extra[usual] - v.Extra["huge pages"]; v.Memory != want {
				t.Errorf("ordinary memory is %d, want %d", v.Memory, want)
			}
		})
	}
}

// Rules that only the VMs that there are bring against each other: the rule that would tie is left out.
func TestRulesThatCollide(t *testing.T) {
	p := policy(t, `
rule "apart" {
  kind     = "apart"
  strength = "must"
  match    = { name = "web*" }
}
rule "first" {
  kind     = "together"
  strength = "must"
  match    = { name = "?eb1" }
  vms      = ["cache"]
}
rule "second" {
  kind     = "together"
  strength = "must"
  match    = { name = "*eb2" }
  vms      = ["cache"]
}
rule "elsewhere" {
  kind     = "on_hosts"
  strength = "should"
  match    = { name = "web1" }
  hosts    = ["kvm7"]
}
`)
	in := Input{State: state(vm(t, "web1", "kvm1", ""), vm(t, "web2", "kvm1", ""), vm(t, "cache", "kvm1", "")), Policy: p, Hosts: []Host{host("kvm1")}}
	inv := new(Builder).Build(in)
	if err := inv.Cluster.Validate(); err != nil {
		t.Errorf("the picture is not valid: %v", err)
	}
	want := []string{
		`rule "elsewhere" names no host that is a member of the cluster`,
		`rule "second" would keep web1 and web2 together, which rule "apart" keeps apart: it is left out`,
	}
	if d := cmp.Diff(want, inv.Problems); d != "" {
		t.Errorf("problems (-want +got):\n%s", d)
	}
	var names []string
	for _, r := range inv.Cluster.Rules {
		names = append(names, r.Name)
	}
	if d := cmp.Diff([]string{"apart", "elsewhere", "first"}, names); d != "" {
		t.Errorf("rules (-want +got):\n%s", d)
	}
}

func TestTwoOfOneName(t *testing.T) {
	h1, h2 := host("kvm1"), host("kvm2")
	h1.Domains = []Domain{{UUID: "u1", Name: "web", Running: true}}
	h2.Domains = []Domain{{UUID: "u2", Name: "web", Running: true}, {UUID: "u1", Name: "web", Running: true}, {UUID: "u1", Name: "web", Running: true}}
	inv := build(t, Input{State: state(), Policy: policy(t, ""), Hosts: []Host{h1, h2}})
	want := map[string]string{"web": "u1", "web on kvm2": "u2", "web (u1)": "u1", "web (u1) on kvm2": "u1"}
	if d := cmp.Diff(want, inv.UUIDs); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
}

func TestDefinitionsAreReadOnce(t *testing.T) {
	b := &Builder{}
	v := vm(t, "a", "kvm1", definition("a", "", ""))
	in := Input{State: state(v), Policy: policy(t, ""), Hosts: []Host{host("kvm1")}}
	b.Build(in)
	again := *v
	again.XML = []byte("not packed")
	in.State = state(&again)
	if inv := b.Build(in); len(inv.Problems) > 0 {
		t.Errorf("a definition of the same hash was read again: %q", inv.Problems)
	}
	again.XMLHash = "2"
	if inv := b.Build(in); len(inv.Problems) != 1 || !strings.Contains(inv.Problems[0], "definition of a") {
		t.Errorf("problems %q, want one about the definition of a", inv.Problems)
	}
	in.State = state()
	b.Build(in)
	if len(b.read) != 0 {
		t.Errorf("%d definitions are kept of VMs that are no more", len(b.read))
	}
}
