package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// DeviceType is the Place.Type of what is a device, and in no file system.
const DeviceType = "device"

// alone are the file systems that one host mounts at a time, or that it would not
// survive otherwise.
var alone = []string{"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs",
	"tmpfs", "ramfs", "overlay", "devtmpfs", "vfat", "squashfs", "rootfs", "bcachefs"}

// Alone reports whether other hosts cannot have what is there.
func (p Place) Alone() bool { return slices.Contains(alone, p.Type) }

// Remote reports whether looking for a path there can wait for another machine.
func (p Place) Remote() bool { return !p.Alone() && p.Type != DeviceType }

// locks says how far a lock by fcntl on a file there reaches. That is what QEMU and
// virtlockd use.
func (p Place) locks() Lock {
	off := func(option string) Lock {
		return Lock{Host, fmt.Sprintf("%s is mounted with %s there, which keeps locks on the host", p.Source, option)}
	}
	has := func(names ...string) string {
		for _, o := range p.Options {
			if slices.Contains(names, o) {
				return o
			}
		}
		return ""
	}
	switch t := p.Type; {
	case t == "":
		return Lock{Unknown, "which file system it is on is not known"}
	case t == DeviceType:
		return Lock{Host, "a lock on a block device is the host's own"}
	case p.Alone():
		return Lock{Host, "it is on a file system of one host (" + t + ")"}
	case t == "nfs" || t == "nfs4":
		if o := has("nolock", "local_lock=all", "local_lock=posix"); o != "" {
			return off(o)
		}
		return Lock{Holds: Everywhere}
	case t == "gfs2" || t == "ocfs2":
		if o := has("localflocks"); o != "" {
			return off(o)
		}
		if t == "ocfs2" {
			return Lock{Unknown, "ocfs2 passes such locks on with some cluster stacks only"}
		}
		return Lock{Holds: Everywhere}
	case t == "cifs" || t == "smb3":
		if o := has("nobrl", "nolock"); o != "" {
			return off(o)
		}
		return Lock{Holds: Everywhere}
	case t == "lustre":
		if has("flock") == "" {
			return off("no flock option")
		}
		return Lock{Holds: Everywhere}
	case t == "ceph" || t == "fuse.glusterfs" || t == "fuse.ceph" || t == "fuse.ceph-fuse":
		return Lock{Holds: Everywhere}
	}
	return Lock{Unknown, "whether " + p.Type + " passes locks on to other hosts is not known"}
}

// kind is how QEMU reaches the disk on that host, also where a pool of libvirt's is
// between; domainxml.DiskPool where what it is on is not known.
func (d Disk) kind() domainxml.DiskKind {
	if d.Kind == domainxml.DiskPool && d.Volume != nil && d.Volume.Kind != "" {
		return d.Volume.Kind
	}
	return d.Kind
}

// unknownPool is what is known of a disk whose pool is not.
func (d Disk) unknownPool() Lock {
	why := "this host has not said"
	if d.Volume != nil {
		why = d.Volume.Unknown
	}
	return Lock{Unknown, "what its pool is on is not known: " + why}
}

// storage is the place in words.
func (d Disk) storage() string {
	switch d.kind() {
	case domainxml.DiskNetwork:
		source := d.Source
		if d.Volume != nil {
			source = d.Volume.Path
		}
		protocol, _, _ := strings.Cut(source, ":")
		return protocol
	case domainxml.DiskPool:
		pool, _, _ := strings.Cut(d.Source, "/")
		return "libvirt pool " + pool
	case domainxml.DiskOther:
		return "device of the host"
	}
	switch {
	case d.Place.Type == "":
		return "unknown"
	case d.Place.Type == DeviceType:
		return "block device"
	case d.Place.Source != "":
		return d.Place.Type + " " + d.Place.Source
	}
	return d.Place.Type
}

// imageLock says whether QEMU's own lock (file.locking=auto) keeps a second VM off.
func (d Disk) imageLock() Lock {
	switch {
	case d.ReadOnly:
		return Lock{Holds: NotNeeded}
	case d.Shareable:
		return Lock{No, "it is <shareable/>: QEMU lets several VMs write to it"}
	case d.kind() == domainxml.DiskNetwork:
		return Lock{No, "QEMU locks files alone, and reaches this by " + d.storage()}
	case d.kind() == domainxml.DiskPool:
		return d.unknownPool()
	case d.kind() == domainxml.DiskOther:
		return Lock{Host, "it is a device of one host"}
	case d.kind() == domainxml.DiskBlock:
		return Lock{Host, "a lock on a block device is the host's own"}
	}
	return d.Place.locks()
}

// managerLock says whether the host's lock manager keeps a second VM off.
func (d Disk) managerLock(l Libvirt, leases int) Lock {
	switch {
	case d.ReadOnly:
		return Lock{Holds: NotNeeded}
	case l.LockManager == "":
		return Lock{No, "libvirt has no lock manager"}
	case leases > 0:
		return Lock{Everywhere, "the definition names leases"}
	case !l.AutoLeases:
		return Lock{No, l.LockManager + " is told to lock leases alone (auto_disk_leases), and the definition names none"}
	case d.Shareable:
		return Lock{No, "it is <shareable/>: " + l.LockManager + " lets several VMs write to it"}
	case d.kind() == domainxml.DiskNetwork:
		return Lock{No, l.LockManager + " locks files and block devices, and this is reached by " + d.storage()}
	case l.Lockspace != nil:
		k := l.Lockspace.locks()
		if l.LockManager == "sanlock" && l.Lockspace.Type != "" && !l.Lockspace.Alone() {
			k = Lock{Holds: Everywhere} // it needs storage that hosts share, and no locks of a file system
		}
		if k.Holds != Everywhere {
			k.Why = fmt.Sprintf("%s keeps its locks in %s: %s", l.LockManager, l.Lockspace.Path, k.Why)
		}
		return k
	case d.kind() == domainxml.DiskPool:
		return d.unknownPool()
	case d.kind() == domainxml.DiskBlock && l.OtherLockspaces:
		return Lock{Unknown, l.LockManager + " has a directory for locks of LVM volumes or SCSI disks, and whether this is one was not looked up"}
	case d.kind() == domainxml.DiskBlock || d.kind() == domainxml.DiskOther:
		return Lock{Host, l.LockManager + " has no directory for locks of block devices that hosts share (file_lockspace_dir)"}
	}
	return d.Place.locks()
}

// writesLate reports whether the kernel can still write to the disk after the VM's
// process is gone: whatever mode goes through the page cache leaves pages there that
// were not written yet. What QEMU reaches over the network by itself has its cache in
// the process.
func (d Disk) writesLate() bool {
	if d.ReadOnly || d.kind() == domainxml.DiskNetwork || d.kind() == domainxml.DiskOther {
		return false
	}
	return d.Cache != "none" && d.Cache != "directsync"
}

// cache is the mode in a word.
func (d Disk) cache() string {
	if d.Cache == "" {
		return "default"
	}
	return d.Cache
}
