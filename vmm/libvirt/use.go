package libvirt

import (
	"context"
	"fmt"
	"time"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/holdfast-ha/holdfast/vmm"
)

// Usage reads what libvirt knows without asking a VM's monitor: the time of processors
// that the VM's control group has taken, and what of the host's memory its process holds.
func (d *Driver) Usage(ctx context.Context) (map[string]vmm.Use, error) {
	use, err := call(ctx, d, func(l *rpc.Libvirt) (map[string]vmm.Use, error) {
		all, err := l.ConnectGetAllDomainStats(nil, uint32(rpc.DomainStatsCPUTotal|rpc.DomainStatsBalloon),
			uint32(rpc.ConnectGetAllDomainsStatsActive|rpc.ConnectGetAllDomainsStatsNowait))
		if err != nil {
			return nil, err
		}
		use := make(map[string]vmm.Use, len(all))
		for _, s := range all {
			cpu, known := count(s, "cpu.time")
			kib, _ := count(s, "balloon.rss")
			if known {
				use[formatUUID(s.Dom.UUID)] = vmm.Use{CPUTime: time.Duration(cpu), Memory: kib << 10}
			}
		}
		return use, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what VMs use: %w", err)
	}
	return use, nil
}

// count reads one large number of a domain's statistics, and whether libvirt knows it.
func count(s rpc.DomainStatsRecord, field string) (n uint64, known bool) {
	for _, p := range s.Params {
		if p.Field == field {
			n, known = p.Value.I.(uint64)
			return n, known
		}
	}
	return 0, false
}
