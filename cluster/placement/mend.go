package placement

import "slices"

// mend moves running VMs that are where a must does not want them, and takes
// VMs with Failback to the hosts that their rules prefer. Each step is taken only
// when the VM can run at its new place beside all others, so that the moves can
// be carried out in this order.
func (m *model) mend(r *room, p *Plan, explain bool) {
	var vms []int32
	for v := range m.vms {
		if h := r.at[v]; h >= 0 && h == m.at[v] && m.moving[v] < 0 && !r.dead.has(h) && !r.leaving.has(h) {
			vms = append(vms, int32(v))
		}
	}
	slices.SortFunc(vms, m.startOrder)
	// First what must be together, then what is on a wrong host, then, the least
	// important first, what must be apart, and preferences last.
	for _, v := range vms {
		if crew := r.crew(v); crew[0] == v && r.split(crew) {
			r.move(p, crew, explain, true)
		}
	}
	for _, v := range vms {
		if crew := r.crew(v); crew[0] == v && r.misplaced(crew) {
			r.move(p, crew, explain, true)
		}
	}
	for _, v := range slices.Backward(vms) {
		if r.clashing(v) {
			r.move(p, r.crew(v), explain, true)
		}
	}
	for _, v := range vms {
		crew := r.crew(v)
		if crew[0] == v && slices.ContainsFunc(crew, func(x int32) bool { return m.vms[x].Failback }) {
			r.move(p, crew, explain, false)
		}
	}
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
	if slices.ContainsFunc(crew, func(v int32) bool { return len(m.vms[v].Bound) > 0 || r.dead.has(r.at[v]) }) {
		return
	}
	need := make([]int64, len(m.dims))
	old := make([]int32, len(crew))
	for i, v := range crew {
		old[i] = r.at[v]
		r.leave(v, need)
	}
	it := r.item(crew)
	s := r.scores(crew)
	best, bestMoves := int32(-1), 0
	for h := range int32(len(m.hosts)) {
		if !r.accepts(&it, h) {
			continue
		}
		moves := 0
		for _, o := range old {
			if o != h {
				moves++
			}
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
