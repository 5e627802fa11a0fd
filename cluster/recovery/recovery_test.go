package recovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-ha/holdfast/fsm"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const gib = 1 << 30

func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

// scene is three usable hosts of 8 GiB and one VM of 1 GiB, at home on b, that
// shall run and that nobody owns.
func scene() Input {
	in := Input{Now: now, State: &fsm.State{VMs: map[string]*fsm.VM{}}}
	for _, name := range []string{"a", "b", "c"} {
		in.Hosts = append(in.Hosts, Host{Name: name, Incarnation: 2, Usable: true, CPUs: 8, Memory: 8 * gib})
	}
	in.vm(1, func(vm *fsm.VM) { vm.Home = "b" })
	return in
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

// failed appends failures of the first VM: a host's name for a start that failed
// there, with a + for a crash; each a second after the other, the last one now.
func (in *Input) failed(on ...string) {
	for i, h := range on {
		host, crash := strings.CutSuffix(h, "+")
		in.first().Failures = append(in.first().Failures, fsm.Failure{Host: host, Crash: crash, At: now.Add(time.Duration(i+1-len(on)) * time.Second)})
	}
}

func brief(steps []Step) []string {
	var out []string
	for _, s := range steps {
		switch {
		case s.Host != "":
			out = append(out, fmt.Sprintf("%s on %s(%d)", s.VM.Name, s.Host, s.Incarnation))
		case !s.Retry.IsZero():
			out = append(out, fmt.Sprintf("%s in %v", s.VM.Name, s.Retry.Sub(now)))
		default:
			out = append(out, fmt.Sprintf("%s waits: %s", s.VM.Name, s.Why))
		}
	}
	return out
}

func TestPlan(t *testing.T) {
	home := func(in *Input) *Host { return &in.Hosts[1] }
	tests := []struct {
		name string
		in   func(*Input)
		want []string
	}{
		{"at home", func(*Input) {}, []string{"vm01 on b(2)"}},
		{"it is owned", func(in *Input) { in.first().Owner = &fsm.Placement{Host: "a"} }, nil},
		{"it was seen running somewhere", func(in *Input) { in.first().Sighting = &fsm.Sighting{Host: "a"} }, nil},
		{"it shall not run", func(in *Input) { in.first().Intent = fsm.IntentStop }, nil},
		{"its home is not usable", func(in *Input) { home(in).Usable = false }, []string{"vm01 on a(2)"}},
		{"its home is expected", func(in *Input) {
			home(in).Usable, home(in).Awaited, home(in).Why = false, true, "it has not come up yet"
		}, []string{"vm01 waits: b, its home, is expected: it has not come up yet"}},
		{"another host is expected", func(in *Input) { in.Hosts[0].Usable, in.Hosts[0].Awaited = false, true }, []string{"vm01 on b(2)"}},
		{"its home is full", func(in *Input) { home(in).RunningMemory = 8*gib - gib }, []string{"vm01 on a(2)"}},
		{"its home has exactly the room", func(in *Input) { home(in).RunningMemory = 8*gib - gib - overhead }, []string{"vm01 on b(2)"}},
		{"its home is full of what was placed there", func(in *Input) {
			for n := 2; n < 9; n++ {
				in.vm(n, func(vm *fsm.VM) { vm.Owner = &fsm.Placement{Host: "b"} })
			}
		}, []string{"vm01 on a(2)"}},
		{"most free memory, without a home", func(in *Input) {
			in.first().Home = "x"
			in.Hosts[2].Memory = 9 * gib
		}, []string{"vm01 on c(2)"}},
		{"fewest virtual processors for its own", func(in *Input) {
			in.first().Home = "x"
			in.Hosts[0].RunningVCPUs, in.Hosts[1].RunningVCPUs, in.Hosts[2].RunningVCPUs = 4, 4, 4
			in.Hosts[2].CPUs = 16
		}, []string{"vm01 on c(2)"}},
		{"fewest VMs", func(in *Input) {
			in.first().Home = "x"
			for i := range in.Hosts {
				in.Hosts[i].CPUs = 0
			}
			in.vm(2, func(vm *fsm.VM) { vm.Owner, vm.Memory, vm.VCPUs = &fsm.Placement{Host: "a"}, 0, 0 })
			in.Hosts[0].Memory += overhead
		}, []string{"vm01 on b(2)"}},
		{"first by name", func(in *Input) { in.first().Home = "x" }, []string{"vm01 on a(2)"}},
		{"several are spread", func(in *Input) {
			for n := 2; n <= 6; n++ {
				in.vm(n, nil)
			}
			in.first().Home = ""
		}, []string{"vm01 on a(2)", "vm02 on b(2)", "vm03 on c(2)", "vm04 on a(2)", "vm05 on b(2)", "vm06 on c(2)"}},
		{"no host has room", func(in *Input) { in.first().Memory = 8 * gib },
			[]string{"vm01 waits: no host can take it: a: 8192 MiB of memory are free, 8256 MiB are needed; b: 8192 MiB of memory are free, 8256 MiB are needed; c: 8192 MiB of memory are free, 8256 MiB are needed"}},
		{"no host at all", func(in *Input) { in.Hosts = nil }, []string{"vm01 waits: no host can take it: "}},
		{"more is placed on a host than it has", func(in *Input) {
			home(in).Memory, home(in).RunningMemory = gib, 4*gib
		}, []string{"vm01 on a(2)"}},

		{"its start at home failed", func(in *Input) { in.failed("b") }, []string{"vm01 on a(2)"}},
		{"on two", func(in *Input) { in.failed("b", "a") }, []string{"vm01 on c(2)"}},
		{"on all, and the last one was just now", func(in *Input) { in.failed("b", "a", "c") }, []string{"vm01 in 15s"}},
		{"on all, a while ago", func(in *Input) {
			in.failed("b", "a", "c")
			in.Now = now.Add(15 * time.Second)
		}, []string{"vm01 on b(2)"}},
		{"on all, and at home again", func(in *Input) { in.failed("b", "a", "c", "b") }, []string{"vm01 on a(2)"}},
		{"on all that are usable", func(in *Input) {
			in.failed("b", "a")
			in.Hosts[2].Usable = false
			in.Now = now.Add(5 * time.Second)
		}, []string{"vm01 on b(2)"}},
		{"on all that are usable, just now", func(in *Input) {
			in.failed("b", "a")
			in.Hosts[2].Usable = false
		}, []string{"vm01 in 5s"}},
		{"it crashed once", func(in *Input) { in.failed("b+") }, []string{"vm01 on b(2)"}},
		{"it crashed twice", func(in *Input) { in.failed("b+", "b+") }, []string{"vm01 in 5s"}},
		{"it crashed very often", func(in *Input) { in.failed(slices.Repeat([]string{"b+"}, 16)...) }, []string{"vm01 in 5m0s"}},
		{"it crashed after starts had failed", func(in *Input) { in.failed("b", "a+") }, []string{"vm01 in 5s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := scene()
			tt.in(&in)
			if d := cmp.Diff(tt.want, brief(Plan(in))); d != "" {
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
	if got, want := Plan(in)[0].Why, "n7 was declared dead; most free memory of 3 eligible (8192 MiB)"; got != want {
		t.Errorf("the reason is %q, want %q", got, want)
	}
}

// drawInput is up to five hosts and twelve VMs, some of them owned, some with failures.
func drawInput(t *rapid.T) Input {
	in := Input{Now: now, State: &fsm.State{VMs: map[string]*fsm.VM{}}}
	names := []string{"a", "b", "c", "d", "e"}[:rapid.IntRange(1, 5).Draw(t, "hosts")]
	for _, name := range names {
		in.Hosts = append(in.Hosts, Host{Name: name, Incarnation: rapid.Uint64Range(1, 3).Draw(t, "incarnation"), Usable: rapid.IntRange(0, 7).Draw(t, "not usable") != 7,
			Awaited: rapid.Bool().Draw(t, "awaited"), CPUs: rapid.IntRange(0, 8).Draw(t, "cpus"), Memory: uint64(rapid.IntRange(0, 8).Draw(t, "memory")) * gib,
			RunningMemory: uint64(rapid.IntRange(0, 3).Draw(t, "running memory")) * gib, RunningVCPUs: rapid.IntRange(0, 4).Draw(t, "running processors")})
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
				vm.Failures = append(vm.Failures, fsm.Failure{Host: rapid.SampledFrom(names).Draw(t, "failed on"), Crash: rapid.IntRange(0, 3).Draw(t, "crash") == 3,
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
			free[h.Name], usable[h.Name] = int64(h.Memory)-int64(h.RunningMemory), h
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
				if s.Retry.IsZero() == (s.Why == "") || !s.Retry.IsZero() && !s.Retry.After(in.Now) {
					t.Fatalf("%s has no host, and why is %q, again at %v", s.VM.Name, s.Why, s.Retry)
				}
				continue
			}
			h := usable[s.Host]
			if !h.Usable || s.Incarnation != h.Incarnation {
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
		if d := cmp.Diff(want, brief(Plan(again))); d != "" {
			t.Fatalf("the same input in another order gives another plan (-want +got):\n%s", d)
		}
	})
}

// While starts go on failing, every host that can take the VM is tried before any is
// tried again, and a try follows sooner or later.
func TestEveryHostIsTriedBeforeASecondTry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := Input{Now: now, State: &fsm.State{VMs: map[string]*fsm.VM{}}}
		n := rapid.IntRange(1, 4).Draw(t, "hosts")
		for i := range n {
			in.Hosts = append(in.Hosts, Host{Name: string(rune('a' + i)), Incarnation: 1, Usable: true, Memory: uint64(rapid.IntRange(2, 8).Draw(t, "memory")) * gib})
		}
		in.vm(1, func(vm *fsm.VM) { vm.Home = rapid.SampledFrom([]string{"a", "b", "x"}).Draw(t, "home") })
		tried := map[string]int{}
		for range min(3*n, 12) {
			s := Plan(in)[0]
			if s.Host == "" {
				if s.Retry.IsZero() {
					t.Fatalf("gives up: %s", s.Why)
				}
				if wait := s.Retry.Sub(in.Now); wait > 5*time.Minute {
					t.Fatalf("waits for %v", wait)
				}
				in.Now = s.Retry
				if s = Plan(in)[0]; s.Host == "" {
					t.Fatalf("at the time it named for the next try it says %v", brief([]Step{s}))
				}
			}
			tried[s.Host]++
			for _, h := range in.Hosts {
				if tried[h.Name] < tried[s.Host]-1 {
					t.Fatalf("%s is tried for the %d. time, %s was tried %d times", s.Host, tried[s.Host], h.Name, tried[h.Name])
				}
			}
			in.first().Failures = append(in.first().Failures, fsm.Failure{Host: s.Host, At: in.Now})
			in.Now = in.Now.Add(time.Second)
		}
	})
}
