package master

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// movePlan is which VMs are to move, as of one moment. All but spent is read only.
type movePlan struct {
	*placement.Moves
	state  *fsm.State
	policy *config.Policy
	uuids  map[string]string // by name in the plan
	spent  bool              // guarded by Master.mu: what it says has been proposed, or is out of date
}

// journeys keeps the plan of moves of an office current.
type journeys struct {
	due  chan inventory.Input // cap 1: the newest
	plan *movePlan            // guarded by Master.mu; nil: none yet
}

// movesPause is how long changes are gathered before moves are planned, movesAgain when
// they are planned anew though nothing has changed, while some wait, and measureEvery how
// often while balance goes by what VMs really take: as often as hosts say it.
const (
	movesPause   = 200 * time.Millisecond
	movesAgain   = 30 * time.Second
	measureEvery = 20 * time.Second
)

// travel plans the moves of an office, until ctx ends.
func (m *Master) travel(ctx context.Context, o *office) {
	var in inventory.Input
	var watch placement.Watch
	var again <-chan time.Time
	told := map[string]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case in = <-o.journeys.due:
		case <-again:
			in = m.remeasured(in)
		}
		var going bool
		if in, going = m.gathered(ctx, in, o.journeys.due, movesPause); !going {
			return
		}
		in.Now = m.cfg.Wall()
		inv := m.builder.Build(in)
		inv.Cluster.Policy.Work = failoverWork
		set := inventory.MoveSettings(in.Policy)
		moves, due := watch.Plan(m.cfg.Now(), in.Policy.Balance.Hold, inv.Cluster, set)
		p := &movePlan{Moves: inventory.Devised(in, inv, moves), state: in.State, policy: in.Policy, uuids: inv.UUIDs}
		wait := sooner(m.nextMoves(in, p), due)
		if set.Balance.On && set.Balance.Measured {
			wait = sooner(wait, measureEvery)
		}
		again = nil
		if wait > 0 {
			again = time.After(wait)
		}
		m.mu.Lock()
		o.journeys.plan = p
		m.mu.Unlock()
		if len(p.Begin) > 0 {
			o.wake()
		}
		m.tellStays(ctx, o, in.State, p, told)
	}
}

// remeasured is a picture with what VMs take now, which is all that changes without the
// office having moves planned.
func (m *Master) remeasured(in inventory.Input) inventory.Input {
	now, err := m.Picture()
	if err != nil {
		return in
	}
	in.Hosts = slices.Clone(in.Hosts)
	for i := range in.Hosts {
		for _, h := range now.Hosts {
			if h.Name == in.Hosts[i].Name && h.Uses != nil {
				in.Hosts[i].Uses = h.Uses
			}
		}
	}
	return in
}

// nextMoves is when moves are to be planned again though nothing changes; 0: never.
func (m *Master) nextMoves(in inventory.Input, p *movePlan) (wait time.Duration) {
	if len(p.Begin)+len(p.Later) == 0 {
		return 0
	}
	wait = movesAgain
	for _, vm := range in.State.VMs {
		if at := inventory.MoveAgain(vm); at.After(in.Now) {
			wait = sooner(wait, at.Sub(in.Now)+time.Millisecond)
		}
	}
	return wait
}

// sooner is the shorter of two waits, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// tellStays records, once for each maintenance, which VMs cannot leave their host.
func (m *Master) tellStays(ctx context.Context, o *office, s *fsm.State, p *movePlan, told map[string]time.Time) {
	var events []fsm.Event
	for _, x := range p.Stay {
		h := s.Hosts[x.Host]
		if x.Cause != placement.Evacuate || h == nil || h.Maintenance == nil || told[x.VM].Equal(h.Maintenance.Since) {
			continue // those of a host that is shut down are told of as what is left there (stuck)
		}
		told[x.VM] = h.Maintenance.Since
		events = append(events, fsm.Event{Type: "vm_evacuation_failed", Severity: fsm.Warning, VM: x.VM, Host: x.Host, From: x.Host,
			Text: fmt.Sprintf("%s stays on %s, which is in maintenance: %s", x.VM, x.Host, x.Why), Considered: whatif.Kept(s, x.Hosts, "")})
	}
	if len(events) == 0 {
		return
	}
	if err := m.propose(ctx, &fsm.Record{Meta: m.meta(), Epoch: o.epoch, Events: events}); err != nil {
		m.cfg.Logger.Warn("cannot record which VMs stay", "error", err)
	}
}

// Moves is the newest plan of moves of this office: what begins or waits, and which VMs should leave
// their host and cannot. Until the hosts have been heard there is none, and the error wraps api.ErrRefused.
func (m *Master) Moves() (*placement.Moves, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.office == nil:
		return nil, api.ErrNotMaster
	case m.office.journeys.plan == nil:
		return nil, fmt.Errorf("%w: the master has not heard from every host yet, so it does not know what is to be moved: try again in a moment",
			api.ErrRefused)
	}
	return m.office.journeys.plan.Moves, nil
}

// relocate calls off moves that take too long or whose target cannot take the VM any more,
// and orders those that were planned, unless the cluster has become another since.
func relocate(in input, m fsm.Meta, d *decision) {
	for _, vm := range underWay(in.state) {
		why, at := callOff(in, vm)
		if why == "" {
			d.lookAt(in.now + max(at.Sub(in.wall), in.timing.Heartbeat))
			continue
		}
		d.commands = append(d.commands, &fsm.EndMove{Meta: m, Epoch: in.epoch, UUID: vm.UUID, Move: vm.Move.ID, Why: why})
	}
	p := in.moves
	if p == nil || len(d.commands) > 0 || in.state.Disarmed != nil { // the plan keeps until it is armed
		return
	}
	d.moved = p
	if outdated(in, p) {
		return
	}
	hosts, _ := rooms(in)
	choose := inventory.NewChooser(pictureOf(in, hosts))
	for _, l := range p.Begin {
		vm, h := in.state.VMs[p.uuids[l.VM]], in.state.Hosts[l.To]
		if vm == nil || h == nil {
			continue
		}
		if rh, known := room(in, h); !known || rh.State != placement.Up {
			continue
		}
		devices, why := choose.Choose(vm, l.To)
		if why != "" {
			continue // somebody has it since the plan was made: the next says so
		}
		d.commands = append(d.commands, &fsm.BeginMove{Meta: m, Epoch: in.epoch, UUID: vm.UUID,
			Previous: vm.Generation, Host: l.To, Incarnation: h.Incarnation, Cold: l.Cold, Why: l.Why,
			Considered: whatif.Kept(in.state, l.Hosts, l.To), Devices: devices})
	}
}

// underWay are the VMs that are on their way, by name.
func underWay(s *fsm.State) (vms []*fsm.VM) {
	for _, vm := range s.VMs {
		if vm.Move != nil {
			vms = append(vms, vm)
		}
	}
	slices.SortFunc(vms, func(a, b *fsm.VM) int { return cmp.Or(compare(a.Name, b.Name), compare(a.UUID, b.UUID)) })
	return vms
}

// callOff says why a move is to end, or when it is to at the latest. A target that is suspected is
// not called off: it may come back, and if it does not, its death ends the move.
func callOff(in input, vm *fsm.VM) (why string, at time.Time) {
	at = vm.Move.At.Add(in.policy.Migration.Timeout)
	if !in.wall.Before(at) {
		return fmt.Sprintf("it was not through within %v", in.policy.Migration.Timeout), at
	}
	h := in.state.Hosts[vm.Move.Host]
	if h == nil {
		return "", at
	}
	rh, known := inService(in, h)
	o := in.hosts[h.Name]
	if known && rh.State == placement.Closed && o != nil && o.watch.Suspected == 0 &&
		o.reached(in.now, in.timing) && o.present() != nil {
		return fmt.Sprintf("%s cannot take it: %s", h.Name, rh.Why), at
	}
	return "", at
}

// outdated reports whether a VM has been given a place since the moves were planned, or the
// policy is another: what was found to fit may not fit any more.
func outdated(in input, p *movePlan) bool {
	if in.policy != p.policy {
		return true
	}
	for uuid, vm := range in.state.VMs {
		was := p.state.VMs[uuid]
		for _, host := range places(vm) {
			if host != "" && (was == nil || !holds(places(was), host)) {
				return true
			}
		}
	}
	return false
}

// places are where a VM takes room.
func places(vm *fsm.VM) (at [3]string) {
	if vm.Owner != nil {
		at[0] = vm.Owner.Host
	}
	if vm.Sighting != nil {
		at[1] = vm.Sighting.Host
	}
	if vm.Move != nil {
		at[2] = vm.Move.Host
	}
	return at
}

func holds(at [3]string, host string) bool { return at[0] == host || at[1] == host || at[2] == host }
