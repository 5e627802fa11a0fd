package scenario

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const given = "../testdata/scenarios"

func TestEveryFileLoads(t *testing.T) {
	all, err := LoadDir(given)
	if err != nil {
		t.Fatal(err)
	}
	recorded := 0
	for _, s := range all {
		if s.Recorded() {
			recorded++
		}
		t.Logf("%-45s waits for %s", s.ID, strings.Join(Waits(s), ", "))
	}
	if recorded != 74 {
		t.Errorf("%d recorded scenarios, want 74", recorded)
	}
}

func TestWaits(t *testing.T) {
	for id, want := range map[string]string{
		"disable-enable":                "",
		"agent-restart-keeps-vm":        "",
		"leader-lost-twice":             "",
		"minority-isolated":             "",
		"apart-beats-load":              "",
		"policy-default-shutdown":       "",
		"rebalance-topsis-empty":        "",
		"fifty-vms-spread-and-failover": "",
		"creation-lock-kept":            "",
		"relocate-until-it-starts":      "",
		"leader-dies-mid-fencing":       "",
	} {
		s, err := Load(filepath.Join(given, id+".json"))
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(want, ", ")
		slices.Sort(parts)
		if got := strings.Join(Waits(s), ", "); got != strings.Join(parts, ", ") {
			t.Errorf("%s waits for %q, want %q", id, got, want)
		}
	}
}

// TestMappings holds that each mapping is of a recorded file, says why, and changes what is read of it.
func TestMappings(t *testing.T) {
	for _, id := range Mapped() {
		file := filepath.Join(given, id+".json")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("mapping of %s: %v", id, err)
			continue
		}
		as, err := Parse(file, text)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Load(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if !s.Recorded() || s.Mapping == "" {
			t.Errorf("%s: recorded: %v, mapping: %q, want a recorded file and a reason", id, s.Recorded(), s.Mapping)
		}
		if as.Summary != s.Summary || !slices.Equal(as.HostIDs(), s.HostIDs()) {
			t.Errorf("%s: a mapping may not make it another story", id)
		}
	}
}

const good = `{
 "schema_version": 1, "id": "x", "category": "c", "summary": "s",
 "hosts": [{"id": "h1"}, {"id": "h2"}],
 "vms": [{"id": "v1", "host": "h1", "desired": "running"}],
 "actions": [
  {"t": 0, "do": "power_on", "host": "h1"},
  {"t": "12.5s", "do": "partition", "groups": [["h1"], ["h2"]]}
 ],
 "policy": {"anything": {"goes": 1}},
 "expect": {"final_hosts": {"h1": "on"}, "events": [{"type": "vm_started", "vm": "v1"}]}
}`

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name, old, new string
		want           []string // each must stand in the error
	}{
		{"unknown field", `"category"`, `"catagory"`, []string{`x.json:2`, `catagory`, `did you mean "category"?`}},
		{"unknown field deep down", `"desired": "running"`, `"desird": "running"`, []string{`x.json:4`, `vms[0].desird`, `did you mean "desired"?`, `vms[0].desired: is missing`}},
		{"unknown action", `"partition"`, `"partitoin"`, []string{`x.json:7`, `actions[1].do`, `did you mean "partition"?`}},
		{"unknown event", `"vm_started"`, `"vm_start"`, []string{`x.json:10`, `expect.events[0].type`, `did you mean "vm_started"?`}},
		{"nothing near", `"vm_started"`, `"qqqqqq"`, []string{`known are `, `vm_stopped`}},
		{"argument of another action", `"groups": [["h1"], ["h2"]]`, `"groups": [["h1"]], "vm": "v1"`, []string{`actions[1].vm`, `partition takes no vm; it takes groups`}},
		{"missing argument", `, "host": "h1"}`, `}`, []string{`actions[0]`, `power_on needs host`}},
		{"unknown host", `[["h1"], ["h2"]]`, `[["h1"], ["h3"]]`, []string{`actions[1]`, `host "h3" is not known`}},
		{"unknown VM", `"vm": "v1"}]}`, `"vm": "v2"}]}`, []string{`expect.events[0].vm`, `did you mean "v1"?`}},
		{"bad time", `"12.5s"`, `"soon"`, []string{`"soon" is not a time`}},
		{"wrong type", `"h1"}, {`, `1}, {`, []string{`x.json:3`, `hosts.id`, `number`}},
		{"newer version", `"schema_version": 1`, `"schema_version": 2`, []string{`schema_version`, `is 2, this loader reads 1`}},
		{"host state", `{"h1": "on"}`, `{"h1": "onn"}`, []string{`final_hosts.h1`, `did you mean "on"?`}},
		{"host twice", `{"id": "h2"}`, `{"id": "h1"}`, []string{`hosts[1]`, `used twice`}},
		{"no hosts", `[{"id": "h1"}, {"id": "h2"}]`, `[]`, []string{`names no host`}},
		{"cut short", `]}
}`, ``, []string{`x.json:`, `EOF`}},
		{"trailing", `]}
}`, `]}
} {}`, []string{`follows the scenario's end`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !strings.Contains(good, tc.old) {
				t.Fatalf("the good scenario has no %s", tc.old)
			}
			_, err := Parse("x.json", []byte(strings.Replace(good, tc.old, tc.new, 1)))
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error does not say %q:\n%v", w, err)
				}
			}
		})
	}
}

func TestGoodScenario(t *testing.T) {
	s, err := Parse("x.json", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Actions[1].T.D(); got != 12500*time.Millisecond {
		t.Errorf("partition at %v, want 12.5s", got)
	}
	if got := s.End(); got != 312500*time.Millisecond {
		t.Errorf("ends at %v, want 312.5s", got)
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("x.json", b)
	if err != nil {
		t.Fatalf("written and read again: %v\n%s", err, b)
	}
	if two, _ := json.Marshal(again); string(two) != string(b) {
		t.Errorf("changed when written and read:\n%s\n%s", b, two)
	}
}

func TestTimeScale(t *testing.T) {
	text := strings.Replace(good, `"id": "x"`, `"id": "x", "time_scale": 0.1, "until": 50`, 1)
	s, err := Parse("x.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if s.Actions[1].T.D() != 1250*time.Millisecond || s.End() != 5*time.Second {
		t.Errorf("partition at %v and end at %v, want 1.25s and 5s", s.Actions[1].T.D(), s.End())
	}
}
