package scenario

import (
	"maps"
	"slices"
)

// Waits lists the features that a scenario needs and that do not exist yet, in
// the order of their names. A scenario that waits for nothing can run.
//
// A host that loses its lease stops its VMs, proves it and stays on; a file that
// expects such a host to be off, and says nothing of a reset, waits.
func Waits(s *Scenario) []string {
	need := map[string]bool{}
	add := func(yes bool, feature string) {
		if yes && feature != "" {
			need[feature] = true
		}
	}
	for _, w := range s.WaitsFor {
		add(true, w)
	}
	add(len(s.Datastores) > 0, waitsDatastores)
	add(s.InitialState != nil, waitsSeed)
	for _, h := range s.Hosts {
		add(h.Zone != "", waitsZones)
	}
	for _, v := range s.VMs {
		add(v.Datastore != "", waitsDatastores)
		add(v.Priority != nil, waitsPriority)
		add(v.Order != nil || v.DependsOn != nil || v.ReadyAfterS != nil, waitsOrder)
		add((v.MaxRestartsOnHost != nil || v.MaxRelocations != nil) && s.shallRun(v) && len(s.Policy) == 0, waitsRetries)
		add(v.goesBack() != s.VMs[0].goesBack(), waitsFailback)
	}
	for _, a := range s.Actions {
		add(true, actions[a.Do].waits)
		add(a.Do == "set_vm_size" && !s.comes(a), waitsSizes)
	}
	e := s.Expected()
	for _, ev := range e.Events {
		add(true, events[ev.Type])
	}
	add(e.OrderOfStarted != nil && len(s.Policy) == 0, waitsPriority)
	off := poweredOff(s)
	for h, state := range e.FinalHosts {
		add(state == "off" && !off[h] && !s.SelfFences(h), waitsWatchdog)
	}
	return slices.Sorted(maps.Keys(need))
}

// goesBack reports whether a VM is moved back after a fault.
func (v VM) goesBack() bool { return v.Failback == nil || *v.Failback }

// shallRun reports whether a VM is ever to run, so that faults of its starts and stops can befall it.
func (s *Scenario) shallRun(v VM) bool {
	return v.Desired == "running" || slices.ContainsFunc(s.Actions, func(a Action) bool { return a.Do == "set_desired" && a.VM == v.ID && a.Desired == "running" })
}

// comes reports whether a VM's size is set as it comes under protection, or as a person starts it: it had that before.
func (s *Scenario) comes(size Action) bool {
	return slices.ContainsFunc(s.Actions, func(a Action) bool {
		return (a.Do == "protect_vm" || a.Do == "demand_start") && a.VM == size.VM && a.T == size.T
	})
}

// Brings reports whether an action brings a VM, which the file's list need not have then: one that is
// protected, or whose size is set as a person starts it.
func (s *Scenario) Brings(a Action) bool {
	return a.Do == "protect_vm" || a.Do == "set_vm_size" && s.comes(a)
}

// SelfFences reports whether the watchdog of a host resets it in a recorded file. Of
// the manager that was recorded a reset is all that a watchdog does, and the host
// stays off; ours stops the VMs first, so it has to be unable to.
func (s *Scenario) SelfFences(host string) bool {
	return s.Recorded() && slices.ContainsFunc(s.Expect.Events, func(e Event) bool { return e.Type == "host_self_fenced" && e.Host == host })
}

// poweredOff is the hosts that the actions leave without power.
func poweredOff(s *Scenario) map[string]bool {
	off := map[string]bool{}
	for _, h := range s.Hosts {
		off[h.ID] = true
	}
	for _, a := range inOrder(s.Actions) {
		switch a.Do {
		case "power_on":
			off[a.Host] = false
		case "power_off", "host_shutdown_requested":
			off[a.Host] = true
		}
	}
	return off
}

// inOrder is the actions by time; those of one moment stay in the file's order.
func inOrder(all []Action) []Action {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b Action) int {
		switch {
		case a.T < b.T:
			return -1
		case a.T > b.T:
			return 1
		}
		return 0
	})
	return sorted
}

// InOrder is the scenario's actions by time; those of one moment stay in the file's order.
func (s *Scenario) InOrder() []Action { return inOrder(s.Actions) }
