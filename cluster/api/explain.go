package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Explanation says why something is as it is: facts and rules in order, then the
// events that led there.
type Explanation struct {
	Schema  int     `json:"schema"`
	Source  *Source `json:"source"`
	Subject string  `json:"subject"` // "vm db1", "host kvm3"
	// Headline is the answer in one sentence.
	Headline string `json:"headline"`
	Steps    []Step `json:"steps"`
	// Placed is the decision that gave a VM its host last, Going that of the move that is under
	// way; nil where nothing is kept of one.
	Placed *ChoiceView `json:"placed,omitempty"`
	Going  *ChoiceView `json:"going,omitempty"`
	// Considered are the hosts that were looked at for a VM, as the last step says; by the master only.
	Considered []whatif.Considered `json:"considered,omitempty"`
	// Now has the same hosts in lots, as of a decision; where they are too many for a line each.
	Now []LotView `json:"now,omitempty"`
	// Pools are the pools that a VM has devices of, or needs some of; by the master only.
	Pools  []PoolView  `json:"pools,omitempty"`
	Events []EventView `json:"events"` // oldest first
	Next   []string    `json:"next,omitempty"`
}

func (e *Explanation) setNote(n string) { e.Source.Note = n }

// Step is one fact, or one rule applied to the facts before it.
type Step struct {
	Kind string `json:"kind"` // StepFact or StepRule
	// Rule names the rule as in docs/safety.md, for a StepRule.
	Rule string `json:"rule,omitempty"`
	Text string `json:"text"`
	// At is when the fact became one, where that is known.
	At time.Time `json:"at,omitzero"`
}

// The kinds of steps.
const (
	StepFact = "fact"
	StepRule = "rule"
)

// explainedEvents is how many events an explanation shows at most.
const explainedEvents = 12

func (e *Explanation) fact(at time.Time, format string, args ...any) {
	e.Steps = append(e.Steps, Step{Kind: StepFact, At: at, Text: fmt.Sprintf(format, args...)})
}

func (e *Explanation) rule(name, format string, args ...any) {
	e.Steps = append(e.Steps, Step{Kind: StepRule, Rule: name, Text: fmt.Sprintf(format, args...)})
}

// ExplainVM says why a VM is where it is, or why it does not run.
func (w World) ExplainVM(name string) (*Explanation, error) {
	vm, err := findVM(w.State, name)
	if err != nil {
		v, verr := w.VM(name)
		if verr != nil {
			return nil, err
		}
		e := &Explanation{Schema: Schema, Source: w.source(), Subject: "vm " + v.Name, Events: []EventView{}}
		e.Headline = fmt.Sprintf("%s is not protected: Holdfast neither restarts nor stops it.", v.Name)
		e.fact(time.Time{}, "host %s reports it %s", v.Host, v.State)
		e.rule("protect", "only VMs that the policy protects (defaults.protect, vm blocks) or that a person protected are restarted")
		e.Next = []string{"haadm protect " + v.Name}
		return e, nil
	}
	e := &Explanation{Schema: Schema, Source: w.source(), Subject: "vm " + vm.Name}
	e.fact(vm.Since, "protected by %s", vm.By)
	e.rule("policy", "%s", w.rules(vm.Name).Text())
	e.wanted(vm)
	w.explainDisarmed(e, vm)
	w.explainPlacement(e, vm)
	if m := vm.Move; m != nil && vm.Owner != nil {
		e.fact(m.At, "on its way to %s, %s: %s", m.Host, manner(m), m.Why)
		e.rule("M1",
			"%s has it until it says that the whole of it is on %s and that nothing of it is left here; until then %s may run nothing of it",
			vm.Owner.Host, m.Host, m.Host)
	}
	if a := vm.Away; a != nil {
		why := "its host was lost, or could not start it"
		if a.Maintenance {
			why = "that was put into maintenance"
		}
		e.fact(time.Time{}, "it belongs to %s, which it had to leave: %s", a.Host, why)
	}
	for _, f := range vm.MoveFailures {
		e.fact(f.At, "a move to %s came to nothing: %s", f.Host, f.Detail)
	}
	for _, f := range vm.Failures {
		what := "start failed"
		if f.Crash {
			what = "crashed"
		}
		e.fact(f.At, "%s on %s (generation %d): %s", what, f.Host, f.Generation, f.Detail)
	}
	w.choices(e, vm)
	e.Pools = w.poolsOf(vm)
	e.Headline = w.vmHeadline(vm)
	e.Events = chain(w.State, func(ev *fsm.Event) bool { return ev.VM == vm.Name })
	e.Next = []string{"haadm events --vm " + vm.Name}
	if f := w.frozenView(vm); f != nil {
		e.Next = append(e.Next, "haadm vms retry "+vm.Name, "haadm explain host "+f.Host)
	}
	if vm.Owner != nil {
		e.Next = append(e.Next, "haadm explain host "+vm.Owner.Host)
	}
	return e, nil
}

// manner is how a VM is moved.
func manner(m *fsm.Move) string {
	if m.Cold {
		return "shut down here and started there"
	}
	return "while it runs"
}

func (e *Explanation) wanted(vm *fsm.VM) {
	if vm.Intent == fsm.IntentStop {
		e.rule("intent",
			"it was shut down by a person or from inside the guest, and that is respected: it is not restarted until somebody starts it")
		return
	}
	e.rule("intent", "it shall run: when it crashes or its host dies, it is started again")
}

func (w World) explainPlacement(e *Explanation, vm *fsm.VM) {
	o := vm.Owner
	if o == nil {
		since := vm.WaitingSince
		if g := vm.Sighting; g != nil {
			e.fact(g.At, "seen running on %s, which has not confirmed yet that it guards it (generation %d)", g.Host, g.Generation)
			e.rule("O1",
				"nobody else may be given it before %s has said what became of it: %s could lose its lease without knowing that it has to stop it",
				g.Host, g.Host)
			return
		}
		if vm.Intent == fsm.IntentStop {
			return
		}
		if since.IsZero() {
			e.fact(since, "nobody owns it")
		} else {
			e.fact(since, "it lost its owner, and has none since")
		}
		if vm.Waiting != "" || w.frozenView(vm) != nil {
			e.fact(time.Time{}, "not placed, because %s", w.waiting(vm))
		}
		w.explainUnsure(e, vm)
		if w.explainFrozen(e, vm) {
			return
		}
		e.rule("O1", "generation %d is the next: the first host with room gets it, by a committed placement, before the order to start leaves",
			vm.Generation+1)
		return
	}
	e.fact(o.At, "placed on %s (incarnation %d, generation %d): %s", o.Host, o.Incarnation, o.Generation, o.Why)
	switch o.Phase {
	case fsm.PhaseOrdered:
		e.fact(time.Time{}, "%s has the order and has not reported it running yet", o.Host)
	case fsm.PhaseRunning:
		e.fact(time.Time{}, "%s reported it running", o.Host)
	}
	if d := w.domain(o.Host, vm.UUID); d != nil {
		says, why := "says now", ""
		if h := w.State.Hosts[o.Host]; h == nil || w.hostState(h) != string(fsm.HostLive) {
			says = "last said"
		}
		if d.State != vmm.Running && d.Reason != "" {
			why = " (" + string(d.Reason) + ")"
		}
		e.fact(time.Time{}, "the hypervisor of %s %s: %s%s", o.Host, says, d.State, why)
	}
	h := w.State.Hosts[o.Host]
	if h == nil {
		return
	}
	if state := w.hostState(h); state != string(fsm.HostLive) {
		since := h.Since
		if state != string(h.Status) {
			since = time.Time{} // that is when it was committed, not when this began
		}
		e.fact(since, "host %s is %s", o.Host, state)
		e.rule("O1",
			"it is placed elsewhere only when incarnation %d of %s is dead or has released generation %d: until then it may still run there",
			o.Incarnation, o.Host, o.Generation)
		switch seen := w.Observed[o.Host]; {
		case seen.NeedsProof:
			e.rule("R9",
				"no wait ends that: %s has no watchdog that counts, so a fence device has to prove it off, or a person who has made sure says: haadm fence confirm %s",
				o.Host, o.Host)
		case seen.DeadIn > 0:
			e.fact(time.Time{}, "%s may be declared dead in %v", o.Host, seen.DeadIn.Round(100*time.Millisecond))
		}
	}
}

func (w World) vmHeadline(vm *fsm.VM) string {
	switch w.vmState(vm) {
	case VMRunning:
		if vm.Move != nil {
			return fmt.Sprintf("%s runs on %s and is on its way to %s: %s.", vm.Name, vm.Owner.Host, vm.Move.Host, vm.Move.Why)
		}
		if vm.Restart != nil {
			return fmt.Sprintf("%s is being shut down on %s, to be started again: %s.", vm.Name, vm.Owner.Host, vm.Restart.Why)
		}
		return fmt.Sprintf("%s runs on %s: %s.", vm.Name, vm.Owner.Host, vm.Owner.Why)
	case VMStarting:
		if vm.Owner.From != "" {
			return fmt.Sprintf("%s has left %s and is being let run on %s: %s.", vm.Name, vm.Owner.From, vm.Owner.Host, vm.Owner.Why)
		}
		return fmt.Sprintf("%s is being started on %s: %s.", vm.Name, vm.Owner.Host, vm.Owner.Why)
	case VMPaused:
		return fmt.Sprintf("%s is paused on %s.", vm.Name, vm.Owner.Host)
	case VMSeen:
		return fmt.Sprintf("%s runs on %s, which has not confirmed yet that it guards it.", vm.Name, vm.Sighting.Host)
	case VMStopped:
		return fmt.Sprintf("%s is stopped, because a person or the guest itself shut it down.", vm.Name)
	case VMUnknown:
		if w.masterUnknown() {
			return fmt.Sprintf("%s belongs to %s; without a master nobody can say whether it runs.", vm.Name, vm.Owner.Host)
		}
		return fmt.Sprintf("%s belongs to %s, which is not heard; it is not restarted elsewhere before %s is known to be dead.",
			vm.Name, vm.Owner.Host, vm.Owner.Host)
	}
	why := w.waiting(vm)
	if why == "" {
		why = "its placement is being decided"
	}
	return fmt.Sprintf("%s does not run and shall: %s.", vm.Name, why)
}

// ExplainHost says why a host stands as it does.
func (w World) ExplainHost(name string) (*Explanation, error) {
	h := w.State.Hosts[name]
	if h == nil {
		return nil, noHost(w.State, name)
	}
	v := w.hostView(h, w.volumes())
	e := &Explanation{Schema: Schema, Source: w.source(), Subject: "host " + name}
	e.fact(h.Since, "the cluster has committed: %s, incarnation %d", h.Status, h.Incarnation)
	for _, ev := range v.Evidence {
		e.fact(time.Time{}, "%s", evidenceText(ev))
	}
	for _, n := range v.Networks {
		if n.Age != nil {
			e.fact(time.Time{}, "last heard over %s %v ago", n.Name, n.Age.Duration().Round(10*time.Millisecond))
		} else if n.State == NetworkNever {
			e.fact(time.Time{}, "never heard over %s since the master took office", n.Name)
		}
	}
	w.storageFacts(e, h, v)
	if a := h.Aside; a != nil {
		e.fact(a.At, "it stands aside: %s", a.Why)
		e.rule("L1",
			"its data directory was restored from a backup or a snapshot, or its disk lost what it had confirmed: it has forgotten votes and placements that others count on, so it takes part in nothing and starts no VM. "+
				"Power it off or stop its VMs; once it is dead, haadm cluster leave %s; then empty its data directory and let it join anew, with a new token",
			h.Name)
	}
	w.explainStanding(e, h, v)
	w.explainService(e, h)
	w.explainShutdown(e, h)
	var owned []string
	for _, vm := range v.VMs {
		owned = append(owned, vm.Name)
	}
	if len(owned) > 0 {
		e.fact(time.Time{}, "it owns %s", strings.Join(owned, ", "))
	}
	e.Events = chain(w.State, func(ev *fsm.Event) bool { return ev.Host == name || ev.From == name })
	e.Next = []string{"haadm events --host " + name, "haadm hosts show " + name}
	return e, nil
}

// explainService says of a host that it is out of service, and of the VMs that are left there.
func (w World) explainService(e *Explanation, h *fsm.Host) {
	m := h.Maintenance
	if m == nil {
		return
	}
	text := "it is in maintenance"
	if m.By != "" {
		text += ", by " + m.By
	}
	if m.Why != "" {
		text += ": " + m.Why
	}
	e.fact(m.Since, "%s", text)
	e.rule("service", "it is given no VMs, and those that run there are moved away; what stays is watched over as on any host")
	if w.Observed == nil {
		return
	}
	left := w.running(h)
	if len(left) == 0 {
		e.fact(time.Time{}, "no VM is left there")
	}
	for _, vm := range left {
		switch {
		case vm.Move != nil:
			e.fact(vm.Move.At, "%s is on its way to %s", vm.Name, vm.Move.To)
		case vm.Blocked != "":
			e.fact(time.Time{}, "%s stays: %s", vm.Name, vm.Blocked)
		case len(vm.Failed) > 0:
			f := vm.Failed[len(vm.Failed)-1]
			next := ""
			if !vm.Again.IsZero() {
				next = fmt.Sprintf("; the next try is at %s, `haadm vms retry %s` tries at once", vm.Again.UTC().Format("15:04:05 MST"), vm.Name)
			}
			e.fact(f.At, "%s is there yet: its last move, to %s, came to nothing: %s%s", vm.Name, f.Host, f.Detail, next)
		default:
			e.fact(time.Time{}, "%s is there yet, and waits for its turn", vm.Name)
		}
	}
}

func evidenceText(ev EvidenceView) string {
	s := ev.Signal + ": " + ev.Value
	if ev.Age > 0 {
		s += fmt.Sprintf(", %v old when judged", ev.Age.Duration().Round(10*time.Millisecond))
	}
	if ev.By != "" {
		s += ", read by " + ev.By
	}
	return s
}

func (w World) explainStanding(e *Explanation, h *fsm.Host, v HostView) {
	t := w.Timing
	wait := ""
	if t.Lease > 0 {
		wait = fmt.Sprintf(" (D = %v from its last acknowledgement or the master's election, whichever is later)",
			t.Wait().Round(time.Millisecond))
	}
	switch {
	case h.Status == fsm.HostJoining:
		e.Headline = fmt.Sprintf("%s is a member, but has not begun to run VMs.", h.Name)
		e.rule("R4", "it gets its first incarnation when it has proven that none of the protected VMs runs on it")
	case h.Status == fsm.HostDead:
		e.Headline = fmt.Sprintf("%s is dead: incarnation %d is over for good, and what it owned may run elsewhere.", h.Name, h.Incarnation)
		if x := v.Shutdown; x != nil {
			e.Headline = fmt.Sprintf("%s is dead, as %s: incarnation %d is over for good.", h.Name, x.was(), h.Incarnation)
		}
		e.rule("D", "a host that is not heard is declared dead when every lease it could hold has ended%s", wait)
		e.rule("R4", "it may run VMs again only as incarnation %d, after it has proven that none of its old ones runs", h.Incarnation+1)
	case v.NeedsProof:
		e.Headline = fmt.Sprintf("%s is %s, and no wait makes it dead: nothing proves that its VMs have stopped.", h.Name, v.State)
		e.rule("R9",
			"it has said of no watchdog that resets it when its VMs outlive their lease: where its kernel hangs while they go on they would run twice. A fence device that proves it off, its return, or a person who has made sure "+
				"(haadm fence confirm %s) frees them; so does fencing.mode = \"best_effort\", which takes that risk", h.Name)
	case v.DeadIn > 0:
		e.Headline = fmt.Sprintf("%s is %s: it is not heard, and may be declared dead in %v.",
			h.Name, v.State, v.DeadIn.Duration().Round(100*time.Millisecond))
		if t.Lease > 0 {
			e.rule("N", "it is suspected after %v of silence: its heartbeats are not acknowledged any more, so its lease runs out", t.SuspectAfter())
		}
		e.rule("D", "until every lease it could hold has ended it may still run its VMs, so nothing is restarted%s", wait)
	case v.Storage != nil && v.Storage.Alone:
		e.Headline = fmt.Sprintf("%s is %s: no network brings its heartbeats, and it lives by the heartbeat volumes alone.", h.Name, v.State)
		w.storageRules(e)
	case w.masterUnknown():
		e.Headline = fmt.Sprintf("%s was live when the cluster last had a master; now nobody watches it.", h.Name)
		e.rule("N",
			"without a master no heartbeat is acknowledged: a host whose lease ends stops its protected VMs, and nobody restarts them before there is a master")
	case v.State != string(fsm.HostLive):
		e.Headline = fmt.Sprintf("%s is %s.", h.Name, v.State)
		e.rule("D", "nothing that it owns is started elsewhere while it could still hold a lease%s", wait)
	default:
		e.Headline = fmt.Sprintf("%s is live: its heartbeats are acknowledged, so it may run its VMs.", h.Name)
		if x := v.Shutdown; x != nil {
			e.Headline = fmt.Sprintf("%s is live and %s: %s.", h.Name, h.Shutdown.Going(), x.Means(false))
		}
		if h.Maintenance != nil {
			e.Headline = fmt.Sprintf("%s is live and in maintenance: it may run its VMs, and is given no others.", h.Name)
		}
		if !v.Observed && !v.Master {
			e.Headline = fmt.Sprintf("%s is live as far as %s knows; only the master watches it.", h.Name, w.Self.Name)
		}
		if t.Lease > 0 {
			e.rule("N", "each acknowledged heartbeat lets it go on for %v from the moment it was sent", t.Lease)
		}
		w.storageRules(e)
	}
}

// storageFacts are what is known of a host by the heartbeat volumes.
func (w World) storageFacts(e *Explanation, h *fsm.Host, v HostView) {
	if v.Storage == nil {
		return
	}
	for _, on := range v.Storage.On {
		if v.Storage.Alone || on.State == VolumeUnknown {
			continue // the evidence says what is read of it, and it says nothing itself
		}
		text := fmt.Sprintf("heartbeat volume %s there, by its own word: %s", on.Name, on.State)
		if on.Error != "" {
			text += ", " + on.Error
		}
		e.fact(time.Time{}, "%s", text)
	}
	if h.Status == fsm.HostLive && h.Volumes != w.State.Volumes.Revision {
		e.fact(time.Time{},
			"it has not taken up revision %d of the heartbeat volumes yet: a claim against it has to stand on enough volumes of the revision before as well",
			w.State.Volumes.Revision)
	}
	if o := w.Observed[h.Name]; h.Status == fsm.HostLive && o.Suspected && o.DeadIn == 0 && len(w.State.Volumes.Volumes) > 0 {
		takeover, _ := needs(w.State.Volumes)
		e.fact(time.Time{}, "no claim against it stands on %d of %d heartbeat volumes yet", takeover, len(w.State.Volumes.Volumes))
		e.rule("C7",
			"the wait for its death begins when one does: until then it could still prove its lease, and storage that nobody can read is no evidence of a death; a fence device or haadm fence confirm ends it without a claim")
	}
}

// storageRules are those by which a host lives on without the network.
func (w World) storageRules(e *Explanation) {
	takeover, proof := needs(w.State.Volumes)
	if takeover == 0 {
		return
	}
	n := len(w.State.Volumes.Volumes)
	e.rule("S", "a heartbeat that the master reads on a heartbeat volume, and acknowledges there, renews the lease like one over the network")
	e.rule("Q",
		"it may also go on while it reads %d of %d heartbeat volumes and no claim names it: nobody is declared dead before a claim stands on %d of %d, and one of those it would read",
		proof, n, takeover, n)
}

// chain are the newest events that match, with the causes of each, oldest first.
func chain(s *fsm.State, match func(*fsm.Event) bool) []EventView {
	events := s.Events
	byID := map[uint64]*fsm.Event{}
	for i := range events {
		byID[events[i].ID] = &events[i]
	}
	picked := map[uint64]bool{}
	for i := len(events) - 1; i >= 0 && len(picked) < explainedEvents; i-- {
		if !match(&events[i]) {
			continue
		}
		// A cause has a smaller id than its effect, so this ends.
		for e := &events[i]; e != nil && !picked[e.ID] && len(picked) < explainedEvents; e = earlier(byID, e) {
			picked[e.ID] = true
		}
	}
	out, names := []EventView{}, &slotNames{state: s}
	for id := range picked {
		out = append(out, eventView(names, byID[id]))
	}
	slices.SortFunc(out, func(a, b EventView) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out
}

func earlier(byID map[uint64]*fsm.Event, e *fsm.Event) *fsm.Event {
	if e.Cause == 0 || e.Cause >= e.ID {
		return nil
	}
	return byID[e.Cause]
}
