package master

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// maintain takes a host out of service, or back.
func (s *stage) maintain(host string, on bool) {
	s.Helper()
	s.must(&fsm.SetMaintenance{Meta: fsm.Meta{At: time.Now(), By: "ann"}, Host: host, On: on})
}

// under lists the moves that are under way, as VM>host, in order of the names.
func (s *stage) under() string {
	var all []string
	for _, vm := range s.state().SortedVMs() {
		if vm.Move != nil {
			all = append(all, vm.Name+">"+vm.Move.Host)
		}
	}
	return strings.Join(all, " ")
}

// at lists where VMs are, as VM@host.
func (s *stage) at() string {
	var all []string
	for _, vm := range s.state().SortedVMs() {
		if vm.Owner != nil {
			all = append(all, vm.Name+"@"+vm.Owner.Host)
		}
	}
	return strings.Join(all, " ")
}

// arrive has everything arrive that is under way.
func (s *stage) arrive() {
	s.Helper()
	for _, vm := range s.state().SortedVMs() {
		if vm.Move == nil {
			continue
		}
		from, to := vm.Owner.Host, vm.Move.Host
		s.must(&fsm.Report{Meta: fsm.Meta{At: time.Now()}, Epoch: 1, UUID: vm.UUID, Host: from, Incarnation: 1, Generation: vm.Generation, Outcome: fsm.OutcomeMoved, Move: vm.Move.ID})
		s.must(&fsm.Report{Meta: fsm.Meta{At: time.Now()}, Epoch: 1, UUID: vm.UUID, Host: to, Incarnation: 1, Generation: vm.Generation + 1, Outcome: fsm.OutcomeRunning})
		i := slices.IndexFunc(s.domains[from], func(d api.DomainReport) bool { return d.UUID == vm.UUID })
		s.domains[to] = append(s.domains[to], s.domains[from][i])
		s.domains[from] = slices.Delete(slices.Clone(s.domains[from]), i, i+1) // the office reads what was reported
	}
}

// A host in maintenance is emptied, as many at once as the policy says, and gets back what
// left it when it is in service again.
func TestMaintenanceEmptiesAHostAndGivesItsVMsBack(t *testing.T) {
	staged(t, config.AdmissionOff, func(s *stage) {
		for i, name := range []string{"v1", "v2", "v3"} {
			s.put(1+i, name, "b", 1<<30)
		}
		s.beating(time.Second)
		if got := s.under(); got != "" {
			t.Fatalf("nothing is wrong, and under way are %s", got)
		}
		s.maintain("b", true)
		s.beating(time.Second)
		if got := s.under(); got != "v1>a v2>c" {
			t.Fatalf("under way are %q, want two at once: v1>a v2>c", got)
		}
		s.arrive()
		s.beating(time.Second)
		if got := s.under(); got != "v3>a" {
			t.Fatalf("under way are %q, want the third: v3>a", got)
		}
		s.arrive()
		s.beating(10 * time.Second)
		if at, way := s.at(), s.under(); at != "v1@a v2@c v3@a" || way != "" {
			t.Fatalf("they are at %s, and under way are %q, want b empty and nothing under way", at, way)
		}
		s.maintain("b", false)
		for range 2 {
			s.beating(time.Second)
			s.arrive()
		}
		s.beating(10 * time.Second)
		if at, way := s.at(), s.under(); at != "v1@b v2@b v3@b" || way != "" {
			t.Errorf("they are at %s, and under way are %q, want all of them home on b", at, way)
		}
	})
}

func TestFailbackGoesByThePolicy(t *testing.T) {
	for _, tt := range []struct {
		failback    string
		maintenance bool
		want        string
	}{
		{config.FailbackNever, true, "v1@a"}, {config.FailbackPreferred, true, "v1@a"}, {config.FailbackMaintenance, true, "v1@b"}, {config.FailbackAlways, true, "v1@b"},
		{config.FailbackMaintenance, false, "v1@a"}, {config.FailbackAlways, false, "v1@b"},
	} {
		t.Run(fmt.Sprintf("%s, left for maintenance: %v", tt.failback, tt.maintenance), func(t *testing.T) {
			staged(t, config.AdmissionOff, func(s *stage) {
				s.policy.Migration.Failback = tt.failback
				s.put(1, "v1", "b", 1<<30)
				s.beating(time.Second)
				if tt.maintenance {
					s.maintain("b", true)
					s.beating(time.Second)
					s.arrive()
					s.maintain("b", false)
				} else {
					// As after the death of b: it was given to another, and b is back.
					vm := s.state().VMs[uuid(1)]
					s.set(nil, func(_ context.Context, c fsm.Command) error {
						a, assigns := c.(*fsm.Assign)
						if _, adopts := c.(*fsm.Adopt); adopts || assigns && a.Why != "" { // the office's own choice
							return &fsm.Refusal{Code: fsm.CodeConflict, Message: "not now"}
						}
						return nil
					})
					s.must(&fsm.Report{Epoch: 1, UUID: vm.UUID, Host: "b", Incarnation: 1, Generation: vm.Generation, Outcome: fsm.OutcomeReleased})
					s.must(&fsm.Assign{Epoch: 1, UUID: vm.UUID, Previous: vm.Generation, Host: "a", Incarnation: 1, Round: 1})
					s.must(&fsm.Report{Epoch: 1, UUID: vm.UUID, Host: "a", Incarnation: 1, Generation: vm.Generation + 1, Outcome: fsm.OutcomeRunning})
					s.domains["a"], s.domains["b"] = s.domains["b"], nil
				}
				s.beating(2 * time.Second)
				s.arrive()
				if at := s.at(); at != tt.want {
					t.Errorf("it is at %s, want %s", at, tt.want)
				}
			})
		})
	}
}

// What cannot leave is told of once, with the reason, and what can leaves all the same.
func TestWhatCannotLeaveIsToldOf(t *testing.T) {
	staged(t, config.AdmissionOff, func(s *stage) {
		s.put(1, "v1", "b", 1<<30)
		s.runs("b", 2, "own", 1<<30, vmm.Running) // nobody protects it
		s.beating(time.Second)
		s.maintain("b", true)
		s.beating(time.Second)
		s.arrive()
		s.beating(time.Minute)
		if got := s.events("vm_evacuation_failed"); !slices.Equal(got, []string{"vm_evacuation_failed own"}) {
			t.Errorf("told were %v, want that own stays", got)
		}
		if m, err := s.Moves(); err != nil || len(m.Stay) != 1 || m.Stay[0].VM != "own" || m.Stay[0].Why == "" {
			t.Errorf("the plan of moves is %+v, %v; want that own stays", m, err)
		}
	})
}

func TestMovesAreCalledOff(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(s *stage)
		want string // that the history says then; empty: it goes on
	}{
		{"it takes its time", func(s *stage) { s.beating(25 * time.Minute) }, ""},
		{"it takes too long", func(s *stage) { s.beating(30 * time.Minute) }, "it was not through within 30m0s"},
		{"the target is shut down", func(s *stage) {
			beat := func(draining bool) {
				for range 4 {
					s.seq++
					r := s.report(s.domains["a"]...)
					r.Draining = draining
					if _, err := s.Heartbeat(s.Context(), api.Heartbeat{Host: "a", Incarnation: 1, Run: 9, Seq: s.seq, Network: "mgmt", ReportRev: s.seq, Report: r}); err != nil {
						s.Fatal(err)
					}
					s.pass(200 * time.Millisecond)
				}
			}
			beat(true)
		}, "a is being shut down"},
		{"the target is put into maintenance", func(s *stage) { s.maintain("a", true) }, "a was put into maintenance"},
	} {
		if testing.Short() && strings.HasPrefix(tt.name, "it takes") { // half an hour of heartbeats
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			staged(t, config.AdmissionOff, func(s *stage) {
				s.put(1, "v1", "b", 1<<30)
				s.beating(time.Second)
				s.maintain("b", true)
				s.beating(time.Second)
				if got := s.under(); got != "v1>a" {
					t.Fatalf("under way are %q, want v1>a", got)
				}
				tt.do(s)
				f := s.state().VMs[uuid(1)].MoveFailures
				switch {
				case tt.want == "" && len(f) > 0:
					t.Errorf("called off: %+v", f)
				case tt.want != "" && (len(f) != 1 || f[0].Detail != tt.want):
					t.Fatalf("failures %+v, want one: %s", f, tt.want)
				case tt.want == "":
					return
				}
				s.beating(20 * time.Second)
				if got := s.under(); got != "" {
					t.Errorf("under way are %s: tried again at once", got)
				}
				s.beating(15 * time.Second)
				if got := s.under(); got != "v1>c" {
					t.Errorf("under way are %q, want another try, to the other host", got)
				}
			})
		})
	}
}

// Load is evened out by one move at a time, each after it has been uneven for a while.
func TestBalanceHolds(t *testing.T) {
	staged(t, config.AdmissionOff, func(s *stage) {
		s.policy.Balance.Mode = config.BalanceAutomatic
		for i, name := range []string{"v1", "v2", "v3", "v4"} {
			s.put(1+i, name, "b", 1<<30)
		}
		s.beating(4 * time.Minute)
		if got := s.under(); got != "" {
			t.Fatalf("under way are %s before it has been uneven for five minutes", got)
		}
		s.beating(2 * time.Minute)
		if got := s.under(); got != "v1>a" {
			t.Fatalf("under way are %q, want v1>a", got)
		}
		s.arrive()
		s.beating(4 * time.Minute)
		if got := s.under(); got != "" {
			t.Fatalf("under way are %s soon after the last", got)
		}
		s.beating(2 * time.Minute)
		if got := s.under(); got != "v2>c" {
			t.Fatalf("under way are %q, want v2>c", got)
		}
		s.arrive()
		s.beating(20 * time.Minute)
		if got := s.at() + s.under(); got != "v1@a v2@c v3@b v4@b" {
			t.Errorf("they are at %s, want no more moves", got)
		}
	})
}

// A plan that was made before a VM came to a host is not carried out.
func TestOutdatedMovesAreDropped(t *testing.T) {
	in := scene(t)
	in.owner("b", 2, fsm.PhaseRunning)
	p := &movePlan{state: in.state, policy: in.policy}
	change := func(edit func(*fsm.VM)) input {
		after := in
		s := *in.state
		vm := *in.vm()
		o := *vm.Owner
		vm.Owner = &o
		edit(&vm)
		s.VMs = map[string]*fsm.VM{web: &vm}
		after.state = &s
		return after
	}
	other := *in.policy
	policy := change(func(*fsm.VM) {})
	policy.policy = &other
	for name, tt := range map[string]struct {
		in   input
		want bool
	}{
		"as it was":                   {in, false},
		"another policy":              {policy, true},
		"a VM came to another host":   {change(func(vm *fsm.VM) { vm.Owner.Host = "c" }), true},
		"a VM is on its way":          {change(func(vm *fsm.VM) { vm.Move = &fsm.Move{Host: "c"} }), true},
		"a VM stopped":                {change(func(vm *fsm.VM) { vm.Owner = nil }), false},
		"a VM was seen on a new host": {change(func(vm *fsm.VM) { vm.Owner, vm.Sighting = nil, &fsm.Sighting{Host: "a"} }), true},
	} {
		if got := outdated(tt.in, p); got != tt.want {
			t.Errorf("%s: outdated is %v, want %v", name, got, tt.want)
		}
	}
}

// A host in maintenance that falls silent with VMs on it is declared dead like any other, and
// nothing is started on it.
func TestAHostThatDiesInMaintenance(t *testing.T) {
	staged(t, config.AdmissionOff, func(s *stage) {
		s.put(1, "v1", "b", 1<<30)
		s.beating(time.Second)
		s.maintain("b", true)
		s.rig.beating(40*time.Second, "a", "c")
		if h := s.state().Hosts["b"]; h.Status != fsm.HostDead {
			t.Fatalf("b is %s, want dead", h.Status)
		}
		if vm := s.state().VMs[uuid(1)]; vm.Owner == nil || vm.Owner.Host == "b" {
			t.Errorf("v1 is %+v's, want that it was started elsewhere", vm.Owner)
		}
	})
}
