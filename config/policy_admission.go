package config

import (
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// What follows when there is not enough room for failures.
const (
	AdmissionEnforce = "enforce" // the change that would take it is refused
	AdmissionWarn    = "warn"    // the change passes, and people are told
	AdmissionOff     = "off"     // it is not reckoned, and people are told that
)

// How room for failures is reckoned: the inner block of admission_control.
const (
	RoomFailures = "host_failures"   // by placement: any so many hosts may fail
	RoomSlots    = "slots"           // by slots, as vSphere does
	RoomPercent  = "reserve_percent" // by a part of all capacity, as vSphere does
	RoomStandby  = "standby_hosts"   // by keeping the standby hosts empty
)

// AnyDegradation is the per cent that VMs can lose at most.
const AnyDegradation = 100

const (
	maxTolerated = 64
	// defaultMinMHz is what a VM without a reservation counts (vSphere's figure).
	defaultMinMHz = 32
)

// AdmissionPolicy is the admission_control block: how much room is kept for
// failures of hosts, and what happens when a change would take it.
type AdmissionPolicy struct {
	Mode string `json:"mode"`
	// CountUnprotected has slots and percentages count VMs that are not protected. By
	// placement they always take the room that they take.
	CountUnprotected bool `json:"count_unprotected"`
	// Degradation is the per cent of what they really take that VMs may lose by the
	// failures before people are warned; AnyDegradation: never.
	Degradation int `json:"tolerated_degradation"`
	// By is one of the Room constants.
	By string `json:"by"`
	// Tolerate is how many failures are borne; Domain and Succession are RoomFailures'.
	Tolerate int `json:"tolerate"`
	// Domain is what fails: DomainHost or DomainFailure.
	Domain string `json:"domain"`
	// Succession has hosts fail one after the other, with restarts in between.
	Succession bool      `json:"succession,omitempty"`
	Slot       SlotRules `json:"slot,omitzero"`
	// CPU and Memory are the per cent that RoomPercent keeps free; both 0: what Tolerate
	// of the largest hosts make of all.
	CPU    int `json:"cpu,omitempty"`
	Memory int `json:"memory,omitempty"`
	// MinMHz is what a VM without a reservation counts by slots and percentages.
	MinMHz int `json:"min_mhz"`
}

// SlotRules bound or fix the size of a slot; 0 is not set.
type SlotRules struct {
	MemoryMin uint64 `json:"memory_min,omitempty"` // bytes
	MemoryMax uint64 `json:"memory_max,omitempty"`
	Memory    uint64 `json:"memory,omitempty"`
	MaxMHz    int    `json:"max_mhz,omitempty"`
	MHz       int    `json:"mhz,omitempty"`
}

// defaultAdmission warns. A VM counts with all its memory here, as QEMU may take all of
// it, where vSphere counts what is reserved, mostly nothing: what never refuses
// anything there would refuse starts in many a cluster here that nobody has looked at.
func defaultAdmission() AdmissionPolicy {
	return AdmissionPolicy{
		Mode:             AdmissionWarn,
		CountUnprotected: true,
		Degradation:      AnyDegradation,
		By:               RoomFailures,
		Tolerate:         1,
		Domain:           DomainHost,
		MinMHz:           defaultMinMHz,
	}
}

func rooms() []string { return []string{RoomFailures, RoomSlots, RoomPercent, RoomStandby} }

func admissionSchema() *block {
	tolerate := attr{name: "tolerate", kind: kindInt, def: int64(1), check: intBetween(1, maxTolerated)}
	mhz := func(name string, def int64) attr {
		return attr{name: name, kind: kindInt, def: def, check: intBetween(1, maxReservedMHz)}
	}
	size := func(name string) attr { return attr{name: name, kind: kindSize, check: someMemory} }
	percent := func(name string) attr {
		return attr{name: name, kind: kindInt, check: intBetween(1, 99)}
	}
	return &block{name: "admission_control", attrs: []attr{
		{name: "mode", kind: kindString, def: AdmissionWarn, words: []string{AdmissionEnforce, AdmissionWarn, AdmissionOff}},
		{name: "count_unprotected", kind: kindBool, def: true},
		{name: "tolerated_degradation", kind: kindInt, def: int64(AnyDegradation), check: intBetween(0, AnyDegradation)},
	}, blocks: []*block{
		{name: RoomFailures, attrs: []attr{
			tolerate,
			{name: "domain", kind: kindString, def: DomainHost, words: []string{DomainHost, DomainFailure}},
			{name: "succession", kind: kindBool},
		}},
		{name: RoomSlots, attrs: []attr{
			tolerate, mhz("cpu_min_mhz", defaultMinMHz), mhz("cpu_max_mhz", 0), mhz("cpu_mhz", 0),
			size("memory_min"), size("memory_max"), size("memory"),
		}},
		{name: RoomPercent, attrs: []attr{tolerate, percent("cpu"), percent("memory"), mhz("cpu_min_mhz", defaultMinMHz)}},
		{name: RoomStandby},
	}}
}

// admission takes the admission_control block over.
func (r *report) admission(p *Policy, root *node) {
	n := root.one("admission_control")
	a := defaultAdmission()
	a.Mode, a.CountUnprotected = get[string](n, "mode"), get[bool](n, "count_unprotected")
	a.Degradation = int(get[int64](n, "tolerated_degradation"))
	if len(n.kids) > 1 {
		r.add(n.kids[1].rng, "Two ways to reckon", "admission_control has %s and %s. Room is reckoned in one way: take one of them out.",
			n.kids[0].schema.name, n.kids[1].schema.name)
	}
	if len(n.kids) > 0 {
		a.By = n.kids[0].schema.name
	}
	kid := n.one(a.By)
	switch a.By {
	case RoomFailures:
		a.Tolerate, a.Domain, a.Succession = int(get[int64](kid, "tolerate")), get[string](kid, "domain"), get[bool](kid, "succession")
	case RoomSlots:
		a.Tolerate, a.MinMHz = int(get[int64](kid, "tolerate")), int(get[int64](kid, "cpu_min_mhz"))
		a.Slot = SlotRules{MemoryMin: get[uint64](kid, "memory_min"), MemoryMax: get[uint64](kid, "memory_max"),
			Memory: get[uint64](kid, "memory"),
			MaxMHz: int(get[int64](kid, "cpu_max_mhz")), MHz: int(get[int64](kid, "cpu_mhz"))}
		r.exclude(kid, "memory", "memory_min", "memory_max")
		r.exclude(kid, "cpu_mhz", "cpu_min_mhz", "cpu_max_mhz")
		if s := a.Slot; s.MemoryMax > 0 && s.MemoryMin > s.MemoryMax {
			r.add(kid.at("memory_max"), "A slot of no size", "memory_min is %s, which is more than memory_max, %s.",
				formatSize(s.MemoryMin), formatSize(s.MemoryMax))
		}
		if s := a.Slot; s.MaxMHz > 0 && a.MinMHz > s.MaxMHz {
			r.add(kid.at("cpu_max_mhz"), "A slot of no size", "cpu_min_mhz is %d, which is more than cpu_max_mhz, %d.", a.MinMHz, s.MaxMHz)
		}
	case RoomPercent:
		a.Tolerate, a.MinMHz = int(get[int64](kid, "tolerate")), int(get[int64](kid, "cpu_min_mhz"))
		a.CPU, a.Memory = int(get[int64](kid, "cpu")), int(get[int64](kid, "memory"))
		_, cpu := kid.set["cpu"]
		_, memory := kid.set["memory"]
		if cpu != memory {
			r.add(kid.rng, "Half of the percentages",
				"reserve_percent has one of cpu and memory. Set both, or neither: then it is what the largest hosts, as many as tolerate says, make of all.")
		}
		r.exclude(kid, "cpu", "tolerate")
	case RoomStandby:
		any := false
		for _, h := range p.Hosts {
			any = any || h.Standby
		}
		if !any && !r.unread {
			r.add(kid.rng, "No standby host",
				"standby_hosts keeps the standby hosts empty, and there is none. Say which: host \"NAME\" { standby = true }.")
		}
	}
	if a.By == RoomFailures || a.By == RoomStandby {
		if s, set := n.set["count_unprotected"]; set && !s.bad {
			r.add(s.rng, "count_unprotected has no effect here",
				"It is about slots and reserve_percent. In %s every VM takes the room that it takes. Take it out.", a.By)
			a.CountUnprotected = true
		}
	}
	p.Admission = a
}

// exclude notes attributes that have no effect once another is set.
func (r *report) exclude(n *node, name string, idle ...string) {
	if _, set := n.set[name]; !set {
		return
	}
	for _, x := range idle {
		if _, set := n.set[x]; set {
			r.add(n.at(x), x+" has no effect here", "%s is set, which settles it. Take one of them out.", name)
		}
	}
}

// said lists the attributes of the block itself, and room those of its inner block.
func (a AdmissionPolicy) said() []said {
	return []said{{"mode", a.Mode, AdmissionWarn}, {"count_unprotected", a.CountUnprotected, true},
		{"tolerated_degradation", int64(a.Degradation), int64(AnyDegradation)}}
}

func (a AdmissionPolicy) room() []said {
	tolerate := said{"tolerate", int64(a.Tolerate), int64(1)}
	minMHz := said{"cpu_min_mhz", int64(a.MinMHz), int64(defaultMinMHz)}
	switch a.By {
	case RoomFailures:
		return []said{tolerate, {"domain", a.Domain, DomainHost}, {"succession", a.Succession, false}}
	case RoomSlots:
		s := a.Slot
		return []said{tolerate, minMHz, {"cpu_max_mhz", int64(s.MaxMHz), int64(0)}, {"cpu_mhz", int64(s.MHz), int64(0)},
			{"memory_min", s.MemoryMin, uint64(0)}, {"memory_max", s.MemoryMax, uint64(0)}, {"memory", s.Memory, uint64(0)}}
	case RoomPercent:
		return []said{tolerate, {"cpu", int64(a.CPU), int64(0)}, {"memory", int64(a.Memory), int64(0)}, minMHz}
	}
	return nil
}

func putAdmission(open func(kind string, labels ...string) *hclwrite.Body, a AdmissionPolicy) {
	room := a.room()
	if !anySaid(a.said()) && a.By == RoomFailures && !anySaid(room) {
		return
	}
	b := open("admission_control")
	put(b, "mode", a.Mode) // people look for it
	putSaid(b, a.said()[1:])
	b.AppendNewline()
	putSaid(b.AppendNewBlock(a.By, nil).Body(), room)
}

// admission lists what differs.
func (d *differ) admission(a, b AdmissionPolicy) {
	const path = "admission_control"
	d.said(path, a.said(), b.said())
	if a.By != b.By {
		d.changes = append(d.changes, Change{path, a.By + " " + inBraces(a.room()), b.By + " " + inBraces(b.room())})
		return
	}
	d.said(path+"."+a.By, a.room(), b.room())
	// What the block of its kind cannot say is compared too: Validate refuses it.
	x, y := a, b
	for _, v := range []*AdmissionPolicy{&x, &y} {
		v.Mode, v.CountUnprotected, v.Degradation = "", false, 0
	}
	if len(d.changes) == 0 && x != y {
		d.changes = append(d.changes, Change{path, "a figure that " + a.By + " does not use", "without it"})
	}
}
