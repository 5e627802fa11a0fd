package lab

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// bootFiles is what guests boot from.
type bootFiles struct{ Kernel, Initramfs string }

// guestPackage is the program that is the guest's /init.
const guestPackage = "github.com/holdfast-ha/holdfast/integration/lab/guest"

// guestModules are what the guest needs and Debian's cloud kernel has as modules:
// its disk, and its power button.
var guestModules = []string{"virtio_pci", "virtio_blk", "button", "evdev"}

// findKernel returns the newest installed cloud kernel that has its modules.
func findKernel() (string, error) {
	kernels, err := filepath.Glob("/boot/vmlinuz-*-cloud-amd64")
	if err != nil {
		return "", err
	}
	slices.Sort(kernels)
	for _, k := range slices.Backward(kernels) {
		if _, err := os.Stat(filepath.Join(moduleDir(k), "modules.dep")); err == nil {
			return k, nil
		}
	}
	return "", errors.New("no /boot/vmlinuz-*-cloud-amd64 with its modules in /lib/modules")
}

func moduleDir(kernel string) string {
	return filepath.Join("/lib/modules", strings.TrimPrefix(filepath.Base(kernel), "vmlinuz-"))
}

// prepareBoot builds the guests' initramfs on the shared storage.
func (l *Lab) prepareBoot(ctx context.Context) (bootFiles, error) {
	kernel, err := findKernel()
	if err != nil {
		return bootFiles{}, err
	}
	program := l.cfg.GuestBinary
	if program == "" {
		program = filepath.Join(l.dir, "guest")
		if err := buildGuest(ctx, program); err != nil {
			return bootFiles{}, err
		}
	}
	init, err := os.ReadFile(program)
	if err != nil {
		return bootFiles{}, fmt.Errorf("guest program: %w", err)
	}
	files := []archived{{"dev", dirMode, nil}, {"proc", dirMode, nil}, {"sys", dirMode, nil}, {"modules", dirMode, nil}, {"init", fileMode, init}}
	modules, err := withDependencies(moduleDir(kernel), guestModules)
	if err != nil {
		return bootFiles{}, err
	}
	var order strings.Builder
	for _, path := range modules {
		text, err := readModule(ctx, path)
		if err != nil {
			return bootFiles{}, err
		}
		name := "modules/" + moduleName(path) + ".ko"
		files = append(files, archived{name, fileMode, text})
		fmt.Fprintf(&order, "/%s\n", name)
	}
	files = append(files, archived{"modules/order", fileMode, []byte(order.String())})

	b := bootFiles{Kernel: kernel, Initramfs: filepath.Join(l.sharedDir(), "initramfs")}
	out, err := os.Create(b.Initramfs)
	if err != nil {
		return bootFiles{}, err
	}
	defer out.Close()
	zip := gzip.NewWriter(out)
	if err := errors.Join(writeArchive(zip, files), zip.Close(), out.Close()); err != nil {
		return bootFiles{}, fmt.Errorf("write initramfs: %w", err)
	}
	return b, nil
}

func buildGuest(ctx context.Context, to string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, guestPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the guest's program: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// withDependencies lists the files of the modules, each after those it depends on.
func withDependencies(dir string, names []string) ([]string, error) {
	text, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	defer text.Close()
	depends := map[string][]string{} // path to paths
	byName := map[string]string{}
	for lines := bufio.NewScanner(text); lines.Scan(); {
		path, rest, _ := strings.Cut(lines.Text(), ":")
		depends[path] = strings.Fields(rest)
		byName[moduleName(path)] = path
	}
	var order []string
	for _, name := range names {
		path, ok := byName[name]
		if !ok {
			return nil, fmt.Errorf("kernel in %s has no module %s", dir, name)
		}
		// modules.dep lists all dependencies, the one to load first last.
		for _, p := range append(slices.Collect(reversed(depends[path])), path) {
			if full := filepath.Join(dir, p); !slices.Contains(order, full) {
				order = append(order, full)
			}
		}
	}
	return order, nil
}

func reversed(s []string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range slices.Backward(s) {
			if !yield(v) {
				return
			}
		}
	}
}

func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// readModule reads a module, unpacked: the guest has no program to unpack it.
func readModule(ctx context.Context, path string) ([]byte, error) {
	unpack := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}[filepath.Ext(path)]
	if unpack == "" {
		return os.ReadFile(path)
	}
	text, err := exec.CommandContext(ctx, unpack, "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", path, err)
	}
	return text, nil
}

const (
	dirMode  = 0o040755
	fileMode = 0o100755
)

// archived is one entry of an initramfs.
type archived struct {
	name string
	mode int
	data []byte
}

// writeArchive writes a cpio archive in the "newc" format that the kernel unpacks.
func writeArchive(w io.Writer, files []archived) error {
	out := bufio.NewWriter(w)
	for i, f := range append(files, archived{name: "TRAILER!!!"}) {
		links := 1
		fmt.Fprintf(out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
			i+1, f.mode, 0, 0, links, 0, len(f.data), 0, 0, 0, 0, len(f.name)+1, 0)
		pad(out, 110, f.name+"\x00")
		pad(out, 0, string(f.data))
	}
	return out.Flush()
}

// pad writes s and fills up to a multiple of four, counting before bytes that
// were written already.
func pad(out *bufio.Writer, before int, s string) {
	_, _ = out.WriteString(s) // Flush reports errors
	for n := before + len(s); n%4 != 0; n++ {
		_ = out.WriteByte(0)
	}
}
