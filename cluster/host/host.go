// Package host is a host's duty: send heartbeats, keep the lease that their
// acknowledgements renew, obey the placements in the replicated state, watch the
// protected VMs and say what became of them; and stop every one of them when the
// lease ends. What to do is decided by Decide, a pure function; the rest of the
// package gathers its input and carries out what it returned.
package host

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/durable"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Guard is the process that stops the protected VMs when the deadline passes,
// whatever the agent does (fencing.Shared, or the simulation's).
type Guard interface {
	Status() fencing.Status
	Begin(incarnation uint64, deadline time.Duration) error
	Extend(incarnation uint64, deadline time.Duration) error
	Cover(uuid string, pid int, start uint64) error
	Uncover(uuid string)
	Covered() []string
}

// Config is what a Host is made of. All fields are needed but those that say otherwise.
type Config struct {
	Name     string
	Networks []string // HA networks, preferred first
	Timing   lease.Timing
	BootID   string // of this boot of the machine
	// LastReset is why the watchdog reset the machine at the end of an earlier boot; nil: it never did.
	LastReset *fencing.Note
	Run       uint64 // of this life of the agent; it grows within a boot
	Reserve   uint64 // bytes of memory kept for the host itself
	Version   string

	Hypervisor vmm.Hypervisor
	Guard      Guard
	Master     Master
	Volumes    Volumes      // nil: there are none
	Disk       func() error // why the host's own disk refuses what is written, without hanging; nil: it cannot tell
	// Written is how far the host's own disk has come: what it says is on the disk; nil: it cannot tell.
	Written func() durable.Position
	Look    func() Around // what the host can reach; nil: it cannot tell, and is never isolated
	// Has tells whether the host has a datastore now, without hanging; nil: it cannot tell.
	Has func(config.Datastore) bool
	// Device tells why a device of the host cannot be handed to a guest, without hanging; empty: it
	// can. id is what it is to say that it is; empty: anything. nil: it cannot tell.
	Device func(word, id string) string
	// Reach opens a way to another host's hypervisor, for a migration of the VM, and what closes
	// it again; nil: its name is way enough, as between embedded ones.
	Reach func(ctx context.Context, host, uuid, name string) (vmm.Destination, func(), error)
	// Dial reaches what guests serve, to find out whether they are ready; nil: the network's own.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Policy is the policy that the state holds, parsed; nil: the default one.
	Policy func(*fsm.State) *config.Policy
	// View is the replicated state: present copy, its index, and a channel closed at its next change.
	View func() (*fsm.State, uint64, <-chan struct{})
	// Record is what was saved last; Save makes a record durable before it returns.
	Record Record
	Save   func(Record) error
	// Now reads the boot clock.
	Now func() time.Duration
	// Gate is called before each step; the simulation freezes an agent in it.
	Gate func(context.Context) error
	Log  hclog.Logger
}

// Host carries out a host's duty. Run owns it.
type Host struct {
	cfg Config

	// What follows is Run's own.
	lease     lease.Lease
	expired   bool
	record    Record
	epoch     uint64 // of the last master this host has read of
	trustFrom uint64 // index that the copy of the state must have reached; 0: not known yet
	beginWhy  string // why a new incarnation is due; empty: none is
	beginning bool   // a request for one is under way
	list      listing
	listDue   bool
	listBusy  bool
	listNo    uint64            // of the last listing that was started
	proofFrom uint64            // the listing from which on it can be said that nothing runs
	busy      map[string]bool   // a job is under way
	settle    map[string]uint64 // a job has ended; count on the VM's state from this listing on
	sighted   map[string]uint64 // generation of the sighting here that was read of, by UUID
	failed    map[string]StartFailure
	unproven  map[string]bool        // a job tried to end it and could not prove that it is gone
	killed    map[string]string      // ended by a job, and not seen running since: why
	ran       map[string]uint64      // generation that a start job let run
	covering  map[string]bool        // the guard is being told of it
	covers    map[string]vmm.Process // which process of a VM this agent had the guard cover
	leaving   map[string]journey     // migrations from here that this agent waits for
	left      map[string]Left
	anew      map[string]uint64 // generation that was started without the memory that should have come
	foreign   map[string]time.Duration
	broken    []api.Violation          // invariants that were seen violated here
	guarded   int                      // VMs on the guard's list before it acted
	late      map[string]time.Duration // VMs seen past the hard end, by UUID, and since when
	stopping  map[string]time.Duration
	starts    int // start jobs under way
	seq       uint64
	acked     uint64                   // the highest that was acknowledged, by any medium
	sent      map[uint64]time.Duration // when each recent heartbeat was sent
	inFlight  map[string]int           // heartbeats under way, by network
	tardy     lateness                 // of its renewals
	report    api.HostReport
	reportRev uint64
	seen      uint64 // report that the master has, as of the answer to heartbeat seenSeq
	seenSeq   uint64
	fetching  bool
	defs      map[string]string        // definitions that the master asked for
	beatNow   bool                     // something that cannot wait for the next interval
	again     bool                     // a heartbeat before its time is due
	claimed   map[string]time.Duration // when a person's start of an unowned VM was admitted, by UUID
	expected  map[string]time.Duration // when the hypervisor was allowed to take in a VM, by UUID
	closing   closing
	around    surroundings
	offers    offers
	uses      uses
	ready     map[string]*readiness // of the VMs that this host owns and that run, by UUID
	probing   int                   // VMs that are being asked
	readyNext time.Duration         // when to look next which are to be asked, unless
	readyList uint64                // there is a newer listing than this
	beatErr   error                 // why the last heartbeat that failed did; nil since one was answered

	results chan func() // what goroutines bring back, run by Run
	wg      sync.WaitGroup

	mu   sync.Mutex // guards pub
	pub  Status
	wake chan struct{}
}

// Status is what a host says of itself for people.
type Status struct {
	Incarnation uint64
	Trusted     bool // this host's copy of the state may be acted on, as of its last round
	Lease       lease.Lease
	Problems    []string
	Guard       string
}

// New returns a Host. The lease that the guard still holds for the recorded
// incarnation is taken up again, so that a restarted agent stops nothing (O4);
// where it does not, that life is over.
func New(cfg Config) *Host {
	if cfg.Volumes == nil {
		cfg.Volumes = noVolumes{}
	}
	h := &Host{cfg: cfg, record: cfg.Record.clone(), busy: map[string]bool{}, settle: map[string]uint64{},
		sighted: map[string]uint64{}, failed: map[string]StartFailure{}, claimed: map[string]time.Duration{},
		unproven: map[string]bool{}, killed: map[string]string{}, ran: map[string]uint64{},
		covering: map[string]bool{}, covers: map[string]vmm.Process{},
		sent: map[uint64]time.Duration{}, inFlight: map[string]int{}, results: make(chan func()),
		wake: make(chan struct{}, 1), listDue: true, defs: map[string]string{},
		ready: map[string]*readiness{}, leaving: map[string]journey{}, left: map[string]Left{},
		anew: map[string]uint64{}, expected: map[string]time.Duration{}}
	if cfg.Policy == nil {
		cfg.Policy = func(s *fsm.State) *config.Policy { return config.DefaultPolicy(s.Cluster.Name) }
		h.cfg.Policy = cfg.Policy
	}
	h.around.began, h.around.standing, h.around.asked = cfg.Now(), verdict.Connected, map[string]time.Duration{}
	g := cfg.Guard.Status()
	switch {
	case h.record.Incarnation == 0:
		h.beginWhy = "first start"
	case h.record.BootID != cfg.BootID:
		h.beginWhy = "the host was rebooted"
		if n := cfg.LastReset; n != nil && n.BootID == h.record.BootID {
			h.beginWhy = "its watchdog reset the host: " + n.Why
		}
	case h.record.Over || g.Incarnation != h.record.Incarnation || g.Tripped != 0 || cfg.Now() >= g.Deadline:
		h.beginWhy = "its lease ended"
	default:
		h.lease = lease.Lease{Incarnation: g.Incarnation, End: g.Deadline}
	}
	h.record.Over = h.record.Over || h.beginWhy != ""
	h.publish()
	return h
}

// Status may be called from anywhere.
func (h *Host) Status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pub
}

// Run does the duty until ctx ends. VMs go on when it returns.
func (h *Host) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer h.wg.Wait()
	defer cancel()
	h.go_(func() { h.watch(ctx) })
	beat := time.NewTicker(h.cfg.Timing.Heartbeat)
	defer beat.Stop()
	relist := time.NewTicker(max(2*time.Second, 5*h.cfg.Timing.Heartbeat))
	defer relist.Stop()
	h.beatNow = true
	for {
		if err := h.cfg.Gate(ctx); err != nil {
			return nil
		}
		_, _, changed := h.cfg.View()
		_, read := h.cfg.Volumes.View()
		h.sayWatchdog()
		h.byStorage()
		h.round(ctx)
		if h.beatNow {
			h.beatNow = false
			h.heartbeat(ctx)
		}
		end := time.NewTimer(h.untilEnd())
		select {
		case <-ctx.Done():
			end.Stop()
			return nil
		case <-beat.C:
			h.beatNow = true
		case <-relist.C:
			h.listDue = true
		case f := <-h.results:
			f()
		case <-h.wake:
			h.listDue = true
		case <-changed:
		case <-read:
		case <-end.C:
		}
		end.Stop()
	}
}

// untilEnd is when to look again at the latest: at the end of the lease.
func (h *Host) untilEnd() time.Duration {
	left := h.lease.Left(h.cfg.Now())
	if left == 0 {
		return h.cfg.Timing.Heartbeat
	}
	return left
}

// go_ starts a goroutine that Run waits for.
func (h *Host) go_(f func()) {
	h.wg.Add(1)
	go func() {
		defer h.wg.Done()
		f()
	}()
}

// bring hands a result to Run.
func (h *Host) bring(ctx context.Context, f func()) {
	select {
	case h.results <- f:
	case <-ctx.Done():
	}
}

// round is one turn of the duty: gather, decide, carry out.
func (h *Host) round(ctx context.Context) {
	in := h.gather()
	if in.State != nil && in.State.Office.Epoch != h.epoch {
		// A new master: its predecessor's death has cost the lease time enough. What still
		// waits for that one holds up nothing.
		h.epoch, h.beatNow, h.inFlight = in.State.Office.Epoch, true, map[string]int{}
	}
	h.assertGuarded()
	h.assertEnded()
	p := Decide(in)
	for uuid := range p.Isolate {
		if h.around.asked[uuid] < h.around.since {
			h.around.asked[uuid] = in.Now
		}
	}
	h.foreign, h.stopping = p.Foreign, p.Stopping
	if len(p.Start) > 0 { // the others are begun when these are through
		p.Start = p.Start[:min(len(p.Start), max(0, h.cfg.Policy(in.State).MaxStarts(h.cfg.Name)-h.starts))]
	}
	if err := h.remember(p); err != nil {
		h.cfg.Log.Error("cannot save what must not be forgotten; nothing is started", "error", err)
		p.Start, p.Outcomes, p.Shutdown = nil, nil, nil
		p.Migrate = nil
		for uuid := range p.Isolate {
			delete(p.Kill, uuid)
		}
		for uuid := range p.Ways {
			delete(p.Stopping, uuid) // it was not asked
			delete(p.Kill, uuid)
		}
	}
	for _, uuid := range p.Abort {
		h.abort(ctx, uuid)
	}
	if p.End {
		h.end(ctx, p)
	}
	for uuid, why := range p.Kill {
		h.kill(ctx, uuid, why)
	}
	for _, d := range p.Cover {
		h.cover(ctx, d)
	}
	for _, uuid := range p.Uncover {
		h.cfg.Guard.Uncover(uuid)
	}
	for _, uuid := range p.Shutdown {
		h.shutdown(ctx, uuid)
	}
	for _, uuid := range p.AutostartOff {
		h.autostartOff(ctx, uuid)
	}
	for _, o := range p.Start {
		h.start(ctx, o)
	}
	for _, d := range p.Migrate {
		h.migrate(ctx, d)
	}
	h.lookForOffer(ctx)
	h.lookForUse(ctx)
	h.probeReady(ctx, in.State)
	h.tell(p.Outcomes)
	h.writeTable(in.State, p.Outcomes)
	h.relist(ctx)
	h.publish()
}

func (h *Host) gather() Input {
	s, index, _ := h.cfg.View()
	now := h.cfg.Now()
	h.sightings(s)
	h.lookAround(s)
	in := Input{
		Now: now, Self: h.cfg.Name, Timing: h.cfg.Timing, Lease: h.lease, Record: h.record, State: s,
		Trusted: h.trustFrom != 0 && index >= h.trustFrom,
		Domains: h.list.domains, Listed: h.list.no != 0 && h.list.err == nil,
		Busy: map[string]bool{}, Unproven: map[string]bool{}, Killed: h.killed, Ran: h.ran,
		Failed: h.failed, Foreign: h.foreign, Stopping: h.stopping, Covered: map[string]bool{}, Claimed: h.claimed,
		Bounded: h.bounded(), Alone: h.byStorageAlone(s, now), Response: h.response(now), AskedIsolated: h.around.asked, Tied: h.around.tied,
		Leaving: map[string]uint64{}, Left: h.left, Anew: h.anew,
	}
	for uuid, j := range h.leaving {
		in.Leaving[uuid] = j.move
	}
	if s != nil {
		policy := h.cfg.Policy(s)
		in.Closing, in.Draining = h.closing.on, givesBack(h.closing, s, h.cfg.Name, h.lease.Incarnation, policy.Shutdown, now, h.cfg.Timing)
		in.Policy = func(vm string) verdict.ResponsePolicy { return responsePolicy(policy, s, vm) }
	}
	if h.lease.Incarnation != 0 {
		g := h.cfg.Guard.Status()
		h.expired = g.Incarnation != h.lease.Incarnation || g.Tripped != 0
		in.Expired = h.expired
	}
	for uuid := range h.busy {
		in.Busy[uuid] = true
	}
	for uuid, no := range h.settle {
		if h.list.err == nil && h.list.no >= no {
			delete(h.settle, uuid)
			delete(h.unproven, uuid)
		} else {
			in.Busy[uuid] = true
			in.Unproven[uuid] = h.unproven[uuid] && !h.busy[uuid]
		}
	}
	processes := map[string]vmm.Process{}
	for _, d := range h.list.domains {
		if d.State != vmm.Stopped {
			processes[d.UUID] = vmm.Process{PID: d.PID, StartTime: d.StartTime}
			if !in.Busy[d.UUID] {
				delete(h.killed, d.UUID)
			}
		}
	}
	// What counts is the process: that of a VM which was stopped and started by hand is another one.
	for _, uuid := range h.cfg.Guard.Covered() {
		p, runs := processes[uuid]
		in.Covered[uuid] = !runs || p == h.covers[uuid]
	}
	return in
}

// sightings notes which VMs the state has newly seen running here, or given to this host
// with their memory. What this host says
// to that rests on a list begun after it has read of it: an older one may show a
// process that is gone by now, or none of one that has come.
func (h *Host) sightings(s *fsm.State) {
	if s == nil {
		return
	}
	for uuid, vm := range s.VMs {
		if g := vm.Sighting; g != nil && g.Host == h.cfg.Name && h.sighted[uuid] != g.Generation {
			h.sighted[uuid], h.settle[uuid], h.listDue = g.Generation, h.listNo+1, true
		}
		// A list of before may not have the copy yet by which this host takes a VM over.
		if o := vm.Owner; o != nil && o.Host == h.cfg.Name && comesBy(o) && h.sighted[uuid] != o.Generation {
			h.sighted[uuid], h.settle[uuid], h.listDue = o.Generation, h.listNo+1, true
		}
	}
}

// end marks the life as over and, once none of the protected VMs runs, asks for the next.
func (h *Host) end(ctx context.Context, p Plan) {
	if h.lease.Incarnation != 0 && !h.record.Over {
		h.over("its lease ended")
	}
	if p.Ended && h.record.Over && !h.beginning && h.list.no >= h.proofFrom {
		h.begin(ctx)
	}
}

// over ends the present life for good (R4).
func (h *Host) over(why string) {
	h.cfg.Log.Warn("this incarnation is over: every protected VM is stopped", "incarnation", h.record.Incarnation, "reason", why)
	h.beginWhy = why
	// That nothing runs is proven by a list that begins after the end.
	h.proofFrom, h.listDue = h.listNo+1, true
	r := h.record.clone()
	r.Over = true
	if err := h.save(r); err != nil {
		h.cfg.Log.Error("cannot save that the incarnation is over", "error", err)
		h.record.Over = true // a restart finds it out from the guard
	}
}

// begin asks the master for the next incarnation. Nothing protected runs here and no job is under way.
func (h *Host) begin(ctx context.Context) {
	s, _, _ := h.cfg.View()
	prev := h.record.Incarnation
	if s != nil && s.Hosts[h.cfg.Name] != nil {
		prev = max(prev, s.Hosts[h.cfg.Name].Incarnation)
	}
	req := api.BeginRequest{Host: h.cfg.Name, Previous: prev, BootID: h.cfg.BootID, Run: h.cfg.Run, Why: h.beginWhy}
	h.beginning = true
	h.go_(func() {
		cctx, cancel := context.WithTimeout(ctx, 5*h.cfg.Timing.Heartbeat)
		defer cancel()
		reply, err := h.cfg.Master.Begin(cctx, req)
		if err != nil { // not more often than heartbeats
			h.pause(ctx, h.cfg.Timing.Heartbeat)
		}
		h.bring(ctx, func() {
			h.beginning = false
			if err != nil {
				h.cfg.Log.Debug("no new incarnation yet", "error", err)
				return
			}
			r := Record{
				Incarnation: reply.Incarnation,
				BootID:      h.cfg.BootID,
				Executed:    map[string]uint64{},
				Known:       h.record.Known,
				Volumes:     max(reply.Volumes, h.record.Volumes),
			}
			if err := h.save(r); err != nil {
				h.cfg.Log.Error("cannot take up a new incarnation", "incarnation", reply.Incarnation, "error", err)
				return
			}
			h.beginWhy, h.lease, h.expired = "", lease.Lease{}, false
			clear(h.failed)
			clear(h.left)
			h.cfg.Log.Info("a new incarnation begins", "incarnation", reply.Incarnation)
			h.beatNow = true
		})
	})
}

func (h *Host) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// watch wakes Run at each lifecycle event, and subscribes again when the hypervisor was away.
func (h *Host) watch(ctx context.Context) {
	for ctx.Err() == nil {
		events, err := h.cfg.Hypervisor.Subscribe(ctx)
		if err == nil {
			h.nudge()
			for range events {
				h.nudge()
			}
		}
		h.pause(ctx, vmm.ReconnectDelay)
	}
}

func (h *Host) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// relist reads the hypervisor's list when one is due, one at a time.
func (h *Host) relist(ctx context.Context) {
	if !h.listDue || h.listBusy {
		return
	}
	h.listDue, h.listBusy = false, true
	h.listNo++
	l := listing{no: h.listNo, began: h.cfg.Now()}
	h.go_(func() {
		cctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if l.err = h.cfg.Gate(cctx); l.err == nil {
			l.domains, l.err = h.cfg.Hypervisor.Domains(cctx)
		}
		if l.err == nil {
			l.capacity, l.err = h.cfg.Hypervisor.Capacity(cctx)
		}
		h.bring(ctx, func() {
			h.listBusy = false
			if l.err != nil && !errors.Is(l.err, context.Canceled) {
				h.cfg.Log.Warn("the hypervisor does not answer", "error", l.err)
				l.capacity = h.list.capacity
				l.domains = h.list.domains
			}
			if h.list.err != nil && l.err == nil {
				h.offers.next = 0 // it is back, perhaps as another
			}
			h.list = l
		})
	})
}
