package master

import (
	"context"
	"fmt"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// StandAside notes that a host takes part in nothing, since its disk went back (L1), and has
// people told, once. Nothing is decided by it. A later run of that host's agent has overtaken it
// where that is heard: such a word is refused (api.ErrRefused).
func (m *Master) StandAside(ctx context.Context, n api.AsideNotice) error {
	s, _, _ := m.cfg.View()
	m.mu.Lock()
	o, now := m.office, m.cfg.Now()
	overtaken := false
	if o != nil {
		x := o.hosts[n.Host]
		overtaken = x != nil && x.run != n.Run && x.speaks(now, m.cfg.Timing)
	}
	m.mu.Unlock()
	switch h := s.Hosts[n.Host]; {
	case o == nil:
		return api.ErrNotMaster
	case overtaken:
		return fmt.Errorf("%w: another run of %s's agent is heard", api.ErrRefused, n.Host)
	case h != nil && h.Aside != nil:
		return nil
	}
	return m.propose(ctx, &fsm.StandAside{Meta: m.meta(), Epoch: o.epoch, Host: n.Host, Why: n.Why})
}
