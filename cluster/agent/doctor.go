package agent

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// Look is what an agent can see of the machine that it runs on (cluster/doctor/look).
// None of the calls may hang.
type Look interface {
	// Facts are those of the host itself, without its name, its hypervisor and its VMs.
	Facts(ctx context.Context) doctor.Facts
	// Place says what a path is on.
	Place(path string) doctor.Place
	// Volume says what a volume of one of libvirt's pools is.
	Volume(pool, volume string) doctor.Volume
	// Multipath says how many ways lead to a device; nil where it is no multipath device.
	Multipath(path string) *doctor.Multipath
	// Has says whether there is something under a path; mounted asks that it is on a file
	// system of its own, and not the root's.
	Has(path string, mounted bool) bool
	// Device says why a device of the host cannot be handed to a guest; empty: it can. id is what
	// it is to say that it is, VENDOR:PRODUCT; empty: anything.
	Device(word, id string) string
}

// heartbeats are the heartbeat volumes as the host reaches them.
func heartbeats(reports []api.VolumeReport, look Look) []doctor.Heartbeat {
	var all []doctor.Heartbeat
	for _, r := range reports {
		v := doctor.Heartbeat{Name: r.Name, Path: r.Path, Type: look.Place(r.Path).Type, Multipath: look.Multipath(r.Path)}
		if r.Server != "" {
			v.Servers = strings.Split(r.Server, ",")
		}
		all = append(all, v)
	}
	return all
}

// Facts implements api.Backend.
func (a *Agent) Facts(ctx context.Context) (doctor.Facts, error) {
	m, err := a.current()
	if err != nil {
		return doctor.Facts{}, err
	}
	if a.env.Look == nil {
		return doctor.Facts{}, errors.New("this agent cannot look at its host")
	}
	s, _, _ := m.machine.View()
	f := a.env.Look.Facts(ctx)
	f.Name, f.Version, f.Clock.Error = a.env.Name, a.env.Version, m.ms.Timing.ClockError
	p := a.parsed(s)
	f.TrustsWait = p.TrustsWait()
	for _, level := range p.Hosts[a.env.Name].Fence {
		f.Fences += len(level)
	}
	if h := s.Hosts[a.env.Name]; h != nil {
		f.Watchdog.Counts = h.Watchdog.Timeout != 0
	}
	if c, err := a.env.Hypervisor.Capacity(ctx); err != nil {
		f.HypervisorError = err.Error()
	} else {
		f.Hypervisor = c.Hypervisor
	}
	f.Devices = a.devices(ctx, s, p)
	f.Heartbeats = heartbeats(m.volumes.Report(), a.env.Look)
	f.VMs = []doctor.VM{}
	for _, vm := range s.VMs {
		f.VMs = append(f.VMs, examined(vm, a.shared.of(vm.UUID, vm.XML), a.env.Look))
	}
	a.shared.keep(s.VMs)
	slices.SortFunc(f.VMs, func(a, b doctor.VM) int { return strings.Compare(a.Name+"\x00"+a.UUID, b.Name+"\x00"+b.UUID) })
	return f, nil
}

// examined is a VM with where its disks are on this host.
func examined(vm *fsm.VM, shared parsedShared, look Look) doctor.VM {
	out := doctor.VM{UUID: vm.UUID, Name: vm.Name, Disks: []doctor.Disk{}}
	if vm.Owner != nil {
		out.Owner = vm.Owner.Host
	}
	if shared.err != nil {
		out.Unread = shared.err.Error()
		return out
	}
	out.Leases, out.CPUMode = shared.Leases, shared.CPUMode
	for _, d := range shared.Disks {
		x := doctor.Disk{Disk: d}
		kind, path := d.Kind, d.Source
		if kind == domainxml.DiskPool {
			pool, volume, _ := strings.Cut(d.Source, "/")
			v := look.Volume(pool, volume)
			x.Volume, kind, path = &v, v.Kind, v.Path
		}
		if kind == domainxml.DiskFile || kind == domainxml.DiskBlock {
			x.Place = look.Place(path)
		}
		out.Disks = append(out.Disks, x)
	}
	return out
}

// parsedShared is what the doctor needs of one definition, or why it cannot be read.
type parsedShared struct {
	domainxml.Shared
	err error
}

// definitions keeps what was parsed of the protected VMs' definitions, which change
// seldom. The zero value is ready.
type definitions struct {
	mu  sync.Mutex // guards what follows
	all map[string]definition
}

// definition is one VM's, with the bytes that it was read from.
type definition struct {
	packed []byte
	parsed parsedShared
}

// of returns what is in a packed definition of that VM.
func (x *definitions) of(uuid string, packed []byte) parsedShared {
	x.mu.Lock()
	d, ok := x.all[uuid]
	x.mu.Unlock()
	if ok && bytes.Equal(d.packed, packed) {
		return d.parsed
	}
	d = definition{packed: packed}
	xml, err := fsm.UnpackXML(packed)
	if err == nil {
		d.parsed.Shared, err = domainxml.ParseShared(xml)
	}
	d.parsed.err = err
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.all == nil {
		x.all = map[string]definition{}
	}
	x.all[uuid] = d
	return d.parsed
}

// keep forgets the VMs that are not protected any more.
func (x *definitions) keep(vms map[string]*fsm.VM) {
	x.mu.Lock()
	defer x.mu.Unlock()
	maps.DeleteFunc(x.all, func(uuid string, _ definition) bool { return vms[uuid] == nil })
}
