package master

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// The events that say whether VMs would feel the failures that are to be borne.
const (
	eventPerformanceReduced  = "failover_performance_reduced"
	eventPerformanceRestored = "failover_performance_restored"
)

const (
	// performEvery is how often it is reckoned, as often as hosts say what VMs take, and
	// performHolds how many times in a row it must be so before it is told: a minute.
	performEvery = 20 * time.Second
	performHolds = 3
)

// perform watches what VMs really take, until ctx ends.
func (m *Master) perform(ctx context.Context, o *office) {
	tick := time.NewTicker(performEvery)
	defer tick.Stop()
	held := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		in, err := m.Picture()
		if m.cfg.Gate(ctx) != nil || err != nil {
			continue
		}
		p := whatif.Perform(in)
		if told := latest(in.State, eventPerformanceReduced, eventPerformanceRestored) == eventPerformanceReduced; p.Warn == told {
			held = 0
			continue
		}
		if held++; held < performHolds {
			continue
		}
		held = 0
		if err := m.propose(ctx, &fsm.Record{Meta: m.meta(), Epoch: o.epoch, Events: []fsm.Event{performance(p)}}); err != nil {
			m.cfg.Logger.Warn("cannot record whether VMs would feel failures", "error", err)
		}
	}
}

// performance is what has changed, for the history.
func performance(p whatif.Performance) fsm.Event {
	switch {
	case p.Warn:
		return fsm.Event{Type: "failover_performance_reduced", Severity: fsm.Warning,
			Text: fmt.Sprintf("failures of hosts would cost VMs more than %d %% of their performance: %s", p.Tolerated, p.Why)}
	case p.Tolerated == config.AnyDegradation:
		return fsm.Event{Type: "failover_performance_restored", Text: "whether failures of hosts cost VMs performance is not warned of any more"}
	}
	return fsm.Event{Type: "failover_performance_restored",
		Text: fmt.Sprintf("failures of hosts would cost VMs no more than %d %% of their performance again: %s", p.Tolerated, p.Why)}
}

// latest is that of the types which the history has last; empty: none.
func latest(s *fsm.State, types ...string) string {
	for i := len(s.Events) - 1; i >= 0; i-- {
		for _, t := range types {
			if s.Events[i].Type == t {
				return t
			}
		}
	}
	return ""
}
