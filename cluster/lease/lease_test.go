package lease

import (
	"math"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

func standard(t testing.TB) Timing {
	t.Helper()
	timing, ok := Profile("standard")
	if !ok {
		t.Fatal("there is no profile standard")
	}
	return timing
}

func TestLease(t *testing.T) {
	timing := standard(t) // a lease of 4 s, a start margin of 1 s
	start := time.Hour
	begun := Begin(3, start, timing)
	tests := []struct {
		name  string
		lease Lease
		now   time.Duration
		held  bool
		over  bool
		left  time.Duration
		start bool
	}{
		{name: "none", lease: Lease{}, now: 0},
		{name: "none, at any time", lease: Lease{}, now: start},
		{name: "an end without an incarnation", lease: Lease{End: start}, now: 0},
		{name: "at its sending", lease: begun, now: start, held: true, left: 4 * time.Second, start: true},
		{name: "just enough for a start", lease: begun, now: start + 3*time.Second, held: true, left: time.Second, start: true},
		{name: "not enough for a start", lease: begun, now: start + 3*time.Second + 1, held: true, left: time.Second - 1},
		{name: "one nanosecond left", lease: begun, now: start + 4*time.Second - 1, held: true, left: 1},
		{name: "at its end", lease: begun, now: start + 4*time.Second, over: true},
		{name: "long over", lease: begun, now: start + time.Hour, over: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.lease.Held(tt.now); got != tt.held {
				t.Errorf("held: %v, want %v", got, tt.held)
			}
			if got := tt.lease.Over(tt.now); got != tt.over {
				t.Errorf("over: %v, want %v", got, tt.over)
			}
			if got := tt.lease.Left(tt.now); got != tt.left {
				t.Errorf("left: %v, want %v", got, tt.left)
			}
			if got := tt.lease.MayStart(tt.now, timing); got != tt.start {
				t.Errorf("may start: %v, want %v", got, tt.start)
			}
		})
	}
}

func TestRenew(t *testing.T) {
	timing := standard(t)
	start := time.Hour
	at := func(d time.Duration) time.Duration { return start + d }
	tests := []struct {
		name        string
		incarnation uint64
		sent, now   time.Duration
		end         time.Duration // after the renewal; it was 4 s before
	}{
		{name: "answered at once", incarnation: 3, sent: at(time.Second), now: at(time.Second), end: at(5 * time.Second)},
		{name: "counts from sending, not from the answer", incarnation: 3, sent: at(time.Second), now: at(3900 * ms), end: at(5 * time.Second)},
		{name: "an older proof does not shorten it", incarnation: 3, sent: at(-time.Second), now: at(time.Second), end: at(4 * time.Second)},
		{name: "the same proof twice", incarnation: 3, sent: at(0), now: at(time.Second), end: at(4 * time.Second)},
		{name: "in its last moment", incarnation: 3, sent: at(3 * time.Second), now: at(4*time.Second - 1), end: at(7 * time.Second)},
		{name: "at its end: over for good", incarnation: 3, sent: at(3 * time.Second), now: at(4 * time.Second), end: at(4 * time.Second)},
		{name: "after its end, with a proof worth more", incarnation: 3, sent: at(9 * time.Second), now: at(9 * time.Second), end: at(4 * time.Second)},
		{name: "of an earlier incarnation", incarnation: 2, sent: at(time.Second), now: at(time.Second), end: at(4 * time.Second)},
		{name: "of a later incarnation", incarnation: 4, sent: at(time.Second), now: at(time.Second), end: at(4 * time.Second)},
		{name: "of none", incarnation: 0, sent: at(time.Second), now: at(time.Second), end: at(4 * time.Second)},
		{name: "sent later than it was answered", incarnation: 3, sent: at(2 * time.Second), now: at(time.Second), end: at(4 * time.Second)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			old := Begin(3, start, timing)
			got := old.Renew(tt.incarnation, tt.sent, tt.now, timing)
			if want := (Lease{Incarnation: 3, End: tt.end}); got != want {
				t.Errorf("lease is %+v, want %+v", got, want)
			}
			if old != Begin(3, start, timing) {
				t.Errorf("the old value changed: %+v", old)
			}
		})
	}
	if got := (Lease{}).Renew(0, start, start, timing); got != (Lease{}) {
		t.Errorf("no lease was renewed to %+v", got)
	}
	if got := (Lease{}).Renew(3, start, start, timing); got != (Lease{}) {
		t.Errorf("a lease that never began was renewed to %+v", got)
	}
	if got := Begin(3, start, timing); got.Held(start + timing.Lease) {
		t.Errorf("%+v is held although its first proof is as old as it is worth", got)
	}
}

func TestWatch(t *testing.T) {
	timing := standard(t)
	wait := timing.Wait()
	s := time.Second
	tests := []struct {
		name string
		w    Watch
		at   time.Duration
		ok   bool
	}{
		{name: "nothing happened", w: Watch{}},
		{name: "acknowledged, not suspected", w: Watch{Heard: 100 * s, Acknowledged: 100 * s, Elected: 10 * s}},
		{name: "suspected after an acknowledgement", w: Watch{Heard: 100 * s, Acknowledged: 100 * s, Elected: 10 * s, Suspected: 102 * s}, at: 100*s + wait, ok: true},
		{name: "election after the last acknowledgement", w: Watch{Heard: 100 * s, Acknowledged: 100 * s, Elected: 101 * s, Suspected: 102 * s}, at: 101*s + wait, ok: true},
		{name: "never heard since the election", w: Watch{Heard: 50 * s, Elected: 50 * s, Suspected: 52 * s}, at: 50*s + wait, ok: true},
		{name: "heard, but not acknowledged, after the last acknowledgement", w: Watch{Heard: 101 * s, Acknowledged: 100 * s, Elected: 10 * s, Suspected: 102 * s}, at: 100*s + wait, ok: true},
		{name: "suspected by one who was not elected", w: Watch{Heard: 100 * s, Acknowledged: 100 * s, Suspected: 102 * s}},
		{name: "suspected, and nothing else", w: Watch{Suspected: 1}},
		{name: "it may prove by volumes, and no claim stands", w: Watch{Acknowledged: 100 * s, Elected: 10 * s, Suspected: 102 * s, Claims: true}},
		{name: "it may prove by volumes until the claim stood", w: Watch{Acknowledged: 100 * s, Elected: 10 * s, Suspected: 102 * s, Claims: true, Claimed: 103 * s}, at: 103*s + wait, ok: true},
		{name: "the claim stood before the last acknowledgement", w: Watch{Acknowledged: 100 * s, Elected: 10 * s, Suspected: 102 * s, Claims: true, Claimed: 99 * s}, at: 100*s + wait, ok: true},
		{name: "a claim that nobody needs", w: Watch{Acknowledged: 100 * s, Elected: 10 * s, Suspected: 102 * s, Claimed: 103 * s}, at: 100*s + wait, ok: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if at, ok := tt.w.DeadAt(timing); at != tt.at || ok != tt.ok {
				t.Errorf("dead at %v, %v; want %v, %v", at, ok, tt.at, tt.ok)
			}
		})
	}
	w := Watch{Heard: 100 * s}
	for now, want := range map[time.Duration]bool{99 * s: false, 100 * s: false, 101500 * ms: false, 101500*ms + 1: true} {
		if got := w.Silent(now, timing); got != want {
			t.Errorf("heard at 100 s, at %v silent: %v, want %v (after one and a half intervals of %v)", now, got, want, timing.Heartbeat)
		}
	}
}

// The figures that docs/safety.md promises.
func TestProfiles(t *testing.T) {
	tests := []struct {
		name                                       string
		heartbeat, lease, watchdog, reset, drain   time.Duration
		grain, wait, exactly, member, master, hard time.Duration
	}{
		{name: "fast", heartbeat: 250 * ms, lease: 1200 * ms, watchdog: time.Second, reset: 300 * ms, drain: 500 * ms, grain: 200 * ms,
			wait: 4300 * ms, exactly: 4304100 * time.Microsecond, member: 5 * time.Second, master: 6 * time.Second, hard: 2400 * ms},
		{name: "standard", heartbeat: time.Second, lease: 4 * time.Second, watchdog: 3 * time.Second, reset: 500 * ms, drain: 2 * time.Second, grain: 500 * ms,
			wait: 13300 * ms, exactly: 13312800 * time.Microsecond, member: 15 * time.Second, master: 17 * time.Second, hard: 6800 * ms},
		{name: "patient", heartbeat: 2 * time.Second, lease: 20 * time.Second, watchdog: 5 * time.Second, reset: time.Second, drain: 5 * time.Second, grain: time.Second,
			wait: 37600 * ms, exactly: 37536500 * time.Microsecond, member: 41 * time.Second, master: 44 * time.Second, hard: 11500 * ms},
	}
	if len(tests) != len(Profiles) {
		t.Fatalf("profiles are %v, %d are tested", Profiles, len(tests))
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			timing, ok := Profile(Profiles[i])
			if !ok || Profiles[i] != tt.name || timing.Profile != tt.name {
				t.Fatalf("profile %d is %q (%v), want %q", i, Profiles[i], ok, tt.name)
			}
			want := Timing{Profile: tt.name, Heartbeat: tt.heartbeat, Lease: tt.lease, Watchdog: tt.watchdog, Reset: tt.reset, Drain: tt.drain, ClockError: 5e-4, Grain: tt.grain, Election: timing.Election}
			if timing != want {
				t.Errorf("defaults are %+v, want %+v", timing, want)
			}
			if err := timing.Validate(); err != nil {
				t.Errorf("its own defaults are refused: %v", err)
			}
			// The table gives one decimal; the exact value may be a little more for the second order of rho.
			if got := timing.Wait(); got < tt.exactly || got > tt.exactly+100*time.Microsecond {
				t.Errorf("D is %v, the inequality says %v", got, tt.exactly)
			}
			if got := timing.Wait(); (got - tt.wait).Abs() > 100*ms {
				t.Errorf("D is %v, the table says %v", got, tt.wait)
			}
			if got := timing.MemberBound(); got > tt.member || got < timing.Wait() {
				t.Errorf("a member's death is acted upon within %v, the table says %v", got, tt.member)
			}
			if got := timing.MasterBound(); got > tt.master || got < timing.MemberBound() {
				t.Errorf("the master's death is acted upon within %v, the table says %v", got, tt.master)
			}
			if got := timing.HardEnd(); got != tt.hard {
				t.Errorf("the hard end is %v after the soft end, want %v", got, tt.hard)
			}
			if got := timing.SuspectAfter(); got != tt.heartbeat*3/2 {
				t.Errorf("suspected after %v, want one and a half intervals of %v", got, tt.heartbeat)
			}
			// A lease that was renewed an interval ago still permits a start, a raft leader gives up before it can be replaced.
			if got := timing.StartMargin(); got <= 0 || got > tt.lease-2*tt.heartbeat {
				t.Errorf("start margin is %v of a lease of %v", got, tt.lease)
			}
			if got := timing.LeaderLease(); got <= 0 || got >= timing.Election {
				t.Errorf("leader lease is %v, election %v", got, timing.Election)
			}
			// A leader whose disk hangs makes room while three elections fit into what any lease has left.
			if got := timing.YieldAfter(); got < timing.LeaderLease() || got+3*timing.Election > timing.Lease-timing.Heartbeat {
				t.Errorf("a leader waits for its disk for %v, with three elections of %v and a heartbeat of %v that is longer than a lease of %v", got, timing.Election, timing.Heartbeat, timing.Lease)
			}
		})
	}
	if got, ok := Profile("turbo"); ok || got != (Timing{}) {
		t.Errorf("profile turbo is %+v", got)
	}
}

// People are shown the terms; they have to add up to what is waited.
func TestTermsAddUp(t *testing.T) {
	for _, name := range Profiles {
		for _, rho := range []float64{1e-5, 5e-4, 0.02, 0.1} {
			timing, _ := Profile(name)
			timing.ClockError = rho
			var sum time.Duration
			symbols := map[string]bool{}
			for _, term := range timing.Terms() {
				if term.Symbol == "" || term.What == "" || term.Value < 0 || symbols[term.Symbol] {
					t.Errorf("%s: term %+v", name, term)
				}
				symbols[term.Symbol] = true
				sum += term.Value
			}
			if d := (sum - timing.Wait()).Abs(); d > time.Microsecond {
				t.Errorf("%s with clock error %g: the terms add up to %v, D is %v", name, rho, sum, timing.Wait())
			}
		}
	}
}

// Every timing that is accepted waits long enough for the worst pair of clocks:
// the host's slow by rho, the master's fast by rho.
func TestWaitOutlastsTheWorstClocks(t *testing.T) {
	for _, base := range Profiles {
		for _, rho := range []float64{1e-5, 5e-4, 0.01, 0.05, 0.1} {
			for _, length := range []time.Duration{0, 30 * time.Second, 10 * time.Minute} {
				timing, _ := Profile(base)
				timing.ClockError, timing.Grain = rho, 50*ms
				timing.Lease = max(timing.Lease, length)
				if err := timing.Validate(); err != nil {
					t.Fatal(err)
				}
				soft := float64(timing.Lease) / (1 - rho)
				gone := soft + float64(timing.HardEnd()+timing.Drain)
				if waited := float64(timing.Wait()) / (1 + rho); waited < gone {
					t.Errorf("%s, lease %v, clock error %g: D is over after %v of true time, the host may run or write until %v",
						base, timing.Lease, rho, time.Duration(waited), time.Duration(gone))
				}
			}
		}
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Timing)
		says []string
	}{
		{"heartbeat too short", func(x *Timing) { x.Heartbeat = 49 * ms }, []string{"heartbeat_interval is 49ms", "50ms"}},
		{"heartbeat zero", func(x *Timing) { x.Heartbeat = 0 }, []string{"heartbeat_interval is 0s"}},
		{"heartbeat negative", func(x *Timing) { x.Heartbeat = -time.Second }, []string{"heartbeat_interval is -1s"}},
		{"lease shorter than three heartbeats", func(x *Timing) { x.Lease = 2999 * ms }, []string{"lease is 2.999s", "three heartbeats (3s)"}},
		{"lease zero", func(x *Timing) { x.Lease = 0 }, []string{"lease is 0s"}},
		{"lease too long", func(x *Timing) { x.Lease = 10*time.Minute + 1 }, []string{"lease is 10m0.000000001s", "10m"}},
		{"lease longest", func(x *Timing) { x.Lease = math.MaxInt64 }, []string{"lease is 2562047h", "10m"}},
		{"heartbeat longest", func(x *Timing) { x.Heartbeat = math.MaxInt64 }, []string{"heartbeat_interval is 2562047h"}},
		{"heartbeat that wraps when tripled", func(x *Timing) { x.Heartbeat = math.MaxInt64/3 + 1 }, []string{"heartbeat_interval is 854015h"}},
		{"heartbeat too long", func(x *Timing) { x.Heartbeat = 10*time.Minute + 1 }, []string{"heartbeat_interval is 10m0.000000001s", "the most is 10m0s"}},
		{"watchdog below a second", func(x *Timing) { x.Watchdog = 500 * ms }, []string{"watchdog_timeout is 500ms", "whole seconds"}},
		{"watchdog with a fraction", func(x *Timing) { x.Watchdog = 2500 * ms }, []string{"watchdog_timeout is 2.5s", "whole seconds"}},
		{"watchdog zero", func(x *Timing) { x.Watchdog = 0 }, []string{"watchdog_timeout is 0s"}},
		{"watchdog too long", func(x *Timing) { x.Watchdog = 601 * time.Second }, []string{"watchdog_timeout is 10m1s", "10m"}},
		{"watchdog longest", func(x *Timing) { x.Watchdog = math.MaxInt64 - math.MaxInt64%time.Second }, []string{"watchdog_timeout is 2562047h"}},
		{"reset negative", func(x *Timing) { x.Reset = -1 }, []string{"reset_time is -1ns", "negative"}},
		{"reset longest", func(x *Timing) { x.Reset = math.MaxInt64 }, []string{"reset_time is 2562047h"}},
		{"reset too long", func(x *Timing) { x.Reset = 10*time.Minute + 1 }, []string{"reset_time is 10m0.000000001s", "the most is 10m0s"}},
		{"drain negative", func(x *Timing) { x.Drain = -time.Second }, []string{"drain_time is -1s", "negative"}},
		{"drain longest", func(x *Timing) { x.Drain = math.MaxInt64 }, []string{"drain_time is 2562047h"}},
		{"drain too long", func(x *Timing) { x.Drain = time.Hour + 1 }, []string{"drain_time is 1h0m0.000000001s", "the most is 1h0m0s"}},
		{"clock error zero", func(x *Timing) { x.ClockError = 0 }, []string{"clock_error is 0,"}},
		{"clock error negative", func(x *Timing) { x.ClockError = -5e-4 }, []string{"clock_error is -0.0005"}},
		{"clock error too large", func(x *Timing) { x.ClockError = 0.11 }, []string{"clock_error is 0.11", "0.1"}},
		{"clock error no number", func(x *Timing) { x.ClockError = math.NaN() }, []string{"clock_error is NaN"}},
		{"grain too small", func(x *Timing) { x.Grain = 49 * ms }, []string{"grain is 49ms", "50ms"}},
		{"grain longest", func(x *Timing) { x.Grain = math.MaxInt64 }, []string{"grain is 2562047h"}},
		{"grain too long", func(x *Timing) { x.Grain = 10*time.Minute + 1 }, []string{"grain is 10m0.000000001s", "the most is 10m0s"}},
		{"election too short", func(x *Timing) { x.Election = 149 * ms }, []string{"election is 149ms", "150ms"}},
		{"election longest", func(x *Timing) { x.Election = math.MaxInt64 }, []string{"election is 2562047h"}},
		{"election too long", func(x *Timing) { x.Election = 10*time.Minute + 1 }, []string{"election is 10m0.000000001s", "the most is 10m0s"}},
		{"two at once", func(x *Timing) { x.Grain, x.Reset = 0, -1 }, []string{"grain is 0s", "reset_time is -1ns"}},
		{"nothing set", func(x *Timing) { *x = Timing{} }, []string{"heartbeat_interval is 0s", "watchdog_timeout is 0s", "clock_error is 0", "grain is 0s", "election is 0s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			timing := standard(t)
			tt.set(&timing)
			err := timing.Validate()
			if err == nil {
				t.Fatalf("accepted; D would be %v", timing.Wait())
			}
			for _, say := range tt.says {
				if !strings.Contains(err.Error(), say) {
					t.Errorf("error %q does not say %q", err, say)
				}
			}
		})
	}
	// The limits themselves are allowed, one by one and all together.
	edge := standard(t)
	edge.Heartbeat, edge.Lease, edge.Watchdog, edge.Reset, edge.Drain, edge.ClockError, edge.Grain, edge.Election = 50*ms, 500*ms, time.Second, 0, 0, 1e-5, 50*ms, 150*ms
	if err := edge.Validate(); err != nil {
		t.Errorf("the least of everything is refused: %v", err)
	}
	edge.Heartbeat, edge.Lease, edge.Watchdog, edge.Reset, edge.Drain, edge.ClockError, edge.Grain, edge.Election = 200*time.Second, 10*time.Minute, 10*time.Minute, 10*time.Minute, time.Hour, 0.1, 10*time.Minute, 400*time.Second/3
	if err := edge.Validate(); err != nil {
		t.Errorf("the most of everything is refused: %v", err)
	}
	if d := edge.Wait(); d < edge.Lease+2*edge.Watchdog+edge.Reset+edge.Drain {
		t.Errorf("with the most of everything D is %v", d)
	}
}

// A fence device is used from then on: before, it would take a lease away.
func TestGoneAtIsNotBeforeTheLeaseHasEnded(t *testing.T) {
	timing := standard(t)
	w := Watch{Acknowledged: time.Minute, Elected: time.Second, Suspected: time.Minute + 2*time.Second}
	if at, ok := w.GoneAt(timing); !ok || at != time.Minute+timing.LeaseGone() || timing.LeaseGone() < timing.Lease {
		t.Errorf("gone at %v (%v), want %v: before that a device would take a lease away", at, ok, time.Minute+timing.LeaseGone())
	}
}
