package master

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

func TestOwnDiskIsTold(t *testing.T) {
	in := scene(t)
	c := in.hosts["c"]
	step := func(why string, after time.Duration) (said []string) {
		in.now += after
		c.report.DiskError = why
		d := decide(in)
		for host, at := range d.refusing {
			in.hosts[host].refusing = at
		}
		for _, command := range d.commands {
			if r, is := command.(*fsm.Record); is {
				for _, e := range r.Events {
					if e.Host == "c" && strings.HasPrefix(e.Type, "host_disk_") {
						said = append(said, e.Type+" "+string(e.Severity)+": "+e.Text)
					}
				}
			}
		}
		return said
	}
	for _, s := range []struct {
		why   string
		after time.Duration
		want  []string // what the one event says; none: there is none
	}{
		{"", 0, nil},
		{"no space left on device", 0, []string{"host_disk_refuses critical: c cannot write to its own disk: no space left on device", "make room"}},
		{"no space left on device", 10 * time.Second, nil},
		{"read-only file system", 20 * time.Second, nil}, // still the same fault
		{"", 5 * time.Second, []string{"host_disk_works", "after 35s"}},
		{"", time.Second, nil},
		{"read-only file system", time.Second, []string{"host_disk_refuses", "read-only"}},
	} {
		said := step(s.why, s.after)
		if len(s.want) == 0 && len(said) != 0 || len(s.want) != 0 && len(said) != 1 {
			t.Fatalf("with %q people are told %q, want %q", s.why, said, s.want)
		}
		for _, w := range s.want {
			if !strings.Contains(said[0], w) {
				t.Errorf("with %q people are told %q, want %q in it", s.why, said[0], w)
			}
		}
	}
}
