package master

import (
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// Who should have the office in the place of a.
func TestFitter(t *testing.T) {
	maintain := func(in *input, hosts ...string) {
		for _, h := range hosts {
			in.state.Hosts[h].Maintenance = &fsm.Maintenance{Since: in.wall}
		}
	}
	tests := []struct {
		name string
		do   func(in *input)
		want heir
	}{
		{"all alike", func(*input) {}, heir{}},
		{"another is in maintenance", func(in *input) { maintain(in, "b") }, heir{}},
		{"the master is", func(in *input) { maintain(in, "a") }, heir{"b", true}},
		{"two are", func(in *input) { maintain(in, "a", "b") }, heir{"c", true}},
		{"all are", func(in *input) { maintain(in, "a", "b", "c") }, heir{}},
		{"the other has no vote", func(in *input) { maintain(in, "a"); in.voters = []string{"a", "c"} }, heir{"c", true}},
		{"nobody else has a vote", func(in *input) { maintain(in, "a"); in.voters = []string{"a"} }, heir{}},
		{"the other is suspected", func(in *input) { maintain(in, "a"); in.hosts["b"].watch.Suspected = in.now }, heir{"c", true}},
		{"the other is not heard", func(in *input) {
			maintain(in, "a")
			for n := range in.hosts["b"].networks {
				in.hosts["b"].networks[n] = in.now - time.Hour
			}
		}, heir{"c", true}},
		{"the other is being shut down", func(in *input) { maintain(in, "a"); in.hosts["b"].report.Draining = true }, heir{"c", true}},
		{"nothing has been heard of its own host yet", func(in *input) { maintain(in, "a"); in.hosts["a"].report = nil }, heir{}},
		{"the master reaches fewer volumes", func(in *input) { in.lose(0, 0, "a") }, heir{"b", false}},
		{"another reaches fewer", func(in *input) { in.lose(0, 0, "b") }, heir{}},
		{"one that reaches as many goes before one that reaches fewer", func(in *input) { maintain(in, "a"); in.lose(0, 0, "b") }, heir{"c", true}},
		{"in maintenance, and the others reach fewer: it stays", func(in *input) { maintain(in, "a"); in.lose(0, 0, "b", "c") }, heir{}},
		{"one in maintenance reaches more: it could publish claims", func(in *input) { maintain(in, "b"); in.lose(0, 0, "a", "c") }, heir{"b", false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := withVolumes(t)
			tt.do(&in)
			got := fitter(in)
			if got != tt.want {
				t.Errorf("%+v should have the office, want %+v", got, tt.want)
			}
			if got.host == "" {
				return
			}
			in.self = got.host // nobody who gets it gives it back
			if again := fitter(in); again.host == "a" {
				t.Errorf("%s would give it back to a", got.host)
			}
		})
	}
}
