package master

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

const big = 5 << 30 // of 8 GiB: two of them fit on no host

// stage is a rig whose hosts report the domains that are put on them.
type stage struct {
	*rig
	domains map[string][]api.DomainReport
	uses    map[string]api.Use // by UUID
}

// put has a protected VM run on a host, which owns it; on none it is stopped, at home on c.
func (s *stage) put(n int, name, host string, memory uint64) {
	s.Helper()
	vm := fsm.VM{UUID: uuid(n), Name: name, XML: []byte("packed"), Intent: fsm.IntentStop, Memory: memory, VCPUs: 1}
	if host == "" {
		s.must(&fsm.Protect{Epoch: 1, VM: vm, Host: "c"})
		s.runs("c", n, name, memory, vmm.Stopped)
		return
	}
	s.must(&fsm.Protect{Epoch: 1, VM: vm, Running: true, Host: host, Incarnation: 1})
	g := s.state().VMs[uuid(n)].Sighting.Generation
	s.must(&fsm.Report{Epoch: 1, UUID: uuid(n), Host: host, Incarnation: 1, Generation: g, Outcome: fsm.OutcomeRunning})
	s.runs(host, n, name, memory, vmm.Running)
}

func (s *stage) runs(host string, n int, name string, memory uint64, state vmm.State) {
	s.domains[host] = append(s.domains[host], api.DomainReport{UUID: uuid(n), Name: name, State: state, Persistent: true, Memory: memory, VCPUs: 1})
}

// stops has a VM shut down in its guest.
func (s *stage) stops(host string, n int, epoch uint64) {
	s.Helper()
	s.domains[host] = slices.DeleteFunc(s.domains[host], func(d api.DomainReport) bool { return d.UUID == uuid(n) })
	s.beating(0)
	s.must(&fsm.Report{Epoch: epoch, UUID: uuid(n), Host: host, Incarnation: 1, Generation: s.state().VMs[uuid(n)].Generation, Outcome: fsm.OutcomeStopped})
}

// beating has every host heard for d, with what it is asked for.
func (s *stage) beating(d time.Duration) {
	s.Helper()
	for end := time.Now().Add(d); ; {
		for _, host := range []string{"a", "b", "c"} {
			if s.state().Hosts[host].Status == fsm.HostDead {
				continue
			}
			s.seq++
			hb := api.Heartbeat{Host: host, Incarnation: 1, Run: 9, Seq: s.seq, Network: "mgmt", ReportRev: s.seq, Report: s.report(s.domains[host]...), Definitions: map[string]string{}}
			hb.Report.Uses = s.uses
			s.mu().Lock()
			for id := range s.office.hosts[host].wanted {
				hb.Definitions[id] = "<domain/>"
			}
			s.mu().Unlock()
			if _, err := s.Heartbeat(s.Context(), hb); err != nil {
				s.Fatal(err)
			}
			synctest.Wait()
		}
		if !time.Now().Before(end) {
			return
		}
		s.pass(200 * time.Millisecond)
	}
}

// admitted holds an answer of admission control against what is wanted: refused with those
// words, or, with none, let through; and whether people are told of it.
func (s *stage) admitted(t *testing.T, err error, says []string, warns bool) {
	t.Helper()
	switch {
	case says == nil && err != nil:
		t.Fatalf("answered %v, want it let through", err)
	case says != nil && !errors.Is(err, api.ErrRefused):
		t.Fatalf("answered %v, want it refused", err)
	}
	for _, want := range says {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("refused with %q, want %q in it", err, want)
		}
	}
	if warned := len(s.events("admission_control_warned")) > 0; warned != warns {
		t.Errorf("warned: %v, want %v", warned, warns)
	}
}

// events lists those of the types, as type, VM and text.
func (s *stage) events(types ...string) []string {
	var all []string
	for _, e := range s.state().Events {
		if slices.Contains(types, e.Type) {
			all = append(all, strings.TrimSpace(e.Type+" "+e.VM))
		}
	}
	return all
}

func staged(t *testing.T, mode string, f func(*stage)) {
	t.Helper()
	bubble(t, func(r *rig) {
		synctest.Wait() // the office reads what is set here
		p := *r.policy  // a plan that is under way goes by the one it was given
		p.Admission.Mode = mode
		r.policy = &p
		f(&stage{rig: r, domains: map[string][]api.DomainReport{}})
	})
}

// With a large VM on each of two hosts the third is room for either. Whoever takes it
// is refused where the policy says so.
func TestAdmissionControl(t *testing.T) {
	protect := func(s *stage) error {
		s.runs("c", 3, "web", 2<<30, vmm.Running) // it takes the room of no other, and has no other itself
		s.runs("a", 4, "other1", 1<<30, vmm.Running)
		s.runs("b", 5, "other2", 1<<30, vmm.Running)
		s.beating(time.Second)
		answer := make(chan error, 1)
		go func() {
			_, err := s.Protect(s.Context(), "web", "ann")
			answer <- err
		}()
		synctest.Wait()
		s.beating(time.Second)
		if vm := s.state().VMs[uuid(3)]; vm != nil { // its host confirms
			s.must(&fsm.Report{Epoch: 1, UUID: vm.UUID, Host: "c", Incarnation: 1, Generation: vm.Generation, Outcome: fsm.OutcomeRunning})
		}
		synctest.Wait()
		return <-answer
	}
	start := func(s *stage) error {
		s.put(3, "web", "", big)
		s.beating(time.Second)
		return s.Claim(s.Context(), api.ClaimRequest{Host: "c", Incarnation: 1, UUID: uuid(3), Generation: s.state().VMs[uuid(3)].Generation})
	}
	larger := func(s *stage) error { // than the cluster knows: it was given more memory while it was stopped
		s.put(3, "web", "", 1<<20)
		s.beating(time.Second)
		return s.Claim(s.Context(), api.ClaimRequest{Host: "c", Incarnation: 1, UUID: uuid(3), Generation: s.state().VMs[uuid(3)].Generation, Memory: big, VCPUs: 1})
	}
	small := func(s *stage) error {
		s.put(3, "web", "", 1<<20)
		s.beating(time.Second)
		return s.Claim(s.Context(), api.ClaimRequest{Host: "c", Incarnation: 1, UUID: uuid(3), Generation: s.state().VMs[uuid(3)].Generation})
	}
	tests := []struct {
		name   string
		mode   string
		change func(*stage)
		do     func(*stage) error
		says   []string // the refusal; none: it passes
		warns  bool
	}{
		{"to protect, enforced", config.AdmissionEnforce, nil, protect, []string{"protect web", "host_failures", "what would help", "run web as best effort"}, false},
		{"to protect, warned", config.AdmissionWarn, nil, protect, nil, true},
		{"to protect, off", config.AdmissionOff, nil, protect, nil, false},
		{"to start, enforced", config.AdmissionEnforce, nil, start, []string{"start web on c", "host_failures", "what would help: stop mail", "set mode = \"warn\" in admission_control"}, false},
		{"to start a small one, enforced", config.AdmissionEnforce, nil, small, nil, false},
		{"to start one that was made larger, enforced", config.AdmissionEnforce, nil, larger, []string{"start web on c", "host_failures"}, false},
		{"to start, warned", config.AdmissionWarn, nil, start, nil, true},
		{"to start, off", config.AdmissionOff, nil, start, nil, false},
		{"to start what is best effort", config.AdmissionEnforce, func(s *stage) {
			s.policy.Classes = map[string]config.Class{"spare": {Priority: config.PriorityLow, Admission: config.AdmitBestEffort}}
			s.policy.VMs = map[string]config.VMRule{"web": {Protect: true, Class: "spare"}}
			s.policy.Admission.By, s.policy.Admission.Tolerate = config.RoomStandby, 0
		}, start, nil, false},
		{"to start on a standby host", config.AdmissionEnforce, func(s *stage) {
			s.policy.Hosts = map[string]config.HostRule{"c": {Standby: true}}
			s.policy.Admission.By, s.policy.Admission.Memory, s.policy.Admission.CPU = config.RoomPercent, 1, 1
		}, start, []string{"start web on c", "c is standby"}, false},
		{"to protect what runs on a host whose guard is late", config.AdmissionEnforce, func(s *stage) {
			s.policy.Admission.By, s.policy.Admission.Memory, s.policy.Admission.CPU = config.RoomPercent, 1, 1
		}, protect, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			staged(t, tt.mode, func(s *stage) {
				if tt.change != nil {
					tt.change(s)
				}
				s.put(1, "db", "a", big)
				s.put(2, "mail", "b", big)
				s.admitted(t, tt.do(s), tt.says, tt.warns)
			})
		})
	}
}

// A VM that is given more than there is room for runs on, and people are told which one it was.
func TestMoreMemoryIsToldOf(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mode   string
		memory uint64
		want   int
	}{{"too much", config.AdmissionEnforce, big, 1}, {"too much, warned", config.AdmissionWarn, big, 1}, {"too much, off", config.AdmissionOff, big, 0}, {"not too much", config.AdmissionEnforce, 2 << 30, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			staged(t, tt.mode, func(s *stage) {
				s.put(1, "db", "a", big)
				s.put(2, "mail", "b", big)
				s.put(3, "web", "c", 1<<20)
				s.beating(2 * time.Second)
				s.domains["c"] = slices.Clone(s.domains["c"])
				s.domains["c"][0].Memory = tt.memory
				vm := s.state().VMs[uuid(3)]
				s.must(&fsm.Redefine{Epoch: 1, UUID: uuid(3), Name: "web", XML: vm.XML, XMLHash: "h2", VCPUs: 1, Memory: tt.memory})
				s.beating(2 * time.Second)
				if got := s.events("admission_control_warned"); len(got) != tt.want || tt.want == 1 && got[0] != "admission_control_warned web" {
					t.Errorf("told were %v, want %d about web", got, tt.want)
				}
			})
		})
	}
}

// What HA starts itself is never refused, whatever room is left.
func TestRestartsAreNotAsked(t *testing.T) {
	staged(t, config.AdmissionEnforce, func(s *stage) {
		s.put(1, "db", "a", big)
		s.put(2, "mail", "b", big)
		s.beating(time.Second)
		s.must(&fsm.DeclareDead{Epoch: 1, Host: "a", Incarnation: 1, Text: "a is dead"})
		s.beating(time.Second)
		if vm := s.state().VMs[uuid(1)]; vm.Owner == nil || vm.Owner.Host != "c" {
			t.Errorf("db is owned by %+v (waiting: %s), want it ordered on c", vm.Owner, vm.Waiting)
		}
	})
}

// A VM that the policy would protect and that is refused keeps nothing else from
// going on, is told of once, and is protected once there is room.
func TestThePolicyIsRefused(t *testing.T) {
	staged(t, config.AdmissionEnforce, func(s *stage) {
		s.put(1, "db", "a", big)
		s.put(2, "mail", "b", big)
		s.runs("c", 3, "web", 2<<30, vmm.Running)
		s.runs("a", 4, "other1", 1<<30, vmm.Running)
		s.runs("b", 5, "other2", 1<<30, vmm.Running)
		s.policy.Selectors = []config.Selector{{Name: "web", Match: "web", VMRule: config.VMRule{Protect: true}}}
		s.beating(5 * time.Second)
		if vm := s.state().VMs[uuid(3)]; vm != nil {
			t.Fatalf("web is protected: %+v", vm)
		}
		if d := cmp.Diff([]string{"vm_protection_refused web"}, s.events("vm_protection_refused")); d != "" {
			t.Errorf("told (-want +got):\n%s", d)
		}
		s.stops("b", 2, 1)
		s.beating(5 * time.Second)
		if s.state().VMs[uuid(3)] == nil {
			t.Error("web is not protected, though there is room now")
		}
	})
}

func TestFailoverPlanIsKeptCurrent(t *testing.T) {
	staged(t, config.AdmissionEnforce, func(s *stage) {
		if _, err := s.FailoverPlan(); !errors.Is(err, api.ErrRefused) {
			t.Errorf("before the hosts were heard it answers %v", err)
		}
		plan := func(what string) *FailoverPlan {
			t.Helper()
			p, err := s.FailoverPlan()
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			return p
		}
		goes := func(p *FailoverPlan) (all []string) {
			for _, h := range p.Hosts {
				for _, d := range h.Decisions {
					all = append(all, strings.TrimSpace(fmt.Sprintf("%s: %s %s %s", h.Host, d.VM, d.Action, d.To)))
				}
			}
			return all
		}
		s.put(1, "db", "a", big)
		s.put(2, "mail", "b", big)
		s.beating(time.Second)
		p := plan("at first")
		if d := cmp.Diff([]string{"a: db start c", "b: mail start c"}, goes(p)); d != "" || p.Room.Answer != placement.Yes || p.Capability.Failures != 1 {
			t.Errorf("room: %v, failures %d, the plan differs (-want +got):\n%s", p.Room.Answer, p.Capability.Failures, d)
		}
		s.beating(10 * time.Second)
		if now := plan("after nothing changed"); now != p {
			t.Errorf("reckoned again though nothing had changed: plan %d after %d", now.No, p.No)
		}
		s.put(3, "web", "c", big)
		s.beating(time.Second)
		p = plan("with a third")
		if d := cmp.Diff([]string{"a: db stay_down", "b: mail stay_down", "c: web stay_down"}, goes(p)); d != "" || p.Room.Answer != placement.No || p.Capability.Failures != 0 {
			t.Errorf("room: %v, failures %d, the plan differs (-want +got):\n%s", p.Room.Answer, p.Capability.Failures, d)
		}
		if d := cmp.Diff([]string{"failover_capacity_lost"}, s.events(eventRoomLost, eventRoomRestored)); d != "" {
			t.Errorf("told (-want +got):\n%s", d)
		}
		hb := api.Heartbeat{Host: "b", Incarnation: 1, Run: 9, Seq: 1, Network: "mgmt"}
		first, _ := s.Heartbeat(s.Context(), hb)
		hb.TiedSeen = first.TiedRev
		again, _ := s.Heartbeat(s.Context(), hb)
		if first.Tied[uuid(2)] == "" || len(first.Tied) != 1 || again.TiedRev != first.TiedRev || again.Tied != nil {
			t.Errorf("b is told that %v can go nowhere else (revision %d), and once it has that %v (revision %d); want mail alone, once", first.Tied, first.TiedRev, again.Tied, again.TiedRev)
		}
		// The next office knows from the history what was told.
		_ = s.resign()
		s.hold()
		s.beating(2 * time.Second)
		plan("of the next office")
		if d := cmp.Diff([]string{"failover_capacity_lost"}, s.events(eventRoomLost, eventRoomRestored)); d != "" {
			t.Errorf("told again (-want +got):\n%s", d)
		}
		s.stops("c", 3, 2)
		s.beating(time.Second)
		if d := cmp.Diff([]string{"failover_capacity_lost", "failover_capacity_restored"}, s.events(eventRoomLost, eventRoomRestored)); d != "" {
			t.Errorf("told (-want +got):\n%s", d)
		}
	})
}

// Libvirt's hook waits two seconds for an answer. Right after an election, when no host has
// said yet what room it has, a start is let through in that time, or refused with the reason.
func TestAStartByHandIsAnsweredBeforeItsHookGivesUp(t *testing.T) {
	for mode, refused := range map[string]bool{config.AdmissionWarn: false, config.AdmissionEnforce: true} {
		t.Run(mode, func(t *testing.T) {
			staged(t, mode, func(s *stage) {
				s.put(3, "web", "", big)
				ctx, cancel := context.WithTimeout(s.Context(), 2*time.Second)
				defer cancel()
				err := s.Claim(ctx, api.ClaimRequest{Host: "c", Incarnation: 1, UUID: uuid(3), Generation: s.state().VMs[uuid(3)].Generation})
				if refused && (!errors.Is(err, api.ErrRefused) || !strings.Contains(err.Error(), "has not heard from every host")) || !refused && err != nil {
					t.Errorf("answered %v; want it refused with the reason: %t", err, refused)
				}
			})
		})
	}
}
