package master

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// watch is what the office goes by about a host.
func (r *rig) watch(host string) lease.Watch {
	r.mu().Lock()
	defer r.mu().Unlock()
	return r.office.hosts[host].watch
}

func (r *rig) mu() sync.Locker { return &r.Master.mu }

// I4: an acknowledgement follows a confirmation that began after the heartbeat
// had been received.
func TestHeartbeatIsAcknowledgedAfterAConfirmationBegunAfterReceipt(t *testing.T) {
	bubble(t, func(r *rig) {
		r.beating(5*time.Second, "a", "b", "c")
		began := time.Duration(-1)
		release := make(chan struct{})
		r.set(func(ctx context.Context) error {
			began = r.watch("b").Heard
			<-release
			return nil
		}, nil)
		at := r.now()
		var reply api.HeartbeatReply
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			reply, err = r.beat("b", 1)
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Fatalf("answered %+v (%v) before the confirmation", reply, err)
		default:
		}
		if began != at {
			t.Errorf("the confirmation began when b had last been heard at %v; the heartbeat came at %v", began, at)
		}
		r.pass(300 * time.Millisecond)
		close(release)
		<-done
		if err != nil || !reply.Acknowledged || reply.Seq != r.seq || reply.Run != 9 || reply.Incarnation != 1 || reply.Epoch != 1 {
			t.Errorf("answered %+v (%v), want an acknowledgement of incarnation 1, run 9, seq %d in epoch 1", reply, err, r.seq)
		}
		if got, want := r.watch("b").Acknowledged, at+300*time.Millisecond; got != want {
			t.Errorf("the acknowledgement is remembered as of %v, want %v", got, want)
		}
	})
}

func TestHeartbeatThatIsNotAcknowledged(t *testing.T) {
	tests := []struct {
		name string
		call func(r *rig) (api.HeartbeatReply, error)
		want error
		over bool
	}{
		{"an earlier incarnation", func(r *rig) (api.HeartbeatReply, error) {
			r.must(&fsm.BeginIncarnation{Epoch: 1, Host: "b", Previous: 1})
			return r.beat("b", 1)
		}, nil, true},
		{"no incarnation", func(r *rig) (api.HeartbeatReply, error) { return r.beat("b", 0) }, nil, false},
		{"an incarnation to come", func(r *rig) (api.HeartbeatReply, error) { return r.beat("b", 2) }, nil, true},
		{"a dead one", func(r *rig) (api.HeartbeatReply, error) {
			r.must(&fsm.DeclareDead{Epoch: 1, Host: "b", Incarnation: 1})
			return r.beat("b", 1)
		}, nil, true},
		{"nobody's", func(r *rig) (api.HeartbeatReply, error) { return r.beat("x", 1) }, api.ErrRefused, false},
		{"no confirmation", func(r *rig) (api.HeartbeatReply, error) {
			r.set(func(context.Context) error { return errors.New("no majority") }, nil)
			return r.beat("b", 1)
		}, api.ErrNotMaster, false},
		{"no office", func(r *rig) (api.HeartbeatReply, error) {
			_ = r.resign()
			return r.beat("b", 1)
		}, api.ErrNotMaster, false},
		{"the office was lost and taken again meanwhile", func(r *rig) (api.HeartbeatReply, error) {
			once := true
			r.set(func(context.Context) error {
				if once {
					once = false
					_ = r.resign()
					r.hold()
				}
				return nil
			}, nil)
			return r.beat("b", 1)
		}, api.ErrNotMaster, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.beating(5*time.Second, "a", "b", "c")
				reply, err := tt.call(r)
				if reply.Acknowledged || !errors.Is(err, tt.want) || reply.Over != tt.over {
					t.Errorf("answered %+v (%v), want no acknowledgement, over=%v, error %v", reply, err, tt.over, tt.want)
				}
			})
		})
	}
}

// Between the moment at which the master stops acknowledging and the moment at
// which it has withdrawn that, and from the proposal of its death on, a host that
// is heard gets no acknowledgement.
func TestSuspectAndCondemnedAreNotAcknowledged(t *testing.T) {
	for _, tt := range []struct {
		hang string // the proposal during which the host is heard
		want []string
	}{
		{"verdict b(1) suspect", []string{"verdict b(1) suspect", "verdict b(1) live"}},
		{"declare b(1) dead", []string{"verdict b(1) suspect", "declare b(1) dead"}},
	} {
		t.Run(tt.hang, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.beating(30*time.Second, "a", "b", "c")
				hangs, release := false, make(chan struct{})
				r.set(nil, func(_ context.Context, c fsm.Command) error {
					if say(c) == tt.hang && !hangs {
						hangs = true
						<-release
					}
					return nil
				})
				for range 20 {
					if synctest.Wait(); hangs {
						break
					}
					r.beating(time.Second, "a", "c")
				}
				if !hangs {
					t.Fatalf("%q was never proposed, but %v", tt.hang, r.said("b(1)"))
				}
				if reply, err := r.beat("b", 1); err != nil || reply.Acknowledged {
					t.Errorf("answered %+v (%v), want no acknowledgement", reply, err)
				}
				close(release)
				r.beating(time.Second, "a", "c")
				if d := cmp.Diff(tt.want, r.said("b(1)")); d != "" {
					t.Errorf("proposed of b (-want +got):\n%s", d)
				}
				reply, err := r.beat("b", 1)
				if lives := tt.want[1] == "verdict b(1) live"; err != nil || reply.Acknowledged != lives || reply.Over == lives {
					t.Errorf("afterwards answered %+v (%v), want acknowledged=%v", reply, err, lives)
				}
			})
		})
	}
}

// I5: no death is proposed before the wait is over, and it is then.
func TestDeathIsProposedWhenTheWaitIsOver(t *testing.T) {
	for _, tt := range []struct {
		name  string
		quiet func(r *rig) (last time.Duration) // from when on the wait counts
	}{
		{"after the last acknowledgement", func(r *rig) time.Duration {
			r.beating(30*time.Second, "a", "b", "c")
			return r.watch("b").Acknowledged
		}},
		{"after a heartbeat that was not acknowledged", func(r *rig) time.Duration {
			r.beating(30*time.Second, "a", "b", "c")
			last := r.watch("b").Acknowledged
			r.set(func(context.Context) error { return errors.New("no majority for a moment") }, nil)
			_, _ = r.beat("b", 1)
			r.set(nil, nil)
			return last
		}},
		{"after the election, when it was never acknowledged", func(r *rig) time.Duration {
			r.beating(5*time.Second, "a", "b", "c")
			_ = r.resign()
			r.pass(7 * time.Second)
			at := r.now()
			r.hold()
			return at
		}},
		{"after the election, when its confirmation took long", func(r *rig) time.Duration {
			r.beating(5*time.Second, "a", "b", "c")
			_ = r.resign()
			r.set(func(context.Context) error {
				r.set(nil, nil)
				time.Sleep(3 * time.Second)
				return nil
			}, nil)
			r.hold()
			r.pass(3 * time.Second)
			return r.now()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				last := tt.quiet(r)
				died := time.Duration(0)
				r.set(nil, func(_ context.Context, c fsm.Command) error {
					if say(c) == "declare b(1) dead" && died == 0 {
						died = r.now()
					}
					return nil
				})
				r.beating(20*time.Second, "a", "c")
				earliest := last + standard(t).Wait()
				if died < earliest || died > earliest+20*time.Millisecond {
					t.Errorf("the death was proposed %v after the wait had begun, want %v (%v)", died-last, earliest-last, r.said("b(1)"))
				}
				if s := r.state(); s.Hosts["b"].Status != fsm.HostDead || s.Hosts["a"].Status != fsm.HostLive || s.Hosts["c"].Status != fsm.HostLive {
					t.Errorf("a is %s, b is %s, c is %s; want only b dead", s.Hosts["a"].Status, s.Hosts["b"].Status, s.Hosts["c"].Status)
				}
			})
		})
	}
}

// A heartbeat that comes after the death was decided, and before it is proposed,
// saves the host; so does one between deciding to suspect and doing so.
func TestHeartbeatBetweenDecisionAndDeed(t *testing.T) {
	tm := standard(t)
	for _, tt := range []struct {
		name  string
		after time.Duration // since the last heartbeat of b
		want  []string
	}{
		{"suspicion", tm.SuspectAfter(), nil},
		{"death", tm.Wait(), []string{"verdict b(1) suspect", "verdict b(1) live"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.beating(30*time.Second, "a", "b", "c")
				last, heard := r.watch("b").Heard, false
				r.set(func(context.Context) error { // the office confirms before either
					if !heard && r.now() > last+tt.after {
						heard = true
						_, err := r.receive(api.Heartbeat{Host: "b", Incarnation: 1, Run: 9, Seq: 1 << 20, Network: "mgmt"})
						return err
					}
					return nil
				}, nil)
				for end := r.now() + tt.after + 2*time.Second; r.now() < end && !heard; {
					for _, h := range []string{"a", "c"} { // heard without a confirmation
						if _, err := r.receive(api.Heartbeat{Host: h, Incarnation: 1, Run: 9, Seq: 1 << 20, Network: "mgmt"}); err != nil {
							t.Fatal(err)
						}
					}
					r.pass(100 * time.Millisecond)
				}
				r.pass(100 * time.Millisecond)
				if d := cmp.Diff(tt.want, r.said("b(1)")); d != "" || !heard {
					t.Errorf("heard in time: %v; proposed of b (-want +got):\n%s", heard, d)
				}
			})
		})
	}
}

// A goroutine that took its copy of the state before a host began a new
// incarnation must not take the office's memory of the new one away: the last
// acknowledgement is what the host's death waits for.
func TestAnOldCopyForgetsNoAcknowledgement(t *testing.T) {
	for _, tt := range []struct {
		name string
		look func(r *rig)
	}{
		{"a late heartbeat", func(r *rig) {
			reply, err := r.Heartbeat(r.Context(), api.Heartbeat{Host: "b", Incarnation: 1, Run: 9, Seq: 1, Network: "mgmt"})
			if err != nil || reply.Acknowledged {
				r.Errorf("incarnation 1 was answered %+v (%v) after incarnation 2 had been acknowledged", reply, err)
			}
		}},
		{"somebody who asks what is seen", func(r *rig) {
			if _, err := r.Observations(); err != nil {
				r.Error(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.beating(60*time.Second, "a", "b", "c")
				old := r.state()
				r.must(&fsm.BeginIncarnation{Epoch: 1, Host: "b", Previous: 1})
				r.beating(time.Second, "a", "b", "c")
				acknowledged := r.watch("b").Acknowledged
				r.old.Store(old)
				tt.look(r)
				r.old.Store(nil)
				r.beating(time.Second, "a", "c")
				if got := r.watch("b").Acknowledged; got != acknowledged {
					t.Errorf("the last acknowledgement is remembered as of %v, it was at %v", got, acknowledged)
				}
				died := time.Duration(0)
				r.set(nil, func(_ context.Context, c fsm.Command) error {
					if say(c) == "declare b(2) dead" && died == 0 {
						died = r.now()
					}
					return nil
				})
				r.beating(20*time.Second, "a", "c")
				if died < acknowledged+standard(t).Wait() {
					t.Errorf("b was declared dead %v after its last acknowledgement, the wait is %v", died-acknowledged, standard(t).Wait())
				}
			})
		})
	}
}

func TestTheOfficeEndsWithItsProof(t *testing.T) {
	lost := errors.New("another host leads")
	for _, tt := range []struct {
		name string
		fail func(r *rig)
	}{
		{"the confirmation before a suspicion fails", func(r *rig) { r.set(func(context.Context) error { return lost }, nil) }},
		{"a proposal fails", func(r *rig) { r.set(nil, func(context.Context, fsm.Command) error { return lost }) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.beating(5*time.Second, "a", "b", "c")
				tt.fail(r)
				r.pass(3 * time.Second) // silence: everybody is to be suspected
				select {
				case err := <-r.held:
					if !errors.Is(err, lost) {
						t.Errorf("Hold ended with %v, want %v", err, lost)
					}
					r.cancel()
					r.cancel = nil
				default:
					t.Fatalf("Hold goes on; proposed: %v", r.said(""))
				}
				if _, err := r.beat("b", 1); !errors.Is(err, api.ErrNotMaster) {
					t.Errorf("a heartbeat was answered with %v, want %v", err, api.ErrNotMaster)
				}
				if s := r.said("dead"); len(s) > 0 {
					t.Errorf("proposed %v", s)
				}
			})
		})
	}
	t.Run("the election is never confirmed", func(t *testing.T) {
		bubble(t, func(r *rig) {
			_ = r.resign()
			r.set(func(context.Context) error { return lost }, nil)
			r.hold()
			if err := r.resign(); !errors.Is(err, lost) {
				t.Errorf("Hold ended with %v, want %v", err, lost)
			}
			if got, want := r.said("epoch"), []string{"epoch 1 of a"}; !slices.Equal(got, want) {
				t.Errorf("proposed %v, want %v", got, want)
			}
		})
	})
}

func TestANewOfficeTakesUpWhatTheLastOneLeft(t *testing.T) {
	bubble(t, func(r *rig) {
		r.beating(5*time.Second, "a", "b", "c")
		r.beating(2*time.Second, "a", "b")
		_ = r.resign()
		r.hold()
		r.beating(time.Second, "a", "b")
		if d := cmp.Diff([]string{"verdict c(1) suspect"}, r.said("c(1)")); d != "" {
			t.Errorf("before c is heard, proposed of it (-want +got):\n%s", d)
		}
		r.beating(time.Second, "a", "b", "c")
		if d := cmp.Diff([]string{"verdict c(1) suspect", "verdict c(1) live"}, r.said("c(1)")); d != "" {
			t.Errorf("proposed of c (-want +got):\n%s", d)
		}
		if got, want := r.said("epoch"), []string{"epoch 1 of a", "epoch 2 of a"}; !slices.Equal(got, want) {
			t.Errorf("offices: %v, want %v", got, want)
		}
	})
}

// What cannot change anything is not proposed again and again.
func TestNothingIsSaidTwice(t *testing.T) {
	t.Run("no host can take a VM", func(t *testing.T) {
		bubble(t, func(r *rig) {
			r.must(&fsm.Protect{Epoch: 1, VM: fsm.VM{UUID: web, Name: "web", XML: []byte("packed"), Intent: fsm.IntentRun, Memory: 1 << 40}, Host: "a"})
			r.beating(10*time.Second, "a", "b", "c")
			if got := r.said("waiting"); len(got) != 1 {
				t.Errorf("said %d times why it waits: %.5q", len(got), got)
			}
		})
	})
	t.Run("a definition that no command can hold", func(t *testing.T) {
		bubble(t, func(r *rig) {
			r.policy.Defaults.Protect = config.ProtectAll
			x := api.DomainReport{UUID: db, Name: "db", State: "running", Persistent: true}
			r.seq++
			noise := make([]byte, 1<<20) // not worth compressing
			seed := uint64(1)
			for i := range noise {
				seed = seed*6364136223846793005 + 1442695040888963407
				noise[i] = byte(33 + seed>>33%90)
			}
			_, err := r.Heartbeat(r.Context(), api.Heartbeat{Host: "b", Incarnation: 1, Run: 9, Seq: r.seq, Network: "mgmt", ReportRev: r.seq,
				Report: r.report(x), Definitions: map[string]string{db: string(noise)}})
			if err != nil {
				t.Fatal(err)
			}
			r.pass(10 * time.Millisecond)
			if _, err := r.beat("b", 1); err != nil {
				t.Errorf("the office ended over it: %v", err)
			}
		})
	})
}

// From the proposal of its death on an incarnation is over for this office (R7),
// also when what became of the proposal is not a death.
func TestNoWithdrawalAfterADeathWasProposed(t *testing.T) {
	bubble(t, func(r *rig) {
		r.beating(5*time.Second, "a", "b", "c")
		r.set(nil, func(_ context.Context, c fsm.Command) error {
			if say(c) == "declare b(1) dead" {
				return &fsm.Refusal{Code: fsm.CodeStale, Message: "not in this state"}
			}
			return nil
		})
		r.beating(20*time.Second, "a", "c")
		for range 3 {
			if reply, err := r.beat("b", 1); err != nil || reply.Acknowledged {
				t.Errorf("answered %+v (%v), want no acknowledgement", reply, err)
			}
			r.beating(time.Second, "a", "c")
		}
		if d := cmp.Diff([]string{"verdict b(1) suspect", "declare b(1) dead"}, r.said("b(1)")); d != "" {
			t.Errorf("proposed of b (-want +got):\n%s", d)
		}
	})
}
