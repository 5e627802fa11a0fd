package config

import (
	"fmt"
	"slices"
	"time"
)

// Priorities of restart, the first to be restarted first. They are vSphere's five.
const (
	PriorityHighest = "highest"
	PriorityHigh    = "high"
	PriorityMedium  = "medium"
	PriorityLow     = "low"
	PriorityLowest  = "lowest"
)

func priorities() []string {
	return []string{PriorityHighest, PriorityHigh, PriorityMedium, PriorityLow, PriorityLowest}
}

// PriorityLevel is a priority as a number: 5 for the highest, 1 for the lowest, 0 for no priority.
func PriorityLevel(word string) int {
	if i := slices.Index(priorities(), word); i >= 0 {
		return len(priorities()) - i
	}
	return 0
}

// PriorityWord is the priority of a level as PriorityLevel numbers them; "none" for any other number.
func PriorityWord(level int) string {
	if all := priorities(); level >= 1 && level <= len(all) {
		return all[len(all)-level]
	}
	return "none"
}

// What is promised to the VMs of a class.
const (
	AdmitGuaranteed = "guaranteed"  // admission control keeps room for them
	AdmitBestEffort = "best_effort" // they are restarted after all others, where room is left
)

const (
	// maxOrder bounds a VM's order on both sides of zero.
	maxOrder = 1_000_000
	// maxReservedMHz bounds the processor time promised to one VM.
	maxReservedMHz = 10_000_000
	// maxRetries is how many tries a schedule may have, and maxRetryTime when the last one is.
	maxRetries   = 20
	maxRetryTime = 24 * time.Hour
)

// Class is a class block: what its VMs have in common.
type Class struct {
	Priority  string `json:"priority"`  // one of the Priority constants
	Admission string `json:"admission"` // AdmitGuaranteed or AdmitBestEffort
	// Retries is its schedule of tries, as in RestartPolicy; nil: the restart block's.
	Retries []time.Duration `json:"retries,omitempty"`
	// Isolation is what an isolated host does with them; empty: as the policy says for all.
	Isolation string `json:"isolation,omitempty"`
	// Failback is one of the Failback constants; empty: as the migration block says.
	Failback string `json:"failback,omitempty"`
}

// defaultClass holds for VMs that are in no class.
func defaultClass() Class { return Class{Priority: PriorityMedium, Admission: AdmitGuaranteed} }

func classSchema() *block {
	d := defaultClass()
	return &block{name: "class", label: "a name for the class of VMs", many: true, labelCheck: badName, attrs: []attr{
		{name: "priority", kind: kindString, def: d.Priority, words: priorities()},
		{name: "admission", kind: kindString, def: d.Admission, words: []string{AdmitGuaranteed, AdmitBestEffort}},
		{name: "retries", kind: kindDurations, check: badRetries},
		{name: "isolation", kind: kindString, words: isolationWords()},
		{name: "failback", kind: kindString, words: failbacks()},
	}}
}

// vmAttrs are the attributes of vm and vms that are about recovery.
func vmAttrs() []attr {
	return []attr{
		{name: "class", kind: kindString, check: nameText},
		{name: "priority", kind: kindString, words: priorities()},
		{name: "failback", kind: kindString, words: failbacks()},
		{name: "order", kind: kindInt, check: intBetween(-maxOrder, maxOrder)},
		{name: "cpu_reserved_mhz", kind: kindInt, check: intBetween(0, maxReservedMHz)},
	}
}

// badRetries says what is wrong with a schedule of tries, or nothing.
func badRetries(v any) string {
	list := v.([]time.Duration)
	if len(list) == 0 || len(list) > maxRetries {
		return fmt.Sprintf("has %d moments; a schedule has 1 to %d, the first of which is that of the first try", len(list), maxRetries)
	}
	for i, d := range list {
		switch {
		case d > maxRetryTime:
			return fmt.Sprintf("holds %s; the last try is %s after the first at the latest", formatDuration(d), formatDuration(maxRetryTime))
		case i == 0 && d != 0:
			return fmt.Sprintf("begins with %s, but the first try is made at once: begin with \"0s\"", formatDuration(d))
		case i > 0 && d <= list[i-1]:
			return fmt.Sprintf("has %s after %s; the moments count from the first try, so each is later than the one before",
				formatDuration(d), formatDuration(list[i-1]))
		}
	}
	return ""
}

func (c Class) said() []said {
	d := defaultClass()
	return []said{
		{"priority", c.Priority, d.Priority},
		{"admission", c.Admission, d.Admission},
		{"retries", c.Retries, []time.Duration(nil)},
		{"isolation", c.Isolation, ""},
		{"failback", c.Failback, ""},
	}
}

// classes takes the class blocks over, and checks what names them.
func (r *report) classes(p *Policy, root *node) {
	for _, n := range root.all("class") {
		if p.Classes == nil {
			p.Classes = map[string]Class{}
		}
		p.Classes[n.label] = Class{Priority: get[string](n, "priority"), Admission: get[string](n, "admission"),
			Retries: get[[]time.Duration](n, "retries"), Isolation: get[string](n, "isolation"), Failback: get[string](n, "failback")}
	}
	p.Defaults.Class = get[string](root.one("defaults"), "class")
	for _, n := range slices.Concat([]*node{root.one("defaults")}, root.all("vms"), root.all("vm")) {
		name := get[string](n, "class")
		if _, ok := p.Classes[name]; name != "" && !ok && !r.unread {
			r.add(n.at("class"), "Unknown class", "There is no block: class %s { ... }%s", quote(name), didYouMean(name, sortedKeys(p.Classes)))
		}
	}
}

// class finds the class of that name, or what holds without one.
func (p *Policy) class(name string) Class {
	if c, ok := p.Classes[name]; ok {
		return c
	}
	return defaultClass()
}

// recovery lists what a vm or vms block says about its recovery.
func (v VMRule) recovery() []said {
	return []said{
		{"class", v.Class, ""},
		{"priority", v.Priority, ""},
		{"failback", v.Failback, ""},
		{"order", int64(v.Order), int64(0)},
		{"cpu_reserved_mhz", int64(v.ReservedMHz), int64(0)},
	}
}

// idleVMs lists what is said about the recovery of VMs that are not protected, and
// classes of no VM.
func (p *Policy) idleVMs() (list []string) {
	used := map[string]bool{p.Defaults.Class: true}
	idle := func(block string, v VMRule) {
		used[v.Class] = true
		if !v.Protect && (v.Class != "" || v.Priority != "" || v.Failback != "" || v.Order != 0) {
			list = append(list, fmt.Sprintf("%s is not protected: its class, priority, failback and order have no effect", block))
		}
	}
	for _, s := range p.Selectors {
		idle(fmt.Sprintf("vms %q", s.Name), s.VMRule)
	}
	for _, name := range sortedKeys(p.VMs) {
		idle(fmt.Sprintf("vm %q", name), p.VMs[name])
	}
	for _, name := range sortedKeys(p.Classes) {
		if !used[name] {
			list = append(list, fmt.Sprintf("class %q is not used: no vm, vms or defaults block names it", name))
		}
	}
	awaited := map[string]bool{}
	for _, g := range p.Groups {
		for _, name := range g.StartAfter {
			awaited[name] = true
		}
	}
	for _, g := range p.Groups {
		if awaited[g.Name] {
			continue
		}
		if p.Restart.NextWhen != NextReady && anySaid(g.Ready.said()) {
			list = append(list, fmt.Sprintf("group %q: nothing starts after it, so ready_when has no effect", g.Name))
		} else if g.Ready.Timeout != defaultReadyTimeout {
			list = append(list,
				fmt.Sprintf("group %q: nothing starts after it, so the timeout of its ready_when has no effect: restart.next_timeout holds",
					g.Name))
		}
	}
	return list
}
