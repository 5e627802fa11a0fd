package mutation

import "slices"

// table is every mutant.
var table = slices.Concat(ofSafety, ofPolicy, ofDisarm)

// ofSafety are the mutants of docs/safety.md, in its order.
var ofSafety = []mutant{
	// The lease.
	{"N", "heartbeats are sent over the first HA network alone",
		"cluster/host/heartbeat.go", `range h.cfg.Networks {`, `range h.cfg.Networks[:1] {`,
		in("cluster/host", "TestOneOfTwoNetworksIsDead"), ""},
	{"R1", "an election alone gives the office",
		"cluster/master/master.go", `if err := m.cfg.Log.Confirm(ctx); err != nil {
		return fmt.Errorf("confirm the election: %w", err)
	}`, ``,
		in("cluster/master", "TestDeathIsProposedWhenTheWaitIsOver", "TestTheOfficeEndsWithItsProof", "TestANewOfficeTakesUpWhatTheLastOneLeft"), ""},
	{"R1", "what an overtaken epoch proposes is applied",
		"fsm/apply.go", `func (s *State) inEpoch(epoch uint64) *Refusal {`, `func (s *State) inEpoch(epoch uint64) *Refusal {
	epoch = s.Office.Epoch`,
		in("fsm", "TestCommands"), ""},
	{"R2", "a renewal counts from the answer",
		"cluster/host/heartbeat.go", `h.renew(r.Incarnation, h.sent[hb.Seq], `, `h.renew(r.Incarnation, h.cfg.Now(), `,
		in("cluster/host", "TestALateAcknowledgementIsWorthLess"), ""},
	{"R2", "an older renewal shortens a newer one",
		"cluster/lease/lease.go", `end > l.End {`, `end != l.End {`,
		in("cluster/lease", "TestRenew"), ""},
	{"R3", "a heartbeat is acknowledged without a confirmation after its receipt",
		"cluster/master/serve.go", `if err := m.confirmFor(ctx, o, hb); err != nil {
		return api.HeartbeatReply{}, fmt.Errorf("%w: %w", api.ErrNotMaster, err)
	}`, ``,
		in("cluster/master", "TestHeartbeatIsAcknowledgedAfterAConfirmationBegunAfterReceipt", "TestTheOfficeEndsWithItsProof"), ""},
	{"R3", "a heartbeat is acknowledged by the confirmation for an earlier one",
		"cluster/master/copies.go", ` && was.seq == hb.Seq {`, ` {`,
		in("cluster/master", "TestCopiesOfAHeartbeatShareAConfirmation"), ""},
	{"R4", "a lease that has ended is renewed",
		"cluster/lease/lease.go", `|| !l.Held(now) || sent > now`, `|| sent > now`,
		in("cluster/lease", "TestRenew"), ""},
	{"R4", "a new incarnation is asked for while VMs of the last one run",
		"cluster/host/decide.go", `p.Ended = end(in, p.Known, domains, p.Kill) && in.Trusted`, `p.Ended = (end(in, p.Known, domains, p.Kill) || true) && in.Trusted`,
		in("cluster/host", "TestDecideAfterTheLease"), ""},
	{"S", "suspects are acknowledged by storage",
		"cluster/master/storage.go", `|| x.watch.Suspected != 0 || x.condemned ||`, `||`,
		in("cluster/master", "TestAcknowledgeStored"), ""},
	{"Q", "a host proves its lease against a claim that lists it",
		"storagehb/set.go", ` || highest.Standing(slot, incarnation) != format.Clear {`, ` {`,
		in("storagehb", "TestProof", "TestAPublishedClaimEndsEveryProof"), ""},
	{"Q", "a proof counts from the newest of its readings",
		"storagehb/set.go", `starts[len(starts)-s.R()]`, `starts[len(starts)-1]`,
		in("storagehb", "TestProof"), ""},
	{"C1", "a proof reads so few volumes that a claim can stand on the others",
		"storagehb/set.go", `return len(s.Volumes) - s.W() + 1`, `return max(1, len(s.Volumes)-s.W())`,
		in("storagehb", "TestQuorums", "TestAPublishedClaimEndsEveryProof"), ""},
	{"C2", "of several claims the lowest counts",
		"storagehb/set.go", `c.Stamp().Compare(highest.Stamp()) > 0`, `c.Stamp().Compare(highest.Stamp()) < 0`,
		in("storagehb", "TestProof", "TestAPublishedClaimEndsEveryProof"), ""},
	{"C2", "an eviction that is read is not believed",
		"cluster/host/prove.go", `== format.Evicted {`, `== format.Evicted && false {`,
		in("cluster/host", "TestLeaseByStorage"), ""},
	{"C3", "a host goes back to an older set of volumes",
		"cluster/host/prove.go", `case s.Volumes.Revision < h.record.Volumes:`, `case false:`,
		in("cluster/host", "TestLeaseByStorage"), ""},
	{"C3", "a claim need stand on one set alone",
		"storagehb/set.go", `func Published(complete map[format.UUID]time.Duration, sets ...Set) (since time.Duration, ok bool) {`,
		`func Published(complete map[format.UUID]time.Duration, sets ...Set) (since time.Duration, ok bool) {
	sets = sets[:min(1, len(sets))]`,
		in("storagehb", "TestPublishedOnEverySet"), ""},
	{"C4", "a life begins by storage",
		"cluster/host/prove.go", ` || h.lease.Incarnation != h.record.Incarnation {`, ` {`,
		in("cluster/host", "TestLeaseByStorage"), ""},

	{"N", "nobody is told of a lease that is renewed late again and again",
		"cluster/host/heartbeat.go", `	h.tardy.renewed(now-(h.lease.End-h.cfg.Timing.Lease), h.cfg.Timing.Lease, now, by)
`, ``,
		scenario("lease-renewed-late"), "host_lease_late"},
	{"N", "each master tells anew of a lease that is renewed late",
		"cluster/master/late.go", `was = toldLate(in.state, h.Name)`, `was = false`,
		in("cluster/master", "TestLateRenewalsAreToldOnce"), ""},

	// A disk that went back.
	{"L1", "another host's word of an older disk is not heeded",
		"cluster/agent/olddisk.go", `!now.Covers(stated) {`, `!now.Covers(stated) && false {`,
		scenario("old-disk-forgets-a-placement"), ""},
	{"L1", "a host's own slot that says that its disk is older is not heeded",
		"cluster/agent/olddisk.go", `!now.Covers(a.stated) {`, `!now.Covers(a.stated) && false {`,
		scenario("old-disk-found-by-its-slot"), ""},
	{"L1", "a host that stands aside tells nobody elsewhere",
		"cluster/agent/agent.go", `			a.standAside(ctx, ms, err)
`, ``,
		scenario("old-disk-found-by-its-slot"), "host_stands_aside"},
	{"L1", "a host that stands aside is told of each time that it says so",
		"fsm/aside.go", `case h.Aside != nil:`, `case false:`,
		in("fsm", "TestAHostStandsAsideOnce"), ""},
	{"L1", "a host that has joined the others again is shown as standing aside",
		"fsm/apply.go", `	h.Aside = nil
`, ``,
		in("fsm", "TestAHostStandsAsideOnce"), ""},
	{"L1", "what is not on the disk yet is stated",
		"cluster/raftnode/overdue.go", `	err := w.write("a write to the log", func() error { return w.LogStore.StoreLogs(logs) })
	if err == nil`, `	w.at.stored(logs[len(logs)-1])
	err := w.write("a write to the log", func() error { return w.LogStore.StoreLogs(logs) })
	if err == nil`,
		in("cluster/raftnode", "TestOnlyWhatIsOnTheDiskIsWritten"), ""},
	{"The lease", "a leader whose writes are slow again and again goes on each time one is back",
		"cluster/raftnode/overdue.go", `		o.quiet = now.Add(o.hush)
`, ``,
		in("cluster/raftnode", "TestALeaderWhoseWritesAreSlowIsSilentForAnElection"), ""},
	{"The lease", "one slow write costs the office",
		"cluster/raftnode/overdue.go", `!o.slowed.IsZero() && now.Sub(o.slowed) <= o.again`, `true`,
		in("cluster/raftnode", "TestOneLateWriteCostsNoOffice"), ""},
	{"The lease", "who led nobody while its writes were slow is silent as a leader after them",
		"cluster/raftnode/overdue.go", `return !o.led.IsZero() && time.Since(o.led) < o.fresh`, `return true`,
		in("cluster/raftnode", "TestALeaderWhoseWritesAreSlowIsSilentForAnElection"), ""},

	// Taking VMs over.
	{"R5", "a suspect is acknowledged",
		"cluster/master/serve.go", `if live && x.watch.Suspected == 0 && !x.condemned {`, `if live && !x.condemned {`,
		in("cluster/master", "TestSuspectAndCondemnedAreNotAcknowledged"), ""},
	{"R5", "a host is suspected without another look at the volumes",
		"cluster/master/decide.go", `!readSince(in.volumes, sets(in.state, h), bound)`, `false`,
		in("cluster/master", "TestJudgeWithVolumes"), ""},
	{"C5", "the claim does not list the suspects",
		"cluster/master/claims.go", `case h.Status == fsm.HostLive && suspected(h.Name):`, `case false:`,
		in("cluster/master", "TestListings"), ""},
	{"C5", "a claim that got lost is not written again",
		"cluster/master/claims.go", ` || c.missing(v) && now-c.at >= again`, ``,
		in("cluster/master", "TestPublish"), ""},
	{"R6", "a suspicion is never withdrawn",
		"cluster/master/decide.go", `case heard:`, `case heard && false:`,
		in("cluster/master", "TestDecide"), ""},
	{"R7", "what a predecessor may have granted is not waited for",
		"cluster/lease/lease.go", `return max(w.Acknowledged, w.Elected, w.claimed()) + t.Wait(), true
}`, `return max(w.Acknowledged, w.claimed()) + t.Wait(), true
}`,
		in("cluster/lease", "TestWatch", "TestNobodyIsDeclaredDeadWhileHolding"), ""},
	{"R7", "the wait is the lease alone",
		"cluster/lease/lease.go", `return max(w.Acknowledged, w.Elected, w.claimed()) + t.Wait(), true
}`, `return max(w.Acknowledged, w.Elected, w.claimed()) + t.LeaseGone(), true
}`,
		scenario("watchdog-resets-what-cannot-be-killed"), "was declared dead while v3 ran there"},
	{"R7", "a host whose death was proposed is heard like any other",
		"cluster/master/master.go", `	x.condemned = true
	return true`, `	return true`,
		in("cluster/master", "TestNoWithdrawalAfterADeathWasProposed"), ""},
	{"C6", "a death is proposed without another look at the claim",
		"cluster/master/master.go", ` || x.watch.Claims && !x.confirmed:`, `:`,
		in("cluster/master", "TestCondemnWithClaims"), ""},
	{"C6", "a claim that was hidden for a while counts as standing",
		"cluster/master/claims.go", `st.before != (format.Stamp{}) && own.Other != st.before`, `false`,
		in("cluster/master", "TestClaimStands"), ""},
	{"C7", "a host that proves by volumes is declared dead though no claim stands",
		"cluster/lease/lease.go", `w.Elected == 0 || w.Claims && w.Claimed == 0 {
		return 0, false
	}
	return max`, `w.Elected == 0 {
		return 0, false
	}
	return max`,
		in("cluster/lease", "TestWatch"), ""},
	{"C7", "a master that reaches fewer volumes keeps the office",
		"cluster/master/handover.go", `f.volumes > best.volumes ||`, `f.volumes > best.volumes && false ||`,
		scenario("master-without-storage-hands-over"), "office_handed_over"},
	{"C8", "an office that ends leaves its claims standing",
		"cluster/master/storage.go", `o.hosts[host] != nil && o.hosts[host].condemned })`, `o.suspects(host) })`,
		in("cluster/master", "TestWithdrawAll"), ""},
	{"R9", "the wait is taken for proof of a host without a watchdog",
		"cluster/master/decide.go", `		if !outlasted(in.policy, h, o) {
			awaitProof(`, `		if false {
			awaitProof(`,
		scenario("frozen-host-without-watchdog"), "ran twice"},
	{"R8", "VMs of a dead host are still owned by it",
		"fsm/apply.go", `owned := s.Owned(h.Name, h.Incarnation)
	id :=`, `var owned []*VM
	id :=`,
		in("fsm", "TestCommands"), ""},
	{"R8", "VMs of a host that begins anew stay with its last life",
		"fsm/apply.go", `owned := s.Owned(h.Name, h.Incarnation)
	h.Incarnation++`, `var owned []*VM
	h.Incarnation++`,
		in("fsm", "TestCommands"), ""},

	{"What a master sees", "what a member reads of a silent host counts as hearing it",
		"cluster/master/relayed.go", `			x.relayed[hb.Host] = relayed{now, of}
`, `			x.relayed[hb.Host] = relayed{now, of}
			x.watch.Heard = now
`,
		in("cluster/master", "TestWhatOthersReadIsEvidenceAlone"), ""},
	{"What a master sees", "what a member reads of a silent host renews its lease",
		"cluster/master/relayed.go", `			x.relayed[hb.Host] = relayed{now, of}
`, `			x.relayed[hb.Host] = relayed{now, of}
			x.watch.Acknowledged = now
`,
		in("cluster/master", "TestWhatOthersReadIsEvidenceAlone"), ""},
	{"What a master sees", "what a member reads of a silent host is never out of date",
		"cluster/master/relayed.go", `if now-said.at > t.Lease {`, `if false {`,
		in("cluster/master", "TestWhatOthersReadIsEvidenceAlone"), ""},

	// Starting.
	{"O1", "a VM is placed that somebody owns",
		"fsm/placements.go", `case vm.Owner != nil:
		return &Refusal{CodeConflict, fmt.Sprintf("%s is owned by`, `case false:
		return &Refusal{CodeConflict, fmt.Sprintf("%s is owned by`,
		in("fsm", "TestCommands"), ""},
	{"O1", "a placement of an old generation is accepted",
		"fsm/placements.go", `case vm.Generation != previous:`, `case false:`,
		in("fsm", "TestCommands"), ""},
	{"O1", "a VM is placed on a host that is not live",
		"fsm/placements.go", `	return s.liveHost(host, incarnation)
}`, `	return nil
}`,
		in("fsm", "TestCommands"), ""},
	{"O1", "two VMs are given one device of a host",
		"fsm/devices.go", `if other := s.holder(host, w, uuid); other != "" {`, `if other := s.holder(host, w, uuid); other != "" && false {`,
		in("fsm", "TestNoDeviceIsTwoVMs"), ""},
	{"O1", "a device counts as free while the VM that has it is on its way to the host",
		"fsm/devices.go", `	case vm.Move != nil && vm.Move.Host == host:
		return vm.Move.Devices
	}
	return nil
}

// devicesFree`, `	}
	return nil
}

// devicesFree`,
		in("fsm", "TestNoDeviceIsTwoVMs"), ""},
	{"O1", "a device that runs on with a VM whose definition does not name it any more is given out",
		"fsm/devices.go", `vm.keeps(s, vm.DevicesOn(o.Host))`, `vm.keeps(s, nil)`,
		in("fsm", "TestNoDeviceIsTwoVMs"), ""},
	{"O1", "a device that a VM which nobody protects has is given out",
		"cluster/inventory/devices.go", `			if d.Running {
				c.take(`, `			if false {
				c.take(`,
		in("cluster/inventory", "TestChoose"), ""},
	{"O1", "of several starts in one round two get one device",
		"cluster/inventory/devices.go", `	c.take(host, vm.Name, words)
	return words, ""`, `	return words, ""`,
		in("cluster/inventory", "TestChoose"), ""},
	{"O2", "a VM is started with the devices of the host that it had before",
		"cluster/host/jobs.go", `if err == nil && o.Devices != nil {`, `if err == nil && o.Devices != nil && false {`,
		in("cluster/host", "TestAStartHandsOverWhatWasChosen"), ""},
	{"O2", "a VM is started under a lease that is about to end",
		"cluster/host/decide.go", `if in.Bounded && in.Lease.MayStart(in.Now, in.Timing) {`, `if in.Bounded {`,
		in("cluster/host", "TestDecideUnderALease"), ""},
	{"O2", "a VM is started whose generation could not be saved",
		"cluster/host/host.go", `p.Start, p.Outcomes, p.Shutdown = nil, nil, nil`, `p.Outcomes, p.Shutdown = nil, nil`,
		in("cluster/host", "TestDiskIsFull"), ""},
	{"O5", "a VM is ordered before hosts were heard that may run it",
		"cluster/master/recover.go", `Unsure: unsure(in), `, ``,
		scenario("moved-by-hand-as-its-host-restarts"), "ran twice"},
	{"O5", "a heartbeat that was under way counts as one sent after",
		"cluster/master/astray.go", `o.reachedAt < since+in.timing.Heartbeat`, `o.reachedAt < since`,
		in("cluster/master", "TestUnsure"), ""},
	{"O5", "the beginning of a host's new life counts as its word",
		"cluster/master/astray.go", `o.present() == nil || `, ``,
		in("cluster/master", "TestUnsure"), ""},
	{"O5", "a VM is not astray whose host gave it back before it guarded it",
		"fsm/placements.go", `vm.Sighting, vm.Astray = nil, c.Outcome != OutcomeRunning
	if vm.Astray {`, `vm.Sighting = nil
	if c.Outcome != OutcomeRunning {`,
		scenario("moved-by-hand-as-its-host-restarts"), "ran twice"},
	{"I1", "what a person started during the host's own start runs uncovered",
		"cluster/host/decide.go", `d.State == vmm.Running && !in.Covered[vm.UUID] {`, `false {`,
		in("cluster/host", "TestDecideUnderALease"), ""},
	{"O3", "a VM is given back while a start or an end of it is under way",
		"cluster/host/decide.go", `			}
			continue
		}
		if defined && d.Autostart {`, `			}
		}
		if defined && d.Autostart {`,
		in("cluster/host", "TestDecideUnderALease", "TestNothingIsGivenBackThatCouldRun"), ""},
	{"O3", "a VM that the heartbeat volumes say has crashed may go on where it was",
		"cluster/host/decide.go", `case mine(in, vm) && in.Record.Crashed[vm.UUID] == vm.Owner.Generation:`, `case false:`,
		in("cluster/host", "TestDecideOnACrashWithoutNetwork"), ""},
	{"O3", "the heartbeat volumes tell of a crash that was not saved",
		"cluster/host/isolation.go", `h.record.Crashed[o.UUID] == o.Generation:`, `true:`,
		in("cluster/host", "TestTableTellsOfACrash"), ""},
	{"O4", "a host that was rebooted goes on as if it had not been",
		"cluster/host/host.go", `case h.record.BootID != cfg.BootID:`, `case false:`,
		in("cluster/host", "TestReboot"), ""},
	{"O4", "a restarted agent gives the lease up that its guard still holds",
		"cluster/host/host.go", `h.lease = lease.Lease{Incarnation: g.Incarnation, End: g.Deadline}`, `h.beginWhy = "the agent was restarted"`,
		in("cluster/host", "TestAgentRestart"), ""},
	{"Starting", "a VM is let run without another look at the lease",
		"cluster/host/jobs.go", `if err := h.cfg.Gate(ctx); err != nil || !permitted() {
		h.undo(ctx, o.UUID)`, `if err := h.cfg.Gate(ctx); err != nil {
		h.undo(ctx, o.UUID)`,
		in("cluster/host", "TestFrozenDuringAStart", "TestNothingIsLetRunWithoutPermission"), ""},
	{"Orders are read from the state, not from a message", "a half-read log after a restart decides",
		"cluster/host/decide.go", `	if !in.Trusted || in.State == nil {
		return p //`, `	if in.State == nil {
		return p //`,
		in("cluster/host", "TestDecideUnderALease"), ""},
	{"A VM that was seen running", "a VM is placed while a host is seen to run it",
		"fsm/placements.go", `case vm.Sighting != nil:
		return &Refusal{CodeConflict, fmt.Sprintf("%s was seen running`, `case false:
		return &Refusal{CodeConflict, fmt.Sprintf("%s was seen running`,
		in("fsm", "TestCommands"), ""},
	{"A person's word", "a host that is heard is taken for off",
		"cluster/master/observe.go", `return o.heard() && now-o.spoke <= t.SuspectAfter()`, `return o.heard() && false`,
		in("cluster/master", "TestConfirmOff", "TestWhoSpeaksIsNotOff"), ""},
	{"Fence devices", "a host is switched off before its own lease has ended",
		"cluster/lease/lease.go", `w.claimed()) + t.LeaseGone(), true`, `w.claimed()), true`,
		in("cluster/master", "TestFenceDeviceShortensTheWait"), ""},
	{"Fence devices", "a proof from before the host was heard again counts",
		"cluster/master/fence.go", ` || max(o.watch.Heard, o.spoke) >= o.fence.off {`, ` {`,
		in("cluster/master", "TestFenceProofAgainstAHeartbeat"), ""},

	// Moving.
	{"M1", "a VM that has been placed anew is moved by an old order",
		"fsm/move.go", `case vm.Generation != c.Previous:`, `case false:`,
		in("fsm", "TestBeginMoveIsACompareAndSet"), ""},
	{"M1", "a VM is moved to a life of a host that is over",
		"fsm/move.go", `	if r := s.liveHost(host, incarnation); r != nil {
		return r
	}
	if m :=`, `	if m :=`,
		in("fsm", "TestBeginMoveIsACompareAndSet"), ""},
	{"M2", "a copy is let run that no placement is for",
		"cluster/host/move.go", `	if m := vm.Move; m != nil && !m.Cold && m.Host == in.Self && m.Incarnation == in.Lease.Incarnation {
		return
	}`, `	if m := vm.Move; m != nil && !m.Cold && m.Host == in.Self && m.Incarnation == in.Lease.Incarnation {
		p.Start = append(p.Start, Order{UUID: vm.UUID, Name: vm.Name, Generation: vm.Generation + 1, XML: vm.XML, Copy: vmm.Process{PID: d.PID, StartTime: d.StartTime}})
		return
	}`,
		in("cluster/host", "TestDecideAtTheTargetOfAMove", "TestTargetOfAMove", "TestNothingIsLetRunWithoutPermission"), ""},
	{"M2", "a copy of an earlier move is let run by a placement that came of none",
		"cluster/host/move.go", `case o.From == "" || o.Cold || vm.Intent`, `case vm.Intent`,
		in("cluster/host", "TestDecideAtTheTargetOfAMove", "TestTargetOfAMove", "TestNothingIsLetRunWithoutPermission"), ""},
	{"M3", "a VM that crashed on its way is reported moved",
		"cluster/host/move.go", `case !(left.Move == way.Move && left.Moved) && d.Reason != vmm.ReasonMigrated:`, `case left.Moved && false:`,
		in("cluster/host", "TestDecideAtTheSourceOfAMove"), ""},
	{"M3", "a VM that has left is given to a life of the target that is over, or by a move that was called off",
		"fsm/move.go", `if v == nil || v.ID != c.Move || s.liveHost(v.Host, v.Incarnation) != nil {`, `if v == nil {`,
		in("fsm", "TestBeginMoveIsACompareAndSet"), ""},
	{"M4", "what is left over of a move is kept",
		"cluster/host/move.go", `if seen && in.Now-since > 3*in.Timing.Heartbeat { // this`, `if false { // this`,
		in("cluster/host", "TestDecideAtTheTargetOfAMove", "TestTargetOfAMove"), ""},
	{"M4", "a copy that waits is taken for a VM that runs",
		"cluster/host/decide.go", `if waits(d) && !(mine(in, vm) && vm.Owner.Phase == fsm.PhaseRunning) {`, `if false {`,
		in("cluster/host", "TestDecideAtTheTargetOfAMove", "TestVMsOnTheirWay"), ""},
	{"M4", "a copy that waits is protected as a VM that runs",
		"cluster/master/decide.go", `case x.Waits(): //`, `case false: //`,
		in("cluster/master", "TestACopyThatWaitsIsNoRun"), ""},
	{"M5", "a migration goes on after the lease",
		"cluster/host/decide.go", `p.Abort = slices.Sorted(maps.Keys(in.Leaving))`, `p.Abort = slices.Sorted(maps.Keys(map[string]bool{}))`,
		in("cluster/host", "TestDecideAboutMovesAfterTheLease", "TestVMsOnTheirWay"), ""},
	{"M5", "the guard lets go of a VM that is on its way",
		"cluster/host/decide.go", `in.Listed && !leaves && !in.Busy[uuid]`, `in.Listed && (leaves || !in.Busy[uuid])`,
		in("cluster/host", "TestDecideAtTheSourceOfAMove", "TestVMsOnTheirWay"), ""},
	{"M6", "a migration outlives its order",
		"cluster/host/move.go", `vm == nil || !goes(in, vm, in.Leaving[uuid]) {`, `vm == nil {`,
		in("cluster/host", "TestDecideAtTheSourceOfAMove", "TestSourceOfAMove", "TestVMsOnTheirWay"), ""},
	{"M6", "an agent that restarts leaves a migration alone",
		"cluster/host/move.go", `return begun && !way.Cold && (`, `return false && begun && !way.Cold && (`,
		in("cluster/host", "TestDecideAtTheSourceOfAMove", "TestSourceOfAMove"), ""},

	// The end of a lease on the host.
	{"The end of a lease on the host", "a new incarnation is asked for before it is known what is protected",
		"cluster/host/decide.go", ` && in.Trusted && in.State != nil
`, `
`,
		in("cluster/host", "TestDecideAfterTheLease"), ""},
	{"W1", "the watchdog is petted as long as the lease is valid, without the margin",
		"fencing/watchdog.go", `held := t.Deadline != 0 && t.Now+margin <= t.Deadline`, `held := t.Deadline != 0 && t.Now <= t.Deadline`,
		in("fencing", "TestKeeper", "TestNothingLivesPastTheHardEnd"), ""},
	{"W1", "the watchdog is petted whatever becomes of the lease",
		"fencing/watchdog.go", `held := t.Deadline != 0 && t.Now+margin <= t.Deadline
	last := t.Now+2*margin > t.Deadline //`, `held, last := true, false //`,
		scenario("watchdog-resets-what-cannot-be-killed"), "host_self_fenced"},
	{"W2", "the device stays open past the end of the lease",
		"fencing/watchdog.go", `case k.state == DogArmed && held && last && k.dog.Enduring() && !k.drop.stayOpen:`, `case false:`,
		in("fencing", "TestKeeper"), ""},
	{"W3", "the device stays open after a pet that came late",
		"fencing/watchdog.go", `if k.state == DogArmed && k.clock()+margin > deadline && k.dog.Enduring() && !k.drop.stayLate {`, `if false {`,
		in("fencing", "TestNothingLivesPastTheHardEnd"), ""},
	{"W4", "the timer runs on a host whose VMs are all gone",
		"fencing/watchdog.go", `case !t.Covered:
		k.rest(t.Now)`, `case false:
		k.rest(t.Now)`,
		scenario("lease-ends-without-reset"), "host_self_fenced occurred"},

	{"W5", "a lease is renewed without the watchdog that others count on",
		"cluster/host/heartbeat.go", `if !h.bounded() {`, `if false {`,
		in("cluster/host", "TestLeaseEndsWhereALostWatchdogIsCountedOn"), ""},
	{"W5", "a lease is proven without the watchdog that others count on",
		"cluster/host/watchdog.go", `if said.Word == 0 || h.resetBy() != 0 {`, `if true {`,
		scenario("watchdog-lost-while-cut-off"), "v3 ran twice"},
	{"W5", "a watchdog that takes no pet any more is counted on",
		"fencing/watchdog.go", `k.err, k.state = err, DogFailed
		return`, `k.err = err
		return`,
		scenario("watchdog-lost-is-said"), "v3 ran twice"},
	{"W5", "a VM is started without the watchdog that others count on",
		"cluster/host/decide.go", `if in.Bounded && in.Lease.MayStart(in.Now, in.Timing) {`, `if in.Lease.MayStart(in.Now, in.Timing) {`,
		in("cluster/host", "TestNothingStartsWhereALostWatchdogIsCountedOn"), ""},

	// The inequality and the invariants.
	{"The inequality", "one watchdog timeout is waited for, where a late pet makes two",
		"cluster/lease/timing.go", `const latePets = 2`, `const latePets = 1`,
		in("cluster/lease", "TestProfiles", "TestWaitOutlastsTheWorstClocks"), ""},
	{"The inequality", "clocks are taken for exact",
		"cluster/lease/timing.go", `return 2 * t.ClockError / (1 - t.ClockError)`, `return 0 * t.ClockError`,
		in("cluster/lease", "TestWaitOutlastsTheWorstClocks"), ""},
	{"I1", "the guard waits a second after the deadline",
		"fencing/kill.go", `d == 0 || int64(now) < d {`, `d == 0 || int64(now) < d+int64(time.Second) {`,
		in("fencing", "TestShared", "TestTheGuardActsWithoutItsAgent"), ""},
	{"I1", "a guard that acts late is not told of",
		"cluster/host/assert.go", `acted > g.Deadline+allowed {`, `false {`,
		in("cluster/host", "TestGuardsThatActLate"), ""},
	{"I1", "nobody looks at when the guard acted",
		"cluster/host/host.go", `	h.assertGuarded()
`, ``,
		scenario("broken-invariants-are-told"), "invariant_violated host=h3 did not occur"},
	{"I2", "the watchdog is closed late, which pets it, past the end of the lease",
		"fencing/watchdog.go", `case k.state == DogArmed && k.drop.closeLate:`, `case k.state == DogArmed:`,
		in("fencing", "TestKeeper", "TestNothingLivesPastTheHardEnd"), ""},
	{"I2", "a VM that outlives the hard end is not told of",
		"cluster/host/assert.go", `if l.began-since >= lateFor*h.cfg.Timing.Heartbeat {`, `if false {`,
		in("cluster/host", "TestProtectedVMsPastTheHardEnd"), ""},
	{"I2", "nobody looks for VMs past the hard end",
		"cluster/host/host.go", `	h.assertEnded()
`, ``,
		scenario("broken-invariants-are-told"), "invariant_violated host=h3 did not occur"},
	{"I3", "a start counts without a look at the generation that was carried out",
		"cluster/host/decide.go", `	if in.Record.Executed[vm.UUID] < g {
		if vm.Intent == fsm.IntentStop || vm.Restart != nil || in.Closing || in.Draining {`, `	if true {
		if vm.Intent == fsm.IntentStop || vm.Restart != nil || in.Closing || in.Draining {`,
		in("cluster/host", "TestDecideUnderALease", "TestAnOrderIsExecutedOnce"), ""},
	{"I3", "a start in a generation that was not saved is lawful",
		"cluster/host/assert.go", `case h.record.Executed[o.UUID] != o.Generation:`, `case false:`,
		in("cluster/host", "TestStartsThatNothingPermits"), ""},
	{"I3", "a start under the lease of another life is lawful",
		"cluster/host/assert.go", `case l.Incarnation != h.record.Incarnation:`, `case false:`,
		in("cluster/host", "TestStartsThatNothingPermits"), ""},
	{"I3", "a start that nothing permits is begun all the same",
		"cluster/host/jobs.go", `if !h.assertLawful(o) {`, `if !h.assertLawful(o) && false {`,
		in("cluster/host", "TestStartsThatNothingPermits"), ""},
	{"I4", "an office that has ended acknowledges",
		"cluster/master/serve.go", `if m.office != o || h == nil || s.Office.Epoch != o.epoch {`, `if h == nil {`,
		in("cluster/master", "TestHeartbeatThatIsNotAcknowledged", "TestTheOfficeEndsWithItsProof"), ""},
	{"I5", "a host that was heard after the decision is declared dead",
		"cluster/master/master.go", `if x == nil || x.condemned || x.watch.Heard > x.watch.Suspected {`, `if x == nil || x.condemned {`,
		in("cluster/master", "TestHeartbeatBetweenDecisionAndDeed"), ""},
	{"I6", "an incarnation that is not the present one is declared dead",
		"fsm/apply.go", `	if r := s.liveHost(c.Host, c.Incarnation); r != nil {
		return nil, r
	}
	return s.bury(`, `	return s.bury(`,
		in("fsm", "TestCommands"), ""},
	{"I6", "a member goes on from a state that is broken",
		"fsm/machine.go", `if err := next.follows(m.state); err != nil {`, `if err := next.follows(m.state); err != nil && false {`,
		in("fsm", "TestMachineStopsWhereItsStateIsBroken"), ""},
	{"I6", "an owner that is not live is sound",
		"fsm/follows.go", `case !s.Live(o.Host, o.Incarnation):`, `case false:`,
		in("fsm", "TestFollows"), ""},
	{"I6", "VMs that no command touched are not looked at when a life ends",
		"fsm/follows.go", `if vm == was && !ended {`, `if vm == was {`,
		in("fsm", "TestFollows"), ""},
	{"I6", "a generation may go back",
		"fsm/follows.go", `if was != nil && vm.Generation < was.Generation {`, `if false {`,
		in("fsm", "TestFollows"), ""},
	{"I7", "what a host writes to a volume goes back",
		"storagehb/worker.go", `if value.Stamp().Compare(own.floor) <= 0 && own.known {`, `if false {`,
		in("storagehb", "TestNeverBack", "TestRandomFaults"), ""},
	{"I7", "an agent uses a volume while a write of the one before it is under way",
		"storagehb/apart/lock.go", `unix.LOCK_EX|unix.LOCK_NB`, `unix.LOCK_SH|unix.LOCK_NB`,
		in("storagehb/apart", "TestOneProcessUsesAVolume", "TestWhatWasLeftBehindKeepsTheVolume"), ""},
	{"I7", "a slot that went back is read as if it had not",
		"storagehb/own.go", `case there.Compare(was.done) < 0:`, `case false:`,
		in("storagehb", "TestLostWrites"), ""},
	{"I7", "a host goes on writing where somebody else does",
		"storagehb/own.go", `		w.stolen = fmt.Errorf(`, `		return fmt.Errorf(`,
		in("storagehb", "TestSecondWriter"), ""},
	{"I7", "a slot that went back is not told of",
		"cluster/volumes/broken.go", `case errors.Is(err, storagehb.ErrLostWrite):`, `case false:`,
		in("cluster/volumes", "TestSlotsThatGoBackAreTold"), ""},
	{"Invariants", "what a host has seen violated makes no event",
		"cluster/master/broken.go", `if !o.broken[key] {`, `if false {`,
		in("cluster/master", "TestViolationsAreTold"), ""},
	{"I8", "the wait is the lease alone, and guards may be late",
		"cluster/lease/lease.go", `return max(w.Acknowledged, w.Elected, w.claimed()) + t.Wait(), true
}`, `return max(w.Acknowledged, w.Elected, w.claimed()) + t.LeaseGone(), true
}`,
		scenario("guards-as-late-as-they-may-be"), "ran twice"},
}
