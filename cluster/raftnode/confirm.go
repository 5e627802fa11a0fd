package raftnode

import (
	"context"
	"fmt"
	"sync"
)

// confirmer shares proofs of leadership: one barrier serves every call made
// before it began. A call made while a barrier is under way waits for the next,
// because an entry that was begun before the call proves nothing about now.
type confirmer struct {
	// prove commits an entry and returns when it is committed or has failed. It
	// must end by itself.
	prove func() error

	mu   sync.Mutex
	next *proof // the one that has not begun; nil when nobody waits for one
	busy bool   // a goroutine is proving
}

type proof struct {
	done chan struct{}
	err  error // valid once done is closed
}

// confirm returns once a proof that began after the call has ended, or ctx has.
// begin starts a function on a goroutine that the caller of prove waits for; it
// returns false when none may be started any more.
func (c *confirmer) confirm(ctx context.Context, begin func(func()) bool) error {
	c.mu.Lock()
	p := c.next
	if p == nil {
		p = &proof{done: make(chan struct{})}
		c.next = p
	}
	if !c.busy {
		if !begin(c.run) {
			c.next = nil
			c.mu.Unlock()
			return ErrShutdown
		}
		c.busy = true
	}
	c.mu.Unlock()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("confirm leadership: %w", ctx.Err())
	}
}

// run proves until nobody waits.
func (c *confirmer) run() {
	for {
		c.mu.Lock()
		p := c.next
		c.next = nil
		if p == nil {
			c.busy = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		p.err = c.prove()
		close(p.done)
	}
}
