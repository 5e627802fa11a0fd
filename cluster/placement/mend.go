package placement

import (
	"cmp"
	"math"
	"slices"
)

// mend moves running VMs that are where a must does not want them, and takes
// VMs with Failback to the hosts that their rules prefer. Each step is taken only
// when the VM can run at its new place beside all others, so that the moves can
// be carried out in this order.
func (m *model) mend(r *room, p *Plan, explain bool) {
	r.mendMusts(p, explain)
	r.goBack(p, explain)
}

// settled are the VMs that could be moved from where they are, in start order.
func (r *room) settled() []int32 {
	m := r.m
	var vms []int32
	for v := range m.vms {
		if h := r.at[v]; h >= 0 && h == m.at[v] && m.moving[v] < 0 && !r.dead.has(h) && !r.leaving.has(h) {
			vms = append(vms, int32(v))
		}
	}
	slices.SortFunc(vms, m.startOrder)
	return vms
}

// mendMusts moves VMs that are where a must does not want them.
func (r *room) mendMusts(p *Plan, explain bool) {
	vms := r.settled()
	// First what must be together, then what is on a wrong host, then, the least
	// important first, what must be apart.
	for _, v := range vms {
		if crew := r.crew(v); r.first(crew) == v && r.split(crew) {
			r.move(p, crew, explain, true)
		}
	}
	for _, v := range vms {
		if crew := r.crew(v); r.first(crew) == v && r.misplaced(crew) {
			r.move(p, crew, explain, true)
		}
	}
	for _, fixed := range []bool{false, true} { // of two that clash the one that can move does
		for _, v := range slices.Backward(vms) {
			if r.clashing(v) && r.isFixed(v) == fixed {
				r.move(p, r.crew(v), explain, true)
			}
		}
	}
}

// goBack takes VMs with Failback to hosts that their rules prefer.
func (r *room) goBack(p *Plan, explain bool) {
	for _, v := range r.settled() {
		crew := r.crew(v)
		wished := func(x int32) bool { return len(r.m.soft[x]) > 0 }
		if r.first(crew) == v && slices.ContainsFunc(crew, wished) &&
			slices.ContainsFunc(crew, func(x int32) bool { return r.m.vms[x].Failback }) {
			r.move(p, crew, explain, false)
		}
	}
}

// first is the VM of a crew by whose turn it is moved: the first that runs, and is not on a
// host that is being emptied. One that is yet to be started comes along.
func (r *room) first(crew []int32) int32 {
	for _, v := range crew {
		if !r.leaving.has(r.at[v]) && !r.begins(v) {
			return v
		}
	}
	return crew[0]
}

// begins reports whether a VM is to be started where it is.
func (r *room) begins(v int32) bool {
	at := r.m.at[v]
	return r.at[v] >= 0 && (at < 0 || r.dead.has(at))
}

func (r *room) isFixed(v int32) bool {
	return len(r.m.vms[v].Bound) > 0 || r.m.fixed != nil && r.m.fixed[v]
}

// crew is v with all its mates that run.
func (r *room) crew(v int32) []int32 {
	if r.m.mates[v] == nil {
		return []int32{v}
	}
	return slices.DeleteFunc(slices.Clone(r.m.mates[v]), func(x int32) bool { return r.at[x] < 0 })
}

// split reports whether VMs that must be together are not.
func (r *room) split(crew []int32) bool {
	return slices.ContainsFunc(crew, func(v int32) bool { return r.at[v] != r.at[crew[0]] })
}

// misplaced reports whether a host rule that is a must is broken.
func (r *room) misplaced(crew []int32) bool { return r.misplacedBy(crew) != nil }

func (r *room) misplacedBy(crew []int32) *Rule {
	for _, v := range crew {
		for _, rule := range r.m.bound[v] {
			if _, listed := rule.Hosts[r.m.hosts[r.at[v]].Name]; listed != (rule.Kind == OnHosts) {
				return rule
			}
		}
	}
	return nil
}

// clashing reports whether v runs with a VM that it must be apart from.
func (r *room) clashing(v int32) bool {
	for _, e := range r.m.apart[v] {
		if r.occ[r.m.scope(e, r.at[v])] > 1 {
			return true
		}
	}
	return false
}

// move takes a crew to the best host that can take all of it, with as few moves as
// can be when a must asks for it; otherwise only to a host that is preferred to the one it is on.
func (r *room) move(p *Plan, crew []int32, explain, must bool) {
	m := r.m
	if slices.ContainsFunc(crew, func(v int32) bool { return r.dead.has(r.at[v]) || m.fixed == nil && (r.isFixed(v) || r.begins(v)) }) {
		return
	}
	need := make([]int64, len(m.dims))
	old, begins := make([]int32, len(crew)), make([]bool, len(crew))
	for i, v := range crew {
		old[i], begins[i] = r.at[v], r.begins(v)
		r.leave(v, need)
	}
	it := r.item(crew)
	s := r.scores(crew)
	best, bestMoves := int32(-1), 0
	for h := range int32(len(m.hosts)) {
		if !r.accepts(&it, h) || r.tied(crew, old, h) || must && r.backAndForth(crew, old, h) {
			continue
		}
		moves := 0
		for i, o := range old {
			if o != h && !begins[i] {
				moves++
			}
		}
		if r.joined(crew, old, h) {
			moves -= len(crew) // where they were going; what came so far is not taken back
		}
		if !must {
			moves = 0
			if h != old[0] && s.preference[h] <= s.preference[old[0]] {
				continue
			}
		}
		if best < 0 || moves < bestMoves || moves == bestMoves && s.of(h).better(s.of(best)) < 0 {
			best, bestMoves = h, moves
		}
	}
	if !must && best >= 0 && s.preference[best] <= s.preference[old[0]] {
		best = old[0]
	}
	to := map[int32]int32{}
	for _, v := range crew {
		to[v] = best
	}
	for i, v := range crew {
		if best == old[i] || best < 0 && !must {
			continue
		}
		d := Decision{VM: m.vms[v].Name, Action: Move, From: m.hosts[old[i]].Name, Live: m.vms[v].Live}
		if best < 0 {
			d.Action = StayPut
		} else {
			d.To = m.hosts[best].Name
		}
		if explain || best < 0 {
			d.Hosts, d.Why = r.explain(v, best, to)
		}
		p.Decisions = append(p.Decisions, d)
	}
	for i, v := range crew {
		if best < 0 {
			r.enter(v, old[i], need)
		} else {
			r.enter(v, best, need)
		}
	}
}

// tied reports whether a VM of the crew that nothing moves is on another host than h.
func (r *room) tied(crew, at []int32, h int32) bool {
	for i, v := range crew {
		if at[i] != h && r.isFixed(v) {
			return true
		}
	}
	return false
}

// backAndForth reports whether some of a crew that is torn would go back to h, which they came from and
// where none of them is, while something is still to be started. That may be what filled the host they
// went to: a VM that rules draw to them is planned where they are, so they would go there and back as
// long as it waits.
func (r *room) backAndForth(crew, at []int32, h int32) bool {
	m := r.m
	if m.came == nil || slices.Contains(at, h) || !slices.ContainsFunc(at, func(g int32) bool { return g != at[0] }) {
		return false
	}
	if !slices.ContainsFunc(crew, func(v int32) bool { return m.came[v] == h }) {
		return false
	}
	for v := range m.vms {
		if m.vms[v].Status == Waiting && (r.at[v] >= 0 || slices.Contains(crew, int32(v))) {
			return true
		}
	}
	return false
}

// joined reports whether h is where the crew is going: of those that came from a host where another
// still is, the last came to h.
func (r *room) joined(crew, at []int32, h int32) (to bool) {
	if r.m.came == nil {
		return false
	}
	last := int64(math.MinInt64)
	for i, v := range crew {
		if from := r.m.came[v]; from < 0 || from == at[i] || !slices.Contains(at, from) || r.m.moved[v] < last {
			continue
		}
		to = at[i] == h || to && r.m.moved[v] == last
		last = r.m.moved[v]
	}
	return to
}

// goHome takes VMs to the host that they had to leave, where that is no worse by their
// rules and has room. Mates go back together, or not at all.
func (r *room) goHome(p *Plan) {
	m := r.m
	need := make([]int64, len(m.dims))
	for _, v := range r.settled() {
		crew := r.crew(v)
		home := r.homeOf(crew)
		if r.first(crew) != v || home < 0 || r.split(crew) || slices.ContainsFunc(crew, r.isFixed) {
			continue
		}
		from := r.at[v]
		for _, x := range crew {
			r.leave(x, need)
		}
		it, s := r.item(crew), r.scores(crew)
		to := from
		if r.accepts(&it, home) && !s.gathers(home, from) &&
			cmp.Or(cmp.Compare(s.preference[home], s.preference[from]), cmp.Compare(s.broken[from], s.broken[home])) >= 0 {
			to = home
		}
		for _, x := range crew {
			if to == from {
				break
			}
			d := Decision{VM: m.vms[x].Name, Action: Move, From: m.hosts[from].Name, To: m.hosts[to].Name, Live: m.vms[x].Live}
			d.Hosts, _ = r.explain(x, to, nil)
			d.Hosts[to].Score.Returns = true
			p.Decisions = append(p.Decisions, d)
		}
		for _, x := range crew {
			r.enter(x, to, need)
		}
	}
}

// homeOf is the host that those of the crew that run had to leave, or -1: none had to, they are there,
// or they had to leave different ones.
func (r *room) homeOf(crew []int32) int32 {
	home := int32(-1)
	for _, v := range crew {
		h := r.m.hostOr(r.m.vms[v].Return)
		switch {
		case h < 0 || h == r.at[v] || r.begins(v):
		case home >= 0 && h != home:
			return -1
		default:
			home = h
		}
	}
	return home
}
