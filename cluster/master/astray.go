package master

import (
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// astray is since when this office knows of each VM that the state calls astray, by UUID. was is
// what it knew before.
func astray(in input, was map[string]time.Duration) map[string]time.Duration {
	is := map[string]time.Duration{}
	for uuid, vm := range in.state.VMs {
		if !vm.Astray || vm.Owner != nil || vm.Sighting != nil {
			continue
		}
		is[uuid] = in.now
		if at, known := was[uuid]; known {
			is[uuid] = at
		}
	}
	return is
}

// unsure are the VMs that are astray, by UUID, and that a host may run which has not told of it (O5),
// with the names of those hosts. Every
// host that the network brings is heard once more first, with a heartbeat that it sent after the
// office knew: one that comes an interval later. One that began a new life since has to say first
// what it runs in this one.
func unsure(in input) map[string][]string {
	all := map[string][]string{}
	for uuid, since := range in.astray {
		for _, h := range in.state.SortedHosts() {
			o := in.hosts[h.Name]
			if h.Status == fsm.HostLive && o != nil && o.reached(in.now, in.timing) &&
				(o.present() == nil || o.reachedAt < since+in.timing.Heartbeat) {
				all[uuid] = append(all[uuid], h.Name)
			}
		}
	}
	return all
}
