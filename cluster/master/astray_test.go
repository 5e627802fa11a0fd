package master

import (
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
		if got := unsure(in)[web]; got != tt.want {
			t.Errorf("b %s: unsure is %v, want %v", tt.name, got, tt.want)
		}
		s.VMs[web].Owner = &fsm.Placement{Host: "a"}
		if got := astray(in, in.astray); len(got) != 0 {
			t.Errorf("b %s: an owned VM is still astray: %v", tt.name, got)
		}
	}
}
