package placement

import (
	"fmt"
	"slices"
	"strings"
)

// Change is what admission control is asked about.
type Change struct {
	// VM as it would be: a new one, or one that replaces the VM of its name (started,
	// protected, with more memory, arriving from elsewhere).
	VM *VM
	// Host is where it would run; empty lets Check choose.
	Host string
	// Maintenance is a host that would be taken out of service.
	Maintenance string
}

// Verdict is what admission control says to a change.
type Verdict struct {
	// Answer is Yes when the cluster keeps its room for failures with the change.
	Answer Answer
	// Refused says that the change must not be made: Answer is not Yes, and the mode is
	// Enforce; or no host could run the VM at all. ByPlacement refuses only what makes things
	// worse: where fewer failures than asked for are borne already, a change that
	// leaves as many is let through.
	Refused bool
	// Rule is what was reckoned by.
	Rule AdmissionKind
	// Host is where the VM would run, when it was not said.
	Host string
	// Why has the rule and the figures, Culprit the VM or host that they turn on.
	Why, Culprit string
	// WaysOut are changes that would be admitted, the cheapest first.
	WaysOut []string
	// Uncovered are protected VMs that no plan can restart when their host is lost, whatever is
	// free, and why: by name, whatever the rule and the mode. Check says it of the cluster as it
	// is, when it is asked about no change.
	Uncovered []Uncovered

	// The figures of the rule; the others are nil.
	Slots       *Slots
	Percentages *Percentages
	Tolerance   *Tolerance
	Failover    map[string]FailoverState

	uncovered bool // the VM that is asked about could not be restarted by any plan
	unseen    bool // the sums of the rule leave room, and what they do not see does not
}

// FailoverState is how ready a dedicated failover host is.
type FailoverState string

const (
	FailoverReady FailoverState = "green"  // up and empty
	FailoverInUse FailoverState = "yellow" // up, with VMs
	FailoverLost  FailoverState = "red"    // not up
)

// Check asks whether a change leaves the room for failures that the policy keeps.
// It is never asked about what HA itself does: restarts are not refused.
func Check(c *Cluster, ch Change) Verdict {
	work := c.Policy.work()
	v := check(c, ch, max(1, len(c.Hosts)), &work)
	if v.Refused || v.Answer != Yes && c.Policy.Admission.Mode == Warn {
		v.WaysOut = waysOut(c, ch)
	}
	if ch == (Change{}) {
		v.Uncovered = uncovered(c)
	}
	return v
}

// modelWork is what it takes to read one VM, in steps of the search.
const modelWork = 64

// check is Check without ways out. It tries so many hosts for a VM at most.
func check(c *Cluster, ch Change, tries int, work *int) Verdict {
	a := &c.Policy.Admission
	v := Verdict{Rule: a.Kind, Answer: Yes, Host: ch.Host}
	hosts := []string{ch.Host}
	if ch.VM != nil && ch.VM.Status == Running && ch.Host == "" {
		var why string
		if hosts, why = startHosts(c, ch.VM); len(hosts) == 0 {
			v.Answer, v.Refused, v.Why, v.Culprit = No, true, why, ch.VM.Name
			return v
		}
	}
	if ch.VM != nil && ch.VM.Status == Running && ch.Host != "" {
		if why := cannotStart(c, ch.VM, ch.Host); why != "" {
			v.Answer, v.Refused, v.Why, v.Culprit = No, true, why, ch.VM.Name
			return v
		}
	}
	if a.Mode == Off {
		v.Host = hosts[0]
		v.Why = "admission control is off: nothing keeps room for failures"
		return v
	}
	var first *Verdict
	for _, host := range hosts[:min(tries, len(hosts))] {
		if first != nil && *work < 0 {
			first.Answer, first.Why = Unknown, "not every host could be tried within the bound on the work; on "+first.Host+": "+first.Why
			break
		}
		after := ch.apply(c, host)
		one := Verdict{Rule: a.Kind, Host: host}
		one.reckon(after, ch, work)
		if ch.Maintenance != "" {
			one.refuseStranded(c, after, work)
		}
		if one.Answer == Yes {
			return one
		}
		if first == nil {
			first = &one
		}
		if first.Answer == No && one.Answer == Unknown {
			first.Answer = Unknown // one host more might have done
		}
		if (a.Kind == BySlots || a.Kind == ByPercentage) && !one.unseen {
			break // where it runs makes no difference to sums
		}
	}
	first.Refused = a.Mode == Enforce && !first.noWorse(c, ch, work)
	return *first
}

// noWorse reports whether the cluster bears fewer failures than asked for already,
// and would bear as many after the change.
func (v *Verdict) noWorse(c *Cluster, ch Change, work *int) bool {
	a := &c.Policy.Admission
	if v.Tolerance == nil && !v.unseen || v.uncovered || v.Answer != No || a.Failures == 0 {
		return false
	}
	before, after := newModel(c), newModel(ch.apply(c, v.Host))
	*work -= 2 * modelWork * len(c.VMs)
	f := Failures{N: a.Failures, Domains: a.Domains, Succession: a.Succession}
	if v.unseen {
		was := before.unseen(work)
		if ch.brings(c) || was == nil {
			return false
		}
		before, after, f.Succession = newModel(was), newModel(after.unseen(work)), false
	}
	for ; f.N > 0; f.N-- {
		switch before.tolerate(f, work).Answer {
		case Unknown:
			return false
		case No:
			continue
		}
		break
	}
	if f.N == a.Failures || after.tolerate(f, work).Answer != Yes {
		return false
	}
	switch {
	case ch == (Change{}): // there is no before
	case f.N == 0:
		v.Why += "; that was so before"
	default:
		v.Why += fmt.Sprintf("; that was so before: %s may fail, then as now", f)
	}
	return true
}

// reckon decides about the cluster as it would be.
func (v *Verdict) reckon(after *Cluster, ch Change, work *int) {
	a := &after.Policy.Admission
	m := newModel(after)
	*work -= modelWork * len(after.VMs)
	v.Answer = Yes
	switch a.Kind {
	case BySlots:
		s := m.slots()
		v.Slots = &s
		v.Culprit = s.Largest
		if s.Capacity < a.Failures {
			v.Answer = No
		}
		v.Why = fmt.Sprintf("%s; %d of %d host failures can be borne", s, max(0, min(s.Capacity, a.Failures)), a.Failures)
		if s.Largest != "" {
			v.Why += "; " + s.Largest + " sets the size of a slot"
		}
	case ByPercentage:
		p := m.percentages()
		v.Percentages = &p
		v.Culprit = p.Largest
		if !p.Enough() {
			v.Answer = No
		}
		v.Why = p.String()
	case ByFailoverHosts:
		v.reckonFailover(m, ch)
	default:
		t := m.tolerate(Failures{N: a.Failures, Domains: a.Domains, Succession: a.Succession}, work)
		v.Tolerance, v.Answer, v.Why = &t, t.Answer, t.Why
		switch {
		case len(t.Down) > 0:
			v.Culprit = t.Down[0]
		case len(t.Lost) > 0:
			v.Culprit = t.Lost[0]
		}
		if ch.VM != nil && slices.Contains(t.Down, ch.VM.Name) {
			v.Why += ch.VM.takes()
		}
	}
	if a.Kind.sums() {
		v.reckonUnseen(m, work)
	}
	v.refuseUncovered(m, ch, work)
}

// refuseUncovered keeps a VM from being protected that no failure plan could restart.
func (v *Verdict) refuseUncovered(m *model, ch Change, work *int) {
	if ch.VM == nil || ch.VM.Class != Protected {
		return
	}
	if ch.VM.Status != Running { // where it would run is not known, but whether it could move is
		if bound := ch.VM.Bound; len(bound) > 0 && m.c.Policy.Admission.Failures > 0 {
			v.Answer, v.Culprit, v.uncovered = No, ch.VM.Name, true
			v.Why = fmt.Sprintf("%s cannot be protected: it cannot leave %s: %s", ch.VM.Name, ch.VM.Host, strings.Join(bound, "; "))
		}
		return
	}
	for _, u := range newRoom(m).nowhere(m.c.Policy.Admission.Domains, work) {
		if u.VM == ch.VM.Name && m.c.Policy.Admission.Failures > 0 {
			v.Answer, v.Culprit, v.uncovered = No, u.VM, true
			v.Why = fmt.Sprintf("%s cannot be protected: %s", u.VM, u.Why)
			return
		}
	}
	if a := &m.c.Policy.Admission; a.Kind.sums() && a.Failures > 0 {
		if why := newRoom(m).poolsHeld(ch.VM.Name, m.c.Policy.Admission.Domains); why != "" {
			v.Answer, v.Culprit, v.uncovered = No, ch.VM.Name, true
			v.Why = fmt.Sprintf("%s cannot be protected: %s", ch.VM.Name, why)
		}
	}
}

// poolsHeld says of a VM that runs with devices of pools why it could be restarted nowhere if its
// unit was lost now; empty: on some other host as many are free, or it has none.
func (r *room) poolsHeld(name string, domains bool) string {
	m := r.m
	v := int32(slices.IndexFunc(m.vms, func(x *VM) bool { return x.Name == name }))
	if v < 0 || r.at[v] < 0 || !m.vms[v].takesExtra() {
		return ""
	}
	_, owner := r.owners(domains)
	need := m.demand(v, make([]int64, len(m.dims)))
	if !slices.ContainsFunc(m.dims, func(d dim) bool { return strings.HasPrefix(d.name, DevicePool) && m.vms[v].Extra[d.name] > 0 }) {
		return ""
	}
	var words []string
	for h := range int32(len(m.hosts)) {
		if owner[h] == owner[r.at[v]] {
			continue
		}
		c := m.able(v, h, need)
		for i, d := range m.dims {
			if at := int(h)*len(need) + i; c.Excluded == "" && strings.HasPrefix(d.name, DevicePool) && need[i] > r.free[at] {
				c.Need, c.Have, c.All, c.What = need[i], r.free[at], m.capacity[at], d.name
				c = c.no(d.reason, "")
			}
		}
		if c.Excluded == "" {
			return ""
		}
		words = append(words, c.String())
	}
	return "no other host has a device for it: " + strings.Join(few(words), "; ")
}

// refuseStranded finds VMs that some plan could restart before a host is taken out of service,
// and none afterwards. They are counted apart, and would go unseen.
func (v *Verdict) refuseStranded(c, after *Cluster, work *int) {
	a := &c.Policy.Admission
	if a.Failures == 0 {
		return
	}
	was := newRoom(newModel(c)).nowhere(a.Domains, work)
	*work -= modelWork * len(c.VMs)
	for _, u := range newRoom(newModel(after)).nowhere(a.Domains, work) {
		if slices.ContainsFunc(was, func(x Uncovered) bool { return x.VM == u.VM }) {
			continue
		}
		v.Answer, v.Culprit, v.uncovered = No, u.VM, true
		v.Why = fmt.Sprintf("no plan could restart %s any more if its host is lost: %s", u.VM, u.Why)
		return
	}
}

func (v *Verdict) reckonFailover(m *model, ch Change) {
	v.Failover = map[string]FailoverState{}
	r := newRoom(m)
	ready := 0
	for h, host := range m.hosts {
		if !host.Failover {
			continue
		}
		vms := r.vms[h]
		if ch.VM != nil && ch.VM.Status == Running && v.Host == host.Name {
			vms-- // the one that is asked about is not there yet
		}
		switch {
		case host.State != Up:
			v.Failover[host.Name] = FailoverLost
		case vms > 0:
			v.Failover[host.Name] = FailoverInUse
		default:
			v.Failover[host.Name] = FailoverReady
			ready++
		}
	}
	a := &m.c.Policy.Admission
	v.Why = fmt.Sprintf("%d of %d failover hosts are up and empty, %d are asked for", ready, len(v.Failover), a.Failures)
	if ready < a.Failures {
		v.Answer = No
	}
	if host := m.hostOr(v.Host); host >= 0 && m.hosts[host].Failover && ch.VM != nil {
		v.Answer, v.Culprit = No, v.Host
		v.Why = v.Host + " is kept for failover: only restarts after a failure go there; " + v.Why
	}
}

// apply is the cluster with the change, which is made in a copy.
func (ch Change) apply(c *Cluster, host string) *Cluster {
	after := *c
	if ch.VM != nil {
		vm := *ch.VM
		if vm.Status == Running {
			vm.Host, vm.Moving = host, ""
		}
		after.VMs = slices.Clone(c.VMs)
		if i := slices.IndexFunc(after.VMs, func(v VM) bool { return v.Name == vm.Name }); i >= 0 {
			after.VMs[i] = vm
		} else {
			after.VMs = append(after.VMs, vm)
		}
	}
	if ch.Maintenance != "" {
		after.Hosts = slices.Clone(c.Hosts)
		for i := range after.Hosts {
			if after.Hosts[i].Name == ch.Maintenance {
				after.Hosts[i].State, after.Hosts[i].Why = Maintenance, "as asked for"
			}
		}
		return emptied(&after, ch.Maintenance)
	}
	return &after
}

// emptied is the cluster once the VMs of a host have moved to where Decide would
// move them. Those that find no host stay.
func emptied(c *Cluster, host string) *Cluster {
	after := *c
	after.VMs = slices.Clone(c.VMs)
	to := map[string]string{}
	for _, d := range Decide(c, Question{Leave: []string{host}}).Decisions {
		if d.Action == Move {
			to[d.VM] = d.To
		}
	}
	for i := range after.VMs {
		if h, moves := to[after.VMs[i].Name]; moves {
			after.VMs[i].Host, after.VMs[i].Moving = h, ""
		}
	}
	return &after
}

// without is the cluster without the VM of that name.
func without(c *Cluster, name string) *Cluster {
	after := *c
	after.VMs = slices.DeleteFunc(slices.Clone(c.VMs), func(v VM) bool { return v.Name == name })
	return &after
}

// startHosts are the hosts on which a VM could be started now, the best first, or
// why there are none. Dedicated failover hosts are not among them.
func startHosts(c *Cluster, vm *VM) ([]string, string) {
	m, v, all := startable(c, vm, vm.Host)
	fit := slices.DeleteFunc(slices.Clone(all), func(h Considered) bool { return h.Excluded != "" })
	slices.SortStableFunc(fit, func(a, b Considered) int { return a.Score.better(b.Score) })
	names := make([]string, len(fit))
	for i, h := range fit {
		names[i] = h.Host
	}
	if len(names) == 0 {
		return nil, noHost(m, v, all)
	}
	return names, ""
}

// cannotStart says why a VM cannot run on that host; empty when it can.
func cannotStart(c *Cluster, vm *VM, host string) string {
	at := vm.Host
	if at == "" {
		at = host
	}
	m, _, all := startable(c, vm, at)
	h := m.hostOr(host)
	switch {
	case h < 0:
		return "there is no host " + host
	case all[h].Excluded == "" || all[h].Excluded == ForFailover:
		return ""
	}
	return all[h].String()
}

// startable looks at all hosts for a VM that last ran on host at.
func startable(c *Cluster, vm *VM, at string) (*model, int32, []Considered) {
	one := *vm
	one.Status, one.Host, one.Moving = Waiting, at, ""
	others := without(c, vm.Name)
	others.VMs = append(others.VMs, one)
	m := newModel(others)
	v := m.vmByID[vm.Name]
	all, _ := newRoom(m).explain(v, -1, nil)
	for i := range all {
		if m.hosts[i].Failover && all[i].Excluded == "" {
			all[i] = all[i].no(ForFailover, "")
		}
	}
	return m, v, all
}
