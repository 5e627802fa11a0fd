package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// seen is a VM as each host sees it.
type seen struct {
	VM                   // as the first of them does
	on map[string]onHost // by host
}

type onHost struct {
	libvirt Libvirt
	vm      VM
}

// together puts what hosts say of one VM beside each other, by the VM's name.
func together(all []Facts) []*seen {
	by := map[string]*seen{}
	for _, f := range all {
		if f.Embedded {
			continue
		}
		for _, vm := range f.VMs {
			s := by[vm.UUID]
			if s == nil {
				s = &seen{VM: vm, on: map[string]onHost{}}
				by[vm.UUID] = s
			}
			s.on[f.Name] = onHost{f.Libvirt, vm}
		}
	}
	var out []*seen
	for _, s := range by {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *seen) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID)) })
	return out
}

func (s *seen) examine() (barriers []Barrier, findings []Finding) {
	if s.Unread != "" {
		return nil, []Finding{{Code: "definition_unread", Severity: fsm.Warning, VM: s.Name,
			Text: fmt.Sprintf("%s: its disks were not examined: %s", s.Name, s.Unread)}}
	}
	bare := 0
	for i, d := range s.Disks {
		here := map[string]Disk{}
		for name, h := range s.on {
			// One that was asked a moment before the definition changed has other disks.
			if i < len(h.vm.Disks) && h.vm.Disks[i].Disk == d.Disk {
				here[name] = h.vm.Disks[i]
			}
		}
		b := s.barrier(d, here)
		barriers = append(barriers, b)
		findings = append(findings, s.diskFindings(d, here)...)
		if b.ImageLock.Holds != NotNeeded && b.ImageLock.Holds != Everywhere && b.LockManager.Holds != Everywhere {
			bare++
		}
	}
	if bare > 0 {
		what := "its disks"
		if bare < len(s.Disks) {
			what = fmt.Sprintf("%d of its %d disks", bare, len(s.Disks))
		}
		findings = append(findings, Finding{Code: "no_second_barrier", Severity: fsm.Info, VM: s.Name,
			Text: fmt.Sprintf("%s: the lease alone keeps two VMs from writing to %s: neither QEMU's image lock nor a lock manager of libvirt's is known to do so on every host",
				s.Name, what)})
	}
	return barriers, findings
}

// barrier is what holds on every host: the least of what holds on each.
func (s *seen) barrier(d Disk, here map[string]Disk) Barrier {
	b := Barrier{VM: s.Name, Owner: s.Owner, Disk: d.Target, Source: d.Source, Kind: d.Kind, Storage: d.storage(), Cache: d.cache()}
	image, manager := map[string]Lock{}, map[string]Lock{}
	for name, x := range here {
		image[name], manager[name] = x.imageLock(), x.managerLock(s.on[name].libvirt, s.Leases)
		if st := x.storage(); st != b.Storage {
			b.Storage = "differs by host"
		}
	}
	b.ImageLock, b.LockManager = least(image), least(manager)
	return b
}

// least is the weakest of what holds on hosts, with the hosts on which it is so.
func least(all map[string]Lock) Lock {
	order := []Holds{No, Host, Unknown, Everywhere, NotNeeded}
	var worst Lock
	var names []string
	for name, l := range all {
		switch c := cmp.Compare(slices.Index(order, l.Holds), slices.Index(order, worst.Holds)); {
		case len(names) == 0 || c < 0:
			worst, names = l, []string{name}
		case c == 0:
			names = append(names, name)
			if l.Why < worst.Why {
				worst.Why = l.Why
			}
		}
	}
	if len(names) == 0 {
		return Lock{Unknown, "no host has said"}
	}
	if len(names) < len(all) && worst.Why != "" {
		slices.Sort(names)
		worst.Why = "on " + strings.Join(names, ", ") + ": " + worst.Why
	}
	return worst
}

func (s *seen) diskFindings(d Disk, here map[string]Disk) []Finding {
	var out []Finding
	add := func(code string, severity fsm.Severity, host, next, format string, args ...any) {
		out = append(out, Finding{Code: code, Severity: severity, Host: host, VM: s.Name, Disk: d.Target,
			Text: fmt.Sprintf(format, args...), Next: next})
	}
	what := fmt.Sprintf("%s: disk %s (%s)", s.Name, d.Target, d.Source)
	switch {
	case d.Cache == "unsafe" && !d.ReadOnly:
		add("cache_unsafe", fsm.Warning, "", "virsh edit "+s.Name+": <driver cache='none'/>",
			"%s has cache='unsafe': what the guest has flushed is lost when the host dies, and the host's kernel can write to it after the VM is gone, while it runs elsewhere",
			what)
	case d.writesLate():
		mode := "cache='" + d.Cache + "'"
		if d.Cache == "" {
			mode = "no cache mode, which is writeback,"
		}
		add("cache_writes_late", fsm.Warning, "", "virsh edit "+s.Name+": <driver cache='none'/>",
			"%s has %s so that the host's kernel can write to it after the VM is gone, while it runs elsewhere", what, mode)
	}
	if d.kind() == domainxml.DiskOther {
		add("disk_of_host", fsm.Warning, "", "", "%s is a device of one host: no other can start the VM", what)
		return out
	}
	var names []string
	for name := range here {
		names = append(names, name)
	}
	slices.Sort(names)
	places := map[string][]string{} // by what it is on: hosts
	var order []string
	for _, name := range names {
		p := here[name].Place
		if p.Missing {
			add("disk_missing", fsm.Warning, name, "", "%s is not there on %s, which cannot start the VM", what, name)
			continue
		}
		key := here[name].storage()
		if places[key] == nil {
			order = append(order, key)
		}
		places[key] = append(places[key], name)
	}
	if len(order) > 1 {
		var parts []string
		for _, key := range order {
			parts = append(parts, fmt.Sprintf("%s on %s", key, strings.Join(places[key], ", ")))
		}
		add("disk_elsewhere", fsm.Warning, "", "",
			"%s is on different storage: %s. Is a file system not mounted?", what, strings.Join(parts, "; "))
	} else if len(order) == 1 && len(names) > 0 && here[places[order[0]][0]].Place.Alone() {
		add("disk_local", fsm.Warning, "", "",
			"%s is on %s, a file system that one host has: no other can start the VM with what is on it", what, order[0])
	}
	return out
}
