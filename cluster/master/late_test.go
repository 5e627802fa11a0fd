package master

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// That a host's lease is renewed late is told once, whoever is master, and so is its end.
func TestLateRenewalsAreToldOnce(t *testing.T) {
	const eventLeaseLate, eventLeaseInTime = "host_lease_late", "host_lease_in_time"
	in := scene(t)
	c := in.hosts["c"]
	late := &api.Lateness{Gone: 3100 * time.Millisecond, By: "over the network"}
	for i, s := range []struct {
		late   *api.Lateness
		office bool // a new one
		silent bool // the host has not said anything in its present life
		want   string
	}{
		{nil, true, false, ""},
		{late, false, true, ""},
		{late, false, false, eventLeaseLate},
		{late, false, false, ""},
		{late, true, false, ""},
		{nil, true, false, eventLeaseInTime}, // it was over while there was no master
		{nil, true, false, ""},
		{late, true, false, eventLeaseLate},
		{nil, false, false, eventLeaseInTime},
		{nil, false, false, ""},
	} {
		c.report.Late = s.late
		if s.office {
			c.late, c.lateKnown = false, false
		}
		was := c.reportIncarnation
		if s.silent {
			c.reportIncarnation = 0
		}
		d := decide(in)
		c.reportIncarnation = was
		if is, known := d.late["c"]; known {
			c.late, c.lateKnown = is, true
		}
		said := ""
		for _, command := range d.commands {
			r, is := command.(*fsm.Record)
			if !is {
				continue
			}
			for _, e := range r.Events {
				if strings.HasPrefix(e.Type, "host_lease_") {
					said += e.Type
					in.state.Events = append(in.state.Events, e)
					if e.Type == eventLeaseLate && (!strings.Contains(e.Text, "up to 3.1s of 4s") || !strings.Contains(e.Text, "over the network") || e.Severity != fsm.Warning) {
						t.Errorf("the event is %+v", e)
					}
				}
			}
		}
		if said != s.want {
			t.Errorf("step %d: told %q, want %q", i, said, s.want)
		}
	}
}
