package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// ending is what becomes of the machine when this process is told to end.
type ending struct {
	down   bool // the whole system stops
	reboot bool // and starts again
}

// service is the service manager, as far as an orderly end needs it.
type service interface {
	// Ending tells whether the whole system stops; where that cannot be told, it does not.
	Ending(ctx context.Context) ending
	// Extend asks for that much more time before this process is killed, counted from now.
	Extend(d time.Duration)
}

// extendBy is how much time is asked for, and extendEvery how often.
const (
	extendBy    = 30 * time.Second
	extendEvery = 10 * time.Second
)

// extended runs f, and keeps the service manager from ending this process meanwhile: f bounds itself.
func extended(s service, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	tick := time.NewTicker(extendEvery)
	defer tick.Stop()
	for {
		s.Extend(extendBy)
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
	}
}

// systemd is the service manager of a real host.
type systemd struct{ log hclog.Logger }

// askFor is how long systemd may take for an answer. On a busy host that stops everything at once it
// may be slow, and without an answer the VMs would not be given back; the agent keeps them meanwhile.
const askFor = 10 * time.Second

// Ending implements service: the system is stopping, and the jobs say towards which target.
func (s systemd) Ending(ctx context.Context) ending {
	state, err := systemctl(ctx, "is-system-running") // its exit status repeats what it prints
	if state = strings.TrimSpace(state); state == "" {
		s.log.Warn("cannot ask systemd whether the host is being shut down; its protected VMs are left as they are", "error", err)
	}
	if state != "stopping" {
		return ending{}
	}
	jobs, err := systemctl(ctx, "list-jobs", "--no-legend", "--plain", "--full")
	if err != nil {
		s.log.Warn("cannot ask systemd what the host is being shut down for; it counts as a power-off", "error", err)
		return ending{down: true}
	}
	return ending{down: true, reboot: reboots(jobs)}
}

// systemctl returns what it prints.
func systemctl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", args...).Output()
	return string(out), err
}

// Extend implements service.
func (s systemd) Extend(d time.Duration) {
	notify(s.log, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}

// reboots reports whether systemd's list of jobs leads to a reboot, by whatever way, and to nothing else.
func reboots(jobs string) bool {
	again, off := []string{"reboot.target", "kexec.target", "soft-reboot.target"}, []string{"poweroff.target", "halt.target"}
	reboot := false
	for line := range strings.Lines(jobs) {
		f := strings.Fields(line) // number, unit, type, state
		if len(f) < 3 || f[2] != "start" {
			continue
		}
		if slices.Contains(off, f[1]) {
			return false
		}
		reboot = reboot || slices.Contains(again, f[1])
	}
	return reboot
}
