package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Bounds of a devices block.
const (
	maxDevicePools = 256
	maxPoolDevices = 256 // of one host
)

// The kinds of devices, as words for them begin ("pci:0000:41:00.0").
const (
	kindPCI  = "pci"
	kindMDev = "mdev"
	kindUSB  = "usb"
)

// Devices is a devices block: devices of hosts of which any does for a VM that has one.
type Devices struct {
	// ID is what each of them, PCI devices, says that it is: VENDOR:PRODUCT; empty: that is not asked.
	ID string `json:"id,omitempty"`
	// Hosts are the devices of each host by its name, in the order in which they are given out, as
	// words for them: "pci:0000:41:00.0", "mdev:UUID", "usb:0529:0001". All are of one kind.
	Hosts map[string][]string `json:"hosts"`
}

func devicesSchema() *block {
	list := func(name, like string, is *regexp.Regexp) attr {
		return attr{name: name, kind: kindList, like: like, check: func(v any) string {
			all := v.([]string)
			if len(all) == 0 || len(all) > maxPoolDevices {
				return fmt.Sprintf("has %d devices; 1 to %d are allowed", len(all), maxPoolDevices)
			}
			for _, s := range all {
				if !is.MatchString(s) {
					return fmt.Sprintf("has %s, but must be %s", quote(s), like)
				}
			}
			return ""
		}}
	}
	return &block{name: "devices", label: "a name for the pool of devices", many: true, labelCheck: badName, attrs: []attr{
		{name: "id", kind: kindString, check: func(v any) string {
			if s := v.(string); !regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{4}$`).MatchString(s) {
				return `must be vendor and product in small hexadecimal letters, such as "10de:1eb8", but is ` + quote(s)
			}
			return ""
		}},
	}, blocks: []*block{{name: "host", label: "the host's name", many: true, labelCheck: badName, attrs: []attr{
		list(kindPCI, `a list of PCI addresses in small hexadecimal letters, such as ["0000:41:00.0"]`,
			regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$`)),
		list(kindMDev, `a list of UUIDs of mediated devices, such as ["c2177883-f1bb-47f0-914d-32a22e3a8804"]`,
			regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)),
		list(kindUSB, `a list of vendors and products of USB devices, such as ["0529:0001"]`, regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{4}$`)),
	}}}}
}

// devices takes the devices blocks over. No device is in two pools, or twice in one.
func (r *report) devices(p *Policy, root *node) {
	first := map[string]string{} // pool by host and device
	for i, n := range root.all("devices") {
		if p.Devices == nil {
			p.Devices = map[string]Devices{}
		}
		if i == maxDevicePools {
			r.add(n.rng, "Too many pools of devices", "A policy has %d devices blocks at most.", maxDevicePools)
		}
		d := Devices{ID: get[string](n, "id"), Hosts: map[string][]string{}}
		kind := ""
		for _, h := range n.all("host") {
			words := 0
			for _, k := range []string{kindPCI, kindMDev, kindUSB} {
				if _, said := h.set[k]; said {
					words++
				}
				for _, s := range get[[]string](h, k) {
					if kind == "" {
						kind = k
					}
					word := k + ":" + s
					at := h.label + " " + word
					switch other, taken := first[at]; {
					case kind != k:
						r.add(h.at(k), "Devices of two kinds in one pool",
							"devices %s has %s devices and, on host %s, %s devices: no VM can have either. Make a pool of each.",
							quote(n.label), kind, quote(h.label), k)
					case taken && other == n.label:
						r.add(h.at(k), "A device twice", "devices %s names %s of host %s twice. Remove one of them.", quote(n.label), s, quote(h.label))
					case taken:
						r.add(h.at(k), "A device in two pools", "%s of host %s is in devices %s and in %s. Remove it from one of them.",
							s, quote(h.label), quote(other), quote(n.label))
					}
					first[at] = n.label
					d.Hosts[h.label] = append(d.Hosts[h.label], word)
				}
			}
			if words == 0 {
				r.add(h.rng, "A host without devices",
					"devices %s names host %s and no device of it. Say which: pci, mdev or usb.", quote(n.label), quote(h.label))
			}
		}
		if len(n.all("host")) == 0 {
			r.add(n.rng, "A pool without hosts",
				"devices %s names no host. Say which devices of which hosts belong to it: host \"NAME\" { pci = [\"0000:41:00.0\"] }",
				quote(n.label))
		}
		if s, ok := n.set["id"]; ok && !s.bad && kind != kindPCI && kind != "" {
			r.add(s.rng, "An id without PCI devices",
				"devices %s has %s devices, which are named by what they are: leave id out.", quote(n.label), kind)
		}
		p.Devices[n.label] = d
	}
}

// DevicePool is the pool that a device of a host is in, by its word; empty: none.
func (p *Policy) DevicePool(host, word string) string {
	for name, d := range p.Devices {
		if slices.Contains(d.Hosts[host], word) {
			return name
		}
	}
	return ""
}

// saidDevices is the block of one host in a devices block.
func saidDevices(words []string) []said {
	var all []said
	for _, k := range []string{kindPCI, kindMDev, kindUSB} {
		var list []string
		for _, w := range words {
			if s, is := strings.CutPrefix(w, k+":"); is {
				list = append(list, s)
			}
		}
		all = append(all, said{k, list, []string(nil)})
	}
	return all
}

func putDevices(open func(kind string, labels ...string) *hclwrite.Body, pools map[string]Devices) {
	for _, name := range sortedKeys(pools) {
		b := open("devices", name)
		putText(b, "id", pools[name].ID)
		for _, host := range sortedKeys(pools[name].Hosts) {
			putSaid(b.AppendNewBlock("host", []string{host}).Body(), saidDevices(pools[name].Hosts[host]))
		}
	}
}

// said is a pool as one line has it: its id, and its devices by host.
func (d Devices) said(hosts []string) []said {
	all := []said{{"id", d.ID, ""}}
	for _, h := range hosts {
		all = append(all, said{"host " + quote(h), d.Hosts[h], []string(nil)})
	}
	return all
}

func (d *differ) devices(a, b map[string]Devices) {
	pairs(a, b, func(name string, before, after *Devices) {
		path := fmt.Sprintf("devices %q", name)
		hosts := map[string]bool{}
		for _, x := range []*Devices{before, after} {
			if x == nil {
				continue
			}
			for h := range x.Hosts {
				hosts[h] = true
			}
		}
		names := sortedKeys(hosts)
		switch {
		case after == nil:
			d.changes = append(d.changes, Change{path, inBraces(before.said(names)), ""})
		case before == nil:
			d.changes = append(d.changes, Change{path, "", inBraces(after.said(names))})
		default:
			d.said(path, before.said(names), after.said(names))
		}
	})
}

func cloneDevices(pools map[string]Devices) map[string]Devices {
	pools = maps.Clone(pools)
	for name, d := range pools {
		d.Hosts = maps.Clone(d.Hosts)
		for h, words := range d.Hosts {
			d.Hosts[h] = slices.Clone(words)
		}
		pools[name] = d
	}
	return pools
}
