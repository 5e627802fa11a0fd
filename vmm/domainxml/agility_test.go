package domainxml

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// domain is a definition with these children of <domain> and of <devices>.
func domain(top, devices string) string {
	return `<domain type='kvm'><name>db1</name><uuid>` + id + `</uuid><memory unit='GiB'>2</memory><vcpu>2</vcpu>
` + top + `<devices>` + devices + `</devices></domain>`
}

// shared is storage below /srv and devices by id.
func shared(path string) bool {
	return strings.HasPrefix(path, "/srv/") || strings.HasPrefix(path, "/dev/disk/by-id/")
}

func TestNeedsOfAWholeDefinition(t *testing.T) {
	src, err := os.ReadFile("testdata/virt-install.xml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseNeeds(string(src))
	if err != nil {
		t.Fatal(err)
	}
	want := &Needs{
		Definition: Definition{UUID: "0b9ffa8a-97c5-44a9-8ef8-1f2a4ee1b3c7", Name: "db1", Memory: 4 << 30, VCPUs: 4},
		Overhead:   64<<20 + 128<<20, HighestCPU: -1,
		Type: "kvm", Arch: "x86_64", Machine: "pc-q35-7.2", Emulator: "/usr/bin/qemu-system-x86_64", CPUMode: "custom", CPUModel: "Skylake-Server-IBRS",
		CPUFeatures: []string{"pcid", "ssbd"},
		Paths: []Path{
			{TieNVRAM, Loses, "/var/lib/libvirt/qemu/nvram/db1_VARS.fd", "its UEFI variables (NVRAM)"},
			{TieDisk, Bound, "/srv/vm/db1.qcow2", "disk vda"},
			{TieDisk, Bound, "/srv/vm/base/debian-12.qcow2", "disk vda's backing image"},
			{TieDisk, Bound, "/dev/disk/by-id/wwn-0x6001405f00d", "disk vdb"},
			{TieCD, Bound, "/var/lib/libvirt/images/debian-12.iso", "the CD in sda"},
		},
		Pools:    []string{"iscsi"},
		Remote:   []string{"rbd:vms/db1-log"},
		Networks: []Network{{BridgeNetwork, "br0"}, {LibvirtNetwork, "storage"}},
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Needs{})); d != "" {
		t.Errorf("needs (-want +got):\n%s", d)
	}
	var ties []string
	for _, x := range got.Ties(shared) {
		ties = append(ties, fmt.Sprintf("%s %s: %s", x.Effect, x.Kind, x.Text))
	}
	wantTies := []string{
		"loses nvram: its UEFI variables (NVRAM): /var/lib/libvirt/qemu/nvram/db1_VARS.fd is not on shared storage; it stays behind when the VM starts elsewhere",
		"bound cdrom: the CD in sda: /var/lib/libvirt/images/debian-12.iso is not on shared storage; no other host has it",
		"loses tpm: the state of its TPM is where the host keeps it by itself: elsewhere the guest finds an empty one, and asks for recovery keys",
	}
	if d := cmp.Diff(wantTies, ties); d != "" {
		t.Errorf("ties (-want +got):\n%s", d)
	}
	words := []string{"type:kvm", "arch:x86_64", "machine:pc-q35-7.2", "emulator:/usr/bin/qemu-system-x86_64", "feature:pcid", "feature:ssbd"} // of its model a feature is switched off
	if d := cmp.Diff(words, got.Capabilities()); d != "" {
		t.Errorf("capabilities (-want +got):\n%s", d)
	}
}

func TestCapabilitiesOfProcessor(t *testing.T) {
	for _, tt := range []struct {
		name, cpu string
		want      []string
	}{
		{"a model", "<cpu mode='custom' check='partial'><model>EPYC</model><feature policy='require' name='x2apic'/></cpu>", []string{"type:kvm", "cpu:EPYC", "feature:x2apic"}},
		{"a model without a feature runs where the whole one may not", "<cpu mode='custom' check='partial'><model>EPYC</model><feature policy='disable' name='svm'/></cpu>", []string{"type:kvm"}},
		{"what libvirt writes for VMs that name no model", "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model></cpu>", []string{"type:kvm"}},
		{"unchecked features", "<cpu mode='custom' check='none'><model>EPYC</model><feature policy='require' name='x2apic'/></cpu>", []string{"type:kvm"}},
		{"the host's own", "<cpu mode='host-passthrough'/>", []string{"type:kvm"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := ParseNeeds("<domain type='kvm'><name>a</name><uuid>0b9ffa8a-97c5-44a9-8ef8-1f2a4ee1b3c7</uuid><memory>1048576</memory><vcpu>1</vcpu>" + tt.cpu + "</domain>")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, n.Capabilities()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestTies(t *testing.T) {
	disk := func(device, source, more string) string {
		return `<disk type='file' device='` + device + `'>` + more + source + `<target dev='vda'/></disk>`
	}
	const pci = `<source><address domain='0x0000' bus='0x3b' slot='0x02' function='0x1'/></source>`
	tests := []struct {
		name         string
		top, devices string
		want         []string // "effect kind what"
	}{
		{"nothing", "", "", nil},
		{"a shared disk", "", disk("disk", `<source file='/srv/vm/a'/>`, ""), nil},
		{"a local disk", "", disk("disk", `<source file='/var/lib/a'/>`, ""), []string{"bound disk /var/lib/a"}},
		{"a shared disk with a local backing image", "", disk("disk", `<source file='/srv/vm/a'/>`,
			`<backingStore type='file'><format type='raw'/><source file='/var/lib/base'/><backingStore/></backingStore>`), []string{"bound disk /var/lib/base"}},
		{"a local block device", "", `<disk type='block' device='disk'><source dev='/dev/vg0/a'/><target dev='vda'/></disk>`, []string{"bound disk /dev/vg0/a"}},
		{"a local directory as disk", "", `<disk type='dir' device='disk'><source dir='/var/fat'/><target dev='vda'/></disk>`, []string{"bound disk /var/fat"}},
		{"an empty CD drive", "", `<disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>`, nil},
		{"a CD from a local path", "", disk("cdrom", `<source file='/iso/a.iso'/>`, ""), []string{"bound cdrom /iso/a.iso"}},
		{"a CD that it starts without", "", disk("cdrom", `<source file='/iso/a.iso' startupPolicy='optional'/>`, ""), nil},
		{"a CD that must be there", "", disk("cdrom", `<source file='/iso/a.iso' startupPolicy='mandatory'/>`, ""), []string{"bound cdrom /iso/a.iso"}},
		{"the host's CD drive", "", `<disk type='block' device='cdrom'><source dev='/dev/sr0'/><target dev='sda'/></disk>`, []string{"bound cdrom /dev/sr0"}},
		{"a floppy", "", disk("floppy", `<source file='/iso/f.img'/>`, ""), []string{"bound cdrom /iso/f.img"}},
		{"cache unsafe", "", disk("disk", `<source file='/srv/a'/>`, `<driver name='qemu' type='raw' cache='unsafe'/>`), []string{"loses cache vda"}},
		{"cache writeback", "", disk("disk", `<source file='/srv/a'/>`, `<driver name='qemu' type='raw' cache='writeback'/>`), nil},
		{"cache unsafe, read-only", "", disk("disk", `<source file='/srv/a'/>`, `<driver cache='unsafe'/><readonly/>`), nil},
		{"a network disk of the host itself", "", `<disk type='network' device='disk'><source protocol='nbd' name='a'><host name='localhost' port='10809'/></source><target dev='vda'/></disk>`, []string{"bound disk nbd:a"}},
		{"a network disk over a socket", "", `<disk type='network' device='disk'><source protocol='nbd' name='a'><host transport='unix' socket='/run/nbd'/></source><target dev='vda'/></disk>`, []string{"bound disk nbd:a"}},
		{"an NVMe device", "", `<disk type='nvme' device='disk'><source type='pci' managed='yes' namespace='1'><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source><target dev='vda'/></disk>`, []string{"bound disk 0000:01:00.0"}},
		{"vhost-user disk", "", `<disk type='vhostuser' device='disk'><source type='unix' path='/run/v'/><target dev='vda'/></disk>`, []string{"bound disk disk vda"}},
		{"vDPA disk", "", `<disk type='vhostvdpa' device='disk'><source dev='/dev/vhost-vdpa-0'/><target dev='vda'/></disk>`, []string{"bound disk /dev/vhost-vdpa-0"}},
		{"PCI passthrough", "", `<hostdev mode='subsystem' type='pci' managed='yes'>` + pci + `</hostdev>`, []string{"bound device 0000:3b:02.1"}},
		{"USB by its maker", "", `<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>`, []string{"bound device 1234:beef"}},
		{"USB by its place", "", `<hostdev mode='subsystem' type='usb'><source><address bus='1' device='7'/></source></hostdev>`, []string{"bound device bus 1 device 7"}},
		{"USB that it starts without", "", `<hostdev mode='subsystem' type='usb'><source startupPolicy='optional'><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>`, nil},
		{"a virtual GPU", "", `<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source><address uuid='83f5e9c5-4c6a-4f4e-9b5c-0d9a2e1f7c11'/></source></hostdev>`, []string{"bound device 83f5e9c5-4c6a-4f4e-9b5c-0d9a2e1f7c11"}},
		{"a SCSI device", "", `<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/><address bus='0' target='0' unit='0'/></source></hostdev>`, []string{"bound device scsi"}},
		{"SCSI over iSCSI", "", `<hostdev mode='subsystem' type='scsi'><source protocol='iscsi' name='iqn.2014-08.com.example:storage/1'><host name='10.0.0.5' port='3260'/></source></hostdev>`, nil},
		{"a virtual function as network interface", "", `<interface type='hostdev' managed='yes'><source><address type='pci' domain='0x0000' bus='0x3b' slot='0x02' function='0x1'/></source></interface>`, []string{"bound network 0000:3b:02.1"}},
		{"an internal network", "", `<interface type='internal'><source name='hostonly'/></interface>`, []string{"loses network hostonly"}},
		{"a user network", "", `<interface type='user'/>`, nil},
		{"local NVRAM", `<os><type>hvm</type><nvram>/var/lib/libvirt/qemu/nvram/a.fd</nvram></os>`, "", []string{"loses nvram /var/lib/libvirt/qemu/nvram/a.fd"}},
		{"shared NVRAM", `<os><type>hvm</type><nvram>/srv/nvram/a.fd</nvram></os>`, "", nil},
		{"NVRAM as a file source", `<os firmware='efi'><type>hvm</type><nvram type='file'><source file='/var/a.fd'/></nvram></os>`, "", []string{"loses nvram /var/a.fd"}},
		{"UEFI without a word on NVRAM", `<os firmware='efi'><type>hvm</type></os>`, "", []string{"loses nvram nvram"}},
		{"a local kernel", `<os><type>hvm</type><kernel>/boot/vmlinuz</kernel><initrd>/srv/initrd</initrd></os>`, "", []string{"bound file /boot/vmlinuz"}},
		{"an emulated TPM", "", `<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>`, []string{"loses tpm tpm"}},
		{"a TPM with shared state", "", `<tpm model='tpm-crb'><backend type='emulator' version='2.0'><source type='dir' path='/srv/tpm/a'/></backend></tpm>`, nil},
		{"the host's TPM", "", `<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>`, []string{"bound tpm tpm"}},
		{"host-passthrough", `<cpu mode='host-passthrough' check='none' migratable='on'/>`, "", []string{"not_live cpu host-passthrough"}},
		{"host-model", `<cpu mode='host-model' check='partial'/>`, "", nil},
		{"migratable off", `<cpu mode='host-passthrough' migratable='off'/>`, "", []string{"not_live cpu host-passthrough"}},
		{"invtsc", `<cpu mode='host-model'><feature policy='require' name='invtsc'/></cpu>`, "", []string{"not_live cpu invtsc"}},
		{"a local directory in the guest", "", `<filesystem type='mount'><source dir='/home/x'/><target dir='x'/></filesystem>`, []string{"bound filesystem /home/x", "not_live filesystem /home/x"}},
		{"shared memory", "", `<shmem name='a'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>`, []string{"loses device a"}},
		{"a serial port", "", `<serial type='dev'><source path='/dev/ttyS0'/><target port='0'/></serial>`, []string{"bound device /dev/ttyS0"}},
		{"a console on a pty", "", `<serial type='pty'><target port='0'/></serial>`, nil},
		{"local persistent memory", "", `<memory model='nvdimm'><source><path>/var/nvdimm</path></source><target><size unit='GiB'>1</size><node>0</node></target></memory>`, []string{"bound device /var/nvdimm"}},
		{"several at once", `<cpu mode='host-passthrough'/>`, disk("disk", `<source file='/var/a'/>`, "") + disk("cdrom", `<source file='/iso/a.iso'/>`, "") +
			`<hostdev mode='subsystem' type='pci'>` + pci + `</hostdev>`, []string{"bound disk /var/a", "bound cdrom /iso/a.iso", "not_live cpu host-passthrough", "bound device 0000:3b:02.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := ParseNeeds(domain(tt.top, tt.devices))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, x := range n.Ties(shared) {
				got = append(got, fmt.Sprintf("%s %s %s", x.Effect, x.Kind, x.What))
				if x.Text == "" {
					t.Errorf("%s %s says nothing to people", x.Kind, x.What)
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("ties (-want +got):\n%s", d)
			}
		})
	}
}

func TestNeedsOfMemoryAndProcessors(t *testing.T) {
	n, err := ParseNeeds(domain(`<memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages></memoryBacking>
<cputune><vcpupin vcpu='0' cpuset='2-3,^3'/><vcpupin vcpu='1' cpuset='14'/><emulatorpin cpuset='0-15'/></cputune>`, `<video><model type='qxl' ram='65536' vram='32768' vgamem='16384'/></video>`))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[uint64]uint64{1 << 20: 2 << 30}, n.HugePages); d != "" {
		t.Errorf("huge pages (-want +got):\n%s", d)
	}
	if n.HighestCPU != 15 {
		t.Errorf("pinned up to processor %d, want 15", n.HighestCPU)
	}
	if want := uint64(64+64+32) << 20; n.Overhead != want {
		t.Errorf("overhead %d, want %d", n.Overhead, want)
	}
	n, err = ParseNeeds(domain(`<memoryBacking><hugepages/></memoryBacking>`, ""))
	if err != nil || n.HugePages[0] != 2<<30 || n.HighestCPU != -1 {
		t.Errorf("pages of the default size: %v, pinned to %d, %v", n.HugePages, n.HighestCPU, err)
	}
	if _, err := ParseNeeds("<domain type='kvm'><name>x</name></domain>"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a definition that libvirt would not take: %v, want ErrInvalid", err)
	}
}
