package reach

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/go-hclog"
)

var (
	gw1  = netip.MustParseAddr("10.0.0.1")
	gw2  = netip.MustParseAddr("10.0.0.2")
	gw6  = netip.MustParseAddr("fe80::1%eth0")
	peer = netip.MustParseAddr("10.0.0.9")
)

// world answers requests and notices as the test says.
type world struct {
	begin time.Time

	mu      sync.Mutex
	rtt     map[netip.Addr]time.Duration // 0: silent
	trouble map[netip.Addr]error
	asking  map[netip.Addr]int // requests under way
	asked   map[netip.Addr]int
	view    view
	lookErr error
	notify  func()
	ended   chan struct{}
	opened  int
	closed  int
	changes int
}

func newWorld() *world {
	return &world{begin: time.Now(), rtt: map[netip.Addr]time.Duration{}, trouble: map[netip.Addr]error{}, asking: map[netip.Addr]int{}, asked: map[netip.Addr]int{}}
}

// now is a boot clock that began an hour before the test.
func (w *world) now() time.Duration { return time.Since(w.begin) + time.Hour }

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// told is how often a change was told, times how often an address was asked. All that is under way comes first.
func (w *world) told() int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changes
}

func (w *world) times(a netip.Addr) int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[a]
}

func (w *world) echo(ctx context.Context, addr netip.Addr, timeout time.Duration) error {
	w.mu.Lock()
	w.asking[addr]++
	w.asked[addr]++
	rtt, trouble := w.rtt[addr], w.trouble[addr]
	w.mu.Unlock()
	defer w.set(func() { w.asking[addr]-- })
	wait, err := rtt, error(nil)
	switch {
	case trouble != nil:
		return trouble
	case rtt == 0 || rtt > timeout:
		wait, err = timeout, errSilent
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return err
	}
}

func (w *world) look(map[string]netip.Addr) (view, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view, w.lookErr
}

func (w *world) subscribe(notify func()) (<-chan struct{}, func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened++
	w.notify, w.ended = notify, make(chan struct{})
	return w.ended, func() { w.set(func() { w.closed++ }) }, nil
}

// change makes the kernel's tables other ones, and says so.
func (w *world) change(f func(*view)) {
	w.set(func() { f(&w.view) })
	w.notify()
}

// run runs f with a collector in a bubble, and ends it.
func run(t *testing.T, cfg func(*Config), f func(t *testing.T, w *world, r *Reach)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := DefaultConfig()
		c.Now, c.Log, c.Changed = w.now, hclog.NewNullLogger(), func() { w.set(func() { w.changes++ }) }
		if cfg != nil {
			cfg(&c)
		}
		r, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		r.echo, r.system = w.echo, w
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		f(t, w, r)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
		for a, n := range w.asking {
			if n != 0 {
				t.Errorf("%d requests to %v are under way after the end", n, a)
			}
		}
		if w.opened != w.closed {
			t.Errorf("%d subscriptions were opened and %d closed", w.opened, w.closed)
		}
	})
}

func TestAnAddressThatAnswers(t *testing.T) {
	run(t, func(c *Config) { c.Addresses = []netip.Addr{gw1} }, func(t *testing.T, w *world, r *Reach) {
		if a := r.Snapshot().Answers[gw1]; a != (Answer{Replied: -1, Asked: true}) && a != (Answer{Replied: -1}) {
			t.Errorf("before any answer it is %+v", a)
		}
		// Just within the time out: what is late on the way must not count as silence.
		w.set(func() { w.rtt[gw1] = 1400 * time.Millisecond })
		time.Sleep(5 * time.Second)
		var oldest time.Duration
		for range 400 {
			time.Sleep(25 * time.Millisecond)
			s := r.Snapshot()
			if a := s.Answers[gw1]; !a.Asked || a.Trouble != "" || a.Age(s.At) < 0 {
				t.Fatalf("it is %+v", a)
			}
			oldest = max(oldest, s.Answers[gw1].Age(s.At))
		}
		if bound := r.cfg.Bound(); oldest > bound || oldest < bound-300*time.Millisecond {
			t.Errorf("the oldest answer was %v old, want just below the bound %v", oldest, bound)
		}
	})
}

// An answer proves that the address was there when the request was sent, not more.
func TestAnAnswerCountsFromItsRequest(t *testing.T) {
	run(t, nil, func(t *testing.T, w *world, r *Reach) {
		w.set(func() { w.rtt[gw1] = 700 * time.Millisecond })
		sent := w.now()
		if err := r.Ask([]netip.Addr{gw1}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(699 * time.Millisecond)
		synctest.Wait()
		if a := r.Snapshot().Answers[gw1]; a.Asked || a.Replied >= 0 {
			t.Errorf("before the answer it is %+v", a)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if a := r.Snapshot().Answers[gw1]; !a.Asked || a.Replied != sent {
			t.Errorf("after the answer it is %+v, want it to count from %v", a, sent)
		}
	})
}

func TestAnAddressThatFallsSilent(t *testing.T) {
	run(t, func(c *Config) { c.Addresses = []netip.Addr{gw1} }, func(t *testing.T, w *world, r *Reach) {
		w.set(func() { w.rtt[gw1] = time.Millisecond })
		time.Sleep(10200 * time.Millisecond) // between two requests
		changes := w.told()
		last := r.Snapshot().Answers[gw1].Replied
		w.set(func() { w.rtt[gw1] = 0 })
		time.Sleep(time.Minute)
		synctest.Wait()
		if a := r.Snapshot().Answers[gw1]; a.Replied != last || !a.Asked || a.Trouble != "" {
			t.Errorf("silent for a minute it is %+v, want the last answer of %v", a, last)
		}
		if n := w.told() - changes; n != 1 {
			t.Errorf("the silence was told %d times, want once", n)
		}
		w.set(func() { w.rtt[gw1] = time.Millisecond })
		time.Sleep(time.Minute)
		if n := w.told() - changes; n != 2 {
			t.Errorf("silence and return were told %d times, want twice", n)
		}
	})
}

func TestAnAddressThatCannotBeAsked(t *testing.T) {
	run(t, func(c *Config) { c.Addresses = []netip.Addr{gw1} }, func(t *testing.T, w *world, r *Reach) {
		time.Sleep(2 * time.Second)
		w.set(func() { w.trouble[gw1] = errors.New("network is unreachable") })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if a := r.Snapshot().Answers[gw1]; a.Trouble != "network is unreachable" || !a.Asked {
			t.Errorf("it is %+v", a)
		}
		w.set(func() { w.trouble[gw1] = nil })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if a := r.Snapshot().Answers[gw1]; a.Trouble != "" {
			t.Errorf("once it can be asked again it is %+v", a)
		}
	})
	run(t, nil, func(t *testing.T, w *world, r *Reach) {
		w.set(func() { w.trouble[gw1] = errors.New("network is unreachable") })
		if err := r.Ask([]netip.Addr{gw1}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if a := r.Snapshot().Answers[gw1]; a.Asked {
			t.Errorf("nothing was ever sent, and it counts as asked: %+v", a)
		}
	})
}

func TestOneAddressDelaysNoOther(t *testing.T) {
	run(t, func(c *Config) { c.Timeout = time.Hour }, func(t *testing.T, w *world, r *Reach) {
		w.set(func() { w.rtt[peer] = time.Millisecond })
		if err := r.Ask([]netip.Addr{gw1, peer}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour + 10*time.Second)
		if silent, other := w.times(gw1), w.times(peer); silent > 2 || other < 3600 {
			t.Errorf("in an hour the silent address was asked %d times, the other %d times; want at most 2, and one a second", silent, other)
		}
	})
}

func TestAsk(t *testing.T) {
	run(t, func(c *Config) { c.Addresses = []netip.Addr{gw1} }, func(t *testing.T, w *world, r *Reach) {
		w.set(func() { w.rtt[gw1], w.rtt[peer] = time.Millisecond, time.Millisecond })
		time.Sleep(3 * time.Second)
		if err := r.Ask([]netip.Addr{gw1, netip.AddrFrom16(peer.As16())}); err != nil {
			t.Fatal(err)
		}
		if s := r.Snapshot(); s.Answers[peer] != (Answer{Replied: -1}) || s.Answers[gw1].Replied < 0 {
			t.Errorf("a new address is %+v and the old one %+v; want nothing known of one, and all kept of the other", s.Answers[peer], s.Answers[gw1])
		}
		time.Sleep(3 * time.Second)
		if a := r.Snapshot().Answers[peer]; a.Replied < 0 {
			t.Errorf("an address that was added is %+v", a)
		}
		if err := r.Ask([]netip.Addr{peer}); err != nil {
			t.Fatal(err)
		}
		before := w.times(gw1)
		time.Sleep(time.Minute)
		if _, there := r.Snapshot().Answers[gw1]; there || w.times(gw1) != before {
			t.Errorf("an address that was taken away is in the snapshot: %t; asked %d times more", there, w.times(gw1)-before)
		}
		if err := r.Ask([]netip.Addr{peer, gw1}); err != nil {
			t.Fatal(err)
		}
		if a := r.Snapshot().Answers[gw1]; a.Replied >= 0 {
			t.Errorf("an address that comes back is known by what it was before: %+v", a)
		}
	})
}

func TestAddressesThatAreRefused(t *testing.T) {
	w := newWorld()
	many := make([]netip.Addr, 1025)
	for i := range many {
		many[i] = gw1
	}
	for _, tt := range []struct {
		name  string
		addrs []netip.Addr
		want  string
	}{
		{"none", []netip.Addr{{}}, "invalid IP is not the address of one host"},
		{"everybody", []netip.Addr{netip.MustParseAddr("255.255.255.255")}, "255.255.255.255 is not"},
		{"anybody", []netip.Addr{netip.MustParseAddr("0.0.0.0")}, "0.0.0.0 is not"},
		{"a group", []netip.Addr{gw1, netip.MustParseAddr("ff02::1")}, "ff02::1 is not"},
		{"too many", many, "1025 addresses to ask, and the most is 1024"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultConfig()
			c.Now, c.Log, c.Addresses = w.now, hclog.NewNullLogger(), tt.addrs
			if _, err := New(c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   func(*Config)
		want string
	}{
		{"no clock", func(c *Config) { c.Now = nil }, "Now is nil"},
		{"no log", func(c *Config) { c.Log = nil }, "Log is nil"},
		{"no interval", func(c *Config) { c.Interval = 0 }, "Interval is 0s"},
		{"no timeout", func(c *Config) { c.Timeout = time.Millisecond }, "Timeout is 1ms"},
		{"no address", func(c *Config) { c.Networks = map[string]netip.Addr{"mgmt": {}} }, "network mgmt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultConfig()
			c.Now, c.Log = newWorld().now, hclog.NewNullLogger()
			if err := c.Validate(); err != nil {
				t.Fatalf("the defaults are refused: %v", err)
			}
			tt.in(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestGatewaysAreFollowed(t *testing.T) {
	run(t, func(c *Config) { c.AskGateways = true }, func(t *testing.T, w *world, r *Reach) {
		list := func(want ...Gateway) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			s := r.Snapshot()
			if d := cmp.Diff(want, s.Gateways, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("the gateways differ (-want +got):\n%s", d)
			}
			var asked []netip.Addr
			for a := range s.Answers {
				asked = append(asked, a)
			}
			for _, g := range want {
				if !slices.Contains(asked, g.Addr) {
					t.Errorf("gateway %v is not asked", g.Addr)
				}
			}
			if len(asked) != len(want) {
				t.Errorf("asked are %v, want the %d gateways", asked, len(want))
			}
		}
		list()
		w.change(func(v *view) { v.gateways = []Gateway{{Addr: gw1, Interface: "eth0"}, {Addr: gw6, Interface: "eth0"}} })
		list(Gateway{gw1, "eth0", false}, Gateway{gw6, "eth0", false})
		w.change(func(v *view) { v.gateways = []Gateway{{Addr: gw6, Interface: "eth0"}} })
		list(Gateway{gw6, "eth0", false}, Gateway{gw1, "eth0", true})
		w.change(func(v *view) { v.gateways = nil })
		list(Gateway{gw6, "eth0", true}, Gateway{gw1, "eth0", true})
		w.change(func(v *view) { v.gateways = []Gateway{{Addr: gw2, Interface: "eth1"}} })
		list(Gateway{gw2, "eth1", false}, Gateway{gw6, "eth0", true})
	})
}

func TestGatewaysAreNotAskedUnlessWanted(t *testing.T) {
	run(t, nil, func(t *testing.T, w *world, r *Reach) {
		w.change(func(v *view) { v.gateways = []Gateway{{Addr: gw1, Interface: "eth0"}} })
		time.Sleep(10 * time.Second)
		if s := r.Snapshot(); len(s.Gateways) != 1 || len(s.Answers) != 0 || w.times(gw1) != 0 {
			t.Errorf("gateways %v, answers %v, asked %d times; want one, none, never", s.Gateways, s.Answers, w.times(gw1))
		}
	})
}

func TestLinksAreFollowed(t *testing.T) {
	networks := map[string]netip.Addr{"mgmt": netip.MustParseAddr("10.0.0.5"), "storage": netip.MustParseAddr("10.1.0.5")}
	run(t, func(c *Config) { c.Networks = networks }, func(t *testing.T, w *world, r *Reach) {
		since := w.now()
		check := func(name string, want Link) {
			t.Helper()
			synctest.Wait()
			if got := r.Snapshot().Links[name]; got != want {
				t.Errorf("the link of %s is %+v, want %+v", name, got, want)
			}
		}
		check("mgmt", Link{Since: since})
		// change tells of other links at a moment at which the tables are not read anyway.
		change := func(links map[string]Link) (read time.Duration) {
			time.Sleep(time.Minute + anyway/3)
			read = w.now() + settle
			w.change(func(v *view) { v.links = links })
			time.Sleep(settle)
			return read
		}
		up := Link{Interface: "eth0", Held: true, Up: true, Carrier: true}
		shown := up
		shown.Since = change(map[string]Link{"mgmt": up})
		check("mgmt", shown)
		check("storage", Link{Since: since})
		changes := w.told()
		change(map[string]Link{"mgmt": up})
		check("mgmt", shown)
		if n := w.told() - changes; n != 0 {
			t.Errorf("nothing changed, and that was told %d times", n)
		}
		cut := Link{Interface: "eth0", Held: true, Up: true}
		check("mgmt", Link{Interface: "eth0", Held: true, Up: true, Since: change(map[string]Link{"mgmt": cut})})
		check("mgmt", Link{Interface: "eth0", Since: change(nil)}) // a network manager takes the address away with the carrier
	})
}

func TestWhatIsNotNotifiedIsReadAnyway(t *testing.T) {
	run(t, nil, func(t *testing.T, w *world, r *Reach) {
		w.set(func() { w.view.gateways = []Gateway{{Addr: gw1}} })
		time.Sleep(anyway)
		synctest.Wait()
		if s := r.Snapshot(); len(s.Gateways) != 1 {
			t.Errorf("after %v the gateways are %v, want the new one", anyway, s.Gateways)
		}
	})
}

func TestASwarmOfNoticesIsOneReading(t *testing.T) {
	run(t, nil, func(t *testing.T, w *world, r *Reach) {
		w.change(func(v *view) { v.gateways = []Gateway{{Addr: gw1}} })
		for range 9 {
			time.Sleep(settle / 10)
			w.change(func(v *view) { v.gateways = append(slices.Clone(v.gateways), Gateway{Addr: gw2}) })
		}
		changes := w.told()
		time.Sleep(time.Second)
		if n := w.told() - changes; n > 2 || len(r.Snapshot().Gateways) != 10 {
			t.Errorf("ten changes within %v were told %d times, and %d gateways are known; want at most 2, and all", settle, n, len(r.Snapshot().Gateways))
		}
	})
}

func TestTrouble(t *testing.T) {
	run(t, nil, func(t *testing.T, w *world, r *Reach) {
		if got := r.Snapshot().Trouble; got != "" {
			t.Errorf("after the first reading there is trouble: %s", got)
		}
		w.change(func(v *view) { v.gateways = []Gateway{{Addr: gw1}} })
		time.Sleep(time.Second)
		w.set(func() { w.lookErr = errors.New("the dump was interrupted") })
		w.notify()
		time.Sleep(time.Second)
		synctest.Wait()
		if s := r.Snapshot(); s.Trouble != "read links and routes: the dump was interrupted" || len(s.Gateways) != 1 {
			t.Errorf("the trouble is %q with %d gateways, want the error, and what was known before", s.Trouble, len(s.Gateways))
		}
		w.set(func() { w.lookErr = nil })
		time.Sleep(2 * again)
		synctest.Wait()
		if got := r.Snapshot().Trouble; got != "" {
			t.Errorf("after a reading that succeeded there is trouble: %s", got)
		}
	})
}

func TestASubscriptionThatEndsIsMadeAnew(t *testing.T) {
	run(t, nil, func(t *testing.T, w *world, r *Reach) {
		close(w.ended)
		time.Sleep(2 * again)
		synctest.Wait()
		if w.opened != 2 || w.closed != 1 {
			t.Fatalf("%d subscriptions were opened and %d closed, want 2 and 1", w.opened, w.closed)
		}
		w.change(func(v *view) { v.gateways = []Gateway{{Addr: gw1}} })
		time.Sleep(time.Second)
		synctest.Wait()
		if s := r.Snapshot(); len(s.Gateways) != 1 {
			t.Errorf("the new subscription tells nothing: gateways are %v", s.Gateways)
		}
	})
}
