package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	agentProgram = "haagent"
	agentPort    = 7301
)

// configureAgent writes the host's haagent.hcl.
func (h *Host) configureAgent() error {
	var text strings.Builder
	fmt.Fprintf(&text, "node_name = %q\ndata_dir  = \"/var/lib/haagent\"\nlog_level = %q\n\n", h.name, h.lab.cfg.LogLevel)
	fmt.Fprintf(&text, "listen {\n  port   = %d\n  socket = \"/run/haagent/admin.sock\"\n}\n\n", agentPort)
	for _, n := range h.lab.cfg.Networks {
		fmt.Fprintf(&text, "network %q {\n  address = %q\n}\n\n", n.Name, n.address(h.number))
	}
	fmt.Fprintf(&text, "libvirt {\n  socket = %q\n}\n", libvirtSocket)
	return os.WriteFile(filepath.Join(h.path("/etc/haagent"), "haagent.hcl"), []byte(text.String()), 0o644)
}

// StartAgent starts haagent and returns when it runs, which may be before it
// answers. When it ends it is started again after 100 ms, as by its systemd unit.
func (h *Host) StartAgent(ctx context.Context) error {
	if h.lab.cfg.AgentBinary == "" {
		return errors.New("this lab has no agent: Config.AgentBinary is empty")
	}
	argv := []string{h.lab.cfg.AgentBinary, "agent", "--config", "/etc/haagent"}
	return h.startProgram(ctx, agentProgram, argv, h.lab.cfg.AgentEnv, true)
}

// KillAgent kills haagent (SIGKILL) for good and waits until it is gone; VMs go on.
func (h *Host) KillAgent(ctx context.Context) error { return h.killProgram(ctx, agentProgram) }

// CrashAgent kills haagent (SIGKILL); it is started again at once, as by systemd.
func (h *Host) CrashAgent(ctx context.Context) error {
	return h.signalProgram(ctx, agentProgram, syscall.SIGKILL)
}

// FreezeAgent stops every thread of haagent until ThawAgent; VMs go on.
func (h *Host) FreezeAgent(ctx context.Context) error {
	return h.signalProgram(ctx, agentProgram, syscall.SIGSTOP)
}

// ThawAgent lets a frozen haagent go on.
func (h *Host) ThawAgent(ctx context.Context) error {
	return h.signalProgram(ctx, agentProgram, syscall.SIGCONT)
}

// AgentRuns reports whether haagent was started and not killed: it runs or
// is about to be started again.
func (h *Host) AgentRuns(ctx context.Context) (bool, error) {
	return h.programRuns(ctx, agentProgram)
}

// Adm runs haadm in the host, against the host's own agent, and returns what it prints.
func (h *Host) Adm(ctx context.Context, args ...string) (string, error) {
	if h.lab.cfg.AdmBinary == "" {
		return "", errors.New("this lab has no haadm: Config.AdmBinary is empty")
	}
	return h.Exec(ctx, append([]string{h.lab.cfg.AdmBinary}, args...)...)
}
