// Package look gathers what a host says of itself to the doctor: from the kernel,
// from libvirt's and chrony's files and from systemd. It judges nothing. It never
// touches a file system that could hang: a thread that waits for storage cannot be
// killed, and would keep the agent from ending.
package look

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/fencing"
)

// Host looks at this machine.
type Host struct {
	// Root is the directory that everything is looked for below; empty: /.
	Root string
	// Guard is what the guard says of itself; nil: the host has none, its VMs are the demonstration's.
	Guard func() (s fencing.Status, alive bool)
	// Networks are this host's addresses on the HA networks, by name.
	Networks map[string]netip.Addr
	// Interfaces lists the machine's network interfaces; nil: the kernel's.
	Interfaces func() ([]Interface, error)
	// Run runs a program and returns what it printed; nil: nothing is run.
	Run func(ctx context.Context, name string, args ...string) (string, error)
	// Adjtimex reads the kernel's clock discipline; nil: unix.Adjtimex.
	Adjtimex func(*unix.Timex) (int, error)
}

// Interface is a network interface with its addresses.
type Interface struct {
	Name      string
	MTU       int // bytes
	Addresses []netip.Prefix
}

// Facts are those of the host itself, without its name, its hypervisor and its VMs.
func (h *Host) Facts(ctx context.Context) doctor.Facts {
	f := doctor.Facts{Embedded: h.Guard == nil}
	l := &reader{host: h, facts: &f}
	f.NoKVM = !l.exists("/dev/kvm")
	l.processor()
	l.clock()
	l.networks()
	if h.Guard != nil {
		l.guard()
		l.libvirt(ctx)
	}
	return f
}

// reader reads one set of facts.
type reader struct {
	host  *Host
	facts *doctor.Facts
}

func (l *reader) path(name string) string { return filepath.Join("/", l.host.Root, name) }

// read is a file's text; empty when there is none, or it cannot be read, which is noted.
func (l *reader) read(name string) string {
	b, err := os.ReadFile(l.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.unread(err)
	}
	return string(b)
}

func (l *reader) unread(err error) { l.facts.Unread = append(l.facts.Unread, err.Error()) }

func (l *reader) exists(name string) bool {
	_, err := os.Lstat(l.path(name))
	return err == nil
}

// processor reads its name, and the flag that it has in a virtual machine.
func (l *reader) processor() {
	for line := range strings.Lines(l.read("/proc/cpuinfo")) {
		switch name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) {
		case "model name":
			l.facts.CPU = strings.TrimSpace(value)
		case "flags":
			l.facts.Virtual = slices.Contains(strings.Fields(value), "hypervisor")
			return // the others are like the first
		}
	}
}

// networks finds the interface of each HA network.
func (l *reader) networks() {
	list := l.host.Interfaces
	if list == nil {
		list = interfaces
	}
	all, err := list()
	if err != nil {
		l.unread(err)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(l.host.Networks)) {
		addr := l.host.Networks[name]
		n := doctor.Network{Name: name, Address: addr.String()}
		for _, i := range all {
			if slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr() == addr || addr.IsLoopback() && p.Contains(addr) }) {
				n.Interface, n.MTU = i.Name, i.MTU
				for _, p := range i.Addresses {
					if p.Addr() == addr {
						n.Prefix = p.Masked().String()
					}
				}
			}
		}
		l.below(&n)
		l.facts.Networks = append(l.facts.Networks, n)
	}
}

// interfaces are the kernel's.
func interfaces() ([]Interface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var out []Interface
	for _, i := range list {
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", i.Name, err)
		}
		o := Interface{Name: i.Name, MTU: i.MTU}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				o.Addresses = append(o.Addresses, p)
			}
		}
		out = append(out, o)
	}
	return out, nil
}

// guard reads how the guard's process stands in the kernel.
func (l *reader) guard() {
	s, alive := l.host.Guard()
	w := s.Watchdog
	l.facts.Guard.Alive = alive
	l.facts.Watchdog = doctor.Watchdog{State: w.State.String(), Device: w.Device, Protects: w.Protects(), Enduring: w.Enduring}
	if !alive {
		return
	}
	dir := filepath.Join("/proc", strconv.Itoa(s.GuardPID))
	for line := range strings.Lines(l.read(filepath.Join(dir, "status"))) {
		if size, ok := strings.CutPrefix(line, "VmLck:"); ok {
			f := strings.Fields(size)
			l.facts.Guard.Locked = len(f) > 0 && f[0] != "0"
		}
	}
	stat := l.read(filepath.Join(dir, "stat"))
	// Behind the name, which may hold anything, the policy is field 39.
	const policy, fifo, rr = 38, "1", "2"
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	l.facts.Guard.RealTime = len(f) > policy && (f[policy] == fifo || f[policy] == rr)
}

// clock reads what the kernel goes by, and what it does to its wall clock.
func (l *reader) clock() {
	l.facts.Clock.Source = strings.TrimSpace(l.read("/sys/devices/system/clocksource/clocksource0/current_clocksource"))
	adjtimex := l.host.Adjtimex
	if adjtimex == nil {
		adjtimex = unix.Adjtimex
	}
	var t unix.Timex
	if _, err := adjtimex(&t); err != nil {
		l.unread(fmt.Errorf("read the kernel's clock discipline: %w", err))
	} else {
		// The tick is in microseconds, a hundred to a second; the frequency in 2^-16 ppm.
		l.facts.Clock.Adjusted = float64(t.Tick-10_000)/10_000 + float64(t.Freq)/65536/1e6
	}
}

// libvirt reads how libvirt is set up.
func (l *reader) libvirt(ctx context.Context) {
	v := &l.facts.Libvirt
	v.Hook = l.hook()
	v.LockManager = setting(l.read("/etc/libvirt/qemu.conf"), "lock_manager")
	if v.LockManager == "nop" {
		v.LockManager = ""
	}
	dir := ""
	switch v.LockManager {
	case "lockd":
		conf := l.read("/etc/libvirt/qemu-lockd.conf")
		v.AutoLeases = setting(conf, "auto_disk_leases") != "0"
		dir = setting(conf, "file_lockspace_dir")
		v.OtherLockspaces = setting(conf, "lvm_lockspace_dir") != "" || setting(conf, "scsi_lockspace_dir") != ""
	case "sanlock":
		conf := l.read("/etc/libvirt/qemu-sanlock.conf")
		v.AutoLeases = setting(conf, "auto_disk_leases") == "1"
		if dir = setting(conf, "disk_lease_dir"); dir == "" {
			dir = "/var/lib/libvirt/sanlock"
		}
	}
	if dir != "" {
		p := l.host.Place(dir)
		v.Lockspace = &p
	}
	v.GuestsService = l.exists("/etc/systemd/system/multi-user.target.wants/libvirt-guests.service")
	if !v.GuestsService {
		return
	}
	conf := l.read("/etc/default/libvirt-guests") + "\n" + l.read("/etc/sysconfig/libvirt-guests")
	boot := setting(conf, "ON_BOOT")
	v.GuestsStart = boot == "" || boot == "start"
	if l.host.Run == nil {
		return
	}
	after, err := l.host.Run(ctx, "systemctl", "show", "--property=After", "--value", "haagent.service")
	if err != nil {
		l.unread(fmt.Errorf("ask systemd in which order it stops haagent: %w", err))
		return
	}
	v.GuestsFirst = !strings.Contains(" "+strings.TrimSpace(after)+" ", " libvirt-guests.service ")
}

// hook reports whether libvirt asks the agent before it starts a VM: by its only
// script, or by one of its directory.
func (l *reader) hook() bool {
	files, _ := filepath.Glob(l.path("/etc/libvirt/hooks/qemu.d/*")) // the pattern is right
	for _, file := range append(files, l.path("/etc/libvirt/hooks/qemu")) {
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
			continue
		}
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte("haagent hook")) {
			return true
		}
	}
	return false
}

// setting is the value of KEY = VALUE, as libvirt's files and shell's write it; the
// last counts. Empty when there is none.
func setting(text, key string) string {
	value := ""
	for line := range strings.Lines(text) {
		name, v, ok := strings.Cut(line, "=")
		if !ok || strings.TrimSpace(name) != key {
			continue
		}
		value, _, _ = strings.Cut(v, "#")
		value = strings.Trim(strings.TrimSpace(value), `"'`)
	}
	return value
}
