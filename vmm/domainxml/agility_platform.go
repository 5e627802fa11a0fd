package domainxml

import (
	"strconv"
	"strings"

	"libvirt.org/go/libvirtxml"
)

// Capabilities are the words for what a host's hypervisor must offer, as a host
// reports its own: "type:kvm", "arch:x86_64", "machine:pc-q35-7.2", "cpu:EPYC-Rome".
func (n *Needs) Capabilities() []string {
	var list []string
	word := func(kind, name string) {
		if name != "" {
			list = append(list, kind+":"+name)
		}
	}
	word("type", n.Type)
	word("arch", n.Arch)
	word("machine", n.Machine)
	word("emulator", n.Emulator)
	if n.unchecked {
		return list
	}
	if n.CPUMode == "custom" && !n.reduced {
		word("cpu", n.CPUModel)
	}
	for _, f := range n.CPUFeatures {
		word("feature", f)
	}
	return list
}

// platform reads processor, machine and firmware.
func (n *Needs) platform(x *libvirtxml.Domain) {
	if o := x.OS; o != nil {
		if o.Type != nil {
			n.Arch, n.Machine = o.Type.Arch, o.Type.Machine
		}
		n.path(TieFile, Bound, o.Kernel, "the kernel that it boots")
		n.path(TieFile, Bound, o.Initrd, "the initrd that it boots with")
		n.path(TieFile, Bound, o.DTB, "its device tree")
		if v := o.NVRam; v != nil {
			switch {
			case v.Source != nil:
				n.nvram(v.Source)
			default:
				n.path(TieNVRAM, Loses, v.NVRam, "its UEFI variables (NVRAM)")
			}
		} else if o.Firmware == "efi" || o.Loader != nil && o.Loader.Type == "pflash" && o.Loader.Stateless != "yes" {
			n.tie(TieNVRAM, Loses, "nvram",
				"its UEFI variables (NVRAM) are where the host keeps them by itself: they stay behind when the VM starts elsewhere")
		}
	}
	c := x.CPU
	if c == nil {
		return
	}
	n.CPUMode = c.Mode
	if c.Model != nil && (c.Mode == "custom" || c.Mode == "") {
		n.CPUMode, n.CPUModel = "custom", strings.TrimSpace(c.Model.Value)
	}
	// Nobody compares the processor before such a VM starts: it starts anywhere.
	n.unchecked = c.Check == "none"
	for _, f := range c.Features {
		if f.Policy == "disable" || f.Policy == "forbid" {
			n.reduced = true // it can run where the whole model cannot
		}
		if f.Policy == "require" {
			n.CPUFeatures = append(n.CPUFeatures, f.Name)
		}
		if f.Name == "invtsc" && f.Policy != "disable" && f.Policy != "forbid" {
			n.tie(TieCPU, NotLive, "invtsc", "its processor has invtsc: QEMU does not move it while it runs")
		}
	}
	switch {
	case c.Migratable == "off":
		n.tie(TieCPU, NotLive, c.Mode, "its processor is set to migratable=off")
	case c.Mode == "host-passthrough":
		n.tie(TieCPU, NotLive, c.Mode,
			"it has its host's own processor (host-passthrough): while it runs it can move to a host with the same one only, and after a start elsewhere the guest sees another")
	}
}

// nvram reads where UEFI variables are when they are described like a disk.
func (n *Needs) nvram(s *libvirtxml.DomainDiskSource) {
	const what = "its UEFI variables (NVRAM)"
	switch {
	case s.File != nil:
		n.path(TieNVRAM, Loses, s.File.File, what)
	case s.Block != nil:
		n.path(TieNVRAM, Bound, s.Block.Dev, what)
	case s.Volume != nil && s.Volume.Pool != "":
		n.Pools = append(n.Pools, s.Volume.Pool)
	}
}

// memory reads huge pages, devices of memory and what video adapters add.
func (n *Needs) memory(x *libvirtxml.Domain) {
	if b := x.MemoryBacking; b != nil && b.MemoryHugePages != nil {
		n.HugePages = map[uint64]uint64{}
		size := uint64(0)
		for _, p := range b.MemoryHugePages.Hugepages {
			if kib, err := bytes(uint64(p.Size), p.Unit); err == nil && p.Nodeset == "" {
				size = kib >> 10
			}
		}
		n.HugePages[size] = n.Memory
	}
	if x.Devices == nil {
		return
	}
	for _, v := range x.Devices.Videos {
		n.Overhead += uint64(v.Model.Ram+v.Model.VRam) << 10
	}
	for _, m := range x.Devices.Memorydevs {
		if s := m.Source; s != nil && s.Path != "" {
			n.path(TieDevice, Bound, s.Path, "its %s memory", m.Model)
		}
	}
}

// pins finds the highest processor of the host that the VM is pinned to: it cannot
// start where there is none of that number.
func (n *Needs) pins(x *libvirtxml.Domain) {
	sets := []string{}
	if x.VCPU != nil {
		sets = append(sets, x.VCPU.CPUSet)
	}
	if t := x.CPUTune; t != nil {
		for _, p := range t.VCPUPin {
			sets = append(sets, p.CPUSet)
		}
		if t.EmulatorPin != nil {
			sets = append(sets, t.EmulatorPin.CPUSet)
		}
		for _, p := range t.IOThreadPin {
			sets = append(sets, p.CPUSet)
		}
	}
	for _, set := range sets {
		for _, part := range strings.Split(set, ",") {
			part = strings.TrimSpace(part)
			if strings.HasPrefix(part, "^") {
				continue // left out
			}
			if _, last, is := strings.Cut(part, "-"); is {
				part = last
			}
			if cpu, err := strconv.Atoi(part); err == nil {
				n.HighestCPU = max(n.HighestCPU, cpu)
			}
		}
	}
}

// otherDevices reads the rest of what may be the host's own.
func (n *Needs) otherDevices(l *libvirtxml.DomainDeviceList) {
	for i := range l.TPMs {
		b := l.TPMs[i].Backend
		switch {
		case b == nil:
		case b.Passthrough != nil:
			n.tie(TieTPM, Bound, "tpm", "the host's own TPM is handed to the guest")
		case b.External != nil:
			n.tie(TieTPM, Bound, "tpm", "its TPM is served by a process of the host")
		case b.Emulator != nil && b.Emulator.Source != nil && b.Emulator.Source.Dir != nil:
			n.path(TieTPM, Loses, b.Emulator.Source.Dir.Path, "the state of its TPM")
		case b.Emulator != nil && b.Emulator.Source != nil && b.Emulator.Source.File != nil:
			n.path(TieTPM, Loses, b.Emulator.Source.File.Path, "the state of its TPM")
		case b.Emulator != nil:
			n.tie(TieTPM, Loses, "tpm",
				"the state of its TPM is where the host keeps it by itself: elsewhere the guest finds an empty one, and asks for recovery keys")
		}
	}
	for i := range l.Filesystems {
		f := &l.Filesystems[i]
		if f.Source == nil {
			continue
		}
		what := "?"
		switch s := f.Source; {
		case s.Mount != nil:
			what = s.Mount.Dir
			if what == "" {
				what = s.Mount.Socket
			}
		case s.Block != nil:
			what = s.Block.Dev
		case s.File != nil:
			what = s.File.File
		}
		n.path(TieFilesystem, Bound, what, "a directory that it shares with its host")
		n.tie(TieFilesystem, NotLive, what, "it shares %s with its host: QEMU does not move it while it runs", what)
	}
	for i := range l.Shmems {
		n.tie(TieDevice, Loses, l.Shmems[i].Name, "it shares memory (%s) with others on its host", l.Shmems[i].Name)
	}
	for i := range l.Smartcards {
		if l.Smartcards[i].Host != nil || len(l.Smartcards[i].HostCerts) > 0 {
			n.tie(TieDevice, Bound, "smartcard", "a smart card of the host is handed to the guest")
		}
	}
	for i := range l.Serials {
		n.port("serial port", l.Serials[i].Source)
	}
	for i := range l.Parallels {
		n.port("parallel port", l.Parallels[i].Source)
	}
	for i := range l.Graphics {
		if e := l.Graphics[i].EGLHeadless; e != nil && e.GL != nil && e.GL.RenderNode != "" {
			n.tie(TieDevice, NotLive, e.GL.RenderNode, "it draws with %s of the host", e.GL.RenderNode)
		}
	}
}

func (n *Needs) port(what string, s *libvirtxml.DomainChardevSource) {
	if s != nil && s.Dev != nil {
		n.tie(TieDevice, Bound, s.Dev.Path, "%s %s of the host is handed to the guest", what, s.Dev.Path)
	}
}
