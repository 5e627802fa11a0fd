package placement

import "math"

// load is what hosts carry, as parts of what they have.
type load struct {
	hosts       []int32 // that count
	memory, cpu []float64
	cpus        bool // processors of all of them are known
	// What each VM takes of memory (bytes) and of processors, and what each host has of both:
	// processors in MHz where the speed of all is known, so that a VM takes less of a faster one.
	takesMemory, takesCPU []float64
	hasMemory, hasCPU     []float64
}

// load is what hosts carry: what VMs that run may take, or what use says that they take.
func (k *mover) load(use func(*VM) *Use) *load {
	m := k.m
	n := len(m.hosts)
	l := &load{memory: make([]float64, n), cpu: make([]float64, n), hasMemory: make([]float64, n), hasCPU: make([]float64, n),
		takesMemory: make([]float64, len(m.vms)), takesCPU: make([]float64, len(m.vms)), cpus: true}
	speeds := k.set.Balance.Measured
	for h, host := range m.hosts {
		size := m.capacity[h*len(m.dims)]
		l.hasMemory[h], l.hasCPU[h] = float64(size), float64(max(1, host.CPUs))
		if host.State != Up || size <= 0 {
			continue
		}
		l.hosts = append(l.hosts, int32(h))
		l.cpus = l.cpus && host.CPUs > 0
		speeds = speeds && host.CPUs > 0 && host.MHz > 0
	}
	for v, vm := range m.vms {
		h := k.r.at[v]
		if h < 0 || vm.Status != Running { // where one that waits will be is another place after each move
			continue
		}
		l.takesMemory[v], l.takesCPU[v] = float64(vm.need()), float64(vm.VCPUs)
		if u := use(vm); k.set.Balance.Measured && u != nil {
			l.takesMemory[v], l.takesCPU[v] = float64(u.Memory), u.Processors
		}
		if speeds {
			l.takesCPU[v] *= m.speed(h)
		}
	}
	for _, h := range l.hosts {
		if speeds {
			l.hasCPU[h] = float64(m.hosts[h].MHz)
		}
	}
	for v := range m.vms {
		if h := k.r.at[v]; h >= 0 && l.hasMemory[h] > 0 {
			l.carry(int32(v), h, 1)
		}
	}
	return l
}

// takes is what a VM takes of a host where hosts are ranked: memory in bytes, and hundredths of
// processors, virtual ones or those that it keeps busy.
func (m *model) takes(v int32) (memory, cpu int64) {
	vm := m.vms[v]
	if u := vm.Use; m.c.Policy.Measured && u != nil && u.Processors >= 0 && u.Processors < mostProcessors {
		return min(max(0, u.Memory), boundless), int64(u.Processors * 100)
	}
	return vm.need(), 100 * int64(vm.VCPUs)
}

// mostProcessors is more than any VM keeps busy.
const mostProcessors = 1 << 20

// speed is that of one processor of a host, MHz; 0: not known.
func (m *model) speed(h int32) float64 {
	return float64(m.hosts[h].MHz) / float64(max(1, m.hosts[h].CPUs))
}

// carry puts a VM onto a host (sign 1) or takes it off (-1).
func (l *load) carry(v, h int32, sign float64) {
	l.memory[h] += sign * l.takesMemory[v] / l.hasMemory[h]
	l.cpu[h] += sign * l.takesCPU[v] / l.hasCPU[h]
}

// uneven is how uneven the load is: 0 is even.
func (l *load) uneven() float64 {
	u := deviation(l.hosts, l.memory)
	if l.cpus {
		u = (u + deviation(l.hosts, l.cpu)) / 2
	}
	return u
}

func deviation(hosts []int32, of []float64) float64 {
	var sum, squares float64
	for _, h := range hosts {
		sum += of[h]
	}
	average := sum / float64(len(hosts))
	if average <= 0 {
		return 0
	}
	for _, h := range hosts {
		squares += (of[h] - average) * (of[h] - average)
	}
	return math.Sqrt(squares/float64(len(hosts))) / average
}
