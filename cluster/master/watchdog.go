package master

import (
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// outlasted reports whether the wait alone proves that nothing of this incarnation
// runs any more (R9): a watchdog resets a host whose VMs outlive their lease, or the
// policy trusts the wait where there is none. A word of the host that is not committed
// yet counts only where it takes the watchdog away.
func outlasted(p *config.Policy, h *fsm.Host, o *observed) bool {
	lost := o.watchdog.Word > h.Watchdog.Word && o.watchdog.Timeout == 0
	return p.TrustsWait() || h.Watchdog.Timeout != 0 && !lost
}

// watchdogs has the state keep what hosts say of theirs.
func watchdogs(in input, m fsm.Meta, h *fsm.Host, o *observed, d *decision) {
	if o.incarnation == h.Incarnation && o.watchdog.Word > h.Watchdog.Word {
		d.commands = append(d.commands,
			&fsm.NoteWatchdog{Meta: m, Epoch: in.epoch, Host: h.Name, Incarnation: h.Incarnation, Watchdog: o.watchdog})
	}
}

// awaitProof tells people, once in an office, that a silent host is not declared dead
// by the clock.
func awaitProof(in input, m fsm.Meta, h *fsm.Host, o *observed, d *decision) {
	if o.awaited {
		return
	}
	d.awaited = append(d.awaited, h.Name)
	e := fsm.Event{Type: "host_proof_awaited", Severity: fsm.Critical, Host: h.Name,
		Text: fmt.Sprintf("%s has been silent for %v, and nothing proves that what it owns (VMs: %d) has stopped: it has no watchdog that counts, and no fence device has proven it off. That starts elsewhere once one does, once it comes back, "+
			"or once a person has made sure that it is off and says so: haadm fence confirm %s",
			h.Name, (in.now - o.watch.Heard).Round(100*time.Millisecond), len(in.state.Owned(h.Name, h.Incarnation)), h.Name)}
	d.commands = append(d.commands, &fsm.Record{Meta: m, Epoch: in.epoch, Events: []fsm.Event{e}})
}
