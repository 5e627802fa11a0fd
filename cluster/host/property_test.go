package host

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// drawInput is any input, lawful or not: three hosts, five VMs, two of which may
// be nobody's to protect.
func drawInput(t *rapid.T) Input {
	tm, _ := lease.Profile(rapid.SampledFrom(lease.Profiles).Draw(t, "profile"))
	flag := rapid.Bool()
	rarely := func(what string) bool { return rapid.IntRange(0, 15).Draw(t, what) == 15 } // small numbers are drawn more often
	life := rapid.SampledFrom([]uint64{3, 3, 3, 3, 3, 2, 4, 0})                           // of a host; most inputs are near to lawful, or no rule would be met
	small := rapid.Uint64Range(0, 3)
	moment := rapid.Custom(func(t *rapid.T) time.Duration {
		return at + time.Duration(rapid.Int64Range(int64(-tm.Lease), int64(0)).Draw(t, "moment"))
	})
	in := Input{Now: at, Self: "a", Timing: tm, Listed: !rarely("not listed"), Trusted: !rarely("not trusted"), Bounded: !rarely("not bounded"), Expired: rarely("expired"),
		Draining: rarely("draining"),
		Lease:    lease.Lease{Incarnation: life.Draw(t, "lease's incarnation"), End: at + tm.Lease - tm.Lease/8*time.Duration(rapid.IntRange(0, 9).Draw(t, "eighths of the lease gone"))},
		Record:   Record{Incarnation: life.Draw(t, "record's incarnation"), Over: rarely("over"), Executed: map[string]uint64{}},
		State:    &fsm.State{Hosts: map[string]*fsm.Host{}, VMs: map[string]*fsm.VM{}},
		Busy:     map[string]bool{}, Unproven: map[string]bool{}, Killed: map[string]string{}, Ran: map[string]uint64{}, Failed: map[string]StartFailure{},
		Foreign: map[string]time.Duration{}, Stopping: map[string]time.Duration{}, Covered: map[string]bool{}, Claimed: map[string]time.Duration{},
		Leaving: map[string]uint64{}, Left: map[string]Left{}, Anew: map[string]uint64{}}
	in.Record.Ways, in.Record.Crashed, in.Alone = map[string]Way{}, map[string]uint64{}, flag.Draw(t, "alone")
	for _, name := range []string{"a", "b", "c"} {
		in.State.Hosts[name] = &fsm.Host{Name: name, Incarnation: life.Draw(t, name+"'s incarnation"),
			Status: rapid.SampledFrom([]fsm.HostStatus{fsm.HostLive, fsm.HostLive, fsm.HostDead, fsm.HostJoining}).Draw(t, name+"'s status")}
	}
	host := rapid.SampledFrom([]string{"a", "a", "a", "b", "c"})
	for i := range 6 {
		id := fmt.Sprintf("00000000-0000-4000-8000-%012x", i)
		if i < 3 || flag.Draw(t, "protected") {
			vm := &fsm.VM{UUID: id, Name: id[35:], Intent: rapid.SampledFrom([]fsm.Intent{fsm.IntentRun, fsm.IntentRun, fsm.IntentStop}).Draw(t, "intent"), Generation: rapid.SampledFrom([]uint64{3, 2, 1}).Draw(t, "generation")}
			switch rapid.IntRange(0, 3).Draw(t, "whose") {
			case 0, 1:
				vm.Owner = &fsm.Placement{Host: host.Draw(t, "owner"), Incarnation: life.Draw(t, "owner's incarnation"), Generation: vm.Generation,
					Phase: rapid.SampledFrom([]fsm.Phase{fsm.PhaseOrdered, fsm.PhaseRunning}).Draw(t, "phase")}
			case 2:
				vm.Sighting = &fsm.Sighting{Host: host.Draw(t, "sighted on"), Generation: vm.Generation}
			}
			if vm.Owner != nil && flag.Draw(t, "came by a move") {
				vm.Owner.From, vm.Owner.Cold = "b", rapid.IntRange(0, 3).Draw(t, "cold") == 3
			}
			if vm.Owner != nil && flag.Draw(t, "is to be moved") {
				vm.Move = &fsm.Move{ID: rapid.Uint64Range(40, 41).Draw(t, "move"), Host: host.Draw(t, "moves to"), Incarnation: life.Draw(t, "target's incarnation"), Cold: rapid.IntRange(0, 3).Draw(t, "cold") == 3}
			}
			in.State.VMs[id] = vm
		}
		if flag.Draw(t, "a way was begun") {
			in.Record.Ways[id] = Way{Move: rapid.Uint64Range(40, 41).Draw(t, "way"), Cold: rapid.IntRange(0, 3).Draw(t, "cold") == 3}
			switch rapid.IntRange(0, 2).Draw(t, "what became of it") {
			case 0:
				in.Leaving[id] = in.Record.Ways[id].Move
			case 1:
				in.Left[id] = Left{Move: rapid.Uint64Range(40, 41).Draw(t, "way that ended"), Moved: flag.Draw(t, "moved"), Detail: "a detail"}
			}
		}
		if flag.Draw(t, "remembered") {
			in.Record.Known = append(in.Record.Known, id)
		}
		if flag.Draw(t, "defined") {
			d := vmm.Domain{UUID: id, Name: id[35:], Autostart: flag.Draw(t, "autostart"),
				State:  rapid.SampledFrom([]vmm.State{vmm.Running, vmm.Paused, vmm.Stopped}).Draw(t, "state"),
				Reason: rapid.SampledFrom([]vmm.Reason{"", vmm.ReasonUnknown, vmm.ReasonShutdown, vmm.ReasonDestroyed, vmm.ReasonCrashed, vmm.ReasonFailed, vmm.ReasonMigrated, vmm.ReasonIncoming, vmm.ReasonIOError, vmm.ReasonUser}).Draw(t, "reason")}
			if d.State != vmm.Stopped {
				d.PID = 1000 + i
			}
			in.Domains = append(in.Domains, d)
		}
		if rapid.IntRange(0, 5).Draw(t, "had crashed") == 5 {
			in.Record.Crashed[id] = rapid.SampledFrom([]uint64{3, 2}).Draw(t, "crashed generation")
		}
		in.Record.Executed[id] = rapid.SampledFrom([]uint64{0, 3, 2, 1}).Draw(t, "executed")
		in.Ran[id] = rapid.SampledFrom([]uint64{0, 3, 2}).Draw(t, "ran")
		if rarely("busy") {
			in.Busy[id] = true
			in.Unproven[id] = flag.Draw(t, "unproven")
		}
		if rapid.IntRange(0, 3).Draw(t, "failed") == 3 {
			in.Failed[id] = StartFailure{Generation: small.Draw(t, "failed generation"), Released: flag.Draw(t, "released")}
		}
		if rapid.IntRange(0, 3).Draw(t, "foreign") == 3 {
			in.Foreign[id] = moment.Draw(t, "foreign since")
		}
		if rapid.IntRange(0, 3).Draw(t, "stopping") == 3 {
			in.Stopping[id] = at - time.Duration(rapid.Int64Range(0, int64(2*shutdownGrace)).Draw(t, "asked to stop"))
		}
		if rapid.IntRange(0, 3).Draw(t, "claimed") == 3 {
			in.Claimed[id] = moment.Draw(t, "claimed")
		}
		if rapid.IntRange(0, 3).Draw(t, "killed") == 3 {
			in.Killed[id] = "a reason"
		}
		if rapid.IntRange(0, 1).Draw(t, "covered") == 0 {
			in.Covered[id] = flag.Draw(t, "covers the process")
		}
	}
	return in
}

// everyPlan checks what is decided on many inputs.
func everyPlan(t *testing.T, check func(t *rapid.T, in Input, p Plan)) {
	inputs := 20
	if testing.Short() {
		inputs *= 5 // of a fifth of the checks: what has to be met at all is as rare as before
	}
	rapid.Check(t, func(t *rapid.T) {
		for range inputs {
			in := drawInput(t)
			check(t, in, Decide(in))
		}
	})
}

// hasProcess tells whether the hypervisor lists a process of the VM.
func hasProcess(in Input, id string) bool {
	return slices.ContainsFunc(in.Domains, func(d vmm.Domain) bool { return d.UUID == id && d.State != vmm.Stopped })
}

func TestNothingIsLetRunWithoutPermission(t *testing.T) {
	everyPlan(t, func(t *rapid.T, in Input, p Plan) {
		allowed := func(what, id string) *fsm.VM {
			vm := in.State.VMs[id]
			switch {
			case !in.Lease.Held(in.Now) || in.Lease.Left(in.Now) < in.Timing.StartMargin() || in.Expired || in.Record.Over:
				t.Fatalf("%s %s with %v of the lease left (expired %v, over %v)", what, id, in.Lease.Left(in.Now), in.Expired, in.Record.Over)
			case !in.Trusted || !in.Listed:
				t.Fatalf("%s %s by a copy that is trusted: %v, a list that is there: %v", what, id, in.Trusted, in.Listed)
			case in.Busy[id]:
				t.Fatalf("%s %s while a job of it is under way", what, id)
			case vm == nil || vm.Owner == nil || vm.Owner.Host != "a" || vm.Owner.Incarnation != in.Lease.Incarnation || vm.Intent != fsm.IntentRun:
				t.Fatalf("%s %s, which is %+v, in incarnation %d", what, id, vm, in.Lease.Incarnation)
			case !slices.Contains(p.Known, id):
				t.Fatalf("%s %s, which would not be ended with the lease", what, id)
			case in.Draining:
				t.Fatalf("%s %s on a host that is being shut down", what, id)
			case p.Kill[id] != "":
				t.Fatalf("%s and kills %s", what, id)
			}
			return vm
		}
		for _, o := range p.Start {
			vm := allowed("starts", o.UUID)
			if o.Generation != vm.Owner.Generation || o.Generation <= in.Record.Executed[o.UUID] {
				t.Fatalf("starts generation %d of %s; ordered is %d, executed was %d", o.Generation, o.UUID, vm.Owner.Generation, in.Record.Executed[o.UUID])
			}
			if _, leaves := in.Leaving[o.UUID]; leaves {
				t.Fatalf("starts %s, which leaves", o.UUID)
			}
			if o.Copy == (vmm.Process{}) && hasProcess(in, o.UUID) {
				t.Fatalf("starts %s, which has a process", o.UUID)
			}
			if o.Copy != (vmm.Process{}) && (!waiting(in, o.UUID, o.Copy) || vm.Owner.From == "" || vm.Owner.Cold) {
				t.Fatalf("lets process %+v of %s run, whose placement is %+v", o.Copy, o.UUID, vm.Owner)
			}
		}
		for _, d := range p.Migrate {
			switch vm := in.State.VMs[d.UUID]; {
			case p.End || !in.Trusted || !in.Listed || in.Busy[d.UUID] || !in.Covered[d.UUID] || in.Draining || p.Kill[d.UUID] != "":
				t.Fatalf("migrates %s: over %v, trusted %v, listed %v, busy %v, covered %v, draining %v", d.UUID, p.End, in.Trusted, in.Listed, in.Busy[d.UUID], in.Covered[d.UUID], in.Draining)
			case vm == nil || !mine(in, vm) || vm.Intent != fsm.IntentRun || vm.Move == nil || vm.Move.Cold || vm.Move.ID != d.Move || vm.Move.Host != d.Host:
				t.Fatalf("migrates %+v, which is %+v", d, vm)
			case in.Record.Ways[d.UUID].Move == d.Move || p.Ways[d.UUID] != (Way{Move: d.Move}) || in.Leaving[d.UUID] != 0:
				t.Fatalf("migrates %+v; begun was %+v, to be remembered is %+v, under way is %d", d, in.Record.Ways[d.UUID], p.Ways[d.UUID], in.Leaving[d.UUID])
			}
		}
	})
}

// waiting tells whether the hypervisor lists that process of the VM as a copy that waits.
func waiting(in Input, id string, p vmm.Process) bool {
	return slices.ContainsFunc(in.Domains, func(d vmm.Domain) bool {
		return d.UUID == id && waits(d) && d.PID == p.PID && d.StartTime == p.StartTime
	})
}

// M4, M5, M6: a VM that leaves is left alone until that has come to its end, which is
// brought about when nobody wants it any more; a copy that waits is nothing that runs.
func TestVMsOnTheirWay(t *testing.T) {
	everyPlan(t, func(t *rapid.T, in Input, p Plan) {
		touched := append(slices.Clone(p.Shutdown), p.Uncover...)
		for _, d := range p.Cover {
			touched = append(touched, d.UUID)
			if waits(d) && (in.State.VMs[d.UUID].Owner == nil || in.State.VMs[d.UUID].Owner.Phase != fsm.PhaseRunning) {
				t.Fatalf("has the guard cover %+v before it may run", d)
			}
		}
		for _, o := range p.Outcomes {
			touched = append(touched, o.UUID)
		}
		for id := range p.Kill {
			if !p.End {
				touched = append(touched, id)
			}
		}
		for id := range in.Leaving {
			if slices.Contains(touched, id) {
				t.Fatalf("touches %s, which leaves: %+v", id, p)
			}
			vm := in.State.VMs[id]
			wanted := vm != nil && mine(in, vm) && vm.Intent == fsm.IntentRun && !in.Draining && vm.Move != nil && vm.Move.ID == in.Leaving[id]
			if aborts := slices.Contains(p.Abort, id); aborts == wanted && (in.Trusted || p.End) && !p.End {
				t.Fatalf("ends the migration of %s: %v, which is wanted: %v (%+v)", id, aborts, wanted, vm)
			} else if p.End && !aborts {
				t.Fatalf("the migration of %s goes on after the lease", id)
			}
		}
		for _, o := range p.Outcomes {
			vm, way := in.State.VMs[o.UUID], in.Record.Ways[o.UUID]
			switch fsm.Outcome(o.Outcome) {
			case fsm.OutcomeMoved:
				if vm.Move.ID != o.Move || way.Move != o.Move || hasProcess(in, o.UUID) {
					t.Fatalf("reports %+v of %+v; begun was %+v", o, vm, way)
				}
			case fsm.OutcomeMoveFailed:
				if vm.Move.ID != o.Move || way.Move == o.Move && !way.Cold && in.Left[o.UUID].Move != o.Move {
					t.Fatalf("reports %+v of %+v; begun was %+v, and ended %+v", o, vm, way, in.Left[o.UUID])
				}
			case fsm.OutcomeRunning:
				if slices.ContainsFunc(in.Domains, func(d vmm.Domain) bool { return d.UUID == o.UUID && waits(d) }) {
					t.Fatalf("reports a copy that waits: %+v", o)
				}
			}
		}
	})
}

func TestNothingOutlivesTheLease(t *testing.T) {
	everyPlan(t, func(t *rapid.T, in Input, p Plan) {
		over := !in.Lease.Held(in.Now) || in.Expired || in.Record.Over
		if p.End != over {
			t.Fatalf("the lease is over: %v; the plan says %v", over, p.End)
		}
		if p.Ended && (!over || !in.Trusted || !in.Listed && len(p.Known) > 0 || len(in.Busy)+len(in.Leaving) > 0) {
			t.Fatalf("says that nothing is left: over %v, trusted %v, listed %v, busy %v", over, in.Trusted, in.Listed, in.Busy)
		}
		if !over {
			return
		}
		if len(p.Start)+len(p.Outcomes)+len(p.Uncover)+len(p.Migrate) > 0 {
			t.Fatalf("after the lease: starts %v, reports %v, uncovers %v", p.Start, p.Outcomes, p.Uncover)
		}
		for _, id := range p.Known {
			if !hasProcess(in, id) {
				continue
			}
			if p.Ended {
				t.Fatalf("says that nothing is left while %s has a process", id)
			}
			if p.Kill[id] == "" && (!in.Busy[id] || in.Unproven[id]) {
				t.Fatalf("leaves %s alone, which has a process", id)
			}
		}
	})
}

func TestOnlyProtectedVMsAreTouched(t *testing.T) {
	everyPlan(t, func(t *rapid.T, in Input, p Plan) {
		protected := func(id string) bool {
			if in.Trusted {
				return in.State.VMs[id] != nil
			}
			return slices.Contains(in.Record.Known, id)
		}
		touched := append(slices.Clone(p.Shutdown), p.AutostartOff...)
		for id := range p.Kill {
			touched = append(touched, id)
		}
		for _, d := range p.Cover {
			touched = append(touched, d.UUID)
		}
		for _, id := range touched {
			if !protected(id) {
				t.Fatalf("touches %s, which nobody protects: kill %v, shut down %v, cover %v, autostart %v", id, p.Kill, p.Shutdown, p.Cover, p.AutostartOff)
			}
		}
		if in.Trusted && !p.End && !in.Draining {
			for _, id := range p.Shutdown {
				if vm := in.State.VMs[id]; vm.Intent != fsm.IntentStop && !goesCold(in, vm) {
					t.Fatalf("shuts %s down, which shall run", id)
				}
			}
		}
		for id, why := range p.Kill { // while the lease holds, what is ours, wanted and ever ran is left alone
			vm := in.State.VMs[id]
			if vm != nil && goesCold(in, vm) && in.Now-in.Stopping[id] > shutdownGrace || why == leftover && !p.End && (vm.Owner == nil || vm.Owner.Phase == fsm.PhaseOrdered) {
				continue
			}
			if vm != nil && mine(in, vm) && in.Record.Crashed[id] == vm.Owner.Generation {
				continue // others may have it by now
			}
			if why != interrupted && !p.End && !in.Draining && vm.Intent == fsm.IntentRun && mine(in, vm) {
				t.Fatalf("kills %s (%s), which this host owns and which shall run", id, p.Kill[id])
			}
		}
	})
}

// goesCold tells whether the VM shall be shut down, or was asked to, to be started elsewhere.
func goesCold(in Input, vm *fsm.VM) bool {
	way := in.Record.Ways[vm.UUID]
	return vm.Move != nil && (vm.Move.Cold || way.Cold && way.Move == vm.Move.ID)
}

// O3: of a generation that the heartbeat volumes say has crashed nothing goes on here, and they
// are told so only of one that is given back, by a host that they alone bring.
func TestWhatCrashedWithoutNetworkIsOver(t *testing.T) {
	told, killed := 0, 0
	everyPlan(t, func(t *rapid.T, in Input, p Plan) {
		for uuid, g := range p.Crash {
			told++
			if !in.Alone || !slices.ContainsFunc(p.Outcomes, func(o api.OutcomeReport) bool {
				return o.UUID == uuid && o.Generation == g && o.Outcome == string(fsm.OutcomeCrashed)
			}) {
				t.Fatalf("generation %d of %s is to be told as crashed: alone %v, reported %+v", g, uuid, in.Alone, p.Outcomes)
			}
		}
		for uuid, g := range in.Record.Crashed {
			vm := in.State.VMs[uuid]
			if p.End || !in.Trusted || !in.Listed || vm == nil || !mine(in, vm) || vm.Owner.Generation != g || in.Busy[uuid] || in.Leaving[uuid] != 0 || !hasProcess(in, uuid) {
				continue
			}
			if i := slices.IndexFunc(in.Domains, func(d vmm.Domain) bool { return d.UUID == uuid }); waits(in.Domains[i]) {
				continue // a copy that came by a move, which nobody has let run
			}
			if killed++; p.Kill[uuid] == "" {
				t.Fatalf("generation %d of %s had crashed and goes on: %+v", g, uuid, in.Domains)
			}
		}
	})
	if told == 0 || killed == 0 {
		t.Errorf("%d were told and %d were killed: too few to see anything", told, killed)
	}
}

// O3: what gives a VM back is said only when it has no process, no job is under
// way, and the generation will never be executed again.
func TestNothingIsGivenBackThatCouldRun(t *testing.T) {
	everyPlan(t, func(t *rapid.T, in Input, p Plan) {
		for _, o := range p.Outcomes {
			vm := in.State.VMs[o.UUID]
			if in.Busy[o.UUID] || !in.Listed || !in.Trusted || p.End {
				t.Fatalf("reports %+v: busy %v, listed %v, trusted %v, over %v", o, in.Busy[o.UUID], in.Listed, in.Trusted, p.End)
			}
			owned := vm.Owner != nil && mine(in, vm) && vm.Owner.Generation == o.Generation
			sighted := vm.Sighting != nil && vm.Sighting.Host == "a" && vm.Sighting.Generation == o.Generation
			if !owned && !sighted {
				t.Fatalf("reports %+v of %+v", o, vm)
			}
			runs := hasProcess(in, o.UUID)
			if o.Outcome == string(fsm.OutcomeRunning) {
				if !runs || sighted && !(in.Covered[o.UUID] && slices.Contains(in.Record.Known, o.UUID)) {
					t.Fatalf("reports %s running: has a process %v, covered %v, remembered %v", o.UUID, runs, in.Covered[o.UUID], in.Record.Known)
				}
				continue
			}
			if o.Outcome == string(fsm.OutcomeMoveFailed) {
				continue // it gives nothing back
			}
			if runs {
				t.Fatalf("gives back %s (%s), which has a process", o.UUID, o.Outcome)
			}
			f, failed := in.Failed[o.UUID]
			if owned && in.Record.Executed[o.UUID] < o.Generation && !(failed && f.Generation == o.Generation) {
				t.Fatalf("gives back generation %d of %s (%s), which may still be executed: the record says %d", o.Generation, o.UUID, o.Outcome, in.Record.Executed[o.UUID])
			}
		}
	})
}
