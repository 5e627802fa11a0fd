package look

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
)

// maxBelow bounds how many devices may stand upon one another.
const maxBelow = 8

// below finds what the interface of a network stands on.
func (l *reader) below(n *doctor.Network) {
	if n.Interface == "" {
		return
	}
	seen := map[string]bool{}
	var walk func(name string, depth int)
	walk = func(name string, depth int) {
		if seen[name] || depth > maxBelow {
			return
		}
		seen[name] = true
		if name != n.Interface {
			n.Below = append(n.Below, name)
		}
		if l.exists("/sys/class/net/" + name + "/device") {
			n.NICs = append(n.NICs, name)
		}
		if text := l.read("/proc/net/bonding/" + name); text != "" {
			n.Bonds = append(n.Bonds, bond(name, text))
		}
		lower, _ := filepath.Glob(l.path("/sys/class/net/"+name) + "/lower_*") // the pattern is right
		for _, path := range lower {
			walk(strings.TrimPrefix(filepath.Base(path), "lower_"), depth+1)
		}
	}
	walk(n.Interface, 0)
	n.Below = slices.DeleteFunc(n.Below, func(name string) bool { return l.guests(name) })
	slices.Sort(n.Below)
	slices.Sort(n.NICs)
}

// guests reports whether a device is a guest's end in a bridge: no way to another host.
func (l *reader) guests(name string) bool {
	return l.exists("/sys/class/net/" + name + "/tun_flags")
}

// bond reads what the kernel says of one.
func bond(name, text string) doctor.Bond {
	b := doctor.Bond{Name: name}
	card := ""
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		switch key, value = strings.TrimSpace(key), strings.TrimSpace(value); {
		case (key == "MII Polling Interval (ms)" || key == "ARP Polling Interval (ms)") && value != "0":
			b.Monitored = true
		case key == "Slave Interface":
			card = value
			b.Cards = append(b.Cards, card)
		case key == "MII Status" && card != "" && value == "up":
			b.Up = append(b.Up, card)
		}
	}
	return b
}

// Multipath says how many ways lead to a device; nil where the path is no multipath device's.
// The storage is not asked: what counts is what the kernel has of it.
func (h *Host) Multipath(path string) *doctor.Multipath {
	if !strings.HasPrefix(path, "/dev/") {
		return nil
	}
	dev := filepath.Join("/", h.Root, path)
	if real, err := filepath.EvalSymlinks(dev); err == nil {
		dev = real
	}
	text := func(file string) string {
		b, _ := os.ReadFile(file) // one that is not there says nothing
		return strings.TrimSpace(string(b))
	}
	dir := filepath.Join("/", h.Root, "/sys/class/block", filepath.Base(dev))
	if _, err := os.Stat(dir); err != nil { // a node of its own below /dev/mapper, where udev makes no links
		named, _ := filepath.Glob(filepath.Join("/", h.Root, "/sys/class/block/dm-*"))
		i := slices.IndexFunc(named, func(d string) bool { return text(d+"/dm/name") == filepath.Base(dev) })
		if i < 0 {
			return nil
		}
		dir = named[i]
	}
	return multipath(dir, text, 0)
}

// multipath looks through partitions and logical volumes of one device for what is below.
func multipath(dir string, text func(string) string, depth int) *doctor.Multipath {
	slaves, _ := filepath.Glob(dir + "/slaves/*")
	if strings.HasPrefix(text(dir+"/dm/uuid"), "mpath-") {
		m := &doctor.Multipath{Paths: len(slaves)}
		for _, s := range slaves {
			if state := text(s + "/device/state"); state == "" || state == "running" || state == "live" {
				m.Working++
			}
		}
		return m
	}
	if len(slaves) != 1 || depth > maxBelow {
		return nil
	}
	real, err := filepath.EvalSymlinks(slaves[0])
	if err != nil {
		return nil
	}
	return multipath(real, text, depth+1)
}
