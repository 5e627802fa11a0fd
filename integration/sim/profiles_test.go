package sim

import (
	"fmt"
	"testing"

	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
)

// Whatever the timing, a master whose own disk hangs for longer than a lease lets
// another take office before leases end, and that it hangs stops no VM.
func TestMastersDiskHangsInEveryProfile(t *testing.T) {
	for profile, runs := range map[string]int{"fast": 10, "standard": 3, "patient": 1} {
		for run := range runs {
			t.Run(fmt.Sprint(profile, "-", run), func(t *testing.T) {
				t.Parallel()
				s, err := scenario.Load("testdata/scenarios/own-disk-of-master-hangs.json")
				if err != nil {
					t.Fatal(err)
				}
				if r := play(t, Config{Scenario: s, Seed: uint64(run), Profile: profile}); len(r.Violations) > 0 {
					explain(t, r)
				}
			})
		}
	}
}
