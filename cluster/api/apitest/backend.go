// Package apitest is an api.Backend made of values, for tests of what stands in
// front of one: the API server and the operator's command. It has no cluster
// behind it and checks no rules but those that a test sets.
package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// Backend answers from its fields. Set them before it is used, or through Change.
type Backend struct {
	mu      sync.Mutex // guards everything below
	changed chan struct{}

	Me       api.Self
	St       *fsm.State
	Observed map[string]api.HostObservation
	Servers  []api.Member
	// Err, when set, is what every change answers.
	Err error
	// Applied are the changes asked for, in words.
	Applied []string
	// Hang makes every change wait for its context.
	Hang bool
	// Panic makes Members panic.
	Panic bool
	// RoomNow is what admission control says; nil: nothing yet.
	RoomNow *placement.Verdict
	// Definitions are those of VMs outside protection, by name.
	Definitions map[string]string
	// Said is what the host says of itself to the doctor; the name is filled in.
	Said doctor.Facts
}

// Change runs f while nobody reads, and wakes those who wait for a change. f
// replaces St instead of changing what it points to: readers keep the old one.
func (b *Backend) Change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// Emit adds an event to a copy of the state.
func (b *Backend) Emit(e fsm.Event) {
	b.Change(func() {
		st := *b.St
		st.LastEvent++
		e.ID = st.LastEvent
		st.Events = append(append([]fsm.Event{}, st.Events...), e)
		b.St = &st
	})
}

// Did lists the changes asked for so far.
func (b *Backend) Did() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.Applied...)
}

func (b *Backend) do(ctx context.Context, format string, args ...any) error {
	b.mu.Lock()
	hang, err := b.Hang, b.Err
	if err == nil && !hang && b.Me.Member && !b.Me.IsMaster {
		err = api.ErrNotMaster
	}
	if err == nil && !hang {
		b.Applied = append(b.Applied, fmt.Sprintf(format, args...))
	}
	b.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// Self implements api.Backend.
func (b *Backend) Self() api.Self {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Me
}

// State implements api.Backend.
func (b *Backend) State() *fsm.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.St
}

// Changed implements api.Backend.
func (b *Backend) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}

// Observations implements api.Backend.
func (b *Backend) Observations() (map[string]api.HostObservation, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.Me.IsMaster {
		return nil, api.ErrNotMaster
	}
	return maps.Clone(b.Observed), nil
}

// Outlook implements api.Backend.
func (b *Backend) Outlook() (*whatif.Outlook, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.Me.IsMaster || b.RoomNow == nil {
		return nil, api.ErrNotMaster
	}
	return &whatif.Outlook{Room: *b.RoomNow}, nil
}

// Picture implements api.Backend: a host takes VMs when its verdict is live.
func (b *Backend) Picture() (inventory.Input, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.Me.IsMaster {
		return inventory.Input{}, api.ErrNotMaster
	}
	policy, err := config.ParsePolicy(b.St.Policy.Files)
	if err != nil {
		return inventory.Input{}, err
	}
	in := inventory.Input{State: b.St, Policy: policy, Now: Now}
	for _, h := range b.St.SortedHosts() {
		o := b.Observed[h.Name]
		x := inventory.Host{Name: h.Name, Memory: o.Capacity.Memory, Reserve: o.Reserve, CPUs: o.Capacity.CPUs, MHz: o.Capacity.MHz, Voter: true, Datastores: o.Datastores, Offer: o.Offer}
		switch {
		case h.Status == fsm.HostDead:
			x.State, x.Why = placement.Down, "it is dead"
		case h.Maintenance != nil:
			x.State, x.Why = placement.Maintenance, inventory.Serviced(h.Maintenance)
		case h.Shutdown != nil:
			x.State, x.Why = placement.Maintenance, "it "+h.Shutdown.Going()
		case o.Verdict != "live":
			x.State, x.Why = placement.Closed, "it is "+o.Verdict
		}
		for _, d := range o.Domains {
			if h.Status != fsm.HostDead {
				x.Domains = append(x.Domains, inventory.Domain{UUID: d.UUID, Name: d.Name, Running: d.State != vmm.Stopped, VCPUs: d.VCPUs, Memory: d.Memory})
			}
		}
		in.Hosts = append(in.Hosts, x)
	}
	return in, nil
}

// Members implements api.Backend.
func (b *Backend) Members() ([]api.Member, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Panic {
		panic("a fault that the test asked for")
	}
	return b.Servers, nil
}

// Apply implements api.Backend.
func (b *Backend) Apply(ctx context.Context, c fsm.Command) (any, error) {
	switch c := c.(type) {
	case *fsm.Unprotect:
		return nil, b.do(ctx, "unprotect %s by %s", c.UUID, c.By)
	case *fsm.EndMove:
		if err := b.do(ctx, "end move %d of %s by %s", c.Move, c.UUID, c.By); err != nil {
			return nil, err
		}
		return nil, b.Commit(c)
	case *fsm.RetryVM:
		n := 0
		if vm := b.State().VMs[c.UUID]; vm != nil {
			n = len(vm.Failures) + len(vm.MoveFailures)
		}
		if err := b.do(ctx, "retry %s by %s", c.UUID, c.By); err != nil {
			return nil, err
		}
		return n, b.Commit(c)
	case *fsm.DisarmCluster:
		if err := b.do(ctx, "disarm for %v by %s", c.For, c.By); err != nil {
			return nil, err
		}
		return nil, b.Commit(c)
	case *fsm.ArmCluster:
		if err := b.do(ctx, "arm by %s", c.By); err != nil {
			return nil, err
		}
		return nil, b.Commit(c)
	case *fsm.RevokeToken:
		return nil, b.do(ctx, "revoke %s by %s", c.ID, c.By)
	}
	return nil, b.do(ctx, "apply %T", c)
}

// Protect implements api.Backend. The state stays as it is.
func (b *Backend) Protect(ctx context.Context, vm, by string) (*fsm.VM, error) {
	if err := b.do(ctx, "protect %s by %s", vm, by); err != nil {
		return nil, err
	}
	v, err := b.Prospect(ctx, vm)
	if err == nil {
		v.By = by
	}
	return v, err
}

// Prospect implements api.Backend.
func (b *Backend) Prospect(_ context.Context, vm string) (*fsm.VM, error) {
	obs, err := b.Observations()
	if err != nil {
		return nil, err
	}
	for _, h := range b.State().SortedHosts() {
		for _, d := range obs[h.Name].Domains {
			if d.Name != vm && d.UUID != vm {
				continue
			}
			v := &fsm.VM{UUID: d.UUID, Name: d.Name, VCPUs: d.VCPUs, Memory: d.Memory, Intent: fsm.IntentStop, Home: h.Name}
			if d.State != vmm.Stopped {
				v.Intent, v.Owner = fsm.IntentRun, &fsm.Placement{Host: h.Name, Incarnation: h.Incarnation, Generation: 1, Phase: fsm.PhaseRunning, At: Now, Why: "it was seen running there"}
			}
			if text := b.Definitions[d.Name]; text != "" {
				v.XML, err = fsm.PackXML(text)
			}
			return v, err
		}
	}
	return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("no host has a VM called %q", vm)}
}

// CreateToken implements api.Backend.
func (b *Backend) CreateToken(ctx context.Context, host string, ttl time.Duration, by string) (string, *fsm.Token, error) {
	if err := b.do(ctx, "token for %q for %v by %s", host, ttl, by); err != nil {
		return "", nil, err
	}
	return "hf1-example-token", &fsm.Token{ID: "t3", Host: host, Created: Now, Expires: Now.Add(ttl), By: by}, nil
}

// ApplyPolicy implements api.Backend.
func (b *Backend) ApplyPolicy(ctx context.Context, files map[string][]byte, previous uint64, even bool, by string) (uint64, error) {
	if rev := b.State().Policy.Revision; rev != previous {
		return 0, &fsm.Refusal{Code: fsm.CodeConflict, Message: fmt.Sprintf("the policy is at revision %d, not %d: plan again", rev, previous)}
	}
	return previous + 1, b.do(ctx, "policy of %d files on %d (even if no spare: %v) by %s", len(files), previous, even, by)
}

// SetMaintenance implements api.Backend: it is so in the state at once.
func (b *Backend) SetMaintenance(ctx context.Context, host string, r api.MaintenanceRequest, by string) error {
	if err := b.do(ctx, "maintenance of %s: %v (%s, even if no spare: %v) by %s", host, r.On, r.Why, r.EvenIfNoSpare, by); err != nil {
		return err
	}
	return b.Commit(&fsm.SetMaintenance{Meta: fsm.Meta{At: Now, By: by}, Host: host, On: r.On, Why: r.Why})
}

// Move implements api.Backend: it is so in the state at once.
func (b *Backend) Move(ctx context.Context, r api.MoveRequest, by string) (*whatif.Granted, map[string]uint64, error) {
	if err := b.do(ctx, "move %s to %q (cold: %v, even if no spare: %v) by %s", strings.Join(r.VMs, ", "), r.Host, r.Cold, r.EvenIfNoSpare, by); err != nil {
		return nil, nil, err
	}
	in, err := b.Picture()
	if err != nil {
		return nil, nil, err
	}
	g, err := whatif.Grant(&inventory.Builder{}, in, whatif.Wish{VMs: r.VMs, Host: r.Host, Cold: r.Cold})
	if err == nil {
		err = api.RefusedMoves(g)
	}
	if err != nil {
		return nil, nil, err
	}
	orders := map[string]uint64{}
	for _, x := range g.Moves {
		vm := in.State.VMs[x.UUID]
		if err := b.Commit(&fsm.BeginMove{Meta: fsm.Meta{At: Now, By: by}, Epoch: in.State.Office.Epoch, UUID: x.UUID, Previous: vm.Generation, Host: x.To, Incarnation: 1, Cold: x.Cold, Why: "a person asked for it", Considered: whatif.Kept(in.State, x.Looked, x.To)}); err != nil {
			return nil, nil, err
		}
		for _, e := range b.State().Events { // the move may be over by now
			if e.Type == fsm.EventVMMoveOrdered && e.VM == vm.Name {
				orders[x.UUID] = e.ID
			}
		}
	}
	return g, orders, nil
}

// Restart implements api.Backend: it is so in the state at once.
func (b *Backend) Restart(ctx context.Context, uuid string, r api.RestartRequest, by string) (uint64, error) {
	if err := b.do(ctx, "restart %s (%s, even if no spare: %v) by %s", uuid, r.Why, r.EvenIfNoSpare, by); err != nil {
		return 0, err
	}
	st := b.State()
	why := r.Why
	if why == "" {
		why = by + " asked for it"
	}
	if err := b.Commit(&fsm.RestartVM{Meta: fsm.Meta{At: Now, By: by}, UUID: uuid, Previous: st.VMs[uuid].Generation, Why: why}); err != nil {
		return 0, err
	}
	return st.LastEvent + 1, nil
}

// SetIntent implements api.Backend: it is so in the state at once.
func (b *Backend) SetIntent(ctx context.Context, uuid string, r api.IntentRequest, by string) error {
	if err := b.do(ctx, "%s shall %s (%s) by %s", uuid, r.Intent, r.Why, by); err != nil {
		return err
	}
	return b.Commit(&fsm.SetIntent{Meta: fsm.Meta{At: Now, By: by}, UUID: uuid, Intent: r.Intent, Why: "a person asked for it"})
}

// Commit carries out a command on the state, as the log would.
func (b *Backend) Commit(c fsm.Command) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := fsm.New()
	state, err := json.Marshal(b.St)
	if err != nil {
		return err
	}
	if err := m.Restore(strings.NewReader(fmt.Sprintf("holdfast-state %d 1\n%s\n", fsm.Format, state))); err != nil {
		return err
	}
	entry, err := fsm.Encode(c)
	if err != nil {
		return err
	}
	if r := m.Apply(2, entry).(fsm.Result); r.Refusal != nil {
		return r.Refusal
	}
	b.St, _, _ = m.View()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return nil
}

// Leave implements api.Backend.
func (b *Backend) Leave(ctx context.Context, host, by string) error {
	return b.do(ctx, "leave %s by %s", host, by)
}

// TransferMaster implements api.Backend.
func (b *Backend) TransferMaster(ctx context.Context, to string) error {
	return b.do(ctx, "transfer to %q", to)
}

// Bootstrap implements api.Backend.
func (b *Backend) Bootstrap(ctx context.Context, r api.BootstrapRequest) (api.Self, error) {
	err := b.do(ctx, "bootstrap %s with %d policy files", r.Name, len(r.Policy))
	me := b.Self()
	me.Member, me.ClusterName, me.IsMaster, me.Master = true, r.Name, true, me.Name
	return me, err
}

// Join implements api.Backend.
func (b *Backend) Join(ctx context.Context, token string) (api.Self, error) {
	err := b.do(ctx, "join with %s", token)
	me := b.Self()
	me.Member, me.ClusterName, me.Master = true, "basement", "kvm2"
	return me, err
}

// Heartbeat implements api.Backend.
func (b *Backend) Heartbeat(ctx context.Context, hb api.Heartbeat) (api.HeartbeatReply, error) {
	if err := b.do(ctx, "heartbeat %d of %s", hb.Seq, hb.Host); err != nil {
		return api.HeartbeatReply{}, err
	}
	return api.HeartbeatReply{Acknowledged: true, Seq: hb.Seq, Run: hb.Run, Incarnation: hb.Incarnation}, nil
}

// FenceDevices implements api.Backend: one that works and one that does not.
func (b *Backend) FenceDevices() ([]api.FenceDevice, error) {
	if !b.Self().IsMaster {
		return nil, api.ErrNotMaster
	}
	return []api.FenceDevice{
		{Name: "kvm1-bmc", Agent: "fence_ipmilan", Host: "kvm1", Level: 1, OK: true, State: "answers: power on", Checked: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
		{Name: "kvm2-bmc", Agent: "fence_ipmilan", Host: "kvm2", Level: 1, State: "the login was refused", Checked: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
	}, nil
}

// FenceTest implements api.Backend: one device that works, on every host.
func (b *Backend) FenceTest(ctx context.Context, host string) ([]api.FenceDevice, error) {
	if err := b.do(ctx, "test the fence devices of %s", host); err != nil {
		return nil, err
	}
	all, err := b.FenceDevices()
	var its []api.FenceDevice
	for _, d := range all {
		if d.Host == host {
			d.Checked = Now
			its = append(its, d)
		}
	}
	if err == nil && len(its) == 0 {
		err = fmt.Errorf("%w: %s has no fence device", api.ErrRefused, host)
	}
	return its, err
}

// Fence implements api.Backend: it is done, except on kvm2, whose device fails.
func (b *Backend) Fence(ctx context.Context, host string, r api.FenceRequest, by string) (api.FenceReport, error) {
	if err := b.do(ctx, "fence %s %s (even if heard: %v) by %s", r.Action, host, r.EvenIfHeard, by); err != nil {
		return api.FenceReport{}, err
	}
	report := api.FenceReport{Schema: api.Schema, Host: host, Action: r.Action, Done: true, Evidence: host + "-bmc (fence_ipmilan at 10.30.0.11): switched off (it said \"Success: Powered OFF\"), and its status says off, after 3.2s",
		Tries: []api.FenceTry{{Level: 1, Device: host + "-bmc", Number: 1, Done: true, Text: host + "-bmc (fence_ipmilan at 10.30.0.11): switched off", Took: api.Seconds(3200 * time.Millisecond)}}, Freed: 2}
	if r.Action == api.FenceOn {
		report.Evidence, report.Tries, report.Freed = "switched on: every device says that the power is on", nil, 0
	}
	if host == "kvm2" {
		report.Tries = make([]api.FenceTry, 1)
		report.Done, report.Evidence, report.Freed = false, "not confirmed: kvm2-bmc (fence_ipmilan at 10.30.0.12): off failed after 20s: exit status 1: \"Connection timed out\"", 0
		report.Tries[0] = api.FenceTry{Level: 1, Device: "kvm2-bmc", Number: 1, Text: "kvm2-bmc (fence_ipmilan at 10.30.0.12): off failed after 20s: exit status 1: \"Connection timed out\"", Took: api.Seconds(20 * time.Second)}
	}
	return report, nil
}

// ConfirmOff implements api.Backend: the host was silent, and owned two VMs.
func (b *Backend) ConfirmOff(context.Context, string, string) (int, error) { return 2, nil }

// Claim implements api.Backend.
func (b *Backend) Claim(context.Context, api.ClaimRequest) error { return nil }

// StandAside implements api.Backend.
func (b *Backend) StandAside(context.Context, api.AsideNotice) error { return nil }

// AdmitStranger implements api.Backend.
func (b *Backend) AdmitStranger(context.Context, api.StrangerRequest) error { return nil }

// AdmitStart implements api.Backend: every start is admitted.
func (b *Backend) AdmitStart(context.Context, api.AdmitRequest) error { return nil }

// Facts implements api.Backend.
func (b *Backend) Facts(context.Context) (doctor.Facts, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.Said
	f.Name = b.Me.Name
	return f, nil
}

// Begin implements api.Backend.
func (b *Backend) Begin(ctx context.Context, r api.BeginRequest) (api.BeginReply, error) {
	return api.BeginReply{Incarnation: r.Previous + 1}, b.do(ctx, "begin %s after %d", r.Host, r.Previous)
}

// Admit implements api.Backend.
func (b *Backend) Admit(ctx context.Context, r api.JoinRequest) (api.JoinReply, error) {
	return api.JoinReply{ClusterName: "basement"}, b.do(ctx, "admit %s", r.Name)
}
