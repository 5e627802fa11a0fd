package master

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

const (
	// strangerPatience is how long such a start waits for the master to have heard from every
	// host. Its host waits a second for the whole answer.
	strangerPatience = 500 * time.Millisecond
	// comingFor is how long a start that was let through counts before its host says that the VM
	// runs; libvirt prepares networks and disks first.
	comingFor = 15 * time.Second
)

// coming are the VMs that nobody protects whose start was let through, until their hosts say
// that they run: of several that are started at once each is asked about beside the others.
type coming struct {
	turn  chan struct{}      // cap 1: who is in it is the only one that asks and notes
	notes map[string]arrival // by UUID; of whoever is in turn
}

type arrival struct {
	domain inventory.Domain
	host   string
	at     time.Duration // boot clock
}

func newComing() coming {
	return coming{turn: make(chan struct{}, 1), notes: map[string]arrival{}}
}

// AdmitStranger says whether a VM that its host takes for unprotected may be started there, or
// come there by migration. It takes room from failovers like any other, so the mode enforce
// refuses it (api.ErrRefused) and the mode warn tells of it. Whatever the mode, what is
// protected by now is refused. Any other error says nothing: HA is not what such a VM waits for.
func (m *Master) AdmitStranger(ctx context.Context, r api.StrangerRequest) error {
	m.mu.Lock()
	o := m.office
	m.mu.Unlock()
	if o == nil {
		return api.ErrNotMaster
	}
	s, _, _ := m.cfg.View()
	if vm := s.VMs[r.UUID]; vm != nil {
		return fmt.Errorf("%w: %s is protected, which %s has not learned yet: try again in a moment", api.ErrRefused, vm.Name, r.Host)
	}
	what := fmt.Sprintf("the start of %s, which nobody protects, on %s", r.Name, r.Host)
	in, asks, err := m.askable(ctx, o, strangerPatience)
	if errors.Is(err, api.ErrRefused) {
		m.record(ctx, o, fsm.Event{Type: "admission_control_warned", Severity: fsm.Warning, VM: r.Name, Host: r.Host,
			Text: what + " is let through: what room there is was not known, as the master had not heard from every host yet"})
		return nil
	}
	if !asks {
		return err
	}
	v, repeated, err := m.judgeStranger(ctx, o, in, r)
	if err != nil || repeated {
		return err
	}
	err = m.answer(ctx, o, in.Policy, v, what, r.Name)
	if errors.Is(err, api.ErrRefused) {
		err = fmt.Errorf("%w. admission_control { mode = \"warn\" } in the policy lets it through", err)
	}
	return err
}

// judgeStranger asks the planner, beside what else was let through just now, and notes what it
// lets through. repeated: this very start was let through a moment ago; a migration is asked
// about twice.
func (m *Master) judgeStranger(
	ctx context.Context, o *office, in inventory.Input, r api.StrangerRequest,
) (v placement.Verdict, repeated bool, err error) {
	select {
	case o.coming.turn <- struct{}{}:
		defer func() { <-o.coming.turn }()
	case <-ctx.Done():
		return v, false, fmt.Errorf("ask admission control about %s: %w", r.Name, ctx.Err())
	}
	now := m.cfg.Now()
	d := inventory.Domain{UUID: r.UUID, Name: r.Name, Running: true, VCPUs: r.VCPUs, Memory: r.Memory}
	if x, ok := o.coming.notes[r.UUID]; ok && reflect.DeepEqual(x.domain, d) && x.host == r.Host && now-x.at <= comingFor {
		return v, true, nil
	}
	i := slices.IndexFunc(in.Hosts, func(h inventory.Host) bool { return h.Name == r.Host })
	if i < 0 || in.Hosts[i].State != placement.Up {
		return placement.Verdict{Answer: placement.Yes}, false, nil // what is on it is no room for failovers
	}
	if a := in.Policy.Admission; !a.CountUnprotected && (a.By == config.RoomSlots || a.By == config.RoomPercent) {
		return placement.Verdict{Answer: placement.Yes}, false, nil // it takes none of what that reckons with
	}
	in.Hosts = o.coming.among(in.Hosts, r.UUID, now)
	inv := m.builder.Build(in)
	vm := inv.Stranger(d, r.Host)
	inv.Cluster.Rules = unruled(inv.Cluster.Rules, vm.Name)
	v = keepStandby(check(inv, placement.Change{VM: &vm, Host: r.Host}, false), in.Policy, r.Host)
	if !v.Refused || in.Policy.Admission.Mode != config.AdmissionEnforce {
		o.coming.notes[r.UUID] = arrival{domain: d, host: r.Host, at: now}
	}
	return v, false, nil
}

// among puts the VMs that were let through to the hosts on which they will run, but for the one
// that is asked about. It forgets those that run, and those that have had their time.
func (c *coming) among(hosts []inventory.Host, but string, now time.Duration) []inventory.Host {
	hosts = slices.Clone(hosts)
	for uuid, x := range c.notes {
		i := slices.IndexFunc(hosts, func(h inventory.Host) bool { return h.Name == x.host })
		there := i >= 0 && slices.ContainsFunc(hosts[i].Domains, func(d inventory.Domain) bool { return d.UUID == uuid && d.Running })
		switch {
		case i < 0, there, now-x.at > comingFor:
			delete(c.notes, uuid)
		case uuid != but:
			hosts[i].Domains = append(slices.Clone(hosts[i].Domains), x.domain)
		}
	}
	return hosts
}

// unruled are the rules without a VM: they bind what is protected.
func unruled(rules []placement.Rule, vm string) []placement.Rule {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].VMs = slices.DeleteFunc(slices.Clone(rules[i].VMs), func(name string) bool { return name == vm })
	}
	return rules
}
