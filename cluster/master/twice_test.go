package master

import (
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// I8 is looked for while the cluster runs, too: a VM in a place that does not own it.
func TestVMThatRunsWhereAnotherOwnsItIsTold(t *testing.T) {
	told := func(in input) (said []string, d decision) {
		d = decide(in)
		for _, c := range d.commands {
			if r, ok := c.(*fsm.Record); ok {
				for _, e := range r.Events {
					if e.Type == "vm_runs_elsewhere" && e.Severity == fsm.Critical {
						said = append(said, e.Text)
					}
				}
			}
		}
		return said, d
	}
	for name, tt := range map[string]struct {
		in   func(in *input)
		want string // begins so; empty: nothing is said
	}{
		"on both":           {func(in *input) { in.lists("b", web, "web", vmm.Running); in.lists("c", web, "web", vmm.Running) }, "web runs on c, and b owns it"},
		"on the other one":  {func(in *input) { in.lists("c", web, "web", vmm.Running) }, "web runs on c, and b owns it"},
		"where it shall":    {func(in *input) { in.lists("b", web, "web", vmm.Running) }, ""},
		"defined elsewhere": {func(in *input) { in.lists("c", web, "web", vmm.Stopped) }, ""},
		"in an old list": {func(in *input) {
			in.lists("c", web, "web", vmm.Running)
			clear(in.hosts["c"].networks)
		}, ""},
		"in a list of another life": {func(in *input) {
			in.lists("c", web, "web", vmm.Running)
			in.hosts["c"].reportIncarnation = 1
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := scene(t)
			in.owner("b", 2, fsm.PhaseRunning)
			tt.in(&in)
			said, d := told(in)
			if tt.want == "" && len(said) != 0 || tt.want != "" && (len(said) != 1 || !strings.HasPrefix(said[0], tt.want)) {
				t.Fatalf("people are told %q, want %q", said, tt.want)
			}
			if said != nil {
				in.hosts["c"].twice = d.twice["c"]
				if again, _ := told(in); len(again) != 0 {
					t.Errorf("it is told again: %q", again)
				}
			}
		})
	}
}
