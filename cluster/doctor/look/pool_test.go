package look

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// The definitions are those that libvirt writes: a comment before, and its own elements within.
func TestVolumeOfAPool(t *testing.T) {
	pool := func(kind, more string) string {
		return "<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE.\n-->\n\n<pool type='" + kind + "'>\n  <name>p</name>\n  <uuid>3b1c2a44-0d6f-4a58-9f0e-7a1d2c3b4e5f</uuid>\n  <capacity unit='bytes'>0</capacity>\n" + more + "</pool>\n"
	}
	target := func(path string) string { return "<target><path>" + path + "</path></target>" }
	h := &Host{Root: root(t, map[string]string{
		poolFiles + "/images.xml":  pool("dir", target("/var/lib/libvirt/images")),
		poolFiles + "/nas.xml":     pool("netfs", "<source><host name='nas'/><dir path='/vms'/><format type='auto'/></source>"+target("/srv/vms/")),
		poolFiles + "/vg.xml":      pool("logical", "<source><name>vg</name></source>"+target("/dev/vg")),
		poolFiles + "/ceph.xml":    pool("rbd", "<source><name>vms</name><host name='mon'/></source>"),
		poolFiles + "/new.xml":     pool("hologram", target("/x")),
		poolFiles + "/bare.xml":    pool("dir", ""),
		poolFiles + "/damaged.xml": "<pool",
	})}
	for _, tt := range []struct {
		pool, volume string
		want         doctor.Volume
	}{
		{"images", "db1.qcow2", doctor.Volume{Kind: domainxml.DiskFile, Path: "/var/lib/libvirt/images/db1.qcow2"}},
		{"nas", "db1", doctor.Volume{Kind: domainxml.DiskFile, Path: "/srv/vms/db1"}},
		{"vg", "db1", doctor.Volume{Kind: domainxml.DiskBlock, Path: "/dev/vg/db1"}},
		{"ceph", "db1", doctor.Volume{Kind: domainxml.DiskNetwork, Path: "rbd:vms/db1"}},
		{"new", "db1", doctor.Volume{Unknown: `pool new is of type "hologram"`}},
		{"bare", "db1", doctor.Volume{Unknown: "the definition of pool bare has no target path"}},
		{"none", "db1", doctor.Volume{Unknown: "there is no pool none in /etc/libvirt/storage"}},
		{"../networks/default", "db1", doctor.Volume{Unknown: `"../networks/default/db1" is no volume of a pool`}},
		{"images", "", doctor.Volume{Unknown: `"images/" is no volume of a pool`}},
	} {
		t.Run(tt.pool+"/"+tt.volume, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, h.Volume(tt.pool, tt.volume)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if v := h.Volume("damaged", "db1"); v.Kind != "" || !strings.Contains(v.Unknown, "read the definition of pool damaged") {
		t.Errorf("a damaged definition: %+v", v)
	}
}
