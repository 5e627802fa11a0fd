package inventory

import (
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
)

// Stranger is a VM that nobody protects as it would be if it ran on a host, for a question about
// the picture. Where the picture has it already, there or elsewhere, it goes by the name that it
// has there; the name of a new one is no other's.
func (inv *Inventory) Stranger(d Domain, host string) placement.VM {
	v := stranger(d, inv.free(d.Name, d.UUID, host), host, inv.policy)
	for i := range inv.Cluster.VMs {
		x := &inv.Cluster.VMs[i]
		if x.Class != placement.Unprotected || inv.UUIDs[x.Name] != d.UUID {
			continue
		}
		v.Name, v.Use = x.Name, x.Use
		if x.Host == host {
			break
		}
	}
	return v
}

// stranger is a VM outside protection that runs on a host, under its name in the picture.
func stranger(d Domain, name, host string, p *config.Policy) placement.VM {
	return placement.VM{Name: name, Status: placement.Running, Host: host, Memory: amount(d.Memory), Overhead: defaultOverhead, VCPUs: max(0, d.VCPUs), Class: placement.Unprotected,
		Extra: takesOf(p, host, d.Devices)}
}

// free is a name for a VM that no other in the picture has.
func (inv *Inventory) free(name, uuid, host string) string {
	for _, s := range []string{name, name + " on " + host, name + " (" + uuid + ")", name + " (" + uuid + ") on " + host} {
		if _, taken := inv.UUIDs[s]; !taken && s != "" {
			return s
		}
	}
	return inv.free(name+"'", uuid, host)
}
