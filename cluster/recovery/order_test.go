package recovery

import (
	"fmt"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// clinic is two groups: the directory (vm01, vm02) and the offices (vm03), which start
// after it. All of them ran on b, which was found dead 20 s after it was last heard.
func clinic() Input {
	in := scene()
	in.Policy.Groups = []config.Group{
		{Name: "directory", VMs: []string{"vm01", "vm02"}, OnTimeout: config.TimeoutContinue, Ready: config.Ready{Timeout: 10 * time.Minute}},
		{Name: "office", VMs: []string{"vm03"}, StartAfter: []string{"directory"}, OnTimeout: config.TimeoutContinue, Ready: config.Ready{Timeout: 10 * time.Minute}},
	}
	in.vm(2, nil)
	in.vm(3, nil)
	in.State.Events = []fsm.Event{{ID: 40, At: now}}
	for _, vm := range in.State.VMs {
		vm.Home, vm.WaitingSince, vm.Cause = "b", now.Add(-20*time.Second), 40
	}
	return in
}

// runs has a VM run on a host since a while.
func (in *Input) runs(n int, host string, since time.Duration) {
	vm := in.State.VMs[id(n)]
	vm.Owner, vm.WaitingSince, vm.Cause = &fsm.Placement{Host: host, Phase: fsm.PhaseRunning, At: now.Add(-since - 2*time.Second), Since: now.Add(-since)}, time.Time{}, 0
}

func TestOrder(t *testing.T) {
	const held = "vm03 is held: it starts after group directory, which is not ready yet (it waits for that 10m0s at most)"
	stop := func(in *Input) { in.Policy.Groups[1].OnTimeout = config.TimeoutStop }
	class := func(in *Input, n int, c config.Class, order int) {
		name := fmt.Sprintf("c%d", n)
		if in.Policy.Classes == nil {
			in.Policy.Classes, in.Policy.VMs = map[string]config.Class{}, map[string]config.VMRule{}
		}
		in.Policy.Classes[name] = c
		in.Policy.VMs[in.State.VMs[id(n)].Name] = config.VMRule{Protect: true, Class: name, Order: order}
	}
	tests := []struct {
		name string
		in   func(*Input)
		want []string
	}{
		{"nothing runs", nil, []string{"vm01 on b(2)", "vm02 on b(2)", held}},
		{"one is being started", func(in *Input) {
			in.State.VMs[id(1)].Owner = &fsm.Placement{Host: "b", Phase: fsm.PhaseOrdered, At: now}
			in.runs(2, "b", 0)
		}, []string{held}},
		{"both run", func(in *Input) {
			in.runs(1, "a", 0)
			in.runs(2, "a", 0)
		}, []string{"vm03 on b(2)"}},
		{"one was seen running and is not guarded yet", func(in *Input) {
			in.runs(1, "a", 0)
			in.State.VMs[id(2)].Sighting = &fsm.Sighting{Host: "a", At: now}
		}, []string{held}},
		{"a person stopped one", func(in *Input) {
			in.runs(1, "a", 0)
			in.State.VMs[id(2)].Intent = fsm.IntentStop
		}, []string{"vm03 on b(2)"}},
		{"a person stopped one, and nothing may start without it", func(in *Input) {
			stop(in)
			in.runs(1, "a", 0)
			in.State.VMs[id(2)].Intent = fsm.IntentStop
		}, []string{"vm03 waits: it starts after group directory, which is not ready: vm02 was stopped by a person"}},
		{"the time is over", func(in *Input) { in.Now = now.Add(10 * time.Minute) }, []string{"vm01 on b(2)", "vm02 on b(2)", "vm03 on b(2)"}},
		{"the time counts from when the host was certainly dead", func(in *Input) { in.Now = now.Add(10*time.Minute - time.Second) }, []string{"vm01 on b(2)", "vm02 on b(2)", held}},
		{"the time counts from the first try", func(in *Input) {
			in.failed("b", "a", "c")
			in.Now = now.Add(10*time.Minute - 3*time.Second)
		}, []string{"vm01 on b(2) in round 2", "vm02 on b(2)", held}},
		{"the time is over, and nothing may start without it", func(in *Input) {
			stop(in)
			in.Now = now.Add(10 * time.Minute)
		}, []string{"vm01 on b(2)", "vm02 on b(2)", `vm03 waits: it stays down: group directory, which it starts after, was not ready within 10m0s, and on_timeout is "stop"`}},
		{"no host can take one of those before, and nothing may start without it", func(in *Input) {
			stop(in)
			in.State.VMs[id(2)].Memory = 9 * gib
		}, []string{held, "vm01 on b(2)",
			"vm02 waits: no host can take it: a: has 8 GiB of memory for VMs in all, 9.1 GiB of memory are needed; b: has 8 GiB of memory for VMs in all, 9.1 GiB of memory are needed; c: has 8 GiB of memory for VMs in all, 9.1 GiB of memory are needed"}},
		{"they are to have run for a while", func(in *Input) {
			in.Policy.Groups[0].Ready.Uptime = 20 * time.Second
			in.runs(1, "a", time.Minute)
			in.runs(2, "a", 15*time.Second)
		}, []string{held + ", again in 5s"}},
		{"they have run for a while", func(in *Input) {
			in.Policy.Groups[0].Ready.Uptime = 20 * time.Second
			in.runs(1, "a", time.Minute)
			in.runs(2, "a", 20*time.Second)
		}, []string{"vm03 on b(2)"}},
		{"the guests are asked, and one has not answered", func(in *Input) {
			in.Policy.Groups[0].Ready.GuestAgent = true
			in.runs(1, "a", 0)
			in.runs(2, "a", 0)
			in.Ready = map[string]Readiness{id(1): {Ready: true}, id(2): {}}
		}, []string{held + ", again in 9m58s"}},
		{"the guests are asked, and a host has not said yet", func(in *Input) {
			in.Policy.Groups[0].Ready.TCP = []string{"10.0.0.1:389"}
			in.runs(1, "a", 0)
			in.runs(2, "a", 0)
			in.Ready = map[string]Readiness{id(1): {Ready: true}}
		}, []string{held + ", again in 9m58s"}},
		{"the guests answer", func(in *Input) {
			in.Policy.Groups[0].Ready.GuestAgent = true
			in.runs(1, "a", 0)
			in.runs(2, "a", 0)
			in.Ready = map[string]Readiness{id(1): {Ready: true}, id(2): {Ready: true}}
		}, []string{"vm03 on b(2)"}},
		{"some time is to pass besides", func(in *Input) {
			in.Policy.Groups[1].StartDelay = 30 * time.Second
			in.runs(1, "a", time.Minute)
			in.runs(2, "a", 10*time.Second)
		}, []string{"vm03 is held: it starts after group directory, and 30s after that is ready, again in 20s"}},
		{"some time is to pass since the guests answered", func(in *Input) {
			in.Policy.Groups[0].Ready.GuestAgent, in.Policy.Groups[1].StartDelay = true, 30*time.Second
			in.runs(1, "a", time.Minute)
			in.runs(2, "a", time.Minute)
			in.Ready = map[string]Readiness{id(1): {Ready: true}, id(2): {Ready: true, Since: now.Add(-5 * time.Second)}}
		}, []string{"vm03 is held: it starts after group directory, and 30s after that is ready, again in 25s"}},
		{"some time has passed besides", func(in *Input) {
			in.Policy.Groups[1].StartDelay = 30 * time.Second
			in.runs(1, "a", time.Minute)
			in.runs(2, "a", 30*time.Second)
		}, []string{"vm03 on b(2)"}},
		{"a third group waits for the second, whose time has not begun", func(in *Input) {
			in.Policy.Groups = append(in.Policy.Groups, config.Group{Name: "web", VMs: []string{"vm04"}, StartAfter: []string{"office"}, Ready: config.Ready{Timeout: time.Minute}})
			in.Policy.Groups[1].Ready.Timeout = time.Second
			in.vm(4, func(vm *fsm.VM) { vm.Home = "b" })
			in.Now = now.Add(5 * time.Minute)
		}, []string{"vm01 on b(2)", "vm02 on b(2)", held, "vm04 is held: it starts after group office, which is not ready yet (it waits for that 1s at most)"}},
		{"the higher priority first", func(in *Input) {
			in.Policy.Groups = nil
			class(in, 3, config.Class{Priority: config.PriorityHighest}, 0)
			class(in, 1, config.Class{Priority: config.PriorityLow}, 0)
		}, []string{"vm03 on b(2)", "vm02 on b(2)", "vm01 on b(2)"}},
		{"the lower order first within a priority", func(in *Input) {
			in.Policy.Groups = nil
			class(in, 1, config.Class{Priority: config.PriorityHigh}, 3)
			class(in, 2, config.Class{Priority: config.PriorityHigh}, 2)
			class(in, 3, config.Class{Priority: config.PriorityHigh}, 1)
		}, []string{"vm03 on b(2)", "vm02 on b(2)", "vm01 on b(2)"}},
		{"best effort last, whatever its priority", func(in *Input) {
			in.Policy.Groups = nil
			class(in, 1, config.Class{Priority: config.PriorityHighest, Admission: config.AdmitBestEffort}, 0)
		}, []string{"vm02 on b(2)", "vm03 on b(2)", "vm01 on b(2)"}},
		{"best effort gets what is left", func(in *Input) {
			in.Policy.Groups = nil
			in.Hosts = in.Hosts[:1]
			class(in, 1, config.Class{Priority: config.PriorityHighest, Admission: config.AdmitBestEffort}, 0)
			for _, vm := range in.State.VMs {
				vm.Memory = 3 * gib
			}
		}, []string{"vm02 on a(2)", "vm03 on a(2)", "vm01 waits: no host can take it: a: 1.9 GiB of memory free, 3.1 GiB of memory needed"}},
		{"a protected VM that is to be tried again keeps its room from best effort", func(in *Input) {
			in.Policy.Groups = nil
			in.Hosts = in.Hosts[:1]
			in.failed("a")
			class(in, 2, config.Class{Admission: config.AdmitBestEffort}, 0)
			delete(in.State.VMs, id(3))
			for _, vm := range in.State.VMs {
				vm.Memory = 5 * gib
			}
		}, []string{"vm01 in 2m0s", "vm02 waits: no host can take it: a: 2.9 GiB of memory free, 5.1 GiB of memory needed"}},
		{"as many at once on a host as the policy says", func(in *Input) {
			in.Policy.Groups = nil
			in.Policy.Restart.MaxPerHost = 2
		}, []string{"vm01 on b(2)", "vm02 on b(2)", "vm03 next"}},
		{"those that are under way count", func(in *Input) {
			in.Policy.Groups = nil
			in.Policy.Hosts = map[string]config.HostRule{"b": {MaxRestarts: 1}}
			in.State.VMs[id(2)].Owner = &fsm.Placement{Host: "b", Phase: fsm.PhaseOrdered, At: now}
		}, []string{"vm01 next", "vm03 next"}},
		{"those that run do not", func(in *Input) {
			in.Policy.Groups = nil
			in.Policy.Restart.MaxPerHost = 1
			in.runs(2, "b", 0)
		}, []string{"vm01 on b(2)", "vm03 next"}},
		{"as many at once from a datastore as the policy says", func(in *Input) {
			in.Policy.Groups = nil
			in.Policy.Restart.MaxPerDatastore = 1
			in.Policy.Datastores = map[string]config.Datastore{"fast": {Path: "/srv/fast"}, "slow": {Path: "/srv/slow"}}
			for n, path := range map[int]string{1: "/srv/slow/1", 2: "/srv/slow/2", 3: "/srv/fast/3"} {
				xml, err := fsm.PackXML(fmt.Sprintf(`<domain type="kvm"><name>vm%02d</name><uuid>%s</uuid><memory unit="GiB">1</memory><devices><disk type="file" device="disk"><source file="%s"/><target dev="vda"/></disk></devices></domain>`, n, id(n), path))
				if err != nil {
					panic(err)
				}
				in.State.VMs[id(n)].XML = xml
			}
		}, []string{"vm01 on b(2)", "vm02 next", "vm03 on b(2)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := clinic()
			if tt.in != nil {
				tt.in(&in)
			}
			steps := Plan(in)
			got := brief(steps)
			for i, s := range steps {
				if at := in.Now.Add(s.Retry.Sub(in.Now)); s.Why != "" && !s.Retry.IsZero() && s.Retry.Before(now.Add(10*time.Minute-time.Second)) {
					got[i] += fmt.Sprintf(", again in %v", at.Sub(in.Now))
				}
			}
			if d := gocmp.Diff(tt.want, got); d != "" {
				t.Errorf("the plan differs (-want +got):\n%s", d)
			}
		})
	}
}
