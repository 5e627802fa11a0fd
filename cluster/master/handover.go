package master

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// handOverAfter is how long another host must have seen more heartbeat volumes than
// the master before it gets the office, and how long after a try the next one is made.
const handOverAfter = 10 * time.Second

// heir is the host that should have the office in the master's place; Host is empty when none should.
type heir struct {
	host string
	// serviced: the master's own host is in maintenance, and only that is better there.
	serviced bool
}

// fitness ranks hosts as masters: first by how many heartbeat volumes of the set they find
// working, for where there are more claims can be published; among those that find as many,
// one in maintenance, or that is emptied for its shutdown, comes last. The office goes only to one
// that ranks higher, so it never comes back by itself.
type fitness struct {
	volumes   int
	inService bool
}

// fitter is the host that ranks highest, by name among equals, if it ranks higher than the master.
func fitter(in input) heir {
	rank := func(h *fsm.Host) (f fitness, able bool) {
		o := in.hosts[h.Name]
		if o == nil || h.Status != fsm.HostLive || o.watch.Suspected != 0 || o.present() == nil ||
			h.Name != in.self && !o.reached(in.now, in.timing) {
			return fitness{}, false
		}
		if h.Name != in.self && (o.present().Draining || in.voters != nil && !slices.Contains(in.voters, h.Name)) {
			return fitness{}, false
		}
		for _, v := range o.present().Volumes {
			if v.InUse && v.State == "working" && len(in.state.Volumes.Volumes) > 0 {
				f.volumes++
			}
		}
		f.inService = !h.Emptied()
		return f, true
	}
	me := in.state.Hosts[in.self]
	if me == nil || in.hosts[in.self] == nil || in.hosts[in.self].present() == nil {
		return heir{}
	}
	mine, able := rank(me)
	mine.inService = mine.inService || !able
	best, found := mine, ""
	for _, h := range in.state.SortedHosts() {
		if f, able := rank(h); able && (f.volumes > best.volumes || f.volumes == best.volumes && f.inService && !best.inService) {
			best, found = f, h.Name
		}
	}
	return heir{host: found, serviced: found != "" && best.volumes == mine.volumes}
}

// handOver gives the office to a host that ranks higher: at once when the master's own host
// is in maintenance, after long enough when the other has seen more volumes.
func (m *Master) handOver(ctx context.Context, o *office, to heir) {
	now := m.cfg.Now()
	if to.host == "" || m.cfg.HandOver == nil {
		o.fewer = 0
		return
	}
	if o.fewer == 0 {
		o.fewer = now
	}
	if !to.serviced && now-o.fewer < handOverAfter || o.tried != 0 && now-o.tried < handOverAfter {
		return
	}
	o.tried = now
	e := fsm.Event{Type: "office_handed_over", Severity: fsm.Warning, Host: m.cfg.Name, From: m.cfg.Name, To: to.host,
		Text: m.cfg.Name + " hands the office over to " + to.host + ", which reaches more heartbeat volumes"}
	if to.serviced {
		e.Severity, e.Text = fsm.Info, m.cfg.Name+" is being emptied, and hands the office over to "+to.host
	}
	o.jobs.Go(func() {
		m.record(ctx, o, e)
		if err := m.cfg.HandOver(ctx, to.host); err != nil && ctx.Err() == nil {
			m.cfg.Logger.Warn("the office could not be handed over", "to", to.host, "error", err)
		}
	})
}
