package master

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// starting asks whether a VM that nobody protects may be started on a host.
func (s *stage) starting(n int, name, host string, memory uint64) error {
	s.Helper()
	return s.AdmitStranger(s.Context(), api.StrangerRequest{Host: host, UUID: uuid(n), Name: name, Memory: memory, VCPUs: 1})
}

// A VM that nobody protects takes the room of failovers as any does: with a large VM on each of
// two hosts the third is room for either.
func TestAStrangerTakesRoomToo(t *testing.T) {
	by := func(rule string) func(*stage) {
		return func(s *stage) { s.policy.Admission.By, s.policy.Admission.Memory, s.policy.Admission.CPU = rule, 50, 1 }
	}
	for _, tt := range []struct {
		name   string
		mode   string
		change func(*stage)
		memory uint64
		says   []string // the refusal; none: it passes
		warns  bool
	}{
		{"enforced", config.AdmissionEnforce, nil, big,
			[]string{"the start of web, which nobody protects, on c", "admission control (host_failures) says", "would stay down", "what would help: stop mail", "set mode = \"warn\" in admission_control", "of memory, or less", `mode = "warn"`}, false},
		{"enforced, small", config.AdmissionEnforce, nil, 1 << 30, nil, false},
		{"enforced, by percentage", config.AdmissionEnforce, by(config.RoomPercent), big, []string{"(reserve_percent)", "what would help"}, false},
		{"enforced, by percentage of what is protected", config.AdmissionEnforce, func(s *stage) {
			by(config.RoomPercent)(s)
			s.policy.Admission.CountUnprotected = false
		}, big, nil, false},
		{"enforced, larger than its host", config.AdmissionEnforce, nil, 9 << 30, []string{"the start of web, which nobody protects, on c", "9.1 GiB of memory are needed"}, false},
		{"enforced, on a host that is kept for failures", config.AdmissionEnforce, func(s *stage) {
			s.policy.Hosts = map[string]config.HostRule{"c": {Standby: true}}
		}, 1 << 20, []string{"c is standby"}, false},
		{"enforced, on a host that nobody counts on", config.AdmissionEnforce, func(s *stage) {
			s.must(&fsm.SetMaintenance{Host: "c", On: true})
		}, big, nil, false},
		{"warned", config.AdmissionWarn, nil, big, nil, true},
		{"warned, larger than its host", config.AdmissionWarn, nil, 9 << 30, nil, true},
		{"warned, small", config.AdmissionWarn, nil, 1 << 30, nil, false},
		{"off", config.AdmissionOff, nil, big, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			staged(t, tt.mode, func(s *stage) {
				s.put(1, "db", "a", big)
				s.put(2, "mail", "b", big)
				if tt.change != nil {
					tt.change(s)
				}
				s.beating(time.Second)
				err := s.starting(3, "web", "c", tt.memory)
				s.admitted(t, err, tt.says, tt.warns)
			})
		})
	}
}

// What was let through counts before its host says that it runs, for as long as a start takes.
func TestStrangersAtOnce(t *testing.T) {
	staged(t, config.AdmissionEnforce, func(s *stage) {
		s.put(1, "db", "a", big)
		s.put(2, "mail", "b", big)
		s.beating(time.Second)
		s.admitted(t, s.starting(3, "web", "c", 2<<30), nil, false)
		s.admitted(t, s.starting(4, "wiki", "c", 2<<30), []string{"the start of wiki"}, false)
		s.admitted(t, s.starting(3, "web", "c", 2<<30), nil, false) // a migration is asked about twice
		s.beating(comingFor + time.Second)                          // nothing came of it
		s.admitted(t, s.starting(4, "wiki", "c", 2<<30), nil, false)
		s.runs("c", 4, "wiki", 2<<30, vmm.Running)
		s.beating(time.Second)
		s.admitted(t, s.starting(3, "web", "c", 2<<30), []string{"the start of web"}, false)
		s.admitted(t, s.starting(4, "wiki", "c", 2<<30), nil, false) // it is not beside itself
		if n := len(s.office.coming.notes); n != 1 {
			t.Errorf("%d starts are remembered, want that of wiki alone", n)
		}
	})
}

func TestAStrangerThatIsToldOfOnce(t *testing.T) {
	staged(t, config.AdmissionWarn, func(s *stage) {
		s.put(1, "db", "a", big)
		s.put(2, "mail", "b", big)
		s.beating(time.Second)
		for range 2 { // libvirt asks at the beginning of a migration, and again when it makes the process
			s.admitted(t, s.starting(3, "web", "c", big), nil, true)
		}
		if told := s.events("admission_control_warned"); len(told) != 1 {
			t.Errorf("told %v, want it once", told)
		}
	})
}

// What is missing in the master's knowledge is no reason to keep such a VM from starting; that
// it is protected by now is one, with every mode.
func TestAStrangerAndWhatTheMasterKnows(t *testing.T) {
	staged(t, config.AdmissionEnforce, func(s *stage) {
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		err := s.AdmitStranger(ctx, api.StrangerRequest{Host: "c", UUID: uuid(3), Name: "web", Memory: big, VCPUs: 1})
		s.admitted(t, err, nil, true)
		if ctx.Err() != nil {
			t.Error("before the hosts were heard the answer came too late for its host")
		}
	})
	staged(t, config.AdmissionOff, func(s *stage) {
		s.put(1, "db", "a", big)
		s.beating(time.Second)
		s.admitted(t, s.starting(1, "db", "c", big), []string{"db is protected, which c has not learned yet"}, false)
	})
	bubble(t, func(r *rig) {
		synctest.Wait()
		_ = r.resign()
		err := r.AdmitStranger(r.Context(), api.StrangerRequest{Host: "c", UUID: uuid(3), Name: "web"})
		if !errors.Is(err, api.ErrNotMaster) {
			t.Errorf("out of office it answers %v", err)
		}
	})
}
