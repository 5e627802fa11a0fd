package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/doctor/look"
	"github.com/holdfast-ha/holdfast/cluster/host"
	"github.com/holdfast-ha/holdfast/fencing"
)

// looker looks at this machine for the doctor. The guard of the demonstration is
// part of this process, so there is nothing to be said of it.
func looker(guard host.Guard, embedded bool, local map[string]netip.Addr) *look.Host {
	h := &look.Host{Run: run, Networks: local}
	if shared, ok := guard.(*fencing.Shared); ok && !embedded {
		h.Guard = func() (fencing.Status, bool) { return shared.Status(), shared.GuardAlive(fencing.BootClock()) }
	}
	return h
}

// run runs a program and returns what it printed.
func run(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return string(out), nil
}
