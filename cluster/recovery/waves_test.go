package recovery

import (
	"fmt"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// orders is three VMs of order 0, 1 and 2, each of which waits until the one before runs.
// All of them ran on b, which was found dead 20 s after it was last heard.
func orders() Input {
	in := clinic()
	in.Policy.Groups = nil
	in.Policy.Restart.NextWhen = config.NextRunning
	in.Policy.Classes, in.Policy.VMs = map[string]config.Class{}, map[string]config.VMRule{}
	for n := 1; n <= 3; n++ {
		in.level(n, config.PriorityMedium, n-1)
	}
	return in
}

// level gives a VM a priority and an order.
func (in *Input) level(n int, priority string, order int) {
	in.Policy.Classes[priority] = config.Class{Priority: priority, Admission: config.AdmitGuaranteed}
	in.Policy.VMs[in.State.VMs[id(n)].Name] = config.VMRule{Protect: true, Class: priority, Order: order}
}

func TestWaves(t *testing.T) {
	held := func(n int, before, again string) string {
		return fmt.Sprintf("vm%02d is held: it starts after the VMs of the level before it (priority %s), once those run; each level is waited for 10m0s at most%s", n, before, again)
	}
	const in10, none = ", again in 10m0s", ""
	group := func(in *Input, ready config.Ready, members ...string) {
		ready.Timeout = 10 * time.Minute
		in.Policy.Groups = append(in.Policy.Groups, config.Group{Name: fmt.Sprintf("g%d", len(in.Policy.Groups)), VMs: members, OnTimeout: config.TimeoutContinue, Ready: ready})
	}
	tests := []struct {
		name string
		in   func(*Input)
		want []string
	}{
		{"all at once, in order", func(in *Input) { in.Policy.Restart.NextWhen = config.NextOrdered }, []string{"vm01 on b(2)", "vm02 on b(2)", "vm03 on b(2)"}},
		{"the first order", nil, []string{"vm01 on b(2)", held(2, "medium", in10), held(3, "medium, order 1", in10)}},
		{"the first is ordered", func(in *Input) {
			in.State.VMs[id(1)].Owner = &fsm.Placement{Host: "a", Phase: fsm.PhaseOrdered, At: now.Add(-5 * time.Second)}
		}, []string{held(2, "medium", ", again in 9m55s"), held(3, "medium, order 1", ", again in 9m55s")}},
		{"the first runs", func(in *Input) { in.runs(1, "a", time.Second) }, []string{"vm02 on b(2)", held(3, "medium, order 1", in10)}},
		{"the second runs, started by hand", func(in *Input) { in.runs(2, "a", time.Second) }, []string{"vm01 on b(2)", held(3, "medium, order 1", in10)}},
		{"two of one level start together", func(in *Input) { in.level(2, config.PriorityMedium, 0) }, []string{"vm01 on b(2)", "vm02 on b(2)", held(3, "medium", in10)}},
		{"one of two runs", func(in *Input) {
			in.level(2, config.PriorityMedium, 0)
			in.runs(2, "a", time.Second)
		}, []string{"vm01 on b(2)", held(3, "medium", in10)}},
		{"the priority goes before the order", func(in *Input) { in.level(3, config.PriorityHigh, 9) }, []string{
			"vm03 on b(2)", held(1, "high, order 9", in10), held(2, "medium", in10)}},
		{"best effort waits for all others", func(in *Input) {
			in.Policy.Classes["spare"] = config.Class{Priority: config.PriorityHighest, Admission: config.AdmitBestEffort}
			in.Policy.VMs["vm01"] = config.VMRule{Protect: true, Class: "spare"}
		}, []string{"vm02 on b(2)", held(3, "medium, order 1", in10), held(1, "medium, order 2", in10)}},
		{"best effort keeps none of the others waiting", func(in *Input) {
			in.Policy.Classes["spare"] = config.Class{Priority: config.PriorityHighest, Admission: config.AdmitBestEffort}
			in.Policy.VMs["vm01"] = config.VMRule{Protect: true, Class: "spare"}
			in.runs(2, "a", time.Second)
		}, []string{"vm03 on b(2)", held(1, "medium, order 2", in10)}},
		{"a person stopped the first", func(in *Input) { in.State.VMs[id(1)].Intent = fsm.IntentStop }, []string{"vm02 on b(2)", held(3, "medium, order 1", in10)}},
		{"the first was seen running", func(in *Input) {
			in.State.VMs[id(1)].Sighting = &fsm.Sighting{Host: "a", At: now.Add(-time.Second)}
		}, []string{held(2, "medium", ", again in 9m59s"), held(3, "medium, order 1", ", again in 9m59s")}},
		{"no host can take the first", func(in *Input) {
			in.State.VMs[id(1)].Memory = 99 * gib
			in.Hosts = in.Hosts[:1]
		}, []string{
			"vm01 waits: no host can take it: a: has 8 GiB of memory for VMs in all, 99.1 GiB of memory are needed", held(2, "medium", in10), held(3, "medium, order 1", in10)}},
		{"no host can take the first for long", func(in *Input) {
			in.State.VMs[id(1)].Memory = 99 * gib
			in.Hosts = in.Hosts[:1]
			in.Now = now.Add(10 * time.Minute)
		}, []string{
			"vm01 waits: no host can take it: a: has 8 GiB of memory for VMs in all, 99.1 GiB of memory are needed", "vm02 on a(2)", held(3, "medium, order 1", none)}},
		{"the time of the second begins when that of the first is over", func(in *Input) {
			in.Now = now.Add(20*time.Minute - time.Second)
			in.Policy.Restart.Retries = []time.Duration{0, time.Hour}
			for n := 1; n <= 2; n++ {
				in.State.VMs[id(n)].Memory = 99 * gib
			}
			in.Hosts = in.Hosts[:1]
		}, []string{
			"vm01 waits: no host can take it: a: has 8 GiB of memory for VMs in all, 99.1 GiB of memory are needed",
			"vm02 waits: no host can take it: a: has 8 GiB of memory for VMs in all, 99.1 GiB of memory are needed", held(3, "medium, order 1", none)}},
		{"both times are over", func(in *Input) {
			in.Now = now.Add(20 * time.Minute)
			for n := 1; n <= 2; n++ {
				in.State.VMs[id(n)].Memory = 99 * gib
			}
			in.Hosts = in.Hosts[:1]
		}, []string{
			"vm01 waits: no host can take it: a: has 8 GiB of memory for VMs in all, 99.1 GiB of memory are needed",
			"vm02 waits: no host can take it: a: has 8 GiB of memory for VMs in all, 99.1 GiB of memory are needed", "vm03 on a(2)"}},
		{"the first failed once, and is tried again", func(in *Input) {
			in.failed("b", "a", "c")
			in.Now = now.Add(time.Minute)
		}, []string{"vm01 in 2m0s", held(2, "medium", ", again in 8m58s"), held(3, "medium, order 1", ", again in 8m58s")}},
		{"the time counts from the first try, after a crash as well", func(in *Input) {
			in.failed("b+", "b", "a", "c")
			in.Now = now.Add(10*time.Minute - 2*time.Second)
		}, []string{"vm01 on b(2) in round 2", "vm02 on b(2)", held(3, "medium, order 1", none)}},
		{"the first is given up", func(in *Input) {
			in.Policy.Restart.Retries = []time.Duration{0}
			in.failed("b", "a", "c")
		}, []string{
			"vm01 is given up: every start failed, on a, b, c, tried once, the last time at 2026-03-01 12:00:00 UTC: no bridge; it is tried again when another host can take it or one of these is back, " +
				"when its definition changes, and after `haadm vms retry`",
			"vm02 on b(2)", held(3, "medium, order 1", in10)}},
		{"the first crashed, and waits for its next try", func(in *Input) {
			in.failed("b+", "b+", "b+")
		}, []string{"vm01 in 15s", "vm02 on b(2)", held(3, "medium, order 1", in10)}},
		{"some time is to pass besides", func(in *Input) {
			in.Policy.Restart.NextDelay = 30 * time.Second
			in.runs(1, "a", 20*time.Second)
		}, []string{
			"vm02 is held: it starts after the VMs of the level before it (priority medium), 30s after those run; each level is waited for 10m0s at most, again in 10s",
			"vm03 is held: it starts after the VMs of the level before it (priority medium, order 1), 30s after those run; each level is waited for 10m0s at most, again in 10s"}},
		{"some time has passed besides", func(in *Input) {
			in.Policy.Restart.NextDelay = 30 * time.Second
			in.runs(1, "a", 30*time.Second)
			in.runs(2, "a", 40*time.Second)
		}, []string{"vm03 on b(2)"}},
		{"a VM that was moved ran all the time", func(in *Input) {
			in.Policy.Restart.NextDelay = 30 * time.Second
			in.runs(1, "a", time.Second)
			in.State.VMs[id(1)].Owner.From = "c"
			in.runs(2, "a", time.Minute)
		}, []string{"vm03 on b(2)"}},
		{"they run, and need not be ready", func(in *Input) {
			group(in, config.Ready{GuestAgent: true}, "vm01")
			in.runs(1, "a", time.Second)
		}, []string{"vm02 on b(2)", held(3, "medium, order 1", in10)}},
		{"they are to be ready", func(in *Input) {
			in.Policy.Restart.NextWhen = config.NextReady
			group(in, config.Ready{GuestAgent: true}, "vm01")
			in.runs(1, "a", time.Minute)
		}, []string{
			"vm02 is held: it starts after the VMs of the level before it (priority medium), once those are ready; each level is waited for 10m0s at most, again in 8m58s",
			"vm03 is held: it starts after the VMs of the level before it (priority medium, order 1), once those are ready; each level is waited for 10m0s at most, again in 8m58s"}},
		{"they are ready", func(in *Input) {
			in.Policy.Restart.NextWhen = config.NextReady
			group(in, config.Ready{GuestAgent: true}, "vm01")
			in.runs(1, "a", time.Minute)
			in.runs(2, "a", time.Minute)
			in.Ready = map[string]Readiness{id(1): {Ready: true}}
		}, []string{"vm03 on b(2)"}},
		{"they have not been ready for long", func(in *Input) {
			in.Policy.Restart.NextWhen = config.NextReady
			group(in, config.Ready{GuestAgent: true}, "vm01")
			in.runs(1, "a", 11*time.Minute)
		}, []string{"vm02 on b(2)", "vm03 is held: it starts after the VMs of the level before it (priority medium, order 1), once those are ready; each level is waited for 10m0s at most, again in 10m0s"}},
		{"the first starts after a group of the last, which waits for none of those between", func(in *Input) {
			group(in, config.Ready{}, "vm03")
			group(in, config.Ready{}, "vm01")
			in.Policy.Groups[1].StartAfter = []string{"g0"}
		}, []string{"vm02 on b(2)", held(3, "medium, order 1", in10), "vm01 is held: it starts after group g0, which is not ready yet (it waits for that 10m0s at most)" + in10}},
		{"the time of a group begins when its level does", func(in *Input) {
			group(in, config.Ready{}, "vm02")
			group(in, config.Ready{}, "vm03")
			in.Policy.Groups[1].StartAfter = []string{"g0"}
			in.Now = now.Add(9 * time.Minute)
			in.Policy.Groups[0].Ready.Timeout = time.Minute
			in.State.VMs[id(1)].Memory = 99 * gib
			in.Hosts = in.Hosts[:1]
		}, []string{"vm01 waits: no host can take it: a: has 8 GiB of memory for VMs in all, 99.1 GiB of memory are needed",
			held(2, "medium", ", again in 1m0s"), "vm03 is held: it starts after group g0, which is not ready yet (it waits for that 1m0s at most), again in 1m0s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := orders()
			if tt.in != nil {
				tt.in(&in)
			}
			steps := Plan(in)
			got := brief(steps)
			for i, s := range steps {
				if s.Why != "" && s.For == fsm.WaitHeld && !s.Retry.IsZero() && s.Retry.Sub(in.Now) <= 10*time.Minute && in.Now.Before(now.Add(9*time.Minute+time.Second)) {
					got[i] += fmt.Sprintf(", again in %v", s.Retry.Sub(in.Now))
				}
			}
			if d := gocmp.Diff(tt.want, got); d != "" {
				t.Errorf("the plan differs (-want +got):\n%s", d)
			}
		})
	}
}

// However levels and groups lie, and whichever VMs no host can take or fail for good, every
// other one is started in the end.
func TestWavesNeverDeadlock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := orders()
		vms := rapid.IntRange(3, 6).Draw(t, "VMs")
		for n := 4; n <= vms; n++ {
			in.vm(n, func(vm *fsm.VM) { vm.Home, vm.WaitingSince = "b", now })
		}
		in.Policy.Restart.NextWhen = rapid.SampledFrom([]string{config.NextRunning, config.NextReady}).Draw(t, "when")
		in.Policy.Restart.NextDelay = time.Duration(rapid.IntRange(0, 2).Draw(t, "delay")) * time.Minute
		dud := map[string]bool{}
		for n := 1; n <= vms; n++ {
			in.level(n, rapid.SampledFrom([]string{config.PriorityHigh, config.PriorityLow}).Draw(t, "priority"), rapid.IntRange(0, 1).Draw(t, "order"))
			if rapid.IntRange(0, 3).Draw(t, "dud") == 3 {
				dud[id(n)] = true
				if rapid.Bool().Draw(t, "too large") {
					in.State.VMs[id(n)].Memory = 99 * gib
				}
			}
			g := config.Group{Name: fmt.Sprintf("g%d", n), VMs: []string{fmt.Sprintf("vm%02d", n)}, OnTimeout: config.TimeoutContinue, Ready: config.Ready{Timeout: 5 * time.Minute}}
			if n > 1 && rapid.Bool().Draw(t, "after another") {
				g.StartAfter = []string{fmt.Sprintf("g%d", rapid.IntRange(1, n-1).Draw(t, "which"))}
			}
			g.Ready.GuestAgent = rapid.Bool().Draw(t, "asked")
			in.Policy.Groups = append(in.Policy.Groups, g)
		}
		for in.Now.Before(now.Add(3 * time.Hour)) {
			for _, s := range Plan(in) {
				vm := in.State.VMs[s.VM.UUID]
				switch {
				case s.Host == "":
				case dud[vm.UUID]:
					vm.Failures = append(vm.Failures, fsm.Failure{Host: s.Host, Round: s.Round, At: in.Now})
				default:
					vm.Owner = &fsm.Placement{Host: s.Host, Phase: fsm.PhaseRunning, At: in.Now, Since: in.Now}
				}
			}
			in.Now = in.Now.Add(time.Minute)
		}
		for _, vm := range in.State.SortedVMs() {
			if vm.Owner == nil && !dud[vm.UUID] {
				t.Errorf("%s was not started within three hours: %v", vm.Name, brief(Plan(in)))
			}
		}
	})
}
