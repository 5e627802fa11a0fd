package volumes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/cluster/mounts"
	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
)

// Place is what is known of the storage behind a path.
type Place struct {
	Kind string // one of the Kind constants of package choice
	// Server is the array or file server, by an address or a name that is the same on
	// every host; several with commas between them, in order. Empty: not known.
	Server string
}

// Locate finds out what stands behind a path, as far as this host can tell without
// asking the storage: it reads what the kernel says, and touches nothing on a network
// file system, where the caller could hang for ever.
func Locate(path string) (Place, error) {
	return system{device: blockNumber}.locate(path)
}

// system is the kernel's word: the files below a root, and the number of a device.
type system struct {
	root   string
	device func(path string) (number string, err error) // "major:minor"; it fails for what is no block device
}

func (s system) locate(path string) (Place, error) {
	if strings.HasPrefix(path, "/dev/") {
		if number, err := s.device(path); err == nil {
			return Place{choice.KindBlock, s.serversOf(number)}, nil
		}
	}
	text, err := os.ReadFile(s.root + "/proc/self/mountinfo")
	if err != nil {
		return Place{}, fmt.Errorf("locate %s: %w", path, err)
	}
	all := mounts.Parse(string(text))
	m := mounts.Of(all, s.resolve(path, all))
	if m == nil {
		return Place{}, fmt.Errorf("locate %s: it is on no mount that this host knows", path)
	}
	if server, network := serverOf(m); network {
		return Place{kindOf(m), server}, nil
	}
	if strings.HasPrefix(m.Source, "/dev/") {
		return Place{kindOf(m), s.serversOf(m.Number)}, nil
	}
	return Place{Kind: kindOf(m)}, nil
}

func blockNumber(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", errors.New("no block device")
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)), nil
}

// maxLinks bounds how many symbolic links one path may go through.
const maxLinks = 40

// resolve follows the symbolic links of a path, as far as they are on no network file system.
func (s system) resolve(path string, all []mounts.Mount) string {
	at, rest := "/", strings.Split(strings.Trim(path, "/"), "/")
	for links := 0; len(rest) > 0 && links <= maxLinks; {
		next := filepath.Join(at, rest[0])
		if m := mounts.Of(all, next); m != nil {
			if _, network := serverOf(m); network {
				break
			}
		}
		to, err := os.Readlink(s.root + next)
		if err != nil { // no link, or none that can be read
			at, rest = next, rest[1:]
			continue
		}
		links++
		if filepath.IsAbs(to) {
			at = "/"
		}
		rest = append(strings.Split(strings.Trim(filepath.Clean(to), "/"), "/"), rest[1:]...)
	}
	return filepath.Join(append([]string{at}, rest...)...)
}

// serversOf are the servers behind a block device.
func (s system) serversOf(number string) string {
	dir, err := filepath.EvalSymlinks(s.root + "/sys/dev/block/" + number)
	if err != nil {
		return ""
	}
	all := s.behind(dir, 0)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}

// maxDepth bounds how many devices may stand upon one another.
const maxDepth = 8

// behind are the servers behind a device in /sys: its own, by how it is attached, or
// those of the devices that it is made of.
func (s system) behind(dir string, depth int) (all []string) {
	if depth > maxDepth {
		return nil
	}
	for _, d := range []string{dir, filepath.Dir(dir)} { // a partition's are those of the disk
		parts, _ := filepath.Glob(d + "/slaves/*")
		for _, p := range parts {
			if real, err := filepath.EvalSymlinks(p); err == nil {
				all = append(all, s.behind(real, depth+1)...)
			}
		}
		if len(parts) > 0 {
			return all
		}
	}
	for at := dir; at != "/" && at != "."; at = filepath.Dir(at) {
		name := filepath.Base(at)
		var number int
		switch {
		case scan(name, "session%d", &number):
			if a := s.read(fmt.Sprintf("%s/sys/class/iscsi_connection/connection%d:0/persistent_address", s.root, number)); a != "" {
				return []string{a}
			}
		case strings.HasPrefix(name, "rport-"):
			if n := s.read(s.root + "/sys/class/fc_remote_ports/" + name + "/node_name"); n != "" {
				return []string{n}
			}
		case strings.HasPrefix(name, "nvme"):
			controllers := []string{at}
			if strings.HasPrefix(name, "nvme-subsys") {
				controllers, _ = filepath.Glob(at + "/nvme*")
			}
			for _, c := range controllers {
				if a := traddr(s.read(c+"/transport"), s.read(c+"/address")); a != "" {
					all = append(all, a)
				}
			}
			if len(all) > 0 {
				return all
			}
		}
	}
	return nil
}

// scan reports whether a name is exactly that format.
func scan(name, format string, number *int) bool {
	n, err := fmt.Sscanf(name, format, number)
	return n == 1 && err == nil && fmt.Sprintf(format, *number) == name
}

func (s system) read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// traddr is the target's address in what an NVMe controller says of its own; empty for
// one that is not reached over a network.
func traddr(transport, address string) string {
	if transport == "" || transport == "pcie" || transport == "loop" {
		return ""
	}
	for _, f := range strings.Split(address, ",") {
		if a, is := strings.CutPrefix(f, "traddr="); is {
			if node, _, fc := strings.Cut(a, ":pn-"); fc {
				return strings.TrimPrefix(node, "nn-")
			}
			return a
		}
	}
	return ""
}
