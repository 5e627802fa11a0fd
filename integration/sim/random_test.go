package sim

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
)

var (
	seeds      = flag.Int("seeds", 120, "random runs of TestRandomFaults (make soak: 2000)")
	firstSeed  = flag.Uint64("first-seed", 1, "seed of the first random run")
	randReport = flag.String("report", "", "file to write one JSON object per random run to")
	shrinkMost = flag.Int("shrink", 60, "runs to spend on shrinking a failing one; 0: do not shrink")
)

// outcomeOf is what TestRandomFaults writes about one run.
type outcomeOf struct {
	Seed       uint64   `json:"seed"`
	Pass       bool     `json:"pass"`
	Violations []string `json:"violations,omitempty"`
	Hosts      int      `json:"hosts"`
	Volumes    int      `json:"volumes"`
	Actions    int      `json:"actions"`
	Recoveries int      `json:"recoveries"`
	Resets     int      `json:"resets"` // by watchdogs
	// Seconds are virtual, Faults how often each kind of action was carried out.
	Seconds float64        `json:"seconds"`
	Faults  map[string]int `json:"faults"`
	// Shrunk is the scenario with the fewest actions found that still breaks the rule.
	Shrunk *scenario.Scenario `json:"shrunk,omitempty"`
}

func playRandom(t *testing.T, s *scenario.Scenario, seed uint64) Result {
	t.Helper()
	return inBubble(t, Config{Scenario: s, Seed: seed}, (*World).RunRandom)
}

// TestRandomFaults draws clusters and faults from seeds and holds the invariants
// at every step, and at the end that everything runs once. A run that fails is
// shrunk to fewer actions and printed as a scenario.
func TestRandomFaults(t *testing.T) {
	var mu sync.Mutex
	var all []outcomeOf
	t.Cleanup(func() { writeRandom(t, all) })
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprintf("seed-%d", seed), func(t *testing.T) {
			t.Parallel()
			s := Random(seed)
			r := playRandom(t, s, seed)
			o := outcomeOf{Seed: seed, Pass: len(r.Violations) == 0, Violations: r.Violations, Hosts: len(s.Hosts), Volumes: len(s.Volumes), Actions: len(s.Actions),
				Recoveries: len(scenario.Recoveries(s, &r.Outcome)), Seconds: r.Lasted.Seconds(), Faults: map[string]int{}}
			for _, a := range s.Actions {
				o.Faults[a.Do]++
			}
			for _, e := range r.Outcome.Events {
				if e.Type == "host_self_fenced" {
					o.Resets++
				}
			}
			keep := func() {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, o)
			}
			if o.Pass {
				keep()
				return
			}
			explain(t, r)
			small, rs := shrink(t, s, seed, r)
			o.Shrunk = small
			keep()
			t.Logf("with fewer faults:\n%s", strings.Join(rs.Timeline, "\n"))
			b, err := json.MarshalIndent(small, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d of %d actions are enough:\n%s", len(small.Actions), len(s.Actions), b)
		})
	}
}

func writeRandom(t *testing.T, all []outcomeOf) {
	slices.SortFunc(all, func(a, b outcomeOf) int { return int(a.Seed) - int(b.Seed) })
	doubled, failed, recoveries, resets := 0, 0, 0, 0
	seconds := 0.0
	for _, o := range all {
		recoveries += o.Recoveries
		resets += o.Resets
		seconds += o.Seconds
		if !o.Pass {
			failed++
		}
		if slices.ContainsFunc(o.Violations, func(v string) bool { return strings.Contains(v, "ran twice") }) {
			doubled++
		}
	}
	t.Logf("%d random runs: %d failed, %d with a double run, %d recoveries, %d resets, in %.0f virtual hours", len(all), failed, doubled, recoveries, resets, seconds/3600)
	if *randReport == "" {
		return
	}
	f, err := os.Create(*randReport)
	if err != nil {
		t.Fatal(err)
	}
	enc := json.NewEncoder(f)
	for _, o := range all {
		if err := enc.Encode(o); err != nil {
			t.Error(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// shrink leaves out faults as long as the run still breaks the same rule, larger
// parts first. Neither the start of the hosts nor the mending is left out.
func shrink(t *testing.T, s *scenario.Scenario, seed uint64, r Result) (*scenario.Scenario, Result) {
	t.Helper()
	mended := slices.MaxFunc(s.Actions, func(a, b scenario.Action) int { return cmp.Compare(a.T, b.T) }).T
	isFault := func(a scenario.Action) bool { return a.T > 0 && a.T < mended }
	build := func(faults []scenario.Action) *scenario.Scenario {
		try := *s
		try.Actions = slices.DeleteFunc(slices.Clone(s.Actions), isFault)
		try.Actions = append(try.Actions, faults...)
		slices.SortStableFunc(try.Actions, func(a, b scenario.Action) int { return cmp.Compare(a.T, b.T) })
		return &try
	}
	faults := slices.DeleteFunc(slices.Clone(s.Actions), func(a scenario.Action) bool { return !isFault(a) })
	best, result, runs := s, r, 0
	for size := len(faults) / 2; size > 0 && runs < *shrinkMost; {
		smaller := false
		for at := 0; at < len(faults) && runs < *shrinkMost; {
			fewer := slices.Delete(slices.Clone(faults), at, min(at+size, len(faults)))
			runs++
			if got := playRandom(t, build(fewer), seed); breaksSame(r, got) {
				faults, best, result, smaller = fewer, build(fewer), got, true
			} else {
				at += size
			}
		}
		if !smaller {
			size /= 2
		}
	}
	return best, result
}

// breaksSame reports whether two results have a violation in common, figures aside.
func breaksSame(a, b Result) bool {
	plain := func(v string) string { return regexp.MustCompile(`[0-9.]+[a-zµ]*`).ReplaceAllString(v, "N") }
	return slices.ContainsFunc(a.Violations, func(x string) bool {
		return slices.ContainsFunc(b.Violations, func(y string) bool { return plain(x) == plain(y) })
	})
}
