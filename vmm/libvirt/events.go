package libvirt

import (
	"context"
	"fmt"
	"time"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/holdfast-ha/holdfast/vmm"
)

// subscribeTimeout bounds setting a subscription up, since its context lives as
// long as the subscription.
const subscribeTimeout = 10 * time.Second

// Subscribe delivers lifecycle events over a connection of its own. The channel
// closes when that connection is lost, ctx ends or Close is called. Whoever does
// not read delays nobody else.
func (d *Driver) Subscribe(ctx context.Context) (<-chan vmm.Event, error) {
	setup, cancel := context.WithTimeout(ctx, subscribeTimeout)
	defer cancel()
	c, err := d.pool.get(setup)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	registered := make(chan error, 1)
	out := make(chan vmm.Event, 64)
	go func() {
		defer d.pool.running.Done()
		defer close(out)
		// The library is never told to end a stream: an event that comes at that
		// moment would block its reader. The connection is closed instead.
		events, err := c.rpc.LifecycleEvents(context.WithoutCancel(ctx))
		registered <- err
		if err == nil {
			d.forward(ctx, c, events, out)
		}
	}()
	select {
	case err = <-registered:
	case <-setup.Done():
		err = setup.Err()
	}
	if err != nil {
		d.pool.discard(c)
		return nil, fmt.Errorf("subscribe: %w: %w", vmm.ErrUnavailable, err)
	}
	return out, nil
}

// forward passes events on until ctx or the connection ends, and then reads what
// is left, for the library waits until it is read.
func (d *Driver) forward(ctx context.Context, c *conn, in <-chan rpc.DomainEventLifecycleMsg, out chan<- vmm.Event) {
	defer func() {
		d.pool.discard(c)
		for range in {
		}
	}()
	for {
		select {
		case m, ok := <-in:
			if !ok {
				return
			}
			ev, ok := eventOf(m)
			if !ok {
				continue
			}
			select {
			case out <- ev:
			case <-c.socket.over:
				return
			case <-ctx.Done():
				return
			}
		case <-c.socket.over:
			return
		case <-ctx.Done():
			return
		}
	}
}
