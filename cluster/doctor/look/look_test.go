package look

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/fencing"
)

const mountinfo = `22 1 8:1 / / rw,relatime shared:1 - xfs /dev/sda1 rw,attr2
23 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=1k
24 22 0:40 / /srv/vms rw,relatime shared:3 - nfs4 nas:/vms rw,vers=4.2,local_lock=none
25 22 0:41 / /srv/with\040blank rw - ext4 /dev/sdb1 rw
26 22 0:42 / /srv/vms2 rw,relatime - nfs nas:/v2 rw,nolock
27 24 0:43 / /srv/vms/deep rw - ceph mon:/ rw
a line that is none
`

// root is a host's files: path to text; a text that begins with "-> " is a symbolic link.
func root(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPlace(t *testing.T) {
	h := &Host{Root: root(t, map[string]string{
		"/proc/1/mountinfo": mountinfo, "/dev/dm-0": "", "/dev/vg/db1": "-> ../dm-0", "/dev/loop": "-> /dev/loop",
		"/var/lib/libvirt/images": "-> /srv/vms/images", "/var/lib/other": "-> ../../srv", "/var/lib/local/a.img": "", "/srv/with blank/b.img": "", "/srv/x": "",
	})}
	for _, tt := range []struct {
		path string
		want doctor.Place
	}{
		{"/srv/vms/db1.qcow2", doctor.Place{Type: "nfs4", Source: "nas:/vms", Options: []string{"rw", "relatime", "rw", "vers=4.2", "local_lock=none"}}},
		{"/srv/vms2/db1.qcow2", doctor.Place{Type: "nfs", Source: "nas:/v2", Options: []string{"rw", "relatime", "rw", "nolock"}}},
		{"/srv/vms/deep/er/db1", doctor.Place{Type: "ceph", Source: "mon:/", Options: []string{"rw", "rw"}}},
		{"/var/lib/libvirt/images/db1.qcow2", doctor.Place{Type: "nfs4", Source: "nas:/vms", Options: []string{"rw", "relatime", "rw", "vers=4.2", "local_lock=none"}}},
		{"/var/lib/other/vms2/../vms2/x", doctor.Place{Type: "nfs", Source: "nas:/v2", Options: []string{"rw", "relatime", "rw", "nolock"}}},
		{"/var/lib/local/a.img", doctor.Place{Type: "xfs", Source: "/dev/sda1", Options: []string{"rw", "relatime", "rw", "attr2"}}},
		{"/srv/with blank/b.img", doctor.Place{Type: "ext4", Source: "/dev/sdb1", Options: []string{"rw", "rw"}}},
		{"/srv/no/such.img", doctor.Place{Type: "xfs", Source: "/dev/sda1", Options: []string{"rw", "relatime", "rw", "attr2"}, Missing: true}},
		{"/dev/vg/db1", doctor.Place{Type: doctor.DeviceType}},
		{"/dev/vg/gone", doctor.Place{Type: doctor.DeviceType, Missing: true}},
		{"/dev/loop", doctor.Place{Type: doctor.DeviceType}}, // a link to itself ends
		{"relative", doctor.Place{}},
	} {
		t.Run(tt.path, func(t *testing.T) {
			tt.want.Path = tt.path
			if diff := cmp.Diff(tt.want, h.Place(tt.path)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := (&Host{Root: t.TempDir()}).Place("/srv/x"); got.Type != "" || got.Missing {
		t.Errorf("without a list of mounts: %+v", got)
	}
}

func TestHas(t *testing.T) {
	h := &Host{Root: root(t, map[string]string{
		"/proc/1/mountinfo": mountinfo, "/dev/vg/db1": "", "/var/lib/libvirt/images": "-> /srv/vms/images", "/var/lib/local/a.img": "",
		"/srv/with blank/b.img": "", "/srv/unmounted/x": "", "/srv/vms-old/x": "",
	})}
	for _, tt := range []struct {
		path           string
		there, mounted bool
	}{
		{"/srv/vms", true, true}, {"/srv/vms/sub", true, true}, {"/srv/with blank", true, true}, {"/srv/vms/deep", true, true},
		{"/srv/unmounted", true, false}, // the mount point of what is not mounted now
		{"/srv/vms-old", true, false},   // its name begins as that of another
		{"/srv/gone", false, false}, {"/srv/with blank/gone", false, false},
		{"/dev/vg", true, true}, {"/dev/none", false, false},
		{"/var/lib/libvirt/images", true, true}, // by a link
	} {
		t.Run(tt.path, func(t *testing.T) {
			if there, mounted := h.Has(tt.path, false), h.Has(tt.path, true); there != tt.there || mounted != tt.mounted {
				t.Errorf("there: %v, want %v; mounted: %v, want %v", there, tt.there, mounted, tt.mounted)
			}
		})
	}
	if !(&Host{Root: t.TempDir()}).Has("/srv/x", true) {
		t.Error("where it cannot be told what is mounted, nothing is denied")
	}
}

func TestFacts(t *testing.T) {
	const after = "network-online.target libvirt-guests.service libvirtd.service\n"
	stat := func(policy string) string {
		return "77 (a) b) S" + strings.Repeat(" 0", 37) + " " + policy + " 0 0\n"
	}
	files := map[string]string{
		"/proc/1/mountinfo": mountinfo, "/srv/x": "", "/dev/kvm": "x", "/proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu hypervisor avx\n",
		"/sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
		"/proc/77/status": "Name:\thaagent\nVmLck:\t   12345 kB\n", "/proc/77/stat": stat("2"),
		"/etc/libvirt/hooks/qemu.d/holdfast":                                 "#!/bin/sh\nexec /usr/bin/haagent hook \"$@\"\n",
		"/etc/libvirt/qemu.conf":                                             "# lock_manager = \"sanlock\"\nlock_manager = \"lockd\"\n",
		"/etc/libvirt/qemu-lockd.conf":                                       "#auto_disk_leases = 0\nfile_lockspace_dir = \"/srv/vms/locks\" # shared\n",
		"/etc/systemd/system/multi-user.target.wants/libvirt-guests.service": "-> /lib/systemd/system/libvirt-guests.service",
		"/etc/default/libvirt-guests":                                        "ON_BOOT=ignore\n",
	}
	place := doctor.Place{Path: "/srv/vms/locks", Type: "nfs4", Source: "nas:/vms", Options: []string{"rw", "relatime", "rw", "vers=4.2", "local_lock=none"}}
	well := doctor.Facts{
		Virtual: true, CPU: "AMD EPYC", Networks: []doctor.Network{{Name: "mgmt", Address: "10.0.0.1", Interface: "eth0", MTU: 1500, Prefix: "10.0.0.0/24"}, {Name: "storage", Address: "10.1.0.1"}},
		Guard:    doctor.Guard{Alive: true, Locked: true, RealTime: true},
		Watchdog: doctor.Watchdog{State: "armed", Device: "/dev/watchdog0", Protects: true, Enduring: true},
		Clock:    doctor.Clock{Source: "tsc", Adjusted: 3e-5},
		Libvirt:  doctor.Libvirt{Hook: true, LockManager: "lockd", AutoLeases: true, Lockspace: &place, GuestsService: true},
	}
	for _, tt := range []struct {
		name   string
		change map[string]string // files; "" takes one away
		run    func() (string, error)
		want   func(*doctor.Facts)
	}{
		{name: "as it should be"},
		{name: "a guard like any process", change: map[string]string{"/proc/77/status": "VmLck:\t0 kB\n", "/proc/77/stat": stat("0")}, want: func(f *doctor.Facts) { f.Guard = doctor.Guard{Alive: true} }},
		{name: "first in, first out", change: map[string]string{"/proc/77/stat": stat("1")}},
		{name: "no guard in the kernel's list", change: map[string]string{"/proc/77/status": "", "/proc/77/stat": ""}, want: func(f *doctor.Facts) { f.Guard = doctor.Guard{Alive: true} }},
		{name: "the only hook is somebody else's", change: map[string]string{"/etc/libvirt/hooks/qemu.d/holdfast": "", "/etc/libvirt/hooks/qemu": "#!/bin/sh\n"}, want: func(f *doctor.Facts) { f.Libvirt.Hook = false }},
		{name: "the only hook calls the agent", change: map[string]string{"/etc/libvirt/hooks/qemu.d/holdfast": "", "/etc/libvirt/hooks/qemu": "haagent hook \"$@\"\n"}},
		{name: "no lock manager", change: map[string]string{"/etc/libvirt/qemu.conf": "#lock_manager = \"lockd\"\n"}, want: func(f *doctor.Facts) {
			f.Libvirt.LockManager, f.Libvirt.AutoLeases, f.Libvirt.Lockspace = "", false, nil
		}},
		{name: "leases alone, on the disks themselves", change: map[string]string{"/etc/libvirt/qemu-lockd.conf": "auto_disk_leases = 0\nscsi_lockspace_dir = \"/x\"\n"}, want: func(f *doctor.Facts) {
			f.Libvirt.AutoLeases, f.Libvirt.Lockspace, f.Libvirt.OtherLockspaces = false, nil, true
		}},
		{name: "sanlock", change: map[string]string{"/etc/libvirt/qemu.conf": "lock_manager=\"sanlock\"", "/etc/libvirt/qemu-sanlock.conf": "auto_disk_leases = 1\ndisk_lease_dir = \"/srv/vms/locks\"\n"}, want: func(f *doctor.Facts) { f.Libvirt.LockManager = "sanlock" }},
		{name: "libvirt-guests starts VMs unless it is told not to", change: map[string]string{"/etc/default/libvirt-guests": ""}, want: func(f *doctor.Facts) { f.Libvirt.GuestsStart = true }},
		{name: "libvirt-guests stops VMs before the agent is", run: func() (string, error) { return "libvirtd.service\n", nil }, want: func(f *doctor.Facts) { f.Libvirt.GuestsFirst = true }},
		{name: "no systemd", run: func() (string, error) { return "", errors.New("no such program") }, want: func(f *doctor.Facts) {
			f.Unread = []string{"ask systemd in which order it stops haagent: no such program"}
		}},
		{name: "no KVM, no virtual machine", change: map[string]string{"/dev/kvm": "", "/proc/cpuinfo": "flags : fpu\n"}, want: func(f *doctor.Facts) { f.NoKVM, f.Virtual, f.CPU = true, false, "" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := map[string]string{}
			for name, text := range files {
				all[name] = text
			}
			for name, text := range tt.change {
				if all[name] = text; text == "" {
					delete(all, name)
				}
			}
			h := &Host{
				Root: root(t, all),
				Guard: func() (fencing.Status, bool) {
					return fencing.Status{GuardPID: 77, Watchdog: fencing.WatchdogStatus{State: fencing.DogArmed, Device: "/dev/watchdog0", Enduring: true}}, true
				},
				Networks: map[string]netip.Addr{"storage": netip.MustParseAddr("10.1.0.1"), "mgmt": netip.MustParseAddr("10.0.0.1")},
				Interfaces: func() ([]Interface, error) {
					return []Interface{{Name: "lo", MTU: 65536, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}, {Name: "eth0", MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}}, nil
				},
				Run: func(context.Context, string, ...string) (string, error) {
					if tt.run != nil {
						return tt.run()
					}
					return after, nil
				},
				Adjtimex: func(x *unix.Timex) (int, error) {
					x.Tick, x.Freq = 10_000, 30*65536
					return 0, nil
				},
			}
			want := well
			if tt.want != nil {
				tt.want(&want)
			}
			close := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
			if diff := cmp.Diff(want, h.Facts(t.Context()), close); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// On the machine of the test: whatever it is, it can be looked at.
func TestThisMachine(t *testing.T) {
	h := &Host{Guard: func() (fencing.Status, bool) { return fencing.Status{GuardPID: os.Getpid()}, true }, Networks: map[string]netip.Addr{"test": netip.MustParseAddr("127.0.0.7")}}
	f := h.Facts(t.Context())
	if f.Clock.Source == "" || f.Guard.RealTime || len(f.Unread) > 0 || f.CPU == "" || len(f.Networks) != 1 || f.Networks[0].Interface != "lo" {
		t.Errorf("%+v", f)
	}
	if p := h.Place(os.Args[0]); p.Type == "" || p.Missing {
		t.Errorf("this program is on %+v", p)
	}
	if p := h.Place("/dev/null"); p.Type != doctor.DeviceType {
		t.Errorf("/dev/null is on %+v", p)
	}
	if e := (&Host{}).Facts(t.Context()); !e.Embedded || e.Guard.Alive {
		t.Errorf("of the demonstration: %+v", e)
	}
}
