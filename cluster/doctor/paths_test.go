package doctor

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What one fault takes together is told, and as a note where links are to spare.
func TestPaths(t *testing.T) {
	net := func(name, address, iface string, below ...string) Network {
		return Network{Name: name, Address: address + ".7", Prefix: address + ".0/24", Interface: iface, Below: below}
	}
	bonded := func(n Network, monitored bool, up ...string) Network {
		n.Bonds = append(n.Bonds, Bond{Name: "bond0", Monitored: monitored, Cards: []string{"eth0", "eth1"}, Up: up})
		return n
	}
	mgmt, storage := net("mgmt", "10.0.0", "eth0"), net("storage", "10.1.0", "eth1")
	two := []string{"eth0", "eth1"}
	over := func(networks []Network, server ...string) func(*Facts) {
		return func(f *Facts) {
			f.Networks, f.Heartbeats = networks, []Heartbeat{{Name: "hb1", Path: "/srv/hb", Type: "nfs4", Servers: server}}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*Facts)
		want   string
	}{
		{"two cards", func(f *Facts) { f.Networks = []Network{mgmt, storage} }, ""},
		{"one interface with two addresses", func(f *Facts) { f.Networks = []Network{mgmt, net("storage", "10.1.0", "eth0")} }, "warning networks_share_path kvm1\n"},
		{"two VLANs of one card", func(f *Facts) {
			f.Networks = []Network{net("mgmt", "10.0.0", "eth0.1", "eth0"), net("storage", "10.1.0", "eth0.2", "eth0")}
		}, "warning networks_share_path kvm1\n"},
		{"a bridge and its port", func(f *Facts) {
			f.Networks = []Network{net("mgmt", "10.0.0", "br0", "eth0"), net("storage", "10.1.0", "eth0")}
		}, "warning networks_share_path kvm1\n"},
		{"three on one card are one finding", func(f *Facts) { f.Networks = []Network{mgmt, net("b", "10.1.0", "eth0"), net("c", "10.2.0", "eth0")} }, "warning networks_share_path kvm1\n"},
		{"two VLANs of a bond that looks after its links", func(f *Facts) {
			f.Networks = []Network{bonded(net("mgmt", "10.0.0", "bond0.1", "bond0", "eth0", "eth1"), true, two...), bonded(net("storage", "10.1.0", "bond0.2", "bond0", "eth0", "eth1"), true, two...)}
		}, "info networks_share_path kvm1\n"},
		{"two VLANs of a bond that does not", func(f *Facts) {
			f.Networks = []Network{bonded(net("mgmt", "10.0.0", "bond0.1", "bond0", "eth0", "eth1"), false, two...), bonded(net("storage", "10.1.0", "bond0.2", "bond0", "eth0", "eth1"), false, two...)}
		}, "warning bond_unmonitored kvm1\nwarning networks_share_path kvm1\n"},
		{"a bond with one link", func(f *Facts) {
			f.Networks = []Network{bonded(net("mgmt", "10.0.0", "bond0", "eth0", "eth1"), true, "eth1"), net("storage", "10.1.0", "eth2")}
		}, "warning bond_single kvm1\n"},
		{"a bond, and a card of its own", func(f *Facts) {
			f.Networks = []Network{bonded(net("mgmt", "10.0.0", "bond0", "eth0", "eth1"), true, two...), net("storage", "10.1.0", "eth2")}
		}, ""},
		{"both on the host itself", func(f *Facts) { f.Networks = []Network{net("mgmt", "127.0.0", "lo"), net("storage", "127.0.1", "lo")} }, ""},
		{"the demonstration", func(f *Facts) { f.Embedded, f.Networks = true, []Network{mgmt, net("storage", "10.1.0", "eth0")} }, ""},

		{"a volume elsewhere", over([]Network{mgmt, storage}, "10.9.0.1"), ""},
		{"a volume over one of two networks", over([]Network{mgmt, storage}, "10.1.0.1"), "info volume_over_ha_network kvm1\n"},
		{"a volume over the only network", over([]Network{mgmt}, "10.0.0.1"), "warning volume_over_ha_network kvm1\ninfo network_single kvm1\n"},
		{"a volume over one of two networks that share a card", over([]Network{mgmt, net("storage", "10.1.0", "eth0.2", "eth0")}, "10.1.0.1"),
			"warning volume_over_ha_network kvm1\nwarning networks_share_path kvm1\n"},
		{"a volume over both", over([]Network{mgmt, storage}, "10.0.0.1", "10.1.0.1"), "warning volume_over_ha_network kvm1\n"},
		{"a volume that has another way too", over([]Network{mgmt, storage}, "10.1.0.1", "10.9.0.1"), ""},
		{"a server by its name", over([]Network{mgmt}, "nas"), "info network_single kvm1\n"},
		{"nobody knows the server", over([]Network{mgmt, storage}), ""},
		{"CIFS", func(f *Facts) { f.Heartbeats = []Heartbeat{{Name: "hb1", Path: "/srv/hb", Type: "cifs"}} }, "warning volume_on_cifs kvm1\n"},
		{"a single path", func(f *Facts) {
			f.Heartbeats = []Heartbeat{{Name: "hb1", Path: "/dev/mapper/hb", Type: DeviceType, Multipath: &Multipath{Paths: 2, Working: 1}}}
		}, "warning volume_single_path kvm1\n"},
		{"two paths", func(f *Facts) {
			f.Heartbeats = []Heartbeat{{Name: "hb1", Path: "/dev/mapper/hb", Type: DeviceType, Multipath: &Multipath{Paths: 2, Working: 2}}}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := well("kvm1")
			tt.change(&f)
			r := Examine([]Facts{f})
			if diff := cmp.Diff(tt.want, text(r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, f := range r.Findings {
				t.Log(f.Text)
			}
		})
	}
}
