package master

import (
	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// Picture is what the planner's picture of the cluster is made of at this moment, with
// each host as this office judges it for recovery and admission control. A host that
// was not heard yet takes no VMs in it. Elsewhere than in office: api.ErrNotMaster.
func (m *Master) Picture() (inventory.Input, error) {
	m.mu.Lock()
	o := m.office
	m.mu.Unlock()
	s, _, _ := m.cfg.View()
	if o == nil {
		return inventory.Input{}, api.ErrNotMaster
	}
	is, _, ok := m.judged(o, s, m.cfg.Policy(s))
	if !ok {
		return inventory.Input{}, api.ErrNotMaster
	}
	hosts, _ := rooms(is)
	return pictureOf(is, hosts), nil
}

// judged is what the office goes by when it judges the hosts in a state, and a channel that
// is closed when it hears more; ok is false when it is not in office any more.
func (m *Master) judged(o *office, s *fsm.State, p *config.Policy) (in input, noted <-chan struct{}, ok bool) {
	voters := m.cfg.Voters()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.office != o {
		return input{}, nil, false
	}
	in = input{
		now:     m.cfg.Now(),
		wall:    m.cfg.Wall(),
		self:    m.cfg.Name,
		epoch:   o.epoch,
		elected: o.elected,
		timing:  m.cfg.Timing,
		grace:   m.cfg.Grace,
		state:   s,
		policy:  p,
		voters:  voters,
		hosts:   map[string]*observed{},
	}
	for name := range s.Hosts {
		if x := o.hosts[name]; x != nil {
			in.hosts[name] = x.snapshot()
		}
	}
	return in, o.noted, true
}
