package master

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Heartbeat takes a host's heartbeat and answers it. The acknowledgement is given
// only after a confirmation of the office that began after receipt (I4), and not
// to a host that is suspected, condemned or in another incarnation. The copies of one heartbeat
// that come over several networks share that confirmation.
func (m *Master) Heartbeat(ctx context.Context, hb api.Heartbeat) (api.HeartbeatReply, error) {
	o, err := m.receive(hb)
	if err != nil {
		return api.HeartbeatReply{}, err
	}
	if err := m.confirmFor(ctx, o, hb); err != nil {
		return api.HeartbeatReply{}, fmt.Errorf("%w: %w", api.ErrNotMaster, err)
	}
	if err := m.cfg.Gate(ctx); err != nil {
		return api.HeartbeatReply{}, err
	}
	s, index, _ := m.cfg.View()
	m.mu.Lock()
	defer m.mu.Unlock()
	h := s.Hosts[hb.Host]
	if m.office != o || h == nil || s.Office.Epoch != o.epoch {
		return api.HeartbeatReply{}, api.ErrNotMaster
	}
	now := m.cfg.Now()
	x := o.observe(h, now)
	r := api.HeartbeatReply{Epoch: o.epoch, Incarnation: hb.Incarnation, Run: hb.Run, Seq: hb.Seq,
		Commit: index, ReportSeen: x.seen(hb.Incarnation)}
	for uuid := range x.wanted {
		r.Wanted = append(r.Wanted, uuid)
	}
	slices.Sort(r.Wanted)
	if p := o.outlook.plan; p != nil {
		t := p.tied[hb.Host]
		if r.TiedRev = t.rev; t.rev != hb.TiedSeen {
			r.Tied = t.vms
		}
	}
	live := s.Live(hb.Host, hb.Incarnation) && x.incarnation == hb.Incarnation
	r.Over = hb.Incarnation != 0 && !live
	if live && x.watch.Suspected == 0 && !x.condemned {
		r.Acknowledged = true
		x.watch.Acknowledged = now
	}
	return r, nil
}

// receive notes a heartbeat at the moment of its receipt.
func (m *Master) receive(hb api.Heartbeat) (*office, error) {
	s, _, _ := m.cfg.View()
	h := s.Hosts[hb.Host]
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.office
	if o == nil {
		return nil, api.ErrNotMaster
	}
	if h == nil {
		return nil, fmt.Errorf("%w: %s is not a member of this cluster", api.ErrRefused, hb.Host)
	}
	now := m.cfg.Now()
	x := o.observe(h, now)
	o.relay(hb, now)
	withdrawn := x.watch.Suspected != 0
	if x.note(hb, now) || withdrawn {
		select {
		case o.news <- struct{}{}:
		default:
		}
		close(o.noted)
		o.noted = make(chan struct{})
	}
	return o, nil
}

// Begin gives a host a new incarnation. The host has stated that none of its
// protected VMs runs.
func (m *Master) Begin(ctx context.Context, r api.BeginRequest) (api.BeginReply, error) {
	m.mu.Lock()
	o := m.office
	m.mu.Unlock()
	if o == nil {
		return api.BeginReply{}, api.ErrNotMaster
	}
	v, err := m.cfg.Log.Propose(ctx, &fsm.BeginIncarnation{Meta: m.meta(), Epoch: o.epoch,
		Host: r.Host, Previous: r.Previous, BootID: r.BootID, Why: r.Why})
	if err != nil {
		return api.BeginReply{}, err
	}
	inc, ok := v.(uint64)
	if !ok {
		return api.BeginReply{}, fmt.Errorf("begin an incarnation of %s: unexpected answer %v", r.Host, v)
	}
	s, index, _ := m.cfg.View()
	if h := s.Hosts[r.Host]; h == nil || h.Incarnation != inc {
		return api.BeginReply{}, fmt.Errorf("begin an incarnation of %s: it was overtaken", r.Host)
	}
	return api.BeginReply{Incarnation: inc, Commit: index, Volumes: s.Hosts[r.Host].Volumes}, nil
}

// ConfirmOff takes the word of somebody who can know it that a silent host is off:
// its VMs may start elsewhere at once. A host that is heard is not off.
func (m *Master) ConfirmOff(ctx context.Context, host, by string) (freed int, err error) {
	o, cmd, err := m.vouched(host, by)
	if err != nil {
		return 0, err
	}
	if err := m.cfg.Log.Confirm(ctx); err != nil {
		return 0, fmt.Errorf("%w: %w", api.ErrNotMaster, err)
	}
	m.mu.Lock()
	x := o.hosts[host]
	if m.office != o || x == nil || x.speaks(m.cfg.Now(), m.cfg.Timing) {
		m.mu.Unlock()
		return 0, fmt.Errorf("%w: %s was heard just now: it is not off", api.ErrRefused, host)
	}
	x.condemned = true // no acknowledgement and no withdrawal from here on, as with any death that is proposed
	m.mu.Unlock()
	v, err := m.cfg.Log.Propose(ctx, cmd)
	if err != nil {
		return 0, err
	}
	freed, _ = v.(int)
	m.mu.Lock()
	x.report = nil // nothing of it runs any more
	m.mu.Unlock()
	return freed, nil
}

// vouched makes the command, if the host is silent or dead.
func (m *Master) vouched(host, by string) (*office, *fsm.ConfirmOff, error) {
	s, _, _ := m.cfg.View()
	h := s.Hosts[host]
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.office
	switch {
	case o == nil:
		return nil, nil, api.ErrNotMaster
	case h == nil:
		return nil, nil, fmt.Errorf("%w: %s is not a member of this cluster", api.ErrRefused, host)
	case h.Status == fsm.HostJoining:
		return nil, nil, fmt.Errorf("%w: %s has never been up: there is nothing to confirm", api.ErrRefused, host)
	}
	now := m.cfg.Now()
	x := o.observe(h, now)
	if x.speaks(now, m.cfg.Timing) {
		return nil, nil, fmt.Errorf("%w: %s was heard %v ago, so it is not off; switch it off first",
			api.ErrRefused, host, (now - x.watch.Heard).Round(time.Millisecond))
	}
	v, _ := m.cfg.Volumes.View()
	_, ev := verdict.Judge(x.signals(s, h, v, now, m.cfg.Timing, m.cfg.Name))
	ev = append(ev, fsm.Evidence{Signal: "confirmation", Value: "off, says " + by, By: by})
	meta := m.meta()
	meta.By = by
	return o, &fsm.ConfirmOff{Meta: meta, Epoch: o.epoch, Host: host, Incarnation: h.Incarnation,
		Heard: meta.At.Add(x.watch.Heard - now), Evidence: ev,
		Text: fmt.Sprintf("%s is dead: %s confirmed that it is off", host, by)}, nil
}

// Claim gives a VM that nobody owns to the host on which a person is about to
// start it. Of two hosts that ask, the state machine lets one have it.
func (m *Master) Claim(ctx context.Context, r api.ClaimRequest) error {
	m.mu.Lock()
	o := m.office
	m.mu.Unlock()
	if o == nil {
		return api.ErrNotMaster
	}
	if err := m.admitStart(ctx, o, r); err != nil {
		return err
	}
	_, err := m.cfg.Log.Propose(ctx, &fsm.Adopt{Meta: m.meta(), Epoch: o.epoch, UUID: r.UUID,
		Previous: r.Generation, Host: r.Host, Incarnation: r.Incarnation})
	return err
}

// protectTimeout is how long a person waits for a VM's host to confirm.
const protectTimeout = 15 * time.Second

// Protect protects the VM of that name or UUID wherever it is, and returns once
// its host has confirmed that it guards it.
func (m *Master) Protect(ctx context.Context, name, by string) (*fsm.VM, error) {
	ctx, cancel := context.WithTimeout(ctx, protectTimeout)
	defer cancel()
	for {
		_, _, changed := m.cfg.View()
		vm, noted, err := m.tryProtect(ctx, name, by)
		if vm != nil || err != nil {
			return vm, err
		}
		select {
		case <-changed:
		case <-noted:
		case <-ctx.Done():
			s, _, _ := m.cfg.View()
			switch vm := s.FindVM(name); {
			case vm == nil:
			case vm.Sighting == nil:
				return nil, fmt.Errorf("%w: %s is committed as protected, but the host where it runs has not been given it within %v: see `haadm vms show %s`",
					api.ErrUnknownOutcome, name, protectTimeout, name)
			default:
				return nil, fmt.Errorf("%w: %s is committed as protected, but %s has not confirmed within %v that it guards it; until it does nobody else can be given the VM: see `haadm vms show %s`",
					api.ErrUnknownOutcome, name, vm.Sighting.Host, protectTimeout, name)
			}
			return nil, fmt.Errorf("%w: the host of %s has not sent its definition within %v", api.ErrUnknownOutcome, name, protectTimeout)
		}
	}
}

// tryProtect is one look: the VM as protected, or an error, or neither yet.
func (m *Master) tryProtect(ctx context.Context, name, by string) (*fsm.VM, <-chan struct{}, error) {
	s, _, _ := m.cfg.View()
	m.mu.Lock()
	o := m.office
	if o == nil {
		m.mu.Unlock()
		return nil, nil, api.ErrNotMaster
	}
	noted := o.noted
	if vm := s.FindVM(name); vm != nil {
		awaited := vm.Sighting != nil || vm.Owner == nil && o.runsSomewhere(s, vm.UUID)
		m.mu.Unlock()
		if awaited {
			return nil, noted, nil
		}
		return vm, noted, nil
	}
	h, x, err := o.find(s, name, m.cfg.Now(), m.cfg.Timing)
	if err != nil {
		m.mu.Unlock()
		return nil, nil, err
	}
	if p := m.cfg.Policy(s).VM(x.Name); p.Listed && !p.Protect {
		m.mu.Unlock()
		return nil, nil, fmt.Errorf("%w: the policy leaves %s out (%s, protect = false): change the policy first", api.ErrRefused, x.Name, p.Why)
	}
	if loose := unheardOf(s, o.hosts, x, h.Name, m.cfg.Now(), m.cfg.Timing); loose != "" {
		m.mu.Unlock()
		return nil, nil,
			fmt.Errorf("%w: %s ran %s when it was unprotected, and is not heard now, so its word on it is missing: wait until it is back, or make sure that it is off and say so with `haadm fence confirm %s`",
				api.ErrRefused, loose, x.Name, loose)
	}
	xml, ok := o.hosts[h.Name].defs[x.UUID]
	if !ok {
		o.hosts[h.Name].wanted[x.UUID] = true
		m.mu.Unlock()
		return nil, noted, nil
	}
	delete(o.hosts[h.Name].defs, x.UUID)
	m.mu.Unlock()
	cmd, err := protectCommand(o.epoch, m.meta(), h, x, xml, by)
	if err != nil {
		return nil, nil, err
	}
	if err = m.admitProtect(ctx, o, cmd); err != nil {
		return nil, nil, err
	}
	if _, err = m.cfg.Log.Propose(ctx, cmd); err != nil {
		return nil, nil, err
	}
	return nil, noted, nil
}

// find looks for a domain by name or UUID on the live hosts that are heard now: where it runs,
// else where it is defined. What another said last may not be so any more. The lock is held.
func (o *office) find(s *fsm.State, name string, now time.Duration, t lease.Timing) (*fsm.Host, api.DomainReport, error) {
	type place struct {
		host *fsm.Host
		dom  api.DomainReport
	}
	var running, defined []place
	var all []string
	for _, h := range s.SortedHosts() {
		x := o.hosts[h.Name]
		if x == nil || h.Status != fsm.HostLive || x.present() == nil || !x.reached(now, t) {
			continue
		}
		for _, d := range x.present().Domains {
			all = append(all, d.Name)
			if d.Name != name && d.UUID != name || d.Waits() {
				continue
			}
			if d.State == vmm.Stopped {
				defined = append(defined, place{h, d})
			} else {
				running = append(running, place{h, d})
			}
		}
	}
	if len(running) > 1 {
		return nil, api.DomainReport{}, fmt.Errorf("%w: %s runs on both %s and %s: stop one of them first",
			api.ErrRefused, name, running[0].host.Name, running[1].host.Name)
	}
	if host := o.silentWith(s, name, now, t); host != "" && len(running) == 0 {
		return nil, api.DomainReport{},
			fmt.Errorf("%w: %s, which is not heard now, ran %s when it was heard last, and what is not protected does not end with a lease: make sure that the host is off and say so with `haadm fence confirm %s`, or wait until it is back",
				api.ErrRefused, host, name, host)
	}
	places := append(running, defined...)
	if len(places) == 0 {
		slices.Sort(all)
		return nil, api.DomainReport{}, fmt.Errorf("%w: no live host has a VM named %s (there are: %s)",
			api.ErrRefused, name, strings.Join(slices.Compact(all), ", "))
	}
	for _, p := range places[1:] {
		if p.dom.UUID != places[0].dom.UUID {
			return nil, api.DomainReport{}, fmt.Errorf("%w: %s and %s each have another VM named %s: give the UUID (%s or %s)",
				api.ErrRefused, places[0].host.Name, p.host.Name, name, places[0].dom.UUID, p.dom.UUID)
		}
	}
	return places[0].host, places[0].dom, nil
}

// runsSomewhere reports whether a live host says that it runs a VM, so that it is about to be
// adopted there. The lock is held.
func (o *office) runsSomewhere(s *fsm.State, uuid string) bool {
	for _, h := range s.Hosts {
		x := o.hosts[h.Name]
		if x == nil || h.Status != fsm.HostLive || x.present() == nil {
			continue
		}
		if slices.ContainsFunc(x.present().Domains, func(d api.DomainReport) bool { return d.UUID == uuid && d.State == vmm.Running }) {
			return true
		}
	}
	return false
}

// silentWith is a host that is not heard now and not proven off, and that ran the VM of that name
// or UUID when it was heard last. The lock is held.
func (o *office) silentWith(s *fsm.State, name string, now time.Duration, t lease.Timing) string {
	for _, h := range s.SortedHosts() {
		x := o.hosts[h.Name]
		if x == nil || h.Status == fsm.HostLive && x.reached(now, t) || x.fence.off != 0 && x.spoke < x.fence.off {
			continue
		}
		if runs(x.report, name) {
			return h.Name
		}
	}
	return ""
}

// unheardOf is the host that ran a VM when it was unprotected, where that is another than the one
// on which it runs now, and is not heard. The state asks for its word first: while that is
// missing, the host that runs the VM is not given it, and could be lost without anybody knowing.
func unheardOf(s *fsm.State, hosts map[string]*observed, d api.DomainReport, on string, now time.Duration, t lease.Timing) string {
	loose := s.Loose[d.UUID]
	if loose == "" || loose == on || d.State == vmm.Stopped {
		return ""
	}
	if h, x := s.Hosts[loose], hosts[loose]; h != nil && x != nil && h.Status == fsm.HostLive && x.present() != nil && x.reached(now, t) {
		return ""
	}
	return loose
}

// runs reports whether a host says that it runs the VM of that name or UUID.
func runs(r *api.HostReport, name string) bool {
	return r != nil && slices.ContainsFunc(r.Domains, func(d api.DomainReport) bool {
		return (d.Name == name || d.UUID == name) && d.State != vmm.Stopped && !d.Waits()
	})
}

// Refused reports whether an error is a rule's, not the machinery's.
func Refused(err error) bool {
	var r *fsm.Refusal
	return errors.As(err, &r) || errors.Is(err, api.ErrRefused)
}
