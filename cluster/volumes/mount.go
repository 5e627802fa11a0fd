package volumes

import (
	"strconv"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
)

// mount is one line of /proc/self/mountinfo.
type mount struct {
	number  string // major:minor
	point   string
	fs      string
	source  string
	options []string // of the file system
}

// parseMounts reads /proc/self/mountinfo. Lines that it cannot read are left out.
func parseMounts(text string) []mount {
	var all []mount
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, " - ")
		a, b := strings.Fields(before), strings.Fields(after)
		if !ok || len(a) < 6 || len(b) < 2 {
			continue
		}
		m := mount{number: a[2], point: unescape(a[4]), fs: b[0], source: unescape(b[1])}
		if len(b) > 2 {
			m.options = strings.Split(b[2], ",")
		}
		all = append(all, m)
	}
	return all
}

// unescape undoes what the kernel writes for blanks and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mountOf is what is mounted last where a path leads; nil where nothing is known to be.
func mountOf(mounts []mount, path string) *mount {
	var found *mount
	for i := range mounts {
		m := &mounts[i]
		if path != m.point && m.point != "/" && !strings.HasPrefix(path, m.point+"/") {
			continue
		}
		if found == nil || len(m.point) >= len(found.point) {
			found = m
		}
	}
	return found
}

func (m *mount) kind() string {
	if m.fs == "nfs" || m.fs == "nfs4" {
		return choice.KindNFS
	}
	return choice.KindOther
}

// server is the file server of a network file system, and whether it is one.
func (m *mount) server() (name string, network bool) {
	switch m.fs {
	case "nfs", "nfs4", "cifs", "smb3":
		if a := m.option("addr"); a != "" {
			return a, true
		}
	case "ceph":
		if a := m.option("mon_addr"); a != "" {
			return strings.ReplaceAll(a, "/", ","), true
		}
	case "fuse.glusterfs", "fuse.ceph", "fuse.sshfs", "lustre", "afs", "9p", "virtiofs":
	default:
		return "", false
	}
	if share, is := strings.CutPrefix(m.source, "//"); is {
		name, _, _ = strings.Cut(share, "/")
		return name, true
	}
	if name, _, is := strings.Cut(m.source, ":/"); is {
		return strings.Trim(name, "[]"), true
	}
	return "", true
}

func (m *mount) option(name string) string {
	for _, o := range m.options {
		if v, is := strings.CutPrefix(o, name+"="); is {
			return v
		}
	}
	return ""
}
