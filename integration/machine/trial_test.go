package machine

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
)

// trial is one attempt at something. It fails as a test does, but what that means is
// decided when it is known whether the machines had time for what was asked of them.
type trial struct {
	t *testing.T

	mu     sync.Mutex // guards what follows
	failed []string
}

// try makes an attempt and returns what failed in it.
func try(t *testing.T, f func(*trial)) []string {
	x := &trial{t: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(x)
	}()
	<-done
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failed
}

// Helper is testing.T's; what fails is told in one place all the same.
func (x *trial) Helper() {}

// Logf is testing.T's.
func (x *trial) Logf(format string, args ...any) { x.t.Logf(format, args...) }

// Errorf notes that the attempt has failed.
func (x *trial) Errorf(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failed = append(x.failed, fmt.Sprintf(format, args...))
}

// Error is Errorf of one value.
func (x *trial) Error(v any) { x.Errorf("%v", v) }

// Fatal ends the attempt; it runs on the goroutine of try.
func (x *trial) Fatal(v any) { x.Fatalf("%v", v) }

// Fatalf is Fatal with words.
func (x *trial) Fatalf(format string, args ...any) {
	x.Errorf(format, args...)
	runtime.Goexit()
}

// judged runs something that needs time, and once more if it failed while the computer
// of this world kept it from its machines. If that happens again nothing is judged, which
// is said and no failure: but two writers are always one.
func judged(t *testing.T, w *World, f func(*trial)) {
	t.Helper()
	for attempt := 1; ; attempt++ {
		end := w.Starving()
		failed := try(t, f)
		starved := end()
		t.Logf("%v", starved)
		if err := w.watch.verdict(); err != nil {
			t.Error(err)
			return
		}
		switch {
		case len(failed) == 0:
			return
		case !starved.TooMuch():
			for _, text := range failed {
				t.Error(text)
			}
			return
		}
		if err := w.Restore(); err != nil {
			t.Errorf("cannot undo the faults: %v", err)
			return
		}
		if attempt == 2 {
			t.Skipf("NOT JUDGED: this computer has kept the machines from running, twice: %v; what failed: %q", starved, failed)
		}
		t.Logf("once more, as this computer has kept the machines from running; what failed: %q", failed)
	}
}

// timeFor ends a test that cannot end in time any more, so that all is tidied up before
// the limit of the whole.
func timeFor(t *testing.T, most time.Duration) {
	t.Helper()
	if end, ok := t.Deadline(); ok && time.Until(end) < most {
		t.Skipf("NOT RUN: it may take %v, and %v are left of the time for all", most, time.Until(end).Round(time.Second))
	}
}

// steady waits until the cluster is settled and stays so, under one master.
func steady(ctx context.Context, w *World) error {
	const looks = 3
	var master string
	same := 0
	return Until(ctx, "the cluster is settled and stays so", func() (bool, string) {
		st, err := w.Status(w.Hosts...)
		if err != nil {
			same = 0
			return false, err.Error()
		}
		office := fmt.Sprint(st.Master, " since ", st.MasterSince)
		if !w.settled(st) || office != master {
			same, master = 0, office
		} else {
			same++
		}
		return same >= looks, fmt.Sprintf("%s, settled in %d looks in a row: %+v", office, same, st)
	})
}
