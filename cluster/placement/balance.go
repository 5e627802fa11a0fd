package placement

import (
	"fmt"
	"math"
	"slices"
)

// Balance says when load is uneven enough for a move. Load is what the VMs of a host may
// take of its memory and of its processors, not what they use at the moment. How uneven it
// is: by how much hosts differ from their average (the standard deviation as a part of
// the average), in the mean of both, per cent.
type Balance struct {
	On bool
	// Held: it has been uneven for as long as the policy asks. Without it only
	// Moves.Imbalance is reckoned.
	Held bool
	// Threshold is how uneven it must be, and Margin how much of that a move must take away, per cent.
	Threshold, Margin float64
}

// load is what hosts carry, as parts of what they have.
type load struct {
	hosts       []int32 // that count
	memory, cpu []float64
	cpus        bool // processors of all of them are known
}

// balance moves one VM, or those that must be together, where that makes load more
// even. It does so only while nothing else is to be moved, or is moving.
func (k *mover) balance() {
	b := k.set.Balance
	if !b.On {
		return
	}
	l := k.load()
	if len(l.hosts) < 2 {
		return
	}
	uneven := l.uneven()
	k.out.Imbalance = 100 * uneven
	idle := len(k.out.Begin)+len(k.out.Later) == 0 && !slices.ContainsFunc(k.busy, func(n int) bool { return n > 0 })
	if !b.Held || !idle || k.out.Imbalance <= b.Threshold {
		return
	}
	best := uneven*(1-b.Margin/100) + tiny
	var crew []int32
	to := int32(-1)
	for _, v := range k.r.settled() {
		c := k.r.crew(v)
		if c[0] != v || len(c) > k.set.PerHost || k.r.split(c) || slices.ContainsFunc(c, k.r.isFixed) {
			continue
		}
		if h, left := k.evener(l, c, best); h >= 0 {
			crew, to, best = c, h, left-tiny
		}
	}
	if to < 0 {
		return
	}
	p := &Plan{}
	for _, v := range crew {
		d := Decision{VM: k.m.vms[v].Name, Action: Move, From: k.m.hosts[k.r.at[v]].Name, To: k.m.hosts[to].Name, Live: true,
			Why: fmt.Sprintf("%.0f %% with it there, %.0f %% as it is", 100*best, 100*uneven)}
		d.Hosts, _ = k.r.explain(v, -1, nil)
		p.Decisions = append(p.Decisions, d)
	}
	if k.weakens(p.Decisions) != "" {
		return
	}
	k.settle(p, Even)
}

// tiny keeps rounding from deciding.
const tiny = 1e-9

func (k *mover) load() *load {
	l := &load{memory: make([]float64, len(k.m.hosts)), cpu: make([]float64, len(k.m.hosts)), cpus: true}
	for h, host := range k.m.hosts {
		size := k.m.capacity[h*len(k.m.dims)]
		if host.State != Up || size <= 0 {
			continue
		}
		l.hosts = append(l.hosts, int32(h))
		l.memory[h] = float64(k.r.memory[h]) / float64(size)
		l.cpus = l.cpus && host.CPUs > 0
		l.cpu[h] = float64(k.r.vcpus[h]) / float64(max(1, host.CPUs))
	}
	return l
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

// evener finds the host to which a crew would have to go for the load to be more even than
// that, and how uneven it is then; -1 when there is none that the crew's wishes allow.
func (k *mover) evener(l *load, crew []int32, than float64) (int32, float64) {
	m, r := k.m, k.r
	from := r.at[crew[0]]
	if !slices.Contains(l.hosts, from) {
		return -1, 0
	}
	need := make([]int64, len(m.dims))
	var memory, vcpus float64
	for _, v := range crew {
		r.leave(v, need)
		memory, vcpus = memory+float64(m.vms[v].need()), vcpus+float64(m.vms[v].VCPUs)
	}
	it, s := r.item(crew), r.scores(crew)
	stay := s.of(from)
	found := int32(-1)
	for _, h := range l.hosts {
		if h == from || !r.accepts(&it, h) {
			continue
		}
		there := s.of(h)
		if stay.Home, there.Home = false, false; there.wishes(stay) > 0 {
			continue
		}
		mem, cpu := [2]float64{l.memory[from], l.memory[h]}, [2]float64{l.cpu[from], l.cpu[h]}
		for i, x := range []int32{from, h} {
			sign := float64(2*i - 1)
			l.memory[x] += sign * memory / float64(m.capacity[int(x)*len(m.dims)])
			l.cpu[x] += sign * vcpus / float64(max(1, m.hosts[x].CPUs))
		}
		if u := l.uneven(); u < than {
			found, than = h, u
		}
		l.memory[from], l.memory[h], l.cpu[from], l.cpu[h] = mem[0], mem[1], cpu[0], cpu[1]
	}
	for _, v := range crew {
		r.enter(v, from, need)
	}
	return found, than
}
