package main

import (
	"fmt"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/fsm"
)

// poolTable shows how many devices of each pool there are; nothing where there are no pools.
func (p *program) poolTable(pools []whatif.PoolRoom) {
	if len(pools) == 0 {
		return
	}
	p.say("")
	var rows [][]any
	for _, r := range pools {
		missing := fmt.Sprint(len(r.Missing))
		if len(r.Missing) > 0 {
			missing = p.tint(missing, fsm.Warning)
		}
		rows = append(rows, []any{r.Name, r.Total, r.Held, r.Free, r.Closed, missing})
	}
	p.grid([]any{"DEVICE POOL", "DEVICES", "HELD", "FREE", "CLOSED", "MISSING"}, rows)
	for _, r := range pools {
		for _, d := range r.Missing {
			p.paragraph("  ", fmt.Sprintf("%s of pool %s is missing on %s: %s", d.Device, r.Name, d.Host, d.Why))
		}
	}
}

// poolsOf shows each device of the pools that a VM takes of.
func (p *program) poolsOf(pools []api.PoolView) {
	for _, pool := range pools {
		p.say("")
		p.say("Devices of pool %s now", pool.Name)
		var rows [][]any
		for _, d := range pool.Devices {
			state := "free"
			switch {
			case d.VM != "" && d.Missing != "":
				state = p.tint(d.VM+"'s, and missing: "+d.Missing, fsm.Warning)
			case d.VM != "":
				state = d.VM + "'s"
			case d.Missing != "":
				state = p.tint("missing: "+d.Missing, fsm.Warning)
			case d.Closed != "":
				state = "not to be had, for its host takes no VMs: " + d.Closed
			}
			rows = append(rows, []any{d.Host, d.Device, state})
		}
		p.grid([]any{"HOST", "DEVICE", "IT IS"}, rows)
	}
}
