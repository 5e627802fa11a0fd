package master

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
)

// What VMs really take is told of once it has lasted, in each direction, and no plan is made anew for it.
func TestPerformanceIsToldOnceItLasts(t *testing.T) {
	staged(t, config.AdmissionWarn, func(s *stage) {
		told := func(when string, want ...string) {
			t.Helper()
			if d := cmp.Diff(append([]string(nil), want...), s.events(eventPerformanceReduced, eventPerformanceRestored)); d != "" {
				t.Errorf("%s it is told (-want +got):\n%s", when, d)
			}
		}
		p := *s.policy
		p.Admission.Degradation = 0
		s.policy = &p
		s.put(1, "db", "a", 1<<30)
		s.uses = map[string]api.Use{uuid(1): {Processors: 16}} // of 24 in all, 8 on each host
		s.beating(3 * performEvery)
		before, err := s.FailoverPlan()
		if err != nil {
			t.Fatal(err)
		}
		told("while all have enough")
		s.uses = map[string]api.Use{uuid(1): {Processors: 16.05}}
		s.beating(2 * performEvery)
		told("for a moment of more")
		s.uses = map[string]api.Use{uuid(1): {Processors: 16}}
		s.beating(2 * performEvery)
		s.uses = map[string]api.Use{uuid(1): {Processors: 17}}
		s.beating(2 * performEvery)
		told("when it was less between")
		s.beating(5 * performEvery)
		told("after a minute", eventPerformanceReduced)
		if now, err := s.FailoverPlan(); err != nil || now != before {
			t.Errorf("plan %d was made after %d for what VMs take (%v)", now.No, before.No, err)
		}
		_ = s.resign()
		s.hold()
		s.beating(5 * performEvery)
		told("by the next office", eventPerformanceReduced)
		s.uses = map[string]api.Use{uuid(1): {Processors: 1}}
		s.beating(4 * performEvery)
		told("when it is over", eventPerformanceReduced, eventPerformanceRestored)
	})
}
