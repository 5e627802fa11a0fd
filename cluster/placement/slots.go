package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Slots are the figures of BySlots.
type Slots struct {
	MHz    int   // size of a slot
	Memory int64 // size of a slot, bytes
	// PerHost are the slots of each host that is up.
	PerHost map[string]int
	Total   int
	Used    int
	// Failover are the slots kept free: those of the largest hosts, as many as failures are tolerated.
	Failover  int
	Available int
	// Capacity is how many hosts may fail with all used slots still there.
	Capacity int
	// Spanning are VMs that take more than one slot.
	Spanning []string
	// Largest is the VM that sets the size; empty when the minimum or a fixed size does.
	Largest string
	// NoSpeed are hosts of which nobody knows the speed of their processors: memory alone
	// makes their slots.
	NoSpeed []string
}

// counted are the VMs that slots and percentages count: those that run or shall, but for best-effort ones.
func (m *model) counted() []*VM {
	return slices.DeleteFunc(slices.Clone(m.vms), func(v *VM) bool {
		return v.Status == Stopped || v.Class == BestEffort || v.Class == Unprotected && m.c.Policy.Admission.ProtectedOnly
	})
}

// good are the hosts that slots and percentages count.
func (m *model) good() []*Host {
	return slices.DeleteFunc(slices.Clone(m.hosts), func(h *Host) bool { return h.State != Up })
}

// slots reckons as vSphere does: a slot holds the largest reservation there is.
func (m *model) slots() Slots {
	a := &m.c.Policy.Admission
	s := Slots{MHz: a.MinMHz, Memory: a.MinMemory, PerHost: map[string]int{}}
	vms := m.counted()
	for _, v := range vms {
		if v.ReservedMHz > s.MHz {
			s.MHz, s.Largest = v.ReservedMHz, v.Name
		}
	}
	for _, v := range vms {
		if v.need() > s.Memory {
			s.Memory, s.Largest = v.need(), v.Name
		}
	}
	if a.Slots.MaxMHz > 0 {
		s.MHz = min(s.MHz, a.Slots.MaxMHz)
	}
	if a.Slots.MaxMemory > 0 {
		s.Memory = min(s.Memory, a.Slots.MaxMemory)
	}
	if a.Slots.FixedMHz > 0 {
		s.MHz = a.Slots.FixedMHz
	}
	if a.Slots.FixedMemory > 0 {
		s.Memory = a.Slots.FixedMemory
	}
	var sizes []int
	for _, h := range m.good() {
		n := h.size() / max(1, s.Memory)
		if h.MHz > 0 {
			n = min(n, int64(h.MHz)/int64(max(1, s.MHz)))
		} else {
			s.NoSpeed = append(s.NoSpeed, h.Name)
		}
		s.PerHost[h.Name] = int(n)
		s.Total += int(n)
		sizes = append(sizes, int(n))
	}
	for _, v := range vms {
		n := max(1, ceil(int64(v.ReservedMHz), int64(s.MHz)), ceil(v.need(), s.Memory))
		if s.Used += n; n > 1 {
			s.Spanning = append(s.Spanning, v.Name)
		}
	}
	slices.SortFunc(sizes, func(a, b int) int { return cmp.Compare(b, a) })
	for _, n := range sizes[:max(0, min(a.Failures, len(sizes)))] {
		s.Failover += n
	}
	s.Available = max(0, s.Total-s.Failover-s.Used)
	left := s.Total
	for k, n := range sizes {
		if left -= n; left < s.Used || k+1 >= len(sizes) {
			break
		}
		s.Capacity = k + 1
	}
	if s.Used > s.Total {
		s.Capacity = -1 // they do not even fit now
	}
	return s
}

func ceil(n, size int64) int {
	if size <= 0 {
		return 0
	}
	return int((n + size - 1) / size)
}

func (s Slots) String() string {
	return fmt.Sprintf("%d slots of %d MHz and %s on %d hosts, %d used, %d kept for failures",
		s.Total, s.MHz, Size(s.Memory), len(s.PerHost), s.Used, s.Failover) + noSpeed(s.NoSpeed)
}

// noSpeed says that processors were left out, and whose.
func noSpeed(hosts []string) string {
	if len(hosts) == 0 {
		return ""
	}
	return fmt.Sprintf("; by memory alone, as the MHz of %s are not known", strings.Join(few(hosts), ", "))
}

// Percentages are the figures of ByPercentage.
type Percentages struct {
	TotalMHz, RequiredMHz       int64
	TotalMemory, RequiredMemory int64 // bytes
	// CurrentCPU and CurrentMemory are what is free of all, in whole percents, truncated for
	// display; the decision is made on the exact figures.
	CurrentCPU, CurrentMemory int
	// KeptMHz and KeptMemory are what the policy keeps free.
	KeptMHz, KeptMemory int64
	// Largest is the VM that requires the most memory.
	Largest string
	// NoSpeed are hosts of which nobody knows the speed of their processors. One is
	// enough for the decision to be made on memory alone.
	NoSpeed []string
}

// Enough reports whether what is kept is free.
func (p Percentages) Enough() bool {
	cpu := len(p.NoSpeed) > 0 || p.TotalMHz-p.RequiredMHz >= p.KeptMHz
	return cpu && p.TotalMemory-p.RequiredMemory >= p.KeptMemory
}

// percentages reckons with sums alone; that every VM finds one host is not asked.
func (m *model) percentages() Percentages {
	a := &m.c.Policy.Admission
	var p Percentages
	var mhz, memory []int64
	for _, h := range m.good() {
		if h.MHz == 0 {
			p.NoSpeed = append(p.NoSpeed, h.Name)
		}
		p.TotalMHz += int64(h.MHz)
		p.TotalMemory += h.size()
		mhz, memory = append(mhz, int64(h.MHz)), append(memory, h.size())
	}
	var most int64
	for _, v := range m.counted() {
		cpu, mem := int64(v.ReservedMHz), v.Memory
		if cpu == 0 {
			cpu = int64(a.MinMHz)
		}
		if mem == 0 {
			mem = a.MinMemory
		}
		p.RequiredMHz += cpu
		p.RequiredMemory += mem + v.Overhead
		if mem+v.Overhead > most {
			most, p.Largest = mem+v.Overhead, v.Name
		}
	}
	p.CurrentCPU, p.CurrentMemory = percent(p.TotalMHz-p.RequiredMHz, p.TotalMHz), percent(p.TotalMemory-p.RequiredMemory, p.TotalMemory)
	if a.Auto {
		p.KeptMHz, p.KeptMemory = largest(mhz, a.Failures), largest(memory, a.Failures)
	} else {
		p.KeptMHz, p.KeptMemory = share(p.TotalMHz, a.CPUPercent), share(p.TotalMemory, a.MemoryPercent)
	}
	return p
}

// share is per cent of n, rounded up: what is kept is never a little less.
func share(n int64, percent int) int64 {
	return n/100*int64(percent) + (n%100*int64(percent)+99)/100
}

func percent(part, all int64) int {
	if all <= 0 {
		return 0
	}
	return int(float64(part) * 100 / float64(all))
}

// largest is the sum of the n largest.
func largest(all []int64, n int) int64 {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b int64) int { return cmp.Compare(b, a) })
	var sum int64
	for _, x := range all[:max(0, min(n, len(all)))] {
		sum += x
	}
	return sum
}

func (p Percentages) String() string {
	return fmt.Sprintf("of %d MHz %d are required and %d kept, of %s of memory %s are required and %s kept",
		p.TotalMHz, p.RequiredMHz, p.KeptMHz, Size(p.TotalMemory), Size(p.RequiredMemory), Size(p.KeptMemory)) + noSpeed(p.NoSpeed)
}

// Degradation says whether VMs would feel a failure, though they all run.
type Degradation struct {
	Reduction, Usage float64 // of usage, and what is left of it
	Warn             bool
}

// Degrade compares what VMs really use with the capacity that failures leave, when
// they may lose some per cent of their performance. Units are the caller's.
func Degrade(usage, left float64, toleratedPercent int) Degradation {
	d := Degradation{Reduction: usage * float64(toleratedPercent) / 100}
	d.Usage = usage - d.Reduction
	d.Warn = d.Usage > left
	return d
}
