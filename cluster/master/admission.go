package master

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// Admission control is asked about what people and the policy want: to protect a VM,
// to start one by hand, protected or not (stranger.go). Restarts are never asked about, nor what runs
// already.

// How long a person waits for the master to have heard from every host, where admission
// control may refuse. Libvirt's hook, and with it a start by hand, waits two seconds in all.
const (
	protectPatience = 5 * time.Second
	startPatience   = time.Second
)

// admitStart asks about the start of a protected VM by hand on a host. The error is a
// refusal (api.ErrRefused) or ctx's.
func (m *Master) admitStart(ctx context.Context, o *office, r api.ClaimRequest) error {
	uuid, host := r.UUID, r.Host
	in, asks, err := m.askable(ctx, o, startPatience)
	if !asks {
		return err
	}
	inv := m.builder.Build(in)
	name, ok := inv.Names[uuid]
	if !ok {
		return nil // it was unprotected meanwhile
	}
	vm := inv.Cluster.VMs[slices.IndexFunc(inv.Cluster.VMs, func(v placement.VM) bool { return v.Name == name })]
	vm.Status = placement.Running
	if known := in.State.VMs[uuid]; r.Memory > 0 { // it may have been given more while it was stopped
		vm.Memory, vm.VCPUs = max(0, vm.Memory+int64(r.Memory)-int64(known.Memory)), r.VCPUs
	}
	v := keepStandby(check(inv, placement.Change{VM: &vm, Host: host}, false), in.Policy, host)
	return m.answer(ctx, o, in.Policy, v, "start "+name+" on "+host, name)
}

// keepStandby is the verdict on a start on a host, which is a no where that is kept for failures.
func keepStandby(v placement.Verdict, p *config.Policy, host string) placement.Verdict {
	if rule := p.Hosts[host]; rule.Standby && !v.Refused && v.Rule != placement.ByFailoverHosts {
		v.Answer, v.Refused, v.Culprit, v.WaysOut = placement.No, p.Admission.Mode == config.AdmissionEnforce, host, nil
		v.Why = host + " is standby: only VMs whose host has failed start there"
	}
	return v
}

// admitProtect asks about a VM that would become protected, as the command says.
func (m *Master) admitProtect(ctx context.Context, o *office, p *fsm.Protect) error {
	in, asks, err := m.askable(ctx, o, protectPatience)
	if !asks {
		return err
	}
	return m.answer(ctx, o, in.Policy, protection(&m.builder, in, p), "protect "+p.VM.Name, p.VM.Name)
}

// protection is what admission control says to a VM becoming protected.
func protection(b *inventory.Builder, in inventory.Input, p *fsm.Protect) placement.Verdict {
	base := b.Build(in)
	vm := p.VM
	vm.Home = p.Host
	if p.Running {
		vm.Intent, vm.Owner = fsm.IntentRun, &fsm.Placement{Host: p.Host}
	}
	with := *in.State
	with.VMs = map[string]*fsm.VM{vm.UUID: &vm}
	for uuid, x := range in.State.VMs {
		with.VMs[uuid] = x
	}
	in.State = &with
	after := b.Build(in)
	name := after.Names[vm.UUID]
	one := after.Cluster.VMs[slices.IndexFunc(after.Cluster.VMs, func(v placement.VM) bool { return v.Name == name })]
	for other, uuid := range base.UUIDs { // as the present picture calls it, while nobody protects it
		if uuid == vm.UUID && slices.ContainsFunc(base.Cluster.VMs, func(v placement.VM) bool { return v.Name == other && v.Host == p.Host }) {
			one.Name = other
		}
	}
	base.Cluster.Hosts = after.Cluster.Hosts // what a host does not say is taken to be there for the VMs of the picture alone
	ch := placement.Change{VM: &one}
	if p.Running {
		ch.Host = p.Host
	}
	return check(base, ch, p.Running)
}

// check asks the planner. What runs already is not kept from running where it is.
func check(inv *inventory.Inventory, ch placement.Change, runs bool) placement.Verdict {
	c := inv.Cluster
	c.Policy.Work = failoverWork
	if runs {
		c.Hosts = slices.Clone(c.Hosts)
		for i := range c.Hosts {
			if h := &c.Hosts[i]; h.Name == ch.Host {
				h.State, h.MaxVMs = placement.Up, 0
			}
		}
	}
	v := placement.Check(c, ch)
	if runs && v.Refused && v.Slots == nil && v.Percentages == nil && v.Tolerance == nil && v.Failover == nil {
		return placement.Verdict{Answer: placement.Yes, Rule: v.Rule, Host: ch.Host}
	}
	return v
}

// askable is the cluster as it is, once every host has been heard. asks is false when
// nothing is to be asked, or err says why it cannot be.
func (m *Master) askable(ctx context.Context, o *office, patience time.Duration) (in inventory.Input, asks bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		s, _, changed := m.cfg.View()
		policy := m.cfg.Policy(s)
		if policy.Admission.Mode == config.AdmissionOff {
			return in, false, nil
		}
		is, noted, ok := m.judged(o, s, policy)
		if !ok {
			return in, false, api.ErrNotMaster
		}
		if hosts, known := rooms(is); known {
			return pictureOf(is, hosts), true, nil
		}
		select {
		case <-noted:
		case <-changed:
		case <-ctx.Done():
			if policy.Admission.Mode != config.AdmissionEnforce {
				return in, false, nil
			}
			return in, false, fmt.Errorf("%w: admission control is asked, and the master has not heard from every host yet: try again in a moment", api.ErrRefused)
		}
	}
}

// answer turns a verdict into a refusal, or a warning in the history, or nothing.
func (m *Master) answer(ctx context.Context, o *office, p *config.Policy, v placement.Verdict, what, vm string) error {
	enforced := p.Admission.Mode == config.AdmissionEnforce
	switch {
	case enforced && v.Refused:
		return fmt.Errorf("%w: %s: %s", api.ErrRefused, what, says(v))
	case enforced || v.Answer == placement.Yes && !v.Refused:
		return nil
	}
	e := fsm.Event{Type: "admission_control_warned", Severity: fsm.Warning, VM: vm, Host: v.Host,
		Text: fmt.Sprintf("%s is let through, for admission control only warns: %s", what, says(v))}
	if err := m.propose(ctx, &fsm.Record{Meta: m.meta(), Epoch: o.epoch, Events: []fsm.Event{e}}); err != nil {
		m.cfg.Logger.Warn("cannot record a warning of admission control", "vm", vm, "error", err)
	}
	return nil
}

// says is a verdict for people: rule, figures, what they turn on, and what would help.
func says(v placement.Verdict) string {
	text := fmt.Sprintf("admission control (%s) says: %s", word(v.Rule), v.Why)
	if v.Culprit != "" && !strings.Contains(v.Why, v.Culprit) {
		text += "; it turns on " + v.Culprit
	}
	return text + waysOut(v)
}

// word is a rule as the policy names it.
func word(k placement.AdmissionKind) string {
	switch k {
	case placement.BySlots:
		return config.RoomSlots
	case placement.ByPercentage:
		return config.RoomPercent
	case placement.ByFailoverHosts:
		return config.RoomStandby
	}
	return config.RoomFailures
}

// policyPatience is how long the office's loop asks about VMs that the policy would
// protect, in one round.
const policyPatience = 100 * time.Millisecond

// admitsByPolicy asks about a VM that the policy would protect, where it may be
// refused. What was refused is asked again when the cluster is another.
func (m *Master) admitsByPolicy(ctx context.Context, o *office, in input, p *fsm.Protect, began time.Duration) (bool, error) {
	if in.policy.Admission.Mode != config.AdmissionEnforce {
		return true, nil
	}
	hosts, known := rooms(in)
	if !known {
		return false, nil // soon
	}
	if m.cfg.Now()-began > policyPatience {
		o.wake() // the next round goes on with it
		return false, nil
	}
	s, _, _ := m.cfg.View() // with those that were protected in this round
	in.state = s
	v := protection(&m.builder, pictureOf(in, hosts), p)
	if !v.Refused {
		return true, nil
	}
	m.mu.Lock()
	was := o.refused[p.VM.UUID]
	o.refused[p.VM.UUID] = refusal{picture: o.outlook.no(), why: v.Why}
	m.mu.Unlock()
	if was.why == v.Why {
		return false, nil
	}
	e := fsm.Event{Type: "vm_protection_refused", Severity: fsm.Warning, VM: p.VM.Name, Host: p.Host,
		Text: fmt.Sprintf("%s is not protected, though the policy asks for it (%s): %s", p.VM.Name, strings.TrimPrefix(p.By, byPolicy), says(v))}
	return false, m.propose(ctx, &fsm.Record{Meta: m.meta(), Epoch: o.epoch, Events: []fsm.Event{e}})
}

// refusal is what was said of a VM that the policy would protect.
type refusal struct {
	picture uint64 // FailoverPlan.No
	why     string
}

// no is the number of the newest plan. The master's lock is held.
func (o *outlook) no() uint64 {
	if o.plan == nil {
		return 0
	}
	return o.plan.No
}

// refusedNow are the VMs that the policy would protect and that are not admitted as
// the cluster is. The lock is held.
func (o *office) refusedNow() map[string]bool {
	now := map[string]bool{}
	for uuid, r := range o.refused {
		if r.picture == o.outlook.no() {
			now[uuid] = true
		}
	}
	return now
}
