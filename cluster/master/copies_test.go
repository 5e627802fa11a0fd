package master

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

// copyOf is one copy of a heartbeat of b.
func copyOf(incarnation, run, seq uint64, network string) api.Heartbeat {
	return api.Heartbeat{Host: "b", Incarnation: incarnation, Run: run, Seq: seq, Network: network}
}

// asked is how often the office was confirmed so far.
func (r *rig) asked() int {
	r.fakeLog.mu.Lock()
	defer r.fakeLog.mu.Unlock()
	return r.confirms
}

// Each confirmation is an entry that a majority writes to its disks, and each heartbeat comes
// over every network: one entry for all its copies, and never one that began before the first.
func TestCopiesOfAHeartbeatShareAConfirmation(t *testing.T) {
	first := copyOf(1, 9, 1000, "mgmt")
	for _, tt := range []struct {
		name string
		then api.Heartbeat
		want int // confirmations for both
	}{
		{"the same over another network", copyOf(1, 9, 1000, "storage"), 1},
		{"the same over the same network, which was repeated", first, 1},
		{"the next one", copyOf(1, 9, 1001, "mgmt"), 2},
		{"the same number of another run of the agent", copyOf(1, 10, 1000, "storage"), 2},
		{"the same number of another incarnation", copyOf(2, 9, 1000, "storage"), 2},
	} {
		for _, when := range []string{"while the first is being confirmed", "after that"} {
			t.Run(tt.name+", "+when, func(t *testing.T) {
				bubble(t, func(r *rig) {
					r.beating(5*time.Second, "a", "b", "c")
					release := make(chan struct{})
					r.set(func(context.Context) error { <-release; return nil }, nil)
					before, done := r.asked(), make(chan struct{}, 2)
					send := func(hb api.Heartbeat) {
						reply, err := r.Heartbeat(r.Context(), hb)
						if want := hb.Incarnation == 1; err != nil || reply.Acknowledged != want || reply.Seq != hb.Seq {
							r.Errorf("%+v was answered %+v (%v), want acknowledged: %v", hb, reply, err, want)
						}
						done <- struct{}{}
					}
					go send(first)
					synctest.Wait()
					if when == "after that" {
						close(release)
						synctest.Wait()
					}
					go send(tt.then)
					synctest.Wait()
					if when != "after that" {
						if len(done) != 0 {
							r.Errorf("%d answered before a confirmation", len(done))
						}
						close(release)
						synctest.Wait()
					}
					if len(done) != 2 || r.asked()-before != tt.want {
						r.Errorf("%d answered after %d confirmations, want 2 after %d", len(done), r.asked()-before, tt.want)
					}
				})
			})
		}
	}
}

// A network that fails in the middle takes the call of the first copy with it, not the lease.
func TestACopyDoesNotDependOnTheFirstOne(t *testing.T) {
	bubble(t, func(r *rig) {
		r.beating(5*time.Second, "a", "b", "c")
		r.set(func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(300 * time.Millisecond):
				return nil
			}
		}, nil)
		ctx, cut := context.WithCancel(r.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := r.Heartbeat(ctx, copyOf(1, 9, 1000, "mgmt"))
			gone <- err
		}()
		synctest.Wait()
		time.AfterFunc(200*time.Millisecond, cut)
		began := r.now()
		reply, err := r.Heartbeat(r.Context(), copyOf(1, 9, 1000, "storage"))
		if err != nil || !reply.Acknowledged {
			r.Errorf("the second copy was answered %+v (%v), want an acknowledgement", reply, err)
		}
		if took, want := r.now()-began, 500*time.Millisecond; took != want {
			r.Errorf("it was answered after %v, want %v: with a confirmation of its own, begun when the first had failed", took, want)
		}
		if err := <-gone; err == nil {
			r.Error("the first copy was answered though who sent it had gone")
		}
	})
}
