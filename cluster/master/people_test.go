package master

import (
	"errors"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// With a large VM on each of two hosts the third is room for either. What people ask for is
// planned with that, and refused with the figures where the policy says so.
func TestWhatPeopleAskFor(t *testing.T) {
	maintenance := func(host string, even bool) func(*stage) error {
		return func(s *stage) error {
			return s.SetMaintenance(s.Context(), host, api.MaintenanceRequest{On: true, Why: "disks", EvenIfNoSpare: even}, "ann")
		}
	}
	move := func(host string, vms ...int) func(*stage) error {
		return func(s *stage) error {
			r := api.MoveRequest{Host: host}
			for _, n := range vms {
				r.VMs = append(r.VMs, uuid(n))
			}
			_, orders, err := s.Move(s.Context(), r, "ann")
			for _, id := range r.VMs {
				if vm := s.state().VMs[id]; err == nil && (vm.Move == nil || vm.Move.ID != orders[id] || vm.Move.By != "ann") {
					s.Errorf("%s is on its way %+v, want order %d", vm.Name, vm.Move, orders[id])
				} else if err != nil && vm.Move != nil {
					s.Errorf("%s goes all the same: %+v", vm.Name, vm.Move)
				}
			}
			return err
		}
	}
	start := func(memory uint64, even bool) func(*stage) error {
		return func(s *stage) error {
			s.put(3, "web", "", memory)
			s.beating(time.Second)
			return s.SetIntent(s.Context(), uuid(3), api.IntentRequest{Intent: fsm.IntentRun, EvenIfNoSpare: even}, "ann")
		}
	}
	restart := func(n int, even bool) func(*stage) error {
		return func(s *stage) error {
			id, err := s.Restart(s.Context(), uuid(n), api.RestartRequest{Why: "new kernel", EvenIfNoSpare: even}, "ann")
			switch r := s.state().VMs[uuid(n)].Restart; {
			case err != nil && r != nil:
				s.Errorf("it is shut down all the same: %+v", r)
			case err == nil && (r == nil || r.ID != id || r.By != "ann" || r.Why != "ann asked for it: new kernel"):
				s.Errorf("the restart is %+v, want order %d", r, id)
			}
			return err
		}
	}
	grown := func(memory uint64) func(*stage) { // its definition says more than what runs has
		return func(s *stage) {
			s.must(&fsm.Redefine{Meta: fsm.Meta{At: time.Now()}, Epoch: 1, UUID: uuid(1), Name: "db", XML: []byte("x"), XMLHash: "grown", VCPUs: 1, Memory: memory})
		}
	}
	full := func(s *stage) { s.put(3, "web", "c", big) }
	leaving := func(s *stage) { // its host takes none, so it would start on c, where mail could not go any more
		s.must(&fsm.SetMaintenance{Meta: fsm.Meta{At: time.Now()}, Host: "a", On: true})
		s.beating(time.Second)
		s.must(&fsm.EndMove{Meta: fsm.Meta{At: time.Now()}, Epoch: s.state().Office.Epoch, UUID: uuid(1), Move: s.state().VMs[uuid(1)].Move.ID, Why: "it comes to nothing"})
	}
	policy := func(tolerate int, even bool) func(*stage) error {
		return func(s *stage) error {
			p := *s.policy
			p.Admission.Tolerate, p.Admission.Mode = tolerate, config.AdmissionEnforce
			return s.PermitsPolicy(s.Context(), &p, even, "ann")
		}
	}
	tests := []struct {
		name   string
		mode   string
		change func(*stage)
		do     func(*stage) error
		says   []string // the refusal; none: it passes
		warns  bool
	}{
		{"maintenance, enforced", config.AdmissionEnforce, nil, maintenance("c", false), []string{"maintenance of c", "host_failures", "db", "--even-if-no-spare"}, false},
		{"maintenance, enforced and overridden", config.AdmissionEnforce, nil, maintenance("c", true), nil, true},
		{"maintenance, warned", config.AdmissionWarn, nil, maintenance("c", false), nil, true},
		{"maintenance, off", config.AdmissionOff, nil, maintenance("c", false), nil, false},
		{"maintenance of the last host", config.AdmissionOff, func(s *stage) {
			for _, host := range []string{"a", "b"} {
				s.must(&fsm.SetMaintenance{Meta: fsm.Meta{At: time.Now()}, Host: host, On: true})
			}
		}, maintenance("c", true), []string{"c is the last host that takes VMs: a is in maintenance; b is in maintenance"}, false},
		{"a move to a host with room", config.AdmissionEnforce, nil, move("c", 1), nil, false},
		{"a move to where it fits", config.AdmissionEnforce, nil, move("", 1), nil, false},
		{"a move to a host without room", config.AdmissionOff, nil, move("b", 1), []string{"db: b: ", "of memory free"}, false},
		{"a move to where it is", config.AdmissionOff, nil, move("a", 1), []string{"it runs on a already"}, false},
		{"two moves, of which one cannot be made", config.AdmissionOff, nil, move("c", 1, 2), []string{"mail: c: "}, false},
		{"a move against a rule", config.AdmissionOff, func(s *stage) {
			s.policy.Rules = map[string]config.Rule{"stay": {Kind: "not_on_hosts", Strength: config.RuleMust, VMs: []string{"db"}, Hosts: map[string]int64{"c": 0}}}
		}, move("c", 1), []string{"db: c: rule stay forbids it"}, false},
		{"a start, enforced", config.AdmissionEnforce, nil, start(big, false), []string{"the start of web", "host_failures", "what would help", "--even-if-no-spare"}, false},
		{"a start, overridden", config.AdmissionEnforce, nil, start(big, true), nil, true},
		{"a start, warned", config.AdmissionWarn, nil, start(big, false), nil, true},
		{"a start that no host has room for", config.AdmissionOff, nil, start(9<<30, true), []string{"web cannot be started", "no host can take it"}, false},
		{"a restart", config.AdmissionEnforce, nil, restart(1, false), nil, false},
		{"a restart of what no host could start again", config.AdmissionOff, grown(9 << 30), restart(1, true), []string{"db cannot be restarted", "no host can take it"}, false},
		{"a restart where there is no room for failures, as before", config.AdmissionEnforce, full, restart(1, false), nil, false},
		{"a restart where there is no room for failures, warned", config.AdmissionWarn, full, restart(1, false), nil, true},
		{"a restart that takes the room, enforced", config.AdmissionEnforce, leaving, restart(1, false), []string{"the restart of db", "host_failures", "--even-if-no-spare"}, false},
		{"a restart that takes the room, overridden", config.AdmissionEnforce, leaving, restart(1, true), nil, true},
		{"to stop", config.AdmissionEnforce, nil, func(s *stage) error {
			return s.SetIntent(s.Context(), uuid(1), api.IntentRequest{Intent: fsm.IntentStop}, "ann")
		}, nil, false},
		{"a policy that asks for more", config.AdmissionWarn, nil, policy(2, false), []string{"the policy", "host_failures"}, false},
		{"a policy that asks for more, overridden", config.AdmissionWarn, nil, policy(2, true), nil, true},
		{"a policy that asks for what is there", config.AdmissionWarn, nil, policy(1, false), nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			staged(t, tt.mode, func(s *stage) {
				s.put(1, "db", "a", big)
				s.put(2, "mail", "b", big)
				if tt.change != nil {
					tt.change(s)
				}
				s.beating(time.Second)
				s.admitted(t, tt.do(s), tt.says, tt.warns)
			})
		})
	}
}

// A policy that leaves admission control as it is, is not refused for what was missing before.
func TestAPolicyIsNotRefusedForWhatWasMissing(t *testing.T) {
	staged(t, config.AdmissionEnforce, func(s *stage) {
		for n, host := range []string{"a", "b", "c"} {
			s.put(n+1, "vm-"+host, host, big)
		}
		s.beating(time.Second)
		next := *s.policy
		next.Classes = map[string]config.Class{"spare": {Priority: config.PriorityLow}}
		if err := s.PermitsPolicy(s.Context(), &next, false, "ann"); err != nil {
			t.Errorf("refused: %v", err)
		}
		next.Admission.Tolerate = 2
		if err := s.PermitsPolicy(s.Context(), &next, false, "ann"); !errors.Is(err, api.ErrRefused) {
			t.Errorf("one that asks for more: %v, want it refused", err)
		}
	})
}

// Right after an election nobody knows what room there is. Another policy then waits for the
// hosts to be heard; where they are not, it goes by its own mode, and by a person's word.
func TestAPolicyWaitsForHosts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		mode  string // of the policy that is applied
		even  bool
		heard time.Duration // when hosts are heard; 0: never
		says  []string
		warns bool
	}{
		{"enforced", config.AdmissionEnforce, false, 0, []string{"does not know yet", "c: it has not said yet what room it has", "--even-if-no-spare"}, false},
		{"enforced and overridden", config.AdmissionEnforce, true, 0, nil, true},
		{"warned", config.AdmissionWarn, false, 0, nil, true},
		{"off", config.AdmissionOff, false, 0, nil, false},
		{"enforced, heard in time", config.AdmissionEnforce, false, 2 * time.Second, nil, false},
		{"warned, heard in time", config.AdmissionWarn, false, 2 * time.Second, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			staged(t, config.AdmissionWarn, func(s *stage) {
				_ = s.resign()
				s.cfg.Timing.Heartbeat = 10 * time.Second // so that no host is suspected meanwhile, which is known as well
				s.hold()
				next := *s.policy
				next.Admission.Mode = tt.mode
				answer := make(chan error, 1)
				go func() { answer <- s.PermitsPolicy(s.Context(), &next, tt.even, "ann") }()
				if tt.heard > 0 {
					s.pass(tt.heard)
					s.beating(200 * time.Millisecond)
				}
				s.admitted(t, <-answer, tt.says, tt.warns)
			})
		})
	}
}

// The reason and the person of what people ask for are in the state. How the host does is told
// as of any other: that it is out of service must not hide that it lives, or does not.
func TestWhoAskedForMaintenance(t *testing.T) {
	staged(t, config.AdmissionOff, func(s *stage) {
		s.beating(time.Second)
		if err := s.SetMaintenance(s.Context(), "b", api.MaintenanceRequest{On: true, Why: "disks"}, "ann"); err != nil {
			t.Fatal(err)
		}
		if m := s.state().Hosts["b"].Maintenance; m == nil || m.By != "ann" || m.Why != "disks" {
			t.Errorf("the state has %+v", m)
		}
		s.beating(time.Second)
		if all, err := s.Observations(); err != nil || all["b"].Verdict != "live" {
			t.Errorf("b is seen as %q (%v), want live", all["b"].Verdict, err)
		}
		if err := s.SetMaintenance(s.Context(), "b", api.MaintenanceRequest{}, "bob"); err != nil || s.state().Hosts["b"].Maintenance != nil {
			t.Errorf("put back: %v, %+v", err, s.state().Hosts["b"].Maintenance)
		}
	})
}
