package device

import (
	"fmt"
	"strings"

	"github.com/holdfast-ha/holdfast/config"
)

// unfit says why an agent, by its own description, cannot prove that a host is off.
func unfit(a *Agent) string {
	switch {
	case !a.Does("off"):
		return "it has no action \"off\""
	case !a.Does("status"):
		return "it has no action \"status\", so nothing can verify that the power is off"
	case !a.Does("reboot"):
		return "it cuts a host off from its storage or network, not from its power: the host's VMs would run on"
	}
	return ""
}

// pretends reports whether an agent switches nothing and is there to test with.
func pretends(name string) bool { return name == "fence_dummy" }

// Unfit says in a clause why an agent is never used to switch a host off, by its
// name and, unless a is nil, by what it says of itself; empty: nothing is against it.
func (r *Runner) Unfit(name string, a *Agent) string {
	if pretends(name) && !r.pretend {
		return "it switches nothing off, it only pretends to"
	}
	if why := config.BadFenceAgent(name); why != "" {
		if _, reason, known := strings.Cut(why, "cannot prove that a host is off: "); known {
			return reason
		}
		return "its name " + why
	}
	if a != nil {
		return unfit(a)
	}
	return ""
}

// fit returns an error when an agent cannot be used, by its name or description.
func (r *Runner) fit(name string, a *Agent) error {
	if pretends(name) && !r.pretend {
		return fmt.Errorf("agent %s: it switches nothing off, it only pretends to; use the agent of your hardware, such as fence_ipmilan or fence_redfish", name)
	}
	if why := config.BadFenceAgent(name); why != "" {
		return fmt.Errorf("agent %s", why)
	}
	if a != nil {
		if why := unfit(a); why != "" {
			return fmt.Errorf("agent %s cannot prove that a host is off: %s", name, why)
		}
	}
	return nil
}
