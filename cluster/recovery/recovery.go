// Package recovery decides what to start next and where: every protected VM that
// shall run and that nobody owns, placed on the live hosts by free memory, with
// retries on other hosts when a start failed. It is pure.
package recovery

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// Host is a host that could take VMs, as the master sees it now.
type Host struct {
	Name        string
	Incarnation uint64
	// Usable is false, with the reason in Why, for a host that must not be given anything.
	Usable bool
	Why    string
	CPUs   int
	Memory uint64 // bytes for VMs in all
	// Running is what its domains take that no placement in the state accounts for.
	RunningMemory uint64
	RunningVCPUs  int
	// Awaited is a host that has never begun an incarnation or is just coming
	// back: a VM at home there waits for it.
	Awaited bool
}

// Input is everything a round goes by.
type Input struct {
	State *fsm.State
	Hosts []Host
	Now   time.Time // wall clock, for the delays between retries only
}

// Step is one thing to do about a VM that nobody owns: an order, or the reason
// why there is none.
type Step struct {
	VM          *fsm.VM
	Host        string // empty: no host, Why says so
	Incarnation uint64
	Why         string
	// Retry is when to look at it again; zero when only a change can help.
	Retry time.Time
}

// overhead is what QEMU itself takes beside the guest's memory, bytes.
const overhead = 64 << 20

// delays are the waits before the next try once every host has had its turn.
var delays = []time.Duration{0, 0, 5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute}

// load is a host with what is placed on it.
type load struct {
	Host
	free  int64
	vcpus int
	vms   int
}

// Plan returns a step for each VM that shall run and that nobody owns, in the
// order in which they are to be started. The same input gives the same plan.
func Plan(in Input) []Step {
	loads := place(in)
	var steps []Step
	for _, vm := range in.State.SortedVMs() {
		if vm.Intent != fsm.IntentRun || vm.Owner != nil || vm.Sighting != nil {
			continue
		}
		if at := notBefore(vm, loads); in.Now.Before(at) {
			steps = append(steps, Step{VM: vm, Retry: at})
			continue
		}
		s := choose(vm, loads)
		if s.Host != "" {
			loads[s.Host].take(vm)
		}
		steps = append(steps, s)
	}
	return steps
}

// place counts what every host carries already.
func place(in Input) map[string]*load {
	loads := map[string]*load{}
	for _, h := range in.Hosts {
		loads[h.Name] = &load{Host: h, free: int64(h.Memory) - int64(h.RunningMemory), vcpus: h.RunningVCPUs}
	}
	for _, vm := range in.State.VMs {
		if vm.Owner != nil && loads[vm.Owner.Host] != nil {
			loads[vm.Owner.Host].take(vm)
		}
	}
	return loads
}

func (l *load) take(vm *fsm.VM) {
	l.free -= int64(vm.Memory + overhead)
	l.vcpus += vm.VCPUs
	l.vms++
}

// notBefore is when the VM may be tried again: at once while there is a host
// that has not failed it, then at growing intervals.
func notBefore(vm *fsm.VM, loads map[string]*load) time.Time {
	n := len(vm.Failures)
	if n == 0 {
		return time.Time{}
	}
	last := vm.Failures[n-1]
	if !last.Crash {
		for name, l := range loads {
			if l.Usable && !failedOn(vm, name) {
				return time.Time{}
			}
		}
	}
	return last.At.Add(delays[min(n, len(delays)-1)])
}

// failedOn reports whether a start on that host failed in this round of tries. A
// round ends when every host has failed it once.
func failedOn(vm *fsm.VM, host string) bool {
	count := map[string]int{}
	most := 0
	for _, f := range vm.Failures {
		if !f.Crash {
			count[f.Host]++
			most = max(most, count[f.Host])
		}
	}
	return count[host] > 0 && count[host] == most
}

// choose picks the host for one VM: its home when that can take it, else the one
// with the most free memory, then the fewest virtual CPUs for its processors,
// then the fewest VMs, then the first by name.
func choose(vm *fsm.VM, loads map[string]*load) Step {
	var fit, spare []*load
	var no []string
	names := make([]string, 0, len(loads))
	for name := range loads {
		names = append(names, name)
	}
	slices.Sort(names)
	need := int64(vm.Memory + overhead)
	for _, name := range names {
		l := loads[name]
		switch {
		case !l.Usable && l.Awaited && name == vm.Home:
			return Step{VM: vm, Why: fmt.Sprintf("%s, its home, is expected: %s", name, l.Why)}
		case !l.Usable:
			no = append(no, fmt.Sprintf("%s: %s", name, l.Why))
		case l.free < need:
			no = append(no, fmt.Sprintf("%s: %s of memory are free, %s are needed", name, mib(l.free), mib(need)))
		case failedOn(vm, name):
			spare = append(spare, l)
		default:
			fit = append(fit, l)
		}
	}
	if len(fit) == 0 {
		fit = spare
	}
	if len(fit) == 0 {
		return Step{VM: vm, Why: "no host can take it: " + strings.Join(no, "; ")}
	}
	best := slices.MinFunc(fit, func(a, b *load) int { return rank(vm, a, b) })
	why := fmt.Sprintf("most free memory of %d eligible (%s)", len(fit), mib(best.free))
	if best.Name == vm.Home {
		why = "its home"
	}
	if vm.Waiting != "" {
		why = vm.Waiting + "; " + why
	}
	return Step{VM: vm, Host: best.Name, Incarnation: best.Incarnation, Why: why}
}

func rank(vm *fsm.VM, a, b *load) int {
	switch {
	case a.Name == vm.Home && b.Name != vm.Home:
		return -1
	case b.Name == vm.Home && a.Name != vm.Home:
		return 1
	case a.free != b.free:
		if a.free > b.free {
			return -1
		}
		return 1
	case a.vcpus*max(b.CPUs, 1) != b.vcpus*max(a.CPUs, 1):
		return a.vcpus*max(b.CPUs, 1) - b.vcpus*max(a.CPUs, 1)
	case a.vms != b.vms:
		return a.vms - b.vms
	}
	return strings.Compare(a.Name, b.Name)
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", max(n, 0)>>20) }
