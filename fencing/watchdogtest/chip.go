// Package watchdogtest is a watchdog in memory, for tests and for the simulation.
// It keeps the kernel's rules about opening and closing, runs on a clock that is
// handed to it, and resets nobody: it says when it would have. It is never part of
// a program.
package watchdogtest

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/fencing"
)

// ErrFired is what a chip says that has reset its host already.
var ErrFired = errors.New("the watchdog has fired")

// Chip is one watchdog. Its settings are for the one who made it to change while
// nobody uses it; the methods may be called from anywhere.
type Chip struct {
	// Slow is by what share the chip's clock is slow: 0.05 fires 5 % late.
	Slow float64
	// Fragile drivers stop the timer at any close; they know no magic letter.
	Fragile bool
	// NoWayOut drivers never stop the timer.
	NoWayOut bool
	// Refuse is what opening says; nil opens.
	Refuse error
	// Before is called before the chip does what it was asked to (arm, pet, close,
	// release), without any lock held: a test freezes the holder in it.
	Before func(what string)

	clock   func() time.Duration
	timeout time.Duration

	mu      sync.Mutex
	open    bool
	running bool
	lost    bool // the device is gone, and its timer with it
	deaf    bool // the device takes no orders; its timer runs on
	petted  time.Duration
}

var _ fencing.Watchdog = (*Chip)(nil)

// New makes a chip that is not running. clock is the true time that its own
// oscillator goes by, not the host's boot clock with its errors.
func New(timeout time.Duration, clock func() time.Duration) *Chip {
	return &Chip{timeout: timeout, clock: clock}
}

// FiresAt is when the chip resets its host if nobody pets it; ok is false while
// it does not run. The one who plays the host looks at it and pulls the plug.
func (c *Chip) FiresAt() (at time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.firesAt(), c.running
}

func (c *Chip) firesAt() time.Duration {
	return c.petted + c.timeout + time.Duration(c.Slow*float64(c.timeout))
}

// Reboot is power-on: the chip stands still and nobody holds it.
func (c *Chip) Reboot() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open, c.running = false, false
}

// Lose takes the device away, and its timer with it, as a driver that goes does.
func (c *Chip) Lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost, c.open, c.running = true, false, false
}

// Ignore has the device take no orders any more, pets among them. What runs runs on.
func (c *Chip) Ignore() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = true
}

// Mend undoes Lose and Ignore.
func (c *Chip) Mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost, c.deaf = false, false
}

// HolderDies is what the kernel does for a holder that is killed: it closes, and pets.
func (c *Chip) HolderDies() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close()
}

// Open reports whether somebody holds the device.
func (c *Chip) Open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// do runs f under the lock unless the chip has fired.
func (c *Chip) do(what string, f func() error) error {
	if c.Before != nil {
		c.Before(what)
	}
	now := c.clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.lost:
		return unix.ENODEV
	case c.deaf:
		return unix.EIO
	case c.running && now >= c.firesAt():
		return ErrFired
	}
	return f()
}

// Arm opens the device.
func (c *Chip) Arm() error {
	return c.do("arm", func() error {
		if c.Refuse != nil {
			return c.Refuse
		}
		c.open, c.running, c.petted = true, true, c.clock()
		return nil
	})
}

// Pet starts the timer anew.
func (c *Chip) Pet() error {
	return c.do("pet", func() error {
		if !c.open {
			return errors.New("pet a watchdog that is not open")
		}
		c.petted = c.clock()
		return nil
	})
}

// CloseHard closes without the magic letter.
func (c *Chip) CloseHard() error {
	return c.do("close", func() error {
		c.close()
		return nil
	})
}

func (c *Chip) close() {
	if !c.open {
		return
	}
	c.open = false
	if c.Fragile && !c.NoWayOut {
		c.running = false
		return
	}
	c.petted = c.clock()
}

// Release stops the timer, where that can be, and closes.
func (c *Chip) Release() error {
	return c.do("release", func() error {
		if c.NoWayOut {
			return fencing.ErrNoWayOut
		}
		c.open, c.running = false, false
		return nil
	})
}

// Timeout is what the chip was made with.
func (c *Chip) Timeout() time.Duration { return c.timeout }

// Enduring reports whether it goes on when its holder dies.
func (c *Chip) Enduring() bool { return !c.Fragile || c.NoWayOut }
