package config

import (
	"maps"
	"path"
	"slices"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

// How VMs are put on hosts that could all take them.
const (
	StrategySpread = "spread" // evenly
	StrategyPack   = "pack"   // onto few hosts
)

// maxOvercommit bounds how much more may be promised than there is.
const maxOvercommit = 100

// PlacementPolicy is the placement block: what a host can carry, and who is preferred.
type PlacementPolicy struct {
	// MemoryOvercommit multiplies the memory that a host has for VMs.
	MemoryOvercommit float64 `json:"memory_overcommit"`
	// CPUOvercommit is how many virtual CPUs a logical processor carries; 0: no limit.
	CPUOvercommit float64 `json:"cpu_overcommit,omitempty"`
	Strategy      string  `json:"strategy"`
}

func defaultPlacement() PlacementPolicy {
	return PlacementPolicy{MemoryOvercommit: 1, Strategy: StrategySpread}
}

func placementSchema() *block {
	d := defaultPlacement()
	return &block{name: "placement", attrs: []attr{
		{name: "memory_overcommit", kind: kindFloat, def: d.MemoryOvercommit, check: floatBetween(0.1, maxOvercommit)},
		{name: "cpu_overcommit", kind: kindFloat, check: func(v any) string {
			if v.(float64) == 0 {
				return ""
			}
			return floatBetween(0.1, maxOvercommit)(v)
		}},
		{name: "strategy", kind: kindString, def: d.Strategy, words: []string{StrategySpread, StrategyPack}},
	}}
}

// floatBetween is a check that a number is within bounds.
func floatBetween(low, high float64) func(any) string {
	return func(v any) string {
		if x := v.(float64); !(x >= low && x <= high) {
			return "must be " + literalText(low) + " to " + literalText(high) + ", but is " + literalText(x)
		}
		return ""
	}
}

func (p PlacementPolicy) said() []said {
	d := defaultPlacement()
	return []said{{"memory_overcommit", p.MemoryOvercommit, d.MemoryOvercommit},
		{"cpu_overcommit", p.CPUOvercommit, d.CPUOvercommit}, {"strategy", p.Strategy, d.Strategy}}
}

// whereSchemas are the blocks that say where VMs go, and in which order.
func whereSchemas() []*block {
	return []*block{datastoreSchema(), devicesSchema(), placementSchema(), admissionSchema(),
		restartSchema(), moveSchemas()[0], moveSchemas()[1], classSchema(), groupSchema(), ruleSchema()}
}

// where takes those blocks over.
func (r *report) where(p *Policy, root *node) {
	n := root.one("placement")
	p.Placement = PlacementPolicy{MemoryOvercommit: get[float64](n, "memory_overcommit"),
		CPUOvercommit: get[float64](n, "cpu_overcommit"), Strategy: get[string](n, "strategy")}
	p.Restart = r.restart(root.one("restart"))
	r.moves(p, root)
	r.datastores(p, root)
	r.devices(p, root)
	r.admission(p, root)
	r.classes(p, root)
	r.groups(p, root)
	r.rules(p, root)
}

// putWhere prints them.
func putWhere(open func(kind string, labels ...string) *hclwrite.Body, p *Policy) {
	for _, name := range sortedKeys(p.Datastores) {
		putSaid(open("datastore", name), p.Datastores[name].said())
	}
	putDevices(open, p.Devices)
	if all := p.Placement.said(); anySaid(all) {
		putSaid(open("placement"), all)
	}
	putAdmission(open, p.Admission)
	if all := p.Restart.said(); anySaid(all) {
		putSaid(open("restart"), all)
	}
	if all := p.Migration.said(); anySaid(all) {
		putSaid(open("migration"), all)
	}
	if all := p.Balance.said(); anySaid(all) {
		putSaid(open("balance"), all)
	}
	for _, name := range sortedKeys(p.Classes) {
		putSaid(open("class", name), p.Classes[name].said())
	}
	putGroups(open, p.Groups)
	for _, name := range sortedKeys(p.Rules) {
		putSaid(open("rule", name), p.Rules[name].said())
	}
}

// where lists what differs in them.
func (d *differ) where(a, b *Policy) {
	blocksDiffer(d, "datastore", a.Datastores, b.Datastores, Datastore.said)
	d.devices(a.Devices, b.Devices)
	d.said("placement", a.Placement.said(), b.Placement.said())
	d.admission(a.Admission, b.Admission)
	d.said("restart", a.Restart.said(), b.Restart.said())
	d.said("migration", a.Migration.said(), b.Migration.said())
	d.said("balance", a.Balance.said(), b.Balance.said())
	blocksDiffer(d, "class", a.Classes, b.Classes, Class.said)
	d.groups(a.Groups, b.Groups)
	blocksDiffer(d, "rule", a.Rules, b.Rules, Rule.said)
}

// cloneWhere copies them from p to q.
func cloneWhere(q, p *Policy) {
	q.Datastores, q.Classes, q.Rules = maps.Clone(p.Datastores), maps.Clone(p.Classes), maps.Clone(p.Rules)
	q.Devices = cloneDevices(p.Devices)
	q.Restart.Retries = slices.Clone(p.Restart.Retries)
	for name, c := range q.Classes {
		c.Retries = slices.Clone(c.Retries)
		q.Classes[name] = c
	}
	q.Groups = slices.Clone(p.Groups)
	for i := range q.Groups {
		g := &q.Groups[i]
		g.VMs, g.StartAfter = slices.Clone(g.VMs), slices.Clone(g.StartAfter)
		g.Ready.TCP, g.Ready.HTTP = slices.Clone(g.Ready.TCP), slices.Clone(g.Ready.HTTP)
	}
	for name, r := range q.Rules {
		r.VMs, r.Hosts, r.HostLabels = slices.Clone(r.VMs), maps.Clone(r.Hosts), maps.Clone(r.HostLabels)
		q.Rules[name] = r
	}
}

// fits reports whether a pattern fits the name of a VM.
func fits(pattern, vm string) bool {
	ok, err := path.Match(pattern, vm)
	return pattern != "" && err == nil && ok
}
