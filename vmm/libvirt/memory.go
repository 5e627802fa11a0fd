package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	rpc "github.com/digitalocean/go-libvirt"
)

const (
	// runDir is where the daemon keeps what belongs to its VMs' processes while they run.
	// Labels of SELinux go by it.
	runDir = "/run/libvirt/qemu"
	// memoryDir is QEMU's own, in runDir.
	memoryDir = "holdfast"
	// memoryFile is how the socket for a VM's memory is called, but for the VM's name: the
	// profiles that libvirt makes for AppArmor let the process of a VM use such a file.
	memoryFile = "m.tunnelmigrate.dest."
	// maxSocketPath is how long the kernel lets the path of a socket be.
	maxSocketPath = 107
)

// MemorySocket makes ready for a VM that comes here or leaves, and returns the path of the
// unix socket for its memory, which is the same on every host, and the user as whom QEMU
// runs here. Where the VM comes, QEMU makes the socket; where it leaves, the caller does, and
// it must belong to that user. No other user gets into its directory. Errors wrap
// vmm.ErrUnavailable when the daemon does not answer.
func (d *Driver) MemorySocket(ctx context.Context, uuid, name string) (path string, owner int, err error) {
	text, err := call(ctx, d, func(l *rpc.Libvirt) (string, error) { return l.ConnectGetCapabilities() })
	if err == nil {
		owner, err = qemuUser(text)
	}
	if err != nil {
		return "", 0, fmt.Errorf("ask as whom QEMU runs: %w", err)
	}
	dir := filepath.Join(d.cfg.RunDir, memoryDir)
	if err := ownDir(dir, owner); err != nil {
		return "", 0, fmt.Errorf("make the directory for memory that is on its way: %w", err)
	}
	return memoryPath(dir, uuid, name), owner, nil
}

// memoryPath goes by the VM's name, as AppArmor's profiles do, where that fits into a path.
func memoryPath(dir, uuid, name string) string {
	path := filepath.Join(dir, memoryFile+name)
	if len(path) <= maxSocketPath && name != "" && !strings.ContainsRune(name, filepath.Separator) {
		return path
	}
	return filepath.Join(dir, memoryFile+uuid)
}

// qemuUser reads from the daemon's capabilities as whom it runs QEMU where a VM does not say otherwise.
func qemuUser(capabilities string) (int, error) {
	var c struct {
		Models []struct {
			Name   string   `xml:"model"`
			Labels []string `xml:"baselabel"`
		} `xml:"host>secmodel"`
	}
	if err := xml.Unmarshal([]byte(capabilities), &c); err != nil {
		return 0, fmt.Errorf("read the capabilities: %w", err)
	}
	for _, m := range c.Models {
		if m.Name != "dac" || len(m.Labels) == 0 {
			continue
		}
		user, _, _ := strings.Cut(m.Labels[0], ":")
		n, err := strconv.ParseUint(strings.TrimPrefix(user, "+"), 10, 31)
		if err != nil {
			return 0, fmt.Errorf("read the user in the label %q: %w", m.Labels[0], err)
		}
		return int(n), nil
	}
	return 0, errors.New("the capabilities name no user")
}

// ownDir makes a directory, or one that was made before, that user's alone. Who owns the one
// around it could put something else in its place: that is refused, and never followed.
func ownDir(dir string, user int) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case info.Mode().Perm() != 0o700:
		return fmt.Errorf("%s has mode %v, and must have 0700: remove it", dir, info.Mode().Perm())
	case int(stat.Uid) == user:
		return nil
	default:
		return os.Lchown(dir, user, -1)
	}
}
