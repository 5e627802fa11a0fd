package host

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Input is everything a host goes by in one round of its duty.
type Input struct {
	Now    time.Duration // boot clock
	Self   string
	Timing lease.Timing
	Lease  lease.Lease
	// Expired says that the guard has acted: whatever Lease says, it is over.
	Expired bool
	Record  Record
	// State is this host's copy; Trusted says that it holds what the master had
	// committed when it last answered this run of the agent.
	State   *fsm.State
	Trusted bool
	// Domains is the hypervisor's present list; Listed is false when it does not answer.
	Domains []vmm.Domain
	Listed  bool
	// Busy are the VMs with a start or an ending under way, by UUID, or with one whose result has not been
	// seen yet.
	Busy map[string]bool
	// Unproven are those among them whose ending was tried and not proven: it may be tried again.
	Unproven map[string]bool
	// Killed are VMs that this agent ended itself and that have not run here since, with the reason.
	Killed map[string]string
	// Ran are the generations that this agent let run, by UUID.
	Ran map[string]uint64
	// Failed are starts that failed and are not committed yet, by UUID.
	Failed map[string]StartFailure
	// Foreign is since when a VM of another's has been seen running here under this lease, by UUID.
	Foreign map[string]time.Duration
	// Stopping is since when a VM that shall stop has been asked to, by UUID.
	Stopping map[string]time.Duration
	// Covered are the VMs whose process the guard kills, by UUID; false: the process that it knows is not
	// the present one.
	Covered map[string]bool
	// Leaving are the migrations from here that this agent waits for, and Left what became of the
	// last one that it knows the end of, by UUID.
	Leaving map[string]uint64
	Left    map[string]Left
	// Anew are the generations that were started without the memory that a move should have brought, by UUID.
	Anew map[string]uint64
	// Claimed is when a person's start of a VM here was admitted, by UUID.
	Claimed map[string]time.Duration
	// Closing says that the host is being shut down: it starts nothing any more. Draining says that it gives
	// everything back for that (givesBack).
	Closing, Draining bool
	// Bounded is false while others count on a watchdog that this host has no more (W5).
	Bounded bool
	// Alone says that no master has answered over the network for a while, and that there are
	// heartbeat volumes by which it can be told what became of VMs.
	Alone bool
	// Response is what the isolation response goes by, Policy what the policy says of a
	// VM by name, and AskedIsolated when a guest was asked to shut down for it, by UUID. Tied
	// is why no other host could take a VM, by UUID, as the master said when it was heard last.
	Response      verdict.Response
	Policy        func(vm string) verdict.ResponsePolicy
	AskedIsolated map[string]time.Duration
	Tied          map[string]string
}

// StartFailure is why a generation could not be started.
type StartFailure struct {
	Generation uint64
	Detail     string
	// Released says that nothing was tried, because the lease left too little.
	Released bool
	// Running says that it has a process already, which was not created for this generation.
	Running bool
}

// Plan is what a round comes to. Its parts are independent of one another.
type Plan struct {
	// Known is the list to remember before anything else is done.
	Known []string
	// Raise are generations to remember as executed, by UUID: the VM runs already.
	Raise map[string]uint64
	// End says that the lease is over: Kill lists what still has to go.
	End bool
	// Ended says that it is over and that none of the protected VMs runs: a new incarnation may be asked for.
	Ended bool
	// Kill are VMs to end without asking the guest, with the reason, by UUID.
	Kill map[string]string
	// Shutdown are VMs to ask to shut down.
	Shutdown []string
	// Isolate are the generations that are stopped because the host is isolated, by
	// UUID: to be remembered before. Spared are those that go on after all.
	Isolate map[string]uint64
	Spared  []string
	// Crash are generations that ended by themselves and that the VM table is to tell of, by UUID:
	// to be remembered before, for others may have them then.
	Crash map[string]uint64
	// Start are the orders to carry out.
	Start []Order
	// Ways are moves that this host begins to carry out, by UUID, to be remembered before;
	// Migrate are those of them that go live. Forget are ways that are over.
	Ways    map[string]Way
	Migrate []Departure
	Forget  []string
	// Abort are VMs whose migration from here is to be ended.
	Abort []string
	// Cover are VMs that run and that the guard does not cover yet.
	Cover []vmm.Domain
	// Uncover are VMs that the guard covers and need not.
	Uncover []string
	// AutostartOff are domains that the hypervisor must not start by itself.
	AutostartOff []string
	// Outcomes are to be reported until they are committed.
	Outcomes []api.OutcomeReport
	// Foreign and Stopping are the next round's.
	Foreign, Stopping map[string]time.Duration
}

// Order is a committed placement to carry out.
type Order struct {
	UUID       string
	Name       string
	Generation uint64
	XML        []byte // packed
	// Devices are those of this host that take the place of those in the definition; nil: none does.
	Devices []string
	Why     string
	// Copy is the process that came from another host and waits to be let run; zero: one is to be created.
	Copy vmm.Process
	// Lost says that there should have been one.
	Lost bool
}

// shutdownGrace is how long a guest may take that is asked to stop, by a person
// or because its host is shut down, before it is powered off.
const shutdownGrace = 60 * time.Second

// Decide is the host's duty as a function: what to do about every protected VM,
// given the lease, the copy of the state and what the hypervisor says. Rules O2
// to O4 and R4 of docs/safety.md.
func Decide(in Input) Plan {
	p := Plan{
		Raise:    map[string]uint64{},
		Ways:     map[string]Way{},
		Isolate:  map[string]uint64{},
		Crash:    map[string]uint64{},
		Kill:     map[string]string{},
		Foreign:  map[string]time.Duration{},
		Stopping: map[string]time.Duration{},
	}
	p.Known = known(in)
	held := in.Lease.Held(in.Now) && !in.Expired && !in.Record.Over
	domains := map[string]vmm.Domain{}
	for _, d := range in.Domains {
		domains[d.UUID] = d
	}
	protected := func(uuid string) bool { _, ok := slices.BinarySearch(p.Known, uuid); return ok }

	if !held {
		p.End = true
		// What an incarnation owned is given to others when the next begins: a host that cannot know yet all
		// that is protected (its record was lost, its copy is of long ago) must not ask for it.
		p.Ended = end(in, p.Known, domains, p.Kill) && in.Trusted && in.State != nil
		for _, d := range in.Domains {
			if protected(d.UUID) && d.Autostart {
				p.AutostartOff = append(p.AutostartOff, d.UUID)
			}
		}
		p.Abort = slices.Sorted(maps.Keys(in.Leaving))
		return p
	}
	if !in.Trusted || in.State == nil {
		return p // the guard covers what runs; nothing is known to be wrong
	}
	leaving(in, &p)
	for _, vm := range in.State.SortedVMs() {
		if _, leaves := in.Leaving[vm.UUID]; leaves {
			continue
		}
		d, defined := domains[vm.UUID]
		if in.Busy[vm.UUID] {
			if defined && d.State == vmm.Running && !in.Covered[vm.UUID] {
				p.Cover = append(p.Cover, d) // a person was faster than our own start, which may take long to find out
			}
			continue
		}
		if defined && d.Autostart {
			p.AutostartOff = append(p.AutostartOff, vm.UUID)
		}
		if !in.Listed {
			continue
		}
		if defined && d.State != vmm.Stopped {
			running(in, vm, d, &p)
		} else {
			stopped(in, vm, d, defined, &p)
		}
	}
	if in.Listed && (in.Response.Standing.Isolated() || len(in.Record.Isolated) > 0) {
		isolated(in, domains, &p)
	}
	for uuid := range in.Covered {
		d := domains[uuid]
		if _, leaves := in.Leaving[uuid]; in.Listed && !leaves && !in.Busy[uuid] && (d.PID == 0 || !protected(uuid)) {
			p.Uncover = append(p.Uncover, uuid)
		}
	}
	slices.Sort(p.Uncover)
	if in.Listed {
		forget(in, domains, &p)
	}
	return p
}

// known is the protected VMs: the copy of the state's once it can be trusted, and
// until then those remembered, which are all that this host may have been running.
// An older copy says less: it still names VMs that have been let go since.
func known(in Input) []string {
	if !in.Trusted || in.State == nil {
		return slices.Clone(in.Record.Known)
	}
	k := make([]string, 0, len(in.State.VMs))
	for uuid := range in.State.VMs {
		k = append(k, uuid)
	}
	slices.Sort(k)
	return k
}

// end lists what must go once the lease is over, and reports whether nothing is
// left. Where the hypervisor cannot list, every protected VM is ended by its process.
func end(in Input, known []string, domains map[string]vmm.Domain, kill map[string]string) bool {
	clear := len(in.Busy) == 0 && len(in.Leaving) == 0
	for _, uuid := range known {
		if in.Busy[uuid] && !in.Unproven[uuid] {
			continue
		}
		d, defined := domains[uuid]
		switch {
		case in.Unproven[uuid]:
			kill[uuid], clear = "the lease has ended and it could not be proven yet that it is gone", false
		case !in.Listed:
			kill[uuid], clear = "the lease has ended and the hypervisor does not say what runs", false
		case defined && d.State != vmm.Stopped:
			kill[uuid], clear = "the lease has ended", false
		}
	}
	return clear
}

// mine reports whether this life of this host owns the VM.
func mine(in Input, vm *fsm.VM) bool {
	return vm.Owner != nil && vm.Owner.Host == in.Self && vm.Owner.Incarnation == in.Lease.Incarnation
}

// running decides about a protected VM that has a process here, under a held lease.
func running(in Input, vm *fsm.VM, d vmm.Domain, p *Plan) {
	if waits(d) && !(mine(in, vm) && vm.Owner.Phase == fsm.PhaseRunning) {
		arrived(in, vm, d, p)
		return
	}
	if !in.Covered[vm.UUID] {
		p.Cover = append(p.Cover, d)
	}
	sighted := vm.Sighting != nil && vm.Sighting.Host == in.Self
	switch {
	case mine(in, vm) && in.Record.Crashed[vm.UUID] == vm.Owner.Generation:
		p.Kill[vm.UUID] = "it had ended, and the heartbeat volumes say so: another host may have it by now"
	case mine(in, vm):
		g := vm.Owner.Generation
		if in.Record.Executed[vm.UUID] < g {
			p.Raise[vm.UUID] = g
		}
		if vm.Owner.Phase != fsm.PhaseRunning && d.State == vmm.Running {
			p.report(vm.UUID, g, fsm.OutcomeRunning, lost(in, vm))
		}
		switch {
		case adrift(in, d):
			p.Abort = append(p.Abort, vm.UUID)
		case vm.Intent == fsm.IntentStop || vm.Restart != nil || in.Draining:
			p.stop(in, vm.UUID)
		case halfStarted(in, vm, d):
			// Not finished: what an earlier agent began may have been reported as failed, and be somebody else's
			// by now.
			p.Kill[vm.UUID] = interrupted
		default:
			leave(in, vm, d, p)
		}
	case sighted && in.Covered[vm.UUID] && in.Record.knows(vm.UUID):
		if in.Record.Executed[vm.UUID] < vm.Sighting.Generation {
			p.Raise[vm.UUID] = vm.Sighting.Generation
		}
		p.report(vm.UUID, vm.Sighting.Generation, fsm.OutcomeRunning, "")
	case vm.Owner == nil:
		// A person started it here: the master is told by the list of domains.
	default:
		// Another host owns it. One that is being handed over shows here for a
		// moment before its owner's release is committed.
		since, seen := in.Foreign[vm.UUID]
		if !seen {
			since = in.Now
		}
		if seen && in.Now-since > 3*in.Timing.Heartbeat || !in.State.Live(vm.Owner.Host, vm.Owner.Incarnation) || vm.Owner.Host == in.Self {
			p.Kill[vm.UUID] = fmt.Sprintf("it is owned by %s (incarnation %d, generation %d)",
				vm.Owner.Host, vm.Owner.Incarnation, vm.Owner.Generation)
			return
		}
		p.Foreign[vm.UUID] = since
	}
}

// interrupted is why a process that was never let run is ended.
const interrupted = "the agent was restarted while it was being started"

// halfStarted reports whether the VM, which this life of the host owns, has a
// process that was never let run, and may be let run now: what a start does last. One
// that this agent has let run was paused since, by whomever.
func halfStarted(in Input, vm *fsm.VM, d vmm.Domain) bool {
	g := vm.Owner.Generation
	f, failed := in.Failed[vm.UUID]
	return vm.Owner.Phase == fsm.PhaseOrdered && d.State == vmm.Paused && d.Reason != vmm.ReasonIOError &&
		!(failed && f.Generation == g) && in.Record.Executed[vm.UUID] >= g && in.Ran[vm.UUID] != g &&
		in.Covered[vm.UUID] && in.Lease.MayStart(in.Now, in.Timing)
}

func (p *Plan) stop(in Input, uuid string) {
	since, asked := in.Stopping[uuid]
	switch {
	case !asked:
		p.Stopping[uuid] = in.Now
		p.Shutdown = append(p.Shutdown, uuid)
	case in.Now-since > shutdownGrace:
		p.Kill[uuid] = fmt.Sprintf("it was asked to stop %v ago and has not", (in.Now - since).Round(time.Second))
		p.Stopping[uuid] = since
	default:
		p.Stopping[uuid] = since
	}
}

// stopped decides about a protected VM that has no process here, under a held lease.
func stopped(in Input, vm *fsm.VM, d vmm.Domain, defined bool, p *Plan) {
	if g := vm.Sighting; g != nil && g.Host == in.Self {
		if at, ok := in.Claimed[vm.UUID]; ok && in.Now-at < claimPatience {
			return // it is being started by hand
		}
		if why := in.Killed[vm.UUID]; why != "" {
			p.report(vm.UUID, g.Generation, fsm.OutcomeReleased, vm.Name+" was ended here: "+why)
			return
		}
		o, detail := ending(vm, d, defined)
		p.report(vm.UUID, g.Generation, o, detail)
		return
	}
	if !mine(in, vm) {
		return
	}
	g := vm.Owner.Generation
	if f, ok := in.Failed[vm.UUID]; ok && f.Generation == g {
		if f.Released {
			p.report(vm.UUID, g, fsm.OutcomeReleased, f.Detail)
		} else {
			p.report(vm.UUID, g, fsm.OutcomeStartFailed, f.Detail)
		}
		return
	}
	if in.Record.Executed[vm.UUID] < g {
		if vm.Intent == fsm.IntentStop || vm.Restart != nil || in.Closing || in.Draining {
			p.Raise[vm.UUID] = g // reported in the next round, as stopped or given back
			return
		}
		if in.Bounded && in.Lease.MayStart(in.Now, in.Timing) {
			p.Start = append(p.Start, Order{UUID: vm.UUID, Name: vm.Name, Generation: g,
				XML: vm.XML, Devices: vm.Owner.Devices, Why: vm.Owner.Why, Lost: comesBy(vm.Owner)})
		}
		return
	}
	if in.Record.Isolated[vm.UUID] == g {
		p.report(vm.UUID, g, fsm.OutcomeReleased, vm.Name+" "+isolatedDetail)
		return
	}
	if in.Record.Crashed[vm.UUID] == g { // whatever has been tried with it since
		p.report(vm.UUID, g, fsm.OutcomeCrashed, vm.Name+" ended without anybody asking")
		return
	}
	if vm.Intent == fsm.IntentStop {
		// Not "stopped", which is a wish of its own: this one is in the state already,
		// and a person may have taken it back by now.
		p.report(vm.UUID, g, fsm.OutcomeReleased, vm.Name+" was stopped as a person asked")
		return
	}
	if vm.Restart != nil && d.Reason != vmm.ReasonSaved { // one that a person saved goes on from that file, here
		p.report(vm.UUID, g, fsm.OutcomeReleased, vm.Name+" was shut down to be started again")
		return
	}
	if gone(in, vm, d, p) {
		return
	}
	if in.Draining || in.Closing && vm.Owner.Phase == fsm.PhaseOrdered && in.Ran[vm.UUID] != g {
		p.report(vm.UUID, g, fsm.OutcomeReleased, in.Self+" is being shut down")
		return
	}
	if vm.Owner.Phase == fsm.PhaseOrdered && in.Ran[vm.UUID] != g { // why it stopped is of an earlier time then
		p.report(vm.UUID, g, fsm.OutcomeStartFailed, interrupted)
		return
	}
	o, detail := ending(vm, d, defined)
	if in.Alone && o == fsm.OutcomeCrashed {
		p.Crash[vm.UUID] = g
	}
	p.report(vm.UUID, g, o, detail)
}

// ending tells what the end of a VM that nobody here ended means.
func ending(vm *fsm.VM, d vmm.Domain, defined bool) (fsm.Outcome, string) {
	switch {
	case !defined:
		return fsm.OutcomeStopped, vm.Name + " ended and its definition is gone: a person removed it"
	case d.Reason == vmm.ReasonShutdown:
		return fsm.OutcomeStopped, vm.Name + " was shut down"
	case d.Reason == vmm.ReasonDestroyed:
		return fsm.OutcomeStopped, vm.Name + " was powered off by a person"
	case d.Reason == vmm.ReasonSaved:
		return fsm.OutcomeStopped, vm.Name + " was saved to a file by a person"
	case d.Reason == vmm.ReasonMigrated:
		return fsm.OutcomeReleased, vm.Name + " was migrated away by a person"
	}
	return fsm.OutcomeCrashed, fmt.Sprintf("%s ended without anybody asking (%s)", vm.Name, d.Reason)
}

func (p *Plan) report(uuid string, g uint64, o fsm.Outcome, detail string) {
	p.Outcomes = append(p.Outcomes, api.OutcomeReport{UUID: uuid, Generation: g, Outcome: string(o), Detail: detail})
}
