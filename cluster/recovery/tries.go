package recovery

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/fsm"
)

// delays are the waits after the n-th failure when it was a crash: a VM that ran once
// is not given up.
var delays = []time.Duration{0, 0, 5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute}

// afterCrash is when a VM that crashed may be started again, at growing intervals.
func afterCrash(vm *fsm.VM, now time.Time) time.Time {
	n := len(vm.Failures)
	if n == 0 || !vm.Failures[n-1].Crash {
		return time.Time{}
	}
	return waitFrom(vm.Failures[n-1].At, delays[min(n, len(delays)-1)], now)
}

// waitFrom is when a wait is over that began at from, by the wall clock of who was master
// then. It is over where that is still to come: the clock was set back since, by hours
// perhaps, and a VM that is down does not wait for it to catch up.
func waitFrom(from time.Time, wait time.Duration, now time.Time) time.Time {
	if from.After(now) {
		return now
	}
	return from.Add(wait)
}

// givenUp says why a VM is not tried any more, and what would change that. Said once,
// it must not change by itself.
func givenUp(round int, t inventory.Tries) string {
	times := fmt.Sprintf("%d times", round)
	if round == 1 {
		times = "once"
	}
	return fmt.Sprintf("every start failed, on %s, tried %s, the last time at %s: %s; it is tried again when another host can take it or one of these is back, "+
		"when its definition changes, and after `haadm vms retry`",
		strings.Join(t.Hosts, ", "), times, t.Last.UTC().Format("2006-01-02 15:04:05 MST"), t.Detail)
}

// starts counts those that are under way.
type starts struct {
	host, datastore map[string]int
	perHost         func(host string) int
	perDatastore    int
}

// underWay counts the starts that were ordered and are not done.
func (p *planner) underWay() *starts {
	s := &starts{host: map[string]int{}, datastore: map[string]int{}, perHost: p.Policy.MaxStarts,
		perDatastore: p.Policy.Restart.MaxPerDatastore}
	for _, vm := range p.State.VMs {
		if vm.Owner != nil && vm.Owner.Phase == fsm.PhaseOrdered {
			s.count(vm.Owner.Host, p.picture(vm).Datastores)
		}
	}
	return s
}

func (s *starts) count(host string, datastores []string) {
	s.host[host]++
	for _, ds := range datastores {
		s.datastore[ds]++
	}
}

// begin counts one more, unless that would be too many at once.
func (s *starts) begin(host string, datastores []string) bool {
	if s.host[host] >= s.perHost(host) {
		return false
	}
	for _, ds := range datastores {
		if s.datastore[ds] >= s.perDatastore {
			return false
		}
	}
	s.count(host, datastores)
	return true
}
