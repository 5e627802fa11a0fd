package apitest

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// Now is the moment at which the examples are looked at.
var Now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// ClusterID is the identity of the cluster in the examples.
const ClusterID = "0b1cab5e-0000-4000-8000-000000000001"

const gib = 1 << 30

func uuid(n int) string { return fmt.Sprintf("6b0f5a3e-0000-4000-8000-%012d", n) }

func vm(n int, name, host string, mem uint64) *fsm.VM {
	packed, err := fsm.PackXML(strings.Replace(embedded.MinimalXML(name, uuid(n), mem, 2), "</domain>",
		"  <devices><disk type='file' device='disk'><source file='/srv/vm/"+name+".qcow2'/><target dev='vda'/></disk></devices>\n</domain>", 1))
	if err != nil {
		panic(err) // it is made here
	}
	return &fsm.VM{
		XML:  packed,
		UUID: uuid(n), Name: name, VCPUs: 2, Memory: mem, Intent: fsm.IntentRun, By: "policy", Since: Now.Add(-72 * time.Hour), Generation: 1, Home: host,
		Owner: &fsm.Placement{Host: host, Incarnation: 1, Generation: 1, Phase: fsm.PhaseRunning, At: Now.Add(-72 * time.Hour), Why: "it was seen running there"},
	}
}

func report(v *fsm.VM) api.DomainReport {
	return api.DomainReport{UUID: v.UUID, Name: v.Name, State: vmm.Running, Reason: vmm.ReasonUnknown, VCPUs: v.VCPUs, Memory: v.Memory, Persistent: true}
}

func address(host int) []fsm.Address {
	return []fsm.Address{
		{Network: "mgmt", Addr: fmt.Sprintf("10.10.0.1%d:7300", host)},
		{Network: "storage", Addr: fmt.Sprintf("10.20.0.1%d:7300", host)},
	}
}

// Healthy is a cluster of three hosts with four protected VMs, as its master
// kvm2 knows it, where nothing is wrong.
func Healthy() *Backend {
	db1, db2, web, mail := vm(1, "db1", "kvm1", 8*gib), vm(2, "db2", "kvm2", 8*gib), vm(3, "web-1", "kvm3", 2*gib), vm(4, "mail", "kvm1", 4*gib)
	st := &fsm.State{
		Cluster: fsm.Cluster{ID: ClusterID, Name: "basement", Created: Now.Add(-30 * 24 * time.Hour)},
		Office:  fsm.Office{Epoch: 4, Master: "kvm2", Since: Now.Add(-6 * 24 * time.Hour)},
		Policy: fsm.Policy{Revision: 12, By: "root@kvm1", At: Now.Add(-24 * time.Hour), Files: map[string][]byte{
			"cluster.hcl": []byte("cluster \"basement\" {\n  schema = 1\n}\n\ntiming {\n  profile = \"fast\"\n}\n\nheartbeat_volume \"san\" {\n  path = \"/dev/disk/by-id/wwn-0x6001405f00d-part1\"\n}\n\nheartbeat_volume \"nfs\" {\n  path = \"/srv/vm/.holdfast-heartbeat\"\n}\n\nvm \"db1\" {}\nvm \"db2\" {}\nvm \"web-1\" {}\nvm \"mail\" {}\n"),
		}},
		Volumes: fsm.VolumeSet{Revision: 3, Since: Now.Add(-9 * 24 * time.Hour), Volumes: []fsm.Volume{
			{Name: "san", Path: "/dev/disk/by-id/wwn-0x6001405f00d-part1", ID: uuid(201)}, {Name: "nfs", Path: "/srv/vm/.holdfast-heartbeat", ID: uuid(202)}}},
		Hosts: map[string]*fsm.Host{}, VMs: map[string]*fsm.VM{}, Tokens: map[string]*fsm.Token{
			"t1": {ID: "t1", Host: "kvm3", Created: Now.Add(-48 * time.Hour), Expires: Now.Add(-47 * time.Hour), By: "root@kvm1", UsedBy: "kvm3"},
			"t2": {ID: "t2", Created: Now.Add(-time.Minute), Expires: Now.Add(59 * time.Minute), By: "root@kvm2"},
		},
	}
	b := &Backend{
		St: st, Observed: map[string]api.HostObservation{},
		Me: api.Self{Name: "kvm2", Version: "0.1.0", Member: true, ClusterID: ClusterID, ClusterName: "basement", Master: "kvm2", IsMaster: true, Epoch: 4, Applied: 2210, Incarnation: 1, LeaseLeft: time.Second},
	}
	free := []uint64{38, 45, 91}
	for i, name := range []string{"kvm1", "kvm2", "kvm3"} {
		st.Hosts[name] = &fsm.Host{Name: name, ID: uuid(100 + i), Addresses: address(i + 1), Joined: Now.Add(-30 * 24 * time.Hour), Status: fsm.HostLive, Incarnation: 1, Since: Now.Add(-30 * 24 * time.Hour), Verdict: "live", Slot: uint16(i + 1), Volumes: 3, Watchdog: fsm.Watchdog{Word: 1, Timeout: 3 * time.Second}}
		o := api.HostObservation{
			Verdict: "live", Capacity: vmm.Capacity{CPUs: 16, Memory: 100 * gib, MemoryFree: free[i] * gib, Hypervisor: "QEMU 7.2.17, libvirt 9.0.0"},
			Guard: "running", Version: "0.1.0", Applied: 2210, Stored: map[string]time.Duration{"san": 210 * time.Millisecond, "nfs": 230 * time.Millisecond},
		}
		for _, v := range st.Volumes.Volumes {
			r := api.VolumeReport{Name: v.Name, Path: v.Path, ID: v.ID, InUse: true, State: "working", Kind: "block", Server: "10.40.0.10"}
			if v.Name == "nfs" {
				r.Kind, r.Server = "nfs", "10.20.0.5"
			}
			o.Volumes = append(o.Volumes, r)
		}
		if name != "kvm2" {
			o.Networks = map[string]time.Duration{"mgmt": 120 * time.Millisecond, "storage": 130 * time.Millisecond}
		}
		b.Observed[name] = o
		m := api.Member{Name: name, Voter: true, Master: name == "kvm2", Contact: 40 * time.Millisecond, Applied: 2210, Healthy: true}
		for _, a := range st.Hosts[name].Addresses {
			m.Addresses = append(m.Addresses, api.Address{Network: a.Network, Addr: a.Addr})
		}
		b.Servers = append(b.Servers, m)
	}
	for _, v := range []*fsm.VM{db1, db2, web, mail} {
		st.VMs[v.UUID] = v
		o := b.Observed[v.Owner.Host]
		o.Domains = append(o.Domains, report(v))
		b.Observed[v.Owner.Host] = o
		st.Events = append(st.Events, fsm.Event{ID: uint64(len(st.Events) + 101), At: v.Since, Type: fsm.EventVMProtected, Severity: fsm.Info, VM: v.Name, Host: v.Home, Text: v.Name + " is protected, by policy"})
	}
	o := b.Observed["kvm3"]
	o.Domains = append(o.Domains, api.DomainReport{UUID: uuid(50), Name: "build", State: vmm.Running, VCPUs: 8, Memory: 16 * gib, Persistent: true},
		api.DomainReport{UUID: uuid(51), Name: "old-mail", State: vmm.Stopped, Reason: vmm.ReasonShutdown, VCPUs: 1, Memory: gib, Persistent: true})
	b.Observed["kvm3"] = o
	st.LastEvent = st.Events[len(st.Events)-1].ID
	return b
}

// HostLost is Healthy after kvm1 died: db1 runs elsewhere, mail waits for room,
// and kvm3 is not heard over one network.
func HostLost() *Backend {
	b := Healthy()
	died := Now.Add(-40 * time.Second)
	h := b.St.Hosts["kvm1"]
	h.Status, h.Verdict, h.Since = fsm.HostDead, "dead", died
	h.Evidence = []fsm.Evidence{
		{Signal: "heartbeat over mgmt", Value: "last one 4.7s ago", Age: 4700 * time.Millisecond, By: "kvm2"},
		{Signal: "heartbeat over storage", Value: "last one 4.7s ago", Age: 4700 * time.Millisecond, By: "kvm2"},
	}
	b.Observed["kvm1"] = api.HostObservation{Verdict: "dead", Networks: map[string]time.Duration{"mgmt": 45 * time.Second, "storage": 45 * time.Second}}
	o := b.Observed["kvm3"]
	o.Networks = map[string]time.Duration{"mgmt": 150 * time.Millisecond, "storage": 9 * time.Second}
	b.Observed["kvm3"] = o
	b.Servers[0].Healthy, b.Servers[0].Contact = false, 45*time.Second
	db1, mail := b.St.VMs[uuid(1)], b.St.VMs[uuid(4)]
	db1.Owner = &fsm.Placement{Host: "kvm3", Incarnation: 1, Generation: 2, Phase: fsm.PhaseRunning, At: died.Add(10 * time.Millisecond), Why: "kvm1 is dead; kvm3 has the most free memory (91 GiB of 100)"}
	db1.Generation, db1.Home = 2, "kvm3"
	dead := fsm.Lot{Slots: fsm.SlotsOf(1), Excluded: "down", Text: "is lost (it is dead)"}
	taken := []fsm.Lot{{Slots: fsm.SlotsOf(3), Rank: 1, Text: "memory 26.0 % used, 0.75 virtual CPUs per processor, 3 VMs"},
		{Slots: fsm.SlotsOf(2), Rank: 2, Text: "more memory used: memory 91.0 % used, 0.25 virtual CPUs per processor, 2 VMs"}, dead}
	db1.Choice = &fsm.Choice{Host: "kvm3", At: db1.Owner.At, Generation: 2, Considered: taken}
	mail.Owner, mail.Waiting, mail.WaitingSince = nil, "no host has room: it needs 4 GiB, kvm3 has 3 GiB left, kvm2 1 GiB", died
	ev := []fsm.Event{
		{At: died.Add(-4 * time.Second), Type: fsm.EventHostSuspected, Severity: fsm.Warning, Host: "kvm1", Text: "kvm1 has not been heard for 375ms: suspected"},
		{At: died, Type: fsm.EventHostDead, Severity: fsm.Critical, Host: "kvm1", Text: "incarnation 1 of kvm1 is dead", Cause: 105, Evidence: h.Evidence},
		{At: died.Add(10 * time.Millisecond), Type: fsm.EventVMAssigned, Severity: fsm.Info, VM: "db1", From: "kvm1", To: "kvm3", Text: "db1 goes to kvm3, generation 2: most free memory (91 GiB of 100)", Cause: 106, Considered: taken},
		{At: died.Add(20 * time.Millisecond), Type: fsm.EventVMNoHost, Severity: fsm.Critical, VM: "mail", From: "kvm1", Text: "mail: no host has room", Cause: 106,
			Considered: []fsm.Lot{dead, {Slots: fsm.SlotsOf(2, 3), Excluded: "memory", Text: "1024 to 3072 MiB of memory free, 4096 MiB of memory needed"}}},
		{At: died.Add(2 * time.Second), Type: fsm.EventVMStarted, Severity: fsm.Info, VM: "db1", Host: "kvm3", Text: "db1 runs on kvm3, generation 2, 2.0 s after it lost its owner", Cause: 107},
	}
	for _, e := range ev {
		b.St.LastEvent++
		e.ID = b.St.LastEvent
		b.St.Events = append(b.St.Events, e)
	}
	return b
}

// Serviced is Healthy while kvm3 is out of service: web-1 is on its way from there, and build
// is not protected. A move of db1 to kvm2 came to nothing, and db2 is stopped.
func Serviced() *Backend {
	b := Healthy()
	since := Now.Add(-20 * time.Minute)
	b.St.Hosts["kvm3"].Maintenance = &fsm.Maintenance{Since: since, By: "root@kvm1", Why: "new disks"}
	db1, db2, web := b.St.VMs[uuid(1)], b.St.VMs[uuid(2)], b.St.VMs[uuid(3)]
	web.Move = &fsm.Move{ID: 106, Host: "kvm2", Incarnation: 1, At: Now.Add(-8 * time.Second), Why: "kvm3 is in maintenance", Considered: []fsm.Lot{
		{Slots: fsm.SlotsOf(2), Rank: 1, Text: "memory 13.0 % used, 0.25 virtual CPUs per processor, 2 VMs"},
		{Slots: fsm.SlotsOf(1), Rank: 2, Text: "more memory used: memory 17.0 % used, 0.37 virtual CPUs per processor, 3 VMs"},
		{Slots: fsm.SlotsOf(3), Excluded: "maintenance", Text: "is in maintenance (its VMs leave it)"}}}
	db1.MoveFailures = []fsm.Failure{{Host: "kvm2", Generation: 1, At: Now.Add(-10 * time.Minute), Detail: "the target's libvirt does not answer"}}
	db2.Intent, db2.Owner = fsm.IntentStop, nil
	o := b.Observed["kvm2"]
	o.Domains[0].State, o.Domains[0].Reason = vmm.Stopped, vmm.ReasonShutdown
	b.Observed["kvm2"] = o
	for _, e := range []fsm.Event{
		{At: since, Type: fsm.EventHostInMaintenance, Severity: fsm.Info, Host: "kvm3", Text: "kvm3 is in maintenance: new disks", By: "root@kvm1"},
		{At: Now.Add(-8 * time.Second), Type: fsm.EventVMMoveOrdered, Severity: fsm.Info, VM: "web-1", Host: "kvm2", From: "kvm3", To: "kvm2", Text: "web-1 shall go from kvm3 to kvm2, while it runs: kvm3 is in maintenance", Cause: 105},
	} {
		b.St.LastEvent++
		e.ID = b.St.LastEvent
		b.St.Events = append(b.St.Events, e)
	}
	return b
}

// NoMaster is Healthy as the member kvm1 sees it after it lost sight of the others.
func NoMaster() *Backend {
	b := Healthy()
	b.Me.Name, b.Me.Master, b.Me.IsMaster, b.Me.Contact = "kvm1", "", false, 42*time.Second
	b.Me.Problems = []string{"the lease ended 39s ago: its protected VMs were stopped"}
	for i := range b.Servers {
		b.Servers[i].Master, b.Servers[i].Healthy, b.Servers[i].Contact = false, false, -1
	}
	return b
}

// Single is an agent that belongs to no cluster.
func Single() *Backend {
	return &Backend{Me: api.Self{Name: "kvm9", Version: "0.1.0"}}
}

// Volume changes how the heartbeat volume of that name is on a host of the examples.
func (b *Backend) Volume(host, name string, change func(v *api.VolumeReport)) {
	o := b.Observed[host]
	o.Volumes = append([]api.VolumeReport{}, o.Volumes...)
	for i := range o.Volumes {
		if o.Volumes[i].Name == name {
			change(&o.Volumes[i])
		}
	}
	b.Observed[host] = o
}

// AddVolume has the policy name one more heartbeat volume, and ask for three at once.
// Every host finds it and nobody uses it yet.
func (b *Backend) AddVolume(name, path, id string) {
	b.AddSpare(name, path, id)
	b.St.Policy.Files["cluster.hcl"] = append(b.St.Policy.Files["cluster.hcl"], "\nheartbeat_volumes {\n  count = 3\n}\n"...)
}

// AddSpare has the policy name one more heartbeat volume, which every host finds.
func (b *Backend) AddSpare(name, path, id string) {
	text := string(b.St.Policy.Files["cluster.hcl"]) + fmt.Sprintf("\nheartbeat_volume %q {\n  path = %q\n}\n", name, path)
	b.St.Policy.Files = map[string][]byte{"cluster.hcl": []byte(text)}
	for host, o := range b.Observed {
		o.Volumes = append(append([]api.VolumeReport{}, o.Volumes...), api.VolumeReport{Name: name, Path: path, ID: id})
		b.Observed[host] = o
	}
}

// StorageTrouble is Healthy with one heartbeat volume that fails on kvm3 and hangs on the master, one
// that is not in use because the hosts disagree about it, and kvm1 cut off from the
// network.
func StorageTrouble() *Backend {
	b := Healthy()
	b.Volume("kvm3", "nfs", func(v *api.VolumeReport) { v.State, v.Error = "failing", "read the table: input/output error" })
	b.Volume("kvm2", "nfs", func(v *api.VolumeReport) { v.State = "degraded" })
	b.AddVolume("spare", "/dev/mapper/spare", uuid(203))
	b.Volume("kvm3", "spare", func(v *api.VolumeReport) { v.ID = uuid(204) })
	for name, o := range b.Observed {
		o.Stored = map[string]time.Duration{"san": 210 * time.Millisecond, "nfs": 40 * time.Second}
		b.Observed[name] = o
	}
	o := b.Observed["kvm1"]
	o.Verdict, o.Networks = "partitioned", map[string]time.Duration{"mgmt": 3 * time.Minute, "storage": 3 * time.Minute}
	o.Evidence = []fsm.Evidence{
		{Signal: "heartbeat over mgmt", Value: "last one 180s ago", Age: 3 * time.Minute, By: "kvm2"},
		{Signal: "storage heartbeat on san", Value: "changes, 0.2s ago", Age: 200 * time.Millisecond, By: "kvm2"},
	}
	b.Observed["kvm1"] = o
	b.Servers[0].Healthy, b.Servers[0].Contact = false, 3*time.Minute
	return b
}

// VolumeLost is Healthy with three more heartbeat volumes that are not in use: a spare
// on the server of nfs, one that no host finds, and a spare that was lost a while ago.
// nfs, in use, has failed on two of three hosts for a while.
func VolumeLost() *Backend {
	b := Healthy()
	b.AddSpare("nfs2", "/srv/iso/.holdfast-heartbeat", uuid(205))
	b.AddSpare("gone", "/dev/mapper/gone", "")
	b.AddSpare("old", "/dev/mapper/old", uuid(206))
	for _, host := range []string{"kvm1", "kvm2", "kvm3"} {
		b.Volume(host, "nfs2", func(v *api.VolumeReport) { v.Kind, v.Server = "nfs", "10.20.0.5" })
		b.Volume(host, "gone", func(v *api.VolumeReport) { v.Error = "no such file or directory" })
		b.Volume(host, "old", func(v *api.VolumeReport) { v.Kind = "block" })
		if host != "kvm3" {
			b.Volume(host, "nfs", func(v *api.VolumeReport) { v.State, v.Error = "failing", "input/output error" })
		}
	}
	o := b.Observed["kvm2"]
	o.Losses = choice.Losses{Lost: map[string]time.Duration{"/srv/vm/.holdfast-heartbeat": 12 * time.Second}, Spared: map[string]bool{"/dev/mapper/old": true}}
	b.Observed["kvm2"] = o
	return b
}
