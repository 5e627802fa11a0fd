package device

import (
	"fmt"
	"regexp"
	"strings"
)

// agentName is the form of an agent's name: no path, no option, no shell word.
var agentName = regexp.MustCompile(`^fence_[a-z0-9][a-z0-9_]{0,40}$`)

// refusedAgent says why an agent of that name cannot prove that a host is off, or
// nothing. These are agents whose "off" is something else than no power; the list
// is of what the sources of fence-agents 4.12 do.
func refusedAgent(name string) string {
	switch name {
	case "fence_sbd":
		return "its status reads the message that was left for the host, not the host's power"
	case "fence_crosslink":
		return "it calls a host off that does not answer a ping"
	case "fence_virsh":
		return "it calls a machine off that is suspended or still shutting down, and then does nothing"
	case "fence_amt":
		return "it calls a host off that only sleeps (S3), and then does nothing"
	case "fence_zvmip":
		return "it calls every machine off that it does not know"
	case "fence_evacuate", "fence_compute":
		return "it asks OpenStack to move machines, and switches no host off"
	case "fence_ack_manual":
		return "it only writes down what a person says"
	}
	return ""
}

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

// refusedOption says why an option of that name is never sent, or nothing.
func refusedOption(name string) string {
	n := strings.ReplaceAll(name, "-", "_")
	switch n {
	case "action", "option":
		return "the action is chosen for each call"
	case "password", "passwd":
		return "use password_file or password of the fence block, so that it is kept apart from what is shown"
	case "missing_as_off":
		return "a device that does not know the host must never be taken for one that has switched it off"
	case "network_fencing":
		return "it cuts a machine off from its network, not from its power"
	case "help", "version", "usage":
		return "with it the agent prints a text and does nothing"
	case "debug", "debug_file", "logfile", "cookie_file", "status_file":
		return "with it the agent, which runs as root, writes to any file"
	case "ssh_options", "openrc", "kubeconfig":
		return "with it the agent, which runs as root, runs other programs"
	case "record_only":
		return "with it the agent does nothing"
	}
	switch {
	case strings.HasSuffix(n, "_script"), strings.HasSuffix(n, "_path") && n != "api_path" && n != "store_path":
		return "with it the agent, which runs as root, runs other programs"
	}
	return ""
}

// pretends reports whether an agent switches nothing and is there to test with.
func pretends(name string) bool { return name == "fence_dummy" }

// fit returns an error when an agent cannot be used, by its name or description.
func (r *Runner) fit(name string, a *Agent) error {
	if pretends(name) && !r.pretend {
		return fmt.Errorf("agent %s: it switches nothing off, it only pretends to; use the agent of your hardware, such as fence_ipmilan or fence_redfish", name)
	}
	why := refusedAgent(name)
	if why == "" && a != nil {
		why = unfit(a)
	}
	if why != "" {
		return fmt.Errorf("agent %s cannot prove that a host is off: %s", name, why)
	}
	return nil
}
