package master

import (
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// What a host has seen violated is a critical event, once in an office, whatever has become of the host.
func TestViolationsAreTold(t *testing.T) {
	told := func(in input) (said []string, d decision) {
		d = decide(in)
		for _, c := range d.commands {
			if r, is := c.(*fsm.Record); is {
				for _, e := range r.Events {
					if e.Type == "invariant_violated" && e.Severity == fsm.Critical {
						said = append(said, e.Host+": "+e.Text)
					}
				}
			}
		}
		return said, d
	}
	for _, status := range []fsm.HostStatus{fsm.HostLive, fsm.HostDead} {
		t.Run(string(status), func(t *testing.T) {
			in := scene(t)
			in.state.Hosts["c"].Status = status
			in.hosts["c"].report = &api.HostReport{Broken: []api.Violation{{Rule: "I2", Text: "db runs on"}, {Rule: "I7", Text: "it went back"}}}
			said, d := told(in)
			if len(said) != 2 || !strings.HasPrefix(said[0], "c: c has seen invariant I2 violated: db runs on") || !strings.Contains(said[1], "I7 violated: it went back") {
				t.Fatalf("people are told %q", said)
			}
			in.hosts["c"].broken = d.broken["c"]
			if again, _ := told(in); len(again) != 0 {
				t.Errorf("it is told again: %q", again)
			}
			in.hosts["c"].report.Broken[0].Text = "web runs on"
			if again, _ := told(in); len(again) != 1 || !strings.Contains(again[0], "web") {
				t.Errorf("of another VM people are told %q", again)
			}
		})
	}
}
