package host

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/vmm"
)

// What ended by itself while no master answers is remembered before the volumes tell of it,
// and nothing of that generation goes on here afterwards, whoever starts it.
func TestDecideOnACrashWithoutNetwork(t *testing.T) {
	again := outcome(fsm.OutcomeCrashed, "web ended without anybody asking")
	told := func(in *Input) { in.Record.Crashed = map[string]uint64{web: 7} }
	for _, tt := range []struct {
		name string
		is   []func(*Input)
		want Plan
	}{
		{"it crashed", []func(*Input){func(in *Input) { in.ended(vmm.ReasonCrashed) }},
			Plan{Crash: map[string]uint64{web: 7}, Outcomes: outcome(fsm.OutcomeCrashed, "web ended without anybody asking (crashed)")}},
		{"it was shut down", []func(*Input){func(in *Input) { in.ended(vmm.ReasonShutdown) }}, Plan{Outcomes: outcome(fsm.OutcomeStopped, "web was shut down")}},
		{"it runs", []func(*Input){func(in *Input) { in.ours() }}, Plan{}},
		{"it had crashed, and a person started it", []func(*Input){func(in *Input) { in.ours() }, told},
			Plan{Kill: map[string]string{web: "it had ended, and the heartbeat volumes say so: another host may have it by now"}}},
		{"it had crashed, and what a person started was ended", []func(*Input){func(in *Input) { in.ended(vmm.ReasonDestroyed) }, told}, Plan{Outcomes: again}},
		{"it had crashed in an earlier generation", []func(*Input){func(in *Input) { in.ours() }, func(in *Input) { in.Record.Crashed = map[string]uint64{web: 6} }}, Plan{}},
		{"it had crashed, and masters answer again", []func(*Input){func(in *Input) { in.ours() }, told, func(in *Input) { in.Alone = false }},
			Plan{Kill: map[string]string{web: "it had ended, and the heartbeat volumes say so: another host may have it by now"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := scene(t)
			in.Alone = true
			for _, change := range tt.is {
				change(&in)
			}
			got := Decide(in)
			got.Known = nil
			if d := diff(tt.want, got); d != "" {
				t.Errorf("the plan differs (-want +got):\n%s", d)
			}
		})
	}
}

// The table tells of a crash once that is saved, and of none before.
func TestTableTellsOfACrash(t *testing.T) {
	id, err := format.ParseUUID(web)
	if err != nil {
		t.Fatal(err)
	}
	crash := Plan{Crash: map[string]uint64{web: 7}, Outcomes: outcome(fsm.OutcomeCrashed, "web ended")}
	for _, tt := range []struct {
		name string
		full bool
		plan Plan
		want []format.VM
	}{
		{"saved", false, crash, []format.VM{{UUID: id, Generation: 7, State: format.VMCrashed}}},
		{"not to be saved", true, crash, nil},
		{"over the network", false, Plan{Outcomes: crash.Outcomes}, nil},
		{"of another generation", false, Plan{Crash: map[string]uint64{web: 6}, Outcomes: crash.Outcomes}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t)
			s.full = tt.full
			var outcomes []api.OutcomeReport
			if err := s.Host.remember(tt.plan); err == nil {
				outcomes = tt.plan.Outcomes
			} else if !tt.full {
				t.Fatal(err)
			}
			s.writeTable(s.state, outcomes)
			var got []format.VM
			for _, v := range s.wrote {
				if table, ok := v.(format.VMTable); ok {
					got = table.VMs
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("the table differs (-want +got):\n%s", d)
			}
			if !tt.full && s.saved.Crashed[web] != tt.plan.Crash[web] {
				t.Errorf("saved is %v, want %v", s.saved.Crashed, tt.plan.Crash)
			}
		})
	}
}

// Storage is the one way once a master has not answered for some intervals, and not
// before it ever has: an agent that restarted knows of nothing to tell.
func TestByStorageAlone(t *testing.T) {
	interval := standard(t).Heartbeat
	for _, tt := range []struct {
		name    string
		heard   time.Duration
		volumes int
		want    bool
	}{
		{"a master answered", here - isolationAfter*interval, 1, false},
		{"none has for longer", here - isolationAfter*interval - 1, 1, true},
		{"none has for longer, and there are no volumes", here - isolationAfter*interval - 1, 0, false},
		{"none ever has", 0, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t)
			s.volumes(tt.volumes)
			s.around.heard = tt.heard
			if got := s.byStorageAlone(s.state, here); got != tt.want {
				t.Errorf("by storage alone is %v, want %v", got, tt.want)
			}
		})
	}
}
