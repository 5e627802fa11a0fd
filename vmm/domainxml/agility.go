package domainxml

import (
	"fmt"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"
)

// Effect is what a tie between a VM and its host does to a VM that is to run elsewhere.
type Effect string

const (
	// Bound: it cannot run on another host.
	Bound Effect = "bound"
	// Loses: it runs elsewhere, without something that stays behind.
	Loses Effect = "loses"
	// NotLive: it can be started elsewhere, and not moved there while it runs.
	NotLive Effect = "not_live"
)

// TieKind groups ties for people.
type TieKind string

// What ties a VM to its host.
const (
	TieDisk       TieKind = "disk"
	TieCD         TieKind = "cdrom"
	TieDevice     TieKind = "device" // of the host, handed to the guest
	TieNVRAM      TieKind = "nvram"
	TieTPM        TieKind = "tpm"
	TieNetwork    TieKind = "network"
	TieCPU        TieKind = "cpu"
	TieCache      TieKind = "cache"
	TieFile       TieKind = "file" // that it boots from or shares with its host
	TieFilesystem TieKind = "filesystem"
)

// Tie is one thing that ties a VM to the host that it is on.
type Tie struct {
	Kind   TieKind
	Effect Effect
	// What is the thing: a path, a device's address, a network.
	What string
	// Device is the word for a device of the host that could be exchanged for another like it
	// (Devices); empty: it is none.
	Device string
	// Text says in words what it is and what follows.
	Text string
}

// Path is a file, directory or device of the host that a VM needs to start.
type Path struct {
	Kind   TieKind
	Effect Effect // if it is not on shared storage
	Path   string
	// Text says what it is to the VM, such as "disk vda".
	Text string
}

// NetworkKind is a way to connect to a network of the host.
type NetworkKind string

const (
	BridgeNetwork  NetworkKind = "bridge"  // a bridge, by name
	LibvirtNetwork NetworkKind = "network" // a network of libvirt, by name
	DirectNetwork  NetworkKind = "device"  // a network interface of the host, by name (macvtap)
)

// Network is a network that a VM needs to start.
type Network struct {
	Kind NetworkKind
	Name string
}

func (n Network) String() string { return string(n.Kind) + ":" + n.Name }

// Needs is what a definition asks of the host that runs it.
type Needs struct {
	Definition
	// Overhead is what QEMU takes beside the guest's memory, bytes: an allowance, and
	// the memory of video adapters.
	Overhead uint64
	// HugePages is the guest's memory in huge pages, bytes by the size of a page in KiB;
	// 0 stands for the host's default size.
	HugePages map[uint64]uint64
	// HighestCPU is the highest number of a host's processor that it is pinned to; -1: none.
	HighestCPU int

	// Type is the virtualization, such as "kvm"; Arch and Machine are the guest's.
	Type, Arch, Machine string
	Emulator            string // path; empty: the host's choice
	// CPUMode is "custom", "host-model", "host-passthrough" or empty; CPUModel is the model of a custom one.
	CPUMode, CPUModel string
	// CPUFeatures are those without which the guest must not start.
	CPUFeatures []string

	Paths    []Path
	Pools    []string // storage pools of libvirt that its disks are in
	Remote   []string // disks that it reaches over the network by itself, such as rbd:vms/db1
	Networks []Network

	ties []Tie
	// unchecked: nothing is asked of the processor; reduced: some features of its model are switched off.
	unchecked, reduced bool
}

// baseOverhead is the allowance for QEMU itself, bytes.
const baseOverhead = 64 << 20

// ParseNeeds reads what a definition asks of a host. Errors are those of Parse.
func ParseNeeds(text string) (*Needs, error) {
	d, err := Parse(text)
	if err != nil {
		return nil, err
	}
	var x libvirtxml.Domain
	if err := x.Unmarshal(text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	n := &Needs{Definition: d, Overhead: baseOverhead, Type: x.Type, HighestCPU: -1}
	n.platform(&x)
	n.memory(&x)
	n.pins(&x)
	if l := x.Devices; l != nil {
		n.Emulator = l.Emulator
		n.disks(l.Disks)
		n.interfaces(l.Interfaces)
		n.hostDevices(l)
		n.otherDevices(l)
	}
	slices.Sort(n.Pools)
	n.Pools = slices.Compact(n.Pools)
	slices.SortFunc(n.Networks, func(a, b Network) int { return strings.Compare(a.String(), b.String()) })
	n.Networks = slices.Compact(n.Networks)
	return n, nil
}

// Ties lists everything that ties the VM to the host it is on, in the order of the
// definition's parts. shared says whether a path is on storage that other hosts have
// under the same path.
func (n *Needs) Ties(shared func(path string) bool) []Tie {
	var all []Tie
	for _, p := range n.Paths {
		if !shared(p.Path) {
			follows := "no other host has it"
			if p.Effect == Loses {
				follows = "it stays behind when the VM starts elsewhere"
			}
			all = append(all, Tie{Kind: p.Kind, Effect: p.Effect, What: p.Path,
				Text: fmt.Sprintf("%s: %s is not on shared storage; %s", p.Text, p.Path, follows)})
		}
	}
	return append(all, n.ties...)
}

// tie notes what does not depend on where a path is.
func (n *Needs) tie(kind TieKind, effect Effect, what, format string, args ...any) {
	n.ties = append(n.ties, Tie{Kind: kind, Effect: effect, What: what, Text: fmt.Sprintf(format, args...)})
}

func (n *Needs) path(kind TieKind, effect Effect, path, format string, args ...any) {
	if path != "" {
		n.Paths = append(n.Paths, Path{Kind: kind, Effect: effect, Path: path, Text: fmt.Sprintf(format, args...)})
	}
}

// disks reads disks, CDs and floppies with their backing files.
func (n *Needs) disks(list []libvirtxml.DomainDisk) {
	for i := range list {
		d := &list[i]
		name := "?"
		if d.Target != nil && d.Target.Dev != "" {
			name = d.Target.Dev
		}
		kind, what := TieDisk, "disk "+name
		switch d.Device {
		case "cdrom":
			kind, what = TieCD, "the CD in "+name
		case "floppy":
			kind, what = TieCD, "the floppy in "+name
		}
		if d.Source == nil {
			continue // an empty drive
		}
		if p := d.Source.StartupPolicy; kind == TieCD && (p == "optional" || p == "requisite") {
			continue // it starts without it where it is missing
		}
		n.source(kind, what, d.Source)
		for b := d.BackingStore; b != nil; b = b.BackingStore {
			if b.Source != nil {
				n.source(kind, what+"'s backing image", b.Source)
			}
		}
		// Other modes write what the guest asked to have written before they say so.
		if d.Driver != nil && d.Driver.Cache == "unsafe" && kind == TieDisk && d.ReadOnly == nil {
			n.tie(TieCache, Loses, name,
				"disk %s has cache=unsafe: when the host dies, what the guest had flushed may be missing, and the disk damaged", name)
		}
	}
}

func (n *Needs) source(kind TieKind, what string, s *libvirtxml.DomainDiskSource) {
	switch {
	case s.File != nil:
		n.path(kind, Bound, s.File.File, "%s", what)
	case s.Block != nil:
		n.path(kind, Bound, s.Block.Dev, "%s", what)
	case s.Dir != nil:
		n.path(kind, Bound, s.Dir.Dir, "%s", what)
	case s.Volume != nil && s.Volume.Pool != "":
		n.Pools = append(n.Pools, s.Volume.Pool)
	case s.Network != nil:
		local := ""
		for _, h := range s.Network.Hosts {
			if h.Transport == "unix" {
				local = h.Socket
			}
			if h.Name == "localhost" || strings.HasPrefix(h.Name, "127.") || h.Name == "::1" {
				local = h.Name
			}
		}
		name := s.Network.Protocol + ":" + s.Network.Name
		if local != "" {
			n.tie(kind, Bound, name, "%s is served by the host itself (%s over %s): no other host has it", what, name, local)
			return
		}
		n.Remote = append(n.Remote, name)
	case s.NVME != nil:
		address := "?"
		if s.NVME.PCI != nil {
			address = pciText(s.NVME.PCI.Address)
		}
		n.tie(kind, Bound, address, "%s is the host's own NVMe device %s", what, address)
	case s.VHostUser != nil:
		n.tie(kind, Bound, what, "%s is served by a process of the host (vhost-user)", what)
	case s.VHostVDPA != nil:
		n.tie(kind, Bound, s.VHostVDPA.Dev, "%s is the host's own device %s (vDPA)", what, s.VHostVDPA.Dev)
	}
}

// interfaces reads network interfaces.
func (n *Needs) interfaces(list []libvirtxml.DomainInterface) {
	for i := range list {
		x := &list[i]
		if x.Source == nil {
			continue
		}
		who := fmt.Sprintf("network interface %d", i+1)
		if x.MAC != nil && x.MAC.Address != "" {
			who = "network interface " + x.MAC.Address
		}
		network := func(kind NetworkKind, name string) {
			if name != "" {
				n.Networks = append(n.Networks, Network{kind, name})
			}
		}
		switch s := x.Source; {
		case s.Bridge != nil:
			network(BridgeNetwork, s.Bridge.Bridge)
		case s.Network != nil:
			network(LibvirtNetwork, s.Network.Network)
		case s.Direct != nil:
			network(DirectNetwork, s.Direct.Dev)
		case s.Hostdev != nil:
			what := "?"
			if s.Hostdev.PCI != nil {
				what = pciText(s.Hostdev.PCI.Address)
			}
			n.tie(TieNetwork, Bound, what, "%s is the host's own device %s, handed to the guest", who, what)
			if s.Hostdev.PCI != nil && s.Hostdev.PCI.Address != nil {
				n.exchangeable(pciWord + what)
			}
		case s.VDPA != nil:
			n.tie(TieNetwork, Bound, s.VDPA.Device, "%s is the host's own device %s (vDPA)", who, s.VDPA.Device)
		case s.VHostUser != nil:
			n.tie(TieNetwork, Bound, who, "%s is served by a process of the host (vhost-user)", who)
		case s.Internal != nil:
			n.tie(TieNetwork, Loses, s.Internal.Name, "%s is on a network inside its host: elsewhere it reaches nobody of it", who)
		}
	}
}

// hostDevices reads what is handed through to the guest.
func (n *Needs) hostDevices(l *libvirtxml.DomainDeviceList) {
	for i := range l.Hostdevs {
		h := &l.Hostdevs[i]
		switch {
		case h.SubsysPCI != nil:
			what := "?"
			if h.SubsysPCI.Source != nil {
				what = pciText(h.SubsysPCI.Source.Address)
			}
			n.tie(TieDevice, Bound, what, "PCI device %s of the host is handed to the guest", what)
			if what != "?" {
				n.exchangeable(pciWord + what)
			}
		case h.SubsysUSB != nil:
			s := h.SubsysUSB.Source
			if s != nil && s.StartUpPolicy == "optional" {
				continue
			}
			what := usbText(s)
			n.tie(TieDevice, Bound, what, "USB device %s of the host is handed to the guest", what)
			if s != nil && s.Address == nil && s.Vendor != nil && s.Product != nil {
				n.exchangeable(usbDevice(s.Vendor.ID, s.Product.ID))
			}
		case h.SubsysMDev != nil:
			what := "?"
			if s := h.SubsysMDev.Source; s != nil && s.Address != nil {
				what = s.Address.UUID
			}
			n.tie(TieDevice, Bound, what, "mediated device %s of the host (a virtual GPU, mostly) is handed to the guest", what)
			if what != "?" {
				n.exchangeable(mdevWord + strings.ToLower(what))
			}
		case h.SubsysSCSI != nil:
			s := h.SubsysSCSI.Source
			if s != nil && s.ISCSI != nil {
				n.Remote = append(n.Remote, "iscsi:"+s.ISCSI.Name)
				continue
			}
			n.tie(TieDevice, Bound, "scsi", "a SCSI device of the host is handed to the guest")
		case h.SubsysSCSIHost != nil:
			n.tie(TieDevice, Bound, "scsi_host", "a SCSI adapter of the host is handed to the guest (vhost)")
		default:
			n.tie(TieDevice, Bound, "hostdev", "a device of the host is handed to the guest")
		}
	}
}

// exchangeable notes of the newest tie that its device could be exchanged.
func (n *Needs) exchangeable(word string) { n.ties[len(n.ties)-1].Device = word }

func pciText(a *libvirtxml.DomainAddressPCI) string {
	if a == nil {
		return "?"
	}
	v := func(p *uint) uint {
		if p == nil {
			return 0
		}
		return *p
	}
	return fmt.Sprintf("%04x:%02x:%02x.%x", v(a.Domain), v(a.Bus), v(a.Slot), v(a.Function))
}

func usbText(s *libvirtxml.DomainHostdevSubsysUSBSource) string {
	switch {
	case s == nil:
		return "?"
	case s.Vendor != nil && s.Product != nil:
		return strings.TrimPrefix(s.Vendor.ID, "0x") + ":" + strings.TrimPrefix(s.Product.ID, "0x")
	case s.Address != nil && s.Address.Bus != nil && s.Address.Device != nil:
		return fmt.Sprintf("bus %d device %d", *s.Address.Bus, *s.Address.Device)
	}
	return "?"
}
