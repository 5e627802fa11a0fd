// Package mounts reads the kernel's list of mounts (man 5 proc, mountinfo), which
// tells what a path is on without touching a file system that could hang.
package mounts

import (
	"strconv"
	"strings"
)

// Mount is one line of the list.
type Mount struct {
	Number string // of the device, major:minor
	Point  string // where it is mounted
	Type   string // of the file system, such as "nfs4"
	Source string // what is mounted: a device, or server:/path
	// Here are the options of this mount, Options those of the file system.
	Here, Options []string
}

// Parse reads a list. Lines that it cannot read are left out.
func Parse(text string) []Mount {
	var all []Mount
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 2 {
			continue
		}
		m := Mount{Number: f[2], Point: unescape(f[4]), Type: g[0], Source: unescape(g[1]), Here: strings.Split(f[5], ",")}
		if len(g) > 2 {
			m.Options = strings.Split(g[2], ",")
		}
		all = append(all, m)
	}
	return all
}

// Of is the mount that a path is on, nil where none is known. The last one on a point
// hides those before it.
func Of(all []Mount, path string) *Mount {
	var best *Mount
	for i := range all {
		m := &all[i]
		if path != m.Point && m.Point != "/" && !strings.HasPrefix(path, m.Point+"/") {
			continue
		}
		if best == nil || len(m.Point) >= len(best.Point) {
			best = m
		}
	}
	return best
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
