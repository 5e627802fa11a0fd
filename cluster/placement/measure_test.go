package placement

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

var (
	measure       = flag.Bool("measure", false, "run TestMeasures: how long questions about large clusters take, beside a greedy planner; a minute or two")
	measureReport = flag.String("measure-report", "", "where TestMeasures writes its figures as JSON")
)

// measures are the figures of TestMeasures. Times are in milliseconds.
type measures struct {
	OneHost   spread      `json:"one_dead_host_64_hosts_4096_vms"`
	EveryHost spread      `json:"every_single_host_64_hosts_4096_vms"`
	Any3      anyMeasures `json:"any_3_of_64_hosts_4096_vms_60_to_85_percent_load"`
	Greedy    greedyFacts `json:"greedy"`
	Brute     bruteFacts  `json:"any_n_against_trying_everything"`
	Growth    []growth    `json:"growth"`
}

// bruteFacts compares the planner's answers with trying everything: a refusal where a placement
// exists is a false one.
type bruteFacts struct {
	Clusters int    `json:"clusters"`
	Size     string `json:"size"`
	Yes      int    `json:"yes"`
	FalseNo  int    `json:"false_refusals"`
	FalseYes int    `json:"false_acceptances"`
	Unknown  int    `json:"unknown"`
}

type spread struct {
	Runs   int     `json:"runs"`
	Median float64 `json:"median_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
}

type anyMeasures struct {
	spread
	Yes             int     `json:"yes"`
	No              int     `json:"no"`
	Unknown         int     `json:"unknown"`
	WithinSecond    float64 `json:"decided_within_one_second_percent"`
	PlansTried      int     `json:"plans_tried_for_yes"`
	PlansIncomplete int     `json:"plans_incomplete_for_yes"`
	GreedyYes       int     `json:"greedy_estimate_says_yes"`
	GreedyMedian    float64 `json:"greedy_estimate_median_ms"`
}

type greedyFacts struct {
	Clusters   int     `json:"clusters_of_6_to_12_hosts"`
	Yes        int     `json:"any_2_exact_yes"`
	FalseNo    int     `json:"greedy_no_though_possible"`
	FalseYes   int     `json:"greedy_yes_though_impossible"`
	Unknown    int     `json:"exact_unknown"`
	ExactMS    float64 `json:"exact_median_ms"`
	GreedyMS   float64 `json:"greedy_median_ms"`
	Any2Of64MS float64 `json:"greedy_every_sequence_of_2_of_64_hosts_ms"`
	Exact64MS  float64 `json:"exact_any_2_of_64_hosts_ms"`
}

type growth struct {
	Hosts     int     `json:"hosts"`
	VMs       int     `json:"vms"`
	OneHost   float64 `json:"one_dead_host_ms"`
	EveryHost float64 `json:"every_host_ms"`
	Any1      float64 `json:"any_1_ms"`
	Any3      float64 `json:"any_3_ms"`
	Any3Says  string  `json:"any_3"`
	BytesPer  int     `json:"bytes_per_vm_with_input"`
}

func took(f func()) float64 {
	runtime.GC()
	start := time.Now()
	f()
	return float64(time.Since(start).Microseconds()) / 1000
}

func spreadOf(ms []float64) spread {
	slices.Sort(ms)
	n := len(ms)
	return spread{Runs: n, Median: ms[n/2], P99: ms[min(n-1, n*99/100)], Max: ms[n-1]}
}

// What the planner takes for large clusters. It fails where a figure misses its mark.
func TestMeasures(t *testing.T) {
	if !*measure {
		t.Skip("asked for with -measure")
	}
	m := measures{OneHost: measureOneHost(), EveryHost: measureEveryHost(), Any3: measureAny3(t), Greedy: measureGreedy(), Brute: measureBrute()}
	for _, hosts := range []int{16, 32, 64, 128, 256} {
		m.Growth = append(m.Growth, measureGrowth(hosts, hosts*50_000/256))
	}
	out, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
	if *measureReport != "" {
		if err := os.WriteFile(*measureReport, append(out, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	big := m.Growth[len(m.Growth)-1]
	for _, x := range []struct {
		name      string
		got, mark float64
	}{
		{"plan for one dead host of 64, ms", m.OneHost.P99, 20},
		{"plans for every single host of 64, ms", m.EveryHost.P99, 1000},
		{"plan for one dead host of 256, ms", big.OneHost, 250},
		{"bytes for each VM of 50,000", float64(big.BytesPer), 1024},
		{"any 3 of 64 not decided within a second, %", 100 - m.Any3.WithinSecond, 1},
		{"any 3 of 64 unknown, %", 100 * float64(m.Any3.Unknown) / float64(max(1, m.Any3.Runs)), 1},
		{"no though trying everything finds a yes, of " + fmt.Sprint(m.Brute.Clusters), float64(m.Brute.FalseNo), 0},
		{"yes though trying everything finds a no, of " + fmt.Sprint(m.Brute.Clusters), float64(m.Brute.FalseYes), 0},
		{"plans that were incomplete though any 3 may fail", float64(m.Any3.PlansIncomplete), 0},
	} {
		if x.got > x.mark {
			t.Errorf("%s: %.3g, at most %.3g was the mark", x.name, x.got, x.mark)
		}
	}
}

func measureOneHost() spread {
	var ms []float64
	for seed := range uint64(8) {
		c := largeCluster(seed, 64, 4096, 0.60+0.25*float64(seed)/7)
		for i := range 16 {
			q := Question{Lost: []string{c.Hosts[i*4].Name}}
			ms = append(ms, took(func() { Decide(c, q) }))
		}
	}
	return spreadOf(ms)
}

func measureEveryHost() spread {
	var ms []float64
	for seed := range uint64(8) {
		c := largeCluster(seed, 64, 4096, 0.60+0.25*float64(seed)/7)
		ms = append(ms, took(func() { EveryHost(c) }))
	}
	return spreadOf(ms)
}

func measureAny3(t *testing.T) anyMeasures {
	const clusters = 200
	var out anyMeasures
	var ms, greedyMS []float64
	within := 0
	for seed := range uint64(clusters) {
		c := largeCluster(seed, 64, 4096, 0.60+0.25*float64(seed)/(clusters-1))
		var tol Tolerance
		one := took(func() { tol = Tolerate(c, Failures{N: 3}) })
		ms = append(ms, one)
		if one <= 1000 && tol.Answer != Unknown {
			within++
		}
		var g bool
		greedyMS = append(greedyMS, took(func() { g = newGreedy(c).any(3) }))
		if g {
			out.GreedyYes++
		}
		switch tol.Answer {
		case Yes:
			out.Yes++
			tried, incomplete := tryPlans(t, c, tol, seed)
			out.PlansTried += tried
			out.PlansIncomplete += incomplete
		case No:
			out.No++
		default:
			out.Unknown++
		}
	}
	out.spread = spreadOf(ms)
	out.GreedyMedian = spreadOf(greedyMS).Median
	out.WithinSecond = 100 * float64(within) / clusters
	return out
}

// tryPlans plans for some losses of three hosts where any three were said to be
// borne, and counts the plans that leave a protected VM down.
func tryPlans(t *testing.T, c *Cluster, tol Tolerance, seed uint64) (tried, incomplete int) {
	rng := rand.New(rand.NewPCG(seed, 3))
	uncovered := map[string]bool{}
	for _, u := range tol.Uncovered {
		uncovered[u.VM] = true
	}
	class := map[string]Class{}
	for _, v := range c.VMs {
		class[v.Name] = v.Class
	}
	for range 5 {
		var lost []string
		for _, i := range rng.Perm(len(c.Hosts))[:3] {
			lost = append(lost, c.Hosts[i].Name)
		}
		tried++
		down := slices.DeleteFunc(Decide(c, Question{Lost: lost}).Down(), func(v string) bool { return uncovered[v] || class[v] != Protected })
		if len(down) > 0 {
			t.Logf("seed %d, lost %v: %v stay down", seed, lost, down)
			incomplete++
		}
	}
	return tried, incomplete
}

// measureGreedy compares on clusters where the greedy planner tries everything it
// tries, with memory as the only limit.
func measureGreedy() greedyFacts {
	const clusters = 2000
	out := greedyFacts{Clusters: clusters}
	var exact, greedy []float64
	sizes := []int64{2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 48}
	for seed := range uint64(clusters) {
		rng := rand.New(rand.NewPCG(seed, 9))
		c := &Cluster{}
		hosts := 6 + rng.IntN(7)
		load := 0.5 + 0.35*rng.Float64()
		for i := range hosts {
			c.Hosts = append(c.Hosts, Host{Name: fmt.Sprintf("h%02d", i), Memory: []int64{96, 128, 192}[rng.IntN(3)]})
			for used := int64(0); ; {
				s := sizes[rng.IntN(len(sizes))]
				if used += s; float64(used) > load*float64(c.Hosts[i].Memory) {
					break
				}
				c.VMs = append(c.VMs, VM{Name: fmt.Sprintf("v%04d", len(c.VMs)), Host: c.Hosts[i].Name, Memory: s})
			}
		}
		var tol Tolerance
		exact = append(exact, took(func() { tol = Tolerate(c, Failures{N: 2}) }))
		var says bool
		greedy = append(greedy, took(func() { says = newGreedy(c).any(2) }))
		switch {
		case tol.Answer == Unknown:
			out.Unknown++
		case tol.Answer == Yes && !says:
			out.FalseNo++
		case tol.Answer == No && says:
			out.FalseYes++
		}
		if tol.Answer == Yes {
			out.Yes++
		}
	}
	out.ExactMS, out.GreedyMS = spreadOf(exact).Median, spreadOf(greedy).Median
	c := largeCluster(0, 64, 4096, 0.6)
	out.Any2Of64MS = took(func() { newGreedy(c).every(2) })
	out.Exact64MS = took(func() { Tolerate(c, Failures{N: 2}) })
	return out
}

func measureBrute() bruteFacts {
	out := bruteFacts{Clusters: 5000, Size: "2 to 7 hosts, 1 to 12 VMs, any 1 to 3 hosts at once"}
	for seed := range uint64(out.Clusters) {
		rng := rand.New(rand.NewPCG(seed, 21))
		f := Failures{N: 1 + rng.IntN(3)}
		c := smallCluster(rng.IntN, 7, 12)
		addExtra(rng.IntN, c)
		possible := newBrute(c, f).atOnce(f)
		if possible {
			out.Yes++
		}
		switch got := Tolerate(c, f).Answer; {
		case got == Unknown:
			out.Unknown++
		case got == No && possible:
			out.FalseNo++
		case got == Yes && !possible:
			out.FalseYes++
		}
	}
	return out
}

func measureGrowth(hosts, vms int) growth {
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := largeCluster(1, hosts, vms, 0.7)
	g := growth{Hosts: hosts, VMs: vms}
	g.OneHost = took(func() { Decide(c, Question{Lost: []string{c.Hosts[1].Name}}) })
	g.EveryHost = took(func() { EveryHost(c) })
	g.Any1 = took(func() { Tolerate(c, Failures{N: 1}) })
	var tol Tolerance
	g.Any3 = took(func() { tol = Tolerate(c, Failures{N: 3}) })
	g.Any3Says = tol.Answer.String()
	// What there is in memory while the planner works: the cluster and all that it makes of it.
	m := newModel(c)
	r := newRoom(m)
	work := defaultWork
	p := m.decide(r, Question{Lost: []string{c.Hosts[1].Name}}, true, &work)
	runtime.GC()
	runtime.ReadMemStats(&now)
	g.BytesPer = int(now.HeapAlloc-before.HeapAlloc) / vms
	runtime.KeepAlive(r)
	runtime.KeepAlive(p)
	return g
}

func BenchmarkOneDeadHost(b *testing.B) {
	c := largeCluster(1, 64, 4096, 0.8)
	q := Question{Lost: []string{c.Hosts[1].Name}}
	for b.Loop() {
		Decide(c, q)
	}
}

func BenchmarkOneDeadHostOf256(b *testing.B) {
	c := largeCluster(1, 256, 50_000, 0.7)
	q := Question{Lost: []string{c.Hosts[1].Name}}
	for b.Loop() {
		Decide(c, q)
	}
}

// What is kept of why each VM of a lost host goes where it goes.
func BenchmarkLots(b *testing.B) {
	for _, hosts := range []int{64, 256} {
		c := largeCluster(1, hosts, 64*hosts, 0.7)
		decided := Decide(c, Question{Lost: []string{c.Hosts[1].Name}}).Decisions
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			for b.Loop() {
				for _, d := range decided {
					Lots(d.Hosts, d.To, Ranges)
				}
			}
			b.ReportMetric(float64(len(decided)), "VMs")
		})
	}
}

func BenchmarkEveryHost(b *testing.B) {
	c := largeCluster(1, 64, 4096, 0.8)
	for b.Loop() {
		EveryHost(c)
	}
}

func BenchmarkAny3Of64(b *testing.B) {
	c := largeCluster(1, 64, 4096, 0.8)
	for b.Loop() {
		Tolerate(c, Failures{N: 3})
	}
}

func BenchmarkEveryHostOf256(b *testing.B) {
	c := largeCluster(1, 256, 50_000, 0.7)
	for b.Loop() {
		EveryHost(c)
	}
}
