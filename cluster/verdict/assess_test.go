package verdict

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-ha/holdfast/fsm"
)

// anySignals draws whatever can be seen of a host, sense or nonsense.
func anySignals(t *rapid.T) Signals {
	age := rapid.Map(rapid.Int64Range(-1, 40), func(n int64) time.Duration { return time.Duration(n) * time.Second })
	flag := rapid.Bool()
	sign := rapid.Custom(func(t *rapid.T) VolumeSign {
		return VolumeSign{Age: age.Draw(t, "age"), Readable: flag.Draw(t, "readable"), By: rapid.SampledFrom([]string{"", "b"}).Draw(t, "by")}
	})
	name := rapid.SampledFrom([]string{"x", "y", "z"})
	return Signals{
		Status:      rapid.SampledFrom([]fsm.HostStatus{fsm.HostLive, fsm.HostDead, fsm.HostJoining}).Draw(t, "status"),
		Incarnation: rapid.Uint64Range(1, 3).Draw(t, "incarnation"), By: "a",
		Networks: rapid.MapOf(name, age).Draw(t, "networks"), Heard: max(age.Draw(t, "heard"), 0), Suspected: flag.Draw(t, "suspected"),
		Bound: bound, StorageBound: storageBound, PingBound: pingBound, Watched: max(age.Draw(t, "watched"), 0),
		Volumes: rapid.MapOf(name, sign).Draw(t, "volumes"),
		Relayed: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) RelayedSign {
			return RelayedSign{name.Draw(t, "volume"), sign.Draw(t, "sign")}
		}), 0, 3).Draw(t, "relayed"),
		Slot: Slot{Incarnation: rapid.Uint64Range(0, 3).Draw(t, "slot"), Isolated: flag.Draw(t, "isolated"), Stopped: flag.Draw(t, "stopped"),
			CleanExit: flag.Draw(t, "clean"), SelfFencing: flag.Draw(t, "fencing")},
		Ping: rapid.MapOf(name, rapid.Custom(func(t *rapid.T) PingSign {
			return PingSign{Asked: flag.Draw(t, "asked"), Age: age.Draw(t, "age")}
		})).Draw(t, "ping"),
		Off:         Proof{Text: rapid.SampledFrom([]string{"", "its power switch says off"}).Draw(t, "off")},
		Maintenance: flag.Draw(t, "maintenance"), Left: rapid.IntRange(0, 9).Draw(t, "left") == 0,
	}
}

// What no combination of signals may do.
func TestWhatAVerdictNeverDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySignals(t)
		a := Assess(s)
		committed := s.Status == fsm.HostDead
		if a.Row == "" || a.Verdict == "" || a.Restarts == "" || a.Text == "" {
			t.Fatalf("no row applies: %+v", a)
		}
		if a.Verdict == Dead && !committed {
			t.Fatalf("declares a death that is not committed")
		}
		if a.Restarts == RestartAll && !committed {
			t.Fatalf("gives all VMs away before the death is committed")
		}
		if a.Restarts != RestartNone && !committed && s.Heard <= bound {
			t.Fatalf("gives VMs of a host away that is heard and says itself what it runs")
		}
		if w := a.Verdict; (w == Isolated || a.Restarts == RestartReleased && w != Partitioned) && s.Slot.Incarnation != s.Incarnation {
			t.Fatalf("believes what another incarnation wrote: %s, %s", a.Verdict, a.Restarts)
		}
		for _, v := range s.Volumes {
			if v.Readable && v.Age >= 0 && v.Age <= storageBound && a.Verdict == Suspect && !s.Suspected {
				t.Fatalf("suspects a host that is alive on storage and acknowledged")
			}
		}
		if v, ev := Judge(s); v != a.Verdict || !cmp.Equal(ev, a.Evidence) {
			t.Fatalf("Judge says %s, Assess %s, or their evidence differs", v, a.Verdict)
		}
	})
}

// Storage that nobody can read is never evidence of death: what was last read of it
// makes no difference to the verdict.
func TestUnreadableStorageIsNoEvidence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySignals(t)
		for n, v := range s.Volumes {
			v.Readable = false
			s.Volumes[n] = v
		}
		for i := range s.Relayed {
			s.Relayed[i].Readable = false
		}
		before := Assess(s).Verdict
		for n, v := range s.Volumes {
			v.Age = 0
			s.Volumes[n] = v
		}
		if after := Assess(s).Verdict; after != before {
			t.Fatalf("what was read before the volumes were lost turns %s into %s", before, after)
		}
		if lost := s.Heard > bound && s.Status == fsm.HostLive && !s.Left && !s.Maintenance; lost && before == Suspect && len(s.Volumes)+len(s.Relayed) > 0 {
			t.Fatalf("silence on volumes that nobody can read counts as silence")
		}
	})
}

func TestEvidenceOfAHost(t *testing.T) {
	s := signals()
	s.StorageBound, s.PingBound = storageBound, pingBound
	s.Volumes = map[string]VolumeSign{"hb2": {Age: 9 * time.Second, Readable: true}, "hb1": {Age: 3 * time.Second, Detail: "no I/O has ended for 3s"}, "hb3": {Age: -1, Readable: true}, "hb4": {Age: -1}}
	s.Relayed = []RelayedSign{{"hb1", VolumeSign{Age: time.Second, Readable: true, By: "c"}}, {"hb1", VolumeSign{Age: 2 * time.Second, Readable: true, By: "b"}}}
	s.Ping = map[string]PingSign{"10.0.0.1": {Asked: true, Age: time.Second}, "10.1.0.1": {Asked: true, Age: 8 * time.Second, By: "b"},
		"10.2.0.1": {Asked: true, Age: -1, Detail: "host is unreachable"}, "10.3.0.1": {Age: -1, Detail: "network is unreachable"}, "10.4.0.1": {Age: -1}}
	s.Slot = Slot{Incarnation: 3, Isolated: true, Stopped: true, CleanExit: true, SelfFencing: true, FenceReason: "its lease ended", Volume: "hb1", By: "c", Age: time.Second}
	s.Hypervisor = "connection refused"
	s.Off = Proof{Text: "its power switch says off", By: "b", Age: time.Minute}
	_, got := Judge(s)
	want := []fsm.Evidence{
		{Signal: "heartbeat over mgmt", Value: "arrives", Age: time.Second, By: "a"},
		{Signal: "heartbeat over storage", Value: "none for 2s (the bound is 1.5s)", Age: 2 * time.Second, By: "a"},
		{Signal: "storage heartbeat on hb1", Value: "cannot be read: no I/O has ended for 3s", Age: 3 * time.Second, By: "a"},
		{Signal: "storage heartbeat on hb1", Value: "arrives", Age: 2 * time.Second, By: "b"},
		{Signal: "storage heartbeat on hb1", Value: "arrives", Age: time.Second, By: "c"},
		{Signal: "storage heartbeat on hb2", Value: "none for 9s (the bound is 5s)", Age: 9 * time.Second, By: "a"},
		{Signal: "storage heartbeat on hb3", Value: "none of this incarnation", By: "a"},
		{Signal: "storage heartbeat on hb4", Value: "cannot be read", By: "a"},
		{Signal: "ping of 10.0.0.1", Value: "answers", Age: time.Second, By: "a"},
		{Signal: "ping of 10.1.0.1", Value: "no answer for 8s (the bound is 2s)", Age: 8 * time.Second, By: "b"},
		{Signal: "ping of 10.2.0.1", Value: "has never answered: host is unreachable", By: "a"},
		{Signal: "ping of 10.3.0.1", Value: "cannot be asked: network is unreachable", By: "a"},
		{Signal: "its record on hb1", Value: "isolated: it hears nobody on any network", Age: time.Second, By: "c"},
		{Signal: "its record on hb1", Value: "vms_stopped: every protected VM is proven gone", Age: time.Second, By: "c"},
		{Signal: "its record on hb1", Value: "clean_exit: its agent ended in good order, with no protected VM left", Age: time.Second, By: "c"},
		{Signal: "its record on hb1", Value: "self_fencing: its lease ended, and it is stopping its VMs", Age: time.Second, By: "c"},
		{Signal: "its record on hb1", Value: "it last fenced itself because its lease ended", Age: time.Second, By: "c"},
		{Signal: "hypervisor", Value: "does not answer: connection refused", By: "a"},
		{Signal: "power", Value: "its power switch says off", Age: time.Minute, By: "b"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the evidence differs (-want +got):\n%s", d)
	}
	s.Slot = Slot{Incarnation: 2, Isolated: true, Age: time.Second}
	_, got = Judge(s)
	stale := fsm.Evidence{Signal: "its record", Value: "of incarnation 2, which is not the present one (3): not believed", Age: time.Second, By: "a"}
	if i := slices.IndexFunc(got, func(e fsm.Evidence) bool { return strings.HasPrefix(e.Signal, "its record") }); i < 0 || got[i] != stale || got[i+1].Signal == "its record" {
		t.Errorf("of an earlier life's record the evidence says %v, want one line: %v", got[max(i, 0):], stale)
	}
}

func TestWarnings(t *testing.T) {
	read := func(age time.Duration) VolumeSign { return VolumeSign{Age: age, Readable: true} }
	for _, tt := range []struct {
		name    string
		volumes map[string]VolumeSign
		want    string
	}{
		{"both arrive", map[string]VolumeSign{"hb1": read(young), "hb2": read(young)}, ""},
		{"one is late", map[string]VolumeSign{"hb1": read(young), "hb2": read(4 * storageBound)}, ""},
		{"one is quiet", map[string]VolumeSign{"hb1": read(young), "hb2": read(4*storageBound + 1)}, "no storage heartbeat on hb2 for more than 20s; it writes to another volume, so nothing else changes"},
		{"one was never written", map[string]VolumeSign{"hb1": read(-1), "hb2": read(young)}, "no storage heartbeat on hb1 for more than 20s; it writes to another volume, so nothing else changes"},
		{"both are late", map[string]VolumeSign{"hb1": read(storageBound + 1), "hb2": read(storageBound + 1)}, "no storage heartbeat on hb1, hb2 for more than 5s; it is heard over the network, so nothing else changes"},
		{"one is late, the other unread", map[string]VolumeSign{"hb1": read(storageBound + 1), "hb2": {}}, "no storage heartbeat on hb1 for more than 5s; it is heard over the network, so nothing else changes"},
		{"one is unread", map[string]VolumeSign{"hb1": read(young), "hb2": {Age: old}}, ""},
		{"both are unread", map[string]VolumeSign{"hb1": {}, "hb2": {}}, "nobody can read any of its heartbeat volumes; it is heard over the network, so nothing else changes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := signals()
			s.Volumes, s.StorageBound, s.Watched = tt.volumes, storageBound, time.Hour
			var got []string
			for _, w := range Assess(s).Warnings {
				got = append(got, w.Text)
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("the warnings are %q, want %q", got, tt.want)
			}
			s.Heard = s.Bound + 1
			if w := Assess(s).Warnings; w != nil {
				t.Errorf("a host that is not heard has a verdict, and the warnings %v", w)
			}
		})
	}
	t.Run("one reader sees it", func(t *testing.T) {
		s := signals()
		s.Volumes, s.StorageBound, s.Watched = map[string]VolumeSign{"hb1": read(old + storageBound), "hb2": read(young)}, storageBound, time.Hour
		s.Relayed = []RelayedSign{{"hb1", VolumeSign{Age: young, Readable: true, By: "b"}}}
		if w := Assess(s).Warnings; w != nil {
			t.Errorf("warnings are %v, though b reads its heartbeat", w)
		}
	})
	t.Run("it has had no time to write", func(t *testing.T) {
		s := signals()
		s.Volumes, s.StorageBound, s.Watched = map[string]VolumeSign{"hb1": read(-1)}, storageBound, storageBound
		if w := Assess(s).Warnings; w != nil {
			t.Errorf("warnings are %v", w)
		}
	})
}

func TestTextOfMaintenance(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   func(*Signals)
		want string
	}{
		{"heard", func(*Signals) {}, "is in maintenance"},
		{"silent", func(s *Signals) { s.Heard = old }, "is in maintenance; it has not been heard for 20s"},
		{"dead", func(s *Signals) { s.Heard, s.Status = old, fsm.HostDead }, "is in maintenance; incarnation 3 was declared dead"},
		{"not begun", func(s *Signals) { s.Heard, s.Status = old, fsm.HostJoining }, "is in maintenance"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := signals()
			s.Maintenance = true
			tt.in(&s)
			if a := Assess(s); a.Verdict != Maintenance || a.Text != tt.want {
				t.Errorf("the verdict is %s, %q; want maintenance, %q", a.Verdict, a.Text, tt.want)
			}
		})
	}
}

func TestTextOfSelfFencing(t *testing.T) {
	s := signals()
	s.Heard, s.Suspected, s.Slot = old, true, Slot{Incarnation: 3, SelfFencing: true}
	const words = "; its last record says that its lease ended and that it is stopping its VMs"
	if a := Assess(s); !strings.HasSuffix(a.Text, words) {
		t.Errorf("the text is %q, want it to end with %q", a.Text, words)
	}
	s.Slot.Incarnation = 2
	if a := Assess(s); strings.Contains(a.Text, words) {
		t.Errorf("the text repeats what an earlier life said: %q", a.Text)
	}
}

// The master's side of the timelines, seen every 100 ms from the fault on. The
// commit of the death comes from the wait of R7, here after 13.3 s.
func TestTimelines(t *testing.T) {
	const wait = 13300 * time.Millisecond
	type change struct {
		at time.Duration
		v  Verdict
	}
	for _, tt := range []struct {
		name                     string
		volumes, writes, answers bool          // it has volumes; goes on writing to them; goes on answering pings
		flag                     time.Duration // when it writes that it is isolated; 0: never
		want                     []change
	}{
		{"a host fails, no volumes", false, false, false, 0, []change{{0, Live}, {1600 * time.Millisecond, Suspect}, {wait, Dead}}},
		{"a host fails", true, false, false, 0, []change{{0, Live}, {1600 * time.Millisecond, Suspect}, {wait, Dead}}},
		{"its agent fails for good", true, false, true, 0, []change{{0, Live}, {1600 * time.Millisecond, AgentDown}, {wait, Dead}}},
		{"its agent fails for good, no volumes", false, false, true, 0, []change{{0, Live}, {1600 * time.Millisecond, AgentDown}, {wait, Dead}}},
		{"it is partitioned", true, true, false, 0, []change{{0, Live}, {1600 * time.Millisecond, Partitioned}}},
		{"it is isolated", true, true, false, 3 * time.Second, []change{{0, Live}, {1600 * time.Millisecond, Partitioned}, {3 * time.Second, Isolated}}},
		{"its port is blocked", true, true, true, 0, []change{{0, Live}, {1600 * time.Millisecond, AgentDown}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []change
			for at := time.Duration(0); at <= 10*time.Minute; at += 100 * time.Millisecond {
				s := Signals{Status: fsm.HostLive, Incarnation: 3, By: "a", Heard: at, Bound: bound, StorageBound: bound, PingBound: 1500 * time.Millisecond,
					Networks: map[string]time.Duration{"mgmt": at}, Ping: map[string]PingSign{"10.0.0.1": {Asked: true, Age: at}}}
				if tt.answers {
					s.Ping["10.0.0.1"] = PingSign{Asked: true, Age: young}
				}
				if tt.volumes {
					s.Volumes = map[string]VolumeSign{"hb1": {Readable: true, Age: at}, "hb2": {Readable: true, Age: at}}
				}
				if tt.writes {
					s.Volumes["hb2"] = VolumeSign{Readable: true, Age: young}
					s.Slot = Slot{Incarnation: 3, Isolated: tt.flag != 0 && at >= tt.flag}
				}
				s.Suspected = at > bound && !tt.writes // neither by network nor by storage
				if s.Suspected && at >= wait {
					s.Status = fsm.HostDead
				}
				if v, _ := Judge(s); len(got) == 0 || got[len(got)-1].v != v {
					got = append(got, change{at, v})
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("the verdicts are %v, want %v", got, tt.want)
			}
		})
	}
}
