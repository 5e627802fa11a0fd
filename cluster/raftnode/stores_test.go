package raftnode

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

func TestOpenStores(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "raft")
	s, err := OpenStores(dir, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	if used, err := s.Used(); err != nil || used {
		t.Errorf("new stores: used %v, %v", used, err)
	}
	if err := Bootstrap(s, "h1", hclog.NewNullLogger()); err != nil {
		t.Fatal(err)
	}
	if used, err := s.Used(); err != nil || !used {
		t.Errorf("after Bootstrap: used %v, %v", used, err)
	}
	if err := Bootstrap(s, "h1", hclog.NewNullLogger()); err == nil || !strings.Contains(err.Error(), "already holds") {
		t.Errorf("second Bootstrap: %v", err)
	}
	if _, err := OpenStores(dir, hclog.NewNullLogger()); err == nil || !strings.Contains(err.Error(), "has it open") || !strings.Contains(err.Error(), "process") {
		t.Errorf("stores that are open: %v, want the process that holds them", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenStores(dir, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

func TestOpenStoresRefuses(t *testing.T) {
	damaged := filepath.Join(t.TempDir(), "damaged")
	if err := os.MkdirAll(damaged, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(damaged, storeFile), []byte(strings.Repeat("no database ", 2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, dir, want string }{
		{"damaged file", damaged, "damaged"},
		{"a file where the directory should be", file, "not a directory"},
		{"a file system that cannot hold it", "/proc/holdfast-test", "data directory /proc/holdfast-test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := OpenStores(tt.dir, hclog.NewNullLogger())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestClaim(t *testing.T) {
	dir := t.TempDir()
	bolt, err := OpenStores(dir, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bolt.Close() }()
	for name, s := range map[string]Stores{"memory": MemoryStores(), "disk": bolt} {
		for range 2 {
			if err := claim(s.Stable, "c1"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := claim(s.Stable, "c2"); !errors.Is(err, ErrOtherCluster) {
			t.Errorf("%s: stores of another cluster: %v, want ErrOtherCluster", name, err)
		}
	}
}

// slowStore writes as slowly, or with the error, that it is told to.
type slowStore struct {
	raft.LogStore
	delay atomic.Int64
	fail  atomic.Bool
}

func (s *slowStore) StoreLogs(l []*raft.Log) error {
	if s.fail.Load() {
		return errors.New("no space left on device")
	}
	time.Sleep(time.Duration(s.delay.Load()))
	return s.LogStore.StoreLogs(l)
}

func (s *slowStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// timed puts stores under watch as a node does, with a gate that a test may close.
func timed(t *testing.T, slow *slowStore, gate func(context.Context) error) (*watched, chan error) {
	c := Config{Stores: Stores{Log: slow, Stable: raft.NewInmemStore()}, Election: 500 * time.Millisecond, YieldAfter: time.Second, SlowAfter: 2 * time.Second, Gate: gate}.withDefaults()
	fatal := make(chan error, 1)
	return watchStores(t.Context(), c, func(err error) { fatal <- err }), fatal
}

func TestSlowStoreIsFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowStore{LogStore: raft.NewInmemStore()}
		w, fatal := timed(t, slow, nil)
		slow.delay.Store(int64(9 * time.Second))
		if err := w.StoreLogs([]*raft.Log{{Index: 1}}); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-fatal:
			t.Errorf("a write of 9s is fatal: %v", err)
		default:
		}
		slow.delay.Store(int64(time.Minute))
		began := time.Now()
		go func() { _ = w.StoreLogs([]*raft.Log{{Index: 2}}) }()
		err := <-fatal
		if took := time.Since(began); took != 10*time.Second || !strings.Contains(err.Error(), "10s") {
			t.Errorf("fatal after %v: %v, want after 10s", took, err)
		}
		time.Sleep(time.Minute)
	})
}

func TestAWriteIsOverdueUntilItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowStore{LogStore: raft.NewInmemStore()}
		w, _ := timed(t, slow, nil)
		slow.delay.Store(int64(3 * time.Second))
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = w.StoreLogs([]*raft.Log{{Index: 1}})
		}()
		time.Sleep(900 * time.Millisecond)
		if w.due.is() {
			t.Error("overdue after 900ms, want after 1s")
		}
		time.Sleep(200 * time.Millisecond)
		if !w.due.is() {
			t.Error("not overdue after 1.1s, want after 1s")
		}
		<-done
		if w.due.is() {
			t.Error("overdue although the write is back")
		}
	})
}

// slowly has a leader's stores write once, for so long.
func slowly(t *testing.T, w *watched, d time.Duration) {
	t.Helper()
	w.LogStore.(*slowStore).delay.Store(int64(d))
	if err := w.StoreLogs([]*raft.Log{{Index: 1}}); err != nil {
		t.Error(err)
	}
}

// One late write is over when it is back: the next leader may write to the same array.
func TestOneLateWriteCostsNoOffice(t *testing.T) {
	for _, tt := range []struct {
		name  string
		takes []time.Duration // what writes take, with pause between them
		pause time.Duration
	}{
		{"one that is slow", []time.Duration{3 * time.Second}, 0},
		{"slow ones more than a lease apart", []time.Duration{2500 * time.Millisecond, 2500 * time.Millisecond, 2500 * time.Millisecond}, 8 * time.Second},
		{"late ones that are not slow, again and again", []time.Duration{1900 * time.Millisecond, 1900 * time.Millisecond, 1900 * time.Millisecond}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := timed(t, &slowStore{LogStore: raft.NewInmemStore()}, nil)
				for i, d := range tt.takes {
					if w.due.silent() {
						t.Fatalf("silent before write %d", i)
					}
					slowly(t, w, d)
					if w.due.silent() {
						t.Errorf("silent as a leader right after write %d, which took %v and is back", i, d)
					}
					time.Sleep(tt.pause)
				}
			})
		})
	}
}

// Where each write is slow and comes back soon after, followers must not hear just enough of
// their leader to stay with it.
func TestALeaderWhoseWritesAreSlowIsSilentForAnElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := timed(t, &slowStore{LogStore: raft.NewInmemStore()}, nil)
		slowly(t, w, w.slow)
		slowly(t, w, w.slow)
		if w.due.silent() {
			t.Error("silent after slow writes while it led nobody: where the disks of all hang together, none could lead")
		}
		time.Sleep(2 * w.due.again)
		var began time.Time
		for range 2 { // it leads
			if w.due.silent() {
				t.Error("silent after one slow write")
			}
			began = time.Now()
			slowly(t, w, w.slow)
		}
		hush := w.due.hush
		if w.due.is() || !w.due.silent() {
			t.Errorf("right after the second slow write: overdue %v, silent %v, want false and true", w.due.is(), w.due.silent())
		}
		// From when the second was about to be slow: what leases have left is short.
		until := began.Add(w.slow/2 + hush)
		time.Sleep(time.Until(until.Add(-100 * time.Millisecond)))
		if !w.due.silent() {
			t.Errorf("not silent any more %v after the second slow write was half through, want so for %v", hush-100*time.Millisecond, hush)
		}
		time.Sleep(time.Until(until.Add(100 * time.Millisecond)))
		if w.due.silent() {
			t.Errorf("still silent %v after the second slow write was half through, want so for %v", hush+100*time.Millisecond, hush)
		}
		time.Sleep(2 * hush)
		if slowly(t, w, w.slow); w.due.silent() {
			t.Error("silent after a write that was slow long after it led")
		}
	})
}

// A process that was stopped in the middle of a write has not waited for its disk.
func TestAStoppedProcessDoesNotBlameItsDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		thawed := make(chan struct{})
		slow := &slowStore{LogStore: raft.NewInmemStore()}
		w, fatal := timed(t, slow, func(context.Context) error {
			<-thawed
			return nil
		})
		slow.delay.Store(int64(time.Minute + time.Millisecond)) // back just after the process goes on
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = w.StoreLogs([]*raft.Log{{Index: 1}})
		}()
		time.Sleep(time.Minute)
		close(thawed)
		synctest.Wait()
		if w.due.is() {
			t.Error("the write counts as overdue at the thaw")
		}
		<-done
		select {
		case err := <-fatal:
			t.Errorf("the process is to end: %v", err)
		default:
		}
	})
}

// TestDiskOfLeader: a leader whose disk hangs makes room for another, knows it, and is
// reported when it goes on; one whose disk fails steps down.
func TestDiskOfLeader(t *testing.T) {
	for _, hang := range []bool{true, false} {
		name := "fails"
		if hang {
			name = "hangs"
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestClusterOn(t, 3, 500*time.Millisecond, func(s Stores) Stores {
					s.Log = &slowStore{LogStore: s.Log}
					return s
				})
				defer c.close()
				l := c.leader("")
				disk := l.stores.Log.(*slowStore)
				if !hang {
					disk.fail.Store(true)
					if err := c.apply(l, "x"); !errors.Is(err, ErrUnknownOutcome) {
						t.Errorf("Apply with a failing disk: %v, want ErrUnknownOutcome", err)
					}
					c.until(5*time.Second, "the leader steps down", func() bool { return !l.node.IsLeader() })
					disk.fail.Store(false)
					c.leader("")
					return
				}
				disk.delay.Store(int64(25 * time.Second))
				began := time.Now()
				go func() { _ = c.apply(l, "x") }()
				next := c.leader(l.name)
				if took := time.Since(began); took > 4*time.Second {
					t.Errorf("another leads after %v, want a second and an election", took)
				}
				c.until(time.Second, "the host whose disk hangs knows who leads", func() bool { return l.node.Leader() == next.name })
				err := <-l.node.Fatal()
				if took := time.Since(began); took > 11*time.Second {
					t.Errorf("reported after %v: %v", took, err)
				}
				c.kill(l)
				c.leader(l.name)
			})
		})
	}
}
