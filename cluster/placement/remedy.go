package placement

import (
	"fmt"
	"slices"
	"strings"
)

// outlook says of rules that are no must what will be done about them: the moves of PlanMoves,
// or why there is none. Balance is taken to move VMs, whatever s says of it.
type outlook struct {
	k     *mover
	moves []Relocation
	all   map[*Rule]*wish
}

func newOutlook(c *Cluster, s MoveSettings) *outlook {
	s.Balance = Balance{On: true}
	k := newMover(c, s, &Moves{})
	k.evacuate()
	k.mend()
	k.back()
	all := k.wishes() // before one of each rule is about to move
	k.wish()
	return &outlook{k: k, moves: slices.Concat(k.out.Begin, k.out.Later), all: all}
}

// remedies are the moves after which a rule is better kept.
func (o *outlook) remedies(rule *Rule) (out []Decision) {
	m := o.k.m
	rule = m.rule(rule.Name)
	for _, l := range o.moves {
		v := m.vmByID[l.VM]
		crew := slices.DeleteFunc(slices.Clone(m.mates[v]), func(x int32) bool {
			return !slices.ContainsFunc(o.moves, func(y Relocation) bool { return y.VM == m.vms[x].Name && y.To == l.To })
		})
		if len(crew) == 0 {
			crew = []int32{v}
		}
		if o.helps(rule, crew, m.hostByID[l.From], m.hostByID[l.To]) {
			out = append(out, Decision{VM: l.VM, Action: Move, From: l.From, To: l.To, Live: !l.Cold, Why: l.Why, Hosts: l.Hosts})
		}
	}
	return out
}

// helps reports whether a rule is better kept once a crew has moved.
func (o *outlook) helps(rule *Rule, crew []int32, from, to int32) bool {
	m := o.k.m
	n := 0
	for _, v := range crew {
		if slices.Contains(m.members[rule], v) {
			n++
		}
	}
	if n == 0 {
		return false
	}
	if w := o.all[rule]; w != nil {
		return w.change(m, n, from, to) < 0
	}
	_, was := rule.Hosts[m.hosts[from].Name]
	_, is := rule.Hosts[m.hosts[to].Name]
	return was != is && is == (rule.Kind == OnHosts)
}

// rule is the one of that name.
func (m *model) rule(name string) *Rule {
	for rule := range m.members {
		if rule.Name == name {
			return rule
		}
	}
	return nil
}

// unmended says of each VM with which a rule is broken why it does not move.
func (o *outlook) unmended(rule *Rule, names []string) string {
	rule = o.k.m.rule(rule.Name)
	var words []string
	for _, name := range names {
		words = append(words, name+" "+o.stays(rule, o.k.m.vmByID[name]))
	}
	const most = 8
	if len(words) > most {
		words = append(words[:most], fmt.Sprintf("and %d more", len(words)-most))
	}
	return strings.Join(words, "; ")
}

// stays says why a VM does not move for a rule.
func (o *outlook) stays(rule *Rule, v int32) string {
	k, m := o.k, o.k.m
	vm, crew := m.vms[v], o.k.r.crew(v)
	w := o.all[rule]
	switch at := k.r.at[v]; {
	case k.stuck(v) != "":
		return "stays: " + k.stuck(v)
	case !vm.Live:
		return "cannot be moved while it runs: " + strings.Join(vm.NotLive, "; ")
	case k.held[v] != "":
		return "is not moved now: " + k.held[v]
	case w == nil && !vm.Failback:
		return "stays: failback does not take it to hosts that rules prefer"
	case at < 0 || at != m.at[v] || k.from[v] != at:
		return "is about to be moved or started"
	case len(crew) > 1 && (len(crew) > k.set.PerHost || k.r.split(crew) || slices.ContainsFunc(crew, k.r.isFixed)):
		return fmt.Sprintf("stays with the VMs that it must be with, which do not move together (there are %d, and %d moves at once are allowed from or to a host)",
			len(crew), k.set.PerHost)
	}
	list, n := m.concern(o.all, crew)
	if i := slices.IndexFunc(list, func(w *wish) bool { return w.unsettled }); i >= 0 && w != nil {
		return "waits: a VM of " + list[i].words() + " is on its way, or is to be moved or started first"
	}
	return "stays: " + o.nowhere(rule, crew, list, n)
}

// nowhere says host by host why a crew does not go there for a rule. Of hosts that would not help it
// says nothing.
func (o *outlook) nowhere(rule *Rule, crew []int32, list []*wish, n map[*wish]int) string {
	m, r := o.k.m, o.k.r
	need := make([]int64, len(m.dims))
	from := r.at[crew[0]]
	for _, x := range crew {
		r.leave(x, need)
	}
	it, s := r.item(crew), r.scores(crew)
	var words []string
	for h, host := range m.hosts {
		to := int32(h)
		if to == from || !o.helps(rule, crew, from, to) {
			continue
		}
		g := m.gain(list, n, from, to)
		why := "it would cost the room for failures that there is"
		switch c := r.consider(crew[0], to, need); {
		case c.Excluded != "":
			why = c.text()
		case !r.accepts(&it, to):
			why = "not all VMs that must be together fit"
		case s.preference[to] < s.preference[from]:
			why = "host rules prefer " + m.hosts[from].Name
		case o.all[rule] == nil && s.preference[to] == s.preference[from]:
			why = "host rules prefer it no more than " + m.hosts[from].Name
		case o.all[rule] != nil && g.costs != nil && (g.mends == nil || g.costs.weight >= g.mends.weight):
			why = fmt.Sprintf("%s (weight %d) would be kept less", g.costs.words(), g.costs.weight)
		case o.all[rule] != nil && !g.lawful():
			why = "lighter rules would be kept less, which weigh as much together"
		}
		words = append(words, host.Name+": "+why)
	}
	for _, x := range crew {
		r.enter(x, from, need)
	}
	if len(words) == 0 {
		return "on no other host would the rule be better kept"
	}
	const most = 8
	if len(words) > most {
		words = append(words[:most], fmt.Sprintf("and %d hosts more", len(words)-most))
	}
	return strings.Join(words, ", ")
}
