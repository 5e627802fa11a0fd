package master

import (
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// ownDisk tells people of a host whose own disk refuses what is written to its log, which
// that host can tell nobody but the master: once when it begins, in each office, and when
// it has ended.
func ownDisk(in input, m fsm.Meta, h *fsm.Host, o *observed, d *decision) {
	if o.report == nil {
		return
	}
	var e fsm.Event
	switch why := o.report.DiskError; {
	case why != "" && o.refusing == 0:
		d.refusing[h.Name] = in.now
		e = fsm.Event{Type: "host_disk_refuses", Severity: fsm.Critical, Host: h.Name,
			Text: fmt.Sprintf("%s cannot write to its own disk: %s. It keeps its lease and its VMs, leads nobody and starts nothing: make room, or mend the disk, where its data directory is",
				h.Name, why)}
	case why == "" && o.refusing != 0:
		d.refusing[h.Name] = 0
		e = fsm.Event{Type: "host_disk_works", Host: h.Name,
			Text: fmt.Sprintf("%s can write to its own disk again, after %v", h.Name, (in.now - o.refusing).Round(time.Second))}
	default:
		return
	}
	d.commands = append(d.commands, &fsm.Record{Meta: m, Epoch: in.epoch, Events: []fsm.Event{e}})
}
