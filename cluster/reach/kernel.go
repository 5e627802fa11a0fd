package reach

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kernel is the system by rtnetlink, in the network namespace of the process.
type kernel struct{}

// look reads interfaces, addresses and the main routing table. A table that changed
// while it was read is an error, to be read again.
func (kernel) look(networks map[string]netip.Addr) (view, error) {
	v := view{links: map[string]Link{}}
	links, err := netlink.LinkList()
	if err != nil {
		return v, fmt.Errorf("list interfaces: %w", err)
	}
	byIndex := map[int]*netlink.LinkAttrs{}
	for _, l := range links {
		byIndex[l.Attrs().Index] = l.Attrs()
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return v, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		attrs := byIndex[a.LinkIndex]
		if !ok || attrs == nil {
			continue
		}
		for name, own := range networks {
			if own.Unmap().WithZone("") == ip.Unmap() {
				v.links[name] = Link{Interface: attrs.Name, Held: true, Up: attrs.RawFlags&unix.IFF_UP != 0, Carrier: attrs.RawFlags&unix.IFF_LOWER_UP != 0}
			}
		}
	}
	var routes []netlink.Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		some, err := netlink.RouteList(nil, family)
		if err != nil {
			return v, fmt.Errorf("list routes: %w", err)
		}
		routes = append(routes, some...)
	}
	v.gateways = gateways(routes, byIndex)
	return v, nil
}

// gateways are those of the default routes, the preferred route first.
func gateways(routes []netlink.Route, byIndex map[int]*netlink.LinkAttrs) []Gateway {
	slices.SortStableFunc(routes, func(a, b netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })
	var all []Gateway
	add := func(ip net.IP, via netlink.Destination, link int) {
		if v, ok := via.(*netlink.Via); ok && ip == nil {
			ip = v.Addr
		}
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return // a route without a gateway, as over a tunnel
		}
		g := Gateway{Addr: addr.Unmap()}
		if attrs := byIndex[link]; attrs != nil {
			g.Interface = attrs.Name
		}
		if g.Addr.Is6() && g.Addr.IsLinkLocalUnicast() {
			g.Addr = g.Addr.WithZone(g.Interface)
		}
		if !slices.ContainsFunc(all, func(x Gateway) bool { return x.Addr == g.Addr }) {
			all = append(all, g)
		}
	}
	for _, r := range routes {
		if !isDefault(r) || r.Type != unix.RTN_UNICAST {
			continue
		}
		add(r.Gw, r.Via, r.LinkIndex)
		for _, hop := range r.MultiPath {
			add(hop.Gw, hop.Via, hop.LinkIndex)
		}
	}
	return all
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && r.Dst.IP.IsUnspecified()
}

// subscribe follows interfaces, addresses and default routes.
func (kernel) subscribe(notify func()) (<-chan struct{}, func(), error) {
	var (
		stop  = make(chan struct{})
		ended = make(chan struct{})
		end   = sync.OnceFunc(func() { close(ended) })
		all   sync.WaitGroup
	)
	lost := func(error) { notify() } // a notice that could not be read is a notice
	links, addrs, routes := make(chan netlink.LinkUpdate), make(chan netlink.AddrUpdate), make(chan netlink.RouteUpdate)
	errLinks := netlink.LinkSubscribeWithOptions(links, stop, netlink.LinkSubscribeOptions{ErrorCallback: lost})
	errAddrs := netlink.AddrSubscribeWithOptions(addrs, stop, netlink.AddrSubscribeOptions{ErrorCallback: lost})
	errRoutes := netlink.RouteSubscribeWithOptions(routes, stop, netlink.RouteSubscribeOptions{ErrorCallback: lost})
	// The library closes a channel when its socket is closed or fails; until then it waits for whoever reads it.
	if errLinks == nil {
		all.Go(func() { drain(links, func(netlink.LinkUpdate) { notify() }); end() })
	}
	if errAddrs == nil {
		all.Go(func() { drain(addrs, func(netlink.AddrUpdate) { notify() }); end() })
	}
	if errRoutes == nil {
		all.Go(func() {
			drain(routes, func(u netlink.RouteUpdate) {
				if isDefault(u.Route) { // a router may change all others many times a second
					notify()
				}
			})
			end()
		})
	}
	closed := func() { close(stop); all.Wait() }
	if err := errors.Join(errLinks, errAddrs, errRoutes); err != nil {
		closed()
		return nil, nil, err
	}
	return ended, closed, nil
}

func drain[T any](ch <-chan T, each func(T)) {
	for x := range ch {
		each(x)
	}
}
