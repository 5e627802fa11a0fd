package placement

import (
	"fmt"
	"slices"
	"strings"
)

// way is one kind of way out. It returns a sentence, or nothing.
type way func(c *Cluster, ch Change, admitted func(*Cluster, Change) bool) string

// waysOut looks for changes near the one that was refused which would be admitted.
// Each kind gets an equal part of the work; what runs out of it is left out.
func waysOut(c *Cluster, ch Change) []string {
	var found []string
	ways := []way{elsewhere, backInService, asBestEffort, capSlots, stopOne, anotherHost, fewerFailures, lessMemory}
	work := c.Policy.planWork()
	for i, w := range ways {
		part := max(0, work) / (len(ways) - i)
		left := part
		text := w(c, ch, func(c *Cluster, ch Change) bool { return admits(c, ch, &left) })
		work -= part - left
		if text != "" {
			found = append(found, text)
		}
	}
	return found
}

// admits reports whether a change would be let through, on one of the hosts that
// rank first for it.
func admits(c *Cluster, ch Change, work *int) bool {
	const tries = 3
	strict := *c
	strict.Policy.Admission.Mode = Enforce
	return *work > 0 && !check(&strict, ch, tries, work).Refused
}

func elsewhere(c *Cluster, ch Change, admitted func(*Cluster, Change) bool) string {
	if ch.VM == nil || ch.Host == "" {
		return ""
	}
	hosts, _ := startHosts(c, ch.VM)
	for _, h := range hosts[:min(3, len(hosts))] {
		if admitted(c, Change{VM: ch.VM, Host: h}) {
			return fmt.Sprintf("start %s on %s", ch.VM.Name, h)
		}
	}
	return ""
}

// backInService is a host that is in maintenance now, and would do if it was not.
func backInService(c *Cluster, ch Change, admitted func(*Cluster, Change) bool) string {
	for i := range c.Hosts {
		if c.Hosts[i].State != Maintenance || c.Hosts[i].Name == ch.Maintenance {
			continue
		}
		more := *c
		more.Hosts = slices.Clone(c.Hosts)
		more.Hosts[i].State, more.Hosts[i].Why = Up, ""
		if admitted(&more, ch) {
			return fmt.Sprintf("put %s back into service first", c.Hosts[i].Name)
		}
	}
	return ""
}

func asBestEffort(c *Cluster, ch Change, admitted func(*Cluster, Change) bool) string {
	if ch.VM == nil || ch.VM.Class != Protected {
		return ""
	}
	vm := *ch.VM
	vm.Class = BestEffort
	ch.VM = &vm
	if !admitted(c, ch) {
		return ""
	}
	return fmt.Sprintf("run %s as best effort: it is restarted only where room is left", vm.Name)
}

func fewerFailures(c *Cluster, ch Change, admitted func(*Cluster, Change) bool) string {
	for n := c.Policy.Admission.Failures - 1; n >= 0; n-- {
		less := *c
		less.Policy.Admission.Failures = n
		if !admitted(&less, ch) {
			continue
		}
		switch {
		case n > 1:
			return fmt.Sprintf("tolerate %d failures instead of %d", n, c.Policy.Admission.Failures)
		case n == 1:
			return fmt.Sprintf("tolerate 1 failure instead of %d", c.Policy.Admission.Failures)
		case c.Policy.Admission.Mode == Enforce: // a policy tolerates one at least
			return `set mode = "warn" in admission_control: it is let through then, and no failure can be borne`
		}
	}
	return ""
}

func lessMemory(c *Cluster, ch Change, admitted func(*Cluster, Change) bool) string {
	if ch.VM == nil || ch.VM.Memory == 0 {
		return ""
	}
	memory := largestMemory(c, ch, admitted)
	if memory == 0 {
		return ""
	}
	return fmt.Sprintf("give %s %s of memory, or less", ch.VM.Name, SizeAtMost(memory))
}

// LargestVM is the most memory, in bytes and whole MiB, with which Check admits a
// VM that is otherwise like the one given; 0 when it admits none. In a large cluster
// the work may run out on the way; the answer is then admitted, and a little less than the most.
func LargestVM(c *Cluster, like VM) int64 {
	work := c.Policy.planWork()
	like.Status = Running
	for i := range c.Hosts {
		like.Memory = max(like.Memory, c.Hosts[i].size())
	}
	like.Memory += 1 << 20 // which no host can take
	return largestMemory(c, Change{VM: &like}, func(c *Cluster, ch Change) bool { return admits(c, ch, &work) })
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
	return fmt.Sprintf("cap the slots at %s: larger VMs take several", exactSize(second))
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
		return fmt.Sprintf("add a host like %s (%s)", best.Name, Size(best.size()))
	}
	return ""
}
