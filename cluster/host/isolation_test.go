package host

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/vmm"
)

// A VM of an isolated host is stopped where another could have it, or where it does no work
// any more.
func TestDecideWhileIsolated(t *testing.T) {
	master := func(in *Input) { in.Response.Master, in.Response.MasterBound = time.Second, 4*time.Second }
	tied := func(in *Input) { in.Tied = map[string]string{web: "rule \"licence\" keeps it on a"} }
	stuck := func(in *Input) { in.now(vmm.Paused, vmm.ReasonIOError) }
	tests := []struct {
		name string
		is   []func(*Input)
		want bool
	}{
		{"somebody could have it started elsewhere", []func(*Input){master}, true},
		{"nobody is seen who could", nil, false},
		{"no other host could take it", []func(*Input){master, tied}, false},
		{"its storage is gone", []func(*Input){stuck}, true},
		{"its storage is gone, and no other host could take it", []func(*Input){master, tied, stuck}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := scene(t)
			in.ours()
			in.Response = verdict.Response{Now: at, Standing: verdict.Alone, Since: at - time.Minute, Master: -1}
			in.Policy = func(string) verdict.ResponsePolicy {
				return verdict.ResponsePolicy{Action: verdict.PowerOff, Delay: 30 * time.Second}
			}
			for _, change := range tt.is {
				change(&in)
			}
			p := Decide(in)
			want := map[string]uint64{}
			if tt.want {
				want[web] = 7
			}
			if d := cmp.Diff(want, p.Isolate); d != "" || (p.Kill[web] != "") != tt.want {
				t.Errorf("it is killed because %q; what is recorded as stopped for isolation differs (-want +got):\n%s", p.Kill[web], d)
			}
		})
	}
}
