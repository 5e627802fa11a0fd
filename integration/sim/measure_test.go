package sim

import (
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
)

var measureRuns = flag.Int("measure-runs", 5, "runs of each measure; 50 or more for figures to publish")

// powerLoss is a cluster of three in which one host loses its power at a moment
// that depends on the run, so that it falls anywhere between two heartbeats.
func powerLoss(run int, host, device string) *scenario.Scenario {
	s := &scenario.Scenario{SchemaVersion: scenario.SchemaVersion, ID: fmt.Sprintf("measure-%s-%d", host, run), Category: "measure"}
	s.Expect.Downtime = map[string]scenario.Seconds{} // of everybody else's VMs: none
	for i := range 3 {
		id := fmt.Sprintf("h%d", i+1)
		s.Hosts = append(s.Hosts, scenario.Host{ID: id, FenceDevice: device})
		s.VMs = append(s.VMs, scenario.VM{ID: fmt.Sprintf("v%d", i+1), Host: id, Desired: "running"})
		s.Actions = append(s.Actions, scenario.Action{Do: "power_on", Host: id})
		if id != host {
			s.Expect.Downtime[fmt.Sprintf("v%d", i+1)] = 0
		}
	}
	at := 20*time.Second + time.Duration(run)*137*time.Millisecond
	s.Actions = append(s.Actions,
		scenario.Action{T: scenario.Seconds(8 * time.Second), Do: "transfer_master", To: "h1"},
		scenario.Action{T: scenario.Seconds(at), Do: "power_off", Host: host})
	s.Until = scenario.Seconds(at + 30*time.Second)
	return s
}

// TestRecoveryTimes measures the time from a host's loss of power to the order to
// start its VM elsewhere, and holds it against the published bound plus one heartbeat.
// A fence device that works shortens the wait to the host's lease, the device's own
// time and the drain. The VMs of the other hosts go on throughout.
func TestRecoveryTimes(t *testing.T) {
	for _, m := range []struct {
		profile, what, host, device string
	}{
		{"standard", "a member", "h3", ""},
		{"standard", "the master", "h1", ""},
		{"standard", "a member with a fence device", "h3", deviceWorks},
		{"fast", "a member", "h3", ""},
		{"fast", "the master", "h1", ""},
		{"fast", "a member with a fence device", "h3", deviceWorks},
	} {
		t.Run(m.profile+", "+m.what, func(t *testing.T) {
			timing, _ := lease.Profile(m.profile)
			bound := timing.MemberBound() + timing.Heartbeat
			switch {
			case m.host == "h1":
				bound = timing.MasterBound() + timing.Heartbeat
			case m.device != "":
				bound = min(bound, timing.SuspectAfter()+timing.Lease+timing.Grain+deviceTakes+timing.Drain+timing.Grain+timing.Heartbeat)
			}
			var mu sync.Mutex
			var ordered, running []time.Duration
			t.Run("runs", func(t *testing.T) {
				for run := range *measureRuns {
					t.Run(fmt.Sprint(run), func(t *testing.T) {
						t.Parallel()
						s := powerLoss(run, m.host, m.device)
						r := play(t, Config{Scenario: s, Seed: uint64(run), Profile: m.profile})
						rec := scenario.Recoveries(s, &r.Outcome)
						if len(r.Violations) > 0 || len(rec) != 1 || rec[0].Running < 0 {
							r.Violations = append(r.Violations, fmt.Sprintf("recoveries: %+v, want one", rec))
							explain(t, r)
							return
						}
						mu.Lock()
						defer mu.Unlock()
						ordered = append(ordered, time.Duration(rec[0].Ordered*float64(time.Second)))
						running = append(running, time.Duration(rec[0].Running*float64(time.Second)))
					})
				}
			})
			with := ""
			if m.device != "" {
				with = fmt.Sprintf(" that takes %v", deviceTakes)
			}
			t.Logf("power loss of %s%s, %s timing, %d runs: to start order %s; to running %s; bound %v", m.what, with, m.profile, len(ordered), spread(ordered), spread(running), bound)
			if n := len(ordered); n > 0 && slices.Max(ordered) > bound {
				t.Errorf("the slowest took %v, the bound with one heartbeat is %v", slices.Max(ordered), bound)
			}
		})
	}
}

// spread is least, median, 99th percentile and most.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	at := func(p int) time.Duration { return all[min(len(all)-1, len(all)*p/100)].Round(time.Millisecond) }
	return fmt.Sprintf("min %v median %v p99 %v max %v", at(0), at(50), at(99), all[len(all)-1].Round(time.Millisecond))
}
