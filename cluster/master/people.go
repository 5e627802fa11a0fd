package master

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// What people ask for of hosts and VMs goes through the office, so that nothing undoes it:
// each is planned with the cluster as it is, and admission control is asked first.

// SetMaintenance takes a host out of service, or puts it back. Refused (api.ErrRefused) is
// what leaves no host that takes VMs, and what admission control does not let through.
func (m *Master) SetMaintenance(ctx context.Context, host string, r api.MaintenanceRequest, by string) error {
	o, in, err := m.known(ctx, protectPatience)
	if err != nil {
		return err
	}
	if x := in.State.Disarmed; r.On && x != nil {
		return fmt.Errorf("%w: %s is not put into maintenance, since its VMs would not be moved away: %s; or move them first, by `haadm vms migrate`", api.ErrRefused, host, x.Text())
	}
	if r.On {
		out, err := whatif.TakeOut(&m.builder, in, host)
		if err != nil {
			return err
		}
		if out.Last != "" {
			return fmt.Errorf("%w: %s is the last host that takes VMs: %s", api.ErrRefused, host, out.Last)
		}
		if err := m.permits(ctx, o, in.Policy, out.Room, r.EvenIfNoSpare, by, "maintenance of "+host, "", host); err != nil {
			return err
		}
	}
	return m.propose(ctx, &fsm.SetMaintenance{Meta: m.by(by), Host: host, On: r.On, Why: r.Why})
}

// Move has VMs, named by UUID, moved together or not at all. The numbers of the moves are
// by UUID; an error may leave some of them ordered, and says so.
func (m *Master) Move(ctx context.Context, r api.MoveRequest, by string) (*whatif.Granted, map[string]uint64, error) {
	o, in, err := m.known(ctx, protectPatience)
	if err != nil {
		return nil, nil, err
	}
	g, err := whatif.Grant(&m.builder, in, whatif.Wish{VMs: r.VMs, Host: r.Host, Cold: r.Cold})
	if err != nil {
		return nil, nil, err
	}
	if err := api.RefusedMoves(g); err != nil {
		return nil, nil, err
	}
	var names []string
	for _, x := range g.Moves {
		names = append(names, x.VM)
	}
	what := "the move of " + strings.Join(names, ", ")
	if err := m.permits(ctx, o, in.Policy, g.Room, r.EvenIfNoSpare, by, what, names[0], g.Moves[0].To); err != nil {
		return nil, nil, err
	}
	chosen, err := choices(in, g)
	if err != nil {
		return nil, nil, err
	}
	orders := map[string]uint64{}
	for _, x := range g.Moves {
		vm, to := in.State.VMs[x.UUID], in.State.Hosts[x.To]
		id, err := m.cfg.Log.Propose(ctx, &fsm.BeginMove{Meta: m.by(by), Epoch: o.epoch, UUID: x.UUID,
			Previous: vm.Generation, Host: x.To, Incarnation: to.Incarnation, Cold: x.Cold, Why: wanted(by, r.Why),
			Considered: whatif.Kept(in.State, x.Looked, x.To), Devices: chosen[x.UUID]})
		if err != nil {
			if len(orders) > 0 {
				err = fmt.Errorf("%d of %d moves are ordered, that of %s is not: %w", len(orders), len(g.Moves), x.VM, err)
			}
			return nil, nil, err
		}
		orders[x.UUID], _ = id.(uint64)
	}
	return g, orders, nil
}

// SetIntent has a VM, named by UUID, started or stopped. A start is refused
// (api.ErrRefused) when no host could run it, and when admission control does not let it through.
func (m *Master) SetIntent(ctx context.Context, uuid string, r api.IntentRequest, by string) error {
	if r.Intent == fsm.IntentRun {
		o, in, err := m.known(ctx, protectPatience)
		if err != nil {
			return err
		}
		if err := m.permitsStart(ctx, o, in, uuid, "start", r.EvenIfNoSpare, by); err != nil {
			return err
		}
	}
	return m.propose(ctx, &fsm.SetIntent{Meta: m.by(by), UUID: uuid, Intent: r.Intent, Why: wanted(by, r.Why)})
}

// Restart has a VM that runs, named by UUID, shut down and started again, and returns the
// number of the order. Whether it can be started again, and may be, is judged first: what is
// refused (api.ErrRefused) is not stopped.
func (m *Master) Restart(ctx context.Context, uuid string, r api.RestartRequest, by string) (order uint64, err error) {
	o, in, err := m.known(ctx, protectPatience)
	if err != nil {
		return 0, err
	}
	if err := m.permitsStart(ctx, o, in, uuid, "restart", r.EvenIfNoSpare, by); err != nil {
		return 0, err
	}
	id, err := m.cfg.Log.Propose(ctx,
		&fsm.RestartVM{Meta: m.by(by), UUID: uuid, Previous: in.State.VMs[uuid].Generation, Why: wanted(by, r.Why)})
	order, _ = id.(uint64)
	return order, err
}

// permitsStart asks whether a VM could be started now, were it down, and whether that leaves
// the room for failures that the policy keeps. what is a word: start or restart.
func (m *Master) permitsStart(ctx context.Context, o *office, in inventory.Input, uuid, what string, even bool, by string) error {
	inv := m.builder.Build(in)
	name, ok := inv.Names[uuid]
	if !ok {
		return &fsm.Refusal{Code: fsm.CodeNotFound, Message: "it is not protected any more"}
	}
	vm := inv.Cluster.VMs[slices.IndexFunc(inv.Cluster.VMs, func(v placement.VM) bool { return v.Name == name })]
	vm.Status = placement.Running
	v := check(inv, placement.Change{VM: &vm}, false)
	if v.Refused && v.Host == "" {
		return fmt.Errorf("%w: %s cannot be %sed: %s", api.ErrRefused, name, what, v.Why)
	}
	return m.permits(ctx, o, in.Policy, whatif.VerdictOf(inv.Cluster, v), even, by, "the "+what+" of "+name, name, v.Host)
}

// permits turns what admission control says into a refusal, which a person may override by
// name, or into a warning in the history, or into nothing.
func (m *Master) permits(ctx context.Context, o *office, p *config.Policy, v whatif.Verdict, even bool, by, what, vm, host string) error {
	if v.Answer == "" || v.Answer == placement.Yes.String() && !v.Refused || p.Admission.Mode == config.AdmissionOff {
		return nil
	}
	says := saysOf(v)
	text := fmt.Sprintf("%s is let through, for admission control only warns: %s", what, says)
	if p.Admission.Mode == config.AdmissionEnforce {
		switch {
		case !v.Refused:
			return nil // it was so before
		case !even:
			return fmt.Errorf("%w: %s: %s. With --even-if-no-spare it is done all the same", api.ErrRefused, what, says)
		}
		text = fmt.Sprintf("%s is let through, for %s asked for it even with no room to spare: %s", what, by, says)
	}
	e := fsm.Event{Type: "admission_control_warned", Severity: fsm.Warning, VM: vm, Host: host, Text: text}
	if err := m.propose(ctx, &fsm.Record{Meta: m.by(by), Epoch: o.epoch, Events: []fsm.Event{e}}); err != nil {
		m.cfg.Logger.Warn("cannot record a warning of admission control", "what", what, "error", err)
	}
	return nil
}

// PermitsPolicy asks admission control about another policy: whether the room for failures that
// it asks for is there. It refuses (api.ErrRefused) by that policy's own mode. While not every
// host has been heard nothing is known of room: that is waited for, and then counts as missing.
func (m *Master) PermitsPolicy(ctx context.Context, next *config.Policy, even bool, by string) error {
	if next.Admission.Mode == config.AdmissionOff {
		return nil
	}
	o, in, err := m.known(ctx, protectPatience)
	switch {
	case errors.Is(err, api.ErrRefused):
		return m.permitsUnknown(ctx, o, next, err, even, by)
	case err != nil:
		return err
	}
	ch := whatif.Policy(&m.builder, in, next)
	if ch.Before.Answer == ch.After.Answer && !ch.After.Refused {
		return nil // what is missing is told already
	}
	return m.permits(ctx, o, next, ch.After, even, by, "the policy", "", "")
}

// permitsUnknown is permits for a policy of which nobody knows whether there is room for it;
// unheard, a refusal, says why.
func (m *Master) permitsUnknown(ctx context.Context, o *office, next *config.Policy, unheard error, even bool, by string) error {
	enforced := next.Admission.Mode == config.AdmissionEnforce
	if enforced && !even {
		return fmt.Errorf("%w. With --even-if-no-spare the policy is applied all the same, whether the room for failures that it asks for is there or not", unheard)
	}
	why := "admission control only warns"
	if enforced {
		why = by + " asked for it even with no room to spare"
	}
	m.record(ctx, o, fsm.Event{Type: "admission_control_warned", Severity: fsm.Warning,
		Text: fmt.Sprintf("the policy is let through, for %s: whether the room for failures that it asks for is there was not known, as the master had not heard from every host", why)})
	return nil
}

// saysOf is says for a verdict in words.
func saysOf(v whatif.Verdict) string {
	return says(placement.Verdict{Rule: v.By, Why: v.Why, Culprit: v.Culprit, WaysOut: v.WaysOut})
}

// wanted says why something is as a person wants it.
func wanted(by, why string) string {
	if why == "" {
		return by + " asked for it"
	}
	return by + " asked for it: " + why
}

func (m *Master) by(person string) fsm.Meta { return fsm.Meta{At: m.cfg.Wall(), By: person} }

// known is the cluster as it is, once every host has been heard, and the office that knows it.
// That not every host has been heard in time is a refusal (api.ErrRefused), with the office.
func (m *Master) known(ctx context.Context, patience time.Duration) (*office, inventory.Input, error) {
	m.mu.Lock()
	o := m.office
	m.mu.Unlock()
	if o == nil {
		return nil, inventory.Input{}, api.ErrNotMaster
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		s, _, changed := m.cfg.View()
		is, noted, ok := m.judged(o, s, m.cfg.Policy(s))
		if !ok {
			return nil, inventory.Input{}, api.ErrNotMaster
		}
		hosts, known := rooms(is)
		if known {
			return o, pictureOf(is, hosts), nil
		}
		select {
		case <-noted:
		case <-changed:
		case <-ctx.Done():
			var silent []string
			for _, h := range hosts {
				if h.State != placement.Up && h.Why != "" {
					silent = append(silent, h.Name+": "+h.Why)
				}
			}
			return o, inventory.Input{}, fmt.Errorf("%w: the master does not know yet what room there is (%s): try again in a moment",
				api.ErrRefused, strings.Join(silent, "; "))
		}
	}
}
