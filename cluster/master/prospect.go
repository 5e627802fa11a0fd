package master

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// prospectTimeout is how long a person who asks waits for a host to send a definition: it
// comes with the heartbeat after the next.
const prospectTimeout = 5 * time.Second

// Prospect is a VM outside protection as it would be if it was protected now, by name or UUID,
// with its definition as its host has it. Nothing is changed. A protected one is returned as it is.
func (m *Master) Prospect(ctx context.Context, name string) (*fsm.VM, error) {
	ctx, cancel := context.WithTimeout(ctx, prospectTimeout)
	defer cancel()
	for {
		s, _, changed := m.cfg.View()
		vm, noted, err := m.tryProspect(s, name)
		if vm != nil || err != nil {
			return vm, err
		}
		select {
		case <-changed:
		case <-noted:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: the host of %s has not sent its definition within %v, so what ties it to its host is not known: try again in a moment",
				api.ErrRefused, name, prospectTimeout)
		}
	}
}

// tryProspect is one look: the VM, or an error, or neither yet.
func (m *Master) tryProspect(s *fsm.State, name string) (*fsm.VM, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.office
	if o == nil {
		return nil, nil, api.ErrNotMaster
	}
	if vm := s.FindVM(name); vm != nil {
		return vm, o.noted, nil
	}
	h, x, err := o.find(s, name, m.cfg.Now(), m.cfg.Timing)
	if err != nil {
		return nil, nil, err
	}
	xml, sent := o.hosts[h.Name].defs[x.UUID]
	if !sent {
		o.hosts[h.Name].wanted[x.UUID] = true
		return nil, o.noted, nil
	}
	delete(o.hosts[h.Name].defs, x.UUID) // whoever protects it asks for what it is then
	p, err := protectCommand(o.epoch, m.meta(), h, x, xml, "")
	if err != nil {
		return nil, nil, err
	}
	vm := p.VM
	vm.Home = h.Name
	if p.Running {
		vm.Intent, vm.Owner = fsm.IntentRun, &fsm.Placement{Host: h.Name}
	}
	return &vm, o.noted, nil
}
