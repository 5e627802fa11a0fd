package libvirt

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/holdfast-ha/holdfast/vmm"
)

// platformAge is for how long what the hypervisor can run is believed to stay the
// same while libvirt and QEMU do: reading it is the dear part of an offer.
const platformAge = 10 * time.Minute

// platform is what the hypervisor could run when it was read.
type platform struct {
	versions string // of libvirt and QEMU
	at       time.Time
	words    []string
}

// Offer reads bridges and huge pages from the kernel, and the rest from libvirt. A
// daemon of one driver (virtqemud) knows of no networks and pools: those are then
// not known. Left out are the paths of emulators and single features of processors: a
// host can run what libvirt does not list, and a word that is missing keeps VMs away.
func (d *Driver) Offer(ctx context.Context) (vmm.Offer, error) {
	var o vmm.Offer
	_, err := call(ctx, d, func(l *rpc.Libvirt) (struct{}, error) { return struct{}{}, d.ask(l, &o) })
	if err != nil {
		return vmm.Offer{}, fmt.Errorf("read what the host offers: %w", err)
	}
	if o.Networks != nil {
		words, err := d.interfaces()
		if err != nil {
			return vmm.Offer{}, err
		}
		o.Networks = append(o.Networks, words...)
		slices.Sort(o.Networks)
	}
	o.HugePages, o.DefaultPage = d.hugePages()
	return o, nil
}

// ask reads what libvirt knows.
func (d *Driver) ask(l *rpc.Libvirt, o *vmm.Offer) error {
	networks, _, err := l.ConnectListAllNetworks(1, rpc.ConnectListNetworksActive)
	switch {
	case err == nil:
		o.Networks = []string{}
		for _, n := range networks {
			o.Networks = append(o.Networks, "network:"+n.Name)
		}
	case !hasCode(err, rpc.ErrNoSupport):
		return err
	}
	pools, _, err := l.ConnectListAllStoragePools(1, rpc.ConnectListStoragePoolsActive)
	switch {
	case err == nil:
		o.Pools = []string{}
		for _, p := range pools {
			o.Pools = append(o.Pools, p.Name)
		}
		slices.Sort(o.Pools)
	case !hasCode(err, rpc.ErrNoSupport):
		return err
	}
	o.Capabilities, err = d.platform(l)
	return err
}

// platform lists what the hypervisor can run, as libvirt says.
func (d *Driver) platform(l *rpc.Libvirt) ([]string, error) {
	lib, err := l.ConnectGetLibVersion()
	if err != nil {
		return nil, err
	}
	qemu, err := l.ConnectGetVersion()
	if err != nil && !isAnswer(err) {
		return nil, err // no emulator is an answer, and its version then 0
	}
	versions := fmt.Sprintf("%d %d", lib, qemu)
	d.mu.Lock()
	known := d.runs
	d.mu.Unlock()
	if known.versions == versions && time.Since(known.at) < platformAge {
		return known.words, nil
	}
	text, err := l.ConnectGetCapabilities()
	if err != nil {
		return nil, err
	}
	var caps libvirtxml.Caps
	if err := caps.Unmarshal(text); err != nil {
		return nil, fmt.Errorf("read libvirt's capabilities: %w", err)
	}
	words, err := platformWords(&caps, func(arch, virt string) (string, error) {
		return l.ConnectGetDomainCapabilities(nil, rpc.OptString{arch}, nil, rpc.OptString{virt}, 0)
	})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.runs = platform{versions: versions, at: time.Now(), words: words}
	d.mu.Unlock()
	return words, nil
}

// platformWords are the words for what the hypervisor can run. domain asks for the
// capabilities of one architecture and kind of virtualization; models of processors
// are told only when every such question is answered.
func platformWords(caps *libvirtxml.Caps, domain func(arch, virt string) (string, error)) ([]string, error) {
	words, models := map[string]bool{}, map[string]bool{}
	allModels := true
	for _, g := range caps.Guests {
		words["arch:"+g.Arch.Name] = true
		machines := slices.Clone(g.Arch.Machines)
		for _, d := range g.Arch.Domains {
			words["type:"+d.Type] = true
			machines = append(machines, d.Machines...)
			text, err := domain(g.Arch.Name, d.Type)
			if err != nil {
				if !isAnswer(err) {
					return nil, err
				}
				allModels = false
				continue
			}
			var dc libvirtxml.DomainCaps
			if err := dc.Unmarshal(text); err != nil {
				return nil, fmt.Errorf("read libvirt's capabilities of %s domains: %w", d.Type, err)
			}
			if dc.CPU == nil {
				allModels = false
				continue
			}
			for _, m := range usableModels(dc.CPU) {
				models["cpu:"+m] = true
			}
		}
		for _, m := range machines {
			words["machine:"+m.Name] = true
			if m.Canonical != "" {
				words["machine:"+m.Canonical] = true
			}
		}
	}
	out := []string{}
	for w := range words {
		out = append(out, w)
	}
	if allModels {
		for w := range models {
			out = append(out, w)
		}
	}
	slices.Sort(out)
	return out, nil
}

// usableModels are the models of processors of which libvirt does not say that they
// cannot be had here.
func usableModels(c *libvirtxml.DomainCapsCPU) []string {
	var list []string
	for _, mode := range c.Modes {
		if mode.Name != "custom" || mode.Supported != "yes" {
			continue
		}
		for _, m := range mode.Models {
			if name := strings.TrimSpace(m.Name); name != "" && m.Usable != "no" {
				list = append(list, name)
			}
		}
	}
	return list
}

// interfaces are the words for network interfaces that VMs can be connected to.
// Whether a virtual one is a bridge of Open vSwitch the kernel's files do not say, so
// each that could be is taken for one; so is one of which there are no files, as where
// they are another network namespace's.
func (d *Driver) interfaces() ([]string, error) {
	links, err := d.links()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var words []string
	for _, link := range links {
		dir := filepath.Join(d.cfg.Sys, "class/net", link.Name)
		has := func(file string) bool {
			_, err := os.Lstat(filepath.Join(dir, file))
			return err == nil
		}
		to, err := os.Readlink(dir)
		virtual := err != nil || strings.Contains(to, "/virtual/")
		switch {
		case link.Flags&net.FlagLoopback != 0, has("tun_flags"), has("macvtap"): // the host's own, and those of VMs
			continue
		case virtual && has("master") && strings.HasPrefix(link.Name, "veth"): // of containers
			continue
		case has("bridge"), virtual && !has("brport"):
			words = append(words, "bridge:"+link.Name)
		}
		words = append(words, "device:"+link.Name)
	}
	return words, nil
}

// hugePages are the bytes that the kernel has set aside by the size of a page in KiB,
// and the size that is meant when none is named.
func (d *Driver) hugePages() (set map[uint64]uint64, usual uint64) {
	dir := filepath.Join(d.cfg.Sys, "kernel/mm")
	if _, err := os.Stat(dir); err != nil {
		return nil, 0
	}
	set = map[uint64]uint64{}
	sizes, _ := filepath.Glob(filepath.Join(dir, "hugepages/hugepages-*kB")) // the pattern is right
	for _, size := range sizes {
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(size), "hugepages-"), "kB"), 10, 32)
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(size, "nr_hugepages"))
		if err != nil {
			return nil, 0
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
		if err != nil {
			return nil, 0
		}
		if n > 0 {
			set[kib] = n * kib << 10
		}
	}
	if kib, ok := readFigure(filepath.Join(d.cfg.Proc, "meminfo"), "Hugepagesize"); ok {
		usual = uint64(kib)
	}
	return set, usual
}

// PingGuest asks the guest agent through libvirt. The daemon waits no longer for it
// than ctx lasts.
func (d *Driver) PingGuest(ctx context.Context, uuid string) error {
	seconds := int32(5)
	if end, ok := ctx.Deadline(); ok {
		seconds = max(1, min(seconds, int32(time.Until(end)/time.Second)))
	}
	return d.simple(ctx, "ask the guest agent of", uuid, func(l *rpc.Libvirt, ref rpc.Domain) error {
		_, err := l.QEMUDomainAgentCommand(ref, `{"execute":"guest-ping"}`, seconds, 0)
		return err
	})
}
