package config

import "github.com/hashicorp/hcl/v2/hclwrite"

// What is asked for before the VMs of a silent host start elsewhere.
const (
	// FencingRequired: a proof that they cannot run there any more. Its watchdog, a fence
	// device or a person gives it.
	FencingRequired = "required"
	// FencingBestEffort: on a host without a watchdog the wait alone will do. A kernel that
	// hangs there while a VM goes on is then a VM that runs twice.
	FencingBestEffort = "best_effort"
)

// FencingPolicy is the fencing block.
type FencingPolicy struct {
	Mode string `json:"mode"` // one of the Fencing constants
}

func fencingSchema() *block {
	return &block{name: "fencing", attrs: []attr{
		{name: "mode", kind: kindString, def: FencingRequired, words: []string{FencingRequired, FencingBestEffort}},
	}}
}

// TrustsWait reports whether the wait alone will do for a host without a watchdog.
func (p *Policy) TrustsWait() bool { return p.Fencing.Mode == FencingBestEffort }

// putFencing writes the block, if it says something.
func putFencing(open func(kind string, labels ...string) *hclwrite.Body, p FencingPolicy) {
	if p.Mode != FencingRequired {
		put(open("fencing"), "mode", p.Mode)
	}
}
