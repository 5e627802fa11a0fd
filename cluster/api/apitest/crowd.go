package apitest

import (
	"fmt"
	"maps"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Crowd is Healthy with so many hosts: on most of those beyond the first three runs a VM
// outside protection, some are full, not live or out of service.
func Crowd(hosts int) *Backend {
	b := Healthy()
	like := *b.St.Hosts["kvm3"]
	for i := 4; i <= hosts; i++ {
		h := like
		h.Name, h.ID, h.Slot = fmt.Sprintf("kvm%d", i), uuid(100+i), uint16(i)
		o := b.Observed["kvm3"]
		o.Networks = maps.Clone(o.Networks)
		o.Domains = nil
		if used := uint64(i * 37 % 101); used > 0 {
			o.Domains = []api.DomainReport{{UUID: uuid(1000 + i), Name: fmt.Sprintf("guest%d", i), State: vmm.Running, VCPUs: 1 + i%24, Memory: used * gib, Persistent: true}}
		}
		switch {
		case i%21 == 0:
			h.Maintenance = &fsm.Maintenance{Since: Now, By: "ann", Why: "new memory"}
		case i%17 == 0:
			o.Verdict = "suspect"
		}
		b.St.Hosts[h.Name], b.Observed[h.Name] = &h, o
	}
	return b
}
