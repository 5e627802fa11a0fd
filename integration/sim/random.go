package sim

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
)

// Shape of a random run.
const (
	settle     = 10 * time.Second  // before the first fault
	faultsLast = 90 * time.Second  // the time in which faults fall
	mending    = 150 * time.Second // for everything to run again after the last heal
	maxRate    = 4e-4              // of boot clocks, within the timing's allowance
)

// Random makes a scenario from a seed: hosts, VMs, and what goes wrong when. It
// ends with everything mended, and Run then holds that every VM that shall run
// runs exactly once.
func Random(seed uint64) *scenario.Scenario {
	r := rand.New(rand.NewPCG(seed, 0x5eed))
	g := &generator{r: r, stuck: map[string][]span{}, undogged: map[string][]span{}, s: &scenario.Scenario{SchemaVersion: scenario.SchemaVersion, ID: fmt.Sprintf("seed-%d", seed), Category: "random",
		Summary: fmt.Sprintf("Random faults from seed %d.", seed)}}
	g.hosts()
	for i := range []int{0, 0, 1, 2, 2, 3}[g.r.IntN(6)] {
		g.s.Volumes = append(g.s.Volumes, scenario.Volume{ID: fmt.Sprintf("hb%d", i+1)})
	}
	g.policy()
	// Of its own dice, so that a seed of before this was drawn is the run that it was.
	g.s.Settings.ShutdownPolicy = []string{"", config.ShutdownMigrate, config.ShutdownFreeze, config.ShutdownConditional}[rand.New(rand.NewPCG(seed, 0xd0e)).IntN(4)]
	g.vms()
	g.faults()
	g.mend()
	slices.SortStableFunc(g.s.Actions, func(a, b scenario.Action) int { return cmp.Compare(a.T, b.T) })
	return g.s
}

type generator struct {
	r *rand.Rand
	s *scenario.Scenario
	// newcomer is the machine that joins in the course of the run; empty: none does.
	newcomer string
	// extra is the VM that is brought in the course of the run; empty: none is.
	extra string
	// trusting: the policy takes the wait for proof enough, even of a host without a watchdog.
	trusting bool
	// stuck is when a host's VMs may go on although nothing of it runs or ends them, and
	// undogged when its watchdog is gone, by host.
	stuck, undogged map[string][]span
}

// span is from when to when something lasts.
type span struct{ from, to time.Duration }

func (s span) meets(others []span) bool {
	return slices.ContainsFunc(others, func(o span) bool { return s.from < o.to && o.from < s.to })
}

// policy draws what proof a death needs, and what isolated hosts do.
func (g *generator) policy() {
	mode := config.FencingRequired
	if g.trusting = g.r.IntN(2) == 0; g.trusting {
		mode = config.FencingBestEffort
	}
	isolation := ""
	if len(g.s.Volumes) > 0 && g.r.IntN(3) == 0 {
		isolation = fmt.Sprintf(`, "isolation_response": {"action": %q, "delay": "%ds", "shutdown_timeout": "20s"}`, []string{"shutdown", "power_off"}[g.r.IntN(2)], g.r.IntN(10))
	}
	g.s.Policy = fmt.Appendf(nil, `{"fencing": {"mode": %q}%s}`, mode, isolation)
}

// latestEnd is as late as a lawful guard may be.
func latestEnd() time.Duration {
	t, _ := lease.Profile("standard")
	return t.HardEnd() + t.Drain
}

func (g *generator) hosts() {
	slow := g.r.IntN(2) == 0 // guards that take as long as they may
	devices := g.r.IntN(3) == 0
	var starts time.Duration
	if g.r.IntN(3) == 0 {
		starts = time.Duration(g.r.Int64N(int64(6 * time.Second)))
	}
	n := []int{3, 3, 3, 4, 5}[g.r.IntN(5)]
	for i := range n {
		h := scenario.Host{ID: fmt.Sprintf("h%d", i+1)}
		if g.r.IntN(2) == 0 {
			h.ClockRate = 1 + maxRate*(2*g.r.Float64()-1)
		}
		h.StartTakes = scenario.Seconds(starts.Round(time.Millisecond))
		if slow {
			h.EndTakes = scenario.Seconds(latestEnd())
		}
		if g.r.IntN(2) == 0 {
			h.Watchdog = "none"
		} else {
			h.WatchdogSlow = []float64{0, 0.05}[g.r.IntN(2)]
			h.BootTakes = scenario.Seconds(5*time.Second + time.Duration(g.r.IntN(40))*time.Second)
		}
		if devices {
			h.FenceDevice = []string{deviceWorks, deviceWorks, deviceWorks, deviceRefuses, deviceHangs, ""}[g.r.IntN(6)]
		}
		g.s.Hosts = append(g.s.Hosts, h)
	}
	if g.r.IntN(4) == 0 {
		outside := false
		g.newcomer = fmt.Sprintf("h%d", n+1)
		g.s.Hosts = append(g.s.Hosts, scenario.Host{ID: g.newcomer, Member: &outside})
	}
	for _, h := range g.s.Hosts {
		if h.ID != g.newcomer {
			g.add(0, scenario.Action{Do: "power_on", Host: h.ID})
		}
	}
}

func (g *generator) vms() {
	for i := range 2 + g.r.IntN(5) {
		g.s.VMs = append(g.s.VMs, scenario.VM{ID: fmt.Sprintf("v%d", i+1), Host: g.host(), Desired: "running"})
	}
}

func (g *generator) add(t time.Duration, a scenario.Action) {
	a.T = scenario.Seconds(t.Round(time.Millisecond))
	g.s.Actions = append(g.s.Actions, a)
}

// host is one of those that are members from the start.
func (g *generator) host() string {
	n := len(g.s.Hosts)
	if g.newcomer != "" {
		n--
	}
	return g.s.Hosts[g.r.IntN(n)].ID
}

func (g *generator) vm() string { return g.s.VMs[g.r.IntN(len(g.s.VMs))].ID }

// while is how long a fault lasts: often about as long as a lease or a wait, when
// it matters to the moment.
func (g *generator) while() time.Duration {
	longest := []time.Duration{time.Second, 5 * time.Second, 20 * time.Second, 60 * time.Second}[g.r.IntN(4)]
	return time.Duration(g.r.Int64N(int64(longest))) + 50*time.Millisecond
}

// faults draws what goes wrong. Moments gather, because two faults at once are
// worse than two apart.
func (g *generator) faults() {
	at := settle
	for range 2 + g.r.IntN(8) {
		if g.r.IntN(3) > 0 {
			at = settle + time.Duration(g.r.Int64N(int64(faultsLast)))
		} else {
			at += time.Duration(g.r.Int64N(int64(3 * time.Second)))
		}
		g.fault(at)
	}
	if g.newcomer != "" {
		g.add(settle+time.Duration(g.r.Int64N(int64(faultsLast))), scenario.Action{Do: "add_host", Host: g.newcomer})
	}
}

func (g *generator) fault(at time.Duration) {
	h, until := g.host(), at+g.while()
	pair := func(on, off scenario.Action) {
		g.add(at, on)
		g.add(until, off)
	}
	network := []string{"", "", "net1", "net2"}[g.r.IntN(4)]
	if len(g.s.Volumes) > 0 && g.r.IntN(3) == 0 {
		g.storage(h, pair)
		return
	}
	if g.r.IntN(4) == 0 {
		g.whole(g.machine(h), span{at, until}, pair)
		return
	}
	if g.machine(h).FenceDevice != "" && g.r.IntN(5) == 0 {
		pair(scenario.Action{Do: []string{"fence_device_fails", "fence_device_hangs"}[g.r.IntN(2)], Host: h}, scenario.Action{Do: "fence_device_ok", Host: h})
		return
	}
	switch g.r.IntN(10) {
	case 0, 1:
		g.move(at, until)
		return
	case 2, 3:
		g.byHand(at, until)
		return
	}
	switch g.r.IntN(18) {
	case 0, 1:
		pair(scenario.Action{Do: "power_off", Host: h}, scenario.Action{Do: "power_on", Host: h})
	case 2, 3:
		pair(scenario.Action{Do: "kill_agent", Host: h}, scenario.Action{Do: "start_agent", Host: h})
	case 4, 5:
		pair(scenario.Action{Do: "freeze_agent", Host: h}, scenario.Action{Do: "thaw_agent", Host: h})
	case 6, 7:
		pair(scenario.Action{Do: "isolate_network", Host: h, Network: network}, scenario.Action{Do: "restore_network", Host: h, Network: network})
	case 8:
		groups := [][]string{nil, nil}
		for _, x := range g.s.Hosts {
			i := g.r.IntN(2)
			groups[i] = append(groups[i], x.ID)
		}
		pair(scenario.Action{Do: "partition", Groups: groups}, scenario.Action{Do: "heal"})
	case 9, 10:
		to := g.host()
		pair(scenario.Action{Do: "cut_link", From: h, To: to, Network: network}, scenario.Action{Do: "restore_link", From: h, To: to, Network: network})
	case 11:
		slow := scenario.Action{Do: "network_delay", Hosts: []string{h}, MS: float64(g.r.IntN(900)), Loss: float64(g.r.IntN(20)) / 100}
		pair(slow, scenario.Action{Do: "network_delay", Hosts: []string{h}})
	case 12:
		g.person(at)
	case 13:
		pair(scenario.Action{Do: "hypervisor_down", Host: h, Hang: g.r.IntN(2) == 0}, scenario.Action{Do: "hypervisor_up", Host: h})
	case 14:
		g.add(at, scenario.Action{Do: "clock_rate", Host: h, Rate: 1 + maxRate*(2*g.r.Float64()-1)})
		g.add(at, scenario.Action{Do: "restart_host_agent", Host: h})
	case 15:
		g.add(at, scenario.Action{Do: "clock_step", Host: h, Seconds: g.wallError()})
	case 16:
		g.shutDown(h, at, until)
	default:
		pair(scenario.Action{Do: "fail_starts", VM: g.vm(), Host: h, Fails: 1 + g.r.IntN(2)}, scenario.Action{Do: "crash_vm", VM: g.vm()})
	}
}

func (g *generator) machine(id string) scenario.Host {
	return g.s.Hosts[slices.IndexFunc(g.s.Hosts, func(h scenario.Host) bool { return h.ID == id })]
}

// whole is a fault of one machine as a whole. A kernel that hangs, and processes that
// do not end, befall a machine without a watchdog only where the policy asks for a
// proof: elsewhere its VM would run twice, as docs/limits.md says. A guard that may be
// late is late after a sleep as well, which nothing allows for.
func (g *generator) whole(h scenario.Host, when span, pair func(on, off scenario.Action)) {
	switch kind := g.r.IntN(8); kind {
	case 0, 1, 2, 3:
		if !g.mayBeStuck(h, when) {
			break
		}
		g.stuck[h.ID] = append(g.stuck[h.ID], when)
		pair(scenario.Action{Do: []string{"freeze_host", "freeze_host", "kills_fail", "freeze_guard"}[kind], Host: h.ID},
			scenario.Action{Do: []string{"thaw_host", "thaw_host", "kills_work", "thaw_guard"}[kind], Host: h.ID})
		return
	case 4:
		pair(scenario.Action{Do: []string{"state_store_access_fails", "state_store_refresh_fails"}[g.r.IntN(2)], Host: h.ID}, scenario.Action{Do: "state_store_access_ok", Host: h.ID})
		return
	case 5:
		if h.Watchdog == "none" || (span{when.from - time.Second, when.from + unsaid}).meets(g.stuck[h.ID]) || g.trusting && when.meets(g.stuck[h.ID]) {
			break
		}
		g.undogged[h.ID] = append(g.undogged[h.ID], when)
		pair(scenario.Action{Do: "watchdog_lost", Host: h.ID}, scenario.Action{Do: "watchdog_ok", Host: h.ID})
		return
	case 6:
		if h.Watchdog != "none" {
			pair(scenario.Action{Do: "watchdog_ignores", Host: h.ID}, scenario.Action{Do: "watchdog_ok", Host: h.ID})
			return
		}
	}
	if h.EndTakes == 0 {
		pair(scenario.Action{Do: "suspend_host", Host: h.ID}, scenario.Action{Do: "resume_host", Host: h.ID})
	}
}

// unsaid is how long after it lost its watchdog a host's VMs may still count on it: its
// last lease, and the latest guard. A host that loses it and hangs before that is two
// faults at once that nothing can tell apart from one.
const unsaid = 15 * time.Second

// mayBeStuck reports whether a host's VMs may be left to themselves for that time.
func (g *generator) mayBeStuck(h scenario.Host, when span) bool {
	for _, lost := range g.undogged[h.ID] {
		if g.trusting && when.meets([]span{lost}) || when.meets([]span{{lost.from - time.Second, lost.from + unsaid}}) {
			return false
		}
	}
	return h.Watchdog != "none" || !g.trusting
}

// storage is a fault of the heartbeat volumes, or of one host's way to them.
func (g *generator) storage(h string, pair func(on, off scenario.Action)) {
	one := g.s.Volumes[g.r.IntN(len(g.s.Volumes))].ID
	volume := []string{"", one}[g.r.IntN(2)]
	back := scenario.Action{Do: "restore_storage", Host: h, Volume: volume}
	switch g.r.IntN(7) {
	case 6:
		pair(scenario.Action{Do: "gateway_down"}, scenario.Action{Do: "gateway_up"})
	case 0, 1:
		pair(scenario.Action{Do: "cut_storage", Host: h, Volume: volume}, back)
	case 2:
		pair(scenario.Action{Do: "cut_storage", Host: h, Volume: volume, Hang: true}, back)
	case 3:
		pair(scenario.Action{Do: "slow_storage", Host: h, Volume: volume, MS: float64(g.r.IntN(3000))}, back)
	case 4:
		pair(scenario.Action{Do: "fail_volume", Volume: one}, scenario.Action{Do: "restore_volume", Volume: one})
	default:
		pair(scenario.Action{Do: "corrupt_slot", Volume: one, Host: h}, back)
	}
}

// mend ends every fault.
func (g *generator) mend() {
	end := settle + faultsLast + 5*time.Second
	for _, a := range g.s.Actions {
		end = max(end, a.T.D()+time.Second)
	}
	g.add(end, scenario.Action{Do: "heal"})
	g.add(end, scenario.Action{Do: "arm_cluster"})
	for _, v := range g.s.Volumes {
		g.add(end, scenario.Action{Do: "restore_volume", Volume: v.ID})
		for _, h := range g.s.Hosts {
			g.add(end, scenario.Action{Do: "restore_storage", Host: h.ID, Volume: v.ID})
		}
	}
	for _, h := range g.s.Hosts {
		g.add(end, scenario.Action{Do: "state_store_access_ok", Host: h.ID})
		g.add(end, scenario.Action{Do: "resume_host", Host: h.ID})
		g.add(end, scenario.Action{Do: "thaw_host", Host: h.ID})
		g.add(end, scenario.Action{Do: "maintenance_off", Host: h.ID})
		g.add(end, scenario.Action{Do: "fail_moves", Host: h.ID})
		g.add(end, scenario.Action{Do: "kills_work", Host: h.ID})
		g.add(end, scenario.Action{Do: "thaw_guard", Host: h.ID})
		g.add(end, scenario.Action{Do: "watchdog_ok", Host: h.ID})
		g.add(end, scenario.Action{Do: "thaw_agent", Host: h.ID})
		g.add(end, scenario.Action{Do: "hypervisor_up", Host: h.ID})
		g.add(end, scenario.Action{Do: "power_on", Host: h.ID})
		g.add(end, scenario.Action{Do: "start_agent", Host: h.ID})
		for _, vm := range g.s.VMs {
			g.add(end, scenario.Action{Do: "fail_starts", VM: vm.ID, Host: h.ID})
		}
	}
	for _, vm := range append([]string{g.extra}, g.names()...) {
		if vm != "" {
			g.add(end, scenario.Action{Do: "resume_guest", VM: vm})
		}
	}
	g.s.Until = scenario.Seconds(end + mending)
}

// RunRandom plays a scenario made by Random, ends it as soon as all is well after
// everything was mended, and holds what must then be true: every VM is what
// people were promised, and what shall run runs exactly once.
func (w *World) RunRandom() Result {
	actions := w.s.InOrder()
	mended := time.Duration(0)
	for _, a := range actions {
		mended = max(mended, a.T.D())
	}
	w.play(actions, mended+Step)
	for w.now() < w.s.End() && w.unsettled() != "" {
		w.play(nil, w.now()+5*time.Second)
	}
	w.play(nil, w.now()+10*time.Second) // and it stays so
	if what := w.unsettled(); what != "" {
		w.broken("%v after everything was mended %s", w.now()-mended, what)
	}
	w.finish()
	w.Close()
	return Result{Violations: slices.Clone(w.watch.broken), Outcome: w.outcome, Lasted: w.now(), Timeline: w.story(), Logs: w.Logs()}
}

// unsettled says what is not yet as it shall be; empty: all is well.
func (w *World) unsettled() string {
	m, s := w.master(), w.watch.newest.state
	if m == nil || s == nil {
		return "there is no master"
	}
	if w.switching > 0 {
		return "a fence device is at work"
	}
	for _, h := range s.SortedHosts() {
		if h.Status != fsm.HostLive {
			return fmt.Sprintf("host %s is %s", h.Name, h.Status)
		}
		if a := w.machines[h.Name].agent; a == nil || a.agent.Self().LeaseLeft == 0 {
			return fmt.Sprintf("host %s holds no lease", h.Name)
		}
	}
	for _, vm := range w.s.VMs {
		if what := w.astray(vm.ID, s.FindVM(vm.ID)); what != "" {
			return what
		}
	}
	for _, vm := range slices.Sorted(maps.Keys(w.people.wants)) { // those that were brought since as well
		if what := w.astray(vm, s.FindVM(vm)); what != "" {
			return what
		}
	}
	return ""
}

// astray says how a VM differs from what it shall be.
func (w *World) astray(name string, vm *fsm.VM) string {
	wants := w.people.wants[name]
	if len(wants) == 0 {
		return name + " was never protected"
	}
	is := want{protected: vm != nil}
	if vm != nil {
		is.intent = vm.Intent
	}
	if !slices.Contains(wants, is) {
		return fmt.Sprintf("%s is %v, but people were promised %v", name, is, wants)
	}
	on := w.disks.Writers(uuidOf("vm", name))
	switch {
	case vm == nil:
		return ""
	case vm.Intent == fsm.IntentStop && len(on) > 0:
		return fmt.Sprintf("%s runs on %s and shall not", name, on[0].Host)
	case vm.Intent == fsm.IntentRun && len(on) == 0:
		return fmt.Sprintf("%s shall run and does not (owner %v, waiting %q)", name, vm.Owner, vm.Waiting)
	case vm.Intent == fsm.IntentRun && (vm.Owner == nil || vm.Owner.Host != on[0].Host || vm.Owner.Phase != fsm.PhaseRunning):
		return fmt.Sprintf("%s runs on %s, but its owner is %v", name, on[0].Host, vm.Owner)
	}
	return ""
}
