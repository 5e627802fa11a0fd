package mutation

// ofPolicy are the mutants of what blocks of the policy ask for.
var ofPolicy = []mutant{
	// Levels that are waited for: the block restart of docs/reference/cluster.hcl.md.
	{"restart", "no level is waited for",
		"cluster/recovery/waves.go", `if !p.Policy.Restart.Waves() {`, `if true {`,
		scenario("restart-in-waves"), "vm_recovery_assigned"},
	{"restart", "best effort is a level like any other",
		"cluster/recovery/waves.go", `cmp.Or(cmp.Compare(a.class, b.class), -cmp`, `cmp.Or(-cmp`,
		in("cluster/recovery", "TestWaves"), "best_effort_waits_for_all_others"},
	{"restart", "the order inside a priority makes no level",
		"cluster/recovery/waves.go", `return level{v.Class, v.Priority, v.Order}`, `return level{v.Class, v.Priority, 0}`,
		scenario("restart-in-waves"), "vm_recovery_assigned"},
	{"restart", "the next level starts at once, whatever next_delay says",
		"cluster/recovery/waves.go", `at.Add(p.Policy.Restart.NextDelay)`, `at`,
		in("cluster/recovery", "TestWaves"), "some_time_is_to_pass_besides"},
	{"restart", "VMs that run are passed, whatever ready_when asks",
		"cluster/recovery/waves.go", `g != nil && p.Policy.Restart.NextWhen == config.NextReady {`, `g != nil && false {`,
		in("cluster/recovery", "TestWaves"), "they_are_to_be_ready"},
	{"restart", "a level that does not get through is waited for without end",
		"cluster/recovery/waves.go", `if p.Now.Before(over) {`, `if true {`,
		in("cluster/recovery", "TestWaves"), "both_times_are_over"},
	{"restart", "the time of a level runs while it has to wait itself",
		"cluster/recovery/waves.go", `		due = later(due, from)
`, ``,
		in("cluster/recovery", "TestWaves"), "the_time_of_the_second_begins_when_that_of_the_first_is_over"},
	{"restart", "a VM that is given up is waited for",
		"cluster/recovery/waves.go", `case p.over[vm.UUID], toStart(vm)`, `case toStart(vm)`,
		in("cluster/recovery", "TestWaves"), "the_first_is_given_up"},
	{"restart", "a VM that crashed keeps those after it down",
		"cluster/recovery/waves.go", `toStart(vm) && p.Now.Before(afterCrash(vm, p.Now)):`, `false:`,
		in("cluster/recovery", "TestWaves"), "the_first_crashed,_and_waits_for_its_next_try"},
	{"restart", "a VM that was moved counts as started then",
		"cluster/recovery/waves.go", `if vm.Owner.From != "" && !vm.Owner.Cold {`, `if false {`,
		in("cluster/recovery", "TestWaves"), "a_VM_that_was_moved_ran_all_the_time"},
	{"restart", "a group and a level wait for one another",
		"cluster/recovery/waves.go", `some && compareLevels(after, l) > 0 {
			return after`, `some && false {
			return after`,
		in("cluster/recovery", "TestWaves"), "the_first_starts_after_a_group_of_the_last"},

	// Admission control of what nobody protects.
	{"admission_control", "the master's refusal of a VM that nobody protects is not heeded",
		"cluster/host/admit.go", `if err != nil && !errors.Is(err, api.ErrRefused) {`, `if err != nil && !errors.Is(err, context.Canceled) {`,
		scenario("unprotected-start-refused"), "large runs on"},
	{"admission_control", "a VM that nobody protects does not start where the master does not answer",
		"cluster/host/admit.go", `"error", err)
		return nil
	}`, `"error", err)
		return fmt.Errorf("%w: %w", api.ErrRefused, err)
	}`,
		scenario("unprotected-start-refused"), "large runs on"},
	{"admission_control", "a VM that nobody protects waits for the master's answer for as long as the hook does",
		"cluster/host/admit.go", `const strangerPatience = time.Second`, `const strangerPatience = time.Minute`,
		scenario("unprotected-start-refused"), "large runs on"},
	{"admission_control", "the start of a VM that nobody protects is not told of where it takes the room",
		"cluster/master/admission.go", `case enforced || v.Answer == placement.Yes && !v.Refused:`, `case true:`,
		scenario("unprotected-start-told"), "admission_control_warned"},
	{"admission_control", "of VMs that nobody protects and that are started at once each has all the room",
		"cluster/master/stranger.go", `		o.coming.notes[r.UUID] = arrival{domain: d, host: r.Host, at: now}
`, ``,
		in("cluster/master", "TestStrangersAtOnce"), ""},
	{"admission_control", "a VM that is protected by now starts as one that nobody protects",
		"cluster/master/stranger.go", `vm := s.VMs[r.UUID]; vm != nil {`, `vm := s.VMs[r.UUID]; vm != nil && false {`,
		in("cluster/master", "TestAStrangerAndWhatTheMasterKnows"), ""},
	{"admission_control", "a VM that nobody protects is refused while the master has not heard from every host",
		"cluster/master/stranger.go", `	if errors.Is(err, api.ErrRefused) {
		m.record`, `	if false {
		m.record`,
		in("cluster/master", "TestAStrangerAndWhatTheMasterKnows"), ""},

	// A host that is shut down.
	{"host_shutdown", "what a host gives back is committed before it is known what becomes of it",
		"cluster/master/decide.go", `		shutdowns(in, m, h, o, &d)
		reports(in, m, h, o, &d)
`, `		reports(in, m, h, o, &d)
		shutdowns(in, m, h, o, &d)
`,
		in("cluster/master", "TestShutdownIsNotedBeforeItsReports"), ""},
	{"host_shutdown", "a host gives its VMs back before anybody has said what becomes of them",
		"cluster/host/shutdown.go", `now-is.since >= t.MasterBound()`, `true`,
		in("cluster/host", "TestGivesBack"), "freeze, before it is decided"},
	{"host_shutdown", "a host that nobody answers never goes down",
		"cluster/host/shutdown.go", ` || now-is.since >= t.MasterBound()`, ``,
		in("cluster/host", "TestGivesBack"), "freeze, and nobody decides"},
	{"host_shutdown", "VMs that do not leave keep their host from going down",
		"cluster/host/shutdown.go", `x.Rest || now-is.since >= p.MigrateTimeout`, `x.Rest`,
		in("cluster/host", "TestGivesBack"), "they have had their time"},
	{"host_shutdown", "a host that is shut down starts what it was given",
		"cluster/host/decide.go", `vm.Restart != nil || in.Closing || in.Draining {`, `vm.Restart != nil || in.Draining {`,
		in("cluster/host", "TestClosingMovesAndStartsNothing"), ""},
	{"host_shutdown", "a host that is shut down is given VMs",
		"fsm/move.go", `if x := s.Hosts[host].Shutdown; x != nil {`, `if x := s.Hosts[host].Shutdown; x != nil && false {`,
		in("fsm", "TestNoteShutdown"), "is given a VM"},
	{"host_shutdown", "a VM that its host gave back waits for nobody",
		"fsm/placements.go", `		s.freeze(vm, c, o.Phase == PhaseRunning)
`, ``,
		in("fsm", "TestFreeze"), ""},
	{"host_shutdown", "a VM that waits for its host starts elsewhere",
		"cluster/inventory/frozen.go", `return until, s == Away, s == Takes`, `return until, false, s == Takes`,
		scenario("shutdown-freeze-reboot"), "vm_started"},
	{"host_shutdown", "a VM waits for its host without end",
		"cluster/inventory/frozen.go", `!now.Before(until)`, `false`,
		scenario("shutdown-freeze-timeout"), "v3"},
	{"host_shutdown", "the room of VMs that wait for their host is given to others",
		"cluster/inventory/build.go", `v.Kept = vm.Frozen.Host`, ``,
		in("cluster/recovery", "TestFrozen"), "would take its room"},
	{"host_shutdown", "what a person says of a host that is off ends no wait for it",
		"fsm/apply.go", `	s.unfreeze(c.Host, c.Meta, fmt.Sprintf("%s is off, says %s", c.Host, c.By))
`, ``,
		scenario("shutdown-freeze-confirmed-off"), "vm_freeze_ended"},
	{"host_shutdown", "what cannot be moved is waited for",
		"cluster/master/shutdown.go", `|| stuck(in, h)): // nothing`, `|| false): // nothing`,
		in("cluster/master", "TestTheRestIsShutDown"), "all stay"},
	{"host_shutdown", "what can be moved is shut down",
		"cluster/master/shutdown.go", `vm.Move != nil || !stays[vm.UUID] &&`, `false &&`,
		in("cluster/master", "TestTheRestIsShutDown"), "one leaves"},
	{"host_shutdown", "a master keeps the office though its own host is emptied",
		"cluster/master/handover.go", `f.inService = !h.Emptied()`, `f.inService = h.Maintenance == nil`,
		scenario("shutdown-migrate-of-the-master"), "office_handed_over"},
	{"host_shutdown", "a host that boots is switched off",
		"cluster/master/fence.go", `(h.Maintenance != nil || h.Shutdown != nil)`, `h.Maintenance != nil`,
		in("cluster/master", "TestAHostThatWasShutDownIsNotFenced"), "gave its VMs back"},
	{"host_shutdown", "systemd cuts the shutdown short",
		"cmd/haagent/shutdown.go", `		s.Extend(extendBy)
`, ``,
		in("cmd/haagent", "TestAnOrderlyEndIsNotCutShort"), "killed"},
}
