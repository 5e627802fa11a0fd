package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// ErrMissing says that this machine cannot run a lab; the error names what is
// missing and the command that brings it.
var ErrMissing = errors.New("this machine cannot run the lab")

// needs is what a lab runs, and Debian's package for it.
var needs = []struct{ program, pkg string }{
	{"libvirtd", "libvirt-daemon"},
	{"virsh", "libvirt-clients"},
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"ip", "iproute2"},
	{"nft", "nftables"},
	{"nsenter", "util-linux"},
	{"busybox", "busybox-static"},
	{"mkfs.ext4", "e2fsprogs"},
}

// qemuDriver is where libvirtd finds its QEMU driver; packages of other families put it elsewhere.
var qemuDriver = []string{
	"/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so",
	"/usr/lib*/libvirt/connection-driver/libvirt_driver_qemu.so",
}

// Packages is every package that the lab needs on Debian 12, ready for apt-get.
var Packages = []string{
	"qemu-system-x86", "libvirt-daemon", "libvirt-daemon-system", "libvirt-daemon-driver-qemu", "libvirt-clients",
	"linux-image-cloud-amd64", "iproute2", "busybox-static", "nftables", "util-linux", "e2fsprogs",
}

// Check returns nil when this machine can run a lab, and otherwise an error that
// wraps ErrMissing and says what to install.
func Check() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: namespaces and libvirt need root, and this runs as uid %d; run it with sudo", ErrMissing, os.Geteuid())
	}
	var missing, install []string
	lack := func(what, pkg string) {
		missing = append(missing, what)
		if !slices.Contains(install, pkg) {
			install = append(install, pkg)
		}
	}
	for _, n := range needs {
		if _, err := findProgram(n.program); err != nil {
			lack(n.program, n.pkg)
		}
	}
	if !slices.ContainsFunc(qemuDriver, func(pattern string) bool {
		found, _ := filepath.Glob(pattern)
		return len(found) > 0
	}) {
		lack("libvirt's QEMU driver", "libvirt-daemon-driver-qemu")
	}
	if _, err := findKernel(); err != nil {
		lack("a cloud kernel for guests", "linux-image-cloud-amd64")
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s missing; install with: apt-get install -y --no-install-recommends %s",
		ErrMissing, strings.Join(missing, ", "), strings.Join(install, " "))
}

// findProgram looks where root's programs are too, whatever PATH says.
func findProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %s not found", name)
}
