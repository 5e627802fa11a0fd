package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Who may start a VM on this host by hand, or bring it here: nobody while
// another host owns it, whatever this host knows or does not know.
func TestAdmission(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Input)
		uuid string
		want admission
		says string
	}{
		{name: "a VM that nobody protects", uuid: stray, want: mustAsk},
		{name: "ours, by hand before its end was committed", set: func(in *Input) { in.own("a", 3, fsm.PhaseRunning) }, want: refused, says: "starts it itself"},
		{name: "ours, being started by the agent", set: func(in *Input) { in.own("a", 3, fsm.PhaseOrdered); in.Busy[web] = true }, want: allowed},
		{name: "another host's", set: func(in *Input) { in.own("b", 2, fsm.PhaseRunning) }, want: refused, says: "owned by b"},
		{name: "an earlier life's of this host", set: func(in *Input) { in.own("a", 2, fsm.PhaseRunning) }, want: refused, says: "owned by a"},
		{name: "nobody's, stopped by a person", set: func(in *Input) { in.vm().Intent = fsm.IntentStop }, want: mustClaim},
		{name: "nobody's, and Holdfast is about to start it", want: refused, says: "about to be started"},
		{name: "nobody's, and the cluster is disarmed", set: func(in *Input) { in.State.Disarmed = &fsm.Disarm{ID: 1} }, want: mustClaim},
		{name: "nobody's, about to be started though the cluster is disarmed", set: func(in *Input) { in.State.Disarmed = &fsm.Disarm{ID: 1}; in.vm().Asked = true }, want: refused, says: "about to be started"},
		{name: "nobody's, the cluster is disarmed, and it may run elsewhere", set: func(in *Input) { in.State.Disarmed = &fsm.Disarm{ID: 1}; in.vm().Astray = true }, want: refused, says: "about to be started"},
		{name: "another host's, and the cluster is disarmed", set: func(in *Input) {
			in.own("b", 2, fsm.PhaseRunning)
			in.State.Disarmed = &fsm.Disarm{ID: 1}
		}, want: refused, says: "owned by b"},
		{name: "seen running elsewhere", set: func(in *Input) { in.vm().Sighting = &fsm.Sighting{Host: "b", Generation: 7} }, want: refused, says: "seen running on b"},
		{name: "claimed for this host", set: func(in *Input) { in.vm().Sighting = &fsm.Sighting{Host: "a", Generation: 7} }, want: allowed},
		{name: "no lease", set: func(in *Input) { in.own("a", 3, fsm.PhaseRunning); in.Lease.End = at }, want: refused, says: "no lease"},
		{name: "the guard has acted", set: func(in *Input) { in.own("a", 3, fsm.PhaseRunning); in.Expired = true }, want: refused, says: "no lease"},
		{name: "copy not trusted, remembered as protected", set: func(in *Input) { in.Trusted = false }, want: refused, says: "heard from no master"},
		{name: "copy not trusted, not remembered", set: func(in *Input) { in.Trusted = false }, uuid: stray, want: mustAsk},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := scene(t)
			if tt.set != nil {
				tt.set(&in)
			}
			uuid := tt.uuid
			if uuid == "" {
				uuid = web
			}
			got, why := admit(in, uuid)
			if got != tt.want || !strings.Contains(why, tt.says) {
				t.Errorf("admit: %v, %q; want %v and %q in the reason", got, why, tt.want, tt.says)
			}
		})
	}
}

// A start that was just admitted has no process yet: saying that nothing came of
// it would hand the VM to somebody else while it begins to run.
func TestClaimedStartIsWaitedFor(t *testing.T) {
	in := scene(t)
	in.vm().Sighting = &fsm.Sighting{Host: "a", Generation: 7}
	in.see(vmm.Stopped, vmm.ReasonShutdown)
	in.Claimed = map[string]time.Duration{web: at - claimPatience + time.Second}
	if p := Decide(in); len(p.Outcomes) != 0 {
		t.Errorf("a second before the patience ends: reported %v, want nothing", p.Outcomes)
	}
	in.Claimed[web] = at - claimPatience
	if p := Decide(in); len(p.Outcomes) != 1 {
		t.Errorf("at its end: reported %v, want what became of it", p.Outcomes)
	}
}

// A VM that nobody protects starts unless the master says no, and says so in time.
func TestAStrangerWaitsForNobody(t *testing.T) {
	never := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	says := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	for _, tt := range []struct {
		name   string
		answer func(context.Context) error
		want   error
		within time.Duration
	}{
		{"the master lets it through", says(nil), nil, 0},
		{"the master refuses", says(fmt.Errorf("%w: no room", api.ErrRefused)), api.ErrRefused, 0},
		{"the master refuses, over the wire", says(&api.Error{Code: api.CodeRefused, Message: "no room"}), api.ErrRefused, 0},
		{"there is no master", says(api.ErrNoMaster), nil, 0},
		{"the master is none any more", says(&api.Error{Code: api.CodeNotMaster}), nil, 0},
		{"the master is of a version that does not know the question", says(&api.Error{Code: api.CodeNotFound}), nil, 0},
		{"the master does not answer", never, nil, strangerPatience},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.master.stranger = tt.answer
				r.start()
				r.pass(2 * time.Second)
				began := time.Now()
				err := r.agent.Admit(r.Context(), api.AdmitRequest{UUID: stray, Name: "stray", Operation: "prepare", Memory: 1 << 30, VCPUs: 1})
				if took := time.Since(began); !errors.Is(err, tt.want) || took > tt.within {
					t.Errorf("answered %v after %v, want %v within %v", err, took, tt.want, tt.within)
				}
			})
		})
	}
}
