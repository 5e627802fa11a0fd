package reach

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// errSilent is a request that nobody answered in time.
var errSilent = errors.New("no answer")

// ask sends a request to one address each interval, until ctx ends, and keeps answer.
func (r *Reach) ask(ctx context.Context, addr netip.Addr, answer *Answer) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		next.Reset(r.cfg.Interval)
		sent := r.cfg.Now() // before it is sent: an answer proves no more than that
		err := r.echo(ctx, addr, r.cfg.Timeout)
		if ctx.Err() != nil {
			return
		}
		if r.note(addr, answer, sent, err) {
			r.changed()
		}
	}
}

// note keeps what became of a request, and says whether that is news.
func (r *Reach) note(addr netip.Addr, answer *Answer, sent time.Duration, err error) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := *answer
	switch {
	case err == nil:
		answer.Asked, answer.Replied, answer.Trouble = true, sent, ""
	case errors.Is(err, errSilent):
		answer.Asked, answer.Trouble = true, ""
	default:
		answer.Trouble = err.Error()
	}
	if answer.Trouble != before.Trouble && answer.Trouble != "" {
		r.cfg.Log.Debug("an address cannot be asked", "address", addr, "error", err)
	}
	bound := r.cfg.Bound()
	silent := before.Replied < 0 || sent-before.Replied > bound
	return answer.Asked != before.Asked || answer.Trouble != before.Trouble ||
		err == nil && silent || err != nil && !silent && r.cfg.Now()-before.Replied > bound
}
