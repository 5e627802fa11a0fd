package machine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// timing is the profile that the machines run with.
func timing(t *trial) lease.Timing {
	p, ok := lease.Profile("standard")
	if !ok {
		t.Fatal("there is no profile standard")
	}
	p.Election, p.Lease = 2*time.Second, 8*time.Second // as in policy
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

// slack is what an emulated machine on a busy processor may add to any moment.
const slack = 1500 * time.Millisecond

// stage is one scenario under way.
type stage struct {
	*trial
	w      *World
	ctx    context.Context
	timing lease.Timing
	vm     int
	host   *Machine // that runs the VM
	before Sight
	all    map[int]Sight // of every VM, when the scenario began
	opened time.Time     // when the scenario began
	began  time.Time     // when the last of its faults did
	struck time.Time     // when that fault was there for certain
	boots  int           // of the host, when the scenario began
}

// perform settles the cluster, plays one scenario on the host that runs vm1, and
// looks for two writers, and for harm to those that it was not about.
func perform(ctx context.Context, t *trial, w *World, play func(*stage)) {
	ctx, cancel := context.WithTimeout(ctx, 120*time.Second)
	defer cancel()
	began := time.Now()
	if err := steady(ctx, w); err != nil {
		t.Fatal(err)
	}
	s := &stage{trial: t, w: w, ctx: ctx, timing: timing(t), vm: 1, all: map[int]Sight{}, opened: time.Now()}
	for vm := 1; vm <= VMs; vm++ {
		sight, ok := w.watch.newest(vm)
		if !ok {
			t.Fatalf("vm%d has never written", vm)
		}
		s.all[vm] = sight
	}
	s.before = s.all[s.vm]
	s.host = w.Hosts[s.before.Host-1]
	s.boots = s.host.Boots()
	st, err := w.Status(w.Hosts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("settled after %v; vm1 runs on %s, the master is %s", time.Since(began).Round(100*time.Millisecond), s.host.Name, st.Master)
	s.began, s.struck = time.Now(), time.Now()
	play(s)
	for _, m := range s.others() {
		if at := m.Resets(s.opened); len(at) > 0 {
			t.Errorf("%s was reset %v after the scenario began, which was about %s", m.Name, at[0].Sub(s.opened), s.host.Name)
		}
	}
	for vm, then := range s.all {
		if now, _ := w.watch.newest(vm); then.Host != s.before.Host && now.Life != then.Life {
			t.Errorf("vm%d on h%d did not go on, though the scenario was about %s: %+v", vm, then.Host, s.host.Name, now)
		}
	}
}

// others are the machines that the scenario is not about.
func (s *stage) others() []*Machine {
	return slices.DeleteFunc(slices.Clone(s.w.Hosts), func(m *Machine) bool { return m == s.host })
}

// must runs a line of shell on the host.
func (s *stage) must(format string, args ...any) string {
	s.Helper()
	out, err := s.host.Sh(10*time.Second, format, args...)
	if err != nil {
		s.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// strike is the fault that counts; it takes the machine a moment to do it.
func (s *stage) strike(fault func()) {
	s.Helper()
	s.began = time.Now()
	fault()
	s.struck = time.Now()
}

// until polls with a limit of its own.
func (s *stage) until(limit time.Duration, what string, ok func() (bool, string)) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	if err := Until(ctx, what, ok); err != nil {
		s.Fatal(err)
	}
}

// seen waits until the others see the host so.
func (s *stage) seen(limit time.Duration, what string, ok func(api.HostView) bool) {
	s.Helper()
	s.until(limit, what, func() (bool, string) {
		h, err := s.view()
		return err == nil && ok(h), fmt.Sprintf("%+v, storage %+v, %v", h, h.Storage, err)
	})
}

// view is the host as the others see it.
func (s *stage) view() (api.HostView, error) {
	st, err := s.w.Status(s.others()...)
	if err != nil {
		return api.HostView{}, err
	}
	i := slices.IndexFunc(st.Hosts, func(h api.HostView) bool { return h.Name == s.host.Name })
	if i < 0 {
		return api.HostView{}, fmt.Errorf("nobody knows %s", s.host.Name)
	}
	return st.Hosts[i], nil
}

// window is how long it takes at most until a host that is silent has lost its VMs to others.
func (s *stage) window() time.Duration { return s.timing.MasterBound() + slack }

// unharmed watches until so long after the fault: no machine is reset, and no VM begins another life.
func (s *stage) unharmed(d time.Duration) {
	s.Helper()
	for end := s.struck.Add(d); time.Now().Before(end); time.Sleep(watchEvery) {
		for _, m := range s.w.Hosts {
			if at := m.Resets(s.opened); len(at) > 0 {
				s.Fatalf("%s was reset %v after the fault, though its lease is good", m.Name, at[0].Sub(s.began))
			}
		}
		for vm, then := range s.all {
			if now, _ := s.w.watch.newest(vm); now.Life != then.Life {
				s.Fatalf("vm%d was started anew %v after the fault, though the lease of h%d is good: %+v", vm, now.First.Sub(s.began), then.Host, now)
			}
		}
	}
}

// goOn waits until every VM has written once more, in the life that it had.
func (s *stage) goOn() {
	s.Helper()
	from := time.Now()
	s.until(2*slack, "every VM goes on in the life that it had", func() (bool, string) {
		for vm, then := range s.all {
			if now, _ := s.w.watch.newest(vm); now.Life != then.Life || now.Last.Before(from) {
				return false, fmt.Sprintf("vm%d: %+v, then %+v", vm, then, now)
			}
		}
		return true, ""
	})
}

// undisturbed watches until so long after the fault, and every VM goes on all the time.
func (s *stage) undisturbed(d time.Duration) {
	s.Helper()
	s.unharmed(d)
	s.goOn()
}

// takeover waits until the VM has begun another life, and returns the last mark of
// the old one, and the new one.
func (s *stage) takeover() (last time.Time, now Sight) {
	s.Helper()
	last = s.before.Last
	// How soon is measured where machines are quick enough for it; here it counts what comes after what.
	limit := 3 * s.timing.MasterBound()
	s.until(limit, "vm1 runs again", func() (bool, string) {
		now, _ = s.w.watch.newest(s.vm)
		if now.Life == s.before.Life {
			last = now.Last
		}
		return now.Life != s.before.Life, fmt.Sprintf("%+v", now)
	})
	if took := now.First.Sub(s.struck); took > s.window() {
		out, err := s.w.Hosts[now.Host-1].Run(5*time.Second, "haadm", "events", "--since", "2m", "-o", "wide")
		s.Logf("vm1 runs again after %v, which is late: %v\n%s", took.Round(10*time.Millisecond), err, out)
	}
	return last, now
}

// spared is for a host whose VMs the guard ends: they are gone soon after the
// lease's end, nothing is reset, and only after the whole wait they run elsewhere.
func (s *stage) spared() {
	s.Helper()
	last, now := s.takeover()
	gone, took := last.Sub(s.struck), now.First.Sub(s.began)
	if now.Host == s.before.Host {
		s.Errorf("vm1 was started again on %s, which has no lease: %+v", s.host.Name, now)
	}
	if bound := s.timing.Lease + slack; gone > bound {
		s.Errorf("vm1 wrote for %v after the fault, allowed are %v (its lease ends %v after it at the latest)", gone, bound, s.timing.Lease)
	}
	// The last acknowledgement is older than the fault, by an interval and the time that the heartbeat travelled.
	if least := s.timing.Wait() - 2*s.timing.Heartbeat; took < least {
		s.Errorf("vm1 wrote on another host %v after the fault, before the wait of %v was over", took, s.timing.Wait())
	}
	s.noReset()
	s.Logf("vm1 last wrote %v after the fault, and on another host %v after it", gone.Round(10*time.Millisecond), took.Round(10*time.Millisecond))
}

func (s *stage) noReset() {
	s.Helper()
	if at := s.host.Resets(s.opened); len(at) > 0 {
		s.Errorf("%s was reset %v after the fault, though its VMs were proven gone", s.host.Name, at[0].Sub(s.began))
	}
}

// reset waits for the watchdog and returns when it fired; it must, within the bound.
func (s *stage) reset(bound time.Duration) time.Time {
	s.Helper()
	s.until(bound+5*time.Second, "the watchdog fires", func() (bool, string) {
		return len(s.host.Fired(s.began)) > 0, fmt.Sprintf("no WATCHDOG event of %s since %v", s.host.Name, time.Since(s.began))
	})
	at := s.host.Fired(s.began)[0]
	if took := at.Sub(s.struck); took > bound {
		s.Errorf("the watchdog of %s fired %v after the fault, allowed are %v", s.host.Name, took, bound)
	} else {
		s.Logf("the watchdog fired %v after the fault, allowed were %v", took.Round(10*time.Millisecond), bound.Round(10*time.Millisecond))
	}
	return at
}

// afterReset waits until the VM runs again, which must come after the reset, and once.
// A machine that is back soon says that nothing runs there any more, and may get it back.
func (s *stage) afterReset(at time.Time) {
	s.Helper()
	last, now := s.takeover()
	if !now.First.After(at) {
		s.Errorf("vm1 ran on h%d at %v, before the reset at %v", now.Host, now.First, at)
	}
	if late := last.Sub(at); late > watchEvery+200*time.Millisecond {
		s.Errorf("vm1 wrote %v after its machine was reset", late)
	}
	s.until(90*time.Second, "the machine boots again", func() (bool, string) {
		return s.host.Boots() > s.boots && s.answers(), s.host.Console(10)
	})
	if n := len(s.host.Fired(s.began)); n != 1 {
		s.Errorf("the watchdog fired %d times, want once", n)
	}
	if len(s.host.Resets(s.began)) == 0 {
		s.Errorf("%s was not reset, though its watchdog fired", s.host.Name)
	}
	s.Logf("vm1 wrote on h%d %v after the reset of %s", now.Host, now.First.Sub(at).Round(10*time.Millisecond), s.host.Name)
}

func (s *stage) answers() bool {
	_, err := s.host.Sh(2*time.Second, "true")
	return err == nil
}

// note reads why the host says that it was reset.
func (s *stage) note(want string) {
	s.Helper()
	note := s.must("cat /var/lib/haagent/last-reset.json")
	if !strings.Contains(note, want) || strings.Contains(note, `"averted": true`) || !strings.Contains(note, UUID(s.vm)) {
		s.Errorf("the note does not say %q and name %s:\n%s", want, UUID(s.vm), note)
	}
	s.until(20*time.Second, "the agent says after the boot that the watchdog had reset the machine", func() (bool, string) {
		out := s.host.Console(400)
		return strings.Contains(out, "this machine was reset by its watchdog"), out
	})
}
