package placement

import (
	"fmt"
	"slices"
)

// Balance says when load is uneven enough for a move, and lets VMs be moved for rules that
// are no must. How uneven it is: by how much hosts
// differ from their average (the standard deviation as a part of the average), in the mean
// of memory and processors, per cent.
type Balance struct {
	On bool
	// Measured: load is what VMs really take (VM.Use, VM.Mean), and not what they may take.
	// One of which it is not known counts with what it may take, and is not moved. Where a VM
	// finds room goes by what it may take either way.
	Measured bool
	// Held: it has been uneven for as long as the policy asks. Without it only
	// Moves.Imbalance is reckoned.
	Held bool
	// Ripe are the rules, by name, that are no must and have been broken for as long as the policy
	// asks: they are mended. nil: each that is broken.
	Ripe map[string]bool
	// Threshold is how uneven it must be, and Margin how much of that a move must take away, per cent.
	Threshold, Margin float64
}

// balance moves one VM, or those that must be together, where that makes load more
// even. It does so only while nothing else is to be moved, or is moving.
func (k *mover) balance() {
	b := k.set.Balance
	if !b.On {
		return
	}
	l := k.load(func(vm *VM) *Use { return vm.Use })
	if len(l.hosts) < 2 {
		return
	}
	uneven := l.uneven()
	k.out.Imbalance = 100 * uneven
	idle := len(k.out.Begin)+len(k.out.Later) == 0 && !slices.ContainsFunc(k.busy, func(n int) bool { return n > 0 })
	if !b.Held || !idle || k.out.Imbalance <= b.Threshold {
		return
	}
	if b.Measured { // what VMs take at this moment says little of what they take later
		l = k.load(func(vm *VM) *Use {
			if vm.Mean != nil {
				return vm.Mean
			}
			return vm.Use
		})
		if uneven = l.uneven(); 100*uneven <= b.Threshold {
			return
		}
	}
	best := uneven*(1-b.Margin/100) + tiny
	var crew []int32
	to := int32(-1)
	for _, v := range k.r.settled() {
		c := k.r.crew(v)
		if c[0] != v || len(c) > k.set.PerHost || k.r.split(c) || slices.ContainsFunc(c, k.r.isFixed) ||
			b.Measured && slices.ContainsFunc(c, k.unmeasured) {
			continue
		}
		if h, left := k.evener(l, c, best); h >= 0 {
			crew, to, best = c, h, left-tiny
		}
	}
	if to < 0 {
		return
	}
	by := ""
	if b.Measured {
		by = ", by what VMs really took"
	}
	p := &Plan{}
	considered := k.evened(l, crew)
	for _, v := range crew {
		d := Decision{VM: k.m.vms[v].Name, Action: Move, From: k.m.hosts[k.r.at[v]].Name, To: k.m.hosts[to].Name, Live: true,
			Why: fmt.Sprintf("%.0f %% with it there, %.0f %% as it is%s", 100*best, 100*uneven, by), Hosts: considered}
		p.Decisions = append(p.Decisions, d)
	}
	if k.weakens(p.Decisions) != "" {
		return
	}
	k.settle(p, Even)
}

// evened says of every host how even load would be with a crew there, or what excludes it.
func (k *mover) evened(l *load, crew []int32) []Considered {
	m, r := k.m, k.r
	from := r.at[crew[0]]
	need := make([]int64, len(m.dims))
	uneven := make([]float64, len(m.hosts))
	for h := range m.hosts {
		if !slices.Contains(l.hosts, int32(h)) {
			continue
		}
		carried := *l
		carried.memory, carried.cpu = slices.Clone(l.memory), slices.Clone(l.cpu)
		for _, v := range crew {
			carried.carry(v, from, -1)
			carried.carry(v, int32(h), 1)
		}
		uneven[h] = 100 * carried.uneven()
	}
	for _, v := range crew {
		r.leave(v, need)
	}
	all := r.considered(crew[0], crew)
	stay := r.scores(crew).of(from)
	for h := range all {
		c := &all[h]
		there := c.Score
		switch stay.Home, there.Home = false, false; {
		case c.Excluded != "":
		case there.wishes(stay) > 0:
			*c = c.no(LessWanted, "")
		default:
			c.Score.Uneven = uneven[h]
		}
	}
	for _, v := range crew {
		r.enter(v, from, need)
	}
	return all
}

// tiny keeps rounding from deciding.
const tiny = 1e-9

func (k *mover) unmeasured(v int32) bool { return k.m.vms[v].Use == nil }

// evener finds the host to which a crew would have to go for the load to be more even than
// that, and how uneven it is then; -1 when there is none that the crew's wishes allow.
func (k *mover) evener(l *load, crew []int32, than float64) (int32, float64) {
	m, r := k.m, k.r
	from := r.at[crew[0]]
	if !slices.Contains(l.hosts, from) {
		return -1, 0
	}
	need := make([]int64, len(m.dims))
	for _, v := range crew {
		r.leave(v, need)
	}
	it, s := r.item(crew), r.scores(crew)
	stay := s.of(from)
	stay.FailedHere = false // where it runs that is over, and no reason to break a rule
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
		for _, v := range crew {
			l.carry(v, from, -1)
			l.carry(v, h, 1)
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
