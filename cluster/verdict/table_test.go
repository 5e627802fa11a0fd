package verdict

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// leaderRow is a row of leader_view in either table.
type leaderRow struct {
	ID        string   `json:"id"`
	NetHB     string   `json:"net_hb"`
	StorHB    string   `json:"stor_hb"`
	ICMP      string   `json:"icmp"`
	IsoFlag   string   `json:"iso_flag"`
	Mode      string   `json:"mode"`
	RaftState string   `json:"raft_state"`
	Restart   any      `json:"restart_vms"`
	Slot      []string `json:"slot"`
	SlotLife  string   `json:"slot_life"`
	Suspected bool     `json:"suspected"`
	Committed string   `json:"committed"`
	Row       string   `json:"row"`
	Verdict   Verdict  `json:"verdict"`
	Restarts  Restarts `json:"restarts"`
}

type table struct {
	LeaderView []leaderRow         `json:"leader_view"`
	HostLocal  []map[string]string `json:"host_local"`
}

func readTable(t *testing.T, path string) table {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var x table
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if len(x.LeaderView) == 0 {
		t.Fatalf("%s has no leader_view", path)
	}
	return x
}

const (
	young        = 300 * time.Millisecond
	old          = 20 * time.Second
	storageBound = 5 * time.Second
	pingBound    = 2 * time.Second
)

// either gives the words that a column stands for.
func either(word string, all ...string) []string {
	if word == "any" {
		return all
	}
	return []string{word}
}

// volumesOf are the ways in which the volumes can come to look as the word says.
func volumesOf(t *testing.T, word string) map[string]Signals {
	t.Helper()
	sign := func(age time.Duration, readable bool) VolumeSign { return VolumeSign{Age: age, Readable: readable} }
	other := func(volume string, age time.Duration, readable bool) RelayedSign {
		return RelayedSign{volume, VolumeSign{Age: age, Readable: readable, By: "b"}}
	}
	switch word {
	case "none":
		return map[string]Signals{"no volumes": {}}
	case "fresh":
		return map[string]Signals{
			"on one of two":            {Volumes: map[string]VolumeSign{"hb1": sign(old, true), "hb2": sign(storageBound, true)}},
			"and another is unread":    {Volumes: map[string]VolumeSign{"hb1": sign(-1, false), "hb2": sign(young, true)}},
			"the master reads nothing": {Volumes: map[string]VolumeSign{"hb1": sign(old, false)}, Relayed: []RelayedSign{other("hb1", young, true)}},
			"the master reads stale":   {Volumes: map[string]VolumeSign{"hb1": sign(old, true)}, Relayed: []RelayedSign{other("hb2", young, true)}},
		}
	case "read_here":
		return map[string]Signals{
			"on one of two":           {Volumes: map[string]VolumeSign{"hb1": sign(old, true), "hb2": sign(storageBound, true)}},
			"and another reads it":    {Volumes: map[string]VolumeSign{"hb1": sign(young, true)}, Relayed: []RelayedSign{other("hb1", young, true)}},
			"and another does not":    {Volumes: map[string]VolumeSign{"hb1": sign(young, true)}, Relayed: []RelayedSign{other("hb1", old, true)}},
			"and another cannot read": {Volumes: map[string]VolumeSign{"hb1": sign(young, true)}, Relayed: []RelayedSign{other("hb1", -1, false)}},
		}
	case "relayed":
		return map[string]Signals{
			"the master reads nothing":   {Volumes: map[string]VolumeSign{"hb1": sign(young, false)}, Relayed: []RelayedSign{other("hb1", young, true)}},
			"the master reads stale":     {Volumes: map[string]VolumeSign{"hb1": sign(old, true)}, Relayed: []RelayedSign{other("hb2", storageBound, true)}},
			"the master reads no word":   {Volumes: map[string]VolumeSign{"hb1": sign(-1, true)}, Relayed: []RelayedSign{other("hb1", young, true)}},
			"one of two others reads it": {Volumes: map[string]VolumeSign{"hb1": sign(old, true)}, Relayed: []RelayedSign{other("hb1", old, true), {"hb1", VolumeSign{Age: young, Readable: true, By: "c"}}}},
		}
	case "stale":
		return map[string]Signals{
			"everywhere":            {Volumes: map[string]VolumeSign{"hb1": sign(storageBound+1, true), "hb2": sign(old, true)}},
			"never written":         {Volumes: map[string]VolumeSign{"hb1": sign(-1, true)}},
			"and another is unread": {Volumes: map[string]VolumeSign{"hb1": sign(young, false), "hb2": sign(old, true)}},
			"read by another alone": {Volumes: map[string]VolumeSign{"hb1": sign(young, false)}, Relayed: []RelayedSign{other("hb1", old, true)}},
		}
	case "unreadable":
		return map[string]Signals{
			"by the master":  {Volumes: map[string]VolumeSign{"hb1": sign(young, false), "hb2": sign(old, false)}},
			"by all who try": {Volumes: map[string]VolumeSign{"hb1": sign(-1, false)}, Relayed: []RelayedSign{other("hb1", young, false), other("hb2", young, false)}},
		}
	}
	t.Fatalf("no signals are known for stor_hb %q", word)
	return nil
}

// pingsOf are the ways in which pings can come to look as the word says.
func pingsOf(t *testing.T, word string) map[string]map[string]PingSign {
	t.Helper()
	switch word {
	case "reply":
		return map[string]map[string]PingSign{
			"one answers":              {"10.0.0.1": {Asked: true, Age: pingBound}},
			"one of two answers":       {"10.0.0.1": {Asked: true, Age: old}, "10.1.0.1": {Asked: true, Age: young}},
			"another cannot be asked":  {"10.0.0.1": {Age: -1, Detail: "network is unreachable"}, "10.1.0.1": {Asked: true, Age: young}},
			"an address never answers": {"10.0.0.1": {Asked: true, Age: -1}, "10.1.0.1": {Asked: true, Age: young}},
		}
	case "none":
		return map[string]map[string]PingSign{
			"no more":     {"10.0.0.1": {Asked: true, Age: pingBound + 1}, "10.1.0.1": {Asked: true, Age: old}},
			"never":       {"10.0.0.1": {Asked: true, Age: -1}},
			"not asked":   {"10.0.0.1": {}},
			"none to ask": nil,
		}
	}
	t.Fatalf("no signals are known for icmp %q", word)
	return nil
}

// signalsOf calls f with every combination of signals that the row stands for.
func (r *leaderRow) signalsOf(t *testing.T, f func(name string, s Signals)) {
	t.Helper()
	for _, net := range either(r.NetHB, "fresh", "lost", "never") {
		for _, stor := range either(r.StorHB, "fresh", "stale", "unreadable") {
			for _, icmp := range either(r.ICMP, "reply", "none") {
				for _, iso := range either(r.IsoFlag, "0", "1") {
					for how, s := range volumesOf(t, stor) {
						for which, pings := range pingsOf(t, icmp) {
							s.Status, s.Incarnation, s.By = fsm.HostLive, 3, "a"
							s.Bound, s.StorageBound, s.PingBound, s.Watched = bound, storageBound, pingBound, time.Hour
							s.Ping = pings
							s.Networks, s.Heard = map[string]time.Duration{"mgmt": old, "storage": young}, young
							switch net {
							case "fresh":
							case "lost":
								s.Networks, s.Heard = map[string]time.Duration{"mgmt": bound + 1, "storage": old}, bound+1
							case "never":
								s.Status, s.Incarnation, s.Networks, s.Heard = fsm.HostJoining, 0, map[string]time.Duration{"mgmt": -1}, old
							default:
								t.Fatalf("no signals are known for net_hb %q", net)
							}
							if stor != "none" {
								s.Slot = Slot{Incarnation: s.Incarnation, Isolated: iso == "1", Volume: "hb1"}
							}
							r.extra(t, &s)
							f(fmt.Sprintf("net %s, storage %s (%s), ping %s (%s), flag %s", net, stor, how, icmp, which, iso), s)
						}
					}
				}
			}
		}
	}
}

func (r *leaderRow) extra(t *testing.T, s *Signals) {
	t.Helper()
	for _, flag := range r.Slot {
		switch flag {
		case "clean_exit":
			s.Slot.CleanExit = true
		case "vms_stopped":
			s.Slot.Stopped = true
		case "self_fencing":
			s.Slot.SelfFencing = true
		default:
			t.Fatalf("no signal is known for flag %q", flag)
		}
	}
	if r.SlotLife == "earlier" {
		s.Slot.Incarnation--
	}
	s.Suspected = r.Suspected
	s.Maintenance = r.Mode != ""
	switch r.Committed {
	case "":
	case "left":
		s.Left = true
	case "dead":
		s.Status, s.Incarnation = fsm.HostDead, 3
	default:
		t.Fatalf("no signal is known for committed %q", r.Committed)
	}
}

// asDead is the same host once its death was committed.
func asDead(s Signals) Signals {
	s.Status = fsm.HostDead
	return s
}

// The words of the table for what we call otherwise. "dead" and "unknown until"
// name what the wait of R7 comes to, so they are two verdicts: the one before the
// death is committed, and Dead.
func ours(t *testing.T, raftState string) (v Verdict, thenDead bool) {
	t.Helper()
	word, _, _ := strings.Cut(raftState, " ")
	switch strings.Trim(word, ",") {
	case "alive":
		return Live, false
	case "isolated":
		return Isolated, false
	case "partitioned":
		return Partitioned, false
	case "agent_unreachable":
		return AgentDown, false
	case "agent_down":
		return AgentDown, strings.Contains(raftState, "then D09")
	case "dead":
		return Suspect, true
	case "unknown":
		return Unknown, strings.Contains(raftState, "then dead")
	case "joining":
		return Joining, false
	case "maintenance":
		return Maintenance, false
	}
	t.Fatalf("no verdict is known for %q", raftState)
	return "", false
}

// restartsOf gives what is restarted while the verdict stands, and once the host is dead.
func restartsOf(t *testing.T, v any) Restarts {
	t.Helper()
	switch v := v.(type) {
	case bool:
		return RestartNone // true is of the row that says "dead", and of the time after the commit
	case string:
		switch {
		case strings.HasPrefix(v, "only "):
			return RestartReleased
		case v == "after fence only":
			return RestartNone
		}
	}
	t.Fatalf("no restarts are known for %v", v)
	return ""
}

func TestDecisionTableOfTheMaster(t *testing.T) {
	for _, r := range readTable(t, "testdata/decision_table.json").LeaderView {
		t.Run(r.ID, func(t *testing.T) {
			want, thenDead := ours(t, r.RaftState)
			restarts := restartsOf(t, r.Restart)
			if r.Restart == true && !thenDead {
				t.Fatal("the row restarts VMs of a host that does not die")
			}
			r.signalsOf(t, func(name string, s Signals) {
				a := Assess(s)
				if a.Verdict != want || a.Restarts != restarts || a.Row != r.ID {
					t.Errorf("%s:\n the verdict is %s (row %s), restarts %s; want %s (row %s), %s", name, a.Verdict, a.Row, a.Restarts, want, r.ID, restarts)
				}
				checkWarning(t, name, r.RaftState, a.Warnings)
				s.Off = Proof{Text: "its power switch says off", By: "a"}
				if a := Assess(s); a.Verdict != want {
					t.Errorf("%s: a proof alone makes it %s: what is not committed is not so", name, a.Verdict)
				}
				if a := Assess(asDead(s)); thenDead && (a.Verdict != Dead || a.Restarts != RestartAll) {
					t.Errorf("%s: once its death is committed the verdict is %s, restarts %s; want dead, all", name, a.Verdict, a.Restarts)
				}
			})
		})
	}
}

// checkWarning wants the warning that the row names, and none where it names none.
// One volume of several may be quiet in any row.
func checkWarning(t *testing.T, name, raftState string, all []Warning) {
	t.Helper()
	var got []string
	for _, w := range all {
		if w.Name != WarnStoragePath {
			got = append(got, w.Name)
		}
	}
	var want []string
	if _, after, ok := strings.Cut(raftState, "warning "); ok {
		word, _, _ := strings.Cut(after, " ")
		want = append(want, word)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: warnings are %v, want %v", name, got, want)
	}
}

func TestMoreRows(t *testing.T) {
	for _, r := range readTable(t, "testdata/more_rows.json").LeaderView {
		t.Run(r.ID, func(t *testing.T) {
			row := r.Row
			if row == "" {
				row = r.ID
			}
			r.signalsOf(t, func(name string, s Signals) {
				a := Assess(s)
				if a.Verdict != r.Verdict || a.Restarts != r.Restarts || a.Row != row {
					t.Errorf("%s:\n the verdict is %s (row %s), restarts %s; want %s (row %s), %s", name, a.Verdict, a.Row, a.Restarts, r.Verdict, row, r.Restarts)
				}
			})
		})
	}
}

// What a row is called is in a table.
func TestRowsAreInTheTables(t *testing.T) {
	known := map[string]bool{}
	for _, path := range []string{"testdata/decision_table.json", "testdata/more_rows.json"} {
		x := readTable(t, path)
		for _, r := range x.LeaderView {
			known[r.ID] = true
		}
		for _, r := range x.HostLocal {
			known[r["id"]] = true
		}
	}
	row := regexp.MustCompile(`"([DEL][0-9]{2})"`)
	for _, path := range []string{"assess.go", "self.go"} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range row.FindAllStringSubmatch(string(b), -1) {
			if !known[m[1]] {
				t.Errorf("%s names row %s, which is in neither table", path, m[1])
			}
		}
	}
}
