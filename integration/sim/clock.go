package sim

import (
	"sync"
	"time"
)

// clock is one host's boot clock: it runs at a rate of its own, is never
// stepped, and begins anew when the host is switched on.
type clock struct {
	mu   sync.Mutex
	at   time.Time     // when it last read base
	base time.Duration // what it read then
	rate float64
	// changed is closed and replaced when the rate changes.
	changed chan struct{}
}

// bootTime is what a boot clock reads when the agent's machine has come up: a
// reading of zero means "never" in too many places to be a moment.
const bootTime = 10 * time.Second

func newClock(rate float64) *clock {
	if rate == 0 {
		rate = 1
	}
	return &clock{at: time.Now(), base: bootTime, rate: rate, changed: make(chan struct{})}
}

// now reads the clock.
func (c *clock) now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read()
}

func (c *clock) read() time.Duration {
	return c.base + time.Duration(float64(time.Since(c.at))*c.rate)
}

// reboot begins anew.
func (c *clock) reboot() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.base = time.Now(), bootTime
	c.notify()
}

// setRate changes how fast the clock runs from now on.
func (c *clock) setRate(rate float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.at, c.rate = c.read(), time.Now(), rate
	c.notify()
}

func (c *clock) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// until is how much time passes outside before the clock reads at, and a channel
// that is closed when that is no longer true.
func (c *clock) until(at time.Duration) (time.Duration, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := float64(at-c.read()) / c.rate
	return max(0, time.Duration(left)+1), c.changed
}
