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

// Ending implements service: the system is stopping, and the jobs say towards which target.
func (systemd) Ending(ctx context.Context) ending {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, "systemctl", "is-system-running").Output() // its exit status repeats what it prints
	if strings.TrimSpace(string(out)) != "stopping" {
		return ending{}
	}
	jobs, err := exec.CommandContext(ctx, "systemctl", "list-jobs", "--no-legend", "--plain", "--full").Output()
	return ending{down: true, reboot: err == nil && reboots(string(jobs))}
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
