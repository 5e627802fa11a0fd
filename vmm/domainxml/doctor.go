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

// Disks lists the disks of a definition that have a medium, in its order, and how
// many leases it names (<lease>), which a lock manager of libvirt's takes for the
// whole VM. Backing images are not listed: nobody writes to them. Errors are those
// of Parse.
func Disks(text string) (disks []Disk, leases int, err error) {
	if _, err := Parse(text); err != nil {
		return nil, 0, err
	}
	var x libvirtxml.Domain
	if err := x.Unmarshal(text); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if x.Devices == nil {
		return nil, 0, nil
	}
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
			disks = append(disks, disk)
		}
	}
	return disks, len(x.Devices.Leases), nil
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
