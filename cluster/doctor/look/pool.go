package look

import (
	"fmt"
	"path"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// poolFiles is where libvirt keeps the definitions of its pools.
const poolFiles = "/etc/libvirt/storage"

// Volume says what a volume of one of libvirt's pools is, by the pool's definition.
// libvirt is not asked: a pool on storage that hangs would keep the answer. A pool that
// was made without a definition is not known.
func (h *Host) Volume(pool, volume string) doctor.Volume {
	unknown := func(format string, args ...any) doctor.Volume {
		return doctor.Volume{Unknown: fmt.Sprintf(format, args...)}
	}
	if pool == "" || strings.ContainsAny(pool, "/\x00") || volume == "" {
		return unknown("%q is no volume of a pool", pool+"/"+volume)
	}
	f := doctor.Facts{}
	l := &reader{host: h, facts: &f}
	text := l.read(path.Join(poolFiles, pool+".xml"))
	if text == "" {
		if len(f.Unread) > 0 {
			return unknown("%s", f.Unread[0])
		}
		return unknown("there is no pool %s in %s", pool, poolFiles)
	}
	var p libvirtxml.StoragePool
	if err := p.Unmarshal(text); err != nil {
		return unknown("read the definition of pool %s: %v", pool, err)
	}
	kind, protocol := poolKind(p.Type)
	switch {
	case kind == "":
		return unknown("pool %s is of type %q", pool, p.Type)
	case kind == domainxml.DiskNetwork:
		name := p.Name
		if p.Source != nil && p.Source.Name != "" {
			name = p.Source.Name
		}
		return doctor.Volume{Kind: kind, Path: protocol + ":" + name + "/" + volume}
	case p.Target == nil || !path.IsAbs(p.Target.Path):
		return unknown("the definition of pool %s has no target path", pool)
	}
	return doctor.Volume{Kind: kind, Path: path.Join(p.Target.Path, volume)}
}

// poolKind is how QEMU reaches what is in a pool of that type, and by which protocol
// where it speaks to the storage itself; empty for types that are not known.
func poolKind(of string) (kind domainxml.DiskKind, protocol string) {
	switch of {
	case "dir", "fs", "netfs", "vstorage":
		return domainxml.DiskFile, ""
	case "logical", "disk", "iscsi", "scsi", "mpath", "zfs":
		return domainxml.DiskBlock, ""
	case "rbd", "gluster", "sheepdog":
		return domainxml.DiskNetwork, of
	case "iscsi-direct":
		return domainxml.DiskNetwork, "iscsi"
	}
	return "", ""
}
