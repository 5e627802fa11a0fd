package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
	"github.com/holdfast-ha/holdfast/storagehb/hbtest"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// stateCopy is one host's copy of the replicated state.
type stateCopy struct {
	state *fsm.State
	index uint64
}

// watch looks at everything at each step: it follows the cluster's history and
// holds the invariants.
type watch struct {
	w      *World
	broken []string

	newest    stateCopy                // the copy that is furthest
	sums      map[uint64]string        // of the state at an index, as the first copy had it
	from      map[uint64]string        // which host's copy that was
	last      map[string]*fsm.State    // looked at last, by host
	lastEvent uint64                   // of the history, seen
	seen      map[uint64]string        // types of events seen, by id
	dead      map[string]uint64        // newest incarnation declared dead, by host
	office    map[uint64]string        // who held each epoch
	masters   map[string]bool          // who was master at the last step
	tripped   map[*guard]time.Duration // guards seen to have acted
	runs      int                      // of the witness, looked at
	ended     map[int]bool             // runs whose end was looked at
	held      map[string]embedded.Run  // runs that go on without their agent since a restart of it, by VM
	byHand    map[string]time.Time     // when a person last started a VM on a host, by both
	theirs    map[string]bool          // double runs that people made, by UUID and moment, and the runs that made them (ownRun)
	placed    map[string]placement     // when each VM's present placement was first seen, by UUID
}

// placement is when a generation of a VM was seen to be placed, by no host's clock.
type placement struct {
	generation uint64
	seen       time.Time
}

func newWatch(w *World) *watch {
	return &watch{w: w, sums: map[uint64]string{}, from: map[uint64]string{}, last: map[string]*fsm.State{}, seen: map[uint64]string{},
		dead: map[string]uint64{}, office: map[uint64]string{}, masters: map[string]bool{}, tripped: map[*guard]time.Duration{},
		ended: map[int]bool{}, held: map[string]embedded.Run{}, byHand: map[string]time.Time{}, theirs: map[string]bool{}, placed: map[string]placement{}}
}

// step looks at everything once, while nothing moves.
func (x *watch) step() {
	synctest.Wait()
	x.w.cutMoves()
	for _, name := range x.w.order {
		x.w.machines[name].reap()
		x.w.machines[name].mindDog()
	}
	x.copies()
	x.history()
	x.offices()
	x.leases()
	x.witness()
	x.release()
	x.devices()
	for _, v := range x.w.volumes {
		for _, what := range v.disk.Violations() {
			if v.wentBack && strings.Contains(what, hbtest.OverNewest) {
				continue // which copy is the newest was for its hosts to remember
			}
			x.w.broken("heartbeat volume %s: %s", v.name, what)
		}
	}
}

// copies holds that all copies of the state are equal at equal index (I6), and
// that numbers only grow.
func (x *watch) copies() {
	for _, name := range x.w.order {
		m := x.w.machines[name]
		if m.agent == nil {
			continue
		}
		self := m.agent.agent.Self()
		x.oldDisk(m, self.Problems)
		c := stateCopy{state: m.agent.agent.State(), index: self.Applied}
		if c.state == nil || x.last[name] == c.state {
			continue
		}
		x.last[name] = c.state
		sum := sumOf(c.state)
		if x.forgot() {
			x.newest = c
			continue
		}
		if was, ok := x.sums[c.index]; ok && was != sum {
			x.w.broken("copies of the state differ at index %d: %s and %s", c.index, x.from[c.index], name)
		} else if !ok {
			x.sums[c.index], x.from[c.index] = sum, name
		}
		if c.index > x.newest.index {
			x.grows(c.state)
			x.newest = c
		}
	}
}

func sumOf(s *fsm.State) string {
	b, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(b)
	return string(sum[:])
}

// grows compares a newer state with the newest so far.
func (x *watch) grows(s *fsm.State) {
	old := x.newest.state
	if old == nil {
		return
	}
	for name, h := range s.Hosts {
		if was := old.Hosts[name]; was != nil && was.ID == h.ID && h.Incarnation < was.Incarnation {
			x.w.broken("incarnation of %s went back from %d to %d", name, was.Incarnation, h.Incarnation)
		}
		if was := old.Hosts[name]; was != nil && was.ID == h.ID && h.Incarnation > was.Incarnation {
			x.begunAnew(name, was.Incarnation, h.Since)
		}
		if h.Status == fsm.HostDead && h.Incarnation > x.dead[name] {
			x.dead[name] = h.Incarnation
			x.declaredDead(s, name, h.Incarnation)
		}
	}
	for uuid, vm := range s.VMs {
		if vm.Owner != nil && x.placed[uuid].generation != vm.Owner.Generation {
			x.placed[uuid] = placement{vm.Owner.Generation, time.Now()}
		}
		was := old.VMs[uuid]
		if was == nil {
			continue
		}
		if vm.Generation < was.Generation {
			x.w.broken("generation of %s went back from %d to %d", vm.Name, was.Generation, vm.Generation)
		}
		if vm.Owner != nil && !s.Live(vm.Owner.Host, vm.Owner.Incarnation) {
			x.w.broken("%s is owned by (%s, %d), which is not live", vm.Name, vm.Owner.Host, vm.Owner.Incarnation)
		}
	}
}

// declaredDead holds that nothing which a dead incarnation owned runs when it is
// declared dead: the wait was long enough.
func (x *watch) declaredDead(_ *fsm.State, host string, incarnation uint64) {
	old := x.newest.state
	for _, r := range x.w.disks.Running() {
		vm := old.VMs[r.UUID]
		if r.Host == host && vm != nil && vm.Owner != nil && vm.Owner.Host == host && vm.Owner.Incarnation == incarnation &&
			!x.w.machines[host].asleep && !x.exposed(r.Name) {
			x.w.broken("(%s, %d) was declared dead while %s ran there", host, incarnation, r.Name)
		}
	}
}

// clockDoubt is how old an event may be by its own date when it is first seen;
// beyond that the clock of whoever wrote it is not believed.
const clockDoubt = 5 * time.Second

// begunAnew holds that nothing which a host's earlier life owned ran there when
// its new one began, at that moment: the host has proven it (R4).
func (x *watch) begunAnew(host string, incarnation uint64, at time.Time) {
	old := x.newest.state
	until := at
	if x.wallsDiffer() { // the date is nobody's: it was between the last look and this one
		at, until = time.Now().Add(-Step), time.Now()
	}
	for _, r := range x.w.disks.Runs() {
		vm := old.VMs[r.UUID]
		if r.Host == host && r.From.Before(at) && (r.To.IsZero() || r.To.After(until)) && vm != nil && vm.Owner != nil &&
			vm.Owner.Host == host && vm.Owner.Incarnation == incarnation {
			x.w.broken("%s began a new life after incarnation %d while %s ran there", host, incarnation, r.Name)
		}
	}
}

// wallsDiffer reports whether some host's wall clock is wrong, so that no date in the
// state can be held against the time at which something was.
func (x *watch) wallsDiffer() bool {
	for _, m := range x.w.machines {
		if m.wall.Load() != 0 {
			return true
		}
	}
	return false
}

// history collects the cluster's events and holds that each is explained.
func (x *watch) history() {
	s := x.newest.state
	if s == nil {
		return
	}
	for _, e := range s.Events {
		if e.ID <= x.lastEvent {
			continue
		}
		if e.ID != x.lastEvent+1 && x.lastEvent != 0 {
			x.w.broken("event %d follows %d: history was lost", e.ID, x.lastEvent)
		}
		x.lastEvent = e.ID
		x.seen[e.ID] = e.Type
		if !scenario.KnownEvent(e.Type) {
			x.w.broken("event type %s is not in the scenario language", e.Type)
		}
		if e.Cause >= e.ID || e.Cause != 0 && x.seen[e.Cause] == "" {
			x.w.broken("event %d (%s) names %d as its cause, which is none", e.ID, e.Type, e.Cause)
		}
		if e.Type == fsm.EventVMAssigned && e.Cause == 0 {
			x.w.broken("event %d: %s was placed on %s without a cause", e.ID, e.VM, e.To)
		}
		at := e.At.Sub(x.w.start)
		if d := x.w.now() - at; (d < 0 || d > clockDoubt) && at != 0 {
			at = x.w.now() // the clock of whoever wrote it is wrong, or nobody saw it at the time
		}
		x.add(scenario.Seen{T: at, Type: e.Type, Host: e.Host, VM: e.VM, From: e.From, To: e.To, Text: e.Text})
		x.inOtherWords(e)
	}
}

// inOtherWords says what a recorded manager says as well of what has happened: that a
// VM which was moved while it ran is started, and that a host which is put back into
// service is available.
func (x *watch) inOtherWords(e fsm.Event) {
	if !x.w.s.Recorded() {
		return
	}
	switch e.Type {
	case fsm.EventVMMoved:
		if slices.ContainsFunc(x.w.disks.Running(), func(r embedded.Run) bool { return r.Name == e.VM && r.Host == e.To }) {
			x.observe("vm_started", e.To, e.VM, "")
		}
	case fsm.EventHostInService:
		x.observe("host_available", e.Host, "", "")
	}
}

// add takes an event into the outcome and the timeline.
func (x *watch) add(e scenario.Seen) {
	e.Seconds = e.T.Seconds()
	x.w.outcome.Events = append(x.w.outcome.Events, e)
	line := e.Type
	for _, f := range []struct{ name, value string }{{"host", e.Host}, {"vm", e.VM}, {"from", e.From}, {"to", e.To}} {
		if f.value != "" {
			line += " " + f.name + "=" + f.value
		}
	}
	if e.Text != "" {
		line += "  (" + e.Text + ")"
	}
	x.w.noteAt(e.T, "%s", line)
}

// observe adds an event that the simulation saw and the cluster's history does not hold.
func (x *watch) observe(kind, host, vm, text string) {
	x.add(scenario.Seen{T: x.w.now(), Type: kind, Host: host, VM: vm, Text: text, Observed: true})
}

// offices holds that an epoch has one master, and sees masters go.
func (x *watch) offices() {
	now := map[string]bool{}
	for _, name := range x.w.order {
		m := x.w.machines[name]
		if !m.answers() {
			if m.agent != nil && x.masters[name] {
				now[name] = true // frozen: it has not given up yet
			}
			continue
		}
		if s := m.agent.agent.Self(); s.IsMaster {
			now[name] = true
			if other, taken := x.office[s.Epoch]; taken && other != name {
				x.w.broken("epoch %d has two masters, %s and %s", s.Epoch, other, name)
			}
			x.office[s.Epoch] = name
		}
	}
	for _, name := range x.w.order {
		if x.masters[name] && !now[name] {
			x.observe("leader_lost", name, "", "")
		}
	}
	x.masters = now
}

// leaseGrace is how long after the end of its lease a VM may be seen: the guard's
// tick, its kill, and a little.
const leaseGrace = 2*fencing.Tick + 50*time.Millisecond

// leases holds that no protected VM runs past the lease of its host (I2), and
// sees leases end.
func (x *watch) leases() {
	for _, name := range x.w.order {
		m := x.w.machines[name]
		if !m.on {
			continue
		}
		g := m.guard.status()
		if g.Tripped != 0 && x.tripped[m.guard] != g.Tripped {
			x.tripped[m.guard] = g.Tripped
			x.observe("host_agent_lost_lease", name, "", "")
		}
	}
	s := x.newest.state
	if s == nil {
		return
	}
	for _, r := range x.w.disks.Running() {
		m, vm := x.w.machines[r.Host], s.VMs[r.UUID]
		if vm == nil || vm.Owner == nil || vm.Owner.Host != r.Host || !m.on {
			continue
		}
		now, g := m.clock.now(), m.guard.status()
		if g.Incarnation != vm.Owner.Incarnation {
			continue // an older copy's owner: the run is judged by what comes
		}
		if end := max(g.Deadline, m.woke) + m.endTakes + leaseGrace + x.stuck(m); now > end && !m.asleep && !x.exposed(r.Name) {
			x.w.broken("%s runs on %s %v after the end of its lease", vm.Name, r.Host, now-g.Deadline)
		}
	}
}

// stuck is by how much longer a VM may run whose machine's kernel hangs, or whose
// process does not end: until the watchdog has reset the machine.
func (x *watch) stuck(m *machine) time.Duration {
	switch {
	case !m.still && !m.guardStill && !m.killsFail:
		return 0
	case m.dog == nil || m.dogLost:
		return x.w.s.End() // for ever
	}
	return x.w.timing.HardEnd()
}

// exposed reports whether the scenario shows what befalls this VM where nothing
// guards its host.
func (x *watch) exposed(vm string) bool { return slices.Contains(x.w.s.Expect.Doubled, vm) }

// doubled records that a VM ran twice.
func (x *watch) doubled(vm, text string) {
	if !x.exposed(vm) {
		x.w.broken("%s", text)
		return
	}
	if !slices.Contains(x.w.outcome.Doubled, vm) {
		x.w.outcome.Doubled = append(x.w.outcome.Doubled, vm)
		x.w.note("exposed: %s", text)
	}
}

// witness looks at the runs that began or ended since the last step: that none
// was doubled, that none began without a lease, and that no VM outside
// protection was touched.
func (x *watch) witness() {
	for _, v := range x.w.disks.Violations() {
		var hosts []string
		for _, r := range v.Runs {
			if x.w.machines[r.Host].slumbered(v.At) {
				continue // it wrote nothing at that moment; see resumeHost for later ones
			}
			if x.theirs[ownRun(r)] {
				continue // people had it run twice before it was protected, and this is the second
			}
			hosts = append(hosts, fmt.Sprintf("%s since %.3fs", r.Host, r.From.Sub(x.w.start).Seconds()))
		}
		if v.Stale {
			x.w.broken("%s was let run on %s at %.3fs from memory that is older than its disk", v.Name, v.Runs[len(v.Runs)-1].Host, v.At.Sub(x.w.start).Seconds())
		}
		if theirs := v.UUID + v.At.String(); len(hosts) > 1 && (x.theirs[theirs] || x.ofPeople(v.Runs[len(v.Runs)-1])) {
			if x.theirs[theirs] {
				continue // and somebody may have it protected since
			}
			x.theirs[theirs], x.theirs[ownRun(v.Runs[len(v.Runs)-1])] = true, true
			x.w.note("%s, which is not protected, was started twice by people: on %s", v.Name, strings.Join(hosts, " and on "))
		} else if len(hosts) > 1 {
			x.doubled(v.Name, fmt.Sprintf("%s ran twice at %.3fs: on %s", v.Name, v.At.Sub(x.w.start).Seconds(), strings.Join(hosts, " and on ")))
		}
	}
	runs := x.w.disks.Runs()
	for i, r := range runs {
		if i >= x.runs {
			x.began(r)
		}
		if !r.To.IsZero() && !x.ended[i] {
			x.ended[i] = true
			x.endedRun(r)
		}
	}
	x.runs = len(runs)
}

// startedByHand notes that a person started a VM on a host at this moment.
func (x *watch) startedByHand(vm, host string) { x.byHand[vm+" "+host] = time.Now() }

// resumedByHand notes that the VM of a run goes on at this moment: if it was people's own beside
// another, it is so still.
func (x *watch) resumedByHand(r embedded.Run) {
	if x.theirs[ownRun(r)] {
		r.From = time.Now()
		x.theirs[ownRun(r)] = true
	}
}

// ofPeople reports whether a run is people's own: of a VM that is not protected at this moment,
// begun by a person. Nobody watches it then.
func (x *watch) ofPeople(r embedded.Run) bool {
	s := x.newest.state
	return s != nil && s.VMs[r.UUID] == nil && x.byHand[r.Name+" "+r.Host].Equal(r.From)
}

// ownRun names one run.
func ownRun(r embedded.Run) string { return r.UUID + " " + r.Host + r.From.String() }

func (x *watch) began(r embedded.Run) {
	x.w.noteAt(r.From.Sub(x.w.start), "disk: %s runs on %s", r.Name, r.Host)
}

func (x *watch) endedRun(r embedded.Run) {
	x.w.noteAt(r.To.Sub(x.w.start), "disk: %s ended on %s: %s", r.Name, r.Host, r.How)
	byUs := r.How == embedded.EndedKilled || r.How == embedded.EndedGuard
	if wants := x.w.people.wants[r.Name]; byUs && len(wants) == 0 && x.newest.state != nil && x.newest.state.VMs[r.UUID] == nil {
		x.w.broken("%s is not protected and was ended on %s: %s", r.Name, r.Host, r.How)
	}
	x.needless(r, byUs)
}

// needless holds that no VM is ended that nobody asked to stop and whose host
// holds its lease and owns it.
func (x *watch) needless(r embedded.Run, byUs bool) {
	s, m := x.newest.state, x.w.machines[r.Host]
	if !byUs || s == nil || !m.on {
		return
	}
	vm := s.VMs[r.UUID]
	if vm == nil || vm.Intent != fsm.IntentRun || vm.Owner == nil || vm.Owner.Host != r.Host || vm.Owner.Phase != fsm.PhaseRunning {
		return
	}
	placed := vm.Owner.At
	if p := x.placed[r.UUID]; x.wallsDiffer() && p.generation == vm.Owner.Generation {
		placed = p.seen.Add(-Step)
	}
	if placed.After(r.From) {
		return // a later placement than the one under which it ran
	}
	g := m.guard.status()
	asked := slices.ContainsFunc(x.w.people.wants[vm.Name], func(w want) bool { return !w.protected || w.intent == fsm.IntentStop })
	asked = asked || m.agent != nil && m.leaving == m.agent                     // a guest that is suspended does not obey
	asked = asked || vm.Restart != nil || vm.Move != nil && vm.Move.Cold        // and the guest did not obey
	asked = asked || bytes.Contains(x.w.s.Policy, []byte("isolation_response")) // which is somebody's wish
	if !asked && g.Incarnation == vm.Owner.Incarnation && g.Tripped == 0 && g.Deadline-m.clock.now() > x.w.timing.Lease/2 {
		x.w.broken("%s was ended on %s, which owns it and holds its lease, without anybody asking: %s", r.Name, r.Host, r.How)
	}
}

// hold notes that a VM goes on while its agent is away; release sees that a new
// agent holds the lease under which the same run still goes on.
func (x *watch) hold(r embedded.Run) {
	x.held[r.Name] = r
	x.observe("vm_held", r.Host, r.Name, "")
}

func (x *watch) release() {
	for _, name := range slices.Sorted(maps.Keys(x.held)) {
		r := x.held[name]
		m := x.w.machines[r.Host]
		if !m.answers() || m.agent.agent.Self().LeaseLeft == 0 {
			continue
		}
		delete(x.held, name)
		if slices.ContainsFunc(x.w.disks.Writers(r.UUID), func(now embedded.Run) bool { return now.Host == r.Host && now.From.Equal(r.From) }) {
			x.observe("vm_released", r.Host, name, "")
		}
	}
}
