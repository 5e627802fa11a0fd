package scenario

import (
	"strings"
	"testing"
	"time"
)

// lost is a scenario in which h3 loses its power, as another manager was seen to
// handle it; ours is the same written for us.
const lost = `{
 "schema_version": 1, "id": "x", "category": "c", PORTABILITY "summary": "s",
 "hosts": [{"id": "h1"}, {"id": "h2"}, {"id": "h3"}],
 "vms": [{"id": "v1", "host": "h1", "desired": "running"}, {"id": "v2", "host": "h2", "desired": "running"},
         {"id": "v3", "host": "h3", "desired": "running"}, {"id": "v4", "host": "h3", "desired": "running"}],
 "actions": [{"t": 0, "do": "power_on", "host": "h1"}, {"t": 100, "do": "power_off", "host": "h3"}],
 "expect": {
  "final_placement": {"v1": {"host": "h1", "state": "running"}, "v2": {"host": "h2", "state": "running"},
                      "v3": {"host": "h1", "state": "running"}, "v4": {"host": "h2", "state": "running"}},
  "final_hosts": {"h1": "on", "h3": "off"},
  "events": [{"type": "leader_elected", "host": "h1" AT0}, {"type": "host_unreachable", "host": "h3" AT200},
             {"type": "host_fencing_started", "host": "h3" AT200},
             {"type": "host_confirmed_fenced", "host": "h3" AT200},
             {"type": "vm_recovery_assigned", "vm": "v3", "from": "h3", "to": "h1" AT200},
             {"type": "vm_started", "vm": "v3", "host": "h1" AT200}]
  EXTRA
 }}`

func scenarioOf(t *testing.T, recorded bool, extra string) *Scenario {
	t.Helper()
	r := strings.NewReplacer("PORTABILITY", "", "AT0", "", "AT200", "", "EXTRA", extra)
	if recorded {
		r = strings.NewReplacer("PORTABILITY", `"portability": "full",`, "AT0", `, "peer_t": 0`, "AT200", `, "peer_t": 200`, "EXTRA", extra)
	}
	s, err := Parse("x.json", []byte(r.Replace(lost)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func asExpected() *Outcome {
	sec := func(n int) time.Duration { return time.Duration(n) * time.Second }
	return &Outcome{
		Events: []Seen{
			{T: sec(1), Type: "leader_elected", Host: "h1"},
			{T: sec(101), Type: "host_unreachable", Host: "h3"},
			{T: sec(114), Type: "host_confirmed_fenced", Host: "h3"},
			{T: sec(114), Type: "vm_recovery_assigned", VM: "v3", From: "h3", To: "h1"},
			{T: sec(115), Type: "vm_started", VM: "v3", Host: "h1"},
		},
		Placement: map[string]Final{"v1": {"h1", "running", true, nil}, "v2": {"h2", "running", true, nil}, "v3": {"h1", "running", true, nil}, "v4": {"h2", "running", true, nil}},
		Hosts:     map[string]string{"h1": "on", "h2": "on", "h3": "off"},
		Actions:   []time.Duration{0, sec(100)},
		Runs:      []Run{{VM: "v3", Host: "h3", From: sec(2), To: sec(100)}, {VM: "v3", Host: "h1", From: sec(115), To: -1}, {VM: "v1", Host: "h1", From: sec(2), To: -1}},
		Bounds:    map[string]time.Duration{"member": sec(16)},
	}
}

func TestJudge(t *testing.T) {
	swapped := func(o *Outcome) {
		o.Placement["v3"], o.Placement["v4"] = Final{"h2", "running", true, nil}, Final{"h1", "running", true, nil}
		o.Events[3].To, o.Events[4].Host = "h2", "h2"
	}
	for _, tc := range []struct {
		name     string
		recorded bool
		extra    string
		change   func(*Outcome)
		want     string // stands in a violation; empty: none
	}{
		{"as expected", false, "", nil, ""},
		{"as recorded", true, "", nil, ""},
		{"one takes the other's place", true, "", swapped, "v3 is running on h2"},
		{"placed elsewhere", true, "", func(o *Outcome) { o.Events[3].To = "h2" }, "vm_recovery_assigned vm=v3 from=h3 to=h1 did not occur"},
		{"started elsewhere", true, "", func(o *Outcome) { o.Events[4].Host = "h2" }, "vm_started host=h1 vm=v3 did not occur"},
		{"both on one host", true, "", func(o *Outcome) { o.Placement["v4"] = Final{"h1", "running", true, nil} }, "v4 is running on h1"},
		{"moved without need", true, "", func(o *Outcome) {
			o.Placement["v1"], o.Placement["v2"] = Final{"h2", "running", true, nil}, Final{"h1", "running", true, nil}
		}, "v1 is running on h2"},
		{"not running", true, "", func(o *Outcome) { o.Placement["v3"] = Final{"h3", "waiting_for_host", false, nil} }, "want running"},
		{"says running, is not", true, "", func(o *Outcome) { o.Placement["v3"] = Final{"h1", "running", false, nil} }, "v3 is running"},
		{"host on", false, "", func(o *Outcome) { o.Hosts["h3"] = "on" }, "host h3 is on"},
		{"another master", true, "", func(o *Outcome) { o.Events[0].Host = "h2" }, ""},
		{"another master in our own file", false, "", func(o *Outcome) { o.Events[0].Host = "h2" }, "leader_elected host=h1 did not occur"},
		{"missing event", true, "", func(o *Outcome) { o.Events = o.Events[:4] }, "vm_started host=h1 vm=v3 did not occur after vm_recovery_assigned"},
		{"before its cause", true, "", func(o *Outcome) { o.Events[2], o.Events[3] = o.Events[3], o.Events[2] }, "vm_recovery_assigned"},
		{"before its action", true, "", func(o *Outcome) { o.Events[1].T = 99 * time.Second }, "host_unreachable"},
		{"forbidden", false, `, "forbidden_events": [{"type": "vm_started", "vm": "v3"}]`, nil, "vm_started vm=v3 occurred"},
		{"forbidden later only", false, `, "forbidden_events": [{"type": "vm_started", "vm": "v3", "since": 116}]`, nil, ""},
		{"a start that nothing permits", false, "", func(o *Outcome) {
			o.Events = append(o.Events, Seen{T: time.Hour, Type: "invariant_violated", Host: "h2", Text: "h2 has seen invariant I3 violated: v1 was to be started"})
		}, "invariant I3 violated"},
		{"a VM that cannot be killed", false, "", func(o *Outcome) {
			o.Events = append(o.Events, Seen{T: time.Hour, Type: "invariant_violated", Host: "h2", Text: "h2 has seen invariant I2 violated: v1 runs past the hard end"})
		}, ""},
		{"in time", false, `, "max_seconds": [{"vm": "v3", "from_action": 1, "to": "start_ordered", "seconds": 14}]`, nil, ""},
		{"too late", false, `, "max_seconds": [{"vm": "v3", "from_action": 1, "to": "running", "seconds": 14}]`, nil, "v3 was running 15s after action 1"},
		{"in the bound", false, `, "max_seconds": [{"vm": "v3", "from_action": 1, "to": "running", "seconds": 0, "bound": "member"}]`, nil, ""},
		{"never", false, `, "max_seconds": [{"vm": "v4", "from_action": 1, "to": "running", "seconds": 14}]`, nil, "v4 was not running"},
		{"runs there", false, `, "running": [{"t": 50, "vm": "v3", "host": "h3"}, {"t": 110, "vm": "v3", "host": ""}, {"t": 200, "vm": "v3", "host": "h1"}]`, nil, ""},
		{"runs elsewhere", false, `, "running": [{"t": 110, "vm": "v3", "host": "h3"}]`, nil, `v3 runs on "", want "h3"`},
		{"down too long", false, `, "max_downtime": {"v3": 14}`, nil, "v3 was down for 15s"},
		{"down", false, `, "max_downtime": {"v3": 15}`, nil, ""},
		{"host state", false, `, "host_state": [{"t": 50, "host": "h3", "state": "live"}]`, func(o *Outcome) { o.States = []string{"dead"} }, "host h3 is dead at 50s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := asExpected()
			if tc.change != nil {
				tc.change(o)
			}
			got := strings.Join(Judge(scenarioOf(t, tc.recorded, tc.extra), o), "\n")
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("violations:\n%s\nwant %q", got, tc.want)
			}
		})
	}
}

// TestUnlisted holds that a recorded file tells of all that was done to its VMs and hosts: one deed more
// than it explains is a violation.
func TestUnlisted(t *testing.T) {
	more := func(extra ...Seen) func(*Outcome) {
		return func(o *Outcome) {
			for _, e := range extra {
				e.T = 150 * time.Second
				o.Events = append(o.Events, e)
			}
		}
	}
	for _, tc := range []struct {
		name   string
		ours   bool
		change func(*Outcome)
		want   string // stands in a violation; empty: none
	}{
		{"started at home, as from the beginning", false, more(Seen{Type: "vm_started", VM: "v1", Host: "h1"}), ""},
		{"started at home twice: the placement explains the second", false, more(Seen{Type: "vm_started", VM: "v1", Host: "h1"}, Seen{Type: "vm_started", VM: "v1", Host: "h1"}), ""},
		{"started at home three times", false, more(Seen{Type: "vm_started", VM: "v1", Host: "h1"}, Seen{Type: "vm_started", VM: "v1", Host: "h1"}, Seen{Type: "vm_started", VM: "v1", Host: "h1"}), "v1 was started on h1 at 2m30s"},
		{"started where it ends up", false, more(Seen{Type: "vm_started", VM: "v4", Host: "h2"}), ""},
		{"started elsewhere", false, more(Seen{Type: "vm_started", VM: "v1", Host: "h2"}), "v1 was started on h2"},
		{"started elsewhere in our own file", true, more(Seen{Type: "vm_started", VM: "v1", Host: "h2"}), ""},
		{"started once more than is listed", false, more(Seen{Type: "vm_started", VM: "v3", Host: "h1"}), "v3 was started on h1"},
		{"the move told once more", false, more(Seen{Type: "vm_started", VM: "v1", Host: "h2", Observed: true}), ""},
		{"moved where it ends up", false, more(Seen{Type: "vm_move_ordered", VM: "v4", From: "h1", To: "h2"}), ""},
		{"moved to and fro", false, more(Seen{Type: "vm_move_ordered", VM: "v4", From: "h2", To: "h1"}, Seen{Type: "vm_move_ordered", VM: "v4", From: "h1", To: "h2"}), "v4 was to go to h1"},
		{"stopped", false, more(Seen{Type: "vm_stopped", VM: "v1", Host: "h1"}), "v1 was stopped"},
		{"crashed", false, more(Seen{Type: "vm_crashed", VM: "v1", Host: "h1"}), "v1 was stopped"},
		{"dead twice for one loss of power", false, more(Seen{Type: "host_confirmed_fenced", Host: "h3"}), "h3 was declared dead"},
		{"dead without a loss", false, more(Seen{Type: "host_confirmed_fenced", Host: "h1"}), "h1 was declared dead"},
		{"reset", false, more(Seen{Type: "host_self_fenced", Host: "h1"}), "h1 was reset by its watchdog"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := asExpected()
			tc.change(o)
			got := strings.Join(Judge(scenarioOf(t, !tc.ours, ""), o), "\n")
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("violations:\n%s\nwant %q", got, tc.want)
			}
		})
	}
}

// TestInThatWay holds that a move which was recorded as live is one during which the VM ran on,
// that one which was recorded as cold is not, that what follows from arming is not taken from
// before it, and that a host of which nothing was known begins a life.
func TestInThatWay(t *testing.T) {
	at := Seconds(100 * time.Second)
	s := &Scenario{Portability: "full", VMs: []VM{{ID: "v1", Host: "h1"}}, Actions: []Action{{T: at, Do: "arm_cluster"}}}
	for _, tc := range []struct {
		name     string
		want     Event
		got      Seen
		runs     []Run
		expected bool
	}{
		{"live", Event{Type: "vm_moved", VM: "v1", How: "live"}, Seen{Type: "vm_moved", VM: "v1", From: "h1", To: "h2"}, []Run{{VM: "v1", Host: "h1", Migrated: true}}, true},
		{"stopped where live is expected", Event{Type: "vm_moved", VM: "v1", How: "live"}, Seen{Type: "vm_moved", VM: "v1", From: "h1", To: "h2"}, []Run{{VM: "v1", Host: "h1"}}, false},
		{"cold", Event{Type: "vm_moved", VM: "v1", How: "cold"}, Seen{Type: "vm_moved", VM: "v1", From: "h1", To: "h2"}, []Run{{VM: "v1", Host: "h1"}}, true},
		{"runs on where cold is expected", Event{Type: "vm_moved", VM: "v1", How: "cold"}, Seen{Type: "vm_moved", VM: "v1", From: "h1", To: "h2"}, []Run{{VM: "v1", Host: "h1", Migrated: true}}, false},
		{"does not run", Event{Type: "vm_moved", VM: "v1", How: "live"}, Seen{Type: "vm_moved", VM: "v1", From: "h1", To: "h2"}, nil, true},
		{"released before arming", Event{Type: "vm_released", VM: "v1", PeerT: &at}, Seen{T: time.Second, Type: "cluster_armed"}, nil, false},
		{"released by arming", Event{Type: "vm_released", VM: "v1", PeerT: &at}, Seen{T: 101 * time.Second, Type: "cluster_armed"}, nil, true},
		{"a new life", Event{Type: "host_available", Host: "h1", After: "unknown"}, Seen{Type: "host_available", Host: "h1"}, nil, true},
		{"back in service where a life is expected", Event{Type: "host_available", Host: "h1", After: "unknown"}, Seen{Type: "host_available", Host: "h1", Observed: true}, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.Expect.Events = []Event{tc.want}
			bad := Judge(s, &Outcome{Events: []Seen{tc.got}, Runs: tc.runs})
			if (len(bad) == 0) != tc.expected {
				t.Errorf("violations %q, want none: %v", bad, tc.expected)
			}
		})
	}
}

func TestRecoveries(t *testing.T) {
	got := Recoveries(scenarioOf(t, false, ""), asExpected())
	want := Recovery{VM: "v3", From: "h3", To: "h1", Fault: "power_off", Ordered: 14, Running: 15}
	if len(got) != 1 || got[0] != want {
		t.Errorf("recoveries %+v, want one, %+v", got, want)
	}
}
