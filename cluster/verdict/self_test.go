package verdict

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/fsm"
)

const hostBound = 10 * time.Second

// addressesOf are the isolation addresses as the word says.
func addressesOf(t *testing.T, word string) []map[string]PingSign {
	t.Helper()
	switch word {
	case "any", "":
		return append(addressesOf(t, "at least one answers"), addressesOf(t, "none answers")...)
	case "at least one answers":
		return []map[string]PingSign{
			{"10.0.0.1": {Asked: true, Age: pingBound}},
			{"10.0.0.1": {Asked: true, Age: -1}, "10.1.0.1": {Asked: true, Age: young}},
			{"10.0.0.1": {Asked: true, Age: old}, "10.1.0.1": {Asked: true, Age: young}, "10.2.0.1": {Age: -1, Detail: "network is unreachable"}},
		}
	case "none answers":
		return []map[string]PingSign{
			{"10.0.0.1": {Asked: true, Age: pingBound + 1}},
			{"10.0.0.1": {Asked: true, Age: old}, "10.1.0.1": {Asked: true, Age: -1}},
			{"10.0.0.1": {Age: -1, Detail: "network is unreachable"}},
		}
	case "not asked yet":
		return []map[string]PingSign{{"10.0.0.1": {Age: -1}, "10.1.0.1": {Asked: true, Age: old}}}
	case "there are none":
		return []map[string]PingSign{nil}
	}
	t.Fatalf("no signals are known for iso_addr %q", word)
	return nil
}

// ownVolumesOf are the host's volumes as the word says. That a VM's own storage is
// gone says nothing of them.
func ownVolumesOf(t *testing.T, word string) []map[string]VolumeSign {
	t.Helper()
	switch word {
	case "ok", "home volume of a VM lost (PDL)", "home volume of a VM lost (APD)":
		return []map[string]VolumeSign{
			{"hb1": {Readable: true, Age: storageBound}},
			{"hb1": {Age: young, Detail: "input/output error"}, "hb2": {Readable: true, Age: young}},
			{"hb1": {Readable: true, Age: old}, "hb2": {Readable: true, Age: young}},
		}
	case "lost for all volumes":
		return []map[string]VolumeSign{
			{"hb1": {Age: young, Detail: "input/output error"}},
			{"hb1": {Readable: true, Age: storageBound + 1}, "hb2": {Readable: true, Age: -1}},
		}
	case "there are no volumes":
		return []map[string]VolumeSign{nil}
	case "any", "":
		return append(ownVolumesOf(t, "ok"), ownVolumesOf(t, "lost for all volumes")...)
	}
	t.Fatalf("no signals are known for storage %q", word)
	return nil
}

// selfSignalsOf are all the combinations that a row of host_local stands for.
func selfSignalsOf(t *testing.T, row map[string]string) []SelfSignals {
	t.Helper()
	var all []SelfSignals
	yesNo := func(column, dflt string) []bool {
		word := row[column]
		if word == "" {
			word = dflt
		}
		switch word {
		case "yes":
			return []bool{true}
		case "no":
			return []bool{false}
		case "any":
			return []bool{true, false}
		}
		t.Fatalf("no signals are known for %s %q", column, word)
		return nil
	}
	for _, master := range yesNo("leader_contact", "") {
		for _, others := range yesNo("other_agents", "yes") {
			for _, quorum := range yesNo("quorum", "yes") {
				for _, addrs := range addressesOf(t, row["iso_addr"]) {
					for _, volumes := range ownVolumesOf(t, row["storage"]) {
						s := SelfSignals{By: "c", Running: time.Hour, Acknowledged: hostBound + 1, Hosts: map[string]time.Duration{"a": -1, "b": hostBound + 1},
							Bound: hostBound, Majority: quorum, Addresses: addrs, PingBound: pingBound, Volumes: volumes, StorageBound: storageBound}
						if master {
							s.Acknowledged = hostBound
						}
						if others {
							s.Hosts["b"] = hostBound
						}
						if row["agent"] == "started a moment ago" {
							s.Running, s.Acknowledged = hostBound, -1
							s.Hosts = map[string]time.Duration{"a": -1, "b": -1}
						}
						all = append(all, s)
					}
				}
			}
		}
	}
	return all
}

// What each row of host_local comes to in our words: the host's standing, and
// which VMs the strictest isolation response stops once its delay is over: one whose
// storage is well, and one whose storage is gone.
func TestDecisionTableOfTheHost(t *testing.T) {
	type want struct {
		standing   Standing
		well, gone bool
	}
	wants := map[string]want{
		"L01": {Connected, false, false},
		"L02": {Connected, false, false},
		"L03": {Apart, false, false}, // keep or evict is the lease's: it renews by proof, or it ends
		"L04": {Apart, false, false},
		"L05": {Alone, true, true},
		"L06": {CutOff, false, true},     // no volume, so no master is seen; the end of the lease stops the rest
		"L07": {Connected, false, false}, // what becomes of that VM is its storage's matter, not isolation's
		"L08": {Connected, false, false},
		"L09": {Connected, false, false},
		"E11": {Apart, false, false},
		"E13": {Apart, false, false},
		"E14": {Alone, true, true},
		"E15": {CutOff, false, true},
	}
	rows := slices.Concat(readTable(t, "testdata/decision_table.json").HostLocal, readTable(t, "testdata/more_rows.json").HostLocal)
	for _, row := range rows {
		id := row["id"]
		t.Run(id, func(t *testing.T) {
			if id == "L10" {
				crashedAgent(t, row)
				return
			}
			w, ok := wants[id]
			if !ok {
				t.Fatal("it is not said what this row comes to")
			}
			name := row["row"]
			if name == "" {
				name = id
			}
			for _, s := range selfSignalsOf(t, row) {
				a := AssessSelf(s)
				if a.Standing != w.standing {
					t.Errorf("%+v:\n the standing is %s, want %s", s, a.Standing, w.standing)
				}
				if a.Row != name && id != "L07" && id != "L08" && id != "L09" { // those three are not about the host's standing
					t.Errorf("%+v:\n the row is %s, want %s", s, a.Row, name)
				}
				r := Response{Now: time.Hour, Standing: a.Standing, Since: Since(time.Minute, a.Standing, time.Hour), Master: young, MasterBound: storageBound,
					VMs: []ResponseVM{
						{UUID: "1", Name: "well", Policy: ResponsePolicy{Action: PowerOff, Delay: 30 * time.Second}},
						{UUID: "2", Name: "gone", Policy: ResponsePolicy{Action: PowerOff, Delay: 30 * time.Second}, StorageGone: true},
					}}
				if a.Standing == CutOff {
					r.Master = -1
				}
				var stopped []string
				for _, st := range Respond(r).Steps {
					stopped = append(stopped, st.Name)
				}
				if slices.Contains(stopped, "well") != w.well || slices.Contains(stopped, "gone") != w.gone {
					t.Errorf("%+v:\n the isolation response stops %v, want well: %t, gone: %t", s, stopped, w.well, w.gone)
				}
			}
		})
	}
}

// An agent that crashed decides nothing; what its silence looks like is the
// master's view.
func crashedAgent(t *testing.T, row map[string]string) {
	t.Helper()
	if row["agent"] != "crashed" {
		t.Fatalf("the row is of an agent that is %q", row["agent"])
	}
	s := Signals{Status: fsm.HostLive, Incarnation: 3, By: "a", Networks: map[string]time.Duration{}, Heard: bound, Bound: bound,
		Volumes: map[string]VolumeSign{"hb1": {Readable: true, Age: bound}}, StorageBound: storageBound,
		Ping: map[string]PingSign{"10.0.0.1": {Asked: true, Age: young}}, PingBound: pingBound}
	if v, _ := Judge(s); v != Live {
		t.Errorf("an agent that is started again within the bound leaves the verdict %s, want live", v)
	}
	s.Heard, s.Volumes["hb1"] = storageBound+1, VolumeSign{Readable: true, Age: storageBound + 1}
	if v, _ := Judge(s); v != AgentDown {
		t.Errorf("an agent that stays away is %s, want agent_down", v)
	}
	if v, _ := Judge(asDead(s)); v != Dead {
		t.Errorf("once its lease was waited out it is %s, want dead", v)
	}
}

func TestHypervisorDownIsNoDeath(t *testing.T) { // L09, as the master sees it
	s := signals()
	s.Hypervisor = "connection refused"
	a := Assess(s)
	if a.Verdict != Live || a.Restarts != RestartNone || len(a.Warnings) != 1 || a.Warnings[0].Name != WarnHypervisor {
		t.Errorf("the verdict is %s, restarts %s, warnings %v; want live, none and %s", a.Verdict, a.Restarts, a.Warnings, WarnHypervisor)
	}
}

func TestWhoeverAnswersSpeaksAgainstIsolation(t *testing.T) {
	alone := func() SelfSignals {
		return SelfSignals{By: "c", Running: time.Hour, Acknowledged: old, Hosts: map[string]time.Duration{"a": old, "b": old}, Bound: hostBound,
			Addresses: map[string]PingSign{"10.0.0.1": {Asked: true, Age: old}, "10.1.0.1": {Asked: true, Age: old}}, PingBound: pingBound,
			Volumes: map[string]VolumeSign{"hb1": {Readable: true, Age: young}, "hb2": {Readable: true, Age: young}}, StorageBound: storageBound}
	}
	for _, tt := range []struct {
		name string
		in   func(*SelfSignals)
		want Standing
	}{
		{"nobody", func(*SelfSignals) {}, Alone},
		{"the master", func(s *SelfSignals) { s.Acknowledged = 0 }, Connected},
		{"one host", func(s *SelfSignals) { s.Hosts["a"] = 0 }, Apart},
		{"one address", func(s *SelfSignals) { s.Addresses["10.1.0.1"] = PingSign{Asked: true} }, Apart},
		{"one volume", func(s *SelfSignals) { s.Volumes["hb1"] = VolumeSign{Age: -1} }, Alone},
		{"no volume", func(s *SelfSignals) { s.Volumes = map[string]VolumeSign{"hb1": {Age: -1}} }, CutOff},
		{"an address, and no volume", func(s *SelfSignals) {
			s.Addresses["10.1.0.1"] = PingSign{Asked: true}
			s.Volumes = nil
		}, CutOff},
		{"a volume that had no time yet", func(s *SelfSignals) {
			s.Running = hostBound + 1
			s.StorageBound = s.Running
			s.Volumes = map[string]VolumeSign{"hb1": {Readable: true, Age: -1}}
		}, Alone},
		{"a volume that had its time", func(s *SelfSignals) {
			s.Running = storageBound + hostBound
			s.Volumes = map[string]VolumeSign{"hb1": {Readable: true, Age: -1}}
		}, CutOff},
		{"a carrier is nobody", func(s *SelfSignals) { s.Links = map[string]LinkSign{"mgmt": {"eth0", true, true}} }, Alone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := alone()
			tt.in(&s)
			if a := AssessSelf(s); a.Standing != tt.want {
				t.Errorf("the standing is %s (row %s: %s), want %s", a.Standing, a.Row, a.Text, tt.want)
			}
		})
	}
}

func TestEvidenceOfAHostAboutItself(t *testing.T) {
	a := AssessSelf(SelfSignals{By: "c", Running: time.Hour, Acknowledged: 12 * time.Second, Hosts: map[string]time.Duration{"a": -1, "b": 11 * time.Second}, Bound: hostBound,
		Addresses: map[string]PingSign{"10.0.0.1": {Asked: true, Age: 3 * time.Second}, "10.1.0.1": {Age: -1, Detail: "network is unreachable"}, "10.2.0.1": {Asked: true, Age: -1}}, PingBound: pingBound,
		Links:   map[string]LinkSign{"mgmt": {"eth0", true, false}, "storage": {"eth1", true, true}, "third": {}, "fourth": {"eth3", false, false}},
		Volumes: map[string]VolumeSign{"hb1": {Readable: true, Age: time.Second}, "hb2": {Age: 2 * time.Second, Detail: "input/output error"}, "hb3": {Readable: true, Age: 6 * time.Second}}, StorageBound: storageBound})
	want := []fsm.Evidence{
		{Signal: "acknowledgement over the network", Value: "none for 12s (the bound is 10s)", Age: 12 * time.Second, By: "c"},
		{Signal: "word of a", Value: "none in this run of the agent", By: "c"},
		{Signal: "word of b", Value: "none for 11s (the bound is 10s)", Age: 11 * time.Second, By: "c"},
		{Signal: "isolation address 10.0.0.1", Value: "no answer for 3s (the bound is 2s)", Age: 3 * time.Second, By: "c"},
		{Signal: "isolation address 10.1.0.1", Value: "cannot be asked: network is unreachable", By: "c"},
		{Signal: "isolation address 10.2.0.1", Value: "has never answered", By: "c"},
		{Signal: "link of fourth", Value: "eth3 is down", By: "c"},
		{Signal: "link of mgmt", Value: "eth0 has no carrier", By: "c"},
		{Signal: "link of storage", Value: "eth1 is up", By: "c"},
		{Signal: "link of third", Value: "no interface has this host's address", By: "c"},
		{Signal: "volume hb1", Value: "works", Age: time.Second, By: "c"},
		{Signal: "volume hb2", Value: "fails: input/output error", Age: 2 * time.Second, By: "c"},
		{Signal: "volume hb3", Value: "nothing was written and read for 6s (the bound is 5s)", Age: 6 * time.Second, By: "c"},
	}
	if d := cmp.Diff(want, a.Evidence); d != "" {
		t.Errorf("the evidence differs (-want +got):\n%s", d)
	}
	if want := "hears nobody, and none of 3 isolation addresses answers: it is isolated"; a.Text != want {
		t.Errorf("the text is %q, want %q", a.Text, want)
	}
}

func TestTextOfAHostAboutItself(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   func(*SelfSignals)
		want string
	}{
		{"no address to ask", func(s *SelfSignals) { s.Addresses = nil }, "hears nobody, and there is no isolation address to ask: it is isolated"},
		{"no address answers", func(*SelfSignals) {}, "hears nobody, and none of 1 isolation addresses answers: it is isolated"},
		{"an address was not asked", func(s *SelfSignals) { s.Addresses["10.0.0.1"] = PingSign{Age: -1} }, "hears no other host, and 10.0.0.1 has not been asked yet: that it is isolated is not certain"},
		{"an address answers", func(s *SelfSignals) { s.Addresses["10.0.0.1"] = PingSign{Asked: true} }, "hears no other host, but 10.0.0.1 answers: it is partitioned, not isolated"},
		{"a minority", func(s *SelfSignals) { s.Hosts["b"] = 0 }, "hears b and no master: it is in a minority, and starts nothing"},
		{"no volumes", func(s *SelfSignals) { s.Volumes = nil }, "hears nobody, and there are no heartbeat volumes: nothing is left that could renew its lease"},
		{"volumes fail", func(s *SelfSignals) { s.Volumes["hb1"] = VolumeSign{} }, "hears nobody, and no heartbeat volume works: nothing is left that could renew its lease"},
		{"too early", func(s *SelfSignals) { s.Running = 3 * time.Second }, "has heard nobody in the 3s that its agent has been running, which is too short to tell"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := SelfSignals{By: "c", Running: time.Hour, Acknowledged: -1, Hosts: map[string]time.Duration{"b": -1}, Bound: hostBound,
				Addresses: map[string]PingSign{"10.0.0.1": {Asked: true, Age: old}}, PingBound: pingBound,
				Volumes: map[string]VolumeSign{"hb1": {Readable: true, Age: young}}, StorageBound: storageBound}
			tt.in(&s)
			if a := AssessSelf(s); a.Text != tt.want {
				t.Errorf("the text is %q, want %q", a.Text, tt.want)
			}
		})
	}
}

// The host's side of the timelines: a cut, seen every 100 ms, with the figures of
// the peer and with ours.
func TestTimelineOfAnIsolatedHost(t *testing.T) {
	for _, tt := range []struct {
		name                    string
		bound, pingBound, delay time.Duration
		back                    time.Duration // when one address answers again; 0: never
		isolated, stopped       time.Duration // 0: never
	}{
		{name: "the peer's figures", bound: 10 * time.Second, pingBound: 5 * time.Second, delay: 30 * time.Second, isolated: 10 * time.Second, stopped: 40 * time.Second},
		{name: "the network is back just before", bound: 10 * time.Second, pingBound: 5 * time.Second, delay: 30 * time.Second, back: 39 * time.Second, isolated: 10 * time.Second},
		{name: "pings are slower than heartbeats", bound: 1500 * time.Millisecond, pingBound: 3 * time.Second, delay: 10 * time.Second, isolated: 3 * time.Second, stopped: 13 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const tick = 100 * time.Millisecond
			begin := time.Hour // of the cut, on the boot clock
			var since, isolated, stopped time.Duration
			for at := time.Duration(0); at <= time.Minute; at += tick {
				s := SelfSignals{By: "c", Running: begin, Acknowledged: at, Hosts: map[string]time.Duration{"a": at, "b": at}, Bound: tt.bound,
					Addresses: map[string]PingSign{"10.0.0.1": {Asked: true, Age: at}}, PingBound: tt.pingBound,
					Volumes: map[string]VolumeSign{"hb1": {Readable: true, Age: young}}, StorageBound: storageBound}
				if tt.back != 0 && at >= tt.back {
					s.Addresses["10.0.0.1"] = PingSign{Asked: true}
				}
				a := AssessSelf(s)
				since = Since(since, a.Standing, begin+at)
				if isolated == 0 && a.Standing == Alone {
					isolated = at
				}
				d := Respond(Response{Now: begin + at, Standing: a.Standing, Since: since, Master: young, MasterBound: storageBound,
					VMs: []ResponseVM{{UUID: "1", Name: "db1", Policy: ResponsePolicy{Action: PowerOff, Delay: tt.delay}}}})
				if stopped == 0 && len(d.Steps) > 0 {
					stopped = at
				}
			}
			late := func(got, want time.Duration) bool {
				return (got == 0) != (want == 0) || got < want || got > want+3*tick
			}
			if late(isolated, tt.isolated) || late(stopped, tt.stopped) {
				t.Errorf("isolated at %v and a VM stopped at %v, want %v and %v (0: never)", isolated, stopped, tt.isolated, tt.stopped)
			}
		})
	}
}
