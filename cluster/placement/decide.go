package placement

import (
	"fmt"
	"slices"
	"strings"
)

// Question is what Decide is asked.
type Question struct {
	// Lost are hosts taken to be lost besides those that are Down.
	Lost []string
	// Leave are hosts that all running VMs shall move away from.
	Leave []string
	// Moves asks for moves of running VMs as well: to where a rule that is a must
	// wants them, and back to the hosts that they prefer (VM.Failback).
	Moves bool
}

// Action is what a decision does to a VM.
type Action string

const (
	Start    Action = "start"     // it runs nowhere, and starts on To
	Move     Action = "move"      // it runs on From, and goes to To
	StayDown Action = "stay_down" // it runs nowhere, and no host can take it
	StayPut  Action = "stay_put"  // it should leave From, and no host can take it
)

// Decision is what becomes of one VM, and why.
type Decision struct {
	VM     string
	Action Action
	From   string // the host that it ran on or runs on; empty when none is known
	To     string // empty for StayDown and StayPut
	Live   bool   // a Move without stopping it
	Why    string
	// After are VMs of the same plan that are to be up before it.
	After []string
	// Hosts are all hosts with what excluded or ranked each, when the VM's turn came.
	Hosts []Considered
}

// Plan is the answer to a Question: every VM that something has to be decided
// about, in the order of their starts. VMs that are not in it stay as they are.
type Plan struct {
	Decisions []Decision
	// Exact says that no plan could do better: as many VMs up as possible, those
	// that start earlier before others. It is false when the bound on the work was reached.
	Exact bool
	// Spread is set when hosts were emptied of VMs of groups that are to be spread.
	Spread Spread
}

// Down lists the VMs of the plan that run nowhere after it.
func (p *Plan) Down() []string {
	var down []string
	for i := range p.Decisions {
		if p.Decisions[i].Action == StayDown {
			down = append(down, p.Decisions[i].VM)
		}
	}
	return down
}

// Decide plans where VMs go. The cluster is taken as valid (Cluster.Validate).
func Decide(c *Cluster, q Question) *Plan {
	m := newModel(c)
	work := c.Policy.planWork()
	return m.decide(newRoom(m), q, true, &work)
}

// Failover is what would be done if one host was lost.
type Failover struct {
	Host string
	*Plan
}

// EveryHost plans for the loss of each host by itself. VMs that wait for a host
// now are taken as started where Decide would start them. The decisions name the
// hosts that were looked at only for VMs that stay down; ask Decide for the others.
func EveryHost(c *Cluster) []Failover {
	m := newModel(c)
	base := newRoom(m)
	work := c.Policy.work()
	m.decide(base, Question{}, false, &work)
	var all []Failover
	for h, host := range m.hosts {
		if base.dead.has(int32(h)) {
			continue
		}
		// What the easy plans leave of the work is for the hard ones.
		part := min(c.Policy.planWork(), max(0, work)/(len(m.hosts)-h))
		left := part
		all = append(all, Failover{Host: host.Name, Plan: m.decide(base.clone(), Question{Lost: []string{host.Name}}, false, &left)})
		work -= part - left
	}
	return all
}

// decide plans in room r, which it leaves as it will be after the plan. Without
// explain it says why only of VMs that find no host.
func (m *model) decide(r *room, q Question, explain bool, work *int) *Plan {
	from := slices.Clone(r.at)
	for v, h := range m.at { // what ran on a host that is down was lost before
		if from[v] < 0 && h >= 0 {
			from[v] = h
		}
	}
	var lost []int32
	for _, name := range q.Lost {
		if h := m.hostOr(name); h >= 0 {
			lost = append(lost, h)
		}
	}
	r.lose(lost)
	var wanted []int32
	for v, vm := range m.vms {
		if r.at[v] < 0 && (from[v] >= 0 && vm.Class != Unprotected || vm.Status == Waiting) {
			wanted = append(wanted, int32(v))
		}
	}
	p := &Plan{Exact: true}
	if c := m.c; c.Policy.NoQuorum {
		m.sortStarts(wanted)
		for _, v := range wanted {
			p.Decisions = append(p.Decisions, Decision{VM: m.vms[v].Name, Action: StayDown,
				From: m.vms[v].Host, Why: "no majority of the cluster is heard: nothing is started"})
		}
		return p
	}
	r.leaving = m.none()
	for _, name := range q.Leave {
		if h := m.hostOr(name); h >= 0 && !r.dead.has(h) {
			r.leaving.set(h)
		}
	}
	m.restart(r, p, wanted, work, explain)
	m.evacuate(r, p, from, work, explain)
	if q.Moves {
		m.mend(r, p, explain)
	}
	return p
}

// restart decides about VMs that run nowhere and shall.
func (m *model) restart(r *room, p *Plan, wanted []int32, work *int, explain bool) {
	m.sortStarts(wanted)
	to, exact := r.assignKept(wanted, work)
	// A VM that must not start before one that stays down stays down too, and leaves its room to others.
	for held := m.heldBack(r, wanted, to); len(held) > 0; held = m.heldBack(r, wanted, to) {
		wanted = slices.DeleteFunc(wanted, func(v int32) bool {
			before, yes := held[v]
			if yes {
				p.Decisions = append(p.Decisions, Decision{
					VM: m.vms[v].Name, Action: StayDown, From: m.vms[v].Host,
					Why: fmt.Sprintf("it starts after %s, which stays down", m.vms[before].Name),
				})
			}
			return yes
		})
		to, exact = r.assignKept(wanted, work)
	}
	p.Exact = p.Exact && exact
	need := make([]int64, len(m.dims))
	kept := r.enterKept(wanted, to, need)
	planned := map[int32]bool{}
	for _, v := range wanted {
		h, ok := to[v]
		vm := m.vms[v]
		d := Decision{VM: vm.Name, Action: Start, From: vm.Host}
		if ok {
			d.Why = "its host is lost"
			if vm.Status == Waiting {
				d.Why = "it shall run, and nobody runs it"
			}
			if slices.Contains(kept, v) {
				r.leave(v, need)
			}
			if explain {
				d.Hosts, d.Why = r.explain(v, h, to)
			}
			d.To = m.hosts[h].Name
			r.enter(v, h, need)
			planned[v] = true
			for _, before := range m.after[v] {
				if planned[before] {
					d.After = append(d.After, m.vms[before].Name)
				}
			}
		} else {
			d.Action = StayDown
		}
		p.Decisions = append(p.Decisions, d)
	}
	// What excludes a VM that stays down is seen once all others have their places.
	for i := range p.Decisions {
		if d := &p.Decisions[i]; d.Action == StayDown && d.Why == "" {
			d.Hosts, d.Why = r.explain(m.vmByID[d.VM], -1, to)
			if !exact {
				d.Why += "; the search for a better plan was cut short"
			}
		}
	}
}

// heldBack finds VMs that may not start because one before them stays down.
func (m *model) heldBack(r *room, wanted []int32, to map[int32]int32) map[int32]int32 {
	held := map[int32]int32{}
	for _, v := range wanted {
		if !m.strict[v] {
			continue
		}
		for _, before := range m.after[v] {
			if _, planned := to[before]; !planned && r.at[before] < 0 {
				held[v] = before
			}
		}
	}
	return held
}

// sortStarts puts VMs in the order in which they are to be started: the first by
// startOrder of those whose predecessors are all out. A ring, which Validate
// refuses, is broken at its first VM.
func (m *model) sortStarts(vms []int32) {
	slices.SortFunc(vms, m.startOrder)
	if !slices.ContainsFunc(vms, func(v int32) bool { return len(m.after[v]) > 0 }) {
		return
	}
	waiting := map[int32]bool{}
	for _, v := range vms {
		waiting[v] = true
	}
	out := make([]int32, 0, len(vms))
	for left := slices.Clone(vms); len(left) > 0; {
		i := slices.IndexFunc(left, func(v int32) bool {
			return !slices.ContainsFunc(m.after[v], func(before int32) bool { return waiting[before] && before != v })
		})
		i = max(i, 0)
		out = append(out, left[i])
		delete(waiting, left[i])
		left = slices.Delete(left, i, i+1)
	}
	copy(vms, out)
}

// explain says what every host was worth to VM v at this moment, and in words why
// it goes to host h; h is -1 when it goes nowhere.
func (r *room) explain(v, h int32, to map[int32]int32) ([]Considered, string) {
	m := r.m
	crew := []int32{v}
	if h >= 0 {
		crew = slices.DeleteFunc(slices.Clone(m.mates[v]), func(x int32) bool {
			g, planned := to[x]
			return !planned || g != h || r.at[x] >= 0
		})
		if len(crew) == 0 {
			crew = []int32{v}
		}
	}
	all := r.considered(v, crew)
	top, fitting := int32(-1), 0
	for i := range all {
		if all[i].Excluded == "" {
			fitting++
			if top < 0 || all[i].Score.better(all[top].Score) < 0 {
				top = int32(i)
			}
		}
	}
	switch {
	case h < 0:
		return all, noHost(m, v, all)
	case m.keeps(v, h):
		return all, fmt.Sprintf("%s kept its room for it: %s", m.hosts[h].Name, all[h].text())
	case top == h && fitting == 1:
		return all, fmt.Sprintf("%s is the only choice: %s", m.hosts[h].Name, all[h].Score)
	case top == h:
		return all, fmt.Sprintf("%s ranks first of %d that can take it: %s", m.hosts[h].Name, fitting, all[h].Score)
	}
	return all, fmt.Sprintf("%s, so that all VMs find a place (%s)", m.hosts[h].Name, all[h].text())
}

// considered says what every host is worth to VM v at this moment, which goes there with the
// crew that it is of, or what excludes it.
func (r *room) considered(v int32, crew []int32) []Considered {
	m := r.m
	need := make([]int64, len(m.dims))
	it, s := r.item(crew), r.scores(crew)
	all := make([]Considered, len(m.hosts))
	for i := range m.hosts {
		g := int32(i)
		c := r.consider(v, g, need)
		if c.Excluded == "" && len(crew) > 1 && !r.accepts(&it, g) {
			c = c.no(NotWithMates, "the "+fmt.Sprint(len(crew))+" VMs that must be together do not fit")
		}
		if c.Excluded == "" {
			c.Score = s.of(g)
		}
		all[i] = c
	}
	return all
}

// noHost says in one sentence why no host can take a VM.
func noHost(m *model, v int32, all []Considered) string {
	var words []string
	var free, gap int64
	where := ""
	for i := range all {
		words = append(words, all[i].String())
		if all[i].Excluded == NoMemory {
			free += max(0, all[i].Have)
			if all[i].Have > gap {
				gap, where = all[i].Have, all[i].Host
			}
		}
	}
	text := "no host can take it"
	if need := m.vms[v].need(); where != "" && free >= need {
		text += fmt.Sprintf(" (%s are free in all, the largest gap is %s on %s, it needs %s)", Size(free), Size(gap), where, Size(need))
	}
	const most = 8
	if len(words) > most {
		words = append(words[:most], fmt.Sprintf("and %d more", len(words)-most))
	}
	return text + ": " + strings.Join(words, "; ")
}
