package master

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

// A host that stands aside is told of once, whoever is master; not on the word of a run of its
// agent that another has overtaken.
func TestAHostThatStandsAsideIsToldOfOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		told := func() int { return len(r.said("aside")) }
		say := func(run uint64) error {
			return r.StandAside(r.Context(), api.AsideNotice{Host: "b", Run: run, Why: "it holds less"})
		}
		r.beating(time.Second, "a", "b", "c") // as run 9
		if err := say(8); !errors.Is(err, api.ErrRefused) || told() != 0 {
			t.Errorf("while a later run is heard it is answered %v, told %d times", err, told())
		}
		r.pass(5 * time.Second)
		for range 2 {
			if err := say(8); err != nil {
				t.Fatal(err)
			}
		}
		if a := r.state().Hosts["b"].Aside; a == nil || a.Why != "it holds less" || told() != 1 {
			t.Errorf("b stands aside: %+v, told %d times, want once", a, told())
		}
		synctest.Wait()
		_ = r.resign()
		if err := say(8); !errors.Is(err, api.ErrNotMaster) {
			t.Errorf("out of office it answers %v", err)
		}
	})
}
