package master

import (
	"fmt"

	"github.com/holdfast-ha/holdfast/fsm"
)

// lateRenewals tells people of a host whose lease was renewed late several times, and when that is
// over. What an earlier office has told is in the history.
func lateRenewals(in input, m fsm.Meta, h *fsm.Host, o *observed, d *decision) {
	r := o.present()
	if r == nil || o.lateKnown && o.late == (r.Late != nil) {
		return
	}
	d.late[h.Name] = r.Late != nil
	was := o.late
	if !o.lateKnown {
		was = toldLate(in.state, h.Name)
	}
	var e fsm.Event
	switch {
	case was == (r.Late != nil):
		return
	case r.Late != nil:
		e = fsm.Event{Type: "host_lease_late", Severity: fsm.Warning, Host: h.Name,
			Text: fmt.Sprintf("the lease of %s was renewed late, three times within a minute: up to %v of %v had gone, then it was renewed %s. At the end of a lease its VMs are stopped: look at its networks, its heartbeat volumes, and how busy it and the master are",
				h.Name, r.Late.Gone, in.timing.Lease, r.Late.By)}
	default:
		e = fsm.Event{Type: "host_lease_in_time", Host: h.Name, Text: fmt.Sprintf("the lease of %s has been renewed in time again", h.Name)}
	}
	d.commands = append(d.commands, &fsm.Record{Meta: m, Epoch: in.epoch, Events: []fsm.Event{e}})
}

// toldLate reports whether the history says that a host's lease is renewed late.
func toldLate(s *fsm.State, host string) bool {
	for i := len(s.Events) - 1; i >= 0; i-- {
		switch e := &s.Events[i]; {
		case e.Host != host:
		case e.Type == "host_lease_late":
			return true
		case e.Type == "host_lease_in_time":
			return false
		}
	}
	return false
}
