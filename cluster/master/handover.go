package master

import (
	"context"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// handOverAfter is how long another host must have seen more heartbeat volumes than
// the master before it gets the office.
const handOverAfter = 10 * time.Second

// seesMore is the host that finds the most heartbeat volumes of the set working, if
// those are more than the master does: it can publish claims where the master cannot.
func seesMore(in input) (host string) {
	if len(in.state.Volumes.Volumes) == 0 {
		return ""
	}
	working := func(h *fsm.Host) (n int) {
		o := in.hosts[h.Name]
		if o == nil || h.Status != fsm.HostLive || o.watch.Suspected != 0 || o.present() == nil || h.Name != in.self && !o.reached(in.now, in.timing) {
			return 0
		}
		for _, v := range o.present().Volumes {
			if v.InUse && v.State == "working" {
				n++
			}
		}
		return n
	}
	me := in.state.Hosts[in.self]
	if me == nil || in.hosts[in.self] == nil || in.hosts[in.self].present() == nil {
		return ""
	}
	most := working(me)
	for _, h := range in.state.SortedHosts() {
		if n := working(h); n > most {
			host, most = h.Name, n
		}
	}
	return host
}

// handOver gives the office to a host that has seen more volumes for long enough.
func (m *Master) handOver(ctx context.Context, o *office, host string) {
	now := m.cfg.Now()
	switch {
	case host == "" || m.cfg.HandOver == nil:
		o.fewer = 0
	case o.fewer == 0:
		o.fewer = now
	case now-o.fewer >= handOverAfter:
		o.fewer = now // one that fails is tried again after as long
		o.jobs.Go(func() {
			m.record(ctx, o, fsm.Event{Type: "office_handed_over", Severity: fsm.Warning, Host: m.cfg.Name, From: m.cfg.Name, To: host,
				Text: m.cfg.Name + " hands the office over to " + host + ", which reaches more heartbeat volumes"})
			if err := m.cfg.HandOver(ctx, host); err != nil && ctx.Err() == nil {
				m.cfg.Logger.Warn("the office could not be handed over", "to", host, "error", err)
			}
		})
	}
}
