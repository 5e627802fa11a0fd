package look

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
)

const bonding = `Ethernet Channel Bonding Driver: v6.1.0

Bonding Mode: fault-tolerance (active-backup)
Primary Slave: None
Currently Active Slave: eth0
MII Status: up
MII Polling Interval (ms): 100
Up Delay (ms): 0
Down Delay (ms): 0
Peer Notification Delay (ms): 0

Slave Interface: eth0
MII Status: up
Speed: 10000 Mbps
Permanent HW addr: 52:54:00:00:00:01

Slave Interface: eth1
MII Status: down
Speed: Unknown
Permanent HW addr: 52:54:00:00:00:02
`

// What an interface stands on is read to the cards, with the bonds on the way.
func TestBelow(t *testing.T) {
	files := map[string]string{
		"/sys/class/net/eth0/device/vendor": "x", "/sys/class/net/eth1/device/vendor": "x", "/sys/class/net/eth2/device/vendor": "x",
		"/sys/class/net/bond0/lower_eth0": "-> ../eth0", "/sys/class/net/bond0/lower_eth1": "-> ../eth1", "/sys/class/net/bond0.7/lower_bond0": "-> ../bond0",
		"/sys/class/net/br0/lower_bond0.7": "-> ../bond0.7", "/sys/class/net/br0/lower_vnet0": "-> ../vnet0", "/sys/class/net/vnet0/tun_flags": "0x1002",
		"/sys/class/net/round0/lower_round1": "-> ../round1", "/sys/class/net/round1/lower_round0": "-> ../round0",
		"/proc/net/bonding/bond0": bonding,
	}
	h := &Host{Root: root(t, files)}
	link := doctor.Bond{Name: "bond0", Monitored: true, Cards: []string{"eth0", "eth1"}, Up: []string{"eth0"}}
	for _, tt := range []struct {
		of   string
		want doctor.Network
	}{
		{"eth2", doctor.Network{NICs: []string{"eth2"}}},
		{"bond0", doctor.Network{Below: []string{"eth0", "eth1"}, NICs: []string{"eth0", "eth1"}, Bonds: []doctor.Bond{link}}},
		{"br0", doctor.Network{Below: []string{"bond0", "bond0.7", "eth0", "eth1"}, NICs: []string{"eth0", "eth1"}, Bonds: []doctor.Bond{link}}},
		{"round0", doctor.Network{Below: []string{"round1"}}},
		{"none", doctor.Network{}},
	} {
		t.Run(tt.of, func(t *testing.T) {
			f := doctor.Facts{}
			l := &reader{host: h, facts: &f}
			got := doctor.Network{Interface: tt.of}
			l.below(&got)
			tt.want.Interface = tt.of
			if diff := cmp.Diff(tt.want, got); diff != "" || len(f.Unread) > 0 {
				t.Errorf("unread %q (-want +got):\n%s", f.Unread, diff)
			}
		})
	}
}

func TestBond(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       bool
	}{
		{"by link", "MII Polling Interval (ms): 100\n", true}, {"not at all", "MII Polling Interval (ms): 0\n", false},
		{"by ARP", "MII Polling Interval (ms): 0\nARP Polling Interval (ms): 1000\n", true},
	} {
		if got := bond("bond0", tt.text); got.Monitored != tt.want {
			t.Errorf("%s: monitored is %v, want %v", tt.name, got.Monitored, tt.want)
		}
	}
}

func TestMultipath(t *testing.T) {
	h := &Host{Root: root(t, map[string]string{
		"/dev/dm-3": "", "/dev/mapper/hb": "-> ../dm-3", "/dev/dm-4": "", "/dev/vg/hb": "-> ../dm-4", "/dev/mapper/own": "", "/dev/sdx": "",
		"/sys/class/block/dm-3/dm/uuid": "mpath-3600a0980\n", "/sys/class/block/dm-3/dm/name": "hb\n", "/sys/class/block/sda/device/state": "running\n", "/sys/class/block/sdb/device/state": "offline\n",
		"/sys/class/block/dm-3/slaves/sda": "-> ../../sda", "/sys/class/block/dm-3/slaves/sdb": "-> ../../sdb",
		"/sys/class/block/dm-4/dm/uuid": "LVM-x\n", "/sys/class/block/dm-4/slaves/dm-3": "-> ../../dm-3",
		"/sys/class/block/dm-5/dm/uuid": "mpath-2\n", "/sys/class/block/dm-5/dm/name": "own\n", "/sys/class/block/dm-5/slaves/sda": "-> ../../sda",
		"/sys/class/block/sdx/size": "8",
	})}
	for path, want := range map[string]*doctor.Multipath{
		"/dev/mapper/hb": {Paths: 2, Working: 1}, "/dev/vg/hb": {Paths: 2, Working: 1}, "/dev/mapper/own": {Paths: 1, Working: 1},
		"/dev/sdx": nil, "/dev/gone": nil, "/srv/vm/.hb": nil,
	} {
		if diff := cmp.Diff(want, h.Multipath(path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// The subnet of an address is that of its interface.
func TestPrefixOfANetwork(t *testing.T) {
	h := &Host{Root: t.TempDir(), Networks: map[string]netip.Addr{"mgmt": netip.MustParseAddr("10.0.0.7")}, Interfaces: func() ([]Interface, error) {
		return []Interface{{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/20")}}}, nil
	}}
	if got := h.Facts(t.Context()).Networks[0].Prefix; got != "10.0.0.0/20" {
		t.Errorf("the subnet is %q", got)
	}
}
