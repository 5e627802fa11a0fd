package look

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/cluster/mounts"
)

// mounts is the list as the first process sees it: an agent that systemd shuts off
// has mounts of its own.
func (h *Host) mounts() []mounts.Mount {
	for _, file := range []string{"/proc/1/mountinfo", "/proc/self/mountinfo"} {
		text, err := os.ReadFile(filepath.Join("/", h.Root, file))
		if err != nil {
			continue
		}
		return mounts.Parse(string(text))
	}
	return nil
}

// of is the mount that a path is on; the zero one where none is known.
func of(all []mounts.Mount, path string) mounts.Mount {
	if m := mounts.Of(all, path); m != nil {
		return *m
	}
	return mounts.Mount{}
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
		p.Type, p.Source, p.Options, point = m.Type, m.Source, slices.Concat(m.Here, m.Options), m.Point
		if m.Type == "devtmpfs" {
			p.Type, p.Source, p.Options = doctor.DeviceType, "", nil
		}
		if p.Remote() {
			// What is below may be mounted elsewhere again, which the list of mounts tells.
			full := filepath.Join(append([]string{at}, rest...)...)
			if m := of(all, full); m.Point != of(all, at).Point {
				p.Type, p.Source, p.Options, point = m.Type, m.Source, slices.Concat(m.Here, m.Options), m.Point
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
