package agent

import (
	"context"
	"errors"
	"slices"
	"strings"

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
	// Has says whether there is something under a path; mounted asks that it is on a file
	// system of its own, and not the root's.
	Has(path string, mounted bool) bool
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
	f.VMs = []doctor.VM{}
	for _, vm := range s.VMs {
		f.VMs = append(f.VMs, examined(vm, a.env.Look))
	}
	slices.SortFunc(f.VMs, func(a, b doctor.VM) int { return strings.Compare(a.Name+"\x00"+a.UUID, b.Name+"\x00"+b.UUID) })
	return f, nil
}

// examined is a VM with where its disks are on this host.
func examined(vm *fsm.VM, look Look) doctor.VM {
	out := doctor.VM{UUID: vm.UUID, Name: vm.Name, Disks: []doctor.Disk{}}
	if vm.Owner != nil {
		out.Owner = vm.Owner.Host
	}
	xml, err := fsm.UnpackXML(vm.XML)
	var shared domainxml.Shared
	if err == nil {
		shared, err = domainxml.ParseShared(xml)
	}
	if err != nil {
		out.Unread = err.Error()
		return out
	}
	out.Leases, out.CPUMode = shared.Leases, shared.CPUMode
	for _, d := range shared.Disks {
		x := doctor.Disk{Disk: d}
		if d.Kind == domainxml.DiskFile || d.Kind == domainxml.DiskBlock {
			x.Place = look.Place(d.Source)
		}
		out.Disks = append(out.Disks, x)
	}
	return out
}
