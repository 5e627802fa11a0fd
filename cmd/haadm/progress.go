package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// moveEvent reports whether an event is about a VM that goes, comes, or cannot.
func moveEvent(e api.EventView) bool {
	return slices.Contains([]string{fsm.EventVMMoveOrdered, fsm.EventVMMoved, fsm.EventVMMoveFailed,
		fsm.EventVMStartFailed, fsm.EventVMStopped, fsm.EventVMNoHost, fsm.EventVMStarted}, e.Type)
}

// lastEvent is the number of the newest event.
func (p *program) lastEvent(ctx context.Context, client *api.Client) (uint64, error) {
	l, err := client.Events(ctx, api.EventFilter{Limit: 1})
	if err != nil || len(l.Events) == 0 {
		return 0, err
	}
	return l.Events[len(l.Events)-1].ID, nil
}

// teller shows what happens while a command waits, each event once.
type teller struct {
	p     *program
	after uint64
	match func(api.EventView) bool
	seen  []api.EventView // that matched
}

// more shows what has happened since. That it cannot be asked for now is no failure: the
// wait that it belongs to finds out as well.
func (t *teller) more(ctx context.Context, client *api.Client) {
	l, err := client.Events(ctx, api.EventFilter{After: t.after})
	if err != nil {
		return
	}
	for _, e := range l.Events {
		t.after = max(t.after, e.ID)
		if !t.match(e) {
			continue
		}
		t.seen = append(t.seen, e)
		for _, line := range t.p.wrapped("  "+e.At.In(t.p.zone).Format("15:04:05")+"  ", e.Text) {
			fmt.Fprintln(t.p.stderr, line)
		}
	}
}

// until looks until done says that there is no more to wait for. A look that fails because
// of a change of master or of an agent that is restarted is tried again; others end the wait.
func (p *program) until(ctx context.Context, timeout time.Duration, done func(context.Context) (bool, error)) error {
	var late <-chan time.Time
	if timeout > 0 {
		late = time.After(timeout)
	}
	for {
		look, cancel := context.WithTimeout(ctx, lookTimeout)
		end, err := done(look)
		cancel()
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("interrupted")
		case err != nil && (exitStatus(err) == exitNotAllowed || exitStatus(err) == exitRefused):
			return err
		case err == nil && end:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("interrupted")
		case <-late:
			if err != nil {
				return fmt.Errorf("not within %s: %s", span(timeout), strings.TrimPrefix(p.explain(err), "haadm: "))
			}
			return nil // what is missing is in what was looked at last
		case <-time.After(waitPoll):
		}
	}
}
