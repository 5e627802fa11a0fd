package placement

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// mask is the set of hosts that could take a VM were they empty, and what it needs there.
// VMs with the same mask and no apart rule are the same to the search.
type mask struct {
	hosts bits
	need  []int64
}

// maskOf is the id of the VM's mask. Masks are equal exactly when their ids are.
func (m *model) maskOf(v int32) int32 {
	if m.maskIDs[v] < 0 {
		m.maskIDs[v] = m.findMask(v)
	}
	return m.maskIDs[v]
}

func (m *model) findMask(v int32) int32 {
	vm := m.vms[v]
	need := m.demand(v, make([]int64, len(m.dims)))
	if len(vm.Barred) > 0 {
		return m.intern(m.ableHosts(v, need), need)
	}
	// Most VMs share one of few profiles; what follows is all that a mask depends on.
	key := m.key[:0]
	for _, list := range [][]string{vm.Datastores, vm.Networks, vm.Capabilities} {
		for _, s := range list {
			key = append(append(key, s...), 0)
		}
		key = append(key, 1)
	}
	for _, n := range need {
		key = binary.AppendVarint(key, n)
	}
	if len(vm.Bound) > 0 {
		key = append(append(key, 2), vm.Host...)
	}
	for _, r := range m.bound[v] {
		key = append(append(key, 3), r.Name...)
	}
	m.key = key
	if id, ok := m.profile[string(key)]; ok {
		return id
	}
	kept := string(key)
	id := m.intern(m.ableHosts(v, need), need)
	m.profile[kept] = id
	return id
}

func (m *model) ableHosts(v int32, need []int64) bits {
	able := m.none()
	for h := range m.hosts {
		if c := m.able(v, int32(h), need); c.Excluded == "" {
			able.set(int32(h))
		}
	}
	return able
}

func (m *model) intern(hosts bits, need []int64) int32 {
	key := hosts.appendKey(m.key[:0])
	for _, n := range need {
		key = binary.AppendVarint(key, n)
	}
	m.key = key
	id, ok := m.maskID[string(key)]
	if !ok {
		id = int32(len(m.masks))
		m.masks = append(m.masks, mask{hosts: hosts, need: need})
		m.maskID[string(key)] = id
	}
	return id
}

// able says whether host h could take VM v if it were empty, or what keeps it from that.
func (m *model) able(v, h int32, need []int64) Considered {
	vm, host := m.vms[v], m.hosts[h]
	c := Considered{Host: host.Name}
	switch host.State {
	case Up:
	case Closed:
		return c.no(HostClosed, host.Why)
	case Maintenance:
		return c.no(InMaintenance, host.Why)
	default:
		return c.no(HostDown, host.Why)
	}
	if why, ok := vm.Barred[host.Name]; ok {
		return c.no(CannotRun, why)
	}
	if len(vm.Bound) > 0 && vm.Host != host.Name {
		return c.no(NotAgile, fmt.Sprintf("%s can run on %s only: %s", vm.Name, vm.Host, strings.Join(vm.Bound, "; ")))
	}
	for _, x := range []struct {
		needs, has []string
		reason     Reason
	}{
		{vm.Datastores, host.Datastores, NoDatastore},
		{vm.Networks, host.Networks, NoNetwork},
		{vm.Capabilities, host.Capabilities, NoCapability},
	} {
		for _, s := range x.needs {
			if !slices.Contains(x.has, s) {
				return c.no(x.reason, s)
			}
		}
	}
	for _, r := range m.bound[v] {
		if _, listed := r.Hosts[host.Name]; listed != (r.Kind == OnHosts) {
			c.Rule = r.Name
			return c.no(BreaksRule, "")
		}
	}
	for i, d := range m.dims {
		if have := m.capacity[int(h)*len(m.dims)+i]; need[i] > have && need[i] > 0 {
			c.Need, c.Have, c.What = need[i], have, d.name
			return c.no(TooSmall, d.reason.unit())
		}
	}
	return c
}
