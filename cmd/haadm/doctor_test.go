package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// patient is the only host of a cluster, with three VMs on storage of several kinds.
func patient() *apitest.Backend {
	b := apitest.Healthy()
	delete(b.St.Hosts, "kvm1")
	delete(b.St.Hosts, "kvm3")
	disk := func(target string, kind domainxml.DiskKind, source, cache string, place doctor.Place) doctor.Disk {
		return doctor.Disk{Disk: domainxml.Disk{Target: target, Kind: kind, Source: source, Cache: cache}, Place: place}
	}
	nfs := doctor.Place{Type: "nfs4", Source: "nas:/vms", Options: []string{"rw"}}
	b.Said = doctor.Facts{
		Hypervisor: "QEMU 7.2.17, libvirt 9.0.0", Guard: doctor.Guard{Alive: true, Locked: true, RealTime: true}, Watchdog: doctor.Watchdog{State: "none"},
		Clock: doctor.Clock{Source: "tsc", Adjusted: 1.2e-3, Error: 5e-4}, Libvirt: doctor.Libvirt{Hook: true}, Virtual: true,
		VMs: []doctor.VM{
			{UUID: "1", Name: "db1", Owner: b.Me.Name, Disks: []doctor.Disk{disk("vda", domainxml.DiskFile, "/srv/vms/db1.qcow2", "none", nfs), disk("vdb", domainxml.DiskBlock, "/dev/vg/db1", "none", doctor.Place{Type: doctor.DeviceType})}},
			{UUID: "2", Name: "mail", Disks: []doctor.Disk{disk("vda", domainxml.DiskNetwork, "rbd:vms/mail", "writeback", doctor.Place{})}},
			{UUID: "3", Name: "web", Disks: []doctor.Disk{disk("vda", domainxml.DiskFile, "/srv/vms/web.qcow2", "", nfs)}},
		},
	}
	return b
}

// onOneCard is a well host whose networks and heartbeat volume one fault takes together.
func onOneCard() *apitest.Backend {
	b := patient()
	b.Said.Watchdog = doctor.Watchdog{State: "armed", Protects: true, Enduring: true, Counts: true}
	b.Said.Clock.Adjusted, b.Said.Virtual, b.Said.VMs = 0, false, nil
	bond := []doctor.Bond{{Name: "bond0", Cards: []string{"eno1", "eno2"}, Up: []string{"eno1"}}}
	below := []string{"bond0", "eno1", "eno2"}
	b.Said.Networks = []doctor.Network{
		{Name: "mgmt", Address: "10.0.0.2", Prefix: "10.0.0.0/24", Interface: "bond0.10", Below: below, NICs: below[1:], Bonds: bond},
		{Name: "storage", Address: "10.1.0.2", Prefix: "10.1.0.0/24", Interface: "bond0.20", Below: below, NICs: below[1:], Bonds: bond}}
	b.Said.Heartbeats = []doctor.Heartbeat{{Name: "nas", Path: "/srv/vms/.holdfast-heartbeat", Type: "nfs4", Servers: []string{"10.1.0.9"}},
		{Name: "san", Path: "/dev/mapper/hb", Type: doctor.DeviceType, Multipath: &doctor.Multipath{Paths: 2, Working: 1}},
		{Name: "win", Path: "/srv/win/hb", Type: "cifs", Servers: []string{"winbox"}}}
	return b
}

func TestDoctor(t *testing.T) {
	well := patient()
	well.Said.Watchdog = doctor.Watchdog{State: "armed", Protects: true, Enduring: true, Counts: true}
	well.Said.Clock.Adjusted, well.Said.Virtual, well.Said.VMs = 0, false, nil
	name := well.Me.Name
	var b strings.Builder
	for _, tt := range []struct {
		backend *apitest.Backend
		line    string
	}{
		{patient(), "hosts doctor"}, {patient(), "hosts doctor " + name}, {well, "hosts doctor"}, {well, "hosts doctor nobody"}, {apitest.Healthy(), "hosts doctor"},
		{onOneCard(), "hosts doctor"},
	} {
		got := haadm(t, agent(t, tt.backend), nil, strings.Fields(tt.line)...)
		fmt.Fprintf(&b, "$ haadm %s\n%s%sexit %d\n\n", tt.line, got.out, got.errOut, got.code)
	}
	golden(t, "doctor.txt", b.String())
	got := haadm(t, agent(t, patient()), nil, "hosts", "doctor", "-o", "json")
	var a api.DoctorAnswer
	if err := json.Unmarshal([]byte(got.out), &a); err != nil || got.code != exitNo || a.Schema != api.Schema || len(a.Disks) != 4 || len(a.Findings) != 6 {
		t.Errorf("exit %d, %d disks, %d findings (%v): %s%s", got.code, len(a.Disks), len(a.Findings), err, got.out, got.errOut)
	}
}
