package master

import (
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/cluster/recovery"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// recover_ orders starts. It waits until every live host has been heard or is
// suspected: a new master knows nothing of the hosts' room before.
func recover_(in input, m fsm.Meta, d *decision) {
	hosts, known := rooms(in)
	if !known || in.unread {
		return
	}
	var choose *inventory.Chooser
	plan := recovery.Plan(recovery.Input{State: in.state, Policy: in.policy, Hosts: hosts, Ready: in.ready,
		Unsure: unsure(in), Now: in.wall, Builder: in.builder})
	for _, s := range plan {
		if !s.Retry.IsZero() {
			d.lookAt(in.now + max(s.Retry.Sub(in.wall), in.timing.Heartbeat))
		}
		switch {
		case s.Host != "":
			if choose == nil {
				choose = inventory.NewChooser(pictureOf(in, hosts))
			}
			devices, why := choose.Choose(s.VM, s.Host)
			if why != "" { // by number there is one, and another VM has it that nobody has counted
				if why = "no host can take it: " + why; s.VM.Waiting != why {
					d.commands = append(d.commands, &fsm.SetWaiting{Meta: m, Epoch: in.epoch, UUID: s.VM.UUID, For: fsm.WaitNoHost, Why: why})
				}
				continue
			}
			d.commands = append(d.commands, &fsm.Assign{Meta: m, Epoch: in.epoch, UUID: s.VM.UUID, Previous: s.VM.Generation,
				Host: s.Host, Incarnation: s.Incarnation, Round: s.Round, Devices: devices,
				Why: s.Why, Considered: whatif.Kept(in.state, s.Considered, s.Host)})
		case s.Why != "" && s.VM.Waiting != s.Why: // said once: each commit wakes the office, and saying it again would never end
			d.commands = append(d.commands, &fsm.SetWaiting{Meta: m, Epoch: in.epoch, UUID: s.VM.UUID,
				For: s.For, Why: s.Why, Considered: whatif.Kept(in.state, s.Considered, "")})
		}
	}
}

// rooms are all hosts with what they could take. known is false while the master has
// yet to hear from one.
func rooms(in input) (hosts []recovery.Host, known bool) {
	known = true
	for _, h := range in.state.SortedHosts() {
		rh, heard := room(in, h)
		known = known && heard
		hosts = append(hosts, rh)
	}
	return hosts, known
}

// pictureOf is what the planner's picture of the cluster is made of.
func pictureOf(in input, hosts []recovery.Host) inventory.Input {
	p := inventory.Input{State: in.state, Policy: in.policy, Now: in.wall}
	for i := range hosts {
		p.Hosts = append(p.Hosts, hosts[i].Host)
	}
	return p
}

// room is what a host could take. known is false while the master has yet to hear from it.
func room(in input, h *fsm.Host) (rh recovery.Host, known bool) {
	rh, known = inService(in, h)
	if rh.State == placement.Closed {
		rh.Frozen = rh.Why
	}
	if h.Maintenance != nil && rh.State != placement.Down { // whatever else is wrong with it, nobody counts on it
		rh.State, rh.Why, rh.Awaited = placement.Maintenance, inventory.Serviced(h.Maintenance), false
	} else if h.Emptied() && rh.State != placement.Down {
		rh.State, rh.Why, rh.Awaited = placement.Maintenance, "it "+h.Shutdown.Going(), false
	}
	return rh, known
}

// inService is room but for maintenance.
func inService(in input, h *fsm.Host) (rh recovery.Host, known bool) {
	rh = recovery.Host{Incarnation: h.Incarnation,
		Host: inventory.Host{Name: h.Name, State: placement.Closed, Voter: slices.Contains(in.voters, h.Name)}}
	o := in.hosts[h.Name]
	var r *api.HostReport
	if o != nil && o.incarnation == h.Incarnation {
		if r = o.present(); r != nil {
			describe(&rh.Host, r)
		}
	}
	switch {
	case h.Status == fsm.HostDead:
		rh.State, rh.Why, rh.Domains = placement.Down, "it is dead", nil
		return rh, true
	case h.Status == fsm.HostJoining:
		rh.Why, rh.Awaited = "it has not come up yet", in.now < in.elected+in.grace
		return rh, true
	case o == nil || o.incarnation != h.Incarnation:
		rh.Why = "the master has not heard from it yet"
		return rh, false
	case o.watch.Suspected != 0 || o.condemned:
		rh.Why = "it is suspected to be dead"
		return rh, true
	case o.stored.at != 0 && !o.reached(in.now, in.timing):
		rh.Why = "it is heard by the heartbeat volumes only"
		return rh, true
	}
	switch {
	case r == nil || r.Capacity.Memory == 0 && r.HypervisorError == "":
		rh.Why, rh.Awaited = "it has not said yet what room it has", true
		return rh, in.now-o.since > 4*in.timing.Heartbeat
	case r.HypervisorError != "":
		rh.Why = "its hypervisor does not answer"
		return rh, true
	case r.Draining && (h.Shutdown == nil || h.Shutdown.Action != fsm.ShutdownMigrate):
		rh.Why = "it is being shut down"
		return rh, true
	case r.Guard != "running":
		rh.Why = "its guard is " + r.Guard
		return rh, true
	}
	rh.State = placement.Up
	return rh, true
}

// describe takes over what a host says of itself.
func describe(h *inventory.Host, r *api.HostReport) {
	h.Memory, h.Reserve, h.CPUs, h.MHz = r.Capacity.Memory, r.Reserve, r.Capacity.CPUs, r.Capacity.MHz
	h.Offer, h.Datastores, h.Devices = r.Offer, r.Datastores, r.Devices
	for _, x := range r.Domains {
		h.Domains = append(h.Domains, inventory.Domain{UUID: x.UUID, Name: x.Name, Running: x.State != vmm.Stopped,
			VCPUs: x.VCPUs, Memory: x.Memory, Devices: x.Devices})
	}
	h.Uses = make(map[string]inventory.Use, len(r.Uses))
	for uuid, u := range r.Uses {
		h.Uses[uuid] = inventory.Use(u)
	}
}

// readiness is what the owners of VMs say of the groups that those belong to. was is what
// they said before: since when the master knows of it. A new master knows of it since it heard.
func readiness(in input, was map[string]recovery.Readiness) map[string]recovery.Readiness {
	all := map[string]recovery.Readiness{}
	for name, o := range in.hosts {
		r := o.present()
		if r == nil {
			continue
		}
		for _, x := range r.Domains {
			if vm := in.state.VMs[x.UUID]; vm != nil && vm.Owner != nil && vm.Owner.Host == name && vm.Owner.Incarnation == o.incarnation {
				is := recovery.Readiness{Ready: x.Ready}
				if before, ok := was[x.UUID]; x.Ready && ok && before.Ready {
					is.Since = before.Since
				} else if x.Ready {
					is.Since = in.wall
				}
				all[x.UUID] = is
			}
		}
	}
	return all
}
