package master

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// A VM whose sighting came to nothing is ordered nowhere before every host that the network brings
// was heard once more (O5): one of them may run it, and have said nothing of it yet.
func TestUnsure(t *testing.T) {
	const since = 100 * time.Second
	tm := standard(t)
	beat := tm.Heartbeat
	heard := func(at time.Duration) *observed {
		return &observed{networks: map[string]time.Duration{"mgmt": at}, reachedAt: at, report: &api.HostReport{}}
	}
	anew := heard(since - 1) // as observe leaves it when a new incarnation is committed
	anew.incarnation, anew.reachedAt = 2, since+beat
	for _, tt := range []struct {
		name string
		b    *observed
		down bool
		want bool
	}{
		{"heard before", heard(since - 1), false, true},
		{"heard within an interval: sent before, perhaps", heard(since + beat - 1), false, true},
		{"heard an interval later", heard(since + beat), false, false},
		{"begun a new life since, and not heard in it", anew, false, true},
		{"fallen silent", heard(since - 10*beat), false, false},
		{"never heard by this office", nil, false, false},
		{"dead", heard(since - 1), true, false},
	} {
		s := &fsm.State{Hosts: map[string]*fsm.Host{"a": {Name: "a", Status: fsm.HostLive}, "b": {Name: "b", Status: fsm.HostLive}},
			VMs: map[string]*fsm.VM{web: {UUID: web, Intent: fsm.IntentRun, Astray: true}}}
		if tt.down {
			s.Hosts["b"].Status = fsm.HostDead
		}
		in := input{now: since + beat, timing: tm, state: s, hosts: map[string]*observed{"a": heard(since + beat), "b": tt.b}}
		in.astray = astray(input{now: since, state: s}, nil)
		in.astray = astray(in, in.astray)
		if got := unsure(in)[web]; slices.Contains(got, "b") != tt.want || slices.Contains(got, "a") {
			t.Errorf("b %s: still to be heard are %v, want b: %v", tt.name, got, tt.want)
		}
		s.VMs[web].Owner = &fsm.Placement{Host: "a"}
		if got := astray(in, in.astray); len(got) != 0 {
			t.Errorf("b %s: an owned VM is still astray: %v", tt.name, got)
		}
	}
}

// People are told which hosts such a VM waits for, and that only while it does.
func TestWhoIsHeardOnceMore(t *testing.T) {
	bubble(t, func(r *rig) {
		r.beating(2*time.Second, "a", "b", "c")
		r.must(&fsm.Protect{Epoch: 1, Host: "b", Incarnation: 1, Running: true, VM: fsm.VM{UUID: web, Name: "web", XML: []byte("packed"), Intent: fsm.IntentRun, Memory: 1 << 20, VCPUs: 1}})
		waits := func() []string {
			all, err := r.Observations()
			if err != nil {
				t.Fatal(err)
			}
			return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(name string) bool { return !slices.Equal(all[name].Unsure, []string{web}) })
		}
		if got := waits(); len(got) != 0 {
			t.Errorf("while it is seen running %v are to be heard, want none", got)
		}
		r.must(&fsm.Report{Epoch: 1, UUID: web, Host: "b", Incarnation: 1, Generation: r.state().VMs[web].Generation, Outcome: fsm.OutcomeCrashed, Detail: "it crashed"})
		if got := waits(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("once it was lost sight of %v are to be heard, want all three", got)
		}
		r.pass(1100 * time.Millisecond) // an interval, and less than what makes a host silent
		if _, err := r.beat("b", 1); err != nil {
			t.Fatal(err)
		}
		if got := waits(); slices.Contains(got, "b") || r.state().VMs[web].Owner != nil {
			t.Errorf("b was heard once more: still to be heard are %v, owner %v", got, r.state().VMs[web].Owner)
		}
		r.beating(3*time.Second, "a", "b", "c")
		if got := waits(); len(got) != 0 || r.state().VMs[web].Owner == nil {
			t.Errorf("all were heard: still to be heard are %v, owner %v; want none, and the order to start", got, r.state().VMs[web].Owner)
		}
	})
}
