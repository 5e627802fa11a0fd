package master

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// fakeFencer switches hosts off after a while, or fails to.
type fakeFencer struct {
	takes time.Duration
	fails error
	now   func() time.Duration

	mu    sync.Mutex // guards what follows; never held while waiting
	used  []string
	mends bool // it does not fail any more
}

func (f *fakeFencer) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mends = true
}

func (f *fakeFencer) note(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used = append(f.used, what)
}

func (f *fakeFencer) all() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.used, ", ")
}

func (f *fakeFencer) Off(ctx context.Context, _ *config.Policy, host string) (time.Duration, string, error) {
	f.note("off " + host)
	select {
	case <-ctx.Done():
		return 0, "", ctx.Err()
	case <-time.After(f.takes):
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mends {
		return f.now(), "bmc says that the power is off", nil
	}
	return f.now(), "bmc says that the power is off", f.fails
}

func (f *fakeFencer) On(_ context.Context, _ *config.Policy, host string) error {
	f.note("on " + host)
	return nil
}

// fenced is a bubble in which b has a fence device.
func fenced(t *testing.T, f *fakeFencer, test func(r *rig)) {
	bubble(t, func(r *rig) {
		synctest.Wait() // the office reads what is set here
		f.now = r.now
		r.policy = waitTrusted()
		r.policy.Hosts = map[string]config.HostRule{"b": {Fence: [][]string{{"bmc"}}}}
		r.cfg.Fencer = f
		r.beating(10*time.Second, "a", "b", "c")
		test(r)
	})
}

// deadAfter lets b be silent, at most for d, and returns how long it took to be declared dead.
func (r *rig) deadAfter(d time.Duration) time.Duration {
	began := time.Now()
	for time.Since(began) < d && r.state().Hosts["b"].Status == fsm.HostLive {
		r.beating(100*time.Millisecond, "a", "c")
	}
	return time.Since(began)
}

// The proof that a host is off replaces the wait, but not the drain; and it is
// sought only once the host's own lease has ended.
func TestFenceDeviceShortensTheWait(t *testing.T) {
	f := &fakeFencer{takes: 2 * time.Second}
	fenced(t, f, func(r *rig) {
		tm := standard(t)
		least := tm.Lease + f.takes + tm.Drain
		if took := r.deadAfter(time.Minute); took < least || took > least+3*time.Second || took >= tm.Wait() {
			t.Errorf("dead after %v; want the lease, the device and the drain (%v), and less than the wait (%v)", took, least, tm.Wait())
		}
		r.beating(time.Second, "a", "c")
		if f.all() != "off b, on b" {
			t.Errorf("the devices were used: %s; want b switched off once, and on again after its death was committed", f.all())
		}
		if ev := r.state().Hosts["b"].Evidence; len(ev) == 0 || !strings.Contains(ev[len(ev)-1].Value, "power is off") {
			t.Errorf("the evidence is %+v; want what the device said", ev)
		}
	})
}

// A device that does not answer holds up nothing.
func TestFenceDeviceThatFailsLeavesTheWait(t *testing.T) {
	for name, f := range map[string]*fakeFencer{
		"fails": {takes: time.Second, fails: errors.New("no route to the controller")},
		"hangs": {takes: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			fenced(t, f, func(r *rig) {
				tm := standard(t)
				if took := r.deadAfter(time.Minute); took < tm.Wait()-2*time.Second || took > tm.MemberBound()+time.Second {
					t.Errorf("dead after %v, want the ordinary wait (%v)", took, tm.MemberBound())
				}
				if strings.Contains(f.all(), "on b") {
					t.Errorf("the devices were used: %s; a host that was not proven off is not switched on", f.all())
				}
			})
		})
	}
}

// A host that is heard while its device is at work was not off: the proof is worth nothing.
func TestFenceProofAgainstAHeartbeat(t *testing.T) {
	f := &fakeFencer{takes: 2 * time.Second}
	fenced(t, f, func(r *rig) {
		for f.all() == "" {
			r.beating(100*time.Millisecond, "a", "c")
		}
		r.beating(f.takes+time.Second, "a", "b", "c")
		tm := standard(t)
		if took, least := r.deadAfter(time.Minute), tm.Lease+f.takes+tm.Drain; took < least {
			t.Errorf("silent again, dead after %v; want a new lease's end and a new proof (%v)", took, least)
		}
		if !strings.HasPrefix(f.all(), "off b, off b") {
			t.Errorf("the devices were used: %s; want b switched off anew", f.all())
		}
	})
}

// A host without devices, and the master's own, are waited out.
func TestNoFenceDevice(t *testing.T) {
	f := &fakeFencer{takes: time.Second}
	fenced(t, f, func(r *rig) {
		r.policy.Hosts = nil
		r.deadAfter(time.Minute)
		if f.all() != "" {
			t.Errorf("the devices were used: %s", f.all())
		}
	})
}
