package lease

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Timing is every duration that safety or detection depends on. It belongs to
// the cluster: hosts with different timings must not share a lease.
type Timing struct {
	// Profile names the set of defaults this was made from: fast, standard or patient.
	Profile string `json:"profile"`
	// Heartbeat is the interval between two heartbeats of a host (T_hb).
	Heartbeat time.Duration `json:"heartbeat"`
	// Lease is what one renewal is worth (T_lease).
	Lease time.Duration `json:"lease"`
	// Watchdog is the effective timeout of a host's watchdog (T_wd).
	Watchdog time.Duration `json:"watchdog"`
	// Reset is the time from the watchdog's firing to no more DMA (T_reset).
	Reset time.Duration `json:"reset"`
	// Drain is how long writes of a dead host may stay queued in fabric, array or file server (T_drain).
	Drain time.Duration `json:"drain"`
	// ClockError is the relative error of the rates of two hosts' clocks (rho).
	ClockError float64 `json:"clock_error"`
	// Grain is the scheduling grain added to every wait (epsilon).
	Grain time.Duration `json:"grain"`
	// Election is the raft heartbeat and election timeout.
	Election time.Duration `json:"election"`
}

// latePets is k in the inequality: a frozen guard pets once too late, or the
// kernel does when the guard closes the device.
const latePets = 2

// chipError is phi: a watchdog chip's clock may be this much slow.
const chipError = 0.05

// longest is the most that any duration may be: nothing would be restarted before it ends.
const longest = 10 * time.Minute

// longestDrain is the most for the writes of a dead host, which may sit in an array that is itself recovering.
const longestDrain = time.Hour

// Profiles are the names Profile accepts, fastest first.
var Profiles = []string{"fast", "standard", "patient"}

// Profile returns the defaults of a profile; ok is false for an unknown name.
func Profile(name string) (t Timing, ok bool) {
	switch name {
	case "fast":
		t = Timing{Heartbeat: 250 * time.Millisecond, Lease: 1200 * time.Millisecond, Watchdog: time.Second,
			Reset: 300 * time.Millisecond, Drain: 500 * time.Millisecond, Grain: 200 * time.Millisecond, Election: 250 * time.Millisecond}
	case "standard":
		t = Timing{Heartbeat: time.Second, Lease: 4 * time.Second, Watchdog: 3 * time.Second,
			Reset: 500 * time.Millisecond, Drain: 2 * time.Second, Grain: 500 * time.Millisecond, Election: 500 * time.Millisecond}
	case "patient":
		t = Timing{Heartbeat: 2 * time.Second, Lease: 20 * time.Second, Watchdog: 5 * time.Second,
			Reset: time.Second, Drain: 5 * time.Second, Grain: time.Second, Election: time.Second}
	default:
		return Timing{}, false
	}
	t.Profile, t.ClockError = name, 5e-4
	return t, true
}

// Wait is D: how long after the last permission it could have been given a host
// that was not heard again can no longer run or write anything.
//
//	D >= (T_lease + k*T_wd*(1+phi) + T_reset + T_drain) * (1 + 2*rho) + epsilon
//
// It is rounded up, and 1 + 2*rho is taken as what it is short for: see drift.
func (t Timing) Wait() time.Duration {
	sum := float64(t.Lease) + latePets*float64(t.Watchdog)*(1+chipError) + float64(t.Reset) + float64(t.Drain)
	return time.Duration(math.Ceil(sum*(1+t.drift()))) + t.Grain
}

// LeaseGone is how long after it could last have been renewed a lease has ended
// by its holder's own clock.
func (t Timing) LeaseGone() time.Duration {
	return time.Duration(math.Ceil(float64(t.Lease)*(1+t.drift()))) + t.Grain
}

// DrainGone is how long after a host was proven off nothing that it wrote is on its
// way any more. Nobody has to be scheduled for that, so there is no grain in it.
func (t Timing) DrainGone() time.Duration {
	return time.Duration(math.Ceil(float64(t.Drain) * (1 + t.drift())))
}

// drift is by what share a wait on one clock must be longer than a permission on
// another, when one is slow by rho and the other fast by rho: the exact value of
// 2*rho, which is short by 2 % of the wait at the largest clock error allowed.
func (t Timing) drift() float64 { return 2 * t.ClockError / (1 - t.ClockError) }

// HardEnd is how long after the soft end of its lease a host's VMs may still be
// writing in the worst case that the rest of the cluster counts with.
func (t Timing) HardEnd() time.Duration {
	return time.Duration(latePets*float64(t.Watchdog)*(1+chipError)) + t.Reset
}

// SuspectAfter is the silence after which a master stops acknowledging a host.
func (t Timing) SuspectAfter() time.Duration { return t.Heartbeat + t.Heartbeat/2 }

// StartMargin is the least a lease must leave for a start to be begun (O2): a
// quarter of it, so that one renewed each interval always permits a start and
// one that is running out never does.
func (t Timing) StartMargin() time.Duration { return t.Lease / 4 }

// LeaderLease is raft's leader lease: half of the election timeout, so that an
// old leader steps down before its successor can be elected.
func (t Timing) LeaderLease() time.Duration { return t.Election / 2 }

// YieldAfter is how long a leader waits for a write to its own log before it lets
// another lead: nothing is committed and nobody acknowledged meanwhile. A quarter of
// a lease, or two thirds of what three elections leave of one that was renewed an interval
// ago: the rest is for the heartbeat after them. Never less than a leader waits for a majority.
func (t Timing) YieldAfter() time.Duration {
	return max(min(t.Lease/4, (t.Lease-t.Heartbeat-3*t.Election)*2/3), t.LeaderLease())
}

// SlowAfter is how long a write to a leader's own log takes with which, if each takes so long,
// nobody is acknowledged in time: a heartbeat waits for two of them, the one that was under way
// and its own, and its host waits for the answer for half a lease.
func (t Timing) SlowAfter() time.Duration { return t.Lease / 4 }

// MemberBound is the published bound from a member's death to the order to
// start its VMs elsewhere: one and a half intervals to notice, then D.
func (t Timing) MemberBound() time.Duration { return t.SuspectAfter() + t.Wait() }

// MasterBound is the published bound from the master's own death: an election,
// which takes at most three election timeouts, then D. What a member's silence is
// noticed by runs beside it.
func (t Timing) MasterBound() time.Duration { return 3*t.Election + max(t.Wait(), t.SuspectAfter()) }

// Term is one line of the inequality, for people.
type Term struct {
	Symbol string        `json:"symbol"` // as in docs/safety.md, such as T_lease
	What   string        `json:"what"`   // in words
	Value  time.Duration `json:"value"`  // what it adds to the wait
}

// Terms lists what Wait is the sum of, in the order of the inequality.
func (t Timing) Terms() []Term {
	terms := []Term{
		{"T_lease", "one renewal of a lease", t.Lease},
		{"k*T_wd*(1+phi)", fmt.Sprintf("%d watchdog timeouts of %v, chip clock up to %.0f%% slow", latePets, t.Watchdog, chipError*100), time.Duration(latePets * float64(t.Watchdog) * (1 + chipError))},
		{"T_reset", "from reset to no more DMA", t.Reset},
		{"T_drain", "writes still queued in fabric or array", t.Drain},
	}
	var sum time.Duration
	for _, x := range terms {
		sum += x.Value
	}
	return append(terms,
		Term{"2*rho", fmt.Sprintf("clock rates differ by up to %g each", t.ClockError), time.Duration(math.Ceil(float64(sum) * t.drift()))},
		Term{"epsilon", "scheduling grain", t.Grain})
}

// Validate refuses timings that cannot be safe or cannot work, naming the field,
// its value and what it is measured against.
func (t Timing) Validate() error {
	var bad []string
	need := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Sprintf(format, args...))
		}
	}
	need(t.Heartbeat >= 50*time.Millisecond, "heartbeat_interval is %v, the least is 50ms", t.Heartbeat)
	// The upper bounds also keep every sum far from where a Duration wraps around: D must not become negative.
	need(t.Heartbeat <= longest, "heartbeat_interval is %v, the most is %v", t.Heartbeat, longest)
	need(t.Lease >= 3*t.Heartbeat, "lease is %v, but must outlast three heartbeats (%v): a single lost packet would stop VMs", t.Lease, 3*t.Heartbeat)
	need(t.Watchdog >= time.Second && t.Watchdog%time.Second == 0, "watchdog_timeout is %v, but watchdogs count whole seconds, from 1s", t.Watchdog)
	need(t.Watchdog <= longest, "watchdog_timeout is %v, the most is %v", t.Watchdog, longest)
	need(t.Reset >= 0, "reset_time is %v, it cannot be negative", t.Reset)
	need(t.Reset <= longest, "reset_time is %v, the most is %v", t.Reset, longest)
	need(t.Drain >= 0, "drain_time is %v, it cannot be negative", t.Drain)
	need(t.Drain <= longestDrain, "drain_time is %v, the most is %v", t.Drain, longestDrain)
	need(t.ClockError >= 1e-5 && t.ClockError <= 0.1, "clock_error is %g, allowed is 0.00001 to 0.1", t.ClockError)
	need(t.Grain >= 50*time.Millisecond, "grain is %v, the least is 50ms", t.Grain)
	need(t.Grain <= longest, "grain is %v, the most is %v", t.Grain, longest)
	need(t.Election >= 150*time.Millisecond, "election is %v, the least is 150ms: below that busy hosts elect needlessly", t.Election)
	need(3*t.Election <= t.Lease-t.Heartbeat, "election is %v, but three of them must fit into what a lease has left after a heartbeat (%v): the death of a master would stop VMs everywhere", t.Election, t.Lease-t.Heartbeat)
	need(t.Election <= longest, "election is %v, the most is %v", t.Election, longest)
	need(t.Lease <= longest, "lease is %v, the most is %v: nothing would be restarted before it ends", t.Lease, longest)
	if len(bad) > 0 {
		return fmt.Errorf("timing: %s", strings.Join(bad, "; "))
	}
	return nil
}
