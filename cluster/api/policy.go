package api

import (
	"sync"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// policies keeps the policy in force parsed: every view needs it, and it rarely changes.
type policies struct {
	mu       sync.Mutex // guards what follows
	cluster  string
	revision uint64
	parsed   *config.Policy
}

func (c *policies) of(s *fsm.State) *config.Policy {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parsed == nil || c.revision != s.Policy.Revision || c.cluster != s.Cluster.ID {
		c.parsed, c.revision, c.cluster = policyOf(s), s.Policy.Revision, s.Cluster.ID
	}
	return c.parsed
}

// policyOf parses the policy of a state. One that this version cannot read is taken
// for the default: views then show less.
func policyOf(s *fsm.State) *config.Policy {
	if len(s.Policy.Files) > 0 {
		if p, err := config.ParsePolicy(s.Policy.Files); err == nil {
			return p
		}
	}
	return config.DefaultPolicy(s.Cluster.Name)
}

// policy is the one in force.
func (w World) policy() *config.Policy {
	if w.Policy != nil {
		return w.Policy
	}
	return policyOf(w.State)
}
