package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
)

var (
	scenarioDir    = flag.String("scenarios", "testdata/scenarios", "directory of scenario files")
	scenarioReport = flag.String("scenario-report", "", "file to write one JSON object per scenario to")
	simSeed        = flag.Uint64("sim-seed", 1, "seed of the network's delays and the like")
	simLog         = flag.String("sim-log", "", "level of the agents' log, shown when a test fails")
)

// report is what TestScenarios writes about one scenario.
type report struct {
	ID         string                    `json:"id"`
	Pass       bool                      `json:"pass"`
	Skipped    []string                  `json:"skipped,omitempty"` // features that it waits for
	Violations []string                  `json:"violations"`
	Placement  map[string]scenario.Final `json:"placement,omitempty"`
	Hosts      map[string]string         `json:"hosts,omitempty"`
	Events     []scenario.Seen           `json:"events,omitempty"`
	Recovery   []scenario.Recovery       `json:"recovery,omitempty"`
}

// reports collects them from parallel subtests and writes the file at the end.
type reports struct {
	mu  sync.Mutex
	all []report
}

func (r *reports) add(x report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, x)
}

func (r *reports) write(t *testing.T, file string) {
	if file == "" {
		return
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	enc := json.NewEncoder(f)
	for _, x := range r.all {
		if err := enc.Encode(x); err != nil {
			t.Error(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// play runs a scenario in a bubble of its own.
func play(t *testing.T, cfg Config) Result {
	t.Helper()
	return inBubble(t, cfg, (*World).Run)
}

// inBubble makes a World in a bubble and runs it there.
func inBubble(t *testing.T, cfg Config, run func(*World) Result) (result Result) {
	t.Helper()
	if *simLog != "" {
		cfg.LogLevel = hclog.LevelFromString(*simLog)
	}
	defer func() {
		if p := recover(); p != nil && !onlyRaftLeft(p) {
			panic(p)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		result = run(w)
	})
	return result
}

// leftByRaft are frames of the goroutines that onlyRaftLeft knows.
var leftByRaft = []string{"raft.(*Raft).leadershipTransfer(", "raft.(*Raft).leaderLoop.func", "raft.(*deferError).Error(", "raftnode.(*Node).shutdown.func1("}

// onlyRaftLeft reports whether a bubble could not end because of nothing but what
// hashicorp/raft v1.8.0 leaves behind: two goroutines, when a leader loses its office in the
// middle of handing it over (leadershipTransfer and its waiter, which wait for one another);
// and a proposal that is never answered, when raft is stopped while its disk hangs. The
// latter is at the end of the agent's process, which a bubble cannot end.
func onlyRaftLeft(p any) bool {
	if !strings.Contains(fmt.Sprint(p), "blocked goroutines remain") {
		return false
	}
	stacks := make([]byte, 16<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	alive, foreign := map[string]bool{}, map[string]bool{} // bubbles that run, and those with anything but raft's in them
	for _, g := range strings.Split(string(stacks), "\n\n") {
		head, _, _ := strings.Cut(g, "\n")
		_, bubble, inside := strings.Cut(head, "synctest bubble ")
		switch {
		case !inside:
		case strings.Contains(head, "[synctest.Run"):
			alive[bubble] = true
		case !slices.ContainsFunc(leftByRaft, func(frame string) bool { return strings.Contains(g, frame) }):
			foreign[bubble] = true
		}
	}
	for bubble := range foreign {
		if !alive[bubble] {
			return false
		}
	}
	return true
}

// explain shows what a person needs to see why a run failed.
func explain(t *testing.T, r Result) {
	t.Helper()
	t.Errorf("violations:\n  %s\ntimeline:\n%s", strings.Join(r.Violations, "\n  "), strings.Join(r.Timeline, "\n"))
	if r.Logs != "" {
		t.Logf("log of the agents:\n%s", r.Logs)
	}
}

// raceTries is how many more seeds a scenario gets that shows a race which hosts can win.
const raceTries = 5

// unshown reports whether nothing is amiss but that a VM did not run twice that the file is to
// show doing so: the last of the first run ended before the second began, by chance.
func unshown(s *scenario.Scenario, r Result) bool {
	missing := 0
	for _, vm := range s.Expect.Doubled {
		if !slices.Contains(r.Outcome.Doubled, vm) {
			missing++
		}
	}
	return missing > 0 && len(r.Violations) == missing
}

func TestScenarios(t *testing.T) {
	all, err := scenario.LoadDir(*scenarioDir)
	if err != nil {
		t.Fatal(err)
	}
	out := &reports{}
	t.Cleanup(func() { out.write(t, *scenarioReport) })
	for _, s := range all {
		t.Run(s.ID, func(t *testing.T) {
			t.Parallel()
			if waits := scenario.Waits(s); len(waits) > 0 {
				out.add(report{ID: s.ID, Skipped: waits})
				t.Skipf("waits for %s", strings.Join(waits, ", "))
			}
			r := play(t, Config{Scenario: s, Seed: *simSeed})
			for n := range uint64(raceTries) {
				if !unshown(s, r) {
					break
				}
				r = play(t, Config{Scenario: s, Seed: *simSeed + n + 1})
			}
			out.add(report{ID: s.ID, Pass: len(r.Violations) == 0, Violations: r.Violations, Placement: r.Outcome.Placement,
				Hosts: r.Outcome.Hosts, Events: r.Outcome.Events, Recovery: scenario.Recoveries(s, &r.Outcome)})
			if len(r.Violations) > 0 {
				explain(t, r)
			}
		})
	}
}
