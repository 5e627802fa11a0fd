package master

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// Fencer switches hosts off and on by their fence devices. Its calls are bounded,
// and end soon after their context.
type Fencer interface {
	// Off switches the host off and proves it. at is the boot clock at the proof,
	// evidence the proof in words; an error says what was tried and why nothing is proven.
	Off(ctx context.Context, p *config.Policy, host string) (at time.Duration, evidence string, err error)
	// On switches it on again.
	On(ctx context.Context, p *config.Policy, host string) error
}

// fenceAgain is how long after a failure a host's devices are used again.
const fenceAgain = 10 * time.Second

// drained is the moment from which nothing that a host wrote before it was proven
// off can still arrive. proven is false while it is not, or when it was heard since.
func (o *observed) drained(t lease.Timing) (at time.Duration, proven bool) {
	if o.fence.off == 0 || max(o.watch.Heard, o.spoke) >= o.fence.off { // in whatever life: it is not off
		return 0, false
	}
	return o.fence.off + t.DrainGone(), true
}

// fence has a silent host switched off once its own lease has ended: its VMs are
// being stopped by then, so this takes nothing from anybody, and its proof ends
// the wait early.
func fence(in input, h *fsm.Host, o *observed, d *decision) {
	if in.state.Disarmed != nil || len(in.policy.Hosts[h.Name].Fence) == 0 || o.fence.busy ||
		h.Name == in.self || o.speaks(in.now, in.timing) {
		return
	}
	if (h.Maintenance != nil || h.Shutdown != nil) && idle(in.state, h) {
		return // nothing runs there that anybody waits for, and somebody may be at work on it, or it boots
	}
	at, ok := o.watch.GoneAt(in.timing)
	if !ok {
		return
	}
	if at = max(at, o.fence.again); in.now < at {
		d.lookAt(at)
		return
	}
	d.fence = append(d.fence, h.Name)
}

// idle reports whether no VM waits for the host's death: none is its own, or was seen there.
func idle(s *fsm.State, h *fsm.Host) bool {
	for _, vm := range s.VMs {
		if vm.Owner != nil && vm.Owner.Host == h.Name || vm.Sighting != nil && vm.Sighting.Host == h.Name {
			return false
		}
	}
	return true
}

// provenOff is the death of a host whose devices have proven that it is off.
func provenOff(in input, m fsm.Meta, h *fsm.Host, o *observed, ev []fsm.Evidence) fsm.Command {
	m.By = "fence devices"
	ev = append(ev, fsm.Evidence{Signal: "fence devices", Value: o.fence.evidence, Age: in.now - o.fence.off, By: in.self})
	return &fsm.ConfirmOff{Meta: m, Epoch: in.epoch, Host: h.Name, Incarnation: h.Incarnation,
		Heard: in.wall.Add(o.watch.Heard - in.now), Evidence: ev,
		Text: fmt.Sprintf("%s is dead: %s", h.Name, o.fence.evidence)}
}

// switchOff uses a host's devices on a goroutine of the office.
func (m *Master) switchOff(ctx context.Context, o *office, host string) {
	if m.cfg.Fencer == nil {
		return
	}
	s, _, _ := m.cfg.View()
	if s.Disarmed != nil { // it was disarmed since that was decided
		return
	}
	policy := m.cfg.Policy(s)
	m.mu.Lock()
	x := o.hosts[host]
	if x == nil || x.fence.busy || x.watch.Suspected == 0 || x.watch.Heard > x.watch.Suspected {
		m.mu.Unlock()
		return
	}
	x.fence.busy = true
	incarnation := x.incarnation
	m.mu.Unlock()
	o.jobs.Go(func() {
		m.record(ctx, o, fsm.Event{Type: "host_fencing_started", Severity: fsm.Warning, Host: host,
			Text: host + " is being switched off by its fence devices: it is silent, and its lease has ended"})
		at, evidence, err := m.cfg.Fencer.Off(ctx, policy, host)
		m.mu.Lock()
		x.fence.busy = false
		switch {
		case x.incarnation != incarnation: // it has come back meanwhile, as another life
		case err != nil:
			x.fence.again = m.cfg.Now() + fenceAgain
		default:
			x.fence.off, x.fence.evidence = at, evidence
		}
		m.mu.Unlock()
		o.wake()
		if err != nil && ctx.Err() == nil {
			m.record(ctx, o, fsm.Event{Type: "host_fencing_failed", Severity: fsm.Warning, Host: host,
				Text: fmt.Sprintf("%s could not be proven off: %v; the wait goes on", host, err)})
		}
	})
}

// switchOn brings a host back that its devices have proven off, once its death is
// committed: what was wrong with it may have been its network. What a person wants off stays off.
func (m *Master) switchOn(ctx context.Context, o *office, s suspicion) {
	if _, proven := s.cmd.(*fsm.ConfirmOff); !proven || m.cfg.Fencer == nil {
		return
	}
	st, _, _ := m.cfg.View()
	policy := m.cfg.Policy(st)
	o.jobs.Go(func() {
		if h := st.Hosts[s.host]; h != nil && h.Held != nil {
			m.record(ctx, o, fsm.Event{Type: fsm.EventHostHeldOff, Host: s.host,
				Text: fmt.Sprintf("%s is not switched on again: %s holds it off; `haadm fence on %s` switches it on",
					s.host, h.Held.By, s.host)})
			return
		}
		e := fsm.Event{Type: "host_switched_on", Host: s.host, Text: s.host + " is switched on again; it returns as a new incarnation"}
		if err := m.cfg.Fencer.On(ctx, policy, s.host); err != nil {
			e.Severity, e.Text = fsm.Warning, fmt.Sprintf("%s could not be switched on again: %v", s.host, err)
		}
		m.record(ctx, o, e)
	})
}

// record adds an event to the history, if the office still stands.
func (m *Master) record(ctx context.Context, o *office, e fsm.Event) {
	if err := m.propose(ctx, &fsm.Record{Meta: m.meta(), Epoch: o.epoch, Events: []fsm.Event{e}}); err != nil {
		m.cfg.Logger.Warn("an event was not recorded", "event", e.Type, "host", e.Host, "error", err)
	}
}

// wake has the office look again.
func (o *office) wake() {
	select {
	case o.news <- struct{}{}:
	default:
	}
}
