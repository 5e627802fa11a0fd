package master

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// The events that say whether some plan could restart a VM if its host was lost.
const (
	eventFailoverLost     = "vm_failover_lost"
	eventFailoverRestored = "vm_failover_restored"
)

const (
	// bereftEvery is how often it is looked at, and bereftHolds how many times in a row it must
	// be so before it is told: a bridge that is down for a moment is nobody's business.
	bereftEvery = 20 * time.Second
	bereftHolds = 3
)

// watchBereft tells of VMs that run and that no plan could restart any more, or could again,
// until ctx ends. What was told last of each is in the history, so that a new master does not
// tell it again.
func (m *Master) watchBereft(ctx context.Context, o *office) {
	tick := time.NewTicker(bereftEvery)
	defer tick.Stop()
	held := map[string]int{} // by UUID: how often it was other than was told
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p, err := m.FailoverPlan()
		if m.cfg.Gate(ctx) != nil || err != nil {
			continue
		}
		s, _, _ := m.cfg.View()
		events := bereft(s, p, held)
		if len(events) == 0 {
			continue
		}
		if err := m.propose(ctx, &fsm.Record{Meta: m.meta(), Epoch: o.epoch, Events: events}); err != nil {
			m.cfg.Logger.Warn("cannot record which VMs could be restarted elsewhere", "error", err)
		}
	}
}

// bereft is what is to be told of a plan. It counts in held. Of a VM on the last host that takes
// VMs nothing is told: that the others are not there is known.
func bereft(s *fsm.State, p *FailoverPlan, held map[string]int) []fsm.Event {
	why := map[string]string{}
	for _, u := range p.Room.Uncovered {
		why[u.VM] = u.Why
	}
	told := lastTold(s)
	var events []fsm.Event
	running := map[string]bool{}
	for _, v := range p.Inventory.Cluster.VMs {
		uuid := p.Inventory.UUIDs[v.Name]
		vm := s.VMs[uuid]
		if vm == nil || p.Inventory.Names[uuid] != v.Name || v.Status != placement.Running || !othersUp(p.Inventory.Cluster, v.Host) {
			continue
		}
		running[uuid] = true
		reason, lost := why[v.Name]
		if lost == (told[vm.Name] == eventFailoverLost) {
			delete(held, uuid)
			continue
		}
		if held[uuid]++; held[uuid] < bereftHolds {
			continue
		}
		delete(held, uuid)
		if lost {
			events = append(events, fsm.Event{Type: "vm_failover_lost", Severity: fsm.Warning, VM: vm.Name, Host: v.Host,
				Text: fmt.Sprintf("%s is protected, and no plan can restart it if %s is lost: %s", vm.Name, v.Host, reason)})
		} else {
			events = append(events, fsm.Event{Type: "vm_failover_restored", VM: vm.Name, Host: v.Host,
				Text: fmt.Sprintf("%s could be restarted elsewhere again if %s was lost", vm.Name, v.Host)})
		}
	}
	for uuid := range held {
		if !running[uuid] {
			delete(held, uuid)
		}
	}
	return events
}

// lastTold is the last of the two events for each VM that the history has one of. One that was
// protected anew begins anew.
func lastTold(s *fsm.State) map[string]string {
	told := map[string]string{}
	for i := range s.Events {
		switch e := &s.Events[i]; e.Type {
		case eventFailoverLost, eventFailoverRestored:
			told[e.VM] = e.Type
		case fsm.EventVMUnprotected:
			delete(told, e.VM)
		}
	}
	return told
}

// othersUp reports whether a host other than this one takes VMs.
func othersUp(c *placement.Cluster, host string) bool {
	return slices.ContainsFunc(c.Hosts, func(h placement.Host) bool { return h.Name != host && h.State == placement.Up })
}
