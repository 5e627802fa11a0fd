// Package recovery decides what to start next and where: every protected VM that
// shall run and that nobody owns. The planner (cluster/placement) finds the hosts;
// this package says whose turn it is, by the policy: the schedule of tries, what
// starts after what, how many starts are under way at once. It is pure, and goes by
// the replicated state and the hosts' reports alone, so that a new master goes on
// where the last one was.
package recovery

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// Host is a host as the master judges it now.
type Host struct {
	inventory.Host
	Incarnation uint64
	// Awaited is a host that has never begun an incarnation or is just coming
	// back: a VM at home there waits for it.
	Awaited bool
}

// Readiness is what the host of a VM that runs says of its group's ready_when block.
type Readiness struct {
	Ready bool
	// Since is since when the master has known that it is.
	Since time.Time
}

// Input is everything a round goes by.
type Input struct {
	State  *fsm.State
	Policy *config.Policy
	Hosts  []Host
	// Ready is what hosts say of VMs that run, by UUID. A VM that is not in it is ready
	// once it runs, unless its group's ready_when asks for more.
	Ready map[string]Readiness
	// Unsure are VMs, by UUID, that may run where nobody has told of yet, with the hosts that
	// have yet to be heard: they are given to nobody (O5).
	Unsure map[string][]string
	Now    time.Time // wall clock, for delays and time-outs of starts only
	// Builder reads definitions; nil: a new one.
	Builder *inventory.Builder
}

// Step is one thing to do about a VM that nobody owns: an order, or the reason
// why there is none.
type Step struct {
	VM          *fsm.VM
	Host        string // empty: no order
	Incarnation uint64
	Round       int // of the order, from 1
	// Why is for people: of an order why there, else what it waits for. Empty: nothing new.
	Why string
	// For is what it waits for.
	For fsm.Wait
	// Considered is what the planner said of every host, of an order and where no host can take it.
	Considered []placement.Considered
	// Retry is when to look at it again; zero when only a change can help.
	Retry time.Time
}

// planWork bounds the search of one plan: the office waits for it.
const planWork = 16_000_000

// Plan returns a step for each VM that shall run and that nobody owns, in the
// order in which they are to be started. The same input gives the same plan.
func Plan(in Input) []Step {
	waiting := map[string]*fsm.VM{}
	for uuid, vm := range in.State.VMs {
		if vm.Intent == fsm.IntentRun && vm.Owner == nil && vm.Sighting == nil {
			waiting[uuid] = vm
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	p := &planner{Input: in, hosts: map[string]*Host{}, waiting: waiting, groups: map[string]*config.Group{}, over: map[string]bool{}}
	for i := range in.Hosts {
		p.hosts[in.Hosts[i].Name] = &in.Hosts[i]
	}
	p.look()
	p.readGroups()
	steps := append(p.awaitHomes(), p.awaitFrozen()...)
	for {
		decided := placement.Decide(p.inv.Cluster, placement.Question{}).Decisions
		if p.openStandby(decided) {
			continue
		}
		now, left := p.steps(decided)
		if len(left) == 0 {
			return append(steps, now...)
		}
		// What is given up takes no room from the others.
		for _, s := range left {
			p.drop(s.VM)
			p.over[s.VM.UUID] = true
		}
		p.waves, p.gates = nil, map[string]*gate{}
		steps = append(steps, left...)
	}
}

// planner is one plan in the making.
type planner struct {
	Input
	hosts   map[string]*Host
	seen    inventory.Input
	inv     *inventory.Inventory // of what was seen
	at      map[string]int       // index in the picture, by UUID
	waiting map[string]*fsm.VM   // that are not settled yet, by UUID
	// groups are those of the policy, members their protected VMs, both by name.
	groups  map[string]*config.Group
	members map[string][]*fsm.VM
	within  map[string]*config.Group // by UUID
	gates   map[string]*gate         // by group
	// waves are of the levels that there are, and lifts the levels that groups must wait for,
	// by name; over are VMs that are given up, by UUID.
	waves map[level]wave
	lifts map[string]*level
	over  map[string]bool
	// closed are VMs that are kept from standby hosts, by their names in the picture.
	closed map[string]bool
}

// look makes the picture that the planner goes by.
func (p *planner) look() {
	b := p.Builder
	if b == nil {
		b = &inventory.Builder{}
	}
	p.seen = inventory.Input{State: p.State, Policy: p.Policy, Now: p.Now}
	for i := range p.Hosts {
		p.seen.Hosts = append(p.seen.Hosts, p.Hosts[i].Host)
	}
	p.inv = b.Build(p.seen)
	p.inv.Cluster.Policy.Work = planWork
	p.at = map[string]int{}
	for i := range p.inv.Cluster.VMs {
		v := &p.inv.Cluster.VMs[i]
		if uuid := p.inv.UUIDs[v.Name]; p.inv.Names[uuid] == v.Name {
			p.at[uuid] = i
		}
	}
	p.keepStandby()
}

func (p *planner) picture(vm *fsm.VM) *placement.VM { return &p.inv.Cluster.VMs[p.at[vm.UUID]] }

// drop leaves a VM out of what is planned for.
func (p *planner) drop(vm *fsm.VM) {
	p.picture(vm).Status = placement.Stopped
	delete(p.waiting, vm.UUID)
}

// awaitHomes has VMs wait whose home is expected.
func (p *planner) awaitHomes() (steps []Step) {
	for _, vm := range p.State.SortedVMs() {
		if h := p.hosts[vm.Home]; p.waiting[vm.UUID] != nil && h != nil && h.State != placement.Up && h.Awaited {
			steps = append(steps, Step{VM: vm, Why: fmt.Sprintf("%s, its home, is expected: %s", h.Name, h.Why), For: fsm.WaitHeld})
			p.drop(vm)
		}
	}
	return steps
}

// keepStandby keeps VMs whose home can take them from standby hosts: their host was
// not lost, and those are for VMs whose host was.
func (p *planner) keepStandby() {
	p.closed = map[string]bool{}
	standby := map[string]string{}
	for name, rule := range p.Policy.Hosts {
		if rule.Standby && p.hosts[name] != nil {
			standby[name] = "it is kept for failures of other hosts"
		}
	}
	if len(standby) == 0 {
		return
	}
	for _, vm := range p.waiting {
		h := p.hosts[vm.Home]
		if h == nil || h.State != placement.Up || standby[vm.Home] != "" || slices.Contains(p.picture(vm).Failed, vm.Home) {
			continue
		}
		v := p.picture(vm)
		barred := map[string]string{}
		for name, why := range standby {
			barred[name] = why
		}
		for name, why := range v.Barred {
			barred[name] = why
		}
		v.Barred = barred
		p.closed[v.Name] = true
	}
}

// openStandby lets VMs that would stay down go to standby hosts after all.
func (p *planner) openStandby(decided []placement.Decision) (opened bool) {
	for i := range decided {
		name := decided[i].VM
		if decided[i].Action != placement.StayDown || !p.closed[name] {
			continue
		}
		v := p.picture(p.State.VMs[p.inv.UUIDs[name]])
		kept := map[string]string{}
		for host, why := range v.Barred {
			if !p.Policy.Hosts[host].Standby {
				kept[host] = why
			}
		}
		v.Barred = kept
		delete(p.closed, name)
		opened = true
	}
	return opened
}

// steps goes through what the planner decided. left are VMs that are given up.
func (p *planner) steps(decided []placement.Decision) (now, left []Step) {
	starts := p.underWay()
	for i := range decided {
		d := &decided[i]
		vm := p.waiting[p.inv.UUIDs[d.VM]]
		if vm == nil || d.Action != placement.Start && d.Action != placement.StayDown {
			continue
		}
		s := p.step(vm, d)
		switch {
		case s.For == fsm.WaitGivenUp:
			left = append(left, s)
			continue
		case s.Host != "" && !starts.begin(s.Host, p.picture(vm).Datastores):
			s = Step{VM: vm} // once another start is through
		}
		now = append(now, s)
	}
	return now, left
}

// step is what to do about one VM now, given where it would go.
func (p *planner) step(vm *fsm.VM, d *placement.Decision) Step {
	if len(p.Unsure[vm.UUID]) > 0 {
		return Step{VM: vm, Retry: p.Now}
	}
	if at := afterCrash(vm, p.Now); p.Now.Before(at) {
		return Step{VM: vm, Retry: at}
	}
	if s, held := p.held(vm); held && !p.keptDown(vm) {
		return s
	}
	if d.Action == placement.StayDown {
		return Step{VM: vm, Why: d.Why, Considered: d.Hosts}
	}
	t := inventory.TriesOf(p.State, vm)
	round := max(1, t.Round)
	if slices.Contains(t.Failed, d.To) { // every host that can take it has failed it
		wait, more := config.RetryAfter(p.Policy.VM(vm.Name).Retries, round)
		if !more {
			return Step{VM: vm, Why: givenUp(round, t), For: fsm.WaitGivenUp}
		}
		if at := waitFrom(t.Last, wait, p.Now); p.Now.Before(at) {
			return Step{VM: vm, Retry: at}
		}
		round++
	}
	if s, held := p.heldByWave(vm); held && !p.keptDown(vm) {
		return s
	}
	if x := p.State.Disarmed; p.keptDown(vm) {
		return Step{VM: vm, Why: x.Text() + ", `haadm vms start " + vm.Name + "` starts it all the same", For: fsm.WaitHeld}
	}
	why := d.Why
	switch {
	case d.To == p.picture(vm).Kept:
		why = "it was shut down with " + d.To + ", which kept its room for it"
	case d.To == vm.Home:
		why = "its home"
	}
	if vm.Waiting != "" && !longWait(vm.Waiting) {
		why = vm.Waiting + "; " + why
	}
	return Step{VM: vm, Host: d.To, Incarnation: p.hosts[d.To].Incarnation, Round: round, Why: why, Considered: d.Hosts}
}

// longWait reports whether a reason to wait is over, and not what led to the start.
func longWait(waiting string) bool {
	for _, begins := range []string{noHost, heldBy, heldByLevel, waitsFor, fsm.DisarmedFor, "it stays down: "} {
		if strings.HasPrefix(waiting, begins) {
			return true
		}
	}
	return false
}

// noHost is how the planner begins to say that no host can take a VM.
const noHost = "no host can take it"
