package master

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// told checks that lots say of each member what it was to a decision, and puts it into words:
// the rank of each by name, or the constraint that excluded it.
func (s *stage) told(lots []fsm.Lot) string {
	s.Helper()
	said := map[string]string{}
	for _, l := range lots {
		word := l.Excluded
		if l.Rank > 0 {
			word = fmt.Sprint(l.Rank)
		}
		if l.Text == "" {
			s.Errorf("no figures in %+v", l)
		}
		for _, slot := range l.Slots.All() {
			for name, h := range s.state().Hosts {
				if h.Slot == slot {
					said[name] += word
				}
			}
		}
	}
	return fmt.Sprintf("a:%s b:%s c:%s", said["a"], said["b"], said["c"])
}

// Every order that the office gives says why it is that host, and none of the others.
func TestOrdersSayWhyNotElsewhere(t *testing.T) {
	moving := func(s *stage) []fsm.Lot {
		if m := s.state().VMs[uuid(1)].Move; m != nil {
			return m.Considered
		}
		return nil
	}
	placed := func(s *stage) []fsm.Lot {
		if c := s.state().VMs[uuid(1)].Choice; c != nil {
			return c.Considered
		}
		return nil
	}
	event := func(kind string) func(s *stage) []fsm.Lot {
		return func(s *stage) []fsm.Lot {
			i := slices.IndexFunc(s.state().Events, func(e fsm.Event) bool { return e.Type == kind })
			if i < 0 {
				return nil
			}
			return s.state().Events[i].Considered
		}
	}
	full := func(s *stage) {
		s.Helper()
		s.put(2, "v2", "a", 7<<30)
		s.put(3, "v3", "c", 7<<30)
		s.beating(time.Second)
	}
	release := func(s *stage) {
		s.Helper()
		s.domains["b"] = nil // else it is seen running there
		s.beating(time.Second)
		s.must(&fsm.Report{Epoch: 1, UUID: uuid(1), Host: "b", Incarnation: 1, Generation: s.state().VMs[uuid(1)].Generation, Outcome: fsm.OutcomeReleased})
	}
	for _, tt := range []struct {
		name string
		do   func(s *stage)
		of   func(s *stage) []fsm.Lot
		want string
	}{
		{"out of maintenance", func(s *stage) { s.maintain("b", true) }, moving, "a:1 b:maintenance c:2"},
		{"back from it", func(s *stage) {
			s.maintain("b", true)
			s.beating(time.Second)
			s.arrive()
			s.maintain("b", false)
		}, moving, "a:2 b:1 c:3"},
		{"once it is there", func(s *stage) {
			s.maintain("b", true)
			s.beating(time.Second)
			s.arrive()
		}, placed, "a:1 b:maintenance c:2"},
		{"for a person", func(s *stage) {
			if _, _, err := s.Move(s.Context(), api.MoveRequest{VMs: []string{uuid(1)}}, "ann"); err != nil {
				s.Fatal(err)
			}
		}, moving, "a:1 b:cannot_run c:2"},
		{"for a person who names the host", func(s *stage) {
			if _, _, err := s.Move(s.Context(), api.MoveRequest{VMs: []string{uuid(1)}, Host: "c"}, "ann"); err != nil {
				s.Fatal(err)
			}
		}, moving, "a:cannot_run b:cannot_run c:1"},
		{"to even load", func(s *stage) {
			s.policy.Balance.Mode = config.BalanceAutomatic
			s.policy.Balance.Threshold, s.policy.Balance.Margin, s.policy.Balance.Hold = 1, 1, 0
			s.put(2, "v2", "b", 1<<30)
		}, moving, "a:1 b:3 c:2"},
		{"a start after a crash", func(s *stage) {
			release(s)
		}, placed, "a:2 b:1 c:3"},
		{"a start after a death", func(s *stage) { s.must(&fsm.DeclareDead{Epoch: 1, Host: "b", Incarnation: 1}) }, placed, "a:1 b:down c:2"},
		{"a VM that no host can take", func(s *stage) {
			full(s)
			s.maintain("b", true)
			release(s)
		}, event(fsm.EventVMNoHost), "a:memory b:maintenance c:memory"},
		{"a VM that cannot leave", func(s *stage) {
			full(s)
			s.maintain("b", true)
		}, event("vm_evacuation_failed"), "a:memory b:maintenance c:memory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			staged(t, config.AdmissionOff, func(s *stage) {
				s.put(1, "v1", "b", 1<<30)
				s.beating(time.Second)
				tt.do(s)
				s.beating(time.Second)
				if got := s.told(tt.of(s)); got != tt.want {
					t.Errorf("the decision says %s, want %s\n%+v", got, tt.want, tt.of(s))
				}
			})
		})
	}
}
