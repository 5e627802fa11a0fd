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

var measureRuns = flag.Int("measure-runs", 5, "runs of each measure; 1000 for figures to publish")

// lostAt is when the host is lost in a run: anywhere between two heartbeats.
func lostAt(run int) time.Duration {
	return 20*time.Second + time.Duration(run)*137*time.Millisecond%(4*time.Second)
}

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
	at := lostAt(run)
	s.Actions = append(s.Actions,
		scenario.Action{T: scenario.Seconds(8 * time.Second), Do: "transfer_master", To: "h1"},
		scenario.Action{T: scenario.Seconds(at), Do: "power_off", Host: host})
	s.Until = scenario.Seconds(at + 30*time.Second)
	return s
}

// measured gathers times of runs that go on beside one another.
type measured struct {
	mu  sync.Mutex
	all []time.Duration
}

func (m *measured) add(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, d)
}

// against tells what was measured, and holds its 99th percentile to the limit and all to the bound.
func (m *measured) against(t *testing.T, what string, limit, bound time.Duration) {
	t.Helper()
	if len(m.all) == 0 {
		return
	}
	slices.Sort(m.all)
	is := "no limit"
	if limit != 0 {
		is = fmt.Sprintf("limit %v", limit)
		if p99 := percentile(m.all, 99); p99 > limit {
			t.Errorf("%s: the 99th percentile is %v, the limit %v", what, p99, limit)
		}
	}
	if most := m.all[len(m.all)-1]; bound != 0 && most > bound {
		t.Errorf("%s: the slowest took %v, the bound with one heartbeat is %v", what, most, bound)
	} else if bound != 0 {
		is += fmt.Sprintf(", bound %v", bound)
	}
	t.Logf("%s, %d runs: %s (%s)", what, len(m.all), spread(m.all), is)
}

// TestRecoveryTimes measures the time from a host's loss of power to the order to
// start its VM elsewhere, and holds it against what is promised and against the published
// bound plus one heartbeat. A fence device that works shortens the wait to the host's
// lease, the device's own time and the drain. The VMs of the other hosts go on throughout.
func TestRecoveryTimes(t *testing.T) {
	for _, m := range []struct {
		profile, what, host string
		device              time.Duration // what it takes; 0: there is none
		limit               time.Duration
	}{
		{"standard", "a member", "h3", 0, 15 * time.Second},
		{"standard", "the master", "h1", 0, 17 * time.Second},
		{"standard", "a member with a fence device", "h3", 2 * time.Second, 0},
		{"fast", "a member", "h3", 0, 5 * time.Second},
		{"fast", "the master", "h1", 0, 6 * time.Second},
		{"fast", "a member with a fence device", "h3", 2 * time.Second, 4 * time.Second},
		{"fast", "a member with a fence device", "h3", time.Second, 4 * time.Second},
	} {
		name := m.profile + ", " + m.what
		if m.device != 0 {
			name += fmt.Sprintf(" that takes %v", m.device)
		}
		t.Run(name, func(t *testing.T) {
			timing, _ := lease.Profile(m.profile)
			bound := timing.MemberBound() + timing.Heartbeat
			device := ""
			switch {
			case m.host == "h1":
				bound = timing.MasterBound() + timing.Heartbeat
			case m.device != 0:
				device, bound = deviceWorks, min(bound, timing.LeaseGone()+m.device+timing.DrainGone()+timing.Heartbeat)
			}
			var ordered, running measured
			t.Run("runs", func(t *testing.T) {
				for run := range *measureRuns {
					t.Run(fmt.Sprint(run), func(t *testing.T) {
						t.Parallel()
						s := powerLoss(run, m.host, device)
						r := play(t, Config{Scenario: s, Seed: uint64(run), Profile: m.profile, DeviceTakes: m.device})
						rec := scenario.Recoveries(s, &r.Outcome)
						if len(r.Violations) > 0 || len(rec) != 1 || rec[0].Running < 0 {
							r.Violations = append(r.Violations, fmt.Sprintf("recoveries: %+v, want one", rec))
							explain(t, r)
							return
						}
						ordered.add(time.Duration(rec[0].Ordered * float64(time.Second)))
						running.add(time.Duration(rec[0].Running * float64(time.Second)))
					})
				}
			})
			ordered.against(t, "power loss of "+name+", to the order to start", m.limit, bound)
			running.against(t, "power loss of "+name+", to running", 0, 0)
		})
	}
}

// TestOrderlyShutdownTimes measures a host that is shut down in good order: from the
// shutdown to the order to start its VM elsewhere, with a guest that shuts down at once,
// and from the moment when the VM runs there no more, which is what the cluster can do
// something about: a guest takes its own time.
func TestOrderlyShutdownTimes(t *testing.T) {
	const limit = 2 * time.Second
	for _, profile := range []string{"standard", "fast"} {
		for _, m := range []struct{ what, host string }{{"a member", "h3"}, {"the master", "h1"}} {
			t.Run(profile+", "+m.what, func(t *testing.T) {
				var asked, gone measured
				t.Run("runs", func(t *testing.T) {
					for run := range *measureRuns {
						t.Run(fmt.Sprint(run), func(t *testing.T) {
							t.Parallel()
							s := powerLoss(run, m.host, "")
							lost := &s.Actions[len(s.Actions)-1]
							lost.Do = "host_shutdown_requested"
							r := play(t, Config{Scenario: s, Seed: uint64(run), Profile: profile})
							order := slices.IndexFunc(r.Outcome.Events, func(e scenario.Seen) bool {
								return e.Type == "vm_recovery_assigned" && e.From == m.host && e.To != m.host
							})
							end := slices.IndexFunc(r.Outcome.Runs, func(x scenario.Run) bool { return x.Host == m.host && x.To >= lost.T.D() })
							if order < 0 || end < 0 || len(r.Violations) > 0 {
								r.Violations = append(r.Violations, fmt.Sprintf("end of its run %d, order elsewhere %d: want both", end, order))
								explain(t, r)
								return
							}
							at := r.Outcome.Events[order].T
							asked.add(at - lost.T.D())
							gone.add(at - r.Outcome.Runs[end].To)
						})
					}
				})
				name := "orderly shutdown of " + m.what + ", " + profile
				asked.against(t, name+", from the shutdown to the order to start", limit, 0)
				gone.against(t, name+", from the end of its VM to the order to start", limit, 0)
			})
		}
	}
}

// percentile is of sorted times.
func percentile(all []time.Duration, p int) time.Duration {
	return all[min(len(all)-1, len(all)*p/100)].Round(time.Millisecond)
}

// spread is least, median, 99th percentile and most of sorted times.
func spread(all []time.Duration) string {
	return fmt.Sprintf("min %v median %v p99 %v max %v", percentile(all, 0), percentile(all, 50), percentile(all, 99), all[len(all)-1].Round(time.Millisecond))
}
