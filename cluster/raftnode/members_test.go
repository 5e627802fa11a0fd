package raftnode

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVotersFollowTheMembers(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 1, 3: 3, 4: 3, 5: 5, 6: 5} {
		inBubble(t, n, func(t *testing.T, c *testCluster) {
			if got := c.voters("h1"); len(got) != want {
				t.Errorf("%d members: voters %v, want %d", n, got, want)
			}
			if got := len(c.hosts["h1"].node.Members()); got != n {
				t.Errorf("%d members, want %d", got, n)
			}
		})
	}
}

func TestSpareReplacesLostVoter(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, c *testCluster) {
		l := c.leader("")
		var lost *testHost
		for _, name := range c.voters(l.name) {
			if name != l.name {
				lost = c.hosts[name]
			}
		}
		c.kill(lost)
		took := c.until(time.Minute, "another host votes", func() bool {
			v := c.voters(l.name)
			return len(v) == 3 && !slices.Contains(v, lost.name)
		})
		if took < 10*time.Second {
			t.Errorf("replaced after %v: sooner than 10s, a short silence costs a vote", took)
		}
		if got := len(l.node.Members()); got != 4 {
			t.Errorf("%d members, want 4: nobody is removed", got)
		}
		// It survives the loss of another voter now.
		var second *testHost
		for _, name := range c.voters(l.name) {
			if name != l.name {
				second = c.hosts[name]
			}
		}
		c.kill(second)
		if err := c.apply(c.leader(second.name), "goes on"); err != nil {
			t.Error(err)
		}
	})
}

// TestNewLeaderReplacesDeadOne: the vote of a master that died goes to a spare.
func TestNewLeaderReplacesDeadOne(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, c *testCluster) {
		old := c.leader("")
		c.kill(old)
		next := c.leader(old.name)
		c.until(time.Minute, "another host votes", func() bool {
			v := c.voters(next.name)
			return len(v) == 3 && !slices.Contains(v, old.name)
		})
	})
}

func TestRemoveMember(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *testCluster) {
		l := c.leader("")
		var others []string
		for _, name := range c.voters(l.name) {
			if name != l.name {
				others = append(others, name)
			}
		}
		c.isolate(others[0])
		time.Sleep(2 * time.Second)
		err := l.node.RemoveMember(t.Context(), others[1])
		if err == nil || !strings.Contains(err.Error(), "only 1 answer") {
			t.Errorf("removing a voter that is needed: %v, want it refused", err)
		}
		if err := l.node.RemoveMember(t.Context(), others[0]); err != nil {
			t.Errorf("removing the voter that is lost: %v", err)
		}
		for range 2 {
			if err := l.node.RemoveMember(t.Context(), "nobody"); err != nil {
				t.Errorf("removing what is no member: %v", err)
			}
		}
		// What is removed gets in no more, and disturbs nobody when it comes back.
		removed := c.hosts[others[0]]
		for _, h := range c.hosts {
			h.refuse(removed.name)
		}
		term := l.node.raft.CurrentTerm()
		c.net.Heal()
		time.Sleep(30 * time.Second)
		if removed.node.IsLeader() || l.node.raft.CurrentTerm() != term {
			t.Errorf("the removed host leads: %v; term %d, want %d", removed.node.IsLeader(), l.node.raft.CurrentTerm(), term)
		}
		if err := c.apply(c.leader(removed.name), "goes on"); err != nil {
			t.Error(err)
		}
		if !strings.Contains(c.logs.String(), "connection refused: the caller is not a host of this cluster") {
			t.Error("no raft connection of the removed host was refused: the test shows nothing")
		}
	})
}
