package doctor

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// well is a host on which nothing is wrong.
func well(name string) Facts {
	return Facts{
		Name: name, Version: "0.1.0", Hypervisor: "QEMU 7.2.17, libvirt 9.0.0", Guard: Guard{Alive: true, Locked: true, RealTime: true},
		Watchdog: Watchdog{State: "armed", Device: "/dev/watchdog0", Protects: true, Enduring: true, Counts: true}, Clock: Clock{Source: "tsc", Adjusted: 2e-5, Error: 5e-4},
		Libvirt: Libvirt{Hook: true},
	}
}

// has is a host with one VM, of one disk.
func has(name string, d domainxml.Disk, at Place, change func(*Facts)) Facts {
	f := well(name)
	f.VMs = []VM{{UUID: "u1", Name: "db1", Owner: "kvm1", Disks: []Disk{{Disk: d, Place: at}}}}
	if change != nil {
		change(&f)
	}
	return f
}

// text is what was found, a line each.
func text(r Report) string {
	var b strings.Builder
	for _, d := range r.Disks {
		fmt.Fprintf(&b, "%s %s on %s, cache %s: image lock %s (%s), lock manager %s (%s)\n", d.VM, d.Disk, d.Storage, d.Cache, d.ImageLock.Holds, d.ImageLock.Why, d.LockManager.Holds, d.LockManager.Why)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s %s%s\n", f.Severity, f.Code, f.Host, f.Disk)
	}
	return b.String()
}

var (
	image  = domainxml.Disk{Target: "vda", Kind: domainxml.DiskFile, Source: "/srv/db1.qcow2", Cache: "none"}
	device = domainxml.Disk{Target: "vda", Kind: domainxml.DiskBlock, Source: "/dev/vg/db1", Cache: "none"}
	nfs    = Place{Path: "/srv/db1.qcow2", Type: "nfs4", Source: "nas:/vms", Options: []string{"rw", "vers=4.2", "local_lock=none"}}
	lun    = Place{Path: "/dev/vg/db1", Type: DeviceType}
)

func TestDisksOfVMs(t *testing.T) {
	with := func(d domainxml.Disk, change func(*domainxml.Disk)) domainxml.Disk {
		change(&d)
		return d
	}
	pooled := domainxml.Disk{Target: "vda", Kind: domainxml.DiskPool, Source: "images/db1.qcow2", Cache: "none"}
	volume := func(kind domainxml.DiskKind, path string) func(*Facts) {
		return func(f *Facts) { f.VMs[0].Disks[0].Volume = &Volume{Kind: kind, Path: path} }
	}
	lockd := func(f *Facts) { f.Libvirt.LockManager, f.Libvirt.AutoLeases = "lockd", true }
	const managerNo = "lock manager no (libvirt has no lock manager)\n"
	const bare = "info no_second_barrier \n"
	for _, tt := range []struct {
		name  string
		hosts []Facts
		want  string
	}{
		{"an image on nfs", []Facts{has("kvm1", image, nfs, nil), has("kvm2", image, nfs, nil)}, "db1 vda on nfs4 nas:/vms, cache none: image lock yes (), " + managerNo},
		{
			"mounted without locks on one host", []Facts{has("kvm1", image, nfs, nil), has("kvm2", image, Place{Type: "nfs", Source: "nas:/vms", Options: []string{"rw", "nolock"}}, nil)},
			"db1 vda on differs by host, cache none: image lock host (on kvm2: nas:/vms is mounted with nolock there, which keeps locks on the host), " + managerNo +
				"warning disk_elsewhere vda\n" + bare,
		},
		{
			"not mounted on one host", []Facts{has("kvm1", image, nfs, nil), has("kvm2", image, Place{Type: "xfs", Source: "/dev/sda1", Missing: true}, nil)},
			"db1 vda on differs by host, cache none: image lock host (on kvm2: it is on a file system of one host (xfs)), " + managerNo + "info no_second_barrier \nwarning disk_missing kvm2vda\n",
		},
		{
			"a local image", []Facts{has("kvm1", image, Place{Type: "xfs", Source: "/dev/sda1"}, nil)},
			"db1 vda on xfs /dev/sda1, cache none: image lock host (it is on a file system of one host (xfs)), " + managerNo + "warning disk_local vda\n" + bare,
		},
		{
			"a block device", []Facts{has("kvm1", device, lun, nil)},
			"db1 vda on block device, cache none: image lock host (a lock on a block device is the host's own), " + managerNo + bare,
		},
		{
			"a block device, virtlockd without a directory", []Facts{has("kvm1", device, lun, lockd)},
			"db1 vda on block device, cache none: image lock host (a lock on a block device is the host's own), lock manager host (lockd has no directory for locks of block devices that hosts share (file_lockspace_dir))\n" + bare,
		},
		{
			"a block device, virtlockd with a directory on nfs", []Facts{has("kvm1", device, lun, func(f *Facts) { lockd(f); f.Libvirt.Lockspace = &nfs })},
			"db1 vda on block device, cache none: image lock host (a lock on a block device is the host's own), lock manager yes ()\n",
		},
		{
			"virtlockd with a directory of the host's own", []Facts{has("kvm1", device, lun, func(f *Facts) {
				lockd(f)
				f.Libvirt.Lockspace = &Place{Path: "/var/lib/libvirt/lockd/files", Type: "ext4"}
			})},
			"db1 vda on block device, cache none: image lock host (a lock on a block device is the host's own), lock manager host (lockd keeps its locks in /var/lib/libvirt/lockd/files: it is on a file system of one host (ext4))\n" + bare,
		},
		{
			"virtlockd on one host of two", []Facts{has("kvm1", image, nfs, lockd), has("kvm2", image, nfs, nil)},
			"db1 vda on nfs4 nas:/vms, cache none: image lock yes (), lock manager no (on kvm2: libvirt has no lock manager)\n",
		},
		{
			"sanlock for leases alone, and none is named", []Facts{has("kvm1", image, nfs, func(f *Facts) { f.Libvirt.LockManager = "sanlock" })},
			"db1 vda on nfs4 nas:/vms, cache none: image lock yes (), lock manager no (sanlock is told to lock leases alone (auto_disk_leases), and the definition names none)\ninfo sanlock_resets kvm1\n",
		},
		{
			"sanlock with a lease", []Facts{has("kvm1", device, lun, func(f *Facts) { f.Libvirt.LockManager, f.VMs[0].Leases = "sanlock", 1 })},
			"db1 vda on block device, cache none: image lock host (a lock on a block device is the host's own), lock manager yes (the definition names leases)\ninfo sanlock_resets kvm1\n",
		},
		{
			"sanlock by itself, in a directory on storage of all hosts", []Facts{has("kvm1", device, lun, func(f *Facts) {
				f.Libvirt.LockManager, f.Libvirt.AutoLeases, f.Libvirt.Lockspace = "sanlock", true, &Place{Path: "/var/lib/libvirt/sanlock", Type: "nfs", Source: "nas:/locks", Options: []string{"nolock"}}
			})},
			"db1 vda on block device, cache none: image lock host (a lock on a block device is the host's own), lock manager yes ()\ninfo sanlock_resets kvm1\n",
		},
		{
			"virtlockd for LVM", []Facts{has("kvm1", device, lun, func(f *Facts) { lockd(f); f.Libvirt.OtherLockspaces = true })},
			"db1 vda on block device, cache none: image lock host (a lock on a block device is the host's own), lock manager unknown (lockd has a directory for locks of LVM volumes or SCSI disks, and whether this is one was not looked up)\n" + bare,
		},
		{
			"the cache of the host's kernel", []Facts{has("kvm1", with(image, func(d *domainxml.Disk) { d.Cache = "" }), nfs, nil)},
			"db1 vda on nfs4 nas:/vms, cache default: image lock yes (), " + managerNo + "warning cache_writes_late vda\n",
		},
		{
			"writethrough leaves pages too", []Facts{has("kvm1", with(image, func(d *domainxml.Disk) { d.Cache = "writethrough" }), nfs, nil)},
			"db1 vda on nfs4 nas:/vms, cache writethrough: image lock yes (), " + managerNo + "warning cache_writes_late vda\n",
		},
		{
			"directsync does not", []Facts{has("kvm1", with(image, func(d *domainxml.Disk) { d.Cache = "directsync" }), nfs, nil)},
			"db1 vda on nfs4 nas:/vms, cache directsync: image lock yes (), " + managerNo,
		},
		{
			"unsafe", []Facts{has("kvm1", with(image, func(d *domainxml.Disk) { d.Cache = "unsafe" }), nfs, nil)},
			"db1 vda on nfs4 nas:/vms, cache unsafe: image lock yes (), " + managerNo + "warning cache_unsafe vda\n",
		},
		{
			"nobody writes to what is read only", []Facts{has("kvm1", with(image, func(d *domainxml.Disk) { d.Cache, d.ReadOnly = "writeback", true }), nfs, nil)},
			"db1 vda on nfs4 nas:/vms, cache writeback: image lock - (), lock manager - ()\n",
		},
		{
			"shareable", []Facts{has("kvm1", with(image, func(d *domainxml.Disk) { d.Shareable = true }), nfs, lockd)},
			"db1 vda on nfs4 nas:/vms, cache none: image lock no (it is <shareable/>: QEMU lets several VMs write to it), lock manager no (it is <shareable/>: lockd lets several VMs write to it)\n" + bare,
		},
		{
			"rbd has its cache in QEMU", []Facts{has("kvm1", domainxml.Disk{Target: "vda", Kind: domainxml.DiskNetwork, Source: "rbd:vms/db1", Cache: "writeback"}, Place{}, nil)},
			"db1 vda on rbd, cache writeback: image lock no (QEMU locks files alone, and reaches this by rbd), " + managerNo + bare,
		},
		{
			"a file in a pool of libvirt's", []Facts{has("kvm1", pooled, nfs, volume(domainxml.DiskFile, "/srv/db1.qcow2")), has("kvm2", pooled, nfs, volume(domainxml.DiskFile, "/mnt/db1.qcow2"))},
			"db1 vda on nfs4 nas:/vms, cache none: image lock yes (), " + managerNo,
		},
		{
			"a device in a pool", []Facts{has("kvm1", pooled, lun, volume(domainxml.DiskBlock, "/dev/vg/db1"))},
			"db1 vda on block device, cache none: image lock host (a lock on a block device is the host's own), " + managerNo + bare,
		},
		{
			"a pool that QEMU speaks to itself", []Facts{has("kvm1", with(pooled, func(d *domainxml.Disk) { d.Cache = "writeback" }), Place{}, volume(domainxml.DiskNetwork, "rbd:vms/db1"))},
			"db1 vda on rbd, cache writeback: image lock no (QEMU locks files alone, and reaches this by rbd), " + managerNo + bare,
		},
		{
			"a pool that one host does not have", []Facts{has("kvm1", pooled, nfs, volume(domainxml.DiskFile, "/srv/db1.qcow2")), has("kvm2", pooled, Place{}, func(f *Facts) { f.VMs[0].Disks[0].Volume = &Volume{Unknown: "there is no pool images"} })},
			"db1 vda on differs by host, cache none: image lock unknown (on kvm2: what its pool is on is not known: there is no pool images), " + managerNo + "warning disk_elsewhere vda\n" + bare,
		},
		{
			"a pool, and virtlockd with a directory", []Facts{has("kvm1", pooled, lun, func(f *Facts) { volume(domainxml.DiskBlock, "/dev/vg/db1")(f); lockd(f); f.Libvirt.Lockspace = &nfs })},
			"db1 vda on block device, cache none: image lock host (a lock on a block device is the host's own), lock manager yes ()\n",
		},
		{
			"a file system that nobody knows", []Facts{has("kvm1", image, Place{Type: "fuse.sshfs", Source: "x:"}, nil)},
			"db1 vda on fuse.sshfs x:, cache none: image lock unknown (whether fuse.sshfs passes locks on to other hosts is not known), " + managerNo + bare,
		},
		{"a definition that cannot be read", []Facts{has("kvm1", image, nfs, func(f *Facts) { f.VMs[0].Unread = "it is cut off" })}, "warning definition_unread \n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := text(Examine(tt.hosts))
			if diff := cmp.Diff(sorted(tt.want), sorted(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// sorted is for comparing what is found whatever its order; the order has a test of its own.
func sorted(s string) map[string]bool {
	all := map[string]bool{}
	for l := range strings.Lines(s) {
		all[l] = true
	}
	return all
}

func TestHosts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Facts)
		want   string
	}{
		{"nothing is wrong", func(*Facts) {}, ""},
		{"silent", func(f *Facts) { *f = Facts{Name: "kvm1", Silent: "no answer in 5s"} }, "warning host_silent kvm1\n"},
		{"no hypervisor", func(f *Facts) { f.HypervisorError = "connection refused" }, "critical hypervisor_silent kvm1\n"},
		{"no guard", func(f *Facts) { f.Guard = Guard{} }, "critical guard_missing kvm1\n"},
		{"a guard like any process", func(f *Facts) { f.Guard = Guard{Alive: true} }, "warning guard_paged kvm1\nwarning guard_ordinary kvm1\n"},
		{"no watchdog", func(f *Facts) { f.Watchdog = Watchdog{State: "none"} }, "warning watchdog_none kvm1\n"},
		{"no watchdog, with fence devices", func(f *Facts) { f.Watchdog, f.Fences = Watchdog{State: "none"}, 1 }, "info watchdog_none kvm1\n"},
		{"no watchdog, and the wait will do", func(f *Facts) { f.Watchdog, f.Fences, f.TrustsWait = Watchdog{State: "none"}, 1, true }, "warning watchdog_none kvm1\n"},
		{"a watchdog that does not count", func(f *Facts) { f.Watchdog.Counts = false }, "warning watchdog_discounted kvm1\n"},
		{"a watchdog that failed", func(f *Facts) { f.Watchdog = Watchdog{State: "failed", Device: "/dev/watchdog0"} }, "critical watchdog_failed kvm1\n"},
		{"a watchdog that ends with its holder", func(f *Facts) { f.Watchdog.Enduring = false }, "warning watchdog_stops kvm1\n"},
		{"what an idle watchdog does is not known yet", func(f *Facts) { f.Watchdog.State, f.Watchdog.Enduring = "idle", false }, ""},
		{"no hook", func(f *Facts) { f.Libvirt.Hook = false }, "warning hook_missing kvm1\n"},
		{"libvirt-guests is disabled", func(f *Facts) { f.Libvirt.GuestsStart, f.Libvirt.GuestsFirst = true, true }, ""},
		{"libvirt-guests does both", func(f *Facts) {
			f.Libvirt.GuestsService, f.Libvirt.GuestsStart, f.Libvirt.GuestsFirst = true, true, true
		}, "warning guests_started kvm1\nwarning guests_stopped_first kvm1\n"},
		{"time by jiffies", func(f *Facts) { f.Clock.Source = "jiffies" }, "warning clock_source kvm1\n"},
		{"a clock that is run off its oscillator", func(f *Facts) { f.Clock.Adjusted = -6e-4 }, "warning clock_adjusted kvm1\n"},
		{"an address that nobody has", func(f *Facts) {
			f.Networks = []Network{{Name: "mgmt", Address: "10.0.0.1"}, {Name: "b", Address: "10.1.0.1", Interface: "eth1"}}
		}, "warning address_missing kvm1\n"},
		{"one network", func(f *Facts) { f.Networks = []Network{{Name: "mgmt", Address: "10.0.0.1", Interface: "eth0"}} }, "info network_single kvm1\n"},
		{"no KVM, in a virtual machine", func(f *Facts) { f.NoKVM, f.Virtual = true, true }, "warning no_kvm kvm1\ninfo host_virtual kvm1\n"},
		{"a file that cannot be read", func(f *Facts) { f.Unread = []string{"/etc/libvirt/qemu.conf: permission denied"} }, "info not_examined kvm1\n"},
		{"the demonstration", func(f *Facts) {
			*f = Facts{Name: "kvm1", Embedded: true, NoKVM: true, Clock: Clock{Source: "tsc", Error: 5e-4}}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := well("kvm1")
			tt.change(&f)
			r := Examine([]Facts{f})
			if diff := cmp.Diff(tt.want, text(r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			asks := strings.Contains(tt.want, "warning") || strings.Contains(tt.want, "critical")
			if r.Asks() != asks {
				t.Errorf("asks for something: %v, want %v", r.Asks(), asks)
			}
			for _, f := range r.Findings {
				if !strings.HasPrefix(f.Text, "kvm1") {
					t.Errorf("does not begin with the host: %q", f.Text)
				}
			}
		})
	}
}

func TestHostsAreCompared(t *testing.T) {
	net := func(mtu int) []Network {
		return []Network{{Name: "mgmt", Address: "10.0.0.1", Interface: "eth0", MTU: 1500}, {Name: "storage", Address: "10.1.0.1", Interface: "eth1", MTU: mtu}}
	}
	for _, tt := range []struct {
		name   string
		change func(a, b *Facts)
		want   string
	}{
		{"all the same", func(a, b *Facts) { a.Networks, b.Networks, a.CPU, b.CPU = net(9000), net(9000), "X", "X" }, ""},
		{"hypervisors", func(_, b *Facts) { b.Hypervisor = "QEMU 8.2.0, libvirt 10.0.0" }, "info versions_differ: hosts have different hypervisors: QEMU 7.2.17, libvirt 9.0.0 on kvm1; QEMU 8.2.0, libvirt 10.0.0 on kvm2"},
		{"one that does not say", func(_, b *Facts) { b.Hypervisor = "" }, ""},
		{"packets", func(a, b *Facts) { a.Networks, b.Networks = net(9000), net(1500) }, "warning mtu_differs: network storage has an MTU of 1500 on kvm2; 9000 on kvm1"},
		{"processors that no VM is given", func(a, b *Facts) { a.CPU, b.CPU, a.VMs = "X", "Y", []VM{{Name: "db1", CPUMode: "host-model"}} }, ""},
		{"processors", func(a, b *Facts) { a.CPU, b.CPU, a.VMs = "X", "Y", []VM{{Name: "db1", CPUMode: "host-passthrough"}} }, "info cpus_differ: hosts have different processors: X on kvm1; Y on kvm2. db1:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := well("kvm1"), well("kvm2")
			tt.change(&a, &b)
			var got []string
			for _, f := range Examine([]Facts{a, b}).Findings {
				got = append(got, fmt.Sprintf("%s %s: %s", f.Severity, f.Code, f.Text))
			}
			if one := strings.Join(got, "\n"); tt.want == "" && one != "" || !strings.HasPrefix(one, tt.want) || len(got) > 1 {
				t.Errorf("found %q, want one that begins with %q", got, tt.want)
			}
		})
	}
}

// The worst comes first; what is about one host leaves out what is not.
func TestOrderAndOneHost(t *testing.T) {
	late := image
	late.Cache = "writeback"
	a, b := has("kvm1", late, nfs, nil), has("kvm2", late, nfs, func(f *Facts) { f.Guard.Alive, f.Virtual = false, true })
	a.Libvirt.Hook = false
	r := Examine([]Facts{a, b})
	if got, want := text(Report{Findings: r.Findings}), "critical guard_missing kvm2\nwarning cache_writes_late vda\nwarning hook_missing kvm1\ninfo host_virtual kvm2\n"; got != want {
		t.Errorf("found\n%swant\n%s", got, want)
	}
	if got, want := text(Report{Findings: r.Only("kvm1").Findings}), "warning cache_writes_late vda\nwarning hook_missing kvm1\n"; got != want {
		t.Errorf("about kvm1:\n%swant\n%s", got, want)
	}
	if got := r.Only("kvm2"); len(got.Disks) != 0 || len(got.Findings) != 2 {
		t.Errorf("about kvm2: %+v", got)
	}
}

// A newer member may say more; what it says is read as far as it is known.
func TestFactsTravel(t *testing.T) {
	f := has("kvm1", image, nfs, func(f *Facts) { f.Libvirt.Lockspace = &nfs })
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var got Facts
	if err := json.Unmarshal([]byte(strings.Replace(string(b), "{", `{"more":1,`, 1)), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f, got); diff != "" {
		t.Errorf("(-sent +read):\n%s", diff)
	}
	if weight(fsm.Critical) >= weight(fsm.Warning) || weight(fsm.Warning) >= weight(fsm.Info) {
		t.Error("the worst does not come first")
	}
}
