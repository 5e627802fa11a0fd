// Package master is the office of the master: hear the hosts' heartbeats and
// acknowledge them, suspect the silent, declare dead whoever cannot hold a lease
// any more, commit what hosts report, and order VMs started that nobody runs. The
// decisions are one pure function (decide); this package collects what it reads
// and carries out what it returns. Rules: docs/safety.md.
package master

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/recovery"
	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// Log is the replicated log, as the master needs it.
type Log interface {
	// Confirm proves that this host leads by an entry committed after the call.
	Confirm(ctx context.Context) error
	// Propose commits a command and returns what the state machine answered; a
	// refusal is a *fsm.Refusal.
	Propose(ctx context.Context, c fsm.Command) (any, error)
}

// Volumes are the heartbeat volumes of the master's own host. None of its calls waits.
type Volumes interface {
	View() (*volumes.View, <-chan struct{})
	Submit(format.Value)
	// Read asks for a reading that begins after this call, ReadVMs for one of a slot's VM table.
	Read()
	ReadVMs(slot int)
}

// Config is what a Master is made of. All fields are needed.
type Config struct {
	Name   string
	Timing lease.Timing
	// Grace is how long, after an election, a VM waits for a home that has never come up.
	Grace time.Duration
	Log   Log
	View  func() (*fsm.State, uint64, <-chan struct{})
	// Policy is the policy that the state holds, parsed.
	Policy func(*fsm.State) *config.Policy
	// Voters are the hosts that vote on the log; nil: that is not known.
	Voters func() []string
	// Volumes are this host's heartbeat volumes; nil: there are none.
	Volumes Volumes
	// HandOver asks for the office to go to another host; nil: it cannot be asked.
	HandOver func(ctx context.Context, host string) error
	// Fencer uses the hosts' fence devices; nil: there are none.
	Fencer Fencer
	Now    func() time.Duration // boot clock
	Wall   func() time.Time
	Gate   func(context.Context) error
	Logger hclog.Logger
}

// Master serves the office while this host holds it (Hold), and refuses what only
// a master can do at other times.
type Master struct {
	cfg Config
	// builder remembers definitions beyond the end of an office: there may be another.
	builder inventory.Builder

	mu     sync.Mutex // guards office and all that hangs on it
	office *office
}

// office is one term of office, from election to loss.
type office struct {
	epoch    uint64
	elected  time.Duration
	hosts    map[string]*observed
	news     chan struct{} // cap 1: something to decide about
	jobs     sync.WaitGroup
	noted    chan struct{} // closed, and replaced, at each heartbeat with news
	storage  storage
	read     atomic.Bool // Master.builder knows the definitions of all VMs
	outlook  outlook
	journeys journeys
	ready    map[string]recovery.Readiness // by UUID
	astray   map[string]time.Duration      // since when it knows of VMs that are, by UUID; boot clock
	refused  map[string]refusal            // VMs that the policy would protect, by UUID
	coming   coming
	arming   arming
	fewer    time.Duration // since when another host ranks higher as master; 0: none does
	tried    time.Duration // when the office was last handed over, or tried to be; 0: not yet
}

// New returns a Master that holds no office.
func New(cfg Config) *Master {
	if cfg.Volumes == nil {
		cfg.Volumes = noVolumes{}
	}
	if cfg.Voters == nil {
		cfg.Voters = func() []string { return nil }
	}
	return &Master{cfg: cfg}
}

// commitTimeout bounds one proposal. What has not been committed by then is
// looked at anew.
const commitTimeout = 10 * time.Second

// Hold takes office and works until ctx ends or the office is lost. It is called
// once this host has been elected, and returns why it ended.
func (m *Master) Hold(ctx context.Context) error {
	// R1: nothing is done on an election alone; an entry of this term must be committed and applied.
	if err := m.cfg.Log.Confirm(ctx); err != nil {
		return fmt.Errorf("confirm the election: %w", err)
	}
	s, _, _ := m.cfg.View()
	epoch := s.Office.Epoch + 1
	cctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if _, err := m.cfg.Log.Propose(cctx, &fsm.TakeOffice{Meta: m.meta(), Master: m.cfg.Name, Epoch: epoch}); err != nil {
		return fmt.Errorf("take office: %w", err)
	}
	// Read once the office is committed: an election that was lost in between, and
	// whoever acknowledged then, lie before it.
	elected := m.cfg.Now()
	m.cfg.Logger.Info("holds the office", "epoch", epoch)
	o := &office{
		epoch:    epoch,
		elected:  elected,
		hosts:    map[string]*observed{},
		news:     make(chan struct{}, 1),
		noted:    make(chan struct{}),
		outlook:  outlook{due: make(chan inventory.Input, 1)},
		journeys: journeys{due: make(chan inventory.Input, 1)},
		refused:  map[string]refusal{},
		coming:   newComing(),
	}
	if s, _, _ := m.cfg.View(); s.Hosts[m.cfg.Name] != nil {
		o.storage = newStorage(epoch, volumes.Slot(s.Hosts[m.cfg.Name]), s.Volumes.Revision)
	}
	m.mu.Lock()
	m.office = o
	m.mu.Unlock()
	ctx, end := context.WithCancel(ctx)
	defer func() {
		end()
		o.jobs.Wait()
		m.withdrawAll(o)
		m.mu.Lock()
		m.office = nil
		close(o.noted)
		m.mu.Unlock()
		m.cfg.Logger.Info("holds the office no more", "epoch", epoch)
	}()
	o.jobs.Go(func() {
		s, _, _ := m.cfg.View()
		m.builder.Read(s)
		o.read.Store(true)
		o.wake()
	})
	o.jobs.Go(func() { m.plan(ctx, o) })
	o.jobs.Go(func() { m.travel(ctx, o) })
	o.jobs.Go(func() { m.perform(ctx, o) })
	o.jobs.Go(func() { m.watchBereft(ctx, o) })
	return m.work(ctx, o)
}

// work is the office's loop: gather, decide, carry out, wait.
func (m *Master) work(ctx context.Context, o *office) error {
	for {
		if err := m.cfg.Gate(ctx); err != nil {
			return err
		}
		_, _, changed := m.cfg.View()
		_, written := m.cfg.Volumes.View()
		in := m.gather(o)
		d := decide(in)
		m.look(o, in)
		if err := m.carryOut(ctx, o, in, d); err != nil {
			return err
		}
		wait := m.cfg.Timing.Heartbeat
		if d.next != 0 {
			wait = min(wait, max(d.next-m.cfg.Now(), 0)+time.Millisecond)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-o.news:
		case <-changed:
		case <-written:
		case <-t.C:
		}
		t.Stop()
	}
}

func (m *Master) meta() fsm.Meta { return fsm.Meta{At: m.cfg.Wall()} }

// gather fixes what the decision reads. A host of a new incarnation, or seen for
// the first time in this office, begins a new watch.
func (m *Master) gather(o *office) input {
	s, _, _ := m.cfg.View()
	v, _ := m.cfg.Volumes.View()
	voters := m.cfg.Voters()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	for _, h := range s.Hosts {
		o.observe(h, now)
	}
	o.readVolumes(s, v, now, m.cfg.Timing)
	policy := m.cfg.Policy(s)
	losses, news := m.watchVolumes(o, s, policy, now)
	hosts := map[string]*observed{}
	for name := range s.Hosts {
		hosts[name] = o.hosts[name].snapshot()
	}
	for name := range o.hosts {
		if s.Hosts[name] == nil {
			delete(o.hosts, name)
		}
	}
	in := input{now: now, wall: m.cfg.Wall(), self: m.cfg.Name, epoch: o.epoch, elected: o.elected, timing: m.cfg.Timing,
		grace: m.cfg.Grace, state: s, hosts: hosts, policy: policy, volumes: v, losses: losses,
		news: news, builder: &m.builder, unread: !o.read.Load(), refused: o.refusedNow(), voters: voters}
	o.ready, o.astray = readiness(in, o.ready), astray(in, o.astray)
	in.ready, in.astray = o.ready, o.astray
	o.arming = armingOf(s, o.arming, now, in.wall)
	in.arming = o.arming
	if p := o.journeys.plan; p != nil && !p.spent {
		in.moves = p
	}
	return in
}

// observe returns the office's record of a host in its present incarnation. The lock is held.
// A caller whose copy of the state is older than what is recorded here gets the
// newer incarnation: to begin the old one's watch anew would forget the last acknowledgement.
func (o *office) observe(h *fsm.Host, now time.Duration) *observed {
	x := o.hosts[h.Name]
	if x == nil {
		x = newObserved(now, o.elected, h.Incarnation)
		o.hosts[h.Name] = x
	}
	if x.incarnation < h.Incarnation {
		x.incarnation, x.condemned, x.since = h.Incarnation, false, now
		x.watch = lease.Watch{Heard: now, Elected: o.elected}
		x.fence = fencing{busy: x.fence.busy}
		x.stored.due, x.proves, x.reachedAt = false, 0, now
		x.watchdog, x.awaited = fsm.Watchdog{}, false
	}
	return x
}

// carryOut does what was decided, in the order: suspicions first, because they
// end acknowledgements, and starts last.
func (m *Master) carryOut(ctx context.Context, o *office, in input, d decision) error {
	m.mu.Lock()
	for host, uuids := range d.wanted {
		for _, uuid := range uuids {
			o.hosts[host].wanted[uuid] = true
		}
	}
	for host, q := range d.quiet {
		o.hosts[host].quiet = q
	}
	for host, all := range d.broken {
		o.hosts[host].broken = all
	}
	for host, at := range d.refusing {
		o.hosts[host].refusing = at
	}
	for host, is := range d.late {
		o.hosts[host].late, o.hosts[host].lateKnown = is, true
	}
	for host, vms := range d.twice {
		o.hosts[host].twice = vms
	}
	for _, host := range d.awaited {
		o.hosts[host].awaited = true
	}
	if d.moved != nil {
		d.moved.spent = true
	}
	m.mu.Unlock()
	if d.read {
		m.read(o)
	}
	for _, slot := range d.tables {
		m.cfg.Volumes.ReadVMs(slot)
	}
	if len(d.suspect)+len(d.dead)+len(d.fence)+len(d.stored) > 0 {
		// Before it suspects, has a host switched off or declares it dead, the master confirms that it leads,
		// and so it does after it has read the heartbeats that it acknowledges by storage.
		if err := m.confirm(ctx); err != nil {
			return err
		}
	}
	for _, s := range d.suspect {
		if m.suspect(o, s.host) {
			if err := m.propose(ctx, s.cmd); err != nil {
				return err
			}
		}
	}
	m.acknowledgeStored(o, d.stored)
	m.publish(o)
	for _, s := range d.withdraw {
		if m.withdraw(o, s.host) {
			if err := m.propose(ctx, s.cmd); err != nil {
				return err
			}
		}
	}
	for _, s := range d.dead {
		if m.condemn(o, s.host) {
			if err := m.propose(ctx, s.cmd); err != nil {
				return err
			}
			m.switchOn(ctx, o, s)
		}
	}
	for _, host := range d.fence {
		m.switchOff(ctx, o, host)
	}
	m.handOver(ctx, o, d.heir)
	began := m.cfg.Now()
	for _, c := range d.commands {
		if p, ok := c.(*fsm.Protect); ok {
			if admitted, err := m.admitsByPolicy(ctx, o, in, p, began); err != nil {
				return err
			} else if !admitted {
				continue
			}
		}
		m.forget(o, c)
		if err := m.propose(ctx, c); err != nil {
			return err
		}
	}
	if len(d.commands)+len(d.dead) > 0 {
		// Hosts read their orders from their own copies, which learn that an entry is
		// committed from the next one.
		return m.confirm(ctx)
	}
	return nil
}

// propose commits one command. A refusal means that the state has moved on, which
// the next round sees, or that the command is more than the log takes. Anything
// else ends the office.
func (m *Master) propose(ctx context.Context, c fsm.Command) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	_, err := m.cfg.Log.Propose(ctx, c)
	if Refused(err) {
		m.cfg.Logger.Info("a proposal was refused", "reason", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("propose %T: %w", c, err)
	}
	return nil
}

func (m *Master) confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := m.cfg.Log.Confirm(ctx); err != nil {
		return fmt.Errorf("confirm the office: %w", err)
	}
	return nil
}

// suspect stops acknowledging the host, unless it was heard meanwhile.
func (m *Master) suspect(o *office, host string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	x, now := o.hosts[host], m.cfg.Now()
	if x == nil || x.watch.Suspected != 0 || !x.watch.Silent(now, m.cfg.Timing) {
		return false
	}
	x.watch.Suspected = now
	return true
}

// withdraw takes a suspicion back; acknowledgements resume.
func (m *Master) withdraw(o *office, host string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := o.hosts[host]
	if x == nil || x.condemned {
		return false
	}
	x.watch.Suspected, x.awaited = 0, false
	return true
}

// condemn decides, under the lock that acknowledgements are given under, that
// the host's death is proposed (I5). From here on it is never acknowledged again
// in this incarnation by this office.
func (m *Master) condemn(o *office, host string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := o.hosts[host]
	if x == nil || x.condemned || x.watch.Heard > x.watch.Suspected {
		return false
	}
	at, suspected := x.watch.DeadAt(m.cfg.Timing)
	now := m.cfg.Now()
	off, proven := x.drained(m.cfg.Timing)
	switch {
	case proven && x.watch.Suspected != 0 && now >= off:
	case !suspected || now < at || x.watch.Claims && !x.confirmed:
		return false
	}
	x.condemned = true
	return true
}

// forget drops a definition that a command uses, so that the next change is asked for anew.
func (m *Master) forget(o *office, c fsm.Command) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range o.hosts {
		switch c := c.(type) {
		case *fsm.Protect:
			delete(x.defs, c.VM.UUID)
		case *fsm.Redefine:
			delete(x.defs, c.UUID)
		}
	}
}

// HeardAfter reports whether the host itself was heard after that moment of the boot clock, in this office.
func (m *Master) HeardAfter(host string, after time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.office == nil || m.office.hosts[host] == nil {
		return false
	}
	x := m.office.hosts[host]
	return x.heard() && max(x.watch.Heard, x.spoke) > after
}

// Holds reports whether this host is in office, and knows of no later one.
func (m *Master) Holds() bool {
	s, _, _ := m.cfg.View()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.office != nil && m.office.epoch == s.Office.Epoch
}

// Observations is what this office sees of every host.
func (m *Master) Observations() (map[string]api.HostObservation, error) {
	s, _, _ := m.cfg.View()
	view, _ := m.cfg.Volumes.View()
	policy := m.cfg.Policy(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.office == nil {
		return nil, api.ErrNotMaster
	}
	now := m.cfg.Now()
	for _, h := range s.Hosts {
		m.office.observe(h, now)
	}
	unsureOn := map[string][]string{}
	lost := astray(input{now: now, state: s}, m.office.astray)
	for uuid, hosts := range unsure(input{now: now, timing: m.cfg.Timing, state: s, hosts: m.office.hosts, astray: lost}) {
		for _, name := range hosts {
			unsureOn[name] = append(unsureOn[name], uuid)
		}
	}
	all := map[string]api.HostObservation{}
	for name, h := range s.Hosts {
		x := m.office.hosts[name]
		signals := x.signals(s, h, view, now, m.cfg.Timing, m.cfg.Name)
		v, ev := verdict.Judge(signals)
		ob := api.HostObservation{
			Verdict:      string(v),
			Evidence:     ev,
			Applied:      x.applied,
			Networks:     map[string]time.Duration{},
			Stored:       map[string]time.Duration{},
			Suspected:    signals.Suspected,
			SuspectedFor: x.suspectedFor(now),
			Unsure:       unsureOn[name],
		}
		if name == m.cfg.Name {
			ob.Losses = m.office.storage.losses
		}
		for name, sign := range signals.Volumes {
			ob.Stored[name] = sign.Age
		}
		if r := x.present(); r != nil {
			ob.Volumes = r.Volumes
		}
		for _, a := range h.Addresses {
			ob.Networks[a.Network] = -1
			if at, ok := x.networks[a.Network]; ok {
				ob.Networks[a.Network] = now - at
			}
		}
		switch at, ok := x.watch.DeadAt(m.cfg.Timing); {
		case h.Status != fsm.HostLive || x.watch.Suspected == 0:
		case !outlasted(policy, h, x):
			ob.NeedsProof = true
		case ok:
			ob.DeadIn = max(at-now, time.Millisecond)
		}
		if r := x.report; r != nil {
			ob.Offer, ob.Datastores, ob.Devices, ob.Reserve, ob.Draining = r.Offer, r.Datastores, r.Devices, r.Reserve, r.Draining
			ob.DiskError, ob.Late = r.DiskError, r.Late
			if x.refusing != 0 {
				ob.DiskRefuses = now - x.refusing
			}
			ob.Capacity, ob.HypervisorError, ob.Domains = r.Capacity, r.HypervisorError, r.Domains
			ob.Guard, ob.Watchdog, ob.Version = r.Guard, r.Watchdog, r.Version
		}
		all[name] = ob
	}
	return all, nil
}
