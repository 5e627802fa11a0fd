package config

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// parse parses one file that must be right.
func parse(t *testing.T, src string) *Policy {
	t.Helper()
	p, err := ParsePolicy(map[string][]byte{"cluster.hcl": []byte(src)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPolicyDefaults(t *testing.T) {
	got := parse(t, `cluster "basement" {}`)
	if diff := cmp.Diff(DefaultPolicy("basement"), got); diff != "" {
		t.Errorf("an empty policy is not the default (-default +got):\n%s", diff)
	}
	standard, _ := lease.Profile("standard")
	if got.Timing != standard {
		t.Errorf("timing is %+v, want the standard profile", got.Timing)
	}
}

func TestPolicyEveryValue(t *testing.T) {
	const native = `
cluster "basement" {
  schema = 1
  note   = "three hosts"
}
timing {
  profile            = "patient"
  heartbeat_interval = "1500ms"
  lease              = "15s"
  watchdog_timeout   = "4s"
  reset_time         = "0s"
  drain_time         = "3s"
  clock_error        = 0.001
  grain              = "700ms"
  election           = "900ms"
}
host "kvm1" {
  fence = ["kvm1-bmc", ["pdu-a", "pdu-b"]]
}
host "kvm2" {
  fence = [["kvm2-bmc"]]
}
fence "kvm1-bmc" {
  agent         = "fence_ipmilan"
  options       = { ip = "10.30.0.11", ipport = 623, lanplus = true, verbose = false }
  password_file = "/etc/haagent/kvm1-bmc"
  timeout       = "30s"
  attempts      = 3
  check         = "1m"
}
fence "kvm2-bmc" {
  agent    = "fence_redfish"
  options  = { ip = "10.30.0.12", ipport = 1000000 }
  password = "se \"cret"
}
fence "pdu-a" {
  agent   = "fence_apc_snmp"
  options = { ip = "10.30.0.50", plug = "3" }
}
fence "pdu-b" {
  agent   = "fence_apc_snmp"
  options = { ip = "10.30.0.51", plug = 3 }
}
heartbeat_volumes { count = 3 }

heartbeat_volume "san" {
  path = "/dev/disk/by-id/san"
  pinned = true
}
fencing {
  mode = "best_effort"
}
isolation_check {
  addresses           = ["10.10.0.1", "fd00::1"]
  use_default_gateway = false
}
isolation_response {
  action           = "shutdown"
  delay            = "30s"
  shutdown_timeout = "2m"
}
host_shutdown {
  action          = "conditional"
  migrate_timeout = "25m"
  freeze_timeout  = "0s"
}
defaults {
  protect  = "all"
  on_crash = "leave"
}
vms "web" {
  match     = { name = "web-*" }
  protect   = false
  on_crash  = "restart"
  isolation = "power_off"
}
vms "all" {
  match = { name = "*" }
}
vm "db1" {
  protect  = true
  on_crash = "restart"
  note     = <<EOT
PostgreSQL
primary
EOT
}
vm "vdi gold" {
  protect = false
}
`
	const inJSON = `{
  "cluster": {"basement": {"schema": 1, "note": "three hosts"}},
  "timing": {"profile": "patient", "heartbeat_interval": "1500ms", "lease": "15s", "watchdog_timeout": "4s", "reset_time": "0s",
    "drain_time": "3s", "clock_error": 0.001, "grain": "700ms", "election": "900ms"},
  "host": {"kvm1": {"fence": ["kvm1-bmc", ["pdu-a", "pdu-b"]]}, "kvm2": {"fence": ["kvm2-bmc"]}},
  "fence": {"kvm1-bmc": {"agent": "fence_ipmilan", "options": {"ip": "10.30.0.11", "ipport": 623, "lanplus": true, "verbose": false},
      "password_file": "/etc/haagent/kvm1-bmc", "timeout": "30s", "attempts": 3, "check": "1m"},
    "kvm2-bmc": {"agent": "fence_redfish", "options": {"ip": "10.30.0.12", "ipport": 1000000}, "password": "se \"cret"},
    "pdu-a": {"agent": "fence_apc_snmp", "options": {"ip": "10.30.0.50", "plug": "3"}}, "pdu-b": {"agent": "fence_apc_snmp", "options": {"ip": "10.30.0.51", "plug": 3}}},
  "heartbeat_volumes": {"count": 3},
  "heartbeat_volume": {"san": {"path": "/dev/disk/by-id/san", "pinned": true}},
  "fencing": {"mode": "best_effort"},
  "isolation_check": {"addresses": ["10.10.0.1", "fd00::1"], "use_default_gateway": false},
  "isolation_response": {"action": "shutdown", "delay": "30s", "shutdown_timeout": "2m"},
  "host_shutdown": {"action": "conditional", "migrate_timeout": "25m", "freeze_timeout": "0s"},
  "defaults": {"protect": "all", "on_crash": "leave"},
  "vms": {"web": {"match": {"name": "web-*"}, "protect": false, "on_crash": "restart", "isolation": "power_off"}, "all": {"match": {"name": "*"}}},
  "vm": {"db1": {"protect": true, "on_crash": "restart", "note": "PostgreSQL\nprimary\n"}, "vdi gold": {"protect": false}}
}`
	want := &Policy{
		Schema:  1,
		Cluster: "basement",
		Note:    "three hosts",
		Timing: lease.Timing{Profile: "patient", Heartbeat: 1500 * time.Millisecond, Lease: 15 * time.Second, Watchdog: 4 * time.Second,
			Drain: 3 * time.Second, ClockError: 0.001, Grain: 700 * time.Millisecond, Election: 900 * time.Millisecond},
		Hosts: map[string]HostRule{"kvm1": {Fence: [][]string{{"kvm1-bmc"}, {"pdu-a", "pdu-b"}}}, "kvm2": {Fence: [][]string{{"kvm2-bmc"}}}},
		Fences: map[string]Fence{
			"kvm1-bmc": {Agent: "fence_ipmilan", Options: map[string]string{"ip": "10.30.0.11", "ipport": "623", "lanplus": "1", "verbose": "0"},
				PasswordFile: "/etc/haagent/kvm1-bmc", Timeout: 30 * time.Second, Attempts: 3, Check: time.Minute},
			"kvm2-bmc": {Agent: "fence_redfish", Options: map[string]string{"ip": "10.30.0.12", "ipport": "1000000"}, Password: `se "cret`,
				Timeout: 20 * time.Second, Attempts: 2, Check: 5 * time.Minute},
			"pdu-a": {Agent: "fence_apc_snmp", Options: map[string]string{"ip": "10.30.0.50", "plug": "3"}, Timeout: 20 * time.Second, Attempts: 2, Check: 5 * time.Minute},
			"pdu-b": {Agent: "fence_apc_snmp", Options: map[string]string{"ip": "10.30.0.51", "plug": "3"}, Timeout: 20 * time.Second, Attempts: 2, Check: 5 * time.Minute},
		},
		Volumes:   []HeartbeatVolume{{Name: "san", Path: "/dev/disk/by-id/san", Pinned: true}},
		VolumeUse: VolumesPolicy{Count: 3},
		Fencing:   FencingPolicy{Mode: FencingBestEffort},
		Isolation: IsolationPolicy{Action: IsolationShutdown, Delay: 30 * time.Second, ShutdownTimeout: 2 * time.Minute, Addresses: []string{"10.10.0.1", "fd00::1"}},
		Shutdown:  ShutdownPolicy{Action: ShutdownConditional, MigrateTimeout: 25 * time.Minute},
		Placement: defaultPlacement(),
		Admission: defaultAdmission(),
		Restart:   defaultRestart(),
		Migration: defaultMigration(),
		Balance:   defaultBalance(),
		Defaults:  DefaultsPolicy{Protect: ProtectAll, OnCrash: CrashLeave},
		Selectors: []Selector{
			{"web", "web-*", VMRule{Protect: false, OnCrash: CrashRestart, Isolation: IsolationPowerOff}},
			{"all", "*", VMRule{Protect: true}},
		},
		VMs: map[string]VMRule{
			"db1":      {Protect: true, OnCrash: CrashRestart, Note: "PostgreSQL\nprimary\n"},
			"vdi gold": {Protect: false},
		},
	}
	if diff := cmp.Diff(want, parse(t, native)); diff != "" {
		t.Errorf("native syntax (-want +got):\n%s", diff)
	}
	got, err := ParsePolicyJSON("policy.json", []byte(inJSON), "ignored")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("JSON syntax (-want +got):\n%s", diff)
	}
	encoded, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var decoded Policy
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, &decoded); diff != "" {
		t.Errorf("through encoding/json (-want +got):\n%s", diff)
	}
}

func TestPolicyJSONTakesTheClustersName(t *testing.T) {
	p, err := ParsePolicyJSON("s.json", []byte(`{"timing": {"profile": "fast"}}`), "sim")
	if err != nil {
		t.Fatal(err)
	}
	if p.Cluster != "sim" || p.Timing.Profile != "fast" {
		t.Errorf("got cluster %q with profile %q, want sim with fast", p.Cluster, p.Timing.Profile)
	}
}

func TestEffectiveVMPolicy(t *testing.T) {
	const rules = `
vms "web" {
  match    = { name = "web-*" }
  on_crash = "leave"
}
vms "w" {
  match   = { name = "w*" }
  protect = false
}
vm "web-9" {}
vm "vdi" {
  protect = false
}
vm "db1" {
  on_crash = "leave"
}
vm "dc1" {
  isolation = "power_off"
}
`
	tests := []struct {
		name     string
		defaults string
		vm       string
		want     VMPolicy
	}{
		{"own block", "", "db1", VMPolicy{Protect: true, OnCrash: "leave", Isolation: "leave_running", Why: `vm "db1"`, Listed: true}},
		{"own block says no", `defaults { protect = "all" }`, "vdi", VMPolicy{Protect: false, OnCrash: "restart", Isolation: "leave_running", Why: `vm "vdi"`, Listed: true}},
		{"own block goes before a selector", "", "web-9", VMPolicy{Protect: true, OnCrash: "restart", Isolation: "leave_running", Why: `vm "web-9"`, Listed: true}},
		{"first selector that matches", "", "web-1", VMPolicy{Protect: true, OnCrash: "leave", Isolation: "leave_running", Why: `vms "web"`, Listed: true}},
		{"second selector", `defaults { on_crash = "leave" }`, "wiki", VMPolicy{Protect: false, OnCrash: "leave", Isolation: "leave_running", Why: `vms "w"`, Listed: true}},
		{"its own isolation", `isolation_response { action = "shutdown" }`, "dc1", VMPolicy{Protect: true, OnCrash: "restart", Isolation: "power_off", Why: `vm "dc1"`, Listed: true}},
		{"everybody's isolation", `isolation_response { action = "shutdown" }`, "wiki", VMPolicy{Protect: false, OnCrash: "restart", Isolation: "shutdown", Why: `vms "w"`, Listed: true}},
		{"none, listed", "", "other", VMPolicy{Protect: false, OnCrash: "restart", Isolation: "leave_running", Why: `defaults.protect = "listed"`, Listed: false}},
		{"none, all", `defaults { protect = "all" }`, "other", VMPolicy{Protect: true, OnCrash: "restart", Isolation: "leave_running", Why: `defaults.protect = "all"`, Listed: false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := parse(t, "cluster \"c\" {}\n"+tt.defaults+rules)
			tt.want.Priority, tt.want.Retries, tt.want.Failback = PriorityMedium, defaultRestart().Retries, FailbackMaintenance
			if diff := cmp.Diff(tt.want, p.VM(tt.vm)); diff != "" {
				t.Errorf("VM(%q) (-want +got):\n%s", tt.vm, diff)
			}
		})
	}
}

func TestDiffPolicies(t *testing.T) {
	const base = `
cluster "basement" { note = "old" }
vms "web" { match = { name = "web-*" } }
vms "app" { match = { name = "app-*" } }
vms "old" { match = { name = "old-*" } }
vm "db1" { note = "primary" }
vm "db2" {}
`
	const next = `
cluster "basement" { note = "new" }
timing {
  lease       = "5s"
  clock_error = 0.001
}
defaults { protect = "all" }
vms "app" { match = { name = "app*" } }
vms "web" { match = { name = "web-*" } }
vms "new" {
  match   = { name = "new-*" }
  protect = false
}
vm "db1" {
  note    = "primary"
  protect = false
}
vm "db3" { on_crash = "leave" }
`
	a, b := parse(t, base), parse(t, next)
	want := []Change{
		{"cluster.note", "old", "new"},
		{"timing.lease", "4s", "5s"},
		{"timing.clock_error", "0.0005", "0.001"},
		{"defaults.protect", "listed", "all"},
		{`vms "app".match.name`, "app-*", "app*"},
		{`vms "old"`, `{ match = { name = "old-*" }, protect = true }`, ""},
		{`vms "new"`, "", `{ match = { name = "new-*" }, protect = false }`},
		{"order of vms", "web, app", "app, web"},
		{`vm "db1".protect`, "true", "false"},
		{`vm "db2"`, "{ protect = true }", ""},
		{`vm "db3"`, "", `{ protect = true, on_crash = "leave" }`},
	}
	before := a.Clone()
	if diff := cmp.Diff(want, DiffPolicies(a, b)); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, a); diff != "" {
		t.Errorf("DiffPolicies changed its input:\n%s", diff)
	}
	if same := DiffPolicies(a, a.Clone()); len(same) != 0 {
		t.Errorf("a policy differs from its copy: %v", same)
	}
}

func TestValidate(t *testing.T) {
	if err := DefaultPolicy("basement").Validate(); err != nil {
		t.Errorf("the default policy is refused: %v", err)
	}
	tests := []struct {
		name  string
		spoil func(p *Policy)
	}{
		{"no cluster", func(p *Policy) { p.Cluster = "" }},
		{"newer schema", func(p *Policy) { p.Schema = 2 }},
		{"unknown profile", func(p *Policy) { p.Timing.Profile = "lightning" }},
		{"no timing", func(p *Policy) { p.Timing = lease.Timing{} }},
		{"unsafe timing", func(p *Policy) { p.Timing.Lease = p.Timing.Heartbeat }},
		{"negative time", func(p *Policy) { p.Timing.Drain = -time.Second }},
		{"time that overflows the wait", func(p *Policy) { p.Timing.Watchdog = math.MaxInt64 / 1e9 * 1e9 }},
		{"no number", func(p *Policy) { p.Timing.ClockError = math.NaN() }},
		{"no end", func(p *Policy) { p.Timing.ClockError = math.Inf(1) }},
		{"bad default", func(p *Policy) { p.Defaults.OnCrash = "" }},
		{"bad rule", func(p *Policy) { p.VMs = map[string]VMRule{"db1": {OnCrash: "explode"}} }},
		{"bad name", func(p *Policy) { p.VMs = map[string]VMRule{"a/b": {}} }},
		{"name that is not UTF-8", func(p *Policy) { p.VMs = map[string]VMRule{"a\xff": {}} }},
		{"name with a quote and a brace", func(p *Policy) { p.VMs = map[string]VMRule{"x\" {}\nvm \"y": {}} }},
		{"two selectors of one name", func(p *Policy) { p.Selectors = []Selector{{Name: "a", Match: "*"}, {Name: "a", Match: "b"}} }},
		{"bad pattern", func(p *Policy) { p.Selectors = []Selector{{Name: "a", Match: "["}} }},
		{"host without a device", func(p *Policy) { p.Hosts = map[string]HostRule{"kvm1": {}} }},
		{"host with a device that is not there", func(p *Policy) { p.Hosts = map[string]HostRule{"kvm1": {Fence: [][]string{{"bmc"}}}} }},
		{"device without times", func(p *Policy) { p.Fences = map[string]Fence{"bmc": {Agent: "fence_ipmilan"}} }},
		{"unprintable note", func(p *Policy) { p.Note = "\x1b[2J" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := DefaultPolicy("basement")
			tt.spoil(p)
			if p.Validate() == nil {
				t.Errorf("accepted:\n%s", p.HCL())
			}
		})
	}
}

func TestLoadPolicy(t *testing.T) {
	dir := write(t, map[string]string{
		"a.hcl":    `cluster "basement" {}`,
		"b.hcl":    `vm "db1" {}`,
		"c.txt":    `not HCL`,
		".d.hcl":   `not HCL`,
		"e.json":   `not read`,
		"x/f.hcl":  `not read`,
		"one.hcl~": `an editor's`,
	})
	p, err := LoadPolicy(dir)
	if err != nil {
		t.Fatal(err)
	}
	if p.Cluster != "basement" || len(p.VMs) != 1 {
		t.Errorf("the directory was not taken as one: %+v", p)
	}
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(`{"cluster": {"attic": {}}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if p, err := LoadPolicy(file); err != nil || p.Cluster != "attic" {
		t.Errorf("a .json file: %v, %v", p, err)
	}
	for _, path := range []string{t.TempDir(), filepath.Join(dir, "none.hcl"), os.DevNull} {
		if _, err := LoadPolicy(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("LoadPolicy(%s): %v, want an error that names the path", path, err)
		}
	}
}

func TestTimingTextHasEveryTerm(t *testing.T) {
	for _, profile := range lease.Profiles {
		timing, _ := lease.Profile(profile)
		timing.Drain += time.Second
		text := TimingText(timing)
		for _, term := range timing.Terms() {
			if !strings.Contains(text, term.Symbol) || !strings.Contains(text, rounded(term.Value)) {
				t.Errorf("%s: %s = %v is missing in\n%s", profile, term.Symbol, term.Value, text)
			}
		}
		if !strings.Contains(text, rounded(timing.Wait())) {
			t.Errorf("%s: D = %v is missing in\n%s", profile, timing.Wait(), text)
		}
	}
}
