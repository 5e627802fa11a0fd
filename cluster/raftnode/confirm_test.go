package raftnode

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// barriers is a fake log: each proof takes a second, and it notes when each began.
type barriers struct {
	mu    sync.Mutex
	began []time.Time
	err   error
}

func (b *barriers) prove() error {
	b.mu.Lock()
	b.began = append(b.began, time.Now())
	err := b.err
	b.mu.Unlock()
	time.Sleep(time.Second)
	return err
}

func TestConfirmSharesOnlyLaterProofs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &barriers{}
		var running sync.WaitGroup
		c := &confirmer{prove: log.prove}
		begin := func(f func()) bool { running.Go(f); return true }
		start := time.Now()
		var mu sync.Mutex
		ended := map[time.Duration]time.Duration{} // by moment of the call
		var calls sync.WaitGroup
		call := func(at time.Duration) {
			calls.Go(func() {
				time.Sleep(time.Until(start.Add(at)))
				if err := c.confirm(t.Context(), begin); err != nil {
					t.Errorf("call at %v: %v", at, err)
				}
				mu.Lock()
				ended[at] = time.Since(start)
				mu.Unlock()
			})
		}
		// The first call begins a proof at 0; those within it share the next, at 1 s;
		// the one within that has one of its own, at 2 s.
		at := []time.Duration{0, 100 * time.Millisecond, 500 * time.Millisecond, 999 * time.Millisecond, 1500 * time.Millisecond}
		for _, d := range at {
			call(d)
		}
		calls.Wait()
		running.Wait()
		want := map[time.Duration]time.Duration{at[0]: time.Second, at[1]: 2 * time.Second, at[2]: 2 * time.Second, at[3]: 2 * time.Second, at[4]: 3 * time.Second}
		for d, w := range want {
			if ended[d] != w {
				t.Errorf("call at %v ended at %v, want %v", d, ended[d], w)
			}
		}
		if len(log.began) != 3 {
			t.Errorf("%d barriers for 5 calls, want 3", len(log.began))
		}
	})
}

func TestConfirmFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		log := &barriers{err: broken}
		var running sync.WaitGroup
		c := &confirmer{prove: log.prove}
		begin := func(f func()) bool { running.Go(f); return true }
		if err := c.confirm(t.Context(), begin); !errors.Is(err, broken) {
			t.Errorf("confirm: %v, want the error of the proof", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := c.confirm(ctx, begin); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("confirm: %v, want the end of its context", err)
		}
		running.Wait()
		if err := c.confirm(t.Context(), func(func()) bool { return false }); !errors.Is(err, ErrShutdown) {
			t.Errorf("confirm: %v, want ErrShutdown", err)
		}
		log.err = nil
		if err := c.confirm(t.Context(), begin); err != nil {
			t.Errorf("confirm after failures: %v", err)
		}
		running.Wait()
	})
}
