package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
	"github.com/holdfast-ha/holdfast/integration/sim/simnet"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// Step is how often everything is looked at.
const Step = 100 * time.Millisecond

// Config is what a World is made of.
type Config struct {
	Scenario *scenario.Scenario
	// Seed drives the network's delays, the guards' ticks and the agents' own choices.
	Seed uint64
	// Profile is the timing profile; empty is standard.
	Profile string
	// DeviceTakes is how long a fence device that works takes to switch a host off and to prove it; 2 s when 0.
	DeviceTakes time.Duration
	// LogLevel of the agents; hclog.Off unless set.
	LogLevel hclog.Level
}

// networks are the HA networks of every simulated host.
var networks = []string{"net1", "net2"}

// World is one simulated cluster. Make and use it inside one bubble, from one goroutine.
type World struct {
	cfg    Config
	s      *scenario.Scenario
	timing lease.Timing
	start  time.Time
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	net      *simnet.Network
	disks    *embedded.World
	machines map[string]*machine
	order    []string
	ca       authority
	apart    map[[2]string]bool // hosts between which no hypervisor reaches the other
	cuts     map[string]bool    // hosts that are isolated by an action
	volumes  []*volume          // heartbeat volumes, in the order of the scenario
	gateway  atomic.Bool        // the isolation address does not answer

	do chan func() // what goroutines ask the World's own to do
	// switching is how many orders to fence devices are under way.
	switching   int
	balancing   bool // balance has been switched on
	ruled       bool // the cluster has the file's rules and policy
	startFaults startFaults
	taken       map[string]taken // what guests take, by VM
	begun       bool             // people have asked for the protection of the scenario's VMs
	people      *people
	watch       *watch
	outcome     scenario.Outcome
	timeline    []moment
	logs        strings.Builder
	logMu       sync.Mutex
}

// New builds the cluster: every host is a member, all are off. Call Close.
func New(cfg Config) (*World, error) {
	if cfg.Profile == "" {
		cfg.Profile = "standard"
	}
	if cfg.DeviceTakes == 0 {
		cfg.DeviceTakes = deviceTakes
	}
	timing, ok := lease.Profile(cfg.Profile)
	if !ok {
		return nil, fmt.Errorf("timing profile %q is not known", cfg.Profile)
	}
	s := cfg.Scenario
	ctx, cancel := context.WithCancel(context.Background())
	w := &World{
		cfg: cfg, s: s, timing: timing, start: time.Now(), ctx: ctx, cancel: cancel,
		net: simnet.New(cfg.Seed, networks...), disks: embedded.NewWorld(), machines: map[string]*machine{},
		apart: map[[2]string]bool{}, cuts: map[string]bool{}, taken: map[string]taken{}, do: make(chan func()),
	}
	w.people, w.watch, w.ruled = newPeople(w), newWatch(w), s.RulesFrom == 0
	w.startFaults.inject(s.VMs)
	w.outcome.Actions = make([]time.Duration, len(s.Actions))
	w.outcome.Bounds = map[string]time.Duration{
		"member": timing.MemberBound() + timing.Heartbeat,
		"master": timing.MasterBound() + timing.Heartbeat,
	}
	for i, h := range s.Hosts {
		if err := w.addMachine(h, uint64(i)); err != nil {
			cancel()
			return nil, err
		}
	}
	w.setLoads()
	if err := w.initVolumes(); err != nil {
		cancel()
		return nil, err
	}
	if err := w.found(); err != nil {
		cancel()
		return nil, fmt.Errorf("found the cluster: %w", err)
	}
	return w, nil
}

// Default sizes of hosts and VMs that a scenario does not give.
const (
	defaultCPUs     = 16
	defaultMemory   = 64 << 30
	defaultVMMemory = 1 << 30
)

func (w *World) addMachine(h scenario.Host, number uint64) error {
	cpus, memory := int(h.CPUs), h.MemBytes
	if cpus == 0 {
		cpus = defaultCPUs
	}
	if memory == 0 {
		memory = defaultMemory
	}
	m := &machine{w: w, name: h.ID, clock: newClock(h.ClockRate), disk: newDisk(), rng: rand.New(rand.NewPCG(w.cfg.Seed, number+1000)),
		machineID: uuidOf("machine", h.ID), outsider: h.Member != nil && !*h.Member, endTakes: h.EndTakes.D(),
		delays: embedded.Delays{Kill: h.EndTakes.D(), Start: h.StartTakes.D(), Migrate: migrateTakes, Cutover: cutoverTakes}}
	m.equip(h)
	var domains []embedded.DomainConfig
	for i := range w.s.VMs {
		if w.s.VMs[i].Host == h.ID {
			domains = append(domains, embedded.DomainConfig{XML: definition(&w.s.VMs[i]), Autostart: w.s.VMs[i].Autostart})
		}
	}
	var err error
	m.hyp, err = embedded.NewHost(w.disks, embedded.HostConfig{Name: h.ID, CPUs: cpus, Memory: memory, Domains: domains})
	if err != nil {
		return fmt.Errorf("host %s: %w", h.ID, err)
	}
	m.hyp.PowerOff()
	for i := range w.s.VMs {
		m.inject(&w.s.VMs[i])
	}
	w.net.AddHost(h.ID)
	w.machines[h.ID] = m
	w.order = append(w.order, h.ID)
	return nil
}

// inject sets what goes wrong with a VM's starts on this machine.
func (m *machine) inject(vm *scenario.VM) {
	f := vm.InjectedFaults
	if vm.LiveMigratable != nil && !*vm.LiveMigratable {
		m.hyp.SetMigratable(vm.ID, false)
	}
	if f != nil && f.MoveFailsFirstN > 0 {
		m.hyp.SetMigrateFault(vm.ID, embedded.MigrateFault{Fails: f.MoveFailsFirstN})
	}
	if f == nil || f.StartFailsFirstN == 0 || f.StartAndMoveFaultsOnlyHost != m.name {
		return
	}
	m.hyp.SetStartFault(vm.ID, embedded.StartFault{Fails: f.StartFailsFirstN})
}

// uuidOf makes the same UUID for the same names.
func uuidOf(kind, name string) string {
	r := rand.New(rand.NewPCG(hash(kind), hash(name)))
	a, b := r.Uint64(), r.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0xfff, b&0xffffffffffff)
}

func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range []byte(s) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// definition is a scenario VM's domain.
func definition(vm *scenario.VM) string {
	memory, cpus := vm.MemBytes, int(vm.CPUs)
	if memory == 0 {
		memory = defaultVMMemory
	}
	xml := embedded.MinimalXML(vm.ID, uuidOf("vm", vm.ID), memory, max(1, cpus))
	if vm.LiveMigratable != nil && !*vm.LiveMigratable { // what keeps it from being moved is in its definition
		xml = strings.Replace(xml, "</vcpu>", "</vcpu>\n  <cpu><feature policy='require' name='invtsc'/></cpu>", 1)
	}
	return handing(xml, vm.Devices)
}

// Close ends everything, so that the bubble can end.
func (w *World) Close() {
	for _, name := range w.order {
		w.machines[name].powerOff()
	}
	w.cancel()
	w.net.Close()
	w.releaseVolumes()
	w.wg.Wait()
}

// now is virtual time since the start.
func (w *World) now() time.Duration { return time.Since(w.start) }

// note adds a line to the timeline.
func (w *World) note(format string, args ...any) { w.noteAt(w.now(), format, args...) }

func (w *World) noteAt(at time.Duration, format string, args ...any) {
	w.timeline = append(w.timeline, moment{at, fmt.Sprintf(format, args...)})
}

// moment is one line of the timeline.
type moment struct {
	at   time.Duration
	text string
}

// broken records that an invariant does not hold.
func (w *World) broken(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(w.watch.broken, text) {
		return
	}
	w.watch.broken = append(w.watch.broken, text)
	w.note("BROKEN: %s", text)
}

// later has f done by the World's own goroutine after d.
func (w *World) later(d time.Duration, f func()) {
	w.wg.Go(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-w.ctx.Done():
			return
		}
		w.soon(f)
	})
}

// soon has f done by the World's own goroutine; any goroutine may call it.
func (w *World) soon(f func()) {
	select {
	case w.do <- f:
	case <-w.ctx.Done():
	}
}

// sleepUntil waits until virtual time t, doing meanwhile what is asked.
func (w *World) sleepUntil(t time.Duration) {
	timer := time.NewTimer(t - w.now())
	defer timer.Stop()
	for {
		select {
		case f := <-w.do:
			f()
		case <-timer.C:
			return
		}
	}
}

// Write takes the agents' log.
func (w *World) Write(b []byte) (int, error) {
	w.logMu.Lock()
	defer w.logMu.Unlock()
	return w.logs.Write(b)
}

func (w *World) logger(name string) hclog.Logger {
	if w.cfg.LogLevel == hclog.NoLevel || w.cfg.LogLevel == hclog.Off {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: w.cfg.LogLevel, Output: w, TimeFn: time.Now,
		TimeFormat: "15:04:05.000", IndependentLevels: true})
}

// Logs is what the agents have logged.
func (w *World) Logs() string {
	w.logMu.Lock()
	defer w.logMu.Unlock()
	return w.logs.String()
}

// story is what happened, a line each, in the order of time.
func (w *World) story() []string {
	lines := slices.Clone(w.timeline)
	slices.SortStableFunc(lines, func(a, b moment) int { return int(a.at - b.at) })
	var all []string
	for _, l := range lines {
		all = append(all, fmt.Sprintf("%9.3fs  %s", l.at.Seconds(), l.text))
	}
	return all
}
