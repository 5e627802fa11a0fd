package host

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// maxInFlight bounds the heartbeats that wait for an answer on one network.
const maxInFlight = 3

// heartbeat sends the next one over every HA network. What an acknowledgement is
// worth counts from this moment.
func (h *Host) heartbeat(ctx context.Context) {
	h.seq++
	now := h.cfg.Now()
	h.sent[h.seq] = now
	delete(h.sent, h.seq-64)
	_, applied, _ := h.cfg.View()
	hb := api.Heartbeat{
		Host:      h.cfg.Name,
		Run:       h.cfg.Run,
		Seq:       h.seq,
		Applied:   applied,
		ReportRev: h.reportRev,
		Volumes:   h.record.Volumes,
		TiedSeen:  h.around.tiedRev,
	}
	hb.Slots = h.cfg.Volumes.Others()
	if h.cfg.Written != nil {
		hb.Disk = h.cfg.Written()
	}
	if !h.record.Over {
		hb.Incarnation, hb.Watchdog = h.record.Incarnation, h.record.Watchdog
	}
	if h.seen != h.reportRev {
		r := h.report
		hb.Report = &r
	}
	h.cfg.Volumes.Beat(h.storageHeartbeat(hb))
	if len(h.defs) > 0 {
		hb.Definitions, h.defs = h.defs, map[string]string{}
	}
	inFlight := h.inFlight
	for _, network := range h.cfg.Networks {
		if inFlight[network] >= maxInFlight {
			continue
		}
		inFlight[network]++
		hb := hb
		hb.Network = network
		h.go_(func() {
			if h.cfg.Gate(ctx) != nil {
				return
			}
			cctx, cancel := context.WithTimeout(ctx, max(h.cfg.Timing.Lease/2, 2*h.cfg.Timing.Heartbeat))
			defer cancel()
			reply, err := h.cfg.Master.Heartbeat(cctx, network, hb)
			h.bring(ctx, func() {
				inFlight[network]--
				if err != nil {
					h.cfg.Log.Debug("heartbeat not answered", "network", network, "seq", hb.Seq, "error", err)
					h.beatErr = err
					if errors.Is(err, api.ErrNoMaster) {
						h.beatAgain(ctx)
					}
					return
				}
				h.beatErr = nil
				h.answered(ctx, hb, reply)
			})
		})
	}
}

// beatAgain sends the next heartbeat before its time: this one found no master, and
// when there is one again the lease has waited long enough.
func (h *Host) beatAgain(ctx context.Context) {
	if h.again {
		return
	}
	h.again = true
	h.go_(func() {
		h.pause(ctx, h.cfg.Timing.Heartbeat/4)
		h.bring(ctx, func() { h.again, h.beatNow = false, true })
	})
}

// answered takes the master's reply to a heartbeat.
func (h *Host) answered(ctx context.Context, hb api.Heartbeat, r api.HeartbeatReply) {
	if r.Run != h.cfg.Run {
		return
	}
	if h.trustFrom == 0 && r.Commit != 0 {
		h.trustFrom = r.Commit
	}
	if hb.Seq >= h.seenSeq { // answers can overtake one another
		h.seenSeq, h.seen = hb.Seq, r.ReportSeen
		h.around.told(hb, r)
	}
	if len(r.Wanted) > 0 {
		h.fetch(ctx, r.Wanted)
	}
	if r.Over && !h.record.Over && hb.Incarnation == h.record.Incarnation {
		h.over("the cluster declared it over")
	}
	if r.Acknowledged && r.Incarnation == h.record.Incarnation {
		h.acked, h.around.heard = max(h.acked, r.Seq), h.cfg.Now()
	}
	if r.Acknowledged && r.Incarnation == h.record.Incarnation && r.Seq == hb.Seq && !h.record.Over {
		h.renew(r.Incarnation, h.sent[hb.Seq], "over the network")
	}
}

// renew takes an acknowledgement of the heartbeat sent at that moment; by is what brought it, for people. The
// guard's deadline moves first: the agent never believes in a lease that the
// guard does not hold.
func (h *Host) renew(incarnation uint64, sent time.Duration, by string) {
	now := h.cfg.Now()
	if sent == 0 {
		return // too old to be remembered, so worth nothing any more
	}
	if !h.bounded() {
		h.cfg.Log.Warn("the lease is not renewed: others count on a watchdog that this host has no more, and do not know it yet")
		return
	}
	if h.lease.Incarnation != incarnation {
		l := lease.Begin(incarnation, sent, h.cfg.Timing)
		if !l.Held(now) {
			return
		}
		if err := h.cfg.Guard.Begin(incarnation, l.End); err != nil {
			h.cfg.Log.Error("the guard does not take up the new incarnation", "incarnation", incarnation, "error", err)
			h.over("the guard did not take it up")
			return
		}
		h.cfg.Log.Info("the lease begins", "incarnation", incarnation)
		h.lease = l
		return
	}
	l := h.lease.Renew(incarnation, sent, now, h.cfg.Timing)
	if l == h.lease {
		return
	}
	h.tardy.renewed(now-(h.lease.End-h.cfg.Timing.Lease), h.cfg.Timing.Lease, now, by)
	if err := h.cfg.Guard.Extend(incarnation, l.End); err != nil {
		h.expired = true // the next round finds it in the guard's memory
		return
	}
	h.lease = l
}

// fetch reads the definitions that the master asked for; they go with the next heartbeat.
func (h *Host) fetch(ctx context.Context, uuids []string) {
	if h.fetching {
		return
	}
	h.fetching = true
	h.go_(func() {
		cctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		defs := map[string]string{}
		for _, uuid := range uuids {
			xml, err := h.cfg.Hypervisor.XML(cctx, uuid)
			if err != nil {
				h.cfg.Log.Warn("cannot read the definition of VM", "vm", uuid, "error", err)
				continue
			}
			defs[uuid] = xml
		}
		h.bring(ctx, func() {
			h.fetching = false
			for uuid, xml := range defs {
				h.defs[uuid] = xml
			}
			h.beatNow = h.beatNow || len(defs) > 0
		})
	})
}
