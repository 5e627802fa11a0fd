package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
)

var diskRuns = flag.Int("disk-runs", 0, "runs of each kind of slow disks, also of those of which nothing is promised; 0: two of those of which something is")

// Disks are slow from slowFrom on, for slowFor.
const (
	slowFrom = 20 * time.Second
	slowFor  = 60 * time.Second
)

// slowDisks is how the disks of a cluster of three are slow.
type slowDisks struct {
	name          string
	profile       string
	least, most   time.Duration // a hang, or each write, takes as long as is drawn between them
	after, before time.Duration // the time between two hangs is drawn between these
	each          bool          // each write takes so long, and there are no hangs
	together      bool          // all disks hang at once, as those on one array do; else each by itself
	only          string        // whose disk it is; empty: everybody's
	// What is promised; nil: nothing.
	promise func(suffered) string
}

// suffered is what became of a cluster.
type suffered struct {
	runs, elections, leases, vms int
	up                           time.Duration // of the VMs together, while disks were slow
}

// nothing is promised to happen.
func nothing(s suffered) string {
	if s.elections > 0 || s.leases > 0 || s.vms > 0 {
		return "want nothing to happen"
	}
	return ""
}

// calm is that an office lasts some hangs.
func calm(s suffered) string {
	if s.elections > 8*s.runs {
		return "want at most 8 elections a minute"
	}
	return ""
}

func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

// hangs draws when a disk hangs: beginnings and ends.
func (k slowDisks) hangs(r *rand.Rand) (all [][2]time.Duration) {
	for at := slowFrom + between(r, k.after, k.before); at < slowFrom+slowFor; at += between(r, k.after, k.before) {
		d := between(r, k.least, k.most)
		all = append(all, [2]time.Duration{at, at + d})
		at += d
	}
	return all
}

// slow makes the disks of the world's machines slow.
func (k slowDisks) slow(w *World) {
	draw := func(what uint64) *rand.Rand { return rand.New(rand.NewPCG(w.cfg.Seed, 77+what)) }
	all := k.hangs(draw(0))
	for i, name := range w.order {
		if k.only != "" && k.only != name {
			continue
		}
		r, mine := draw(uint64(i)+1), all
		if !k.together {
			mine = k.hangs(r)
		}
		var mu sync.Mutex
		w.machines[name].writeTakes = func() time.Duration {
			now := w.now()
			if now < slowFrom || now > slowFrom+slowFor {
				return 0
			}
			if k.each {
				mu.Lock()
				defer mu.Unlock()
				return between(r, k.least, k.most)
			}
			for _, h := range mine {
				if now >= h[0] && now < h[1] {
					return h[1] - now
				}
			}
			return 0
		}
	}
}

// kindsOfSlow are the disks that are tried.
func kindsOfSlow() (all []slowDisks) {
	const ms, s = time.Millisecond, time.Second
	for _, profile := range []string{"fast", "standard"} {
		short := nothing
		hang := map[bool]func(suffered) string{true: calm, false: nothing}[profile == "fast"]
		for _, k := range []slowDisks{
			{name: "hangs of 50-120ms", least: 50 * ms, most: 120 * ms, after: 300 * ms, before: 5 * s, promise: short},
			{name: "hangs of 200-400ms", least: 200 * ms, most: 400 * ms, after: 300 * ms, before: 5 * s, promise: hang},
			{name: "hangs of 50-600ms", least: 50 * ms, most: 600 * ms, after: 300 * ms, before: 5 * s},
			{name: "hangs of 400-1000ms", least: 400 * ms, most: s, after: s, before: 5 * s},
			{name: "hangs of 1.1-2.2s", least: 1100 * ms, most: 2200 * ms, after: 8 * s, before: 12 * s},
		} {
			k.profile, k.together = profile, true
			apart := k
			k.name, apart.name, apart.together = profile+", "+k.name+" of all together", profile+", "+k.name+" of each by itself", false
			all = append(all, k, apart)
		}
		for _, x := range []struct {
			takes        time.Duration
			all, masters func(suffered) string
		}{
			{50 * ms, nil, nil},
			{150 * ms, nothing, nothing}, // in the profile fast longer than a leader waits
			{300 * ms, nil, nil},
			{600 * ms, nil, nil},
			{s, nil, nil},
			{1200 * ms, nil, nil},
		} {
			k := slowDisks{name: fmt.Sprintf("%s, each write takes %v", profile, x.takes), profile: profile, each: true, least: x.takes, most: x.takes, promise: x.all}
			one := k
			one.name, one.only, one.promise = k.name+", the master's", "h1", x.masters
			all = append(all, k, one)
		}
	}
	return all
}

// TestSlowDisks has disks hang and be slow. What a leader's late write costs must not be more
// than the write: where all write to one array the next leader's is as late, and its election
// takes longer than most hangs. With -disk-runs it measures elections, ended leases and VMs.
func TestSlowDisks(t *testing.T) {
	var mu sync.Mutex
	sums := map[string]*suffered{}
	kinds := kindsOfSlow()
	t.Run("runs", func(t *testing.T) {
		for _, k := range kinds {
			runs := *diskRuns
			if runs == 0 && k.promise != nil {
				runs = 2
			}
			for run := range runs {
				t.Run(fmt.Sprint(k.name, "/", run), func(t *testing.T) {
					t.Parallel()
					r := inBubble(t, Config{Scenario: undisturbed(run), Seed: uint64(run), Profile: k.profile}, func(w *World) Result {
						k.slow(w)
						return w.Run()
					})
					if len(r.Violations) > 0 {
						explain(t, r)
					}
					mu.Lock()
					defer mu.Unlock()
					if sums[k.name] == nil {
						sums[k.name] = &suffered{}
					}
					sums[k.name].add(r)
				})
			}
		}
	})
	for _, k := range kinds {
		s := sums[k.name]
		if s == nil {
			continue
		}
		tell := t.Logf
		what := ""
		if k.promise != nil {
			if what = k.promise(*s); what != "" {
				tell = t.Errorf
			}
		}
		tell("%s, %d runs: %.1f elections a minute, %d leases ended, %d VMs ended, VMs down for %.2f %% of the time %s", k.name, s.runs,
			float64(s.elections)/float64(s.runs), s.leases, s.vms, 100*(1-s.up.Seconds()/(3*slowFor.Seconds()*float64(s.runs))), what)
	}
}

// undisturbed is a cluster of three with a VM on each host, to which nothing else happens.
func undisturbed(run int) *scenario.Scenario {
	s := powerLoss(run, "", "")
	s.Actions = s.Actions[:len(s.Actions)-1]
	s.Until = scenario.Seconds(slowFrom + slowFor + 20*time.Second)
	s.Expect = scenario.Expect{}
	return s
}

// add counts what became of the cluster in one run.
func (s *suffered) add(r Result) {
	s.runs++
	for _, e := range r.Outcome.Events {
		switch {
		case e.T < slowFrom:
		case e.Type == "leader_elected":
			s.elections++
		case e.Type == "host_available" && strings.Contains(e.Text, "its lease ended"):
			s.leases++
		}
	}
	for _, run := range r.Outcome.Runs {
		end := slowFrom + slowFor
		if run.To >= 0 {
			s.vms++
			end = min(end, run.To)
		}
		s.up += max(0, end-max(run.From, slowFrom))
	}
}
