package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	libvirtProgram = "libvirtd"
	libvirtSocket  = "/run/libvirt/libvirt-sock"
	// libvirtTimeout is how long libvirtd may take to answer after its start.
	libvirtTimeout = 30 * time.Second
	pollEvery      = 20 * time.Millisecond
)

// qemuConf makes QEMU a plain child process: no user, security label, control
// group, mount namespace or log daemon of its own.
const qemuConf = `user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
`

// libvirtdConf: hosts share the machine's hardware, so each needs a UUID of its own.
const libvirtdConf = `host_uuid = "%s"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
log_level = 3
log_outputs = "3:stderr"
`

func (h *Host) configureLibvirt() error {
	for name, text := range map[string]string{
		"qemu.conf":     qemuConf,
		"libvirtd.conf": fmt.Sprintf(libvirtdConf, randomUUID()),
	} {
		if err := os.WriteFile(filepath.Join(h.path("/etc/libvirt"), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if h.lab.cfg.AgentBinary == "" {
		return nil
	}
	hook := h.lab.cfg.Hook
	if hook == "" {
		hook = fmt.Sprintf("#!/bin/sh\nexec %s hook \"$@\"\n", h.lab.cfg.AgentBinary)
	}
	hooks := filepath.Join(h.path("/etc/libvirt"), "hooks", "qemu.d")
	if err := os.MkdirAll(hooks, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(hooks, "holdfast"), []byte(hook), 0o755)
}

// startLibvirt starts libvirtd and waits until it takes connections.
func (h *Host) startLibvirt(ctx context.Context) error {
	path, err := findProgram(libvirtProgram)
	if err != nil {
		return err
	}
	if err := h.startProgram(ctx, libvirtProgram, []string{path}, nil, false); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, libvirtTimeout)
	defer cancel()
	socket, err := h.seenFromOutside(libvirtSocket)
	if err != nil {
		return err
	}
	err = poll(ctx, func() error {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
			return nil
		}
		if runs, err := h.programRuns(ctx, libvirtProgram); err != nil || !runs {
			return permanent{fmt.Errorf("libvirtd ended: %s", h.Log(libvirtProgram, 5))}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("libvirtd does not answer: %w", err)
	}
	return nil
}

// seenFromOutside is the path under which the lab's process finds a file of the host.
func (h *Host) seenFromOutside(inside string) (string, error) {
	pid, ok := h.initPID()
	if !ok {
		return "", errOff(h)
	}
	return fmt.Sprintf("/proc/%d/root%s", pid, inside), nil
}

// StopLibvirt kills libvirtd; its VMs go on.
func (h *Host) StopLibvirt(ctx context.Context) error { return h.killProgram(ctx, libvirtProgram) }

// StartLibvirt starts libvirtd again after StopLibvirt and waits until it answers.
func (h *Host) StartLibvirt(ctx context.Context) error { return h.startLibvirt(ctx) }

// Virsh runs virsh on the host's libvirt and returns what it prints.
func (h *Host) Virsh(ctx context.Context, args ...string) (string, error) {
	return h.Exec(ctx, append([]string{"virsh", "-q", "-c", "qemu:///system"}, args...)...)
}

// probeCapabilities makes libvirtd ask QEMU what it can do, which takes seconds
// of processor time once and is cached on disk.
func (h *Host) probeCapabilities(ctx context.Context) error {
	_, err := h.Virsh(ctx, "domcapabilities", "--virttype", "qemu")
	return err
}

// copyCapabilities saves this host's libvirtd from asking what another's has
// asked of the same QEMU.
func (h *Host) copyCapabilities(from *Host) error {
	cache := from.path("/var/cache/libvirt")
	return filepath.WalkDir(cache, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(h.path("/var/cache/libvirt"), strings.TrimPrefix(path, cache))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o600)
	})
}

// permanent is an error that waiting does not mend.
type permanent struct{ error }

// poll calls try until it returns nil or a permanent error, or ctx ends; then it
// returns the last error.
func poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var seen error
	for {
		err := try()
		var p permanent
		if err == nil {
			return nil
		} else if errors.As(err, &p) {
			return p.error
		}
		// An attempt that ended with ctx tells less than the one before it.
		if seen == nil || ctx.Err() == nil {
			seen = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last seen: %w", context.Cause(ctx), seen)
		case <-tick.C:
		}
	}
}

// randomUUID draws a version 4 UUID.
func randomUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
