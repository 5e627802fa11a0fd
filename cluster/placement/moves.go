package placement

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// MoveSettings bound the moves of running VMs.
type MoveSettings struct {
	// PerHost is how many moves from and to a host may be under way at once; less than 1 counts as 1.
	PerHost int
	// Restart lets VMs that cannot be moved while they run leave a host in maintenance by being
	// stopped and started again.
	Restart bool
	Balance Balance
}

// Cause is why a VM is to move.
type Cause string

const (
	Evacuate Cause = "maintenance" // its host is in maintenance
	Mend     Cause = "rule"        // a rule that is a must is broken where it is
	Failback Cause = "failback"    // it goes back to where its rules prefer it, or where it had to leave
	Wish     Cause = "wish"        // a rule that is no must is broken where it is, or a group is not spread
	Even     Cause = "balance"     // load becomes more even
)

// Relocation is one move of a running VM.
type Relocation struct {
	VM, From, To string
	Cause        Cause
	// Cold: it is stopped and started again.
	Cold  bool
	Why   string
	Hosts []Considered
	// Waits says what a move that is wanted and not begun yet waits for.
	Waits string
}

// Stay is a VM that should leave its host and cannot.
type Stay struct {
	VM, Host string
	Cause    Cause
	Why      string
	Hosts    []Considered
}

// Moves is what PlanMoves answers.
type Moves struct {
	// Begin are moves to begin now, in this order; Later are those that wait for others, for
	// room, or for a VM that is not to be moved right now.
	Begin, Later []Relocation
	Stay         []Stay
	// Broken are the apart and together rules that are no must and broken, by name, when
	// balance moves VMs, and the groups that are to be spread and run on one host, each as "group" and its name.
	Broken []string
	// Imbalance is how uneven load is (Balance), per cent; 0 when nobody asked.
	Imbalance float64
}

// PlanMoves says which running VMs are to move now: off hosts in maintenance, to where
// rules that are a must want them, back, to where other rules are kept, and for balance, in this order.
// Whatever is begun may run at its target beside all that is there now, that is on its way there, and
// that waits to be started: no rule that is a must is broken on the way but that VMs which must be
// together travel one after the other. The same cluster gives the same moves; once they are made, none
// of them is taken back.
func PlanMoves(c *Cluster, s MoveSettings) *Moves {
	out := &Moves{}
	if c.Policy.NoQuorum {
		return out
	}
	k := newMover(c, s, out)
	k.evacuate()
	k.mend()
	k.back()
	k.wish()
	k.balance()
	moves := slices.Concat(out.Begin, out.Later)
	out.Stay = slices.DeleteFunc(out.Stay, func(s Stay) bool { // with its mates it found a place after all
		return slices.ContainsFunc(moves, func(l Relocation) bool { return l.VM == s.VM })
	})
	return out
}

// mover is one plan of moves in the making.
type mover struct {
	c    *Cluster
	set  MoveSettings
	out  *Moves
	m    *model // of the cluster once what is under way has arrived
	r    *room  // the same, with VMs that wait started, and what was planned so far
	now  *room  // as it is: what is under way, or was begun, takes room on both hosts
	from []int32
	busy []int             // moves under way by host
	way  map[string]string // VM that is on its way → the host that it leaves
	held []string          // VM → why no move of it may begin now
	work int
}

func newMover(c *Cluster, s MoveSettings, out *Moves) *mover {
	s.PerHost = max(1, s.PerHost)
	settled := *c
	settled.Hosts, settled.VMs = slices.Clone(c.Hosts), slices.Clone(c.VMs)
	for i := range settled.Hosts {
		if h := &settled.Hosts[i]; h.Failover && h.State == Up {
			h.State, h.Why = Closed, "it is kept for failures of other hosts"
		}
	}
	there := map[string]bool{}
	for _, h := range c.Hosts {
		there[h.Name] = h.State != Down
	}
	way := map[string]string{}
	for i := range settled.VMs {
		v := &settled.VMs[i]
		if v.Status == Running && v.Moving != "" && v.Moving != v.Host {
			way[v.Name] = v.Host
			if there[v.Moving] {
				v.From, v.Host = v.Host, v.Moving
			}
			v.Moving = ""
		}
	}
	m := newModel(&settled)
	k := &mover{
		c:    c,
		set:  s,
		out:  out,
		m:    m,
		r:    newRoom(m),
		busy: make([]int, len(m.hosts)),
		held: make([]string, len(m.vms)),
		way:  way,
		work: c.Policy.planWork(),
	}
	m.decide(k.r, Question{}, false, &k.work)
	k.now, k.from = k.r.clone(), slices.Clone(k.r.at)
	m.fixed, m.came, m.moved = make([]bool, len(m.vms)), make([]int32, len(m.vms)), make([]int64, len(m.vms))
	need := make([]int64, len(m.dims))
	k.r.leaving = m.none()
	for h, host := range m.hosts {
		if host.State == Maintenance {
			k.r.leaving.set(int32(h))
		}
	}
	for v, vm := range m.vms {
		m.came[v], m.moved[v] = m.hostOr(vm.From), vm.Moved.UnixMilli()
		m.fixed[v] = k.stuck(int32(v)) != "" || !vm.Live || vm.Held != ""
		k.held[v] = vm.Held
		at, onWay := way[vm.Name]
		if !onWay {
			continue
		}
		m.fixed[v], m.moved[v], k.held[v] = true, math.MaxInt64, "it is on its way"
		if h := m.hostOr(at); h >= 0 && k.r.at[v] >= 0 {
			k.busy[h]++
			if h != k.r.at[v] {
				k.busy[k.r.at[v]]++
				k.now.count(int32(v), h, 1, need)
			}
		}
	}
	return k
}

// stuck says why a VM moves at no time, whatever the settings are.
func (k *mover) stuck(v int32) string {
	vm := k.m.vms[v]
	switch {
	case vm.Class == Unprotected:
		return "it is not protected: move or stop it by hand"
	case len(vm.Bound) > 0:
		return "it cannot leave: " + strings.Join(vm.Bound, "; ")
	}
	return ""
}

// mend moves what rules want elsewhere.
func (k *mover) mend() {
	p := &Plan{}
	k.r.mendMusts(p, true)
	p.Decisions = slices.DeleteFunc(p.Decisions, func(d Decision) bool {
		v := k.m.vmByID[d.VM]
		crew := k.r.crew(v)
		if d.Action != StayPut {
			return false
		}
		return !k.r.clashing(v) && !k.r.misplaced(crew) && !k.r.split(crew) // another has moved
	})
	k.settle(p, Mend)
}

// back takes VMs to where their rules prefer them, and to where they had to leave.
func (k *mover) back() {
	p := &Plan{}
	before := k.r.clone()
	k.r.goBack(p, true)
	k.r.goHome(p)
	p.Decisions = slices.DeleteFunc(p.Decisions, func(d Decision) bool { return d.Action != Move })
	if len(p.Decisions) == 0 {
		return
	}
	if why := k.weakens(p.Decisions); why != "" {
		// One after the other: those that leave the room for failures that there is.
		k.r = before
		need := make([]int64, len(k.m.dims))
		var kept []Decision
		for _, b := range k.bundles(p.Decisions) {
			if k.weakens(append(slices.Clone(kept), b...)) != "" {
				continue
			}
			kept = append(kept, b...)
			for _, d := range b {
				v := k.m.vmByID[d.VM]
				k.r.leave(v, need)
				k.r.enter(v, k.m.hostByID[d.To], need)
			}
		}
		p.Decisions = kept
	}
	k.settle(p, Failback)
}

// weakens says why moves that nothing forces would cost the room for failures that is there;
// empty: they do not.
func (k *mover) weakens(moves []Decision) string {
	a := k.c.Policy.Admission
	if a.Mode == Off || a.Kind != ByPlacement && a.Kind != "" || a.Failures < 1 {
		return ""
	}
	to := map[string]string{}
	for _, d := range moves {
		to[d.VM] = d.To
	}
	now, then := *k.c, *k.c
	now.VMs, then.VMs = slices.Clone(k.c.VMs), slices.Clone(k.c.VMs)
	for i := range now.VMs {
		for _, v := range []*VM{&now.VMs[i], &then.VMs[i]} {
			if v.Status == Running && v.Moving != "" {
				v.Host, v.Moving = v.Moving, ""
			}
		}
		if h := to[then.VMs[i].Name]; h != "" {
			then.VMs[i].Host = h
		}
	}
	f := Failures{N: a.Failures, Domains: a.Domains, Succession: a.Succession}
	work := k.c.Policy.planWork()
	if t := newModel(&then).tolerate(f, &work); t.Answer != Yes && newModel(&now).tolerate(f, &work).Answer == Yes {
		return t.Why
	}
	return ""
}

// settle sorts what was decided into what begins now, what waits, and what stays.
func (k *mover) settle(p *Plan, cause Cause) {
	p.Decisions = slices.DeleteFunc(p.Decisions, func(d Decision) bool { // one that waits is started with its mates, not moved
		return k.m.vms[k.m.vmByID[d.VM]].Status != Running
	})
	for _, d := range p.Decisions {
		if d.Action == Move { // decided: nothing that comes after it moves it again
			k.m.fixed[k.m.vmByID[d.VM]] = true
		} else if !slices.ContainsFunc(k.out.Stay, func(s Stay) bool { return s.VM == d.VM }) {
			k.out.Stay = append(k.out.Stay, Stay{VM: d.VM, Host: d.From, Cause: cause, Why: d.Why, Hosts: d.Hosts})
		}
	}
	for _, b := range k.bundles(p.Decisions) {
		k.begin(b, cause)
	}
}

// bundles puts together the moves of VMs that must be together.
func (k *mover) bundles(all []Decision) (out [][]Decision) {
	done := map[int32]bool{}
	for _, d := range all {
		v := k.m.vmByID[d.VM]
		if d.Action != Move || done[v] {
			continue
		}
		b := []Decision{d}
		done[v] = true
		for _, e := range all {
			if w := k.m.vmByID[e.VM]; e.Action == Move && !done[w] && slices.Contains(k.m.mates[v], w) {
				b = append(b, e)
				done[w] = true
			}
		}
		out = append(out, b)
	}
	return out
}

// begin begins a bundle, or as much of it as can be, or says what it waits for. VMs that
// are together now leave together, as far as the bound lets them.
func (k *mover) begin(b []Decision, cause Cause) {
	vms := make([]int32, len(b))
	for i, d := range b {
		vms[i] = k.m.vmByID[d.VM]
	}
	whole := !k.torn(vms[0])
	waits := make([]string, len(b))
	for i, v := range vms {
		if waits[i] = k.held[v]; waits[i] != "" && whole {
			k.later(b, cause, b[i].VM+": "+waits[i])
			return
		}
	}
	need := make([]int64, len(k.m.dims))
	booked := 0
	for i, v := range vms {
		to := k.m.hostByID[b[i].To]
		if waits[i] != "" {
			continue
		}
		if waits[i] = k.noRoom(v, to, need); waits[i] == "" {
			k.now.count(v, to, 1, need)
			booked++
			continue
		}
		if whole {
			for j := range i {
				k.now.count(vms[j], k.m.hostByID[b[j].To], -1, need)
			}
			k.later(b, cause, b[i].VM+": "+waits[i])
			return
		}
	}
	together := whole && booked <= k.set.PerHost
	for i, v := range vms {
		from, to := k.from[v], k.m.hostByID[b[i].To]
		n := 1
		if together {
			n = booked - i
		}
		if waits[i] == "" {
			for _, h := range []int32{from, to} {
				if k.busy[h]+n > k.set.PerHost {
					waits[i] = fmt.Sprintf("%d moves from or to %s are under way, and no more than %d at once are allowed",
						k.busy[h], k.m.hosts[h].Name, k.set.PerHost)
				}
			}
		}
		if waits[i] != "" {
			if together { // it is their turn as soon as there is room for all
				k.busy[from], k.busy[to] = max(k.busy[from], k.set.PerHost), max(k.busy[to], k.set.PerHost)
			}
			k.later(b[i:i+1], cause, waits[i])
			continue
		}
		k.busy[from]++
		k.busy[to]++
		k.out.Begin = append(k.out.Begin, k.relocation(b[i], cause))
	}
}

// torn reports whether a VM must be with others, and they are not all on one host now.
func (k *mover) torn(v int32) bool {
	for _, x := range k.m.mates[v] {
		if k.from[x] >= 0 && (k.from[x] != k.from[v] || k.held[x] != "" && k.m.vms[x].Held == "") {
			return true
		}
	}
	return false
}

// noRoom says why a VM cannot run on a host as things are now, beside itself where it is.
func (k *mover) noRoom(v, to int32, need []int64) string {
	need = k.m.demand(v, need)
	for i, n := range need {
		if have := k.now.free[int(to)*len(need)+i]; n > 0 && n > have {
			c := Considered{Host: k.m.hosts[to].Name, Need: n, Have: have, What: k.m.dims[i].name, Excluded: k.m.dims[i].reason}
			return c.String() + ", until others have left"
		}
	}
	if e := k.beside(k.now, v, to); e >= 0 {
		return fmt.Sprintf("a VM that it must be apart from (rule %s) has not left %s yet", k.m.exclusive[e].rule.Name, k.m.hosts[to].Name)
	}
	return ""
}

// beside is a rule by which a VM must not be on a host yet; -1: there is none.
func (k *mover) beside(r *room, v, to int32) int32 {
	for _, e := range k.m.apart[v] {
		there := int(r.occ[k.m.scope(e, to)])
		if k.m.scope(e, to) == k.m.scope(e, k.from[v]) {
			there-- // itself
		}
		if there > 0 {
			return e
		}
	}
	return -1
}

func (k *mover) later(b []Decision, cause Cause, waits string) {
	for _, d := range b {
		l := k.relocation(d, cause)
		l.Waits = waits
		k.out.Later = append(k.out.Later, l)
	}
}

// relocation puts a decision into words. What has to leave its host in any case leaves it for
// that, whatever rule is mended by the same move.
func (k *mover) relocation(d Decision, cause Cause) Relocation {
	if h, known := k.m.hostByID[d.From]; known && k.m.hosts[h].State == Maintenance {
		cause = Evacuate
	}
	why := map[Cause]string{
		Evacuate: d.From + " is in maintenance", Mend: "a rule is broken where it is",
		Failback: d.To + " is preferred", Wish: "a rule is not kept", Even: "load is uneven",
	}[cause]
	if cause == Mend {
		if rule := k.brokenBy(k.m.vmByID[d.VM]); rule != "" {
			why = "rule " + rule + " is broken where it is"
		}
	}
	if vm := k.m.vms[k.m.vmByID[d.VM]]; cause == Failback && vm.Return == d.To {
		why = "it goes back to " + d.To + ", which it had to leave"
	}
	if d.Why != "" {
		why += "; " + d.Why
	}
	return Relocation{VM: d.VM, From: d.From, To: d.To, Cause: cause, Cold: !d.Live, Why: why, Hosts: d.Hosts}
}

// brokenBy is a rule that is a must and is broken where the VM is now.
func (k *mover) brokenBy(v int32) string {
	was := k.r.at
	k.r.at = k.from
	defer func() { k.r.at = was }()
	found := ""
	for rule, members := range k.m.members {
		if rule.Must && slices.Contains(members, v) && (found == "" || rule.Name < found) {
			if bad, _ := k.r.broken(rule); slices.Contains(bad, v) {
				found = rule.Name
			}
		}
	}
	return found
}
