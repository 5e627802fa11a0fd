package volumes

import (
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/mounts"
	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
)

// kindOf is the kind of a volume in a file there.
func kindOf(m *mounts.Mount) string {
	if m.Type == "nfs" || m.Type == "nfs4" {
		return choice.KindNFS
	}
	return choice.KindOther
}

// serverOf is the file server of a network file system, and whether it is one.
func serverOf(m *mounts.Mount) (name string, network bool) {
	switch m.Type {
	case "nfs", "nfs4", "cifs", "smb3":
		if a := option(m, "addr"); a != "" {
			return a, true
		}
	case "ceph":
		if a := option(m, "mon_addr"); a != "" {
			return strings.ReplaceAll(a, "/", ","), true
		}
	case "fuse.glusterfs", "fuse.ceph", "fuse.sshfs", "lustre", "afs", "9p", "virtiofs":
	default:
		return "", false
	}
	if share, is := strings.CutPrefix(m.Source, "//"); is {
		name, _, _ = strings.Cut(share, "/")
		return name, true
	}
	if name, _, is := strings.Cut(m.Source, ":/"); is {
		return strings.Trim(name, "[]"), true
	}
	return "", true
}

func option(m *mounts.Mount, name string) string {
	for _, o := range m.Options {
		if v, is := strings.CutPrefix(o, name+"="); is {
			return v
		}
	}
	return ""
}
