package libvirt

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/holdfast-ha/holdfast/vmm"
)

// Capacity reads the size of the host from libvirt, and what is free from the
// kernel: memory that it says is available without swapping, which counts caches
// that libvirt's own figure leaves out.
func (d *Driver) Capacity(ctx context.Context) (vmm.Capacity, error) {
	c, err := call(ctx, d, func(l *rpc.Libvirt) (vmm.Capacity, error) {
		_, kib, cpus, mhz, _, _, _, _, err := l.NodeGetInfo()
		if err != nil {
			return vmm.Capacity{}, err
		}
		free, err := l.NodeGetFreeMemory()
		if err != nil {
			return vmm.Capacity{}, err
		}
		lib, err := l.ConnectGetLibVersion()
		if err != nil {
			return vmm.Capacity{}, err
		}
		people := "libvirt " + version(lib)
		if qemu, err := l.ConnectGetVersion(); err == nil { // not known while no emulator is installed
			people = "QEMU " + version(qemu) + ", " + people
		}
		return vmm.Capacity{CPUs: int(cpus), MHz: int(mhz), Memory: kib << 10, MemoryFree: free, Hypervisor: people}, nil
	})
	if err != nil {
		return vmm.Capacity{}, fmt.Errorf("read capacity: %w", err)
	}
	if available, ok := readFigure(filepath.Join(d.cfg.Proc, "meminfo"), "MemAvailable"); ok {
		c.MemoryFree = min(uint64(available)<<10, c.Memory)
	}
	if c.MHz == 0 { // libvirt does not know it on every machine
		if mhz, ok := readFigure(filepath.Join(d.cfg.Proc, "cpuinfo"), "cpu MHz"); ok {
			c.MHz = int(mhz)
		}
	}
	return c, nil
}

// version undoes libvirt's packing: major * 1,000,000 + minor * 1000 + release.
func version(v uint64) string {
	return fmt.Sprintf("%d.%d.%d", v/1000000, v/1000%1000, v%1000)
}

// readFigure reads the first number behind "KEY:" in a file of /proc.
func readFigure(file, key string) (float64, bool) {
	f, err := os.Open(file)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), ":")
		if !ok || strings.TrimSpace(name) != key {
			continue
		}
		var figure float64
		if _, err := fmt.Sscan(value, &figure); err != nil || figure < 0 {
			return 0, false
		}
		return figure, true
	}
	return 0, false
}
