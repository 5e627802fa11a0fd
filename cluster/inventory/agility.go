package inventory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// Agility says where a VM could run, were all hosts up and empty.
type Agility struct {
	VM string
	// Agile: a host other than the one that it is on could run it.
	Agile bool
	// Ties are what ties it to its host, and what it would lose.
	Ties []domainxml.Tie
	// Hosts are all hosts by name, each with everything that keeps the VM from it.
	Hosts []Fit
}

// Fit is one host; without reasons the VM could run there.
type Fit struct {
	Host    string
	Reasons []string
}

// Agility looks at one VM by its name in the picture. ok is false when there is none.
func (inv *Inventory) Agility(name string) (a Agility, ok bool) {
	c := inv.Cluster
	i := slices.IndexFunc(c.VMs, func(v placement.VM) bool { return v.Name == name })
	if i < 0 {
		return Agility{}, false
	}
	v := &c.VMs[i]
	a = Agility{VM: name, Ties: inv.ties[name]}
	for j := range c.Hosts {
		f := Fit{Host: c.Hosts[j].Name, Reasons: inv.keepsOff(v, &c.Hosts[j])}
		a.Agile = a.Agile || len(f.Reasons) == 0 && f.Host != v.Host
		a.Hosts = append(a.Hosts, f)
	}
	slices.SortFunc(a.Hosts, func(x, y Fit) int { return strings.Compare(x.Host, y.Host) })
	return a, true
}

// keepsOff lists everything that keeps the VM from an empty host.
func (inv *Inventory) keepsOff(v *placement.VM, h *placement.Host) (why []string) {
	if h.Name != v.Host {
		why = append(why, v.Bound...)
	}
	if s, barred := v.Barred[h.Name]; barred {
		why = append(why, s)
	}
	missing := func(what string, needs, has []string) {
		for _, s := range needs {
			if !slices.Contains(has, s) {
				why = append(why, fmt.Sprintf("%s %s is not there", what, s))
			}
		}
	}
	missing("datastore", v.Datastores, h.Datastores)
	missing("network", v.Networks, h.Networks)
	missing("capability", v.Capabilities, h.Capabilities)
	over := inv.Cluster.Policy.MemoryOvercommit
	if over == 0 {
		over = 1
	}
	told := h.Memory > 0 || h.CPUs > 0 // a host that was never heard says nothing of itself
	if room, need := int64(float64(max(0, h.Memory-h.Reserve))*over), v.Memory+v.Overhead; told && need > room {
		has, needs := placement.Sizes(room, need)
		why = append(why, fmt.Sprintf("it has %s for VMs in all, %s are needed", has, needs))
	}
	if over := inv.Cluster.Policy.CPUOvercommit; told && over > 0 && float64(v.VCPUs) > over*float64(h.CPUs) {
		why = append(why, fmt.Sprintf("its %d processors may carry %.0f virtual ones, %d are needed", h.CPUs, over*float64(h.CPUs), v.VCPUs))
	}
	for _, word := range sortedKeys(v.Extra) {
		n := v.Extra[word]
		if pool, is := strings.CutPrefix(word, placement.DevicePool); is && n > h.Extra[word] {
			why = append(why, inv.lacks(pool, h, n))
			continue
		}
		if n > h.Extra[word] {
			has, needs := placement.Sizes(h.Extra[word], n)
			why = append(why, fmt.Sprintf("it has %s of %s in all, %s are needed", has, word, needs))
		}
	}
	for i := range inv.Cluster.Rules {
		r := &inv.Cluster.Rules[i]
		if !r.Must || !slices.Contains(r.VMs, v.Name) {
			continue
		}
		_, listed := r.Hosts[h.Name]
		if r.Kind == placement.OnHosts && !listed || r.Kind == placement.NotOnHosts && listed {
			why = append(why, "rule "+r.Name+" forbids it")
		}
	}
	return why
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
