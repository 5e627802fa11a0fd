package master

import (
	"fmt"

	"github.com/holdfast-ha/holdfast/fsm"
)

// broken tells people of invariants that a host has seen violated, whatever has become of
// its life since: each once in an office.
func broken(in input, m fsm.Meta, h *fsm.Host, o *observed, d *decision) {
	if o.report == nil {
		return
	}
	told := map[string]bool{}
	for _, v := range o.report.Broken {
		key := v.Rule + " " + v.Text
		if told[key] {
			continue
		}
		told[key] = true
		if !o.broken[key] {
			e := fsm.Event{Type: "invariant_violated", Severity: fsm.Critical, Host: h.Name,
				Text: fmt.Sprintf("%s has seen invariant %s violated: %s. That is a fault of Holdfast or of what it rests on: keep the logs of all hosts",
					h.Name, v.Rule, v.Text)}
			d.commands = append(d.commands, &fsm.Record{Meta: m, Epoch: in.epoch, Events: []fsm.Event{e}})
		}
	}
	d.broken[h.Name] = told
}
