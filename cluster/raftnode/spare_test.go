package raftnode

import (
	"strings"
	"testing"
	"time"
)

// A leader that loses one of its networks has an eighth of a second, in the fastest
// profile, to be heard over another by a majority. It does not begin to connect then.
func TestSpareNetworkIsWarm(t *testing.T) {
	inBubbleElection(t, 3, 250*time.Millisecond, func(t *testing.T, c *testCluster) {
		l := c.leader("")
		term := l.node.raft.CurrentTerm()
		time.Sleep(time.Minute) // in which the first network does it all
		dials := func(of int) int {
			n := 0
			for name, all := range c.book.All() {
				if name != l.name {
					n += c.net.Dials(l.name, all[of].Addr)
				}
			}
			return n
		}
		was := dials(1)
		c.cutNetwork(networks[0])
		time.Sleep(c.election / 2)
		// Replication that overlaps a heartbeat needs a connection of its own; without a warm one
		// each of the two followers has to be called.
		if now := dials(1); now > was+1 || was < 2 || was > 2*10 {
			t.Errorf("%d calls over the second network while the first was there, %d more in the time that a leader has", was, now-was)
		}
		time.Sleep(10 * time.Second)
		if now := l.node.raft.CurrentTerm(); now != term || !l.node.IsLeader() {
			t.Errorf("term %d, leads %v; want term %d and no election:\n%s", now, l.node.IsLeader(), term, strings.TrimSpace(c.logs.String()))
		}
	})
}
