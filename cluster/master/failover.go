package master

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// FailoverPlan is what would become of the VMs were hosts lost, as of one moment. It
// is read only.
type FailoverPlan struct {
	At time.Time // wall clock
	// No grows by one with each picture of the cluster that this office has planned for.
	No uint64
	// Inventory is the picture that it is about.
	Inventory *inventory.Inventory
	// Hosts is what would be done if one host was lost, for each host that is there.
	Hosts []placement.Failover
	// Room is what admission control says to the cluster as it is: Room.Answer says whether
	// the room for failures that the policy asks for is there, and Room.Uncovered are
	// VMs that are counted apart, as no plan can restart them. With the mode off it says the latter alone.
	Room placement.Verdict
	// Capability is how many hosts, or failure domains, may fail at all.
	Capability placement.Capability
	// Took is how long it took to make.
	Took time.Duration

	tied map[string]tied // by host
}

// tied are the VMs of a host that no other could take.
type tied struct {
	rev uint64            // differs where vms does; never 0
	vms map[string]string // why, by UUID
}

// The events that say whether the room for failures that the policy asks for is there, as they
// are looked for in the history.
const (
	eventRoomLost     = "failover_capacity_lost"
	eventRoomRestored = "failover_capacity_restored"
)

const (
	// failoverWork bounds each search of the plan that is kept current.
	failoverWork = 10_000_000
	// failoverPause is how long changes are gathered before a plan is made for them.
	failoverPause = 200 * time.Millisecond
)

// seen is what a picture was last made of. Where nothing of it has changed, nothing is reckoned.
type seen struct {
	vms    map[string]*fsm.VM
	policy *config.Policy
	hosts  map[string]seenHost
}

type seenHost struct {
	report *api.HostReport
	state  placement.HostState
	why    string
	voter  bool
}

// outlook keeps the failover plan of an office current.
type outlook struct {
	due  chan inventory.Input // cap 1: the newest
	last seen                 // of the office's loop alone
	plan *FailoverPlan        // guarded by Master.mu; nil: none yet
}

// look has plans made when what it rests on has changed. It never waits.
func (m *Master) look(o *office, in input) {
	hosts, known := rooms(in)
	if !known {
		return // a host whose room is not known yet would look like one that has none
	}
	now := seen{vms: in.state.VMs, policy: in.policy, hosts: map[string]seenHost{}}
	for i := range hosts {
		h := &hosts[i]
		x := seenHost{state: h.State, why: h.Why, voter: h.Voter}
		if o := in.hosts[h.Name]; o != nil {
			x.report = lasting(o.present())
		}
		now.hosts[h.Name] = x
	}
	if reflect.DeepEqual(now.hosts, o.outlook.last.hosts) && now.policy == o.outlook.last.policy && maps.Equal(now.vms, o.outlook.last.vms) {
		return
	}
	o.outlook.last = now
	picture := pictureOf(in, hosts)
	for _, due := range []chan inventory.Input{o.outlook.due, o.journeys.due} {
		select {
		case <-due: // an older one
		default:
		}
		due <- picture
	}
}

// lasting is a report without what changes all the time, for which nothing is planned anew.
func lasting(r *api.HostReport) *api.HostReport {
	if r == nil {
		return nil
	}
	l := *r
	l.Uses = nil
	return &l
}

// gathered is the newest of what comes within a pause, so that many changes cost one plan.
// going is false when the office ends.
func (m *Master) gathered(
	ctx context.Context, in inventory.Input, due <-chan inventory.Input, pause time.Duration,
) (newest inventory.Input, going bool) {
	for wait := time.After(pause); ; {
		select {
		case <-ctx.Done():
			return in, false
		case in = <-due:
		case <-wait:
			return in, m.cfg.Gate(ctx) == nil
		}
	}
}

// plan makes the plans of an office, one after the other, until ctx ends.
func (m *Master) plan(ctx context.Context, o *office) {
	var last *FailoverPlan
	pause := failoverPause
	for {
		var in inventory.Input
		select {
		case <-ctx.Done():
			return
		case in = <-o.outlook.due:
		}
		in, going := m.gathered(ctx, in, o.outlook.due, pause)
		if !going {
			return
		}
		began := m.cfg.Now()
		inv := m.builder.Build(in)
		inv.Cluster.Policy.Work = failoverWork
		if last != nil && reflect.DeepEqual(inv, last.Inventory) {
			continue
		}
		before := last
		last = reckon(inv)
		last.At, last.Took = m.cfg.Wall(), m.cfg.Now()-began
		pause = max(failoverPause, last.Took) // half of the time at most goes into it
		m.mu.Lock()
		last.No = 1
		if o.outlook.plan != nil {
			last.No = o.outlook.plan.No + 1
		}
		o.outlook.plan = last
		m.mu.Unlock()
		o.wake() // what was refused before may be admitted now
		m.tellRoom(ctx, o, last)
		m.tellGrown(ctx, o, before, last)
	}
}

// reckon makes the plan for a picture.
func reckon(inv *inventory.Inventory) *FailoverPlan {
	a := inv.Cluster.Policy.Admission
	hosts := placement.EveryHost(inv.Cluster)
	return &FailoverPlan{Inventory: inv, Hosts: hosts, Room: placement.Check(inv.Cluster, placement.Change{}),
		Capability: placement.MaxFailures(inv.Cluster, placement.Failures{Domains: a.Domains, Succession: a.Succession}),
		tied:       tiedOf(inv, hosts)}
}

// tiedOf reads from the plans for the loss of each host which of its VMs would stay down.
func tiedOf(inv *inventory.Inventory, plans []placement.Failover) map[string]tied {
	all := map[string]tied{}
	for _, f := range plans {
		t := tied{vms: map[string]string{}}
		sum := fnv.New64a()
		for _, d := range f.Decisions {
			uuid := inv.UUIDs[d.VM]
			if d.Action != placement.StayDown || d.From != f.Host || uuid == "" {
				continue
			}
			t.vms[uuid] = d.Why
			fmt.Fprintf(sum, "%s %s\n", uuid, d.Why)
		}
		t.rev = max(1, sum.Sum64())
		all[f.Host] = t
	}
	return all
}

// FailoverPlan is the newest plan of this office. Until the hosts have been heard
// there is none, and the error wraps api.ErrRefused.
func (m *Master) FailoverPlan() (*FailoverPlan, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.office == nil:
		return nil, api.ErrNotMaster
	case m.office.outlook.plan == nil:
		return nil, fmt.Errorf("%w: the master has not heard from every host yet, so it does not know what room there is: try again in a moment",
			api.ErrRefused)
	}
	return m.office.outlook.plan, nil
}

// tellRoom records it when the room for failures is there no more, or is there again. What
// was told last is in the history, so that a new master does not tell it again.
func (m *Master) tellRoom(ctx context.Context, o *office, p *FailoverPlan) {
	s, _, _ := m.cfg.View()
	lost := p.Room.Answer != placement.Yes
	if lost == roomLost(s) || p.Room.Answer == placement.Unknown && !lost {
		return
	}
	e := fsm.Event{Type: "failover_capacity_restored", Text: "there is room for the failures that the policy asks for again: " + p.Room.Why}
	if lost {
		e = fsm.Event{Type: "failover_capacity_lost", Severity: fsm.Warning,
			Text: "there is not enough room for the failures that the policy asks for: " + p.Room.Why + waysOut(p.Room)}
	}
	if err := m.propose(ctx, &fsm.Record{Meta: m.meta(), Epoch: o.epoch, Events: []fsm.Event{e}}); err != nil {
		m.cfg.Logger.Warn("cannot record whether there is room for failures", "error", err)
	}
}

// roomLost is what the history says last.
func roomLost(s *fsm.State) bool { return latest(s, eventRoomLost, eventRoomRestored) == eventRoomLost }

// waysOut lists for people what would help.
func waysOut(v placement.Verdict) string {
	if len(v.WaysOut) == 0 {
		return ""
	}
	return "; what would help: " + strings.Join(v.WaysOut, ", or ")
}

// tellGrown records of each protected VM that has been given more memory or processors that there
// is not enough room for failures now. Its definition is libvirt's: it cannot be refused.
func (m *Master) tellGrown(ctx context.Context, o *office, before, after *FailoverPlan) {
	if before == nil || after.Room.Answer == placement.Yes || after.Inventory.Cluster.Policy.Admission.Mode == placement.Off {
		return
	}
	was := map[string]placement.VM{}
	for _, v := range before.Inventory.Cluster.VMs {
		was[v.Name] = v
	}
	var events []fsm.Event
	for _, v := range after.Inventory.Cluster.VMs {
		old, known := was[v.Name]
		if !known || v.Class == placement.Unprotected || v.Memory <= old.Memory && v.VCPUs <= old.VCPUs {
			continue
		}
		now, had := placement.Sizes(v.Memory, old.Memory)
		events = append(events, fsm.Event{Type: "admission_control_warned", Severity: fsm.Warning, VM: v.Name, Host: v.Host,
			Text: fmt.Sprintf("%s has been given more: %s of memory and %d processors, it had %s and %d. That is not asked about beforehand. Now %s",
				v.Name, now, v.VCPUs, had, old.VCPUs, says(after.Room))})
	}
	if len(events) == 0 {
		return
	}
	if err := m.propose(ctx, &fsm.Record{Meta: m.meta(), Epoch: o.epoch, Events: events}); err != nil {
		m.cfg.Logger.Warn("cannot record that VMs have been given more", "error", err)
	}
}
