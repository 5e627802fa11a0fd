package fencing_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fencing/watchdogtest"
)

const vmUUID = "10000000-0000-4000-8000-00000000000%d"

// rules are what a run leaves out, on purpose, and must then be found harmful.
type rules struct {
	name        string
	drop        func(*fencing.Keeper)
	killIsGone  bool // a VM that was told to end counts as gone
	unarmedRuns bool // a VM runs before the watchdog is armed
}

// vm is one covered VM.
type vm struct {
	alive  bool
	ends   time.Duration // when its process is gone; 0: nobody killed it
	linger time.Duration // how long it stays after a kill
}

// fate is what befalls a guard.
type fate struct {
	frozenAt  time.Duration // between two turns; 0: not
	frozenIn  string        // in the middle of a turn, before this call of the watchdog …
	frozenNth int           // … the nth after frozenAt
	frozenFor time.Duration
	killedAt  time.Duration // 0: not
	backAfter time.Duration // another guard starts; 0: none
}

// host is one host in virtual time: a lease that is renewed until its network is
// cut, VMs, a guard with the real rules and the real shared memory, a watchdog.
type host struct {
	t      testing.TB
	now    time.Duration
	rng    *rand.Rand
	rules  rules
	fate   fate
	shared *fencing.Shared
	chip   *watchdogtest.Chip
	keeper *fencing.Keeper // nil: no guard
	vms    [3]vm
	lease  time.Duration
	renew  time.Duration // next renewal
	cut    time.Duration // no renewal from here on
	soft   time.Duration // the lease's end
	reset  time.Duration // when the watchdog fired; 0: not
	idle   bool          // when it fired no VM was alive
	calls  int
	frozen bool
	found  string
}

const step = 5 * time.Millisecond

// advance lets time pass without the guard.
func (h *host) advance(d time.Duration) {
	for end := h.now + d; h.now < end && h.found == ""; {
		h.now += min(step, end-h.now)
		if at, ok := h.chip.FiresAt(); ok && h.now >= at && h.reset == 0 {
			h.reset, h.idle = h.now, true
			for i := range h.vms {
				h.idle = h.idle && !h.vms[i].alive
				h.vms[i].alive = false
			}
			return
		}
		for i := range h.vms {
			if v := &h.vms[i]; v.alive && v.ends != 0 && h.now >= v.ends {
				v.alive = false
			}
		}
		if h.now >= h.renew && h.now < h.cut && h.now < h.soft {
			if h.shared.Extend(1, h.now+h.lease) == nil {
				h.soft = h.now + h.lease
			}
			h.renew = h.now + h.lease/4
		}
		h.judge()
	}
}

// judge: past the hard end nothing lives. One watchdog timeout is due in any case;
// a second only for a guard that was frozen in the middle of a turn, or that was
// frozen past the moment for closing and killed after it.
func (h *host) judge() {
	k := 1
	if h.fate.frozenIn != "" || h.fate.frozenAt != 0 && h.fate.killedAt != 0 {
		k = 2
	}
	hard := h.soft + time.Duration(k)*(h.chip.Timeout()+h.chip.Timeout()/20) + 2*step
	for i, v := range h.vms {
		if v.alive && h.now > hard && h.reset == 0 {
			h.found = fmt.Sprintf("VM %d lives at %v: the lease ended at %v, the hard end was %v (watchdog %v, k %d, %+v)", i, h.now, h.soft, hard, h.chip.Timeout(), k, h.fate)
		}
	}
}

// end is the guard's kill.
func (h *host) end(pid int, _ uint64) bool {
	v := &h.vms[pid-1]
	if v.alive && v.ends == 0 {
		v.ends = h.now + v.linger
	}
	return !v.alive || h.rules.killIsGone
}

// start covers a VM as the agent does: it runs once the watchdog is armed.
func (h *host) start(i int) {
	uuid := fmt.Sprintf(vmUUID, i)
	if fencing.Enter(h.shared, uuid, i+1, 7) != nil {
		return
	}
	for wait := 10; wait > 0 && !h.rules.unarmedRuns; wait-- {
		h.guardTurn()
		if h.reset != 0 || h.found != "" {
			return
		}
		if h.keeper != nil {
			if s, _ := h.keeper.State(); s == fencing.DogArmed {
				break
			}
		}
		if wait == 1 {
			h.shared.Uncover(uuid)
			return
		}
		h.advance(50 * time.Millisecond)
	}
	if h.now < h.soft-h.lease/4 {
		h.vms[i].alive, h.vms[i].ends = true, 0
	} else {
		h.shared.Uncover(uuid)
	}
}

func (h *host) freshGuard() {
	h.keeper = fencing.NewKeeper(h.chip, func() time.Duration { return h.now })
	if h.rules.drop != nil {
		h.rules.drop(h.keeper)
	}
}

func (h *host) guardTurn() {
	if h.keeper == nil || h.reset != 0 {
		return
	}
	fencing.Look(h.shared, h.now)
	h.keeper.Turn(fencing.ForKeeper(h.shared, h.now))
}

// frozenInCall is the freeze between looking at the clock and acting.
func (h *host) frozenInCall(what string) {
	if h.fate.frozenIn != what || h.now < h.fate.frozenAt || h.frozen {
		return
	}
	if h.calls++; h.calls == h.fate.frozenNth {
		h.frozen = true
		h.advance(h.fate.frozenFor)
	}
}

// run plays one host from a seed.
func run(t testing.TB, seed uint64, r rules) *host {
	h := &host{t: t, rng: rand.New(rand.NewPCG(seed, 1)), rules: r, now: time.Second}
	shared, err := fencing.OpenPrivate(h.end)
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close() // private memory
	h.shared = shared
	h.chip = watchdogtest.New(time.Duration(1+h.rng.IntN(3))*time.Second, func() time.Duration { return h.now })
	h.chip.Slow = 0.05 * h.rng.Float64()
	h.chip.Before = h.frozenInCall
	if h.rng.IntN(8) == 0 {
		h.chip.Refuse = watchdogtest.ErrFired // any error will do
	}
	h.lease = 1200*time.Millisecond + time.Duration(h.rng.IntN(3000))*time.Millisecond
	h.soft, h.cut = h.now+h.lease, h.now+time.Duration(h.rng.IntN(6000))*time.Millisecond
	if err := shared.Begin(1, h.soft); err != nil {
		t.Fatal(err)
	}
	h.drawFate()
	h.freshGuard()
	h.guardTurn()
	for i := range h.vms {
		h.vms[i].linger = time.Duration(h.rng.IntN(300)) * time.Millisecond
		if h.rng.IntN(3) == 0 {
			h.vms[i].linger = time.Duration(h.rng.IntN(20)) * time.Second
		}
		if h.rng.IntN(3) > 0 {
			h.start(i)
		}
	}
	frozenOnce := false
	for h.reset == 0 && h.found == "" && h.now < h.cut+16*time.Second {
		h.advance(fencing.Tick + time.Duration(h.rng.Int64N(int64(fencing.Grain))))
		if f := &h.fate; f.killedAt != 0 && h.now >= f.killedAt && h.keeper != nil {
			h.keeper = nil
			h.chip.HolderDies()
			f.killedAt = 1 // it has happened
			if f.backAfter != 0 {
				h.advance(f.backAfter)
				h.freshGuard()
				f.killedAt = 1 << 62 // once; it still counts as killed
			}
		}
		if f := h.fate; f.frozenIn == "" && f.frozenAt != 0 && h.now >= f.frozenAt && !frozenOnce {
			frozenOnce = true
			h.advance(f.frozenFor)
		}
		h.guardTurn()
	}
	return h
}

func (h *host) drawFate() {
	span := int(h.cut+h.lease-h.now)/int(time.Millisecond) + 2000
	at := func() time.Duration { return h.now + time.Duration(h.rng.IntN(span))*time.Millisecond }
	if h.rng.IntN(2) == 0 { // about the end of the lease, where it matters
		end := h.cut + h.lease*7/8
		at = func() time.Duration {
			return max(h.now, end+time.Duration(h.rng.IntN(1000)-700)*time.Millisecond)
		}
	}
	long := time.Duration(h.rng.IntN(4000)) * time.Millisecond
	switch h.rng.IntN(6) {
	case 0:
		h.fate = fate{frozenAt: at(), frozenFor: long}
	case 1:
		h.fate = fate{frozenAt: at(), frozenFor: long, frozenIn: []string{"pet", "pet", "pet", "arm", "close", "release"}[h.rng.IntN(6)], frozenNth: 1 + h.rng.IntN(3)}
	case 2:
		h.fate = fate{killedAt: at()}
	case 3:
		h.fate = fate{killedAt: at(), backAfter: time.Duration(1+h.rng.IntN(1500)) * time.Millisecond}
	case 4:
		h.fate = fate{frozenAt: at(), frozenFor: long}
		h.fate.killedAt = h.fate.frozenAt + long + time.Duration(h.rng.IntN(2000))*time.Millisecond
		if h.rng.IntN(2) == 0 {
			h.fate.frozenIn, h.fate.frozenNth = "pet", 1+h.rng.IntN(3)
		}
	}
}

const seeds = 1500

// Nothing lives past the hard end, whatever befalls the guard.
func TestNothingLivesPastTheHardEnd(t *testing.T) {
	resets, spared, seeds := 0, 0, seeds
	if testing.Short() {
		seeds /= 10
	}
	for seed := range uint64(seeds) {
		h := run(t, seed, rules{})
		if h.found != "" {
			t.Fatalf("seed %d: %s", seed, h.found)
		}
		if h.reset != 0 {
			resets++
		} else {
			spared++
		}
		// A host whose VMs can do no harm is not reset by a guard that does its work.
		if h.reset != 0 && h.idle && h.fate == (fate{}) {
			t.Fatalf("seed %d: reset at %v with no VM alive and a guard that nothing befell (lease ended at %v, watchdog %v)", seed, h.reset, h.soft, h.chip.Timeout())
		}
	}
	if resets < seeds/20 || spared < seeds/20 {
		t.Fatalf("%d of %d runs ended in a reset: the runs are too much alike to show anything", resets, seeds)
	}
}

// Each rule left out does harm that the runs above would show.
func TestEveryRuleOfTheWatchdogIsNeeded(t *testing.T) {
	if testing.Short() {
		t.Log("a short run: no rule is left out")
		return
	}
	for _, r := range []rules{
		{name: "W1 pet past the soft end", drop: fencing.DropPastEnd},
		{name: "W1 pet while the lease is valid", drop: fencing.DropWhileValid},
		{name: "W2 stop the timer when closing", drop: fencing.DropStopAtEnd},
		{name: "W2 keep the device open", drop: fencing.DropStayOpen},
		{name: "W3 close past the soft end", drop: fencing.DropCloseLate},
		{name: "W3 stay open after a late pet", drop: fencing.DropStayLate},
		{name: "told to end counts as gone", killIsGone: true},
		{name: "run before the watchdog is armed", unarmedRuns: true},
	} {
		t.Run(r.name, func(t *testing.T) {
			for seed := range uint64(10 * seeds) {
				if h := run(t, seed, r); h.found != "" {
					t.Logf("seed %d: %s", seed, h.found)
					return
				}
			}
			t.Fatalf("%d runs without this rule did no harm: either it is not needed, or the runs do not test it", 10*seeds)
		})
	}
	t.Run("W4 leave the timer running when all are gone", func(t *testing.T) {
		for seed := range uint64(seeds) {
			if h := run(t, seed, rules{drop: fencing.DropKeepRunning}); h.reset != 0 && h.idle && h.fate == (fate{}) {
				t.Logf("seed %d: reset at %v with nothing alive", seed, h.reset)
				return
			}
		}
		t.Fatal("no host was reset needlessly")
	})
}
