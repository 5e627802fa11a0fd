package fsm

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// disarm has a person disarm the rig's cluster, and returns the number of the wish.
func (r *rig) disarm(d time.Duration) uint64 {
	r.Helper()
	return r.must(&DisarmCluster{Meta: r.meta(), For: d, Why: "new switches"}).(uint64)
}

// told are the types of the events since, in order.
func (r *rig) told(since uint64) (types []string) {
	for _, e := range r.state().Events {
		if e.ID > since {
			types = append(types, e.Type)
		}
	}
	return types
}

func TestDisarmIsSaidAgainAndEnds(t *testing.T) {
	r := newCluster(t)
	began := r.state().LastEvent
	first := r.disarm(time.Hour)
	was := *r.state().Disarmed
	if was.ID != first || was.By != "ann" || was.Why != "new switches" || !was.Until().Equal(was.At.Add(time.Hour)) || !was.Since.Equal(was.At) {
		t.Fatalf("disarmed: %+v", was)
	}
	if text := was.Text(); !strings.Contains(text, was.Until().Format("15:04:05")) || !strings.Contains(text, "new switches, says ann") || !strings.Contains(text, "haadm arm") {
		t.Errorf("it is told as %q", text)
	}
	r.must(&WarnArms{Meta: r.meta(), Epoch: 1, Disarm: first})
	r.must(&WarnArms{Meta: r.meta(), Epoch: 1, Disarm: first})
	second := r.disarm(2 * time.Hour)
	if is := r.state().Disarmed; is.ID != second || second == first || !is.Since.Equal(was.Since) || is.Warned || is.For != 2*time.Hour {
		t.Errorf("after it is asked for again: %+v, at first %+v", is, was)
	}
	for name, c := range map[string]Command{
		"the time of the first wish is over":  &ArmCluster{Meta: r.meta(), Over: first, Epoch: 1},
		"an office that was overtaken":        &ArmCluster{Meta: r.meta(), Over: second, Epoch: 7},
		"a warning about the first wish":      &WarnArms{Meta: r.meta(), Epoch: 1, Disarm: first},
		"a warning of an office of long ago":  &WarnArms{Meta: r.meta(), Epoch: 7, Disarm: second},
		"a host whose VMs would not be moved": &SetMaintenance{Meta: r.meta(), Host: "b", On: true},
		"an order that nobody asked for":      &Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Previous: r.state().VMs[uuid(2)].Generation, Host: "a", Incarnation: 1, Why: "free"},
		"a move that nobody asked for":        &BeginMove{Meta: Meta{At: day}, Epoch: 1, UUID: uuid(1), Previous: r.state().VMs[uuid(1)].Generation, Host: "a", Incarnation: 1, Why: "load"},
	} {
		before := r.state()
		if res := r.do(c); res.Refusal == nil || r.state() != before {
			t.Errorf("%s: not refused", name)
		} else if text := res.Refusal.Message; res.Refusal.Code == CodeConflict && !strings.Contains(text, "new switches, says ann") {
			t.Errorf("%s: refused with %q, which does not say who has it disarmed and why", name, text)
		}
	}
	over := &ArmCluster{Meta: r.meta(), Over: second, Epoch: 1}
	r.must(over)
	r.must(&ArmCluster{Meta: Meta{At: over.At.Add(time.Hour), By: "ann"}})
	if is := r.state().Armed; !is.Equal(over.At) {
		t.Errorf("armed at %v, want %v: arming it once more changes nothing", is, over.At)
	}
	if r.state().Disarmed != nil {
		t.Error("it is disarmed for ever")
	}
	if got, want := r.told(began), []string{EventClusterDisarmed, EventClusterArmsSoon, EventClusterDisarmed, EventClusterArmed}; !slices.Equal(got, want) {
		t.Errorf("told: %v, want %v", got, want)
	}
	r.must(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Previous: r.state().VMs[uuid(2)].Generation, Host: "a", Incarnation: 1, Why: "free"})
}

func TestDisarmIsBounded(t *testing.T) {
	for _, c := range []*DisarmCluster{
		{For: DisarmLeast - 1, Why: "x"}, {For: DisarmMost + 1, Why: "x"}, {For: -time.Hour, Why: "x"}, {For: time.Hour, Why: " "}, {For: time.Hour, Why: strings.Repeat("x", maxText+1)},
	} {
		if _, err := Encode(c); err == nil {
			t.Errorf("%v because of %.9q is taken", c.For, c.Why)
		}
	}
}

// What people ask for while the cluster is disarmed is carried out to its end, and nothing else is.
func TestDisarmedPeopleAsk(t *testing.T) {
	assign := func(r *rig, n int) Result {
		return r.do(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(n), Previous: r.state().VMs[uuid(n)].Generation, Host: "a", Incarnation: 1, Why: "free"})
	}
	report := func(r *rig, n int, o Outcome, move uint64) {
		r.Helper()
		p := r.state().VMs[uuid(n)].Owner
		r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(n), Host: p.Host, Incarnation: p.Incarnation, Generation: p.Generation, Outcome: o, Detail: "so it is", Move: move})
	}
	start := func(n int) Command {
		return &SetIntent{Meta: Meta{At: day, By: "ann"}, UUID: uuid(n), Intent: IntentRun, Why: "ann asked for it"}
	}
	move := func(r *rig) uint64 {
		return r.must(&BeginMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: r.state().VMs[uuid(1)].Generation, Host: "a", Incarnation: 1, Cold: true, Why: "ann asked for it"}).(uint64)
	}
	for _, x := range []struct {
		name string
		vm   int
		do   func(*rig)
		want bool // it is placed
	}{
		{"nobody asks", 2, func(*rig) {}, false},
		{"one that waits is started", 2, func(r *rig) { r.must(start(2)) }, true},
		{"one that waits is tried again", 2, func(r *rig) { r.must(&RetryVM{Meta: r.meta(), UUID: uuid(2)}) }, true},
		{"one that was stopped is started", 3, func(r *rig) { r.must(start(3)) }, true},
		{"one is started, and its start fails", 2, func(r *rig) {
			r.must(start(2))
			assign(r, 2)
			report(r, 2, OutcomeStartFailed, 0)
		}, true},
		{"one is started, runs and crashes", 2, func(r *rig) {
			r.must(start(2))
			assign(r, 2)
			report(r, 2, OutcomeRunning, 0)
			report(r, 2, OutcomeCrashed, 0)
		}, false},
		{"one is started, runs and is given back", 2, func(r *rig) {
			r.must(start(2))
			assign(r, 2)
			report(r, 2, OutcomeRunning, 0)
			report(r, 2, OutcomeReleased, 0)
		}, false},
		{"one is started, and stopped before it was", 2, func(r *rig) {
			r.must(start(2))
			r.must(&SetIntent{Meta: r.meta(), UUID: uuid(2), Intent: IntentStop})
		}, false},
		{"one is stopped, and started before its host has stopped it", 1, func(r *rig) {
			r.must(&SetIntent{Meta: r.meta(), UUID: uuid(1), Intent: IntentStop})
			r.must(start(1))
			report(r, 1, OutcomeReleased, 0)
		}, true},
		{"one is stopped and started, runs on, and crashes", 1, func(r *rig) {
			r.must(&SetIntent{Meta: r.meta(), UUID: uuid(1), Intent: IntentStop})
			r.must(start(1))
			report(r, 1, OutcomeCrashed, 0)
		}, false},
		{"one is restarted", 1, func(r *rig) {
			r.must(&RestartVM{Meta: r.meta(), UUID: uuid(1), Previous: r.state().VMs[uuid(1)].Generation})
			report(r, 1, OutcomeReleased, 0)
		}, true},
		{"one crashes", 1, func(r *rig) { report(r, 1, OutcomeCrashed, 0) }, false},
		{"one is given back", 1, func(r *rig) { report(r, 1, OutcomeReleased, 0) }, false},
		{"one is shut down for a move that is called off then", 1, func(r *rig) {
			id := move(r)
			r.must(&EndMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Move: id, Why: "too late"})
			report(r, 1, OutcomeMoved, id)
		}, true},
		{"one is moved, and does not start there", 1, func(r *rig) {
			report(r, 1, OutcomeMoved, move(r))
			report(r, 1, OutcomeStartFailed, 0)
		}, true},
		{"its host dies", 1, func(r *rig) {
			r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Text: "b is dead"})
		}, false},
		{"it was asked for before the cluster was armed and disarmed again", 2, func(r *rig) {
			r.must(start(2))
			r.must(&ArmCluster{Meta: r.meta()})
			r.disarm(time.Hour)
		}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := newCluster(t)
			r.disarm(time.Hour)
			x.do(r)
			if got := assign(r, x.vm); (got.Refusal == nil) != x.want {
				t.Errorf("placed: %v, want %v; refused: %v", got.Refusal == nil, x.want, got.Refusal)
			}
		})
	}
}

// Asking a second time for what was asked is told once.
func TestDisarmedStartIsToldOnce(t *testing.T) {
	r := newCluster(t)
	r.disarm(time.Hour)
	since := r.state().LastEvent
	for range 2 {
		r.must(&SetIntent{Meta: r.meta(), UUID: uuid(2), Intent: IntentRun, Why: "ann asked for it"})
	}
	if got := r.told(since); !slices.Equal(got, []string{EventVMIntentChanged}) {
		t.Errorf("told: %v", got)
	}
}

// The bytes are in the log of a cluster and in its snapshots: every later version reads them.
func TestDisarmIsReadForEver(t *testing.T) {
	r := newCluster(t)
	for _, x := range []struct {
		kind byte
		body string
	}{
		{35, `{"at":"2026-03-01T12:00:00Z","by":"ann","for":3600000000000,"why":"new switches"}`},
		{37, `{"at":"2026-03-01T12:30:00Z","epoch":1,"disarm":%}`},
	} {
		last, _ := json.Marshal(r.state().LastEvent)
		if res := r.raw(append([]byte{commandVersion, x.kind}, strings.Replace(x.body, "%", string(last), 1)...)); res.Refusal != nil {
			t.Fatal(res.Refusal)
		}
	}
	d := r.state().Disarmed
	got, err := json.Marshal(d)
	last, _ := json.Marshal(d.ID)
	if want := `{"id":` + string(last) + `,"since":"2026-03-01T12:00:00Z","at":"2026-03-01T12:00:00Z","for":3600000000000,"why":"new switches","by":"ann","warned":true}`; err != nil || string(got) != want {
		t.Errorf("disarmed is %s (%v), want %s", got, err, want)
	}
	if res := r.raw(append([]byte{commandVersion, 36}, `{"at":"2026-03-01T12:59:00Z","over":`+string(last)+`,"epoch":1}`...)); res.Refusal != nil || r.state().Disarmed != nil {
		t.Errorf("it is not over: %+v, %v", r.state().Disarmed, res.Refusal)
	}
}
