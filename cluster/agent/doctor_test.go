package agent

import (
	"bytes"
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// everywhereNFS is a machine on which every path is on one file server.
type everywhereNFS struct{}

func (everywhereNFS) Facts(context.Context) doctor.Facts { return doctor.Facts{} }
func (everywhereNFS) Has(string, bool) bool              { return true }
func (everywhereNFS) Device(string, string) string       { return "" }
func (everywhereNFS) Multipath(path string) *doctor.Multipath {
	if path != "/dev/mapper/hb" {
		return nil
	}
	return &doctor.Multipath{Paths: 2, Working: 1}
}
func (everywhereNFS) Place(path string) doctor.Place {
	return doctor.Place{Path: path, Type: "nfs4", Source: "nas:/vms"}
}

func (everywhereNFS) Volume(pool, volume string) doctor.Volume {
	if pool != "default" {
		return doctor.Volume{Unknown: "there is no pool " + pool}
	}
	return doctor.Volume{Kind: domainxml.DiskFile, Path: "/srv/pool/" + volume}
}

// Where a disk is, is asked of what has a path, and of nothing else.
func TestWhatTheDoctorIsToldOfAVM(t *testing.T) {
	packed, err := fsm.PackXML(`<domain type='kvm'><name>db1</name><uuid>3b1c2a44-0d6f-4a58-9f0e-7a1d2c3b4e5f</uuid><memory>1</memory><cpu mode='host-model'/><devices>
		<disk type='file'><driver cache='none'/><source file='/srv/db1'/><target dev='vda'/></disk>
		<disk type='network'><source protocol='rbd' name='vms/db1'/><target dev='vdb'/></disk>
		<disk type='volume'><source pool='default' volume='db1'/><target dev='vdc'/></disk><disk type='volume'><source pool='other' volume='db1'/><target dev='vdd'/></disk><lease><lockspace>s</lockspace><key>k</key><target path='/l'/></lease></devices></domain>`)
	if err != nil {
		t.Fatal(err)
	}
	var known definitions
	got := examined(&fsm.VM{UUID: "u", Name: "db1", XML: packed, Owner: &fsm.Placement{Host: "kvm1"}}, known.of("u", packed), everywhereNFS{})
	want := doctor.VM{UUID: "u", Name: "db1", Owner: "kvm1", Leases: 1, CPUMode: "host-model", Disks: []doctor.Disk{
		{Disk: domainxml.Disk{Target: "vda", Kind: domainxml.DiskFile, Source: "/srv/db1", Cache: "none"}, Place: doctor.Place{Path: "/srv/db1", Type: "nfs4", Source: "nas:/vms"}},
		{Disk: domainxml.Disk{Target: "vdb", Kind: domainxml.DiskNetwork, Source: "rbd:vms/db1"}},
		{Disk: domainxml.Disk{Target: "vdc", Kind: domainxml.DiskPool, Source: "default/db1"}, Place: doctor.Place{Path: "/srv/pool/db1", Type: "nfs4", Source: "nas:/vms"}, Volume: &doctor.Volume{Kind: domainxml.DiskFile, Path: "/srv/pool/db1"}},
		{Disk: domainxml.Disk{Target: "vdd", Kind: domainxml.DiskPool, Source: "other/db1"}, Volume: &doctor.Volume{Unknown: "there is no pool other"}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, xml := range map[string][]byte{"none": nil, "what is not packed": []byte("<domain/>")} {
		if got := examined(&fsm.VM{Name: "db1", XML: xml}, known.of(name, xml), everywhereNFS{}); got.Unread == "" || len(got.Disks) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Of a heartbeat volume the doctor is told what it is on and by which ways.
func TestWhatTheDoctorIsToldOfHeartbeatVolumes(t *testing.T) {
	got := heartbeats([]api.VolumeReport{{Name: "nas", Path: "/srv/hb", Server: "192.0.2.1,192.0.2.2"}, {Name: "san", Path: "/dev/mapper/hb"}}, everywhereNFS{})
	want := []doctor.Heartbeat{{Name: "nas", Path: "/srv/hb", Type: "nfs4", Servers: []string{"192.0.2.1", "192.0.2.2"}},
		{Name: "san", Path: "/dev/mapper/hb", Type: "nfs4", Multipath: &doctor.Multipath{Paths: 2, Working: 1}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A definition is parsed once, and again when it has changed.
func TestDefinitionsAreParsedOnce(t *testing.T) {
	pack := func(mode string) []byte {
		packed, err := fsm.PackXML("<domain type='kvm'><name>db1</name><uuid>3b1c2a44-0d6f-4a58-9f0e-7a1d2c3b4e5f</uuid><memory>1</memory><cpu mode='" + mode + "'/><devices><disk type='file'><source file='/srv/db1'/><target dev='vda'/></disk></devices></domain>")
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	var x definitions
	first := pack("host-model")
	one, again := x.of("u", first), x.of("u", bytes.Clone(first))
	if len(one.Disks) != 1 || &one.Disks[0] != &again.Disks[0] {
		t.Error("the same definition was parsed twice")
	}
	if got := x.of("u", pack("host-passthrough")); got.CPUMode != "host-passthrough" {
		t.Errorf("after a change it is still %q", got.CPUMode)
	}
	x.keep(map[string]*fsm.VM{"u": {}})
	if len(x.all) != 1 {
		t.Error("one that is protected was forgotten")
	}
	if x.keep(nil); len(x.all) != 0 {
		t.Error("one that is not protected any more was kept")
	}
}
