package placement

import (
	"cmp"
	"fmt"
	"slices"
)

// spreadOut is the kind of what stands for a group that is to be spread: its VMs are not all on one
// host. It weighs as little as a rule can, and is called "group" and its name.
const spreadOut RuleKind = "spread"

// wish is an apart or together rule that is no must, or a group that is to be spread, and how far it
// is kept where VMs are.
// A VM that waits counts nowhere before it has been started.
type wish struct {
	rule   *Rule
	weight int
	count  []int // VMs of it by host, or by failure domain
	total  int   // of all hosts
	pairs  int   // of two VMs that are not to each other as it asks; of a group 1 when it is on one host
	// ripe: it has been broken for as long as the policy asks.
	ripe bool
	// unsettled: one of its VMs is on its way, or about to leave or to start. What a move would
	// do to the rule is known once that has come to an end.
	unsettled bool
}

func pairs(n int) int { return n * (n - 1) / 2 }

// wished reports whether rules of the kind that are no must are mended as wishes.
func (k RuleKind) wished() bool { return k == Apart || k == Together || k == spreadOut }

// crowded is 1 when a group has so many VMs on one host, and that is all of several.
func (w *wish) crowded(there int) int {
	if w.total > 1 && there == w.total {
		return 1
	}
	return 0
}

// words are what a person reads of whom the wish is about.
func (w *wish) words() string {
	if w.rule.Kind == spreadOut {
		return w.rule.Name
	}
	return "rule " + w.rule.Name
}

// wishes are the rules of that kind by rule, as VMs are in k.r.
func (k *mover) wishes() map[*Rule]*wish {
	m := k.m
	all := map[*Rule]*wish{}
	for rule, members := range m.members {
		if rule.Must || !rule.Kind.wished() {
			continue
		}
		w := &wish{rule: rule, weight: max(1, rule.Weight), count: make([]int, len(m.hosts)),
			ripe: k.set.Balance.Ripe == nil || k.set.Balance.Ripe[rule.Name]}
		for _, v := range members {
			h := k.r.at[v]
			w.unsettled = w.unsettled || h != k.from[v] || h >= 0 && h != m.at[v] || k.way[m.vms[v].Name] != ""
			if h >= 0 {
				w.count[m.wishScope(rule, h)]++
				w.total++
			}
		}
		together, most := 0, 0
		for _, c := range w.count {
			together += pairs(c)
			most = max(most, c)
		}
		switch rule.Kind {
		case Together:
			w.pairs = pairs(w.total) - together
		case spreadOut:
			w.pairs = w.crowded(most)
		default:
			w.pairs = together
		}
		all[rule] = w
	}
	return all
}

// wishScope is where a VM on host h counts for such a rule.
func (m *model) wishScope(rule *Rule, h int32) int32 {
	if rule.Domains {
		return m.domain[h]
	}
	return h
}

// change is by how many pairs a wish is kept less when n of its VMs go from one host to another.
func (w *wish) change(m *model, n int, from, to int32) int {
	s, t := m.wishScope(w.rule, from), m.wishScope(w.rule, to)
	if s == t {
		return 0
	}
	if w.rule.Kind == spreadOut {
		return w.crowded(w.count[t]+n) - w.pairs
	}
	d := pairs(w.count[s]-n) + pairs(w.count[t]+n) - pairs(w.count[s]) - pairs(w.count[t])
	if w.rule.Kind == Together {
		return -d
	}
	return d
}

// concern are the wishes about a crew, each with how many of the crew it names, in order of
// their names.
func (m *model) concern(all map[*Rule]*wish, crew []int32) (list []*wish, n map[*wish]int) {
	n = map[*wish]int{}
	for _, v := range crew {
		for i := range len(m.soft[v]) + 1 {
			rule := m.gathered[v]
			if i < len(m.soft[v]) {
				rule = m.soft[v][i]
			}
			w := all[rule]
			if w == nil {
				continue
			}
			if n[w]++; n[w] == 1 {
				list = append(list, w)
			}
		}
	}
	slices.SortFunc(list, func(a, b *wish) int {
		return cmp.Or(cmp.Compare(a.rule.Name, b.rule.Name), cmp.Compare(a.weight, b.weight))
	})
	return list, n
}

// gain is what a move does for wishes.
type gain struct {
	// broken is the weight of rules that are kept after it and were not, less that of those the
	// other way round; pairs is the same of pairs of VMs.
	broken, pairs int
	mends, costs  *wish // the heaviest that it does good, and harm; nil: none
}

// gain says what the move of a crew does for the wishes about it.
func (m *model) gain(list []*wish, n map[*wish]int, from, to int32) (g gain) {
	for _, w := range list {
		d := w.change(m, n[w], from, to)
		g.pairs -= d * w.weight
		if was, is := w.pairs > 0, w.pairs+d > 0; was && !is {
			g.broken += w.weight
		} else if is && !was {
			g.broken -= w.weight
		}
		switch {
		case d < 0 && w.ripe && (g.mends == nil || w.weight > g.mends.weight):
			g.mends = w
		case d > 0 && (g.costs == nil || w.weight > g.costs.weight):
			g.costs = w
		}
	}
	return g
}

// lawful reports whether a rule may be mended so: at the cost of lighter rules at most, and so
// that what is broken weighs no more after it, by rules, and less, by pairs. By the last moves
// that mend wishes come to an end, and none takes another back.
func (g gain) lawful() bool {
	return g.mends != nil && (g.costs == nil || g.costs.weight < g.mends.weight) && g.broken >= 0 && g.pairs > 0
}

// remedy is a move that mends a wish.
type remedy struct {
	crew     []int32
	from, to int32
	gain     gain
	score    Score
}

// better compares two remedies: negative when a comes first. Of VMs that would do as well the
// least important one moves.
func (m *model) better(a, b *remedy) int {
	return cmp.Or(
		no(a.score.FailedHere, b.score.FailedHere), cmp.Compare(b.gain.broken, a.gain.broken), cmp.Compare(b.gain.pairs, a.gain.pairs),
		cmp.Compare(len(a.crew), len(b.crew)), m.startOrder(b.crew[0], a.crew[0]), a.score.better(b.score), cmp.Compare(a.to, b.to),
	)
}

// maxRefusals bounds how many moves for wishes one plan gives up because they would cost the
// room for failures: each has to be tried.
const maxRefusals = 16

// wish moves VMs so that rules are kept that are no must. Of each rule one VM moves at a time,
// or those that must be together.
func (k *mover) wish() {
	if !k.set.Balance.On {
		return
	}
	all := k.wishes()
	for _, w := range all {
		if w.pairs > 0 {
			k.out.Broken = append(k.out.Broken, w.rule.Name)
		}
	}
	slices.Sort(k.out.Broken)
	k.out.Broken = slices.Compact(k.out.Broken)
	need := make([]int64, len(k.m.dims))
	p := &Plan{}
	refused := map[[2]int32]bool{}
	for len(refused) < maxRefusals {
		best := k.remedy(all, refused)
		if best == nil {
			break
		}
		moves := k.prescribe(best)
		if k.weakens(slices.Concat(p.Decisions, moves)) != "" {
			refused[[2]int32{best.crew[0], best.to}] = true
			continue
		}
		p.Decisions = append(p.Decisions, moves...)
		for _, v := range best.crew {
			k.r.leave(v, need)
			k.r.enter(v, best.to, need)
		}
		list, _ := k.m.concern(all, best.crew)
		for _, w := range list {
			w.unsettled = true
		}
	}
	k.settle(p, Wish)
}

// prescribe puts a remedy into decisions, as long as its VMs are where they were.
func (k *mover) prescribe(x *remedy) (moves []Decision) {
	for _, v := range x.crew {
		d := Decision{VM: k.m.vms[v].Name, Action: Move, From: k.m.hosts[x.from].Name, To: k.m.hosts[x.to].Name, Live: true,
			Why: fmt.Sprintf("%s is better kept there", x.gain.mends.words())}
		if x.gain.costs != nil {
			d.Why += fmt.Sprintf(", which weighs more than %s, which is kept less", x.gain.costs.words())
		}
		d.Hosts, _ = k.r.explain(v, -1, nil)
		moves = append(moves, d)
	}
	return moves
}

// remedy is the best move that mends a wish and none of those refused; nil: there is none.
func (k *mover) remedy(all map[*Rule]*wish, refused map[[2]int32]bool) (best *remedy) {
	m, r := k.m, k.r
	need := make([]int64, len(m.dims))
	for _, v := range r.settled() {
		if len(m.soft[v]) == 0 && m.gathered[v] == nil && m.mates[v] == nil {
			continue
		}
		crew := r.crew(v)
		if crew[0] != v || len(crew) > k.set.PerHost || r.split(crew) ||
			slices.ContainsFunc(crew, func(x int32) bool { return r.isFixed(x) || r.at[x] != m.at[x] }) {
			continue
		}
		list, n := m.concern(all, crew)
		if !slices.ContainsFunc(list, func(w *wish) bool { return w.ripe && w.pairs > 0 }) ||
			slices.ContainsFunc(list, func(w *wish) bool { return w.unsettled }) {
			continue
		}
		from := r.at[v]
		for _, x := range crew {
			r.leave(x, need)
		}
		it := r.item(crew)
		var s *scores
		for h := range int32(len(m.hosts)) {
			g := m.gain(list, n, from, h)
			if h == from || !g.lawful() || refused[[2]int32{v, h}] || !r.accepts(&it, h) {
				continue
			}
			if s == nil {
				s = r.scores(crew)
			}
			if s.preference[h] < s.preference[from] {
				continue
			}
			if x := (&remedy{crew: crew, from: from, to: h, gain: g, score: s.of(h)}); best == nil || m.better(x, best) < 0 {
				best = x
			}
		}
		for _, x := range crew {
			r.enter(x, from, need)
		}
	}
	return best
}
