package master

import (
	"encoding/json"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

var measure = flag.Bool("measure", false, "run TestMeasures: what a round of the office and its plans take in large clusters; some minutes")

// measures are the figures of one size, times in milliseconds.
type measures struct {
	Hosts int     `json:"hosts"`
	VMs   int     `json:"vms"`
	Read  float64 `json:"read_definitions_ms"`
	Idle  float64 `json:"round_with_nothing_to_do_ms"`
	Build float64 `json:"picture_ms"`
	Dead  float64 `json:"round_with_one_dead_host_ms"`
	Empty float64 `json:"plan_of_moves_one_host_in_maintenance_ms"`
	Moves float64 `json:"plan_of_moves_nothing_to_do_ms"`
}

// What the whole path takes from the state and the reports to the commands.
func TestMeasures(t *testing.T) {
	if !*measure {
		t.Skip("asked for with -measure")
	}
	var all []measures
	for _, hosts := range []int{16, 64, 256} {
		all = append(all, measureOffice(t, hosts, hosts*50_000/256))
	}
	all = append(all, measureOffice(t, 64, 4096))
	out, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
}

func measureOffice(t *testing.T, hosts, vms int) measures {
	in := large(t, hosts, vms)
	m := measures{Hosts: hosts, VMs: vms}
	in.builder = &inventory.Builder{}
	m.Read = took(func() { in.builder.Read(in.state) })
	m.Idle = took(func() {
		if d := decide(in); len(d.commands) > 0 {
			t.Fatalf("nothing is to be done, and the office says %s", say(d.commands[0]))
		}
	})
	rooms, _ := rooms(in)
	picture := pictureOf(in, rooms)
	var inv *inventory.Inventory
	m.Build = took(func() { inv = in.builder.Build(picture) })
	set := inventory.MoveSettings(in.policy)
	m.Moves = took(func() {
		if p := placement.PlanMoves(inv.Cluster, set); len(p.Begin) > 0 {
			t.Fatalf("nothing is to be moved, and the plan says %+v", p.Begin[0])
		}
	})
	maintained := *inv.Cluster
	maintained.Hosts = slices.Clone(inv.Cluster.Hosts)
	maintained.Hosts[0].State = placement.Maintenance
	m.Empty = took(func() {
		if p := placement.PlanMoves(&maintained, set); len(p.Begin) == 0 {
			t.Fatal("a host is in maintenance, and nothing is moved")
		}
	})
	lost := "host001"
	in.state.Hosts[lost].Status = fsm.HostDead
	for _, vm := range in.state.VMs {
		if vm.Owner.Host == lost {
			vm.Owner = nil
		}
	}
	m.Dead = took(func() {
		if d := decide(in); len(d.commands) < vms/hosts/2 {
			t.Fatalf("a host is dead, and the office says %v", brief(d))
		}
	})
	return m
}

func took(f func()) float64 {
	runtime.GC()
	start := time.Now()
	f()
	return float64(time.Since(start).Microseconds()) / 1000
}

// large is a cluster of equal hosts at 70 % of their memory, whose VMs have two disks and a bridge.
func large(t *testing.T, hosts, vms int) input {
	t.Helper()
	in := scene(t)
	in.state.VMs, in.state.Hosts, in.hosts = map[string]*fsm.VM{}, map[string]*fsm.Host{}, map[string]*observed{}
	perHost := vms / hosts
	for h := range hosts {
		name := fmt.Sprintf("host%03d", h)
		in.state.Hosts[name] = &fsm.Host{Name: name, Status: fsm.HostLive, Incarnation: 2, Verdict: "live", Addresses: []fsm.Address{{Network: "mgmt", Addr: fmt.Sprintf("10.0.%d.%d:7300", h/250, h%250+1)}}}
		o := newObserved(elected, elected, 2)
		o.run, o.watch, o.reachedAt = 77, lease.Watch{Heard: now, Acknowledged: now, Elected: elected}, now
		o.networks = map[string]time.Duration{"mgmt": now}
		r := &api.HostReport{Capacity: vmm.Capacity{CPUs: 128, MHz: 2000, Memory: uint64(perHost) * 6 << 30}, Guard: "running"}
		r.Offer.Networks, r.Offer.Capabilities = []string{"bridge:br0"}, []string{"type:kvm", "arch:x86_64", "machine:pc-q35-9.2"}
		for i := range perHost {
			n := h*perHost + i
			id, vm := uuid(n), fmt.Sprintf("vm%05d", n)
			memory := uint64(1+n%7) << 30
			r.Domains = append(r.Domains, api.DomainReport{UUID: id, Name: vm, State: vmm.Running, VCPUs: 2, Memory: memory, XMLHash: "h1", Persistent: true})
			packed, err := fsm.PackXML(fmt.Sprintf(`<domain type="kvm"><name>%s</name><uuid>%s</uuid><memory unit="KiB">%d</memory><vcpu>2</vcpu><os><type arch="x86_64" machine="pc-q35-9.2">hvm</type></os><devices>
<disk type="file" device="disk"><source file="/srv/vm/%s-a"/><target dev="vda"/></disk><disk type="file" device="disk"><source file="/srv/vm/%s-b"/><target dev="vdb"/></disk>
<interface type="bridge"><source bridge="br0"/></interface></devices></domain>`, vm, id, memory>>10, vm, vm))
			if err != nil {
				t.Fatal(err)
			}
			in.state.VMs[id] = &fsm.VM{UUID: id, Name: vm, Intent: fsm.IntentRun, Generation: 7, Home: name, VCPUs: 2, Memory: memory, XML: packed, XMLHash: "h1", By: "ann",
				Owner: &fsm.Placement{Host: name, Incarnation: 2, Generation: 7, Phase: fsm.PhaseRunning}}
		}
		o.report, o.reportRev, o.reportIncarnation = r, 1, 2
		in.hosts[name] = o
	}
	in.self = "host000"
	return in
}
