package master

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/config"
)

// A VM that nothing could restart any more is told of once that has lasted, in each direction,
// in every mode of admission control, and not again by the next office.
func TestVMsThatNothingCouldRestartAreToldOf(t *testing.T) {
	for _, mode := range []string{config.AdmissionWarn, config.AdmissionOff} {
		t.Run(mode, func(t *testing.T) {
			staged(t, mode, func(s *stage) {
				told := func(when string, want ...string) {
					t.Helper()
					if d := cmp.Diff(append([]string(nil), want...), s.events(eventFailoverLost, eventFailoverRestored)); d != "" {
						t.Errorf("%s it is told (-want +got):\n%s", when, d)
					}
				}
				tied := func(yes bool) { // as when the bridge that it needs is on its host alone
					p := *s.policy
					p.Rules = nil
					if yes {
						p.Rules = map[string]config.Rule{"here": {Kind: config.RuleOnHosts, Strength: config.RuleMust, VMs: []string{"db"}, Hosts: map[string]int64{"a": 0}, Weight: 1}}
					}
					s.policy = &p
				}
				s.put(1, "db", "a", 1<<30)
				s.put(2, "mail", "b", 1<<30)
				s.beating(5 * bereftEvery)
				told("while both could be restarted")
				tied(true)
				s.beating(2 * bereftEvery)
				tied(false)
				s.beating(2 * bereftEvery)
				told("for a moment")
				tied(true)
				s.beating(5 * bereftEvery)
				told("after a minute", "vm_failover_lost db")
				_ = s.resign()
				s.hold()
				s.beating(5 * bereftEvery)
				told("by the next office", "vm_failover_lost db")
				tied(false)
				s.beating(5 * bereftEvery)
				told("when it is over", "vm_failover_lost db", "vm_failover_restored db")
			})
		})
	}
}
