package machine

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// module is the module path of this repository.
const module = "github.com/holdfast-ha/holdfast"

// kernelModules are what a machine needs that Debian's kernel has as modules.
var kernelModules = []string{"virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio-rng", "crc32c_generic", "ext4", "i6300esb"}

// files are what machines boot from.
type files struct{ kernel, initramfs, programs string }

// prepare finds Debian's kernel, and builds the initramfs and the disk with the programs.
func prepare(ctx context.Context, cache, dir string) (*files, error) {
	f := &files{initramfs: filepath.Join(dir, "initramfs"), programs: filepath.Join(dir, "programs.img")}
	kernel, modules, err := findKernel(ctx, cache)
	if err != nil {
		return nil, err
	}
	if f.kernel, err = unpacked(ctx, kernel); err != nil {
		return nil, err
	}
	if err := writeInitramfs(f.initramfs, modules); err != nil {
		return nil, err
	}
	bin := filepath.Join(dir, "usr", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder for the programs: %w", err)
	}
	for _, pkg := range []string{"/cmd/haagent", "/cmd/haadm", "/integration/machine/inside"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", bin+"/", module+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w: %s", pkg, err, bytes.TrimSpace(out))
		}
	}
	return f, makeDisk(ctx, f.programs, 160, filepath.Join(dir, "usr"))
}

// makeDisk makes a file with an ext4 of so many MiB, with the contents of from, if not "".
func makeDisk(ctx context.Context, file string, mib int64, from string) error {
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, mib<<20)); err != nil {
		return fmt.Errorf("make a disk: %w", err)
	}
	args := []string{"-q", "-t", "ext4", "-O", "^metadata_csum", "-E", "root_owner=0:0", "-F"}
	if from != "" {
		args = append(args, "-O", "^metadata_csum,^has_journal", "-d", from) // only read
	}
	cmd := exec.CommandContext(ctx, "mke2fs", append(args, file)...)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/sbin:"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make a file system: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// findKernel returns Debian's ordinary kernel and its modules in the order of
// loading. The package is fetched into cache and unpacked there, never installed.
func findKernel(ctx context.Context, cache string) (kernel string, modules []string, err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", nil, fmt.Errorf("make the cache: %w", err)
	}
	if kernel, err = cachedKernel(cache); err != nil {
		if err := fetchKernel(ctx, cache); err != nil {
			return "", nil, err
		}
		if kernel, err = cachedKernel(cache); err != nil {
			return "", nil, err
		}
	}
	top := filepath.Join(filepath.Dir(filepath.Dir(kernel)), "lib", "modules", strings.TrimPrefix(filepath.Base(kernel), "vmlinuz-"))
	modules, err = loadOrder(top, kernelModules)
	return kernel, modules, err
}

func cachedKernel(cache string) (string, error) {
	found, err := filepath.Glob(filepath.Join(cache, "linux", "boot", "vmlinuz-*-amd64"))
	if err != nil || len(found) == 0 {
		return "", errors.Join(errors.New("no kernel in the cache"), err)
	}
	slices.Sort(found)
	return found[len(found)-1], nil
}

// fetchKernel downloads the package that linux-image-amd64 stands for.
func fetchKernel(ctx context.Context, cache string) error {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", "linux-image-amd64").Output()
	if err != nil {
		return fmt.Errorf("ask which kernel linux-image-amd64 stands for: %w", err)
	}
	_, rest, found := strings.Cut(string(out), "Depends: ")
	if !found {
		return fmt.Errorf("apt-cache does not say which kernel linux-image-amd64 stands for: %q", out)
	}
	name, _, _ := strings.Cut(rest, "\n")
	tmp, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return fmt.Errorf("make a folder for the kernel: %w", err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // it is only a cache
	cmd := exec.CommandContext(ctx, "apt-get", "-q", "download", name)
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("download %s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("download %s: found %v, %w", name, debs, err)
	}
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], filepath.Join(tmp, "linux")).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	if err := os.Rename(filepath.Join(tmp, "linux"), filepath.Join(cache, "linux")); err != nil {
		return fmt.Errorf("keep the kernel: %w", err)
	}
	return nil
}

// loadOrder lists the files of the modules, each after those it needs. The package
// comes without modules.dep, so each module is asked.
func loadOrder(top string, names []string) ([]string, error) {
	byName := map[string]string{}
	err := filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			byName[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the kernel's modules: %w", err)
	}
	var order []string
	var add func(name string) error
	add = func(name string) error {
		path, ok := byName[strings.ReplaceAll(name, "-", "_")]
		if !ok {
			return fmt.Errorf("the kernel in %s has no module %s", top, name)
		}
		if slices.Contains(order, path) {
			return nil
		}
		needs, err := moduleNeeds(path)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		order = append(order, path)
		return nil
	}
	for _, n := range names {
		if err := add(n); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// moduleNeeds reads what a module depends on from its own .modinfo.
func moduleNeeds(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the module %s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // only read
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("the module %s has no .modinfo", path)
	}
	text, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read the module %s: %w", path, err)
	}
	for line := range bytes.SplitSeq(text, []byte{0}) {
		if rest, ok := strings.CutPrefix(string(line), "depends="); ok && rest != "" {
			return strings.Split(rest, ","), nil
		}
	}
	return nil, nil
}

// initScript is the first process until the program "inside" takes over.
const initScript = `#!/bin/busybox sh
export PATH=/bin:/usr/bin
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /usr /var/lib
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mkdir -p /run/haagent
for m in $(cat /modules/order); do insmod /modules/$m || echo "inside: cannot load $m"; done
i=0
while [ ! -b /dev/vdd -o ! -b /dev/vdc -o ! -b /dev/vdb -o ! -b /dev/vda ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done
mount -t ext4 -o ro /dev/vda /usr
mount -t ext4 -o errors=continue /dev/vdb /var/lib
for word in $(cat /proc/cmdline); do
  case $word in
    host=*) hostname ${word#host=} ;;
    addr=*) addr=${word#addr=} ;;
  esac
done
ip link set lo up
ip link set eth0 up
ip addr add $addr/24 dev eth0
exec /usr/bin/inside init
`

func writeInitramfs(to string, modules []string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("busybox for the machines: %w", err)
	}
	shell, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("read busybox: %w", err)
	}
	const dir, program, plain = 0o40755, 0o100755, 0o100644
	type entry struct {
		name string
		mode int
		data []byte
	}
	all := []entry{{"bin", dir, nil}, {"modules", dir, nil}, {"bin/busybox", program, shell}, {"init", program, []byte(initScript)}}
	var order []string
	for _, path := range modules {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read a module: %w", err)
		}
		order = append(order, filepath.Base(path))
		all = append(all, entry{"modules/" + filepath.Base(path), plain, text})
	}
	all = append(all, entry{"modules/order", plain, []byte(strings.Join(order, "\n") + "\n")}, entry{name: "TRAILER!!!"})
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("write the initramfs: %w", err)
	}
	w := bufio.NewWriter(out) // Flush reports errors
	pad := func(before int, s []byte) {
		_, _ = w.Write(s)
		for n := before + len(s); n%4 != 0; n++ {
			_ = w.WriteByte(0)
		}
	}
	for i, e := range all {
		_, _ = fmt.Fprintf(w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", i+1, e.mode, 0, 0, 1, 0, len(e.data), 0, 0, 0, 0, len(e.name)+1, 0)
		pad(110, []byte(e.name+"\x00"))
		pad(0, e.data)
	}
	if err := errors.Join(w.Flush(), out.Close()); err != nil {
		return fmt.Errorf("write the initramfs: %w", err)
	}
	return nil
}
