package look

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
)

// mount is one line of the kernel's list of mounts.
type mount struct {
	point, kind, source string
	options             []string
}

// mounts is the list as the first process sees it: an agent that systemd shuts off
// has mounts of its own.
func (h *Host) mounts() []mount {
	for _, file := range []string{"/proc/1/mountinfo", "/proc/self/mountinfo"} {
		text, err := os.ReadFile(filepath.Join("/", h.Root, file))
		if err != nil {
			continue
		}
		var all []mount
		for line := range strings.Lines(string(text)) {
			if m, ok := parseMount(line); ok {
				all = append(all, m)
			}
		}
		return all
	}
	return nil
}

// parseMount reads a line of mountinfo (man 5 proc): the point is its fifth field,
// the options of the mount its sixth; behind a hyphen come type, source and the
// options of the file system.
func parseMount(line string) (mount, bool) {
	before, after, ok := strings.Cut(line, " - ")
	f, g := strings.Fields(before), strings.Fields(after)
	if !ok || len(f) < 6 || len(g) < 3 {
		return mount{}, false
	}
	return mount{point: unescape(f[4]), kind: g[0], source: unescape(g[1]), options: strings.Split(f[5]+","+g[2], ",")}, true
}

// unescape undoes the kernel's \040 for a blank and the like.
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

// of is the mount that a path is on; the last one on a point hides those before it.
func of(all []mount, path string) mount {
	var best mount
	for _, m := range all {
		below := m.point == "/" || path == m.point || strings.HasPrefix(path, m.point+"/")
		if below && len(m.point) >= len(best.point) {
			best = m
		}
	}
	return best
}

// maxLinks is how many symbolic links in a path are followed.
const maxLinks = 40

// Place says what a path is on. Symbolic links are followed, and the path itself is
// looked for, only as far as that cannot hang.
func (h *Host) Place(path string) doctor.Place {
	p, _ := place(h, path)
	return p
}

// Has says whether there is something under a path; mounted asks that it is on a file
// system of its own, and not the root's. It is true where that cannot be told. A path
// on a file system that could hang is taken to be there while that is mounted.
func (h *Host) Has(path string, mounted bool) bool {
	p, point := place(h, path)
	return p.Type == "" || !p.Missing && (!mounted || point != "/")
}

// place also tells where the file system is mounted that the path is on.
func place(h *Host, path string) (p doctor.Place, point string) {
	p = doctor.Place{Path: path}
	all := h.mounts()
	if !filepath.IsAbs(path) || len(all) == 0 {
		return p, ""
	}
	at, rest := "/", strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	for links := 0; ; {
		m := of(all, at)
		p.Type, p.Source, p.Options, point = m.kind, m.source, m.options, m.point
		if m.kind == "devtmpfs" {
			p.Type, p.Source, p.Options = doctor.DeviceType, "", nil
		}
		if p.Remote() {
			// What is below may be mounted elsewhere again, which the list of mounts tells.
			full := filepath.Join(append([]string{at}, rest...)...)
			if m := of(all, full); m.point != of(all, at).point {
				p.Type, p.Source, p.Options, point = m.kind, m.source, m.options, m.point
			}
			return p, point
		}
		info, err := os.Lstat(filepath.Join("/", h.Root, at))
		if errors.Is(err, fs.ErrNotExist) {
			p.Missing = true
			return p, point
		}
		if err == nil && info.Mode()&fs.ModeSymlink != 0 && links < maxLinks {
			target, err := os.Readlink(filepath.Join("/", h.Root, at))
			if err == nil {
				links++
				if !filepath.IsAbs(target) {
					target = filepath.Join(filepath.Dir(at), target)
				}
				at, rest = "/", append(strings.Split(strings.Trim(filepath.Clean(target), "/"), "/"), rest...)
				continue
			}
		}
		if len(rest) == 0 || len(rest) == 1 && rest[0] == "" {
			if err == nil && info.Mode()&fs.ModeDevice != 0 {
				p.Type, p.Source, p.Options = doctor.DeviceType, "", nil
			}
			return p, point
		}
		at, rest = filepath.Join(at, rest[0]), rest[1:]
	}
}
