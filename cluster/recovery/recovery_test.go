package recovery

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const gib = 1 << 30

func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

// scene is three usable hosts of 8 GiB and one VM of 1 GiB, at home on b, that
// shall run and that nobody owns.
func scene() Input {
	in := Input{Now: now, State: &fsm.State{VMs: map[string]*fsm.VM{}}, Policy: config.DefaultPolicy("test")}
	for _, name := range []string{"a", "b", "c"} {
		in.Hosts = append(in.Hosts, host(name))
	}
	in.vm(1, func(vm *fsm.VM) { vm.Home = "b" })
	return in
}

// overhead is what a VM whose definition is not known is taken to need beside its memory, bytes.
const overhead = 64 << 20

func host(name string) Host {
	return Host{Incarnation: 2, Host: inventory.Host{Name: name, CPUs: 8, Memory: 8 * gib}}
}

// runs has a host run a VM of that size that nobody protects.
func (h *Host) runs(memory uint64, vcpus int) {
	n := len(h.Domains)
	h.Domains = append(h.Domains, inventory.Domain{UUID: fmt.Sprintf("%s-%d", h.Name, n), Name: fmt.Sprintf("stranger%d", n), Running: true, VCPUs: vcpus, Memory: memory - overhead})
}

// vm adds one, named by its number.
func (in *Input) vm(n int, with func(*fsm.VM)) {
	vm := &fsm.VM{UUID: id(n), Name: fmt.Sprintf("vm%02d", n), Intent: fsm.IntentRun, Memory: gib, VCPUs: 1, Generation: uint64(n)}
	if with != nil {
		with(vm)
	}
	in.State.VMs[vm.UUID] = vm
}

func (in *Input) first() *fsm.VM { return in.State.VMs[id(1)] }

// failed appends failures of the first VM: a host's name for a start that failed there,
// with the round after an @ (1 without one), with a + for a crash; each a second after the
// other, the last one now.
func (in *Input) failed(on ...string) {
	for i, word := range on {
		name, crash := strings.CutSuffix(word, "+")
		name, round, _ := strings.Cut(name, "@")
		n, err := strconv.Atoi(cmp.Or(round, "1"))
		if err != nil {
			panic(err)
		}
		in.first().Failures = append(in.first().Failures, fsm.Failure{Host: name, Crash: crash, Round: n, Detail: "no bridge", At: now.Add(time.Duration(i+1-len(on)) * time.Second)})
	}
}

func brief(steps []Step) []string {
	var out []string
	for _, s := range steps {
		switch {
		case s.Host != "" && s.Round > 1:
			out = append(out, fmt.Sprintf("%s on %s(%d) in round %d", s.VM.Name, s.Host, s.Incarnation, s.Round))
		case s.Host != "":
			out = append(out, fmt.Sprintf("%s on %s(%d)", s.VM.Name, s.Host, s.Incarnation))
		case s.Why != "":
			words := map[fsm.Wait]string{fsm.WaitNoHost: "waits", fsm.WaitHeld: "is held", fsm.WaitGivenUp: "is given up"}[s.For]
			out = append(out, fmt.Sprintf("%s %s: %s", s.VM.Name, words, s.Why))
		case !s.Retry.IsZero():
			out = append(out, fmt.Sprintf("%s in %v", s.VM.Name, s.Retry.Sub(now)))
		default:
			out = append(out, s.VM.Name+" next")
		}
	}
	return out
}

func TestPlan(t *testing.T) {
	home := func(in *Input) *Host { return &in.Hosts[1] }
	closed := func(h *Host, why string) { h.State, h.Why = placement.Closed, why }
	tests := []struct {
		name string
		in   func(*Input)
		want []string
	}{
		{"at home", func(*Input) {}, []string{"vm01 on b(2)"}},
		{"it is owned", func(in *Input) { in.first().Owner = &fsm.Placement{Host: "a"} }, nil},
		{"it was seen running somewhere", func(in *Input) { in.first().Sighting = &fsm.Sighting{Host: "a"} }, nil},
		{"it was seen running on a host that is no member", func(in *Input) { in.first().Sighting = &fsm.Sighting{Host: "x"} }, nil},
		{"it shall not run", func(in *Input) { in.first().Intent = fsm.IntentStop }, nil},
		{"its home takes none", func(in *Input) { closed(home(in), "its guard is late") }, []string{"vm01 on a(2)"}},
		{"its home is lost", func(in *Input) { home(in).State = placement.Down }, []string{"vm01 on a(2)"}},
		{"its home is expected", func(in *Input) {
			closed(home(in), "it has not come up yet")
			home(in).Awaited = true
		}, []string{"vm01 is held: b, its home, is expected: it has not come up yet"}},
		{"another host is expected", func(in *Input) {
			closed(&in.Hosts[0], "")
			in.Hosts[0].Awaited = true
		}, []string{"vm01 on b(2)"}},
		{"its home is full", func(in *Input) { home(in).runs(7*gib, 0) }, []string{"vm01 on a(2)"}},
		{"its home has exactly the room", func(in *Input) { home(in).runs(7*gib-overhead, 0) }, []string{"vm01 on b(2)"}},
		{"its home is full of what was placed there", func(in *Input) {
			for n := 2; n < 9; n++ {
				in.vm(n, func(vm *fsm.VM) { vm.Owner = &fsm.Placement{Host: "b"} })
			}
		}, []string{"vm01 on a(2)"}},
		{"what runs where another owns it takes room", func(in *Input) {
			in.vm(2, func(vm *fsm.VM) { vm.Owner, vm.Memory = &fsm.Placement{Host: "a"}, 7*gib })
			home(in).Domains = []inventory.Domain{{UUID: id(2), Name: "vm02", Running: true, Memory: 7 * gib}}
		}, []string{"vm01 on c(2)"}},
		{"the least memory in use, without a home", func(in *Input) {
			in.first().Home = "x"
			in.Hosts[2].Memory = 16 * gib
		}, []string{"vm01 on c(2)"}},
		{"fewest virtual processors for its own", func(in *Input) {
			in.first().Home = "x"
			for i := range in.Hosts {
				in.Hosts[i].runs(gib, 4)
			}
			in.Hosts[2].CPUs = 16
		}, []string{"vm01 on c(2)"}},
		{"first by name", func(in *Input) { in.first().Home = "x" }, []string{"vm01 on a(2)"}},
		{"several are spread", func(in *Input) {
			for n := 2; n <= 6; n++ {
				in.vm(n, nil)
			}
			in.first().Home = ""
		}, []string{"vm01 on a(2)", "vm02 on b(2)", "vm03 on c(2)", "vm04 on a(2)", "vm05 on b(2)", "vm06 on c(2)"}},
		{"what its host keeps for itself is not for VMs", func(in *Input) {
			home(in).Reserve = 7 * gib
		}, []string{"vm01 on a(2)"}},
		{"no host has room", func(in *Input) { in.first().Memory = 8 * gib },
			[]string{"vm01 waits: no host can take it: a: has 8192 MiB of memory for VMs in all, 8256 MiB of memory are needed; b: has 8192 MiB of memory for VMs in all, 8256 MiB of memory are needed; c: has 8192 MiB of memory for VMs in all, 8256 MiB of memory are needed"}},
		{"each host says why not", func(in *Input) {
			home(in).State, home(in).Why = placement.Down, "it is dead"
			closed(&in.Hosts[0], "its guard is late")
			in.Hosts[2].runs(8*gib, 0)
		}, []string{"vm01 waits: no host can take it: a: takes no VMs (its guard is late); b: is lost (it is dead); c: 0 MiB of memory free, 1.1 GiB of memory needed"}},
		{"no host at all", func(in *Input) { in.Hosts = nil }, []string{"vm01 waits: no host can take it: "}},
		{"more is placed on a host than it has", func(in *Input) {
			home(in).Memory = gib
			home(in).runs(4*gib, 0)
		}, []string{"vm01 on a(2)"}},

		{"its start at home failed", func(in *Input) { in.failed("b") }, []string{"vm01 on a(2)"}},
		{"on two", func(in *Input) { in.failed("b", "a") }, []string{"vm01 on c(2)"}},
		{"on all, and the last one was just now", func(in *Input) { in.failed("b", "a", "c") }, []string{"vm01 in 2m0s"}},
		{"on all, a while ago", func(in *Input) {
			in.failed("b", "a", "c")
			in.Now = now.Add(2 * time.Minute)
		}, []string{"vm01 on b(2) in round 2"}},
		{"on all, and at home again", func(in *Input) { in.failed("b", "a", "c", "b@2") }, []string{"vm01 on a(2) in round 2"}},
		{"on all twice", func(in *Input) { in.failed("b", "a", "c", "b@2", "a@2", "c@2") }, []string{"vm01 in 4m0s"}},
		{"on all that are usable", func(in *Input) {
			in.failed("b", "a")
			closed(&in.Hosts[2], "")
			in.Now = now.Add(2 * time.Minute)
		}, []string{"vm01 on b(2) in round 2"}},
		{"on all that are usable, just now", func(in *Input) {
			in.failed("b", "a")
			closed(&in.Hosts[2], "")
		}, []string{"vm01 in 2m0s"}},
		{"on all that have room, just now", func(in *Input) {
			in.failed("b", "a")
			in.Hosts[2].runs(8*gib, 0)
		}, []string{"vm01 in 2m0s"}},
		{"on all, and one has come back since", func(in *Input) {
			in.failed("b", "c", "a")
			in.State.Hosts = map[string]*fsm.Host{"c": {Name: "c", Status: fsm.HostLive, Since: now}}
		}, []string{"vm01 on c(2)"}},
		{"for the last time", func(in *Input) {
			in.failed("a@5", "b@5", "c@5")
			in.Now = now.Add(24 * time.Hour)
		}, []string{"vm01 is given up: every start failed, on a, b, c, tried 5 times, the last time at 2026-03-01 12:00:00 UTC: no bridge; it is tried again when another host can take it or one of these is back, when its definition changes, and after `haadm vms retry`"}},
		{"for the last time, and there is another host", func(in *Input) {
			in.failed("a@5", "b@5", "c@5")
			in.Hosts = append(in.Hosts, host("d"))
		}, []string{"vm01 on d(2) in round 5"}},
		{"its class is tried once", func(in *Input) {
			in.Policy.Restart.Retries = []time.Duration{0}
			in.failed("a", "b", "c")
		}, []string{"vm01 is given up: every start failed, on a, b, c, tried once, the last time at 2026-03-01 12:00:00 UTC: no bridge; it is tried again when another host can take it or one of these is back, when its definition changes, and after `haadm vms retry`"}},
		{"what is given up leaves its room to others", func(in *Input) {
			in.failed("a@5", "b@5", "c@5")
			in.first().Memory = 7 * gib
			for n, name := range []string{"a", "b", "c"} {
				in.vm(2+n, func(vm *fsm.VM) { vm.Home, vm.Memory = name, 2*gib })
			}
		}, []string{"vm01 is given up: every start failed, on a, b, c, tried 5 times, the last time at 2026-03-01 12:00:00 UTC: no bridge; it is tried again when another host can take it or one of these is back, when its definition changes, and after `haadm vms retry`",
			"vm02 on a(2)", "vm03 on b(2)", "vm04 on c(2)"}},
		{"it crashed once", func(in *Input) { in.failed("b+") }, []string{"vm01 on b(2)"}},
		{"it crashed twice", func(in *Input) { in.failed("b+", "b+") }, []string{"vm01 in 5s"}},
		{"it crashed twice, and the clock was set back since", func(in *Input) {
			in.failed("b+", "b+")
			in.Now = in.Now.Add(-time.Hour)
		}, []string{"vm01 on b(2)"}},
		{"it crashed very often", func(in *Input) { in.failed(slices.Repeat([]string{"b+"}, 16)...) }, []string{"vm01 in 5m0s"}},
		{"it crashed after starts had failed", func(in *Input) { in.failed("b", "a+") }, []string{"vm01 in 5s"}},
		{"what failed before it ran is over", func(in *Input) { in.failed("b", "c", "a+", "b") }, []string{"vm01 on a(2)"}},

		{"its host is standby, and its home can take it", func(in *Input) {
			in.Policy.Hosts = map[string]config.HostRule{"a": {Standby: true}}
		}, []string{"vm01 on b(2)"}},
		{"standby hosts come first when its home is lost", func(in *Input) {
			in.Policy.Hosts = map[string]config.HostRule{"c": {Standby: true}}
			home(in).State = placement.Down
		}, []string{"vm01 on c(2)"}},
		{"standby is better than nothing", func(in *Input) {
			in.Policy.Hosts = map[string]config.HostRule{"a": {Standby: true}, "c": {Standby: true}}
			home(in).runs(8*gib, 0)
		}, []string{"vm01 on a(2)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := scene()
			tt.in(&in)
			if d := gocmp.Diff(tt.want, brief(Plan(in))); d != "" {
				t.Errorf("the plan differs (-want +got):\n%s", d)
			}
		})
	}
}

func TestWhyIsForPeople(t *testing.T) {
	in := scene()
	in.first().Waiting = "n7 was declared dead"
	if got, want := Plan(in)[0].Why, "n7 was declared dead; its home"; got != want {
		t.Errorf("the reason is %q, want %q", got, want)
	}
	in.first().Home = ""
	if got, want := Plan(in)[0].Why, "n7 was declared dead; a ranks first of 3 that can take it: memory 13.2 % used, 0.12 virtual CPUs per processor, 1 VM"; got != want {
		t.Errorf("the reason is %q, want %q", got, want)
	}
	in.first().Waiting = "no host can take it: a: 0 MiB of memory free, 1.1 GiB of memory needed"
	if got, want := Plan(in)[0].Why, "a ranks first of 3 that can take it: memory 13.2 % used, 0.12 virtual CPUs per processor, 1 VM"; got != want {
		t.Errorf("the reason is %q, want %q", got, want)
	}
}

// drawInput is up to five hosts and twelve VMs, some of them owned, some with failures.
func drawInput(t *rapid.T) Input {
	in := Input{Now: now, State: &fsm.State{VMs: map[string]*fsm.VM{}}, Policy: config.DefaultPolicy("test")}
	names := []string{"a", "b", "c", "d", "e"}[:rapid.IntRange(1, 5).Draw(t, "hosts")]
	for _, name := range names {
		h := Host{Incarnation: rapid.Uint64Range(1, 3).Draw(t, "incarnation"), Awaited: rapid.Bool().Draw(t, "awaited"), Host: inventory.Host{Name: name,
			CPUs: rapid.IntRange(0, 8).Draw(t, "cpus"), Memory: uint64(rapid.IntRange(0, 8).Draw(t, "memory")) * gib}}
		if rapid.IntRange(0, 7).Draw(t, "not usable") == 7 {
			h.State = rapid.SampledFrom([]placement.HostState{placement.Closed, placement.Down}).Draw(t, "state")
		}
		if n := rapid.IntRange(0, 3).Draw(t, "running memory"); n > 0 {
			h.runs(uint64(n)*gib, rapid.IntRange(0, 4).Draw(t, "running processors"))
		}
		in.Hosts = append(in.Hosts, h)
	}
	for n := range rapid.IntRange(1, 12).Draw(t, "VMs") {
		in.vm(n+1, func(vm *fsm.VM) {
			vm.Memory, vm.VCPUs = uint64(rapid.IntRange(0, 3).Draw(t, "VM's memory"))*gib/2, rapid.IntRange(0, 4).Draw(t, "VM's processors")
			vm.Home = rapid.SampledFrom(append(names, "x")).Draw(t, "home")
			switch rapid.IntRange(0, 7).Draw(t, "whose") {
			case 7:
				vm.Owner = &fsm.Placement{Host: rapid.SampledFrom(names).Draw(t, "owner")}
			case 6:
				vm.Sighting = &fsm.Sighting{Host: "a"}
			case 5:
				vm.Intent = fsm.IntentStop
			}
			for range rapid.IntRange(0, 6).Draw(t, "failures") {
				vm.Failures = append(vm.Failures, fsm.Failure{Host: rapid.SampledFrom(names).Draw(t, "failed on"), Crash: rapid.IntRange(0, 3).Draw(t, "crash") == 3, Round: rapid.IntRange(1, 6).Draw(t, "round"),
					At: now.Add(-time.Duration(rapid.IntRange(0, 600).Draw(t, "seconds ago")) * time.Second)})
			}
			slices.SortFunc(vm.Failures, func(a, b fsm.Failure) int { return a.At.Compare(b.At) })
		})
	}
	return in
}

func TestPlanKeepsToTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		steps := Plan(in)
		free, usable := map[string]int64{}, map[string]Host{}
		for _, h := range in.Hosts {
			free[h.Name], usable[h.Name] = int64(h.Memory), h
			for _, d := range h.Domains {
				free[h.Name] -= int64(d.Memory + overhead)
			}
		}
		for _, vm := range in.State.VMs {
			if vm.Owner != nil {
				free[vm.Owner.Host] -= int64(vm.Memory + overhead)
			}
		}
		told := map[string]bool{}
		for _, s := range steps {
			if told[s.VM.UUID] || s.VM.Intent != fsm.IntentRun || s.VM.Owner != nil || s.VM.Sighting != nil {
				t.Fatalf("a step for %+v (one before: %v)", s.VM, told[s.VM.UUID])
			}
			told[s.VM.UUID] = true
			if s.Host == "" {
				if s.Retry.IsZero() && s.Why == "" || !s.Retry.IsZero() && !s.Retry.After(in.Now) {
					t.Fatalf("%s has no host, and why is %q, again at %v", s.VM.Name, s.Why, s.Retry)
				}
				continue
			}
			h := usable[s.Host]
			if h.State != placement.Up || s.Incarnation != h.Incarnation {
				t.Fatalf("%s goes to %s(%d), which is %+v", s.VM.Name, s.Host, s.Incarnation, h)
			}
			if free[s.Host] -= int64(s.VM.Memory + overhead); free[s.Host] < 0 {
				t.Fatalf("%s goes to %s, which then lacks %d MiB: %v", s.VM.Name, s.Host, -free[s.Host]>>20, brief(steps))
			}
		}
		for _, vm := range in.State.VMs {
			if vm.Intent == fsm.IntentRun && vm.Owner == nil && vm.Sighting == nil && !told[vm.UUID] {
				t.Fatalf("%s is forgotten", vm.Name)
			}
		}
	})
}

func TestPlanDependsOnItsInputAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		want := brief(Plan(in))
		again := in
		again.Hosts = rapid.Permutation(in.Hosts).Draw(t, "order of the hosts")
		again.State = &fsm.State{VMs: map[string]*fsm.VM{}} // maps made anew are walked in another order
		for n := 12; n > 0; n-- {
			if vm := in.State.VMs[id(n)]; vm != nil {
				again.State.VMs[id(n)] = vm
			}
		}
		if d := gocmp.Diff(want, brief(Plan(again))); d != "" {
			t.Fatalf("the same input in another order gives another plan (-want +got):\n%s", d)
		}
	})
}

// While starts go on failing, every host that can take the VM is tried before any is
// tried again, as often as the schedule says, and then the VM is given up.
func TestEveryHostIsTriedBeforeASecondTry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := Input{Now: now, State: &fsm.State{VMs: map[string]*fsm.VM{}}, Policy: config.DefaultPolicy("test")}
		n := rapid.IntRange(1, 4).Draw(t, "hosts")
		for i := range n {
			h := host(string(rune('a' + i)))
			h.Memory = uint64(rapid.IntRange(2, 8).Draw(t, "memory")) * gib
			in.Hosts = append(in.Hosts, h)
		}
		in.vm(1, func(vm *fsm.VM) { vm.Home = rapid.SampledFrom([]string{"a", "b", "x"}).Draw(t, "home") })
		tried, rounds := map[string]int{}, len(in.Policy.Restart.Retries)
		for range rounds * n {
			s := Plan(in)[0]
			if s.Host == "" && s.For != fsm.WaitGivenUp {
				in.Now = s.Retry
				if s = Plan(in)[0]; s.Host == "" {
					t.Fatalf("at the time it named for the next try it says %v", brief([]Step{s}))
				}
			}
			if s.Host == "" {
				t.Fatalf("gives up after %v: %s", tried, s.Why)
			}
			tried[s.Host]++
			for _, h := range in.Hosts {
				if tried[h.Name] < tried[s.Host]-1 {
					t.Fatalf("%s is tried for the %d. time, %s was tried %d times", s.Host, tried[s.Host], h.Name, tried[h.Name])
				}
			}
			in.first().Failures = append(in.first().Failures, fsm.Failure{Host: s.Host, At: in.Now, Round: s.Round})
			in.Now = in.Now.Add(time.Second)
		}
		if s := Plan(in)[0]; s.For != fsm.WaitGivenUp {
			t.Fatalf("every host failed it %d times, and it says %v", rounds, brief([]Step{s}))
		}
		if last := in.Now.Sub(now); last < in.Policy.Restart.Retries[rounds-1] {
			t.Fatalf("it is given up after %v", last)
		}
	})
}
