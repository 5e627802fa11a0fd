package placement

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Slots, percentages and standby hosts are sums of processors and memory. Of what else VMs take of a
// host, and it has so many of (Host.Extra: devices of pools, huge pages), such sums see nothing, and two
// VMs could count on the one device that is free. So that part is decided on real placements, whatever
// the rule is; memory and processors are left to the sums.

// sums reports whether the rule sees nothing of what hosts have besides memory and processors.
func (k AdmissionKind) sums() bool {
	return k == BySlots || k == ByPercentage || k == ByFailoverHosts
}

// takesExtra reports whether a VM takes anything that sums do not see.
func (v *VM) takesExtra() bool {
	for _, n := range v.Extra {
		if n > 0 {
			return true
		}
	}
	return false
}

// unseen is the cluster as sums do not see it: the VMs that take such things, and take nothing else,
// where they run or, of those that wait, where they would be started. nil: there are none. Whatever can
// be placed in the cluster itself can be in this one.
func (m *model) unseen(work *int) *Cluster {
	if !slices.ContainsFunc(m.vms, func(v *VM) bool { return v.Status != Stopped && v.takesExtra() }) {
		return nil
	}
	r := newRoom(m)
	m.decide(r, Question{}, false, work)
	c := &Cluster{Policy: Policy{Admission: m.c.Policy.Admission, Work: m.c.Policy.Work}}
	for _, h := range m.hosts {
		c.Hosts = append(c.Hosts, Host{Name: h.Name, State: h.State, Why: h.Why, Domain: h.Domain, Extra: h.Extra, Failover: h.Failover})
	}
	need := make([]int64, len(m.dims))
	there := map[string]bool{}
	for i, vm := range m.vms {
		v := int32(i)
		if vm.Status == Stopped || !vm.takesExtra() && len(vm.Holds) == 0 || vm.Class != Protected && vm.Status == Waiting && r.at[v] < 0 {
			continue
		}
		one := VM{
			Name:     vm.Name,
			Status:   vm.Status,
			Host:     vm.Host,
			Moving:   vm.Moving,
			Extra:    vm.Extra,
			Holds:    vm.Holds,
			HeldOn:   vm.HeldOn,
			Bound:    vm.Bound,
			Class:    vm.Class,
			Priority: vm.Priority,
			Order:    vm.Order,
			Barred:   map[string]string{},
		}
		if r.at[v] >= 0 && vm.Status == Waiting {
			one.Status, one.Host = Running, m.hosts[r.at[v]].Name
		}
		if !vm.takesExtra() {
			one.Class = Unprotected // it only has what it holds, and asks for nothing elsewhere
		}
		m.demand(v, need)
		for h, host := range m.hosts {
			if x := m.able(v, int32(h), need); x.Excluded != "" && host.State == Up {
				one.Barred[host.Name] = x.text()
			}
		}
		c.VMs = append(c.VMs, one)
		there[vm.Name] = true
	}
	for _, rule := range m.c.Rules {
		rule.VMs = slices.DeleteFunc(slices.Clone(rule.VMs), func(name string) bool { return !there[name] })
		if rule.Must && rule.Kind == Apart && len(rule.VMs) > 1 {
			c.Rules = append(c.Rules, rule)
		}
	}
	for _, crew := range m.crews {
		rule := Rule{Name: "together " + m.vms[crew[0]].Name, Kind: Together, Must: true}
		torn, at := false, int32(-1)
		for _, v := range crew {
			torn = torn || at >= 0 && r.at[v] >= 0 && r.at[v] != at
			at = max(at, r.at[v])
			if there[m.vms[v].Name] {
				rule.VMs = append(rule.VMs, m.vms[v].Name)
			}
		}
		if !torn && len(rule.VMs) > 1 { // mates that are apart already may join any of the others
			c.Rules = append(c.Rules, rule)
		}
	}
	return c
}

// reckonUnseen makes it a no, or not known, where sums leave room for what they do not see: not every
// protected VM would find what it takes on the hosts that are left.
func (v *Verdict) reckonUnseen(m *model, work *int) {
	a := &m.c.Policy.Admission
	if a.Failures == 0 {
		return
	}
	c := m.unseen(work)
	if c == nil {
		return
	}
	few := newModel(c)
	t := few.tolerate(Failures{N: a.Failures, Domains: a.Domains}, work)
	if t.Answer == Yes {
		return
	}
	why := t.Why
	if len(t.Down) > 0 {
		why += few.vms[few.vmByID[t.Down[0]]].takes()
	}
	if v.Answer != Yes {
		v.Why += "; besides, " + why
		return
	}
	v.unseen, v.Answer, v.Why = true, t.Answer, why+"; by memory and processors alone there is room: "+v.Why
	switch {
	case len(t.Down) > 0:
		v.Culprit = t.Down[0]
	case len(t.Lost) > 0:
		v.Culprit = t.Lost[0]
	}
}

// takes names what a VM takes that sums do not see, as the end of a sentence.
func (v *VM) takes() (text string) {
	for _, name := range slices.Sorted(maps.Keys(v.Extra)) {
		if strings.HasPrefix(name, DevicePool) {
			text += fmt.Sprintf("; it needs %d of %s", v.Extra[name], name)
		} else if v.Extra[name] > 0 {
			text += "; it needs " + name
		}
	}
	return text
}

// brings reports whether the change is about a VM that takes more of what sums do not see than it
// does already.
func (ch Change) brings(c *Cluster) bool {
	if ch.VM == nil || !ch.VM.takesExtra() {
		return false
	}
	i := slices.IndexFunc(c.VMs, func(v VM) bool { return v.Name == ch.VM.Name })
	if i < 0 || c.VMs[i].Status == Stopped || c.VMs[i].Class > ch.VM.Class {
		return true
	}
	for name, n := range ch.VM.Extra {
		if n > c.VMs[i].Extra[name] {
			return true
		}
	}
	return false
}
