package master

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

func disarmed(id uint64, at time.Time, d time.Duration) *fsm.Disarm {
	return &fsm.Disarm{ID: id, Since: at, At: at, For: d, Why: "new switches", By: "ann"}
}

// When the cluster arms itself hangs on the wall clock once for each office, and never on more than was asked for.
func TestArmingOf(t *testing.T) {
	const hour = time.Hour
	for name, x := range map[string]struct {
		wall       time.Duration // since it was asked for, by this master's clock
		lasts      time.Duration
		was        arming
		ends, warn time.Duration // from now on
	}{
		"just asked for":                              {0, 2 * hour, arming{}, 2 * hour, 2*hour - 10*time.Minute},
		"a new office":                                {hour, 2 * hour, arming{}, hour, hour - 10*time.Minute},
		"a new office, at the last moment":            {2*hour - time.Second, 2 * hour, arming{}, time.Second, time.Second - 10*time.Minute},
		"a new office after the end":                  {3 * hour, 2 * hour, arming{}, 0, -10 * time.Minute},
		"a new office whose wall clock is a day back": {-24 * hour, 2 * hour, arming{}, 2 * hour, 2*hour - 10*time.Minute},
		"a short one":                                 {0, 2 * time.Minute, arming{}, 2 * time.Minute, 90 * time.Second},
		"the wall clock has jumped since":             {20 * hour, 2 * hour, arming{id: 7, ends: now + hour, warn: now + hour/2}, hour, hour / 2},
		"it was asked for anew":                       {0, 2 * hour, arming{id: 6, ends: now + 1, warn: now}, 2 * hour, 2*hour - 10*time.Minute},
	} {
		got := armingOf(&fsm.State{Disarmed: disarmed(7, wall, x.lasts)}, x.was, now, wall.Add(x.wall))
		if want := (arming{id: 7, ends: now + x.ends, warn: now + x.warn}); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if got := armingOf(&fsm.State{}, arming{id: 7, ends: 1}, now, wall); got != (arming{}) {
		t.Errorf("armed: %+v", got)
	}
}

func TestArmsItself(t *testing.T) {
	for name, x := range map[string]struct {
		do   func(in *input)
		want string
		next time.Duration
	}{
		"there is time":     {func(in *input) { in.arming.warn, in.arming.ends = now+1, now+2 }, "", now + 1},
		"it ends soon":      {func(in *input) { in.arming.warn, in.arming.ends = now, now+2 }, "*fsm.WarnArms", now + 2},
		"it was told":       {func(in *input) { in.arming.warn, in.arming.ends, in.state.Disarmed.Warned = now, now+2, true }, "", now + 2},
		"the time is over":  {func(in *input) { in.arming.warn, in.arming.ends = now-1, now }, "*fsm.ArmCluster", 0},
		"not looked at yet": {func(in *input) { in.arming = arming{id: 6} }, "", 0},
		"armed by a person": {func(in *input) { in.state.Disarmed = nil }, "", 0},
	} {
		in := scene(t)
		in.state.Disarmed, in.arming = disarmed(7, wall, time.Hour), arming{id: 7}
		x.do(&in)
		var d decision
		armsItself(in, fsm.Meta{At: in.wall}, &d)
		if got := strings.Join(brief(d), ", "); got != x.want || d.next != x.next {
			t.Errorf("%s: %q, looked at again at %v; want %q, %v", name, got, d.next, x.want, x.next)
		}
		for _, c := range d.commands {
			if arm, ok := c.(*fsm.ArmCluster); ok && (arm.Over != 7 || arm.Epoch != in.epoch) {
				t.Errorf("%s: %+v does not say which wish is over, and by whose word", name, arm)
			}
		}
	}
}

// A host is not switched off while the cluster is disarmed, though all else that is done about it goes on.
func TestDisarmedNoHostIsSwitchedOff(t *testing.T) {
	for _, off := range []bool{false, true} {
		in := scene(t)
		in.policy.Hosts = map[string]config.HostRule{"b": {Fence: [][]string{{"bmc"}}}}
		in.owner("b", 2, fsm.PhaseRunning)
		in.silent("b", 8*time.Second)
		in.hosts["b"].watch.Suspected = now - 6*time.Second
		if off {
			in.state.Disarmed = disarmed(7, wall, time.Hour)
		}
		if got := len(decide(in).fence) == 1; got == off {
			t.Errorf("disarmed %v: it is switched off: %v", off, got)
		}
		in.silent("b", in.timing.Wait()+time.Second)
		in.hosts["b"].watch.Suspected = now - in.timing.Wait()
		if got := len(decide(in).dead) == 1; !got {
			t.Errorf("disarmed %v: it is not declared dead", off)
		}
	}
}

// Whom the office has decided to switch off a moment before the cluster was disarmed stays on.
func TestDisarmedAtTheLastMoment(t *testing.T) {
	f := &fakeFencer{takes: time.Second}
	fenced(t, f, func(r *rig) {
		r.must(&fsm.DisarmCluster{Meta: fsm.Meta{At: time.Now(), By: "ann"}, For: time.Hour, Why: "new switches"})
		r.beating(3*time.Second, "a", "c")
		r.Master.mu.Lock()
		o, suspected := r.office, r.office.hosts["b"].watch.Suspected != 0
		r.Master.mu.Unlock()
		if !suspected {
			t.Fatal("b is not suspected")
		}
		r.switchOff(r.Context(), o, "b")
		r.beating(time.Minute, "a", "c")
		if got := f.all(); got != "" {
			t.Errorf("done: %s", got)
		}
		if h := r.state().Hosts["b"]; h.Status != fsm.HostDead {
			t.Errorf("b, silent for more than a minute, is %s", h.Status)
		}
	})
}

// What was planned to be moved stays until the cluster is armed, and the plan is not used up by it.
func TestDisarmedNothingIsMoved(t *testing.T) {
	for _, off := range []bool{false, true} {
		in := scene(t)
		in.owner("b", 2, fsm.PhaseRunning)
		before := *in.state
		in.moves = &movePlan{Moves: &placement.Moves{Begin: []placement.Relocation{{VM: "web", From: "b", To: "c"}}}, state: &before, policy: in.policy, uuids: map[string]string{"web": web}}
		if off {
			in.state.Disarmed = disarmed(7, wall, time.Hour)
		}
		d := decide(in)
		moves := slices.ContainsFunc(d.commands, func(c fsm.Command) bool { _, ok := c.(*fsm.BeginMove); return ok })
		if moves == off || (d.moved != nil) == off {
			t.Errorf("disarmed %v: moved %v, plan used %v", off, moves, d.moved != nil)
		}
	}
}

// A host that is shut down while nothing is moved does not wait for moves.
func TestDisarmedHostIsNotEmptied(t *testing.T) {
	for _, off := range []bool{false, true} {
		in := going(t, config.ShutdownMigrate)
		in.state.Hosts["b"].Shutdown = &fsm.Shutdown{Incarnation: 2, Since: wall.Add(-time.Minute), Action: fsm.ShutdownMigrate}
		if off {
			in.state.Disarmed = disarmed(7, wall, time.Hour)
		}
		if all, _ := notes(decide(in)); (len(all) == 1 && all[0].Rest) != off {
			t.Errorf("disarmed %v: noted is %+v", off, all)
		}
	}
}

// People are refused what would come to nothing while the cluster is disarmed, and told who has it so.
func TestDisarmedMaintenanceIsRefused(t *testing.T) {
	bubble(t, func(r *rig) {
		r.beating(2*time.Second, "a", "b", "c")
		r.must(&fsm.DisarmCluster{Meta: fsm.Meta{At: time.Now(), By: "ann"}, For: time.Hour, Why: "new switches"})
		err := r.SetMaintenance(r.Context(), "b", api.MaintenanceRequest{On: true}, "bob")
		if err == nil || !strings.Contains(err.Error(), "new switches, says ann") || !strings.Contains(err.Error(), "haadm arm") || r.state().Hosts["b"].Maintenance != nil {
			t.Errorf("answered %v", err)
		}
		r.must(&fsm.ArmCluster{Meta: fsm.Meta{At: time.Now()}})
		if err := r.SetMaintenance(r.Context(), "b", api.MaintenanceRequest{On: true}, "bob"); err != nil || r.state().Hosts["b"].Maintenance == nil {
			t.Errorf("armed: answered %v", err)
		}
	})
}

// The office arms the cluster at the end of its time, by the boot clock.
func TestTheOfficeArmsTheCluster(t *testing.T) {
	bubble(t, func(r *rig) {
		r.must(&fsm.DisarmCluster{Meta: fsm.Meta{At: time.Now(), By: "ann"}, For: 2 * time.Minute, Why: "new switches"})
		r.beating(89*time.Second, "a", "b", "c")
		if x := r.state().Disarmed; x == nil || x.Warned {
			t.Fatalf("after 89 s: %+v", x)
		}
		r.beating(2*time.Second, "a", "b", "c")
		if x := r.state().Disarmed; x == nil || !x.Warned {
			t.Fatalf("half a minute before the end: %+v", x)
		}
		if err := r.resign(); !errors.Is(err, context.Canceled) {
			t.Fatalf("the office ends with %v", err)
		}
		r.hold()
		r.beating(27*time.Second, "a", "b", "c")
		if r.state().Disarmed == nil {
			t.Fatal("it is armed before the end")
		}
		r.beating(3*time.Second, "a", "b", "c")
		if x := r.state().Disarmed; x != nil {
			t.Fatalf("after the end: %+v", x)
		}
	})
}
