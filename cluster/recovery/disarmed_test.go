package recovery

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// While the cluster is disarmed nothing is started but what a person asked for; what else keeps a VM down is told as ever.
func TestDisarmed(t *testing.T) {
	for _, x := range []struct {
		name string
		do   func(*Input)
		want string
	}{
		{"it shall run", func(*Input) {}, "vm01 is held: the cluster is disarmed until 2026-03-01 13:00:00 UTC (new switches, says ann): `haadm arm` ends that, `haadm vms start vm01` starts it all the same"},
		{"a person asked for it", func(in *Input) { in.first().Asked = true }, "vm01 on b(2)"},
		{"armed again", func(in *Input) { in.State.Disarmed = nil }, "vm01 on b(2)"},
		{"armed again, and what it waited for is not why it starts", func(in *Input) { in.first().Waiting = in.State.Disarmed.Text(); in.State.Disarmed = nil }, "vm01 on b(2)"},
		{"no host can take it", func(in *Input) {
			for i := range in.Hosts {
				in.Hosts[i].State = placement.Down
			}
		}, "vm01 waits: no host can take it"},
		{"a person asked for it, and no host can take it", func(in *Input) {
			in.first().Asked = true
			for i := range in.Hosts {
				in.Hosts[i].State = placement.Down
			}
		}, "vm01 waits: no host can take it"},
	} {
		in := scene()
		in.State.Disarmed = &fsm.Disarm{ID: 7, Since: now, At: now, For: time.Hour, Why: "new switches", By: "ann"}
		x.do(&in)
		steps := Plan(in)
		if got := strings.Join(brief(steps), ", "); !strings.HasPrefix(got, x.want) {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
		if strings.Contains(steps[0].Why, "disarmed") && steps[0].Host != "" {
			t.Errorf("%s: it starts because %s", x.name, steps[0].Why)
		}
	}
}
