package recovery

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

func TestFrozen(t *testing.T) {
	for _, x := range []struct {
		name string
		do   func(*Input)
		want string
	}{
		{"its host is off", func(in *Input) { in.Hosts[1].State = placement.Down }, "vm01 is held: it waits for b, which was rebooted at 11:50:00 UTC with it, until 12:05:00 UTC at the latest"},
		{"its host takes no VMs", func(in *Input) { in.Hosts[1].State = placement.Closed }, "vm01 is held: it waits for b"},
		{"its host is being shut down", func(in *Input) { in.Hosts[1].State = placement.Maintenance }, "vm01 is held: it waits for b"},
		{"its host is back", func(*Input) {}, "vm01 on b(2)"},
		{"its host is back, and load decides where VMs start", func(in *Input) {
			in.Policy.Balance.Mode = config.BalanceOnStart
			in.Hosts[1].runs(4*gib, 0)
		}, "vm01 on b(2)"},
		{"its host is back and has no room", func(in *Input) { in.Hosts[1].runs(7*gib, 0) }, "vm01 on a(2)"},
		{"its host is back, and one that comes first would take its room", func(in *Input) {
			in.Policy.Balance.Mode = config.BalanceOnStart
			in.Hosts[0].runs(gib, 0)
			in.Hosts[2].runs(8*gib, 0)
			in.first().Memory = 5 * gib
			in.vm(0, func(vm *fsm.VM) { vm.Home, vm.Memory = "c", 5*gib })
		}, "vm00 on a(2), vm01 on b(2)"},
		{"its host was removed", func(in *Input) { in.first().Frozen.Host = "x" }, "vm01 on b(2)"},
		{"it has waited for long enough", func(in *Input) {
			in.Hosts[1].State = placement.Down
			in.Policy.Shutdown.FreezeTimeout = 10 * time.Minute
		}, "vm01 on a(2)"},
		{"a moment earlier", func(in *Input) {
			in.Hosts[1].State = placement.Down
			in.Policy.Shutdown.FreezeTimeout = 10*time.Minute + 1
		}, "vm01 is held: it waits for b"},
		{"it waits for ever", func(in *Input) {
			in.Hosts[1].State = placement.Down
			in.Policy.Shutdown.FreezeTimeout = 0
		}, "vm01 is held: it waits for b, which was rebooted at 11:50:00 UTC with it: `haadm"},
		{"it waits no more", func(in *Input) { in.Hosts[1].State = placement.Down; in.first().Frozen = nil }, "vm01 on a(2)"},
	} {
		in := scene()
		in.first().Frozen = &fsm.Frozen{Host: "b", Since: now.Add(-10 * time.Minute), Reboot: true}
		x.do(&in)
		steps := Plan(in)
		if got := strings.Join(brief(steps), ", "); !strings.HasPrefix(got, x.want) {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
		if s := steps[0]; s.Host == "" && (in.Policy.Shutdown.FreezeTimeout > 0) != !s.Retry.IsZero() {
			t.Errorf("%s: it is looked at again at %v", x.name, s.Retry)
		}
	}
}
