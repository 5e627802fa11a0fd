package placement

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// busy is three hosts of 8 processors and 32 GiB, on the first of which VMs of one size
// keep as many processors busy as given.
func busy(processors ...float64) *Cluster {
	c := &Cluster{Hosts: hosts(32, 32, 32)}
	for i := range c.Hosts {
		c.Hosts[i].CPUs = 8
	}
	for i, p := range processors {
		c.VMs = append(c.VMs, VM{Name: string(rune('a' + i)), Status: Running, Host: "h1", Live: true, Memory: 4 * gibibyte, VCPUs: 4, Use: &Use{p, gibibyte}})
	}
	return c
}

// arrive lets moves arrive at once.
func arrive(c *Cluster, moves []Relocation) {
	for _, l := range moves {
		for i := range c.VMs {
			if c.VMs[i].Name == l.VM {
				c.VMs[i].Host = l.To
			}
		}
	}
}

// What moves by what VMs really take, and when: a look every 20 s, held for a minute.
func TestWatch(t *testing.T) {
	const step, hold = 20 * time.Second, time.Minute
	on := MoveSettings{PerHost: 2, Balance: Balance{On: true, Measured: true, Threshold: 30, Margin: 10}}
	tests := []struct {
		name string
		c    *Cluster
		set  func(*MoveSettings)
		// each is called before look i.
		each func(i int, c *Cluster)
		want string // moves, each with the look at which it begins
	}{
		{name: "the busiest goes", c: busy(0.5, 4, 0.5), want: "3 b>>h2; 7 a>>h3"},
		{name: "each is held for anew", c: busy(1, 3, 2), want: "3 b>>h2; 7 a>>h3"},
		{name: "by configured size, the first goes", c: busy(0.5, 4, 0.5), set: func(s *MoveSettings) { s.Balance.Measured = false }, want: "3 a>>h2; 7 b>>h3"},
		{name: "even by measure though all are on one host", c: func() *Cluster {
			c := busy(2, 2, 2, 0)
			c.VMs[1].Host, c.VMs[2].Host = "h2", "h3"
			c.VMs[3].Use.Memory = 0
			return c
		}()},
		{name: "a spike that is shorter", c: func() *Cluster {
			c := busy(2, 2, 2)
			c.VMs[1].Host, c.VMs[2].Host = "h2", "h3"
			c.VMs = append(c.VMs, VM{Name: "d", Status: Running, Host: "h1", Live: true, Memory: gibibyte, VCPUs: 4, Use: &Use{}})
			return c
		}(), each: func(i int, c *Cluster) {
			c.VMs[3].Use = &Use{}
			if i%4 < 3 {
				c.VMs[3].Use = &Use{Processors: 4}
			}
		}},
		{name: "who was busy, not who is at the last look", c: busy(3, 1, 0.5), each: func(i int, c *Cluster) {
			if i == 3 {
				c.VMs[0].Use, c.VMs[1].Use = &Use{0.5, gibibyte}, &Use{3.5, gibibyte}
			}
		}, set: func(s *MoveSettings) { s.Balance.Margin = 30 }, want: "3 a>>h2; 7 b>>h3"},
		{name: "what was known of a VM stays known", c: busy(0.5, 4, 0.5), each: func(i int, c *Cluster) {
			if i > 0 {
				c.VMs[1].Use = nil
			}
		}, want: "3 b>>h2; 7 a>>h3"},
		{name: "nothing is known of it", c: busy(0.5, 4, 0.5), each: func(_ int, c *Cluster) { c.VMs[1].Use = nil }, want: "3 a>>h2; 7 c>>h3"},
		{name: "no room by configured size", c: func() *Cluster {
			c := busy(0.5, 4, 0.5)
			c.VMs[1].Memory = 20 * gibibyte
			for _, h := range []string{"h2", "h3"} {
				c.VMs = append(c.VMs, VM{Name: "x" + h, Status: Running, Host: h, Memory: 16 * gibibyte, Bound: []string{"a local disk"}, Use: &Use{}})
			}
			return c
		}(), want: "3 a>>h2; 7 c>>h3"},
		{name: "a faster host feels it less", c: func() *Cluster {
			c := busy(2, 2)
			c.Hosts = c.Hosts[:2]
			c.Hosts[0].MHz, c.Hosts[1].MHz = 8*1000, 8*1000
			c.VMs[1].Host = "h2"
			c.Hosts[1].MHz = 8 * 3000
			c.VMs = append(c.VMs, VM{Name: "c", Status: Running, Host: "h2", Live: true, Use: &Use{Processors: 2}})
			return c
		}()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := on
			if tt.set != nil {
				tt.set(&s)
			}
			w := &Watch{}
			var got []string
			for i := range 20 {
				if tt.each != nil {
					tt.each(i, tt.c)
				}
				m, _ := w.Plan(time.Duration(i)*step+time.Hour, hold, tt.c, s)
				if len(m.Begin) > 0 {
					got = append(got, fmt.Sprintf("%d %s", i, m.told()))
				}
				arrive(tt.c, m.Begin)
			}
			if s := strings.Join(got, "; "); s != tt.want {
				t.Errorf("moves %q, want %q", s, tt.want)
			}
		})
	}
}

// When it is to be looked at again though nothing has changed.
func TestWatchAgain(t *testing.T) {
	s := MoveSettings{PerHost: 2, Balance: Balance{On: true, Threshold: 30, Margin: 10}}
	c, w := busy(1, 1, 1), &Watch{}
	for _, tt := range []struct{ at, want time.Duration }{{0, time.Minute}, {15 * time.Second, 45 * time.Second}, {time.Minute, 0}} {
		if m, again := w.Plan(tt.at, time.Minute, c, s); again != tt.want || len(m.Begin) > 0 != (tt.want == 0) {
			t.Errorf("at %v again after %v, want %v; begins %v", tt.at, again, tt.want, m.Begin)
		}
	}
}

// While loads are what they are, moves for balance come to an end, none brings back what was
// before, and no must is broken and no memory overcommitted on the way.
func TestBalanceByMeasureConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := drawTravel(t)
		x.set.Balance = Balance{On: true, Measured: true, Threshold: float64(rapid.IntRange(1, 60).Draw(t, "threshold")), Margin: float64(rapid.IntRange(1, 40).Draw(t, "margin"))}
		for i := range x.c.Hosts {
			if x.c.Hosts[i].State == Maintenance {
				x.c.Hosts[i].State = Up
			}
			x.c.Hosts[i].CPUs = 4
			x.c.Hosts[i].MHz = 4 * rapid.SampledFrom([]int{1000, 2000, 3300}).Draw(t, "MHz")
		}
		work := map[string]float64{} // MHz
		for i := range x.c.VMs {
			v := &x.c.VMs[i]
			v.Return, v.Moving = "", ""
			work[v.Name] = float64(rapid.IntRange(0, 4000).Draw(t, "work"))
			v.Use = &Use{Memory: int64(float64(v.Memory) * rapid.Float64Range(0, 1).Draw(t, "memory"))}
		}
		takes := func() {
			for i := range x.c.VMs {
				v := &x.c.VMs[i]
				if v.Status != Running {
					continue
				}
				h := x.c.host(v.Host)
				use := *v.Use
				use.Processors = work[v.Name] * float64(h.CPUs) / float64(h.MHz)
				v.Use = &use
			}
		}
		const hold = time.Minute
		w := &Watch{}
		what := describe(x.c)
		last := map[string]bool{x.where(): true}
		quiet := 0
		var was float64
		for look := 0; quiet < 5; look++ {
			if look > 2000 {
				t.Fatalf("balance does not come to an end:\n%s\nnow\n%s", what, describe(x.c))
			}
			takes()
			before := x.breaches()
			m, _ := w.Plan(time.Duration(look)*20*time.Second, hold, x.c, x.set)
			quiet++
			if len(m.Begin) == 0 {
				continue
			}
			quiet = 0
			even := m.Begin[0].Cause == Even
			if even && m.Imbalance <= x.set.Balance.Threshold {
				t.Fatalf("moves at %g %% uneven, the threshold is %g: %s", m.Imbalance, x.set.Balance.Threshold, m.told())
			}
			was = m.Imbalance
			x.begin(t, m.Begin)
			for b := range x.breaches() {
				if !before[b] && !strings.Contains(b, "is overfull") {
					t.Fatalf("%s breaks a must: %s\n%s", m.told(), b, describe(x.c))
				}
			}
			for h, over := range x.overfull() {
				for _, l := range m.Begin {
					if l.To == h && over > 0 {
						t.Fatalf("%s overcommits %s by %d\n%s", m.told(), h, over, describe(x.c))
					}
				}
			}
			for _, l := range m.Begin {
				x.end(x.vm(l.VM), true)
			}
			if !even {
				last = map[string]bool{}
				continue
			}
			takes()
			// Room that it leaves may take another back to where that is preferred, which the figure counts already.
			next := PlanMoves(x.c, x.set)
			if is := next.Imbalance; len(next.Begin)+len(next.Later) == 0 && is > was*(1-x.set.Balance.Margin/100)+1e-6 {
				t.Fatalf("%s leaves %g %% of %g %%, and must take %g %% of that away\n%s", m.told(), is, was, x.set.Balance.Margin, describe(x.c))
			}
			if last[x.where()] {
				t.Fatalf("%s brings back what was before\n%s", m.told(), describe(x.c))
			}
			last[x.where()] = true
		}
	})
}

// where is who runs where.
func (x *travel) where() string {
	var b strings.Builder
	for _, v := range x.c.VMs {
		fmt.Fprintf(&b, "%s@%s ", v.Name, v.Host)
	}
	return b.String()
}
