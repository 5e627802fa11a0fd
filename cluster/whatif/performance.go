package whatif

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
)

// Performance says whether VMs would feel the failures that are to be borne, though all
// of them ran: what VMs really take, held against what would be left. It is a warning
// only (vSphere's "performance degradation VMs tolerate"), and refuses nothing.
type Performance struct {
	// Tolerated is the per cent of it that VMs may lose; 100: nothing is warned of.
	Tolerated int `json:"tolerated_percent"`
	// Processors are logical ones, of all VMs that run and of the hosts that would be left; Memory is in bytes.
	Processors     float64 `json:"processors"`
	ProcessorsLeft float64 `json:"processors_left"`
	Memory         uint64  `json:"memory_bytes"`
	MemoryLeft     uint64  `json:"memory_left_bytes"`
	// Unknown counts VMs that run and of which it is not known what they take.
	Unknown int  `json:"unknown,omitempty"`
	Warn    bool `json:"warn,omitempty"`
	// Why says it with figures, for people.
	Why string `json:"why"`
}

// Perform reckons it. The hosts that fail are the largest, by either resource.
func Perform(in inventory.Input) Performance {
	a := in.Policy.Admission
	p := Performance{Tolerated: a.Degradation}
	var processors, memory []uint64
	for i := range in.Hosts {
		h := &in.Hosts[i]
		for _, d := range h.Domains {
			u, known := h.Uses[d.UUID]
			switch {
			case !d.Running:
			case !known:
				p.Unknown++
			default:
				p.Processors += u.Processors
				p.Memory += u.Memory
			}
		}
		if h.State == placement.Up {
			processors = append(processors, uint64(max(0, h.CPUs)))
			memory = append(memory, h.Memory-min(h.Memory, h.Reserve))
		}
	}
	fail := max(1, a.Tolerate)
	p.ProcessorsLeft, p.MemoryLeft = float64(left(processors, fail)), left(memory, fail)
	cpu := placement.Degrade(p.Processors, p.ProcessorsLeft, p.Tolerated)
	ram := placement.Degrade(float64(p.Memory), float64(p.MemoryLeft), p.Tolerated)
	p.Warn = p.Tolerated < config.AnyDegradation && (cpu.Warn || ram.Warn)
	took := func(u uint64) string { return fmt.Sprintf("%.1f GiB", float64(u)/(1<<30)) }
	hosts := "the largest host"
	if fail > 1 {
		hosts = fmt.Sprintf("the %d largest hosts", fail)
	}
	p.Why = fmt.Sprintf("VMs keep %.1f processors busy and hold %s; without %s there are %.0f and %s", p.Processors, took(p.Memory), hosts, p.ProcessorsLeft, took(p.MemoryLeft))
	if p.Unknown > 0 {
		p.Why += fmt.Sprintf("; of %d more it is not known what they take", p.Unknown)
	}
	return p
}

// left is the sum without the n largest.
func left(all []uint64, n int) (sum uint64) {
	slices.SortFunc(all, func(a, b uint64) int { return cmp.Compare(b, a) })
	for _, x := range all[min(n, len(all)):] {
		sum += x
	}
	return sum
}
