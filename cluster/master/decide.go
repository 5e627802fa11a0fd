package master

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/recovery"
	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/vmm"
)

// input is everything the master goes by in one round.
type input struct {
	now     time.Duration // boot clock
	wall    time.Time     // for people, and for the delays between retries
	self    string
	epoch   uint64
	elected time.Duration
	timing  lease.Timing
	grace   time.Duration // how long a host that never came is waited for after an election
	state   *fsm.State
	hosts   map[string]*observed
	policy  *config.Policy
	volumes *volumes.View
	losses  choice.Losses      // of heartbeat volumes
	news    []fsm.Event        // of heartbeat volumes
	builder *inventory.Builder // nil: a new one
	unread  bool               // the definitions of VMs are being read: nothing is planned in this round
	moves   *movePlan          // that is not spent; nil: none
	ready   map[string]recovery.Readiness
	astray  map[string]time.Duration // since when this office knows of VMs that are, by UUID
	refused map[string]bool          // VMs that admission control keeps from being protected by the policy, by UUID
	voters  []string                 // on the log; nil: not known
	arming  arming                   // when the cluster is armed by itself, if it is disarmed
}

// suspicion is a host to suspect, or to declare dead, with the command that says so.
type suspicion struct {
	host string
	cmd  fsm.Command
}

// decision is what a round comes to. Suspicions and deaths are checked once more
// when they are carried out, against what has been heard meanwhile.
type decision struct {
	suspect  []suspicion
	withdraw []suspicion
	dead     []suspicion
	fence    []string  // hosts to switch off by their devices
	stored   []string  // hosts to acknowledge by storage
	read     bool      // read the heartbeat volumes
	tables   []int     // slots whose VM tables are to be read
	awaited  []string  // hosts about which people are told that only a proof ends the wait
	heir     heir      // who should have the office in the master's place
	moved    *movePlan // what it says is in commands, or out of date
	commands []fsm.Command
	wanted   map[string][]string        // definitions to ask for, by host
	quiet    map[string]map[string]bool // networks whose silence has been told, by host
	twice    map[string]map[string]bool // VMs of others that were told to run there, by host
	broken   map[string]map[string]bool // violations that were told, by host
	late     map[string]bool            // people are told, or were, that a host's lease is renewed late; false: that it is not
	refusing map[string]time.Duration   // since when a host's own disk refuses what is written; 0: it does no more
	next     time.Duration              // look again at the latest then; 0: nothing is due
}

func (d *decision) lookAt(at time.Duration) {
	if d.next == 0 || at < d.next {
		d.next = at
	}
}

// decide is the master's office as a function: verdicts, then what hosts report,
// then what is to be protected, then what is to be started where.
func decide(in input) decision {
	d := decision{
		wanted:   map[string][]string{},
		quiet:    map[string]map[string]bool{},
		twice:    map[string]map[string]bool{},
		broken:   map[string]map[string]bool{},
		refusing: map[string]time.Duration{},
		late:     map[string]bool{},
	}
	m := fsm.Meta{At: in.wall}
	for _, h := range in.state.SortedHosts() {
		o := in.hosts[h.Name]
		if o == nil {
			continue
		}
		broken(in, m, h, o, &d)
		if h.Status != fsm.HostLive {
			continue
		}
		judge(in, m, h, o, &d)
		paths(in, m, h, o, &d)
		watchdogs(in, m, h, o, &d)
		ownDisk(in, m, h, o, &d)
		lateRenewals(in, m, h, o, &d)
		twice(in, m, h, o, &d)
		shutdowns(in, m, h, o, &d)
		reports(in, m, h, o, &d)
		givenBack(in, m, h, o, &d)
		domains(in, m, h, o, &d)
	}
	armsItself(in, m, &d)
	unprotect(in, m, &d)
	volumeSet(in, m, &d)
	d.heir = fitter(in)
	other := func(c fsm.Command) bool { _, protects := c.(*fsm.Protect); return !protects }
	if !slices.ContainsFunc(d.commands, other) { // one kind of change a round, then look again
		recover_(in, m, &d)
	}
	relocate(in, m, &d)
	if len(in.news) > 0 {
		d.commands = append(d.commands, &fsm.Record{Meta: m, Epoch: in.epoch, Events: in.news})
	}
	return d
}

// judge suspects, withdraws or declares dead (safety.md, Taking VMs over).
func judge(in input, m fsm.Meta, h *fsm.Host, o *observed, d *decision) {
	is := verdict.Assess(o.signals(in.state, h, in.volumes, in.now, in.timing, in.self))
	v, ev := is.Verdict, is.Evidence
	heard := o.watch.Suspected != 0 && o.watch.Heard > o.watch.Suspected
	if o.stored.due && o.watch.Suspected == 0 && !o.condemned {
		d.stored = append(d.stored, h.Name)
	}
	switch {
	case o.condemned:
	case heard:
		d.withdraw = append(d.withdraw, suspicion{h.Name, &fsm.SetVerdict{Meta: m, Epoch: in.epoch, Host: h.Name, Incarnation: h.Incarnation,
			Verdict: string(verdict.Live), Evidence: ev, Text: h.Name + " is heard again"}})
	case o.watch.Suspected == 0 && o.watch.Silent(in.now, in.timing):
		bound := o.watch.Heard + in.timing.SuspectAfter()
		if !readSince(in.volumes, sets(in.state, h), bound) && in.now < bound+in.timing.Heartbeat/2 {
			d.read = true // it may have written a heartbeat that nobody has read yet
			d.lookAt(bound + in.timing.Heartbeat/2)
			return
		}
		w := o.watch
		w.Suspected, w.Claimed = in.now, in.now // as soon as it is written
		at, _ := w.DeadAt(in.timing)
		then := fmt.Sprintf("it is dead in %v", (at - in.now).Round(10*time.Millisecond))
		if !outlasted(in.policy, h, o) {
			then = "a fence device or a person has to prove it off, for it has no watchdog that counts"
		}
		d.suspect = append(d.suspect, suspicion{h.Name, &fsm.SetVerdict{Meta: m, Epoch: in.epoch, Host: h.Name, Incarnation: h.Incarnation,
			Verdict: string(verdict.Suspect), Evidence: ev,
			Text: fmt.Sprintf("%s has not been heard for %v (the bound is %v); its lease is not renewed any more, and if it stays silent %s",
				h.Name, (in.now - o.watch.Heard).Round(time.Millisecond), in.timing.SuspectAfter(), then)}})
	case o.watch.Suspected == 0:
		d.lookAt(o.watch.Heard + in.timing.SuspectAfter())
		if h.Verdict == string(verdict.Suspect) && v == verdict.Live && o.heard() { // an earlier master's suspicion
			d.withdraw = append(d.withdraw, suspicion{h.Name, &fsm.SetVerdict{Meta: m, Epoch: in.epoch, Host: h.Name, Incarnation: h.Incarnation,
				Verdict: string(verdict.Live), Evidence: ev, Text: h.Name + " is heard by the new master"}})
		} else if string(v) != h.Verdict &&
			(v == verdict.Live || aliveOnStorage(v) && in.now-o.reachedAt > 2*in.timing.SuspectAfter()) && o.heard() {
			d.commands = append(d.commands, &fsm.SetVerdict{Meta: m, Epoch: in.epoch, Host: h.Name, Incarnation: h.Incarnation,
				Verdict: string(v), Evidence: ev, Text: h.Name + " " + is.Text})
		}
	default:
		at, ok := o.watch.DeadAt(in.timing)
		if off, proven := o.drained(in.timing); proven && (off < at || !ok || !outlasted(in.policy, h, o)) {
			if in.now < off {
				d.lookAt(off)
				return
			}
			d.dead = append(d.dead, suspicion{h.Name, provenOff(in, m, h, o, ev)})
			return
		}
		if !ok || in.now < at {
			if ok {
				d.lookAt(at)
			}
			fence(in, h, o, d)
			return
		}
		if !outlasted(in.policy, h, o) {
			awaitProof(in, m, h, o, d)
			fence(in, h, o, d)
			return
		}
		if o.watch.Claims && !o.confirmed {
			d.read = true // the claim has to be found on the volumes once more
			d.lookAt(in.now + in.timing.Heartbeat/4)
			return
		}
		d.dead = append(d.dead, suspicion{h.Name, &fsm.DeclareDead{Meta: m, Epoch: in.epoch,
			Host: h.Name, Incarnation: h.Incarnation, Heard: in.wall.Add(o.watch.Heard - in.now), Evidence: ev,
			Text: fmt.Sprintf("%s is dead: silent for %v, and its last lease ended for certain %v after it could have been granted",
				h.Name, (in.now - o.watch.Heard).Round(time.Millisecond), in.timing.Wait().Round(time.Millisecond))}})
	}
}

// aliveOnStorage are the verdicts about a host that the network does not bring and
// that lives by its storage.
func aliveOnStorage(v verdict.Verdict) bool {
	return v == verdict.Isolated || v == verdict.Partitioned || v == verdict.AgentDown
}

// paths tells people when one of several HA networks to a host falls silent, or is back.
func paths(in input, m fsm.Meta, h *fsm.Host, o *observed, d *decision) {
	told := map[string]bool{}
	s := o.signals(in.state, h, in.volumes, in.now, in.timing, in.self)
	if h.Name == in.self || s.Heard > s.Bound || !o.reached(in.now, in.timing) {
		d.quiet[h.Name] = o.quiet // the master does not send to itself; a silent host is not a silent path
		return
	}
	for n, age := range s.Networks {
		if age < 0 {
			s.Networks[n] = in.now - in.elected
		}
	}
	var events []fsm.Event
	for _, n := range verdict.Quiet(s) {
		told[n] = true
		if !o.quiet[n] {
			events = append(events, fsm.Event{Type: "network_path_lost", Severity: fsm.Warning, Host: h.Name,
				Text: fmt.Sprintf("no heartbeat of %s over network %s for %v; it is heard over another, so nothing else changes",
					h.Name, n, s.Networks[n].Round(time.Millisecond))})
		}
	}
	for n := range o.quiet {
		if !told[n] {
			events = append(events, fsm.Event{Type: "network_path_restored", Host: h.Name,
				Text: fmt.Sprintf("heartbeats of %s arrive over network %s again", h.Name, n)})
		}
	}
	slices.SortFunc(events, func(a, b fsm.Event) int { return compare(a.Text, b.Text) })
	d.quiet[h.Name] = told
	if len(events) > 0 {
		d.commands = append(d.commands, &fsm.Record{Meta: m, Epoch: in.epoch, Events: events})
	}
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// reports turns what a host says became of its VMs into commands, until the state has it.
func reports(in input, m fsm.Meta, h *fsm.Host, o *observed, d *decision) {
	r := o.present()
	if r == nil {
		return
	}
	for _, x := range r.Outcomes {
		vm := in.state.VMs[x.UUID]
		if vm == nil || !expects(vm, h, x) {
			continue
		}
		cmd := &fsm.Report{Meta: m, Epoch: in.epoch, UUID: x.UUID, Host: h.Name, Incarnation: h.Incarnation,
			Generation: x.Generation, Outcome: fsm.Outcome(x.Outcome), Detail: x.Detail, Move: x.Move}
		d.report(in, m, vm, cmd)
	}
}

// report proposes what became of a VM, and what the policy makes of a crash.
func (d *decision) report(in input, m fsm.Meta, vm *fsm.VM, cmd *fsm.Report) {
	d.commands = append(d.commands, cmd)
	if cmd.Outcome == fsm.OutcomeCrashed && in.policy.VM(vm.Name).OnCrash == config.CrashLeave {
		d.commands = append(d.commands, &fsm.SetIntent{Meta: m, UUID: vm.UUID, Intent: fsm.IntentStop,
			Why: `it crashed, and the policy says on_crash = "leave"`})
	}
}

// givenBack takes the VMs that a host gives back by its VM table on the heartbeat volumes, while
// the network does not bring it: those that it stopped because it was isolated, and those that ended
// by themselves. Nothing of them runs there any more, nor will in that generation.
func givenBack(in input, m fsm.Meta, h *fsm.Host, o *observed, d *decision) {
	b := o.stored.beat
	if o.stored.at == 0 || b.Incarnation != h.Incarnation || b.TableSeq == 0 || o.reached(in.now, in.timing) {
		return
	}
	t := in.volumes.Tables[volumes.Slot(h)]
	if want := (format.Stamp{Life: b.Incarnation, Run: b.Run, Seq: b.TableSeq}); t.Stamp().Compare(want) < 0 {
		d.tables = append(d.tables, volumes.Slot(h))
	}
	if t.Incarnation != h.Incarnation {
		return
	}
	for _, x := range t.VMs {
		vm := in.state.VMs[x.UUID.String()]
		is, why := fsm.OutcomeReleased, "was stopped because its host was isolated"
		if x.State == format.VMCrashed {
			is, why = fsm.OutcomeCrashed, "ended without anybody asking"
		}
		ended := x.State == format.VMStoppedIsolated || x.State == format.VMCrashed
		if vm == nil || !ended || !expects(vm, h, api.OutcomeReport{UUID: vm.UUID, Generation: x.Generation, Outcome: string(is)}) {
			continue
		}
		d.report(in, m, vm, &fsm.Report{Meta: m, Epoch: in.epoch, UUID: vm.UUID, Host: h.Name, Incarnation: h.Incarnation,
			Generation: x.Generation, Outcome: is, Detail: fmt.Sprintf("%s %s (read on a heartbeat volume)", vm.Name, why)})
	}
}

// expects reports whether the state still waits for this outcome.
func expects(vm *fsm.VM, h *fsm.Host, x api.OutcomeReport) bool {
	if g := vm.Sighting; g != nil && g.Host == h.Name && g.Generation == x.Generation {
		return true
	}
	o := vm.Owner
	if x.Outcome == string(fsm.OutcomeMoveFailed) && (vm.Move == nil || vm.Move.ID != x.Move) {
		return false
	}
	return o != nil && o.Host == h.Name && o.Incarnation == h.Incarnation && o.Generation == x.Generation &&
		(x.Outcome != string(fsm.OutcomeRunning) || o.Phase != fsm.PhaseRunning)
}

// domains looks through a host's list: VMs that the policy protects, VMs that a
// person started by hand, definitions that have changed.
func domains(in input, m fsm.Meta, h *fsm.Host, o *observed, d *decision) {
	r := o.present()
	if r == nil || r.HypervisorError != "" || !o.reached(in.now, in.timing) {
		return // an old list says nothing of what runs there now
	}
	for _, x := range r.Domains {
		vm := in.state.VMs[x.UUID]
		runs := x.State != vmm.Stopped
		switch {
		case x.Waits(): // it runs where it comes from, or has been given up
		case vm == nil:
			p := in.policy.VM(x.Name)
			if p.Protect && !in.refused[x.UUID] && (x.Persistent || runs) &&
				in.state.FindVM(x.Name) == nil && !runsElsewhere(in, h.Name, x.UUID, runs) {
				d.protect(in, m, h, o, x, byPolicy+p.Why)
			}
		case vm.Owner == nil && vm.Sighting == nil && x.State == vmm.Running:
			d.commands = append(d.commands, &fsm.Adopt{Meta: m, Epoch: in.epoch, UUID: x.UUID,
				Previous: vm.Generation, Host: h.Name, Incarnation: h.Incarnation})
		case defines(vm, h.Name) && x.XMLHash != "" && (x.XMLHash != vm.XMLHash || exchanged(vm, h.Name, x)):
			if xml, ok := o.defs[x.UUID]; ok {
				if cmd := redefineCommand(in.epoch, m, h, x, xml); cmd != nil {
					d.commands = append(d.commands, cmd)
				}
			} else {
				d.wanted[h.Name] = append(d.wanted[h.Name], x.UUID)
			}
		}
	}
}

// defines reports whether a host's definition of the VM is the one that counts: where it
// runs, or, of one that shall and does not, at home. Others may have older ones.
func defines(vm *fsm.VM, host string) bool {
	if vm.Owner == nil {
		return vm.Sighting == nil && vm.Intent == fsm.IntentRun && vm.Home == host
	}
	return vm.Owner.Host == host && vm.Owner.Phase == fsm.PhaseRunning
}

// runsElsewhere reports whether the domain is better protected where another
// host has it: where it runs, else on the first host by name.
func runsElsewhere(in input, host, uuid string, runsHere bool) bool {
	for name, o := range in.hosts {
		r := o.present()
		if name == host || r == nil {
			continue
		}
		for _, x := range r.Domains {
			if x.UUID == uuid && !x.Waits() && (x.State != vmm.Stopped && !runsHere || x.State == vmm.Stopped && !runsHere && name < host) {
				return true
			}
		}
	}
	return false
}

// protect proposes to protect a domain of a host once its definition has come.
func (d *decision) protect(in input, m fsm.Meta, h *fsm.Host, o *observed, x api.DomainReport, by string) {
	if unheardOf(in.state, in.hosts, x, h.Name, in.now, in.timing) != "" {
		return
	}
	xml, ok := o.defs[x.UUID]
	if !ok {
		d.wanted[h.Name] = append(d.wanted[h.Name], x.UUID)
		return
	}
	cmd, err := protectCommand(in.epoch, m, h, x, xml, by)
	if err == nil {
		d.commands = append(d.commands, cmd)
	}
}

func protectCommand(epoch uint64, m fsm.Meta, h *fsm.Host, x api.DomainReport, xml, by string) (*fsm.Protect, error) {
	packed, err := fsm.PackXML(xml)
	if err != nil {
		return nil, err
	}
	m.By = by
	vm := fsm.VM{
		UUID:    x.UUID,
		Name:    x.Name,
		XML:     packed,
		XMLHash: x.XMLHash,
		VCPUs:   x.VCPUs,
		Memory:  x.Memory,
		Devices: devicesOf(x, xml),
		Intent:  fsm.IntentStop,
	}
	if vm.Devices != nil {
		vm.DevicesOf = h.Name
	}
	return &fsm.Protect{Meta: m, Epoch: epoch, VM: vm, Running: x.State != vmm.Stopped, Host: h.Name, Incarnation: h.Incarnation}, nil
}

// byPolicy begins the name of who protects a VM when that is the policy.
const byPolicy = "policy: "

// unprotect lets go of VMs that the policy protected and does not any more.
func unprotect(in input, m fsm.Meta, d *decision) {
	for _, vm := range in.state.SortedVMs() {
		if strings.HasPrefix(vm.By, byPolicy) && !in.policy.VM(vm.Name).Protect {
			m.By = "policy"
			d.commands = append(d.commands, &fsm.Unprotect{Meta: m, UUID: vm.UUID})
		}
	}
}
