package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fencing/device"
	"github.com/holdfast-ha/holdfast/fsm"
)

// fencer uses the fence devices of the policy from this host, as the master asks.
type fencer struct {
	runner *device.Runner
	view   func() (*fsm.State, uint64, <-chan struct{})
}

// Off implements master.Fencer.
func (f fencer) Off(ctx context.Context, p *config.Policy, host string) (at time.Duration, evidence string, err error) {
	levels, bad := f.runner.Levels(p, host)
	r := levels.Off(ctx)
	if !r.Confirmed {
		return 0, "", errors.Join(errors.New(r.Evidence), bad)
	}
	return r.At, r.Evidence, nil
}

// On implements master.Fencer.
func (f fencer) On(ctx context.Context, p *config.Policy, host string) error {
	levels, bad := f.runner.Levels(p, host)
	return errors.Join(levels.On(ctx, func() error {
		s, _, _ := f.view()
		if h := s.Hosts[host]; h != nil && h.Held != nil {
			return fmt.Errorf("%s holds it off", h.Held.By)
		}
		return nil
	}), bad)
}

// watchDevices has every fence device of the policy prove at intervals that it
// answers, while this host is the master: one that would fail must be known
// before it is needed. What changes becomes an event.
func (m *member) watchDevices(ctx context.Context) error {
	for {
		s, _, changed := m.machine.View()
		m.monitor.Set(m.devices(m.agent.parsed(s)))
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// devices are all that the policy names and that can be used here.
func (m *member) devices(p *config.Policy) []*device.Device {
	var all []*device.Device
	for name, f := range p.Fences {
		d, err := m.runner.Device(name, f)
		if err != nil {
			m.log.Warn("a fence device cannot be used here", "device", name, "error", err)
			continue
		}
		all = append(all, d)
	}
	return all
}

// heardBehind reports whether the host that a device switches was heard after
// that moment: a device that calls such a host off is on another plug, and its
// word would be the death of a host that is only silent.
func (m *member) heardBehind(dev string, after time.Duration) bool {
	s, _, _ := m.machine.View()
	for host, rule := range m.agent.parsed(s).Hosts {
		for _, level := range rule.Fence {
			if slices.Contains(level, dev) {
				return host == m.agent.env.Name || m.master.HeardAfter(host, after)
			}
		}
	}
	return false
}

// told makes an event of a device that fails, or works again.
func (m *member) told(st device.Status) {
	e := fsm.Event{Type: "fence_device_works", Text: fmt.Sprintf("fence device %s answers: the power is %s", st.Device, st.Power)}
	if !st.OK {
		e = fsm.Event{Type: "fence_device_fails", Severity: fsm.Warning,
			Text: fmt.Sprintf("fence device %s does not work: %s", st.Device, st.Text)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, _, _ := m.machine.View()
	record := &fsm.Record{Meta: m.agent.meta(""), Epoch: s.Office.Epoch, Events: []fsm.Event{e}}
	if _, err := (replicated{m.node}).Propose(ctx, record); err != nil {
		m.log.Warn("an event was not recorded", "event", e.Type, "device", st.Device, "error", err)
	}
}

// FenceDevices implements api.Backend.
func (a *Agent) FenceDevices() ([]api.FenceDevice, error) {
	m, err := a.office()
	if err != nil {
		return nil, err
	}
	s, _, _ := m.machine.View()
	p := a.parsed(s)
	seen := map[string]device.Status{}
	for _, st := range m.monitor.Statuses() {
		seen[st.Device] = st
	}
	var all []api.FenceDevice
	for name, f := range p.Fences {
		d := api.FenceDevice{Name: name, Agent: f.Agent, State: "not checked yet"}
		for host, rule := range p.Hosts {
			for i, level := range rule.Fence {
				if slices.Contains(level, name) {
					d.Host, d.Level = host, i+1
				}
			}
		}
		if st, ok := seen[name]; ok {
			d.OK, d.State, d.Checked = st.OK, st.Text, a.env.Wall().Add(st.At-a.env.Now())
			if st.OK {
				d.State = "answers: power " + string(st.Power)
			}
			if h := s.Hosts[d.Host]; h != nil && h.Held != nil {
				d.State += "; " + h.Held.By + " holds it off"
			}
		} else if _, err := m.runner.Device(name, f); err != nil {
			d.State = err.Error()
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b api.FenceDevice) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return all, nil
}
