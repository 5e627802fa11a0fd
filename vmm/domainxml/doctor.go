package domainxml

import (
	"fmt"

	"libvirt.org/go/libvirtxml"
)

// DiskKind is how QEMU reaches a disk, which decides what can lock it.
type DiskKind string

// What a disk is to QEMU.
const (
	DiskFile    DiskKind = "file"    // an image in a file system
	DiskBlock   DiskKind = "block"   // a block device of the host
	DiskNetwork DiskKind = "network" // storage that QEMU speaks to itself, such as rbd
	DiskPool    DiskKind = "pool"    // a volume of a pool of libvirt's: a file or a device, as the pool is
	DiskOther   DiskKind = "other"   // a device of the host that no other host has, or one whose kind is not known
)

// Disk is a disk as those see it who would keep two VMs from writing to it.
type Disk struct {
	Target string   `json:"target"` // in the guest, such as "vda"
	Kind   DiskKind `json:"kind"`
	// Source is a path, or PROTOCOL:NAME, or POOL/VOLUME.
	Source string `json:"source"`
	// Cache is the mode as it is written; empty leaves it to QEMU, which takes writeback.
	Cache     string `json:"cache,omitempty"`
	ReadOnly  bool   `json:"read_only,omitempty"`
	Shareable bool   `json:"shareable,omitempty"` // several VMs are meant to write to it
}

// Shared is what of a definition decides whether a VM can harm, or be harmed by, a
// second one of itself elsewhere.
type Shared struct {
	// Disks are those that have a medium, in the definition's order. Backing images are
	// not among them: nobody writes to them.
	Disks []Disk
	// Leases is how many the definition names (<lease>), which a lock manager of
	// libvirt's takes for the whole VM.
	Leases int
	// CPUMode is how the guest's processor is chosen, such as host-passthrough; empty: by QEMU.
	CPUMode string
}

// ParseShared reads that in a definition. Errors are those of Parse.
func ParseShared(text string) (Shared, error) {
	if _, err := Parse(text); err != nil {
		return Shared{}, err
	}
	var x libvirtxml.Domain
	if err := x.Unmarshal(text); err != nil {
		return Shared{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var s Shared
	if x.CPU != nil {
		s.CPUMode = x.CPU.Mode
	}
	if x.Devices == nil {
		return s, nil
	}
	s.Leases = len(x.Devices.Leases)
	for i := range x.Devices.Disks {
		d := &x.Devices.Disks[i]
		disk := Disk{Target: "?", ReadOnly: d.ReadOnly != nil || d.Device == "cdrom", Shareable: d.Shareable != nil}
		if d.Target != nil && d.Target.Dev != "" {
			disk.Target = d.Target.Dev
		}
		if d.Driver != nil {
			disk.Cache = d.Driver.Cache
		}
		if disk.Kind, disk.Source = medium(d.Source); disk.Source != "" {
			s.Disks = append(s.Disks, disk)
		}
	}
	return s, nil
}

// medium is what is in a drive; empty when nothing is.
func medium(s *libvirtxml.DomainDiskSource) (DiskKind, string) {
	switch {
	case s == nil:
		return "", ""
	case s.File != nil:
		return DiskFile, s.File.File
	case s.Block != nil:
		return DiskBlock, s.Block.Dev
	case s.Volume != nil && s.Volume.Pool != "":
		return DiskPool, s.Volume.Pool + "/" + s.Volume.Volume
	case s.Network != nil:
		return DiskNetwork, s.Network.Protocol + ":" + s.Network.Name
	case s.Dir != nil:
		return DiskOther, s.Dir.Dir
	case s.NVME != nil:
		return DiskOther, "nvme"
	case s.VHostUser != nil:
		return DiskOther, "vhost-user"
	case s.VHostVDPA != nil:
		return DiskOther, s.VHostVDPA.Dev
	}
	return "", ""
}
