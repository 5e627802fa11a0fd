package embedded

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-ha/holdfast/vmm"
)

// backlog is how many events a subscriber may be behind before its subscription
// is dropped, as a daemon drops a client that does not read.
const backlog = 4096

// subscription is one open channel of events. Its host's mutex guards it.
type subscription struct {
	ch     chan vmm.Event
	closed bool
	stop   func() bool // lets go of the context
}

// Subscribe delivers events until ctx ends, the daemon goes away or Close.
// While the daemon hangs, events are lost.
func (h *Host) Subscribe(ctx context.Context) (<-chan vmm.Event, error) {
	if err := h.enter(ctx); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	defer h.unlock()
	s := &subscription{ch: make(chan vmm.Event, backlog)}
	s.stop = context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.unlock()
		h.drop(s)
	})
	h.subs = append(h.subs, s)
	return s.ch, nil
}

// emit tells every subscriber what happened to a domain. Needs h.mu.
func (h *Host) emit(d *domain, kind vmm.EventKind) {
	if h.answers != answering {
		return
	}
	ev := vmm.Event{UUID: d.UUID, Name: d.Name, Kind: kind}
	if kind == vmm.EventStopped || kind == vmm.EventPaused {
		ev.Reason = d.reason
	}
	for _, s := range slices.Clone(h.subs) {
		select {
		case s.ch <- ev:
		default:
			h.drop(s)
		}
	}
}

// drop closes one subscription. Needs h.mu.
func (h *Host) drop(s *subscription) {
	if s.closed {
		return
	}
	s.closed = true
	s.stop()
	close(s.ch)
	h.subs = slices.DeleteFunc(h.subs, func(o *subscription) bool { return o == s })
}

// dropSubscriptions closes all of them. Needs h.mu.
func (h *Host) dropSubscriptions() {
	for _, s := range slices.Clone(h.subs) {
		h.drop(s)
	}
}
