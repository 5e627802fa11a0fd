package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/agent"
	"github.com/holdfast-ha/holdfast/cluster/host"
	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/raftnode"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// errKilled is what everything returns to an agent that was killed.
var errKilled = errors.New("this process was killed")

// life is one life of an agent's process: what can freeze it and what ends it.
// All that the agent reaches the outside with goes through it.
//
// What a freeze can and cannot do. A stopped process runs no code and its timers
// do not fire. In a bubble all agents are goroutines of one process, so they are
// held where they touch something: their network neither reads nor dials, and what
// they write leaves at the thaw; calls to the hypervisor and to the guard wait
// before they leave and again before their result arrives; the disk takes nothing,
// which also holds raft's main loop, so that a master that is thawed still believes
// that it leads; their loops stop at the gate, and so does what counts how long a write
// to raft's log takes. Timers that
// touch nothing go on inside. What an agent had decided before the freeze it
// carries out after the thaw, however late, which is the danger that freezes are for.
type life struct {
	mu      sync.Mutex
	frozen  bool
	dead    bool
	changed chan struct{}
}

func newLife() *life { return &life{changed: make(chan struct{})} }

func (l *life) set(frozen, dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen, l.dead = frozen, l.dead || dead
	close(l.changed)
	l.changed = make(chan struct{})
}

// wait waits while the process is frozen. waited reports that it was; the error is
// errKilled once it was killed.
func (l *life) wait() (waited bool, err error) { return l.pass(context.Background()) }

// pass is wait, given up when ctx ends.
func (l *life) pass(ctx context.Context) (waited bool, err error) {
	for {
		l.mu.Lock()
		frozen, dead, changed := l.frozen, l.dead, l.changed
		l.mu.Unlock()
		switch {
		case dead:
			return waited, errKilled
		case !frozen:
			return waited, nil
		}
		waited = true
		select {
		case <-changed:
		case <-ctx.Done():
			return waited, ctx.Err()
		}
	}
}

// ended reports whether the process was killed.
func (l *life) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// gate is what the agent's loops call before each step.
func (l *life) gate(ctx context.Context) error {
	_, err := l.pass(ctx)
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// hypervisor is the host's hypervisor as one agent reaches it.
type hypervisor struct {
	l     *life
	host  *embedded.Host
	guard *guard
	// faults are starts that fail wherever they are tried.
	faults *startFaults
}

// lateCall bounds a call that goes out only at a thaw.
const lateCall = 10 * time.Second

// call makes one call. One that a freeze caught on its way out goes out at the
// thaw, even though its caller's deadline has passed meanwhile.
func call[T any](ctx context.Context, h *hypervisor, f func(context.Context) (T, error)) (T, error) {
	var zero T
	waited, err := h.l.wait()
	if err != nil {
		return zero, fmt.Errorf("%w: %w", vmm.ErrUnavailable, err)
	}
	if waited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), lateCall)
		defer cancel()
	}
	v, err := f(ctx)
	if _, killed := h.l.wait(); killed != nil {
		return zero, fmt.Errorf("%w: %w", vmm.ErrUnavailable, killed)
	}
	return v, err
}

func do(ctx context.Context, h *hypervisor, f func(context.Context) error) error {
	_, err := call(ctx, h, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

// Capacity implements vmm.Hypervisor.
func (h *hypervisor) Capacity(ctx context.Context) (vmm.Capacity, error) {
	return call(ctx, h, h.host.Capacity)
}

// Domains implements vmm.Hypervisor.
func (h *hypervisor) Domains(ctx context.Context) ([]vmm.Domain, error) {
	all, err := call(ctx, h, h.host.Domains)
	for _, d := range all {
		if d.PID != 0 {
			h.guard.saw(d.UUID, d.PID)
		}
	}
	return all, err
}

// XML implements vmm.Hypervisor.
func (h *hypervisor) XML(ctx context.Context, uuid string) (string, error) {
	return call(ctx, h, func(ctx context.Context) (string, error) { return h.host.XML(ctx, uuid) })
}

// StartPaused implements vmm.Hypervisor.
func (h *hypervisor) StartPaused(ctx context.Context, xml string) (vmm.Process, error) {
	return call(ctx, h, func(ctx context.Context) (vmm.Process, error) {
		if err := h.faults.consume(xml); err != nil {
			return vmm.Process{}, err
		}
		return h.host.StartPaused(ctx, xml)
	})
}

// Resume implements vmm.Hypervisor.
func (h *hypervisor) Resume(ctx context.Context, uuid string) error {
	return do(ctx, h, func(ctx context.Context) error { return h.host.Resume(ctx, uuid) })
}

// Shutdown implements vmm.Hypervisor.
func (h *hypervisor) Shutdown(ctx context.Context, uuid string) error {
	return do(ctx, h, func(ctx context.Context) error { return h.host.Shutdown(ctx, uuid) })
}

// Kill implements vmm.Hypervisor.
func (h *hypervisor) Kill(ctx context.Context, uuid string) error {
	return do(ctx, h, func(ctx context.Context) error { return h.host.Kill(ctx, uuid) })
}

// SetAutostart implements vmm.Hypervisor.
func (h *hypervisor) SetAutostart(ctx context.Context, uuid string, on bool) error {
	return do(ctx, h, func(ctx context.Context) error { return h.host.SetAutostart(ctx, uuid, on) })
}

// Subscribe implements vmm.Hypervisor. Events reach a frozen agent's memory; its
// loops read them at the thaw.
func (h *hypervisor) Subscribe(ctx context.Context) (<-chan vmm.Event, error) {
	return call(ctx, h, h.host.Subscribe)
}

// Close implements vmm.Hypervisor. The host's VMs, and its next agent, go on.
func (h *hypervisor) Close() error { return nil }

// guardHandle is the guard's shared memory as one agent reaches it. A frozen
// agent does not write it, and a killed one never again.
type guardHandle struct {
	l *life
	g *guard
}

// Status implements the agent's guard.
func (h guardHandle) Status() fencing.Status { return h.g.status() }

// Begin implements the agent's guard.
func (h guardHandle) Begin(incarnation uint64, deadline time.Duration) error {
	if _, err := h.l.wait(); err != nil {
		return err
	}
	return h.g.begin(incarnation, deadline)
}

// Extend implements the agent's guard.
func (h guardHandle) Extend(incarnation uint64, deadline time.Duration) error {
	if _, err := h.l.wait(); err != nil {
		return err
	}
	return h.g.extend(incarnation, deadline)
}

// Cover implements the agent's guard.
func (h guardHandle) Cover(uuid string, pid int, start uint64) error {
	if _, err := h.l.wait(); err != nil {
		return err
	}
	h.g.saw(uuid, pid)
	return h.g.cover(uuid, pid, start)
}

// Uncover implements the agent's guard.
func (h guardHandle) Uncover(uuid string) {
	if _, err := h.l.wait(); err == nil {
		h.g.uncover(uuid)
	}
}

// Covered implements the agent's guard.
func (h guardHandle) Covered() []string { return h.g.list() }

// store is what outlives the agent, as one agent reaches it.
type store struct {
	l *life
	d *disk
}

// Membership implements agent.Store.
func (s store) Membership() (*agent.Membership, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.d.member == nil {
		return nil, nil
	}
	ms := *s.d.member
	return &ms, nil
}

// SaveMembership implements agent.Store.
func (s store) SaveMembership(ms *agent.Membership) error {
	if _, err := s.l.wait(); err != nil {
		return err
	}
	s.d.saveMembership(ms)
	return nil
}

// Record implements agent.Store.
func (s store) Record() (host.Record, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	var r host.Record
	if s.d.record == nil {
		return r, nil
	}
	err := json.Unmarshal(s.d.record, &r)
	return r, err
}

// SaveRecord implements agent.Store.
func (s store) SaveRecord(r host.Record) error {
	if _, err := s.l.wait(); err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.record = b
	return nil
}

// Forget implements agent.Store.
func (s store) Forget() error {
	if _, err := s.l.wait(); err != nil {
		return err
	}
	s.d.wipe()
	return nil
}

// OpenRaft implements agent.Store.
func (s store) OpenRaft(hclog.Logger) (raftnode.Stores, error) {
	return raftnode.Stores{Log: s.d, Stable: s.d, Snapshots: shots{s.d}}, nil
}

// newAgent makes the agent of one life.
func (m *machine) newAgent(a *agentProcess) *agent.Agent {
	env := agent.Env{
		Name: m.name, Reserve: 0, Version: "sim", BootID: m.bootID(), Run: uint64(m.clock.now()) + 1,
		Network: a.stack, Hypervisor: &hypervisor{a.life, m.hyp, m.guard, &m.w.startFaults}, Guard: guardHandle{a.life, m.guard},
		Reach: around{m}, Fencer: devices{a.life, m}, Store: store{a.life, a.disk}, Now: m.clock.now, Wall: m.wallClock, Gate: a.life.gate, Logger: m.w.logger(m.name),
	}
	env.OpenVolume, env.LookVolume = m.openVolume(a)
	for _, n := range networks {
		env.Listen = append(env.Listen, peer.Address{Network: n, Addr: m.w.address(m.name, n)})
	}
	return agent.New(env)
}

// wallClock reads the machine's wall clock, which may be wrong.
func (m *machine) wallClock() time.Time { return time.Now().Add(time.Duration(m.wall.Load())) }
