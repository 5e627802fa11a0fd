package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestCommitAndReplicate(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *testCluster) {
		l := c.leader("")
		result, index, err := l.node.Apply(t.Context(), []byte("one"))
		if err != nil || result != 1 {
			t.Fatalf("Apply: result %v, error %v, want 1 and none", result, err)
		}
		for name, h := range c.hosts {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := h.node.WaitApplied(ctx, index); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			cancel()
			if got := h.diary.read(); !slices.Equal(got, []string{"one"}) {
				t.Errorf("%s holds %v, want [one]", name, got)
			}
			if got := h.node.Leader(); got != l.name {
				t.Errorf("%s thinks %q leads, want %q", name, got, l.name)
			}
		}
		for name, h := range c.hosts {
			if h == l {
				continue
			}
			if _, _, err := h.node.Apply(t.Context(), []byte("two")); !errors.Is(err, ErrNotMaster) {
				t.Errorf("Apply on %s, which does not lead: %v, want ErrNotMaster", name, err)
			}
			if err := h.node.Confirm(t.Context()); !errors.Is(err, ErrNotMaster) {
				t.Errorf("Confirm on %s, which does not lead: %v, want ErrNotMaster", name, err)
			}
		}
	})
}

func TestLeaderDies(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *testCluster) {
		old := c.leader("")
		if err := c.apply(old, "before"); err != nil {
			t.Fatal(err)
		}
		c.kill(old)
		began := time.Now()
		next := c.leader(old.name)
		if took := time.Since(began); took > 4*c.election {
			t.Errorf("a new leader took %v, want at most %v", took, 4*c.election)
		}
		if err := c.apply(next, "after"); err != nil {
			t.Fatal(err)
		}
		c.net.Heal()
		c.start(old)
		c.until(10*time.Second, "the returned host has everything", func() bool {
			return slices.Equal(old.diary.read()[max(0, len(old.diary.read())-2):], []string{"before", "after"})
		})
	})
}

func TestOneNetworkLostNoElection(t *testing.T) {
	rounds, lasts := 5, 20*time.Second
	if testing.Short() {
		rounds, lasts = 2, 10*time.Second
	}
	for _, network := range networks {
		for _, election := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second} {
			t.Run(fmt.Sprintf("%s/%v", network, election), func(t *testing.T) {
				inBubbleElection(t, 3, election, func(t *testing.T, c *testCluster) {
					l := c.leader("")
					term := l.node.raft.CurrentTerm()
					for round := range rounds {
						c.cutNetwork(network)
						end := time.Now().Add(lasts)
						for i := 0; time.Now().Before(end); i++ {
							began := time.Now()
							if err := c.apply(l, fmt.Sprintf("%d/%d", round, i)); err != nil {
								t.Fatalf("round %d, %v after the cut: %v", round, time.Since(end)+lasts, err)
							}
							if took := time.Since(began); took > election {
								t.Errorf("round %d: a commit took %v", round, took)
							}
							time.Sleep(50 * time.Millisecond)
						}
						c.net.Heal()
						time.Sleep(3 * time.Second)
					}
					if now := l.node.raft.CurrentTerm(); now != term || !l.node.IsLeader() {
						t.Errorf("term %d, leads %v; want term %d and no election", now, l.node.IsLeader(), term)
					}
				})
			})
		}
	}
}

func TestConfirmFailsOnStaleLeader(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *testCluster) {
		old := c.leader("")
		offices := old.node.Leadership()
		for len(offices) > 0 {
			<-offices
		}
		c.isolate(old.name)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := old.node.Confirm(ctx); !errors.Is(err, ErrNotMaster) {
			t.Errorf("Confirm on a leader without a majority: %v, want ErrNotMaster", err)
		}
		next := c.leader(old.name)
		if o := <-offices; o.Leader {
			t.Errorf("office of the old leader: %+v, want it to be lost", o)
		}
		c.net.Heal()
		time.Sleep(2 * time.Second)
		if err := old.node.Confirm(t.Context()); !errors.Is(err, ErrNotMaster) {
			t.Errorf("Confirm on the old leader after the heal: %v, want ErrNotMaster", err)
		}
		if err := next.node.Confirm(t.Context()); err != nil {
			t.Errorf("Confirm on the new leader: %v", err)
		}
	})
}

func TestApplyEndsWithItsContext(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *testCluster) {
		l := c.leader("")
		c.isolate(l.name)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, _, err := l.node.Apply(ctx, []byte("lost?"))
		if !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Apply without a majority: %v, want ErrUnknownOutcome and the deadline", err)
		}
		if took := time.Since(began); took != 50*time.Millisecond {
			t.Errorf("Apply took %v, want the 50ms of its context", took)
		}
		// The entry is on no other host, and the leader steps down.
		_, _, err = l.node.Apply(t.Context(), []byte("lost too"))
		if !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrNotMaster) {
			t.Errorf("Apply on a leader that steps down: %v", err)
		}
	})
}

func TestShutdownAnswersWhatIsPending(t *testing.T) {
	for _, isolated := range []bool{false, true} {
		t.Run(fmt.Sprintf("isolated=%v", isolated), func(t *testing.T) {
			inBubble(t, 3, func(t *testing.T, c *testCluster) {
				l := c.leader("")
				if isolated {
					c.isolate(l.name)
				}
				errs := make(chan error, 20)
				for i := range 10 {
					go func() {
						_, _, err := l.node.Apply(context.Background(), fmt.Appendf(nil, "%d", i))
						errs <- err
					}()
					go func() { errs <- l.node.Confirm(context.Background()) }()
				}
				began := time.Now()
				l.node.Shutdown()
				if took := time.Since(began); took > 3*c.election {
					t.Errorf("Shutdown took %v", took)
				}
				for range 20 {
					t.Logf("a call under way: %v", <-errs) // every call returns; a hang is reported by the bubble
				}
				if err := c.apply(l, "late"); !errors.Is(err, ErrShutdown) {
					t.Errorf("Apply after Shutdown: %v, want ErrShutdown", err)
				}
			})
		})
	}
}

func TestSnapshotAndLateHost(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *testCluster) {
		l := c.leader("")
		var late *testHost
		for _, h := range c.hosts {
			if h != l {
				late = h
			}
		}
		c.kill(late)
		for i := range 3000 {
			if err := c.apply(l, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Minute) // a snapshot is taken and the log cut
		if first, err := l.stores.Log.FirstIndex(); err != nil || first < 1000 {
			t.Fatalf("the log still begins at %d (%v): no snapshot was taken", first, err)
		}
		c.net.Heal()
		late.diary = &diary{}
		c.start(late)
		want := l.diary.read()
		c.until(time.Minute, "the late host has the state", func() bool { return slices.Equal(late.diary.read(), want) })
		if a, b := late.node.AppliedIndex(), l.node.AppliedIndex(); a != b {
			t.Errorf("applied index %d on the late host, %d on the leader", a, b)
		}
	})
}

func TestTransfer(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *testCluster) {
		l := c.leader("")
		var others []string
		for name := range c.hosts {
			if name != l.name {
				others = append(others, name)
			}
		}
		slices.Sort(others)
		if err := l.node.Transfer(t.Context(), others[1]); err != nil {
			t.Fatal(err)
		}
		if next := c.leader(l.name); next.name != others[1] {
			t.Errorf("%s leads after the transfer, want %s", next.name, others[1])
		}
		if err := l.node.Transfer(t.Context(), others[0]); !errors.Is(err, ErrNotMaster) {
			t.Errorf("Transfer on a host that does not lead: %v", err)
		}
		next := c.leader("")
		c.isolate(others[0])
		time.Sleep(2 * c.election)
		err := next.node.Transfer(t.Context(), others[0])
		if err == nil {
			t.Error("Transfer to a host that does not answer succeeded")
		}
		if err := c.apply(next, "still leads"); err != nil {
			t.Errorf("after the refused transfer: %v", err)
		}
	})
}

// TestFailedTransfer cuts the target off at the very moment of the transfer.
func TestFailedTransfer(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, c *testCluster) {
		l := c.leader("")
		target := "h2"
		if l.name == target {
			target = "h3"
		}
		c.isolate(target)
		if err := l.node.Transfer(t.Context(), target); err == nil {
			t.Fatal("the transfer to a host cut off that moment succeeded")
		}
		if err := c.apply(c.leader(target), "goes on"); err != nil {
			t.Errorf("after the failed transfer: %v", err)
		}
		select {
		case err := <-l.node.Fatal():
			t.Errorf("fatal, though the log works: %v", err)
		default:
		}
	})
}
