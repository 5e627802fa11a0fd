package device

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/config"
)

// Level is a set of devices that switch a host off together, such as one switch
// for each of its power supplies.
type Level []*Device

// Levels are the ways to switch one host off, in the order in which they are tried.
type Levels []Level

// Levels are the ways to switch that host off by the policy; none when it has none.
// A level of which a device cannot be used here is left out as a whole, since the
// rest of it would prove nothing; the error says which and why.
func (r *Runner) Levels(p *config.Policy, host string) (Levels, error) {
	var levels Levels
	var errs []error
	for _, names := range p.Hosts[host].Fence {
		var level Level
		for _, name := range names {
			d, err := r.Device(name, p.Fences[name])
			if err != nil {
				errs = append(errs, err)
				continue
			}
			level = append(level, d)
		}
		if len(level) == len(names) {
			levels = append(levels, level)
		}
	}
	return levels, errors.Join(errs...)
}

// Devices lists the devices of all levels.
func (l Levels) Devices() []*Device {
	var list []*Device
	for _, level := range l {
		list = append(list, level...)
	}
	return list
}

// Result is what became of switching a host off. Its zero value is: not confirmed.
type Result struct {
	// Confirmed says that the host's power is off, proven. Nothing else counts.
	Confirmed bool `json:"confirmed"`
	// At is the boot clock, of the host that ran this, by which the power was off.
	// What the host had sent to its storage before can still be on the way then.
	At time.Duration `json:"at,omitempty"`
	// Evidence says in one sentence why it is confirmed, or why not.
	Evidence string `json:"evidence"`
	// Tries is everything that was tried, level by level.
	Tries []Try `json:"tries"`
}

// Bound is the longest that Off can take.
func (l Levels) Bound() time.Duration {
	var sum time.Duration
	for _, level := range l {
		var longest time.Duration
		for _, d := range level {
			longest = max(longest, d.Bound())
		}
		sum += longest
	}
	return sum
}

// Off tries one level after the other until one has switched the host off. A
// level has when every device of it is verified off; they are used at the same
// time, so the slowest counts. Off ends by its Bound, or shortly after ctx.
func (l Levels) Off(ctx context.Context) Result {
	var r Result
	for i, level := range l {
		if ctx.Err() != nil {
			break
		}
		done, at := level.off(ctx, i+1, &r)
		if done {
			var by []string
			for _, t := range r.Tries {
				if t.Done && t.Level == i+1 {
					by = append(by, t.Text)
				}
			}
			r.Confirmed, r.At, r.Evidence = true, at, strings.Join(by, "; and ")
			return r
		}
	}
	r.Evidence = r.why(ctx, len(l))
	return r
}

// off uses all devices of a level at once.
func (level Level) off(ctx context.Context, number int, r *Result) (done bool, at time.Duration) {
	type outcome struct {
		tries []Try
		at    time.Duration
	}
	outcomes := make([]outcome, len(level))
	var all sync.WaitGroup
	for i, d := range level {
		all.Go(func() { outcomes[i].tries, outcomes[i].at = d.Off(ctx) })
	}
	all.Wait() // each ends by its own bound
	done = len(level) > 0
	for _, o := range outcomes {
		for _, t := range o.tries {
			t.Level = number
			r.Tries = append(r.Tries, t)
		}
		done = done && len(o.tries) > 0 && o.tries[len(o.tries)-1].Done
		at = max(at, o.at)
	}
	return done, at
}

// why says why a host is not confirmed off: the last try of each device, and what
// was switched off in vain.
func (r *Result) why(ctx context.Context, levels int) string {
	if levels == 0 {
		return "not confirmed: the host has no fence device"
	}
	last := map[string]int{}
	for i, t := range r.Tries {
		last[fmt.Sprint(t.Level, t.Device)] = i
	}
	var parts []string
	for i, t := range r.Tries {
		if last[fmt.Sprint(t.Level, t.Device)] != i {
			continue
		}
		if t.Done {
			parts = append(parts, t.Text+" (it stays off, but that alone is not the host's power)")
		} else {
			parts = append(parts, t.Text)
		}
	}
	if err := context.Cause(ctx); err != nil {
		parts = append(parts, fmt.Sprintf("ended early: %v", err))
	}
	return "not confirmed: " + strings.Join(parts, "; ")
}

// On switches every device of all levels on, the last level first: a controller
// has no power while the switch before it is off. The error names each device that
// did not come on. may is asked before each try, as of Device.On.
func (l Levels) On(ctx context.Context, may func() error) error {
	var errs []error
	for i := len(l) - 1; i >= 0; i-- {
		for _, d := range l[i] {
			if tries, _ := d.On(ctx, may); !tries[len(tries)-1].Done {
				errs = append(errs, errors.New(tries[len(tries)-1].Text))
			}
		}
	}
	return errors.Join(errs...)
}
