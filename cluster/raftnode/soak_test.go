package raftnode

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	soakRuns = flag.Int("soak", 3, "runs of TestSoak")
	soakSeed = flag.Uint64("seed", 1, "seed of the first run of TestSoak")
)

// ledger is what was acknowledged.
type ledger struct {
	mu           sync.Mutex
	acknowledged []string
	proofs       int // successful Confirms
}

// TestSoak hurts a cluster at random for some minutes and checks that nothing
// acknowledged is lost or done twice, that every call returns, and that nothing
// is left running at the end.
func TestSoak(t *testing.T) {
	runs := *soakRuns
	if testing.Short() {
		runs = min(runs, 1)
	}
	for i := range runs {
		seed := *soakSeed + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { soak(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func soak(t *testing.T, r *rand.Rand) {
	members := 3 + r.IntN(4)
	c := newTestCluster(t, members, []time.Duration{250 * time.Millisecond, 500 * time.Millisecond}[r.IntN(2)])
	p := &ledger{}
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	// Hosts are started and killed by this goroutine while the load looks at them.
	var mu sync.Mutex
	running := map[string]*Node{}
	for name, h := range c.hosts {
		running[name] = h.node
	}
	for w := range 2 {
		load.Go(func() { p.work(ctx, w, &mu, running) })
	}
	for range 25 {
		a, b := pick(r, members), pick(r, members)
		switch r.IntN(7) {
		case 0:
			c.isolate(a)
		case 1:
			for _, n := range networks {
				c.net.Cut(n, a, b) // one way
			}
		case 2:
			c.cutNetwork(networks[r.IntN(2)])
		case 3:
			if h := c.hosts[a]; h.stop != nil {
				mu.Lock()
				delete(running, a)
				mu.Unlock()
				h.stop()
				h.done.Wait()
				h.stop = nil
			}
		case 4:
			_ = c.hosts[a].node.Transfer(t.Context(), b)
		default:
			c.net.Heal()
		}
		time.Sleep(time.Duration(r.Int64N(int64(8 * time.Second))))
		for name, h := range c.hosts {
			if h.stop == nil && r.IntN(3) == 0 {
				h.diary = &diary{}
				c.start(h)
				mu.Lock()
				running[name] = h.node
				mu.Unlock()
			}
		}
	}
	c.net.Heal()
	for _, h := range c.hosts {
		if h.stop == nil {
			h.diary = &diary{}
			c.start(h)
		}
	}
	time.Sleep(20 * time.Second)
	cancel()
	load.Wait()
	if err := c.apply(c.leader(""), "end"); err != nil {
		t.Errorf("the healed cluster: %v", err)
	}
	time.Sleep(10 * time.Second)
	p.check(t, c)
	c.close()
}

func pick(r *rand.Rand, members int) string { return fmt.Sprintf("h%d", 1+r.IntN(members)) }

// work proposes and confirms on every node in turn until ctx ends.
func (p *ledger) work(ctx context.Context, worker int, mu *sync.Mutex, running map[string]*Node) {
	for i := 0; ctx.Err() == nil; i++ {
		mu.Lock()
		nodes := make([]*Node, 0, len(running))
		for _, n := range running {
			nodes = append(nodes, n)
		}
		mu.Unlock()
		for _, n := range nodes {
			line := fmt.Sprintf("%d/%d/%s", worker, i, n.config.Name)
			within, cancel := context.WithTimeout(ctx, time.Second)
			_, _, err := n.Apply(within, []byte(line))
			proven := n.Confirm(within)
			cancel()
			p.mu.Lock()
			if err == nil {
				p.acknowledged = append(p.acknowledged, line)
			}
			if proven == nil {
				p.proofs++
			}
			p.mu.Unlock()
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (p *ledger) check(t *testing.T, c *testCluster) {
	t.Helper()
	for name, h := range c.hosts {
		seen := map[string]int{}
		for _, line := range h.diary.read() {
			seen[line]++
		}
		for _, line := range p.acknowledged {
			if seen[line] != 1 {
				t.Errorf("%s has applied %q %d times, though it was acknowledged", name, line, seen[line])
			}
		}
	}
	if len(p.acknowledged) < 100 || p.proofs < 100 {
		t.Errorf("only %d commands and %d proofs: the run shows little", len(p.acknowledged), p.proofs)
	}
}
