package placement

import (
	"fmt"
	"slices"
	"strings"
)

// Violation is a rule that is broken where VMs run now, or a host that is overfull.
type Violation struct {
	Rule string // or the group that is to be spread; empty for a host that is overfull
	Must bool
	VMs  []string
	Why  string
	// Repair are the moves of Decide with Question.Moves that concern these VMs; none when no
	// lawful move helps. Those of a rule that is no must are the moves of PlanMoves after which
	// it is better kept, as if balance moved VMs; others may follow them.
	Repair []Decision
	// Stays says, for people, why nothing is moved for a rule that is no must.
	Stays string

	rule *Rule // nil: it is about no rule
}

// Violations lists what is wrong with where VMs run now: broken rules, those that
// are a must first, and hosts that carry more than they may. s bounds the moves that repair rules
// that are no must.
func Violations(c *Cluster, s MoveSettings) []Violation {
	m := newModel(c)
	r := newRoom(m)
	var all []Violation
	for _, rule := range sorted(c.Rules, func(r *Rule) string { return r.Name }) {
		if vms, why := r.broken(rule); len(vms) > 0 {
			v := Violation{Rule: rule.Name, Must: rule.Must, Why: why, rule: rule}
			for _, x := range vms {
				v.VMs = append(v.VMs, m.vms[x].Name)
			}
			all = append(all, v)
		}
	}
	all = append(all, r.crowded()...)
	slices.SortStableFunc(all, func(a, b Violation) int { return no(!a.Must, !b.Must) })
	for h, host := range m.hosts {
		for i, d := range m.dims {
			if over := -r.free[h*len(m.dims)+i]; over > 0 && !r.dead.has(int32(h)) {
				c := Considered{Excluded: d.reason, What: d.name}
				all = append(all, Violation{Must: true, Why: fmt.Sprintf("%s is overfull: %s too much", host.Name, amount(c, over))})
			}
		}
	}
	repairWishes(c, s, all)
	work := c.Policy.planWork()
	moves := m.decide(r, Question{Moves: true}, true, &work)
	for i := range all {
		for _, d := range moves.Decisions {
			if all[i].Must && d.Action == Move && slices.Contains(all[i].VMs, d.VM) {
				all[i].Repair = append(all[i].Repair, d)
			}
		}
	}
	return all
}

// repairWishes fills in what will be done about rules that are no must.
func repairWishes(c *Cluster, s MoveSettings, all []Violation) {
	var o *outlook
	for i := range all {
		v := &all[i]
		if v.Must || v.rule == nil {
			continue
		}
		if o == nil {
			o = newOutlook(c, s)
		}
		switch v.Repair = o.remedies(v.rule); {
		case c.Policy.NoQuorum:
			v.Repair, v.Stays = nil, "no majority is heard, and without one nothing is moved"
		case len(v.Repair) == 0:
			v.Stays = o.unmended(v.rule, v.VMs)
		case !s.Balance.On && v.rule.Kind.wished():
			v.Stays = `nothing is moved for it: only mode = "automatic" in the policy's balance block mends rules that are no must`
		}
	}
}

// crowded finds groups that are to be spread and whose members all run on one host: its loss
// would take every one of them.
func (r *room) crowded() (all []Violation) {
	for _, g := range sorted(r.m.c.Groups, func(g *Group) string { return g.Name }) {
		if !g.Spread {
			continue
		}
		v, hosts := Violation{Rule: g.Name}, map[int32]bool{}
		for _, x := range r.m.crowd[g] {
			v.rule = r.m.gathered[x]
		}
		var host int32
		for _, name := range g.VMs {
			if x, known := r.m.vmByID[name]; known && r.at[x] >= 0 {
				host = r.at[x]
				hosts[host] = true
				v.VMs = append(v.VMs, name)
			}
		}
		if len(v.VMs) > 1 && len(hosts) == 1 {
			v.Why = fmt.Sprintf("group %s is to be spread, and all of it that runs is on %s: %s",
				g.Name, r.m.hosts[host].Name, strings.Join(few(v.VMs), ", "))
			all = append(all, v)
		}
	}
	return all
}

// Broken lists the rules that are a must and broken where VMs run now, by name, without repairs: it
// plans nothing, and costs little.
func Broken(c *Cluster) (all []Violation) {
	r := newRoom(newModel(c))
	for _, rule := range sorted(c.Rules, func(r *Rule) string { return r.Name }) {
		if !rule.Must {
			continue
		}
		if vms, why := r.broken(rule); len(vms) > 0 {
			v := Violation{Rule: rule.Name, Must: true, Why: why}
			for _, x := range vms {
				v.VMs = append(v.VMs, r.m.vms[x].Name)
			}
			all = append(all, v)
		}
	}
	return all
}

// broken finds the running VMs with which a rule is broken.
func (r *room) broken(rule *Rule) ([]int32, string) {
	m := r.m
	running := slices.DeleteFunc(slices.Clone(m.members[rule]), func(v int32) bool { return r.at[v] < 0 })
	var bad []int32
	switch rule.Kind {
	case OnHosts, NotOnHosts:
		for _, v := range running {
			if _, listed := rule.Hosts[m.hosts[r.at[v]].Name]; listed != (rule.Kind == OnHosts) {
				bad = append(bad, v)
			}
		}
	case Apart:
		for _, v := range running {
			if slices.ContainsFunc(running, func(x int32) bool {
				return x != v && (r.at[x] == r.at[v] || rule.Domains && m.domain[r.at[x]] == m.domain[r.at[v]])
			}) {
				bad = append(bad, v)
			}
		}
	case Together:
		if r.split(running) {
			bad = running
		}
	}
	var words []string
	for _, v := range bad {
		words = append(words, m.vms[v].Name+" on "+m.hosts[r.at[v]].Name)
	}
	return bad, fmt.Sprintf("rule %s (%s) is broken by %s", rule.Name, rule.Kind, strings.Join(few(words), ", "))
}
