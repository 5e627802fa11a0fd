package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// rig is host a in a bubble: its hypervisor, its guard, a master that answers as
// it is told, the host's copy of the state, and what it has saved.
type rig struct {
	testing.TB
	started time.Time
	world   *embedded.World
	hyp     *embedded.Host
	guard   *fakeGuard
	master  *fakeMaster
	machine *fsm.Machine
	index   uint64
	bootID  string
	runs    uint64
	reset   *fencing.Note  // found after the boot
	policy  *config.Policy // nil: the default one
	has     func(config.Datastore) bool

	agent  *Host
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex // guards what follows
	record Record
	full   bool           // the disk takes nothing
	frozen chan struct{}  // closed when the agent may go on; nil: it may
	boots  time.Duration  // moment of the last boot
	pids   map[string]int // newest process of each VM that was seen
	went   []vmm.Destination
	// orphans says that a migration goes on when the agent that asked for it is killed.
	orphans bool
	// beforeResume is called once instead of the next call to let a VM run.
	beforeResume func()
}

// spy notes the processes of VMs as they are seen, for the guard, and can end the
// agent at the moment at which it would let a VM run.
type spy struct {
	*embedded.Host
	r *rig
}

func (s *spy) Resume(ctx context.Context, uuid string) error {
	s.r.mu.Lock()
	before := s.r.beforeResume
	s.r.beforeResume = nil
	s.r.mu.Unlock()
	if before != nil {
		before()
		return ctx.Err()
	}
	return s.Host.Resume(ctx, uuid)
}

func (s *spy) Migrate(ctx context.Context, uuid string, to vmm.Destination) error {
	s.r.mu.Lock()
	s.r.went = append(s.r.went, to)
	orphans := s.r.orphans
	s.r.mu.Unlock()
	if !orphans {
		return s.Host.Migrate(ctx, uuid, to)
	}
	done := make(chan error, 1)
	go func() { done <- s.Host.Migrate(context.WithoutCancel(ctx), uuid, to) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *spy) Domains(ctx context.Context) ([]vmm.Domain, error) {
	list, err := s.Host.Domains(ctx)
	for _, d := range list {
		if d.PID != 0 {
			s.r.saw(d.UUID, d.PID)
		}
	}
	return list, err
}

func (s *spy) StartPaused(ctx context.Context, xml string) (vmm.Process, error) {
	p, err := s.Host.StartPaused(ctx, xml)
	if err == nil {
		s.r.saw(web, p.PID)
	}
	return p, err
}

func (r *rig) saw(uuid string, pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pids[uuid] = pid
}

func (r *rig) newest(uuid string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pids[uuid]
}

// bubble runs f with a cluster of a and b, the VM web protected and stopped on a,
// and no agent running yet.
func bubble(t *testing.T, f func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{TB: t, started: time.Now(), world: embedded.NewWorld(), machine: fsm.New(), bootID: "boot-1", pids: map[string]int{}}
		hyp, err := embedded.NewHost(r.world, embedded.HostConfig{Name: "a", Domains: []embedded.DomainConfig{{XML: xml(web, "web")}}})
		if err != nil {
			t.Fatal(err)
		}
		r.hyp = hyp
		r.master = &fakeMaster{r: r}
		r.guard = newFakeGuard(r)
		r.apply(&fsm.CreateCluster{Cluster: fsm.Cluster{ID: web, Name: "test"}, Host: fsm.Host{Name: "a", ID: stray, Addresses: []fsm.Address{{Network: "mgmt", Addr: "10.0.0.1:1"}}}})
		r.apply(&fsm.TakeOffice{Master: "a", Epoch: 1})
		hash := make([]byte, 32)
		r.apply(&fsm.CreateToken{Meta: fsm.Meta{At: time.Now()}, Token: fsm.Token{ID: "b", Hash: hash, Expires: time.Now().Add(time.Hour)}})
		r.apply(&fsm.AddHost{Meta: fsm.Meta{At: time.Now()}, TokenID: "b", SecretHash: hash, Host: fsm.Host{Name: "b", ID: web, Addresses: []fsm.Address{{Network: "mgmt", Addr: "10.0.0.2:1"}}}})
		r.apply(&fsm.BeginIncarnation{Epoch: 1, Host: "b"})
		packed, err := fsm.PackXML(xml(web, "web"))
		if err != nil {
			t.Fatal(err)
		}
		r.apply(&fsm.Protect{Epoch: 1, VM: fsm.VM{UUID: web, Name: "web", XML: packed, Intent: fsm.IntentRun, Memory: 1 << 30}, Host: "a"})
		f(r)
		r.kill()
		r.guard.stop()
		if v := r.world.Violations(); len(v) > 0 {
			t.Errorf("a VM ran twice: %+v", v)
		}
	})
}

func xml(uuid, name string) string { return embedded.MinimalXML(name, uuid, 1<<30, 1) }

// now is the boot clock.
func (r *rig) now() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Minute + time.Since(r.started) - r.boots
}

func (r *rig) state() *fsm.State {
	s, _, _ := r.machine.View()
	return s
}

func (r *rig) apply(c fsm.Command) any {
	r.Helper()
	b, err := fsm.Encode(c)
	if err != nil {
		r.Fatalf("encode %T: %v", c, err)
	}
	r.mu.Lock()
	r.index++
	i := r.index
	r.mu.Unlock()
	res := r.machine.Apply(i, b).(fsm.Result)
	if res.Refusal != nil {
		r.Fatalf("%T refused: %v", c, res.Refusal)
	}
	return res.Value
}

// assign orders the start of web on a's present incarnation.
func (r *rig) assign() {
	r.Helper()
	s := r.state()
	r.apply(&fsm.Assign{Epoch: 1, UUID: web, Previous: s.VMs[web].Generation, Host: "a", Incarnation: s.Hosts["a"].Incarnation, Why: "a test"})
}

// start starts an agent on what is saved.
func (r *rig) start() {
	r.Helper()
	p := standard(r)
	r.runs++
	ctx, cancel := context.WithCancel(r.Context())
	r.cancel, r.done = cancel, make(chan struct{})
	r.mu.Lock()
	rec := r.record
	r.mu.Unlock()
	r.agent = New(Config{Name: "a", Networks: []string{"mgmt", "storage"}, Timing: p, BootID: r.bootID, LastReset: r.reset, Run: r.runs, Version: "test",
		Policy: r.parsed(), Has: r.has, Hypervisor: &spy{r.hyp, r}, Guard: r.guard, Master: r.master, View: r.machine.View, Record: rec, Save: r.save, Now: r.now, Gate: r.gate, Log: hclog.NewNullLogger()})
	a, done := r.agent, r.done
	go func() {
		defer close(done)
		_ = a.Run(ctx) // it ends with ctx
	}()
	synctest.Wait()
}

func (r *rig) parsed() func(*fsm.State) *config.Policy {
	if r.policy == nil {
		return nil
	}
	return func(*fsm.State) *config.Policy {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.policy
	}
}

// kill ends the agent; its VMs and the guard go on.
func (r *rig) kill() {
	if r.cancel == nil {
		return
	}
	r.thaw()
	r.cancel()
	r.cancel = nil
	<-r.done
}

// reboot is the power lost and back: VMs and the guard's memory are gone.
func (r *rig) reboot(bootID string) {
	r.kill()
	r.hyp.PowerOff()
	r.guard.stop()
	r.mu.Lock()
	r.boots = time.Since(r.started)
	r.mu.Unlock()
	r.bootID = bootID
	r.guard = newFakeGuard(r)
	r.hyp.PowerOn()
}

func (r *rig) save(rec Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		return errors.New("no space left on device")
	}
	r.record = rec.clone()
	return nil
}

func (r *rig) saved() Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record.clone()
}

func (r *rig) fill(full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full = full
}

// freeze stops the agent at its next step, as SIGSTOP does.
func (r *rig) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen == nil {
		r.frozen = make(chan struct{})
	}
}

func (r *rig) thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen != nil {
		close(r.frozen)
		r.frozen = nil
	}
}

func (r *rig) gate(ctx context.Context) error {
	r.mu.Lock()
	frozen := r.frozen
	r.mu.Unlock()
	if frozen != nil {
		select {
		case <-frozen:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// pass lets virtual time go by.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// running reports whether web's virtual CPUs run on a.
func (r *rig) running() bool { return len(r.world.Writers(web)) > 0 }

// owned is the scene from which most tests start: an agent with a lease, web
// running as ordered, the master told.
func (r *rig) owned() {
	r.Helper()
	r.start()
	r.pass(3 * time.Second)
	r.assign()
	r.pass(3 * time.Second)
	vm := r.state().VMs[web]
	if !r.running() || vm.Owner == nil || vm.Owner.Phase != fsm.PhaseRunning {
		r.Fatalf("web runs: %v, owner %+v; want it running and reported", r.running(), vm.Owner)
	}
}

// fakeMaster is in office for ever, commits at once and does what its fields say.
type fakeMaster struct {
	r *rig

	mu       sync.Mutex // guards what follows
	silent   map[string]bool
	cut      bool                        // nothing arrives over any network
	mute     bool                        // it hears, and does not acknowledge
	deaf     bool                        // it commits nothing of what is reported
	stranger func(context.Context) error // its answer about a VM that nobody protects; nil: yes
	unsaid   bool                        // nor what is said of the watchdog
	last     map[string]api.Heartbeat
	report   *api.HostReport
	rev      uint64
	inc      uint64 // that report was sent in
	begins   []api.BeginRequest
	beats    int
}

func (m *fakeMaster) set(f func(m *fakeMaster)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

var errCut = errors.New("no answer")

func (m *fakeMaster) Heartbeat(ctx context.Context, network string, hb api.Heartbeat) (api.HeartbeatReply, error) {
	m.mu.Lock()
	m.beats++
	if m.cut || m.silent[network] {
		m.mu.Unlock()
		<-ctx.Done()
		return api.HeartbeatReply{}, errCut
	}
	if m.last == nil {
		m.last = map[string]api.Heartbeat{}
	}
	m.last[network] = hb
	if hb.Report != nil {
		m.report, m.rev, m.inc = hb.Report, hb.ReportRev, hb.Incarnation
	}
	rev := uint64(0)
	if m.inc == hb.Incarnation {
		rev = m.rev
	}
	mute, deaf, unsaid := m.mute, m.deaf, m.unsaid
	m.mu.Unlock()
	s := m.r.state()
	if w := hb.Watchdog; !unsaid && s.Live("a", hb.Incarnation) && w.Word > s.Hosts["a"].Watchdog.Word {
		m.r.apply(&fsm.NoteWatchdog{Epoch: 1, Host: "a", Incarnation: hb.Incarnation, Watchdog: w})
	}
	if hb.Report != nil && !deaf && s.Live("a", hb.Incarnation) {
		for _, o := range hb.Report.Outcomes {
			m.commit(s, o)
		}
	}
	s, index, _ := m.r.machine.View()
	live := s.Live(hb.Host, hb.Incarnation)
	return api.HeartbeatReply{Acknowledged: live && !mute, Epoch: 1, Incarnation: hb.Incarnation, Run: hb.Run, Seq: hb.Seq,
		Over: hb.Incarnation != 0 && !live, Commit: index, ReportSeen: rev}, nil
}

// commit takes an outcome as the state machine does; what it does not wait for is refused there.
func (m *fakeMaster) commit(s *fsm.State, o api.OutcomeReport) {
	b, err := fsm.Encode(&fsm.Report{Meta: fsm.Meta{At: time.Now()}, Epoch: 1, UUID: o.UUID, Host: "a", Incarnation: s.Hosts["a"].Incarnation,
		Generation: o.Generation, Outcome: fsm.Outcome(o.Outcome), Detail: o.Detail, Move: o.Move})
	if err != nil {
		m.r.Errorf("a reports %+v: %v", o, err)
		return
	}
	m.r.mu.Lock()
	m.r.index++
	i := m.r.index
	m.r.mu.Unlock()
	m.r.machine.Apply(i, b)
}

// Claim implements Master.
func (m *fakeMaster) Claim(context.Context, api.ClaimRequest) error { return nil }

// AdmitStranger implements Master.
func (m *fakeMaster) AdmitStranger(ctx context.Context, _ api.StrangerRequest) error {
	if m.stranger == nil {
		return nil
	}
	return m.stranger(ctx)
}

func (m *fakeMaster) Begin(ctx context.Context, q api.BeginRequest) (api.BeginReply, error) {
	m.mu.Lock()
	m.begins = append(m.begins, q)
	cut := m.cut
	m.mu.Unlock()
	if cut {
		<-ctx.Done()
		return api.BeginReply{}, errCut
	}
	if running := m.r.world.Running(); len(running) > 0 {
		m.r.Errorf("a asks for a new incarnation while %s runs", running[0].Name)
	}
	s := m.r.state()
	if q.Previous != s.Hosts["a"].Incarnation {
		return api.BeginReply{}, fmt.Errorf("the last incarnation is %d, not %d", s.Hosts["a"].Incarnation, q.Previous)
	}
	inc := m.r.apply(&fsm.BeginIncarnation{Epoch: 1, Host: "a", Previous: q.Previous, BootID: q.BootID, Why: q.Why}).(uint64)
	return api.BeginReply{Incarnation: inc}, nil
}

func (m *fakeMaster) asked() []api.BeginRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.begins)
}

// violations are the newest report's.
func (m *fakeMaster) violations() []api.Violation {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.report == nil {
		return nil
	}
	return m.report.Broken
}

// outcomes is the newest report's.
func (m *fakeMaster) outcomes() []api.OutcomeReport {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.report == nil {
		return nil
	}
	return m.report.Outcomes
}

// fakeGuard has the real guard's rules and looks each tick, on the rig's clock.
// It kills past the hypervisor's daemon, and only processes that it was told of.
type fakeGuard struct {
	r    *rig
	end  chan struct{}
	gone chan struct{}

	mu      sync.Mutex // guards what follows
	status  fencing.Status
	covered map[string]int // process numbers
	absent  bool           // the guard process does not run
	slow    time.Duration  // what Cover takes, and then
	refuses error          // how it ends
	killed  int
}

func newFakeGuard(r *rig) *fakeGuard {
	g := &fakeGuard{r: r, end: make(chan struct{}), gone: make(chan struct{}), covered: map[string]int{}}
	go func() {
		defer close(g.gone)
		tick := time.NewTicker(fencing.Tick)
		defer tick.Stop()
		for {
			g.look()
			select {
			case <-g.end:
				return
			case <-tick.C:
			}
		}
	}()
	return g
}

func (g *fakeGuard) stop() {
	close(g.end)
	<-g.gone
}

// look is one turn.
func (g *fakeGuard) look() {
	now := g.r.now()
	g.mu.Lock()
	if g.absent {
		g.mu.Unlock()
		return
	}
	g.status.Beat = now
	if g.status.Deadline == 0 || now < g.status.Deadline {
		g.mu.Unlock()
		return
	}
	if g.status.Tripped == 0 {
		g.status.Tripped = now
	}
	victims := map[string]int{}
	for id, pid := range g.covered {
		victims[id] = pid
	}
	g.mu.Unlock()
	for id, pid := range victims {
		if g.r.newest(id) == pid {
			g.r.hyp.KillAll() // one VM is all that these hosts have
			g.mu.Lock()
			g.killed++
			g.mu.Unlock()
		}
		g.mu.Lock()
		if g.covered[id] == pid {
			delete(g.covered, id)
		}
		g.mu.Unlock()
	}
}

func (g *fakeGuard) Status() fencing.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status
}

func (g *fakeGuard) Begin(incarnation uint64, deadline time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if incarnation <= g.status.Incarnation {
		return fmt.Errorf("the guard has seen %d", g.status.Incarnation)
	}
	clear(g.covered)
	g.status.Incarnation, g.status.Deadline, g.status.Tripped = incarnation, deadline, 0
	return nil
}

func (g *fakeGuard) Extend(incarnation uint64, deadline time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if incarnation != g.status.Incarnation || g.status.Tripped != 0 {
		return fencing.ErrExpired
	}
	g.status.Deadline = max(g.status.Deadline, deadline)
	return nil
}

func (g *fakeGuard) Cover(uuid string, pid int, _ uint64) error {
	g.mu.Lock()
	slow, refuses := g.slow, g.refuses
	g.mu.Unlock()
	time.Sleep(slow)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.covered[uuid] = pid
	if refuses != nil {
		return refuses
	}
	if g.status.Tripped != 0 {
		return fencing.ErrExpired
	}
	return nil
}

func (g *fakeGuard) Uncover(uuid string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.covered, uuid)
}

func (g *fakeGuard) Covered() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []string
	for id := range g.covered {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}
