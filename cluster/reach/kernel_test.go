package reach

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestGatewaysOfRoutes(t *testing.T) {
	all := func(cidr string) *net.IPNet {
		_, n, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	route := func(f func(*netlink.Route)) netlink.Route {
		r := netlink.Route{Type: unix.RTN_UNICAST, LinkIndex: 2, Dst: all("0.0.0.0/0"), Gw: net.IPv4(10, 0, 0, 1)}
		f(&r)
		return r
	}
	links := map[int]*netlink.LinkAttrs{2: {Name: "eth0"}, 3: {Name: "eth1"}}
	gw := func(addr, link string) Gateway { return Gateway{Addr: netip.MustParseAddr(addr), Interface: link} }
	for _, tt := range []struct {
		name   string
		routes []netlink.Route
		want   []Gateway
	}{
		{"one", []netlink.Route{route(func(*netlink.Route) {})}, []Gateway{gw("10.0.0.1", "eth0")}},
		{"by nothing for a destination", []netlink.Route{route(func(r *netlink.Route) { r.Dst = nil })}, []Gateway{gw("10.0.0.1", "eth0")}},
		{"no default", []netlink.Route{route(func(r *netlink.Route) { r.Dst = all("0.0.0.0/1") }), route(func(r *netlink.Route) { r.Dst = all("10.0.0.0/8") })}, nil},
		{"unreachable", []netlink.Route{route(func(r *netlink.Route) { r.Type = unix.RTN_UNREACHABLE })}, nil},
		{"over a tunnel", []netlink.Route{route(func(r *netlink.Route) { r.Gw = nil })}, nil},
		{"the preferred first", []netlink.Route{
			route(func(r *netlink.Route) { r.Priority, r.Gw, r.LinkIndex = 600, net.IPv4(10, 1, 0, 1), 3 }),
			route(func(r *netlink.Route) { r.Priority = 100 }),
		}, []Gateway{gw("10.0.0.1", "eth0"), gw("10.1.0.1", "eth1")}},
		{"the same twice", []netlink.Route{route(func(*netlink.Route) {}), route(func(r *netlink.Route) { r.Priority = 100 })}, []Gateway{gw("10.0.0.1", "eth0")}},
		{"several hops", []netlink.Route{route(func(r *netlink.Route) {
			r.Gw, r.MultiPath = nil, []*netlink.NexthopInfo{{LinkIndex: 2, Gw: net.IPv4(10, 0, 0, 1)}, {LinkIndex: 3, Gw: net.IPv4(10, 1, 0, 1)}}
		})}, []Gateway{gw("10.0.0.1", "eth0"), gw("10.1.0.1", "eth1")}},
		{"link-local", []netlink.Route{route(func(r *netlink.Route) { r.Dst, r.Gw = all("::/0"), net.ParseIP("fe80::1") })}, []Gateway{gw("fe80::1%eth0", "eth0")}},
		{"IPv4 by way of IPv6", []netlink.Route{route(func(r *netlink.Route) {
			r.Gw, r.Via = nil, &netlink.Via{AddrFamily: unix.AF_INET6, Addr: net.ParseIP("fd00::1")}
		})}, []Gateway{gw("fd00::1", "eth0")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, gateways(tt.routes, links), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("the gateways differ (-want +got):\n%s", d)
			}
		})
	}
}
