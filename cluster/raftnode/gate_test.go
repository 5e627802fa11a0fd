package raftnode

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// held is how many requests for replication wait for a host that is away.
func held() int {
	b := make([]byte, 4<<20)
	return strings.Count(string(b[:runtime.Stack(b, true)]), "raftnode.(*transport).hold(")
}

// untilHeld waits until that many requests do.
func (c *testCluster) untilHeld(want int, what string) {
	c.t.Helper()
	n := -1
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Second / 2) {
		if n = held(); n == want {
			return
		}
	}
	c.t.Fatalf("%s: want %d requests that wait for a host that is away, there are %d", what, want, n)
}

// other is a host that is none of these.
func (c *testCluster) other(not ...*testHost) *testHost {
	for _, h := range c.hosts {
		if !slices.Contains(not, h) {
			return h
		}
	}
	return nil
}

// What is committed reaches a host that was away for a minute as soon as it is back, and
// not when raft's pause has ended.
func TestHostThatWasAwayGetsTheLog(t *testing.T) {
	for _, dead := range []bool{false, true} {
		name := "cut off"
		if dead {
			name = "restarted"
		}
		t.Run(name, func(t *testing.T) {
			inBubble(t, 3, func(t *testing.T, c *testCluster) {
				l := c.leader("")
				away := c.other(l)
				if dead {
					c.kill(away)
				} else {
					c.isolate(away.name)
				}
				for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
					if err := c.apply(l, "meanwhile"); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.apply(l, "last"); err != nil {
					t.Fatal(err)
				}
				c.net.Heal()
				if dead {
					c.start(away)
				}
				took := c.until(20*time.Second, "the host has the log", func() bool { return slices.Contains(away.diary.read(), "last") })
				if took > time.Second {
					t.Errorf("it had what was committed meanwhile %v after it was back, want a second at most", took)
				}
				if !l.node.IsLeader() {
					t.Error("the office has moved")
				}
			})
		})
	}
}

// A leader that has handed over, or was deposed, waits for nobody.
func TestNobodyWaitsWithoutTheOffice(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, c *testCluster) {
		l := c.leader("")
		away := c.other(l)
		c.isolate(away.name)
		c.untilHeld(1, "replication waits for the host that is away")
		began := time.Now()
		if err := l.node.Transfer(t.Context(), c.other(l, away).name); err != nil {
			t.Fatalf("hand over while a host is away: %v", err)
		}
		c.until(time.Second, "the old leader does not lead", func() bool { return !l.node.IsLeader() })
		if took := time.Since(began); took > 2*c.election {
			t.Errorf("the office was handed over in %v, want two elections at most", took)
		}
		next := c.leader(l.name)
		c.untilHeld(1, "the new leader alone waits")
		c.isolate(next.name)
		c.until(time.Minute, "the deposed leader leads no more", func() bool { return !next.node.IsLeader() })
		c.leader(next.name)
		c.untilHeld(2, "the third leader alone waits, for two")
	})
}

// Replication to a host that is taken out while it is away ends.
func TestNobodyWaitsForAHostThatHasLeft(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, c *testCluster) {
		l := c.leader("")
		away := c.other(l)
		c.isolate(away.name)
		c.untilHeld(1, "replication waits for the host that is away")
		if err := l.node.RemoveMember(t.Context(), away.name); err != nil {
			t.Fatal(err)
		}
		c.untilHeld(0, "nobody waits for it any more")
		if err := c.apply(l, "after"); err != nil {
			t.Fatal(err)
		}
	})
}
