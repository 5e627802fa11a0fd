package host

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// closing is an orderly shutdown of the host under way; the zero value is none.
type closing struct {
	on     bool
	since  time.Duration // boot clock
	reboot bool
}

// givesBack reports whether a host that is being shut down has its guests shut down now and gives all
// its VMs back. What becomes of them after that the master decides, and commits before: so the host waits
// for its word, but no longer than the office may take to find its next holder. VMs that are to be
// moved get the policy's time for it.
func givesBack(is closing, s *fsm.State, host string, incarnation uint64, p config.ShutdownPolicy, now time.Duration, t lease.Timing) bool {
	if !is.on {
		return false
	}
	var x *fsm.Shutdown
	if s != nil && s.Hosts[host] != nil {
		x = s.Hosts[host].Shutdown
	}
	switch {
	case x != nil && x.Incarnation == incarnation && x.Action == fsm.ShutdownMigrate:
		return x.Rest || now-is.since >= p.MigrateTimeout
	case x != nil && x.Incarnation == incarnation:
		return true
	}
	return p.For(is.reboot) == config.ShutdownFailover || now-is.since >= t.MasterBound()
}

// drainSpare is what an orderly end may take beyond the time that the policy gives: the guests' grace, and
// some time to commit.
const drainSpare = 100 * time.Second

// DrainLimit is how long Drain may take under a policy before what is left has to wait for the end of
// the lease.
func DrainLimit(p config.ShutdownPolicy) time.Duration {
	if p.Action == config.ShutdownMigrate {
		return p.MigrateTimeout + drainSpare
	}
	return drainSpare
}

// Drain gives every VM of this host away, because the host is being shut down, or rebooted: as the policy's
// host_shutdown says they are moved, or their guests are asked to stop and powered off after their
// grace. It returns nil once this host owns none, while Run goes on, and an error when ctx ends or that
// took longer than DrainLimit.
func (h *Host) Drain(ctx context.Context, reboot bool) error {
	h.bring(ctx, func() { h.closing, h.beatNow = closing{on: true, since: h.cfg.Now(), reboot: reboot}, true })
	began := h.cfg.Now()
	for {
		s, _, changed := h.cfg.View()
		if len(s.Owned(h.cfg.Name, h.Status().Incarnation)) == 0 {
			return nil
		}
		limit := DrainLimit(h.cfg.Policy(s).Shutdown)
		if h.Status().Lease == (lease.Lease{}) {
			limit = drainSpare // its life is over: nothing is left that could be moved
		}
		left := began + limit - h.cfg.Now()
		if left <= 0 {
			return fmt.Errorf("give back the VMs of this host: not through within %v", limit)
		}
		t := time.NewTimer(left)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("give back the VMs of this host: %w", ctx.Err())
		case <-changed:
		case <-t.C:
		}
		t.Stop()
	}
}
