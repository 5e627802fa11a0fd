package reach

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// system is the kernel, as far as this package asks it.
type system interface {
	// look reads gateways, and the link of each of this host's addresses; Since and Gone are not its to say.
	look(networks map[string]netip.Addr) (view, error)
	// subscribe calls notify whenever something may have changed, from other goroutines,
	// until closed. ended is closed when no more would come. It is to be closed also then.
	subscribe(notify func()) (ended <-chan struct{}, closed func(), err error)
}

// view is one reading of the kernel's tables.
type view struct {
	gateways []Gateway
	links    map[string]Link
}

const (
	// settle is how long changes are collected before the tables are read: they come in swarms.
	settle = 100 * time.Millisecond
	// again is the wait after an error.
	again = time.Second
	// anyway is how often the tables are read although nobody said that they changed.
	anyway = 30 * time.Second
)

// follow keeps gateways and links until ctx ends.
func (r *Reach) follow(ctx context.Context) {
	for ctx.Err() == nil {
		notice := make(chan struct{}, 1)
		notify := func() {
			select {
			case notice <- struct{}{}:
			default:
			}
		}
		ended, closed, err := r.system.subscribe(notify)
		if err != nil {
			r.failed("subscribe to changes of links and routes", err)
			sleep(ctx, again)
			continue
		}
		r.readWhile(ctx, notice, ended)
		closed()
	}
}

// readWhile reads the tables now and after each notice, until the subscription has ended.
func (r *Reach) readWhile(ctx context.Context, notice, ended <-chan struct{}) {
	for {
		pause := anyway
		if v, err := r.system.look(r.cfg.Networks); err != nil {
			r.failed("read links and routes", err)
			pause = again
		} else if r.take(v) {
			r.rouse()
			r.changed()
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-notice:
			sleep(ctx, settle)
		case <-ended:
			sleep(ctx, again) // what ended it once may do so at once
		}
		timer.Stop()
		select {
		case <-ctx.Done():
			return
		case <-ended:
			return
		default:
		}
	}
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// failed keeps why the tables cannot be followed.
func (r *Reach) failed(what string, err error) {
	trouble := what + ": " + err.Error()
	r.mu.Lock()
	news := r.trouble != trouble
	r.trouble = trouble
	r.mu.Unlock()
	if news {
		r.cfg.Log.Warn("cannot follow links and routes", "error", trouble)
		r.changed()
	}
}

// take keeps a reading, and says whether that is news.
func (r *Reach) take(v view) (news bool) {
	now := r.cfg.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble != "" {
		r.trouble, news = "", true
	}
	if gateways := withGone(r.gateways, v.gateways); !slices.Equal(gateways, r.gateways) {
		r.gateways, news = gateways, true
		r.cfg.Log.Info("default gateways changed", "gateways", gateways)
	}
	for name, before := range r.links {
		l := v.links[name]
		if l.Interface == "" {
			l.Interface = before.Interface
		}
		l.Since = before.Since
		if l != before {
			l.Since = now
			r.links[name], news = l, true
			r.cfg.Log.Info("link changed", "network", name, "interface", l.Interface, "address_held", l.Held, "up", l.Up, "carrier", l.Carrier)
		}
	}
	return news
}

// withGone adds the gateways that were there before to those that are, if none of
// their family is left.
func withGone(before, now []Gateway) []Gateway {
	all := slices.Clone(now)
	for _, g := range before {
		if !slices.ContainsFunc(now, func(n Gateway) bool { return n.Addr.Is4() == g.Addr.Is4() }) {
			g.Gone = true
			all = append(all, g)
		}
	}
	return all
}
