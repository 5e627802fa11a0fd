package domainxml

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseShared(t *testing.T) {
	domain := func(devices string) string {
		return `<domain type='kvm'><name>w</name><uuid>` + id + `</uuid><memory>1024</memory>` + devices + `</domain>`
	}
	for _, tt := range []struct {
		name, xml string
		want      []Disk
		leases    int
		cpu       string
	}{
		{name: "no devices", xml: domain("")},
		{
			name: "an image, with its mode and its backing image",
			xml: domain(`<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='/srv/w.qcow2'/>
				<backingStore type='file'><format type='qcow2'/><source file='/srv/base.qcow2'/></backingStore><target dev='vda' bus='virtio'/></disk></devices>`),
			want: []Disk{{Target: "vda", Kind: DiskFile, Source: "/srv/w.qcow2", Cache: "none"}},
		},
		{
			name: "devices, shared and read only",
			xml: domain(`<devices><disk type='block'><source dev='/dev/vg/w'/><target dev='vdb'/><shareable/></disk>
				<disk type='block'><driver cache='writeback'/><source dev='/dev/sdx'/><target dev='vdc'/><readonly/></disk></devices>`),
			want: []Disk{{Target: "vdb", Kind: DiskBlock, Source: "/dev/vg/w", Shareable: true}, {Target: "vdc", Kind: DiskBlock, Source: "/dev/sdx", Cache: "writeback", ReadOnly: true}},
		},
		{
			name: "over the network, of a pool, and of the host alone",
			xml: domain(`<devices><disk type='network'><source protocol='rbd' name='vms/w'><host name='10.0.0.1'/></source><target dev='vda'/></disk>
				<disk type='volume'><source pool='default' volume='w.img'/><target dev='vdb'/></disk>
				<disk type='nvme'><source type='pci' managed='yes' namespace='1'><address domain='0' bus='1' slot='0' function='0'/></source><target dev='vdc'/></disk></devices>`),
			want: []Disk{{Target: "vda", Kind: DiskNetwork, Source: "rbd:vms/w"}, {Target: "vdb", Kind: DiskPool, Source: "default/w.img"}, {Target: "vdc", Kind: DiskOther, Source: "nvme"}},
		},
		{
			name: "a CD is never written to; an empty drive is no disk",
			xml: domain(`<devices><disk type='file' device='cdrom'><source file='/srv/a.iso'/><target dev='sda'/></disk>
				<disk type='file' device='cdrom'><target dev='sdb'/></disk><disk type='file' device='floppy'><source file='/srv/f.img'/></disk></devices>`),
			want: []Disk{{Target: "sda", Kind: DiskFile, Source: "/srv/a.iso", ReadOnly: true}, {Target: "?", Kind: DiskFile, Source: "/srv/f.img"}},
		},
		{
			name:   "leases",
			xml:    domain(`<devices><lease><lockspace>s</lockspace><key>k</key><target path='/srv/leases' offset='0'/></lease></devices>`),
			leases: 1,
		},
		{name: "the host's processor", xml: domain(`<cpu mode='host-passthrough' check='none'/>`), cpu: "host-passthrough"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseShared(tt.xml)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Shared{Disks: tt.want, Leases: tt.leases, CPUMode: tt.cpu}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, err := ParseShared("<domain"); !errors.Is(err, ErrInvalid) {
		t.Errorf("of no definition: %v, want ErrInvalid", err)
	}
}
