package recovery

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
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

// The order of starts is kept for what waited while the cluster was disarmed, however long that was; and what a
// person asks for meanwhile does not wait for what nobody starts.
func TestDisarmedKeepsTheOrder(t *testing.T) {
	disarm := func(in *Input) {
		in.State.Disarmed = &fsm.Disarm{ID: 7, Since: now, At: now, For: 3 * time.Hour, Why: "new switches", By: "ann"}
		in.Now = now.Add(time.Second)
	}
	waits := func(n string) string {
		return n + " is held: the cluster is disarmed until 2026-03-01 15:00:00 UTC (new switches, says ann): `haadm arm` ends that, `haadm vms start " + n + "` starts it all the same"
	}
	group := func(in *Input) {
		*in = clinic()
		in.Policy.Groups = []config.Group{
			{Name: "db", VMs: []string{"vm01"}, OnTimeout: config.TimeoutContinue, Ready: config.Ready{Timeout: 10 * time.Minute}},
			{Name: "app", VMs: []string{"vm02"}, StartAfter: []string{"db"}, OnTimeout: config.TimeoutContinue, Ready: config.Ready{Timeout: 10 * time.Minute}},
		}
	}
	for _, x := range []struct {
		name string
		do   func(*Input)
		want []string
	}{
		{"levels, armed after two hours", func(in *Input) {
			in.State.Armed, in.Now = now.Add(2*time.Hour), now.Add(2*time.Hour+time.Second)
		}, []string{"vm01 on b(2)", "vm02 is held: it starts after the VMs of the level before it", "vm03 is held: it starts after the VMs of the level before it"}},
		{"levels, of a cluster that was armed before", func(in *Input) {
			in.State.Armed, in.Now = now.Add(-time.Hour), now.Add(10*time.Minute)
		}, []string{"vm01 on b(2)", "vm02 on b(2)", "vm03 is held: it starts after the VMs of the level before it"}},
		{"levels, a person asked for the last", func(in *Input) {
			disarm(in)
			in.State.VMs[id(3)].Asked = true
		}, []string{waits("vm01"), waits("vm02"), "vm03 on b(2)"}},
		{"levels, a person asked for two", func(in *Input) {
			disarm(in)
			in.State.VMs[id(1)].Asked, in.State.VMs[id(3)].Asked = true, true
		}, []string{"vm01 on b(2)", waits("vm02"), "vm03 is held: it starts after the VMs of the level before it"}},
		{"groups, armed after two hours", func(in *Input) {
			group(in)
			in.State.Armed, in.Now = now.Add(2*time.Hour), now.Add(2*time.Hour+time.Second)
		}, []string{"vm01 on b(2)", "vm02 is held: it starts after group db"}},
		{"groups, a person asked for the last", func(in *Input) {
			group(in)
			disarm(in)
			in.State.VMs[id(2)].Asked = true
		}, []string{waits("vm01"), "vm02 on b(2)"}},
		{"groups, a person asked for the last, and it is to stay down without the first", func(in *Input) {
			group(in)
			disarm(in)
			in.Policy.Groups[1].OnTimeout = config.TimeoutStop
			in.State.VMs[id(2)].Asked = true
		}, []string{waits("vm01"), "vm02 waits: it starts after group db, which is not ready: vm01 is not started while the cluster is disarmed"}},
	} {
		in := orders()
		x.do(&in)
		got := brief(Plan(in))
		for _, want := range x.want {
			if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) }) {
				t.Errorf("%s: no step %q in\n\t%s", x.name, want, strings.Join(got, "\n\t"))
			}
		}
	}
}
