package agent

import (
	"context"
	"maps"
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// devices are the devices of this host that the policy puts into pools, in its order, with what the
// doctor asks of each. Of a hypervisor that does not answer another finding tells.
func (a *Agent) devices(ctx context.Context, s *fsm.State, p *config.Policy) (all []doctor.Device) {
	for _, pool := range slices.Sorted(maps.Keys(p.Devices)) {
		for _, word := range p.Devices[pool].Hosts[a.env.Name] {
			all = append(all, doctor.Device{Pool: pool, Word: word, Missing: a.env.Look.Device(word, p.Devices[pool].ID)})
		}
	}
	if len(all) == 0 {
		return nil
	}
	domains, err := a.env.Hypervisor.Domains(ctx)
	if err != nil {
		return all
	}
	for i := range all {
		for _, d := range domains {
			if s.VMs[d.UUID] == nil && d.State != vmm.Stopped && slices.Contains(d.Devices, all[i].Word) {
				all[i].Strangers = append(all[i].Strangers, d.Name)
			}
		}
		slices.Sort(all[i].Strangers)
	}
	return all
}
