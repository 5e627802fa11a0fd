package host

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/vmm"
)

// seen is what was seen violated so far.
func (s *stand) seen() string {
	var all []string
	for _, v := range s.broken {
		all = append(all, v.Rule+" "+v.Text)
	}
	return strings.Join(all, "; ")
}

// A start that the order, the record or the lease does not permit is not begun, and told (I3).
func TestStartsThatNothingPermits(t *testing.T) {
	for _, tc := range []struct {
		name string
		with func(s *stand)
		may  bool
		want string // begins so; empty: nothing is violated
	}{
		{"as it should be", func(*stand) {}, true, ""},
		{"the lease ended while it was saved", func(s *stand) { s.lease.End = here }, false, ""},
		{"there never was a lease", func(s *stand) { s.lease = lease.Lease{} }, false, "I3 db was to be started without a lease"},
		{"this life is over", func(s *stand) { s.record.Over = true }, false, "I3 db was to be started without a lease"},
		{"the lease is of another life", func(s *stand) { s.record.Incarnation = 4 }, false, "I3 db was to be started under the lease of incarnation 3, in incarnation 4"},
		{"the generation was not saved", func(s *stand) { delete(s.record.Executed, "u") }, false, "I3 db was to be started in generation 6, and 0 is what was saved"},
		{"a later one was given back", func(s *stand) { s.record.Executed["u"] = 7 }, false, "I3 db was to be started in generation 6, and 7 is what was saved"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStand(t)
			s.record.Executed = map[string]uint64{"u": 6}
			tc.with(s)
			for range 2 {
				if may := s.assertLawful(Order{UUID: "u", Name: "db", Generation: 6}); may != tc.may {
					t.Errorf("it may begin: %v, want %v", may, tc.may)
				}
			}
			if !tc.may {
				if s.start(t.Context(), Order{UUID: "u", Name: "db", Generation: 6}); s.starts != 0 {
					t.Error("it is begun all the same")
				}
			}
			if got := s.seen(); !strings.HasPrefix(got, tc.want) || tc.want == "" && got != "" || len(s.broken) > 1 {
				t.Errorf("what was seen violated: %q, want %q", got, tc.want)
			}
		})
	}
}

// A protected VM that is listed for some intervals past the hard end of the lease is told of (I2).
func TestProtectedVMsPastTheHardEnd(t *testing.T) {
	running := vmm.Domain{UUID: "u", Name: "db", State: vmm.Running}
	hard := standard(t).HardEnd()
	beat := standard(t).Heartbeat
	for _, tc := range []struct {
		name  string
		lists map[time.Duration][]vmm.Domain // by when they began, after the end of the lease
		known []string
		want  string
	}{
		{"it runs on", map[time.Duration][]vmm.Domain{hard: {running}, hard + lateFor*beat: {running}}, []string{"u"}, "I2 db runs past the hard end of the lease of incarnation 3"},
		{"it runs until the hard end", map[time.Duration][]vmm.Domain{hard - 5*beat: {running}, hard - 1: {running}}, []string{"u"}, ""},
		{"it is seen for a moment", map[time.Duration][]vmm.Domain{hard: {running}, hard + lateFor*beat - 1: {running}, hard + lateFor*beat: nil}, []string{"u"}, ""},
		{"it comes and goes", map[time.Duration][]vmm.Domain{hard: {running}, hard + beat: nil, hard + lateFor*beat: {running}}, []string{"u"}, ""},
		{"it is stopped", map[time.Duration][]vmm.Domain{hard: {{UUID: "u", Name: "db"}}, hard + lateFor*beat: {{UUID: "u", Name: "db"}}}, []string{"u"}, ""},
		{"it is not protected", map[time.Duration][]vmm.Domain{hard: {running}, hard + lateFor*beat: {running}}, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStand(t)
			s.record.Known = tc.known
			for _, after := range slices.Sorted(maps.Keys(tc.lists)) {
				s.list = listing{began: s.deadln + after, domains: tc.lists[after]}
				s.assertEnded()
			}
			if got := s.seen(); got != tc.want {
				t.Errorf("what was seen violated: %q, want %q", got, tc.want)
			}
			if s.tell(nil); tc.want != "" && (len(s.report.Broken) != 1 || s.report.Broken[0] != (api.Violation{Rule: "I2", Text: tc.want[3:]})) {
				t.Errorf("the master is told %+v", s.report.Broken)
			}
		})
	}
}

// A guard that acts late, or not at all, on the end of the lease of a host with VMs is told of (I1).
func TestGuardsThatActLate(t *testing.T) {
	const told = "I1 the guard did not act within 550ms of the end of the lease of incarnation 3"
	allowed := fencing.Tick + standard(t).Grain
	for _, tc := range []struct {
		name    string
		now     time.Duration // after the end of the lease
		tripped time.Duration // likewise; 0: not yet
		covered int
		none    bool // that lease has no end
		want    string
	}{
		{name: "before the end", now: -1, covered: 1},
		{name: "not yet", now: allowed, covered: 1},
		{name: "not at all", now: allowed + 1, covered: 1, want: told},
		{name: "in time", now: time.Minute, tripped: allowed, covered: 1},
		{name: "late", now: time.Minute, tripped: allowed + 1, covered: 1, want: told},
		{name: "late, with nothing to end", now: time.Minute, tripped: allowed + 1},
		{name: "no lease", now: time.Minute, covered: 1, none: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStand(t)
			end := here - tc.now
			s.deadln, s.covered = here+time.Second, tc.covered
			s.assertGuarded() // before the end: what is on the list then was to be ended
			if s.deadln = end; tc.none {
				s.deadln = 0
			}
			if tc.tripped != 0 {
				s.tripped, s.covered = end+tc.tripped, 0
			}
			for range 2 {
				s.assertGuarded()
			}
			if got := s.seen(); got != tc.want {
				t.Errorf("what was seen violated: %q, want %q", got, tc.want)
			}
		})
	}
}
