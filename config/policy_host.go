package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Bounds of a host block.
const (
	maxRestartsAtOnce = 256
	maxVMsPerHost     = 10_000
	maxLabels         = 64
)

// HostRule is what a host block says.
type HostRule struct {
	// Fence are the ways to switch the host off, in the order in which they are
	// tried. Each is the names of the devices that must all be off.
	Fence [][]string `json:"fence,omitempty"`
	// FailureDomain is what it fails together with, such as its rack; empty: alone.
	FailureDomain string `json:"failure_domain,omitempty"`
	// MaxRestarts bounds how many starts are under way on it at once; 0: as the restart block says.
	MaxRestarts int `json:"max_restarts,omitempty"`
	// MaxVMs bounds how many VMs run on it, protected or not; 0: no bound.
	MaxVMs int `json:"max_vms,omitempty"`
	// MemoryReserve is kept for the host itself, bytes; 0: what its own agent says.
	MemoryReserve uint64 `json:"memory_reserve,omitempty"`
	// Standby keeps the host free for restarts: nothing else is started there.
	Standby bool `json:"standby,omitempty"`
	// Labels are for rules that choose hosts by host_labels.
	Labels map[string]string `json:"labels,omitempty"`
}

func hostSchema() *block {
	return &block{name: "host", label: "the host's name", many: true, labelCheck: badName, attrs: []attr{
		{name: "fence", kind: kindLevels, check: badLevels},
		{name: "failure_domain", kind: kindString, check: nameText},
		{name: "max_restarts", kind: kindInt, check: intBetween(1, maxRestartsAtOnce)},
		{name: "max_vms", kind: kindInt, check: intBetween(1, maxVMsPerHost)},
		{name: "memory_reserve", kind: kindSize, check: someMemory},
		{name: "standby", kind: kindBool},
		{name: "labels", kind: kindMap, check: badLabels, like: `names and strings in braces, such as { gpu = "a2" }`},
	}}
}

// hostRule takes a host block over.
func (r *report) hostRule(n *node) HostRule {
	h := HostRule{Fence: get[[][]string](n, "fence"), FailureDomain: get[string](n, "failure_domain"),
		MaxRestarts: int(get[int64](n, "max_restarts")),
		MaxVMs:      int(get[int64](n, "max_vms")), MemoryReserve: get[uint64](n, "memory_reserve"),
		Standby: get[bool](n, "standby"), Labels: get[map[string]string](n, "labels")}
	bad := false
	for _, s := range n.set {
		bad = bad || s.bad
	}
	if !bad && h.Blank() {
		r.add(n.rng, "Empty host block",
			"host %s says nothing. Leave the block out, or set something in it: fence, failure_domain, max_restarts, max_vms, memory_reserve, standby or labels.",
			quote(n.label))
	}
	return h
}

func (h HostRule) said() []said {
	return []said{
		{"fence", h.Fence, [][]string(nil)},
		{"failure_domain", h.FailureDomain, ""},
		{"max_restarts", int64(h.MaxRestarts), int64(0)},
		{"max_vms", int64(h.MaxVMs), int64(0)},
		{"memory_reserve", h.MemoryReserve, uint64(0)},
		{"standby", h.Standby, false},
		{"labels", h.Labels, map[string]string(nil)},
	}
}

// Blank reports whether the rule says nothing.
func (h HostRule) Blank() bool { return !anySaid(h.said()) }

// clone copies what the rule shares with nothing then.
func (h HostRule) clone() HostRule {
	levels := make([][]string, len(h.Fence))
	for i, level := range h.Fence {
		levels[i] = slices.Clone(level)
	}
	if h.Fence == nil {
		levels = nil
	}
	h.Fence, h.Labels = levels, maps.Clone(h.Labels)
	return h
}

func putHosts(open func(kind string, labels ...string) *hclwrite.Body, hosts map[string]HostRule) {
	for _, name := range sortedKeys(hosts) {
		putSaid(open("host", name), hosts[name].said())
	}
}

// someMemory refuses a size of nothing, and one that no host has.
func someMemory(v any) string {
	if n := v.(uint64); n < 1<<20 || n > 1<<49 {
		return fmt.Sprintf("must be 1MiB to 512TiB, but is %s", formatSize(n))
	}
	return ""
}

func badLabels(v any) string {
	m := v.(map[string]string)
	if len(m) == 0 || len(m) > maxLabels {
		return fmt.Sprintf("has %d labels; 1 to %d are allowed", len(m), maxLabels)
	}
	for _, k := range sortedKeys(m) {
		if problem := badName(k); problem != "" {
			return fmt.Sprintf("has the label %s, but a label's name %s", quote(k), problem)
		}
		if m[k] == "" || len(m[k]) > maxVMName {
			return fmt.Sprintf("gives the label %s a value of %d bytes; it has 1 to %d", k, len(m[k]), maxVMName)
		}
	}
	return ""
}
