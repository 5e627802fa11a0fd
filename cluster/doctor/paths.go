package doctor

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/fsm"
)

// pathFindings tell of HA networks that one fault takes together, and of bonds that do not
// do what a bond is for.
func pathFindings(all []Network, add adder) {
	told := map[string]bool{}
	for _, n := range all {
		for _, b := range n.Bonds {
			if told[b.Name] {
				continue
			}
			told[b.Name] = true
			see := "cat /proc/net/bonding/" + b.Name
			if len(b.Up) < 2 {
				add("bond_single", fsm.Warning, see, "%d of %d cards of %s (network %s) have a link: that takes no fault more",
					len(b.Up), len(b.Cards), b.Name, n.Name)
			}
			if !b.Monitored {
				add("bond_unmonitored", fsm.Warning, see,
					"%s (network %s) does not look whether its links work (miimon and arp_interval are 0): it goes on sending into one that is dead",
					b.Name, n.Name)
			}
		}
	}
	shared := map[string][]string{} // networks by what they have in common
	for i, a := range all {
		for _, b := range all[i+1:] {
			common := a.common(b)
			if len(common) == 0 {
				continue
			}
			key := strings.Join(common, ", ")
			for _, n := range []string{a.Name, b.Name} {
				if !slices.Contains(shared[key], n) {
					shared[key] = append(shared[key], n)
				}
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(shared)) {
		severity, what := fsm.Warning, "they fail together, and count as one"
		if redundant(all, strings.Split(key, ", ")) {
			severity, what = fsm.Info, "a link of it can fail, but a fault of the bond, or of the switches that it depends on, takes all of them"
		}
		add("networks_share_path", severity, "haadm hosts list -o wide", "the HA networks %s go through the same %s: %s",
			strings.Join(shared[key], ", "), key, what)
	}
}

// common are the devices that two networks of a host both go through; none where a
// network is on the host alone, or nobody has its address.
func (n Network) common(o Network) []string {
	if n.onHost() || o.onHost() {
		return nil
	}
	var both []string
	for _, d := range n.devices() {
		if slices.Contains(o.devices(), d) {
			both = append(both, d)
		}
	}
	slices.Sort(both)
	return both
}

func (n Network) devices() []string {
	if n.Interface == "" {
		return nil
	}
	return append([]string{n.Interface}, n.Below...)
}

func (n Network) onHost() bool {
	a, err := netip.ParseAddr(n.Address)
	return err == nil && a.IsLoopback()
}

// redundant reports whether what networks have in common has a bond with links to spare.
func redundant(all []Network, common []string) bool {
	return slices.ContainsFunc(all, func(n Network) bool {
		return slices.ContainsFunc(n.Bonds, func(b Bond) bool { return slices.Contains(common, b.Name) && b.Monitored && len(b.Up) > 1 })
	})
}

// heartbeatFindings tell of heartbeat volumes that fail with a network of heartbeats, or
// whose storage is worth less than it looks.
func heartbeatFindings(f Facts, add adder) {
	for _, v := range f.Heartbeats {
		see := "haadm storage show " + v.Name
		if v.Type == "cifs" || v.Type == "smb3" {
			add("volume_on_cifs", fsm.Warning, see,
				"heartbeat volume %s is in a file on CIFS (%s), with which Holdfast has not been tried: use NFS or a block device",
				v.Name, v.Path)
		}
		if m := v.Multipath; m != nil && m.Working < 2 {
			add("volume_single_path", fsm.Warning, "multipath -ll "+v.Path,
				"%d of %d paths to heartbeat volume %s (%s) work: that takes no fault more", m.Working, m.Paths, v.Name, v.Path)
		}
		if over := v.over(f.Networks); over != nil {
			severity, what := fsm.Warning, "when that fails the volume is lost with it, and no heartbeat is left to tell that the host lives"
			if slices.ContainsFunc(f.Networks, func(o Network) bool {
				return !slices.ContainsFunc(over, func(n Network) bool { return n.Name == o.Name || len(n.common(o)) > 0 })
			}) {
				severity, what = fsm.Info, "that and the volume fail together, and one other network is left then"
			}
			var names []string
			for _, n := range over {
				names = append(names, n.Name)
			}
			add("volume_over_ha_network", severity, see, "heartbeat volume %s is reached over the HA network %s (server %s): %s",
				v.Name, strings.Join(names, ", "), strings.Join(v.Servers, ", "), what)
		}
	}
}

// over are the HA networks in whose subnets the servers of the volume are; nil where
// one of the servers is elsewhere, or is not known by an address.
func (v Heartbeat) over(networks []Network) (all []Network) {
	for _, server := range v.Servers {
		a, err := netip.ParseAddr(server)
		if err != nil {
			return nil
		}
		i := slices.IndexFunc(networks, func(n Network) bool {
			p, err := netip.ParsePrefix(n.Prefix)
			return err == nil && !n.onHost() && p.Contains(a.Unmap())
		})
		if i < 0 {
			return nil
		}
		if !slices.ContainsFunc(all, func(n Network) bool { return n.Name == networks[i].Name }) {
			all = append(all, networks[i])
		}
	}
	return all
}
