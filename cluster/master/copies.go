package master

import (
	"context"
	"fmt"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

// exchange is one heartbeat of a host, of which a copy comes over each network. A confirmation
// is an entry that a majority writes to its disks: one is enough for all copies, and the one
// for the copy that came first began after the heartbeat was received (R3).
type exchange struct {
	incarnation, run, seq uint64
	ended                 chan struct{} // closed with the confirmation for the first copy
	err                   error         // how that ended; valid once ended is closed
}

// exchanged returns the exchange that a heartbeat is a copy of, and whether it is the first one.
func (m *Master) exchanged(o *office, hb api.Heartbeat) (e *exchange, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e = &exchange{incarnation: hb.Incarnation, run: hb.Run, seq: hb.Seq, ended: make(chan struct{})}
	x := o.hosts[hb.Host]
	if x == nil {
		return e, true
	}
	if was := x.exchange; was != nil && was.incarnation == hb.Incarnation && was.run == hb.Run && was.seq == hb.Seq {
		return was, false
	}
	x.exchange = e
	return e, true
}

// confirmFor returns once the office was confirmed by an entry that began after a copy of this
// heartbeat had been received. Who sent the first copy may have given up: that is not held
// against the others, which then have the office confirmed themselves.
func (m *Master) confirmFor(ctx context.Context, o *office, hb api.Heartbeat) error {
	e, first := m.exchanged(o, hb)
	if first {
		e.err = m.cfg.Log.Confirm(ctx)
		close(e.ended)
		return e.err
	}
	select {
	case <-e.ended:
	case <-ctx.Done():
		return fmt.Errorf("wait for the confirmation that another copy has begun: %w", ctx.Err())
	}
	if e.err == nil {
		return nil
	}
	return m.cfg.Log.Confirm(ctx)
}
