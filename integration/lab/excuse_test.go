package lab

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// An excuse needs a machine that hesitated in the time in question: on a quiet one there is none.
func TestProber(t *testing.T) {
	timing, _ := lease.Profile("fast")
	for _, tt := range []struct {
		name   string
		took   time.Duration // one write, 10 s after the beginning
		err    error
		from   time.Duration // since when it is asked, after the beginning
		beyond bool
	}{
		{name: "a quiet machine", took: 5 * time.Millisecond},
		{name: "as long as the profile tolerates", took: timing.YieldAfter()},
		{name: "longer", took: timing.YieldAfter() + 10*time.Millisecond, beyond: true},
		{name: "longer, but before", took: time.Second, from: 12 * time.Second},
		{name: "longer, and ended in the time in question", took: 4 * time.Second, from: 12 * time.Second, beyond: true},
		{name: "longer, and under way", took: time.Minute, from: 12 * time.Second, beyond: true},
		{name: "longer, and failed", took: time.Second, err: errors.New("no space left on device")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				p := &prober{stop: make(chan struct{}), ended: make(chan struct{})}
				done := false
				go func() {
					defer close(p.ended)
					p.run(func() error {
						if done || time.Since(began) < 10*time.Second {
							return nil
						}
						done = true
						time.Sleep(tt.took)
						return tt.err
					})
				}()
				time.Sleep(20 * time.Second)
				if h := p.since(began.Add(tt.from)); h.beyond(timing) != tt.beyond {
					t.Errorf("%v; beyond what the profile tolerates, %v: %v, want %v", h, timing.YieldAfter(), h.beyond(timing), tt.beyond)
				}
				p.end()
			})
		})
	}
}
