package placement

import (
	"fmt"
	"slices"
	"strings"
)

// waysOut looks for changes near the one that was refused which would be admitted.
func waysOut(c *Cluster, ch Change, work *int) []string {
	var ways []string
	admitted := func(c *Cluster, ch Change) bool {
		strict := *c
		strict.Policy.Admission.Mode = Enforce
		return *work > 0 && !check(&strict, ch, work).Refused
	}
	if ch.VM != nil && ch.Host != "" {
		anywhere := ch
		anywhere.Host = ""
		if v := check(c, anywhere, work); v.Answer == Yes && v.Host != "" {
			ways = append(ways, fmt.Sprintf("start %s on %s", ch.VM.Name, v.Host))
		}
	}
	if ch.VM != nil && ch.VM.Memory > 0 {
		if most := largestMemory(c, ch, admitted); most > 0 {
			ways = append(ways, fmt.Sprintf("give %s at most %s of memory", ch.VM.Name, mib(most)))
		}
	}
	if ch.VM != nil && ch.VM.Class == Protected {
		vm := *ch.VM
		vm.Class = BestEffort
		less := ch
		less.VM = &vm
		if admitted(c, less) {
			ways = append(ways, fmt.Sprintf("run %s as best effort: it is restarted only where room is left", vm.Name))
		}
	}
	if w := capSlots(c, ch, admitted); w != "" {
		ways = append(ways, w)
	}
	if w := stopOne(c, ch, admitted); w != "" {
		ways = append(ways, w)
	}
	if w := anotherHost(c, ch, admitted); w != "" {
		ways = append(ways, w)
	}
	for n := c.Policy.Admission.Failures - 1; n >= 0; n-- {
		less := *c
		less.Policy.Admission.Failures = n
		if admitted(&less, ch) {
			ways = append(ways, fmt.Sprintf("tolerate %d failures instead of %d", n, c.Policy.Admission.Failures))
			break
		}
	}
	return ways
}

// LargestVM is the most memory, in bytes and whole MiB, with which Check admits a
// VM that is otherwise like the one given; 0 when it admits none. It is at most the
// memory of the largest host.
func LargestVM(c *Cluster, like VM) int64 {
	work := c.Policy.work()
	like.Status = Running
	for i := range c.Hosts {
		like.Memory = max(like.Memory, c.Hosts[i].size())
	}
	like.Memory += 1 << 20 // which no host can take
	return largestMemory(c, Change{VM: &like}, func(c *Cluster, ch Change) bool {
		return work > 0 && check(c, ch, &work).Answer == Yes
	})
}

// largestMemory is how much memory, in whole MiB, the VM of a change that was
// refused could have.
func largestMemory(c *Cluster, ch Change, admitted func(*Cluster, Change) bool) int64 {
	try := func(memory int64) bool {
		vm := *ch.VM
		vm.Memory = memory
		less := ch
		less.VM = &vm
		return admitted(c, less)
	}
	lo, hi := int64(0), ch.VM.Memory>>20 // lo is admitted or nothing is, hi is not
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; try(mid << 20) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo << 20
}

// capSlots asks whether it would do if the largest VM took several slots.
func capSlots(c *Cluster, ch Change, admitted func(*Cluster, Change) bool) string {
	if c.Policy.Admission.Kind != BySlots || ch.VM == nil {
		return ""
	}
	m := newModel(ch.apply(c, ch.Host))
	var first, second int64
	for _, v := range m.counted() {
		switch need := v.need(); {
		case need > first:
			first, second = need, first
		case need > second && need < first:
			second = need
		}
	}
	capped := *c
	capped.Policy.Admission.Slots.MaxMemory = second
	if second == 0 || !admitted(&capped, ch) {
		return ""
	}
	return fmt.Sprintf("cap the slots at %s: larger VMs take several", mib(second))
}

// stopOne finds the least important VM that would make the room by being stopped.
func stopOne(c *Cluster, ch Change, admitted func(*Cluster, Change) bool) string {
	m := newModel(c)
	var vms []int32
	for v, vm := range m.vms {
		if vm.Status == Running && (ch.VM == nil || vm.Name != ch.VM.Name) {
			vms = append(vms, int32(v))
		}
	}
	slices.SortFunc(vms, func(a, b int32) int { return m.startOrder(b, a) })
	const most = 16
	for _, v := range vms[:min(most, len(vms))] {
		if name := m.vms[v].Name; admitted(without(c, name), ch) {
			return "stop " + name
		}
	}
	return ""
}

// anotherHost asks whether one more host like the largest would do.
func anotherHost(c *Cluster, ch Change, admitted func(*Cluster, Change) bool) string {
	var best *Host
	for i := range c.Hosts {
		if h := &c.Hosts[i]; h.State == Up && (best == nil || h.size() > best.size()) {
			best = h
		}
	}
	if best == nil {
		return ""
	}
	one := *best
	one.Name, one.Domain = strings.Repeat("+", 1+len(best.Name)), ""
	more := *c
	more.Hosts = append(slices.Clone(c.Hosts), one)
	if admitted(&more, ch) {
		return fmt.Sprintf("add a host like %s (%s)", best.Name, mib(best.size()))
	}
	return ""
}
