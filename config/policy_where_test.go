package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// genWhere draws the blocks that say where VMs go. Rules that are a must are on VMs of
// their own, so that none contradicts another.
func genWhere(t *rapid.T, p *Policy, name, vm *rapid.Generator[string]) {
	bools := func(what string) bool { return rapid.Bool().Draw(t, what) }
	between := func(low, high int, what string) int { return rapid.IntRange(low, high).Draw(t, what) }
	wait := func(what string) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, what))
	}
	retries := func(what string) []time.Duration {
		list := []time.Duration{0}
		for range between(0, 5, what) {
			list = append(list, list[len(list)-1]+1+wait(what))
		}
		return list
	}
	some := func(what string) []string { return rapid.SliceOfNDistinct(vm, 1, 4, rapid.ID[string]).Draw(t, what) }
	for host, h := range p.Hosts {
		h.FailureDomain, h.MaxRestarts, h.MaxVMs, h.Standby = rapid.OneOf(rapid.Just(""), name).Draw(t, "domain"), between(0, 9, "restarts"), between(0, 9, "most"), bools("standby")
		h.MemoryReserve = uint64(between(0, 9, "reserve")) << 30
		if bools("labels") {
			h.Labels = map[string]string{name.Draw(t, "label"): vm.Draw(t, "value")}
		}
		p.Hosts[host] = h
	}
	for i, s := range rapid.SliceOfNDistinct(name, 0, 3, rapid.ID[string]).Draw(t, "datastores") {
		if p.Datastores == nil {
			p.Datastores = map[string]Datastore{}
		}
		p.Datastores[s] = Datastore{Path: fmt.Sprintf("/srv/%d/x y", i), Mounted: bools("mounted")}
	}
	for i, s := range rapid.SliceOfNDistinct(name, 0, 2, rapid.ID[string]).Draw(t, "pools") {
		if p.Devices == nil {
			p.Devices = map[string]Devices{}
		}
		d := Devices{Hosts: map[string][]string{}}
		form := rapid.SampledFrom([]string{"pci:0000:%02x:00.%d", "mdev:c2177883-f1bb-47f0-914d-32a22e3a%02x0%d", "usb:0529:%02x0%d"}).Draw(t, "form")
		if bools("id") && strings.HasPrefix(form, "pci") {
			d.ID = "10de:1eb8"
		}
		for _, host := range rapid.SliceOfNDistinct(name, 1, 3, rapid.ID[string]).Draw(t, "pool's hosts") {
			for n := range between(1, 3, "devices") {
				d.Hosts[host] = append(d.Hosts[host], fmt.Sprintf(form, i, n))
			}
		}
		p.Devices[s] = d
	}
	p.Placement = PlacementPolicy{MemoryOvercommit: rapid.Float64Range(0.1, 100).Draw(t, "memory"), Strategy: rapid.SampledFrom([]string{StrategySpread, StrategyPack}).Draw(t, "strategy")}
	if bools("cpu") {
		p.Placement.CPUOvercommit = rapid.Float64Range(0.1, 100).Draw(t, "overcommit")
	}
	p.Restart = RestartPolicy{Retries: retries("retries"), MaxPerHost: between(1, 256, "per host"), MaxPerDatastore: between(1, 256, "per datastore"), NextWhen: NextOrdered, NextTimeout: defaultNextTimeout}
	if when := rapid.SampledFrom([]string{NextOrdered, NextRunning, NextReady}).Draw(t, "next"); when != NextOrdered {
		p.Restart.NextWhen, p.Restart.NextDelay, p.Restart.NextTimeout = when, wait("next delay"), time.Second+wait("next timeout")
	}
	p.Migration = MigrationPolicy{MaxPerHost: between(1, 32, "moves"), Bandwidth: uint64(between(0, 1<<20, "bandwidth")) << 20, Timeout: time.Minute + wait("timeout"), WhenNotLive: rapid.SampledFrom([]string{NotLiveStay, NotLiveRestart}).Draw(t, "not live"), Failback: rapid.SampledFrom(failbacks()).Draw(t, "failback")}
	p.Balance = BalancePolicy{Mode: rapid.SampledFrom([]string{BalanceOff, BalanceOnStart, BalanceAutomatic}).Draw(t, "mode"), By: rapid.SampledFrom([]string{BalanceConfigured, BalanceMeasured}).Draw(t, "by"), Threshold: between(1, 1000, "threshold"), Hold: wait("hold"), Margin: between(1, 90, "margin")}
	if p.Balance.Mode == BalanceAutomatic {
		p.Placement.Strategy = StrategySpread
	}
	p.Admission = genAdmission(t, p)
	for _, s := range rapid.SliceOfNDistinct(name, 0, 3, rapid.ID[string]).Draw(t, "classes") {
		if p.Classes == nil {
			p.Classes = map[string]Class{}
		}
		c := Class{Priority: rapid.SampledFrom(priorities()).Draw(t, "priority"), Admission: rapid.SampledFrom([]string{AdmitGuaranteed, AdmitBestEffort}).Draw(t, "admission"), Failback: rapid.SampledFrom(append(failbacks(), "")).Draw(t, "class failback"),
			Isolation: rapid.SampledFrom(append(isolationWords(), "")).Draw(t, "isolation")}
		if bools("own retries") {
			c.Retries = retries("class retries")
		}
		p.Classes[s] = c
	}
	taken := map[string]bool{}
	for _, s := range rapid.SliceOfNDistinct(name, 0, 4, rapid.ID[string]).Draw(t, "groups") {
		g := Group{Name: s, Spread: bools("spread"), OnTimeout: TimeoutContinue, Ready: Ready{GuestAgent: bools("agent"), Uptime: wait("uptime"), Timeout: time.Second + wait("timeout")}}
		for _, x := range some("members") {
			if !taken[x] {
				g.VMs = append(g.VMs, x)
			}
			taken[x] = true
		}
		if g.VMs == nil || bools("match") {
			g.Match = name.Draw(t, "pattern") + "*"
		}
		if bools("probes") {
			g.Ready.TCP, g.Ready.HTTP = []string{"10.0.0.1:53", "[fd00::1]:53"}, []string{"http://10.0.0.1/%7Bx%7D?y=${z}"}
		}
		for _, before := range p.Groups { // only on earlier ones: no ring
			if bools("after") {
				g.StartAfter = append(g.StartAfter, before.Name)
			}
		}
		if len(g.StartAfter) > 0 {
			g.StartDelay, g.OnTimeout = wait("delay"), rapid.SampledFrom([]string{TimeoutContinue, TimeoutStop}).Draw(t, "on timeout")
		}
		p.Groups = append(p.Groups, g)
	}
	for i, s := range rapid.SliceOfNDistinct(name, 0, 4, rapid.ID[string]).Draw(t, "rules") {
		r := Rule{Kind: rapid.SampledFrom([]string{RuleApart, RuleTogether, RuleOnHosts, RuleNotOnHosts}).Draw(t, "kind"), Strength: RuleShould, Domain: DomainHost, Weight: 1}
		r.VMs = append(some("rule's"), fmt.Sprintf("rule %d", i))
		if bools("must") {
			r.Strength, r.VMs = RuleMust, []string{fmt.Sprintf("must %d", i), fmt.Sprintf("must %d more", i)}
		} else if bools("match too") {
			r.Match = "web-*"
		}
		switch r.Kind {
		case RuleApart:
			r.Domain = rapid.SampledFrom([]string{DomainHost, DomainFailure}).Draw(t, "by")
		case RuleOnHosts, RuleNotOnHosts:
			r.Hosts = map[string]int64{}
			for _, h := range rapid.SliceOfNDistinct(name, 1, 3, rapid.ID[string]).Draw(t, "hosts") {
				if r.Hosts[h] = 0; r.Kind == RuleOnHosts {
					r.Hosts[h] = int64(between(0, maxWeight, "weight"))
				}
			}
			if bools("rule labels") {
				r.HostLabels = map[string]string{"gpu": "a2"}
			}
		}
		if r.Strength == RuleShould && r.Hosts == nil {
			r.Weight = int64(between(1, maxWeight, "weight"))
		}
		if p.Rules == nil {
			p.Rules = map[string]Rule{}
		}
		p.Rules[s] = r
	}
}

func genAdmission(t *rapid.T, p *Policy) AdmissionPolicy {
	a := defaultAdmission()
	a.Mode = rapid.SampledFrom([]string{AdmissionEnforce, AdmissionWarn, AdmissionOff}).Draw(t, "mode")
	a.By = rapid.SampledFrom(rooms()).Draw(t, "by")
	if a.By != RoomStandby {
		a.Tolerate = rapid.IntRange(1, maxTolerated).Draw(t, "tolerate")
	}
	switch a.By {
	case RoomFailures:
		a.Domain, a.Succession = rapid.SampledFrom([]string{DomainHost, DomainFailure}).Draw(t, "domain"), rapid.Bool().Draw(t, "succession")
	case RoomSlots:
		a.CountUnprotected = rapid.Bool().Draw(t, "unprotected")
		if rapid.Bool().Draw(t, "fixed") {
			a.Slot = SlotRules{Memory: 3 << 30, MHz: 700}
		} else {
			a.MinMHz, a.Slot = rapid.IntRange(1, 500).Draw(t, "min"), SlotRules{MemoryMin: 1 << 20, MemoryMax: 5 << 20, MaxMHz: 500}
		}
	case RoomPercent:
		a.CountUnprotected, a.MinMHz = rapid.Bool().Draw(t, "unprotected"), rapid.IntRange(1, 500).Draw(t, "min")
		if rapid.Bool().Draw(t, "given") {
			a.Tolerate, a.CPU, a.Memory = 1, rapid.IntRange(1, 99).Draw(t, "cpu"), rapid.IntRange(1, 99).Draw(t, "memory")
		}
	case RoomStandby:
		if p.Hosts == nil {
			p.Hosts = map[string]HostRule{}
		}
		p.Hosts["standby"] = HostRule{Standby: true}
	}
	return a
}

// someClass draws one of the classes of the policy, or none.
func someClass(t *rapid.T, p *Policy) string {
	return rapid.SampledFrom(append(sortedKeys(p.Classes), "")).Draw(t, "class")
}

const whereText = `
host "kvm1" {
  failure_domain = "rack-a"
  labels         = { gpu = "a2", site = "north" }
}
host "kvm2" { labels = { gpu = "a2" } }
host "kvm3" { max_restarts = 3 }
restart {
  retries      = ["0s", "10s"]
  max_per_host = 7
}
class "critical" {
  priority  = "highest"
  retries   = ["0s", "1m", "5m"]
  isolation = "power_off"
  failback  = "never"
}
class "spare" {
  priority  = "lowest"
  admission = "best_effort"
}
defaults { class = "spare" }
vms "web" {
  match    = { name = "web-*" }
  priority = "low"
  order    = 3
}
vm "db1" {
  class            = "critical"
  cpu_reserved_mhz = 2000
}
vm "db2" {
  class     = "critical"
  priority  = "high"
  isolation = "shutdown"
  failback  = "always"
}
group "any" { match = { name = "w*" } }
group "web" { match = { name = "web-*" } }
group "listed" { vms = ["web-9"] }
rule "gpu" {
  kind        = "on_hosts"
  strength    = "should"
  match       = { name = "db?" }
  hosts       = { kvm1 = 7, kvm9 = 2 }
  host_labels = { gpu = "a2" }
}
datastore "whole" { path = "/srv" }
datastore "vm" { path = "/srv/vm" }
`

func TestClassesOfVMs(t *testing.T) {
	p := parse(t, "cluster \"c\" {}\n"+whereText)
	own, all := []time.Duration{0, time.Minute, 5 * time.Minute}, []time.Duration{0, 10 * time.Second}
	for name, want := range map[string]VMPolicy{
		"db1":   {Protect: true, Class: "critical", Priority: PriorityHighest, Retries: own, Isolation: IsolationPowerOff, Failback: FailbackNever, ReservedMHz: 2000, Listed: true, Why: `vm "db1"`},
		"db2":   {Protect: true, Class: "critical", Priority: PriorityHigh, Retries: own, Isolation: IsolationShutdown, Failback: FailbackAlways, Listed: true, Why: `vm "db2"`},
		"web-1": {Protect: true, Class: "spare", Priority: PriorityLow, Order: 3, BestEffort: true, Retries: all, Isolation: IsolationLeave, Listed: true, Why: `vms "web"`},
		"other": {Class: "spare", Priority: PriorityLowest, BestEffort: true, Retries: all, Isolation: IsolationLeave, Why: `defaults.protect = "listed"`},
	} {
		want.OnCrash = CrashRestart
		if want.Failback == "" {
			want.Failback = FailbackMaintenance
		}
		if d := cmp.Diff(want, p.VM(name)); d != "" {
			t.Errorf("VM(%q) (-want +got):\n%s", name, d)
		}
	}
	if got := DefaultPolicy("c").VM("x"); got.Priority != PriorityMedium || got.BestEffort || len(got.Retries) != 5 {
		t.Errorf("without any class: %+v", got)
	}
	for i, word := range []string{"", PriorityLowest, PriorityLow, PriorityMedium, PriorityHigh, PriorityHighest} {
		if got := PriorityLevel(word); got != i {
			t.Errorf("PriorityLevel(%q) = %d, want %d", word, got, i)
		}
	}
	if a, b := p.MaxStarts("kvm3"), p.MaxStarts("kvm1"); a != 3 || b != 7 {
		t.Errorf("MaxStarts: %d on kvm3 and %d on kvm1, want 3 and 7", a, b)
	}
}

func TestRetryAfter(t *testing.T) {
	schedule := defaultRestart().Retries
	var at []time.Duration // moments of the tries, when each fails at once
	now := time.Duration(0)
	for n := 1; ; n++ {
		at = append(at, now)
		wait, more := RetryAfter(schedule, n)
		if !more {
			break
		}
		now += wait
	}
	if d := cmp.Diff(schedule, at); d != "" {
		t.Errorf("the moments of the tries (-want +got):\n%s", d)
	}
	if wait, more := RetryAfter(schedule, 0); wait != 0 || !more {
		t.Errorf("before the first try: %v, %v, want at once", wait, more)
	}
}

func TestGroupsRulesAndDatastoresFind(t *testing.T) {
	p := parse(t, "cluster \"c\" {}\n"+whereText)
	for vm, want := range map[string]string{"web-9": "listed", "web-1": "any", "w": "any", "db1": ""} {
		got := ""
		if g := p.GroupOf(vm); g != nil {
			got = g.Name
		}
		if got != want {
			t.Errorf("GroupOf(%q) is %q, want %q", vm, got, want)
		}
	}
	rule := p.Rules["gpu"]
	if d := cmp.Diff(map[string]int{"kvm1": 7, "kvm2": 0, "kvm9": 2}, p.RuleHosts(rule)); d != "" {
		t.Errorf("hosts of the rule (-want +got):\n%s", d)
	}
	if !rule.Holds("db1") || rule.Holds("db10") {
		t.Errorf("the rule holds for db1: %v, for db10: %v", rule.Holds("db1"), rule.Holds("db10"))
	}
	for path, want := range map[string]string{"/srv/vm/a.qcow2": "vm", "/srv/vm": "vm", "/srv/vmx/a": "whole", "/srv": "whole", "/var/a": "", "/srvx": ""} {
		if got, ok := p.DatastoreAt(path); got != want || ok != (want != "") {
			t.Errorf("DatastoreAt(%q) is %q, %v, want %q", path, got, ok, want)
		}
	}
}

func TestWhereIsCompared(t *testing.T) {
	a := parse(t, "cluster \"c\" {}\n"+whereText)
	b := parse(t, strings.NewReplacer(
		`host "kvm3" { max_restarts = 3 }`, `host "kvm3" { max_vms = 50 }`,
		`retries      = ["0s", "10s"]`, `retries      = ["0s", "20s"]`,
		`kvm1 = 7, kvm9 = 2`, `kvm1 = 7, kvm9 = 3`,
		`group "listed" { vms = ["web-9"] }`, `group "listed" {
  vms         = ["web-9", "x"]
  start_after = ["web"]
  on_timeout  = "stop"
}`,
		`group "web" { match = { name = "web-*" } }`, `group "web" {
  match = { name = "web-*" }
  ready_when {
    guest_agent = true
    timeout     = "1m"
  }
}`,
		`datastore "whole" { path = "/srv" }`, `admission_control {
  reserve_percent {}
}`,
	).Replace("cluster \"c\" {}\n"+whereText))
	want := []Change{
		{`host "kvm3".max_restarts`, "3", "0"},
		{`host "kvm3".max_vms`, "0", "50"},
		{`datastore "whole"`, `{ path = "/srv" }`, ""},
		{"admission_control", "host_failures {}", "reserve_percent {}"},
		{"restart.retries", `["0s", "10s"]`, `["0s", "20s"]`},
		{`group "listed".vms`, `["web-9"]`, `["web-9", "x"]`},
		{`group "listed".start_after`, "[]", `["web"]`},
		{`group "listed".on_timeout`, "continue", "stop"},
		{`group "web".ready_when.guest_agent`, "false", "true"},
		{`group "web".ready_when.timeout`, "10m", "1m"},
		{`rule "gpu".hosts`, "{ kvm1 = 7, kvm9 = 2 }", "{ kvm1 = 7, kvm9 = 3 }"},
	}
	if d := cmp.Diff(want, DiffPolicies(a, b)); d != "" {
		t.Errorf("differences (-want +got):\n%s", d)
	}
	more := a.Clone()
	more.Groups = slices.Clone(more.Groups)
	more.Groups[0], more.Groups[1] = more.Groups[1], more.Groups[0]
	more.Rules["new"] = Rule{Kind: RuleNotOnHosts, Strength: RuleMust, VMs: []string{"db1"}, Hosts: map[string]int64{"kvm1": 0}, Domain: DomainHost, Weight: 1}
	want = []Change{
		{"order of group", "any, web, listed", "web, any, listed"},
		{`rule "new"`, "", `{ kind = "not_on_hosts", strength = "must", vms = ["db1"], hosts = ["kvm1"] }`},
	}
	if d := cmp.Diff(want, DiffPolicies(a, more)); d != "" {
		t.Errorf("differences (-want +got):\n%s", d)
	}
}

// What can be meant, and is likely a mistake, is warned of.
func TestWhatWorksAgainstItselfIsToldOf(t *testing.T) {
	const head = "cluster \"c\" {}\nwarnings { few_heartbeat_volumes = false }\n"
	groups := func(app, db string) string {
		return head + fmt.Sprintf("vm \"app\" { priority = %q }\nvm \"db\" { priority = %q }\ngroup \"db\" { vms = [\"db\"] }\ngroup \"app\" {\n  vms = [\"app\"]\n  start_after = [\"db\"]\n}\n", app, db)
	}
	for _, tt := range []struct {
		name, text, want string
	}{
		{"nobody to ask", head + "isolation_check { use_default_gateway = false }\n", "there is nobody to ask"},
		{"addresses to ask", head + "isolation_check {\n  use_default_gateway = false\n  addresses = [\"10.0.0.1\"]\n}\n", ""},
		{"high after low", groups("high", "low"), `group "app" starts after "db", and its app has priority "high", db there only "low"`},
		{"low after high", groups("low", "high"), ""},
		{"alike", groups("high", "high"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(parse(t, tt.text).Warnings(), "; ")
			if !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("warnings %q, want %q", got, tt.want)
			}
		})
	}
}

func TestIdleSettingsAreToldOf(t *testing.T) {
	p := parse(t, `cluster "c" {}
warnings { few_heartbeat_volumes = false }
balance {
  mode   = "on_start"
  by     = "measured"
  margin = 20
}
class "unused" {}
class "used" {}
vm "a" {
  protect = false
  class   = "used"
}
group "g" {
  vms = ["a"]
  ready_when { guest_agent = true }
}
`)
	want := []string{
		`vm "a" is not protected: its class, priority, failback and order have no effect`,
		`class "unused" is not used: no vm, vms or defaults block names it`,
		`group "g": nothing starts after it, so ready_when has no effect`,
		`balance: margin has no effect: only mode = "automatic" looks at it`,
	}
	if d := cmp.Diff(want, p.Warnings()); d != "" {
		t.Errorf("warnings (-want +got):\n%s", d)
	}
	p.Balance.Mode = BalanceOff
	want = append(want[:3:3], `balance: by has no effect: only mode = "automatic" or "on_start" looks at it`, want[3])
	if d := cmp.Diff(want, p.Warnings()); d != "" {
		t.Errorf("warnings with balance off (-want +got):\n%s", d)
	}
	p.Balance.Mode, want = BalanceOnStart, slices.Delete(want, 3, 4)
	// Where a level waits until the one before is ready, that is asked of every group.
	p.Restart.NextWhen = NextReady
	want = slices.Delete(want, 2, 3)
	if d := cmp.Diff(want, p.Warnings()); d != "" {
		t.Errorf("warnings where levels wait (-want +got):\n%s", d)
	}
	p.Groups[0].Ready.Timeout = time.Minute
	want = slices.Insert(want, 2, `group "g": nothing starts after it, so the timeout of its ready_when has no effect: restart.next_timeout holds`)
	if d := cmp.Diff(want, p.Warnings()); d != "" {
		t.Errorf("warnings where levels wait and a group has a timeout (-want +got):\n%s", d)
	}
}

// What HCL cannot say is refused in a policy that comes from elsewhere.
func TestValidateRefusesIdleFigures(t *testing.T) {
	for name, spoil := range map[string]func(p *Policy){
		"percentages where placements are asked": func(p *Policy) { p.Admission.CPU = 30 },
		"no way to reckon":                       func(p *Policy) { p.Admission.By = "" },
		"no tries":                               func(p *Policy) { p.Restart.Retries = nil },
		"no weight": func(p *Policy) {
			p.Rules["gpu"] = Rule{Kind: RuleApart, Strength: RuleMust, VMs: []string{"a", "b"}, Domain: DomainHost}
		},
		"a delay where nothing waits": func(p *Policy) { p.Restart.NextDelay = time.Second },
		"a wait without an end":       func(p *Policy) { p.Restart.NextWhen, p.Restart.NextTimeout = NextRunning, 0 },
		"a class that is not there":   func(p *Policy) { p.Defaults.Class = "none" },
		"a ring":                      func(p *Policy) { p.Groups[0].StartAfter = []string{"any"} },
		"a timeout of nothing":        func(p *Policy) { p.Groups[0].Ready.Timeout = 0 },
		"an empty host block":         func(p *Policy) { p.Hosts["kvm9"] = HostRule{} },
		"two groups of one name":      func(p *Policy) { p.Groups = append(p.Groups, p.Groups[0]) },
		"no memory":                   func(p *Policy) { p.Placement.MemoryOvercommit = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, "cluster \"c\" {}\n"+whereText)
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
			spoil(p)
			if p.Validate() == nil {
				t.Errorf("accepted:\n%s", p.HCL())
			}
		})
	}
}

func TestDevicePools(t *testing.T) {
	p := parse(t, `cluster "c" {}
devices "gpu" {
  id = "10de:1eb8"
  host "kvm1" { pci = ["0000:41:00.0"] }
  host "kvm2" { pci = ["0000:41:00.0", "0000:02:00.0"] }
}
devices "dongle" {
  host "kvm1" { usb = ["0529:0001"] }
}
`)
	for _, x := range []struct{ host, word, want string }{
		{"kvm1", "pci:0000:41:00.0", "gpu"}, {"kvm2", "pci:0000:02:00.0", "gpu"}, {"kvm1", "pci:0000:02:00.0", ""},
		{"kvm1", "usb:0529:0001", "dongle"}, {"kvm2", "usb:0529:0001", ""}, {"kvm3", "pci:0000:41:00.0", ""},
	} {
		if got := p.DevicePool(x.host, x.word); got != x.want {
			t.Errorf("%s of %s is of pool %q, want %q", x.word, x.host, got, x.want)
		}
	}
	q := p.Clone()
	q.Devices["gpu"].Hosts["kvm2"][0] = "pci:0000:03:00.0"
	delete(q.Devices, "dongle")
	want := []Change{
		{`devices "dongle"`, `{ host "kvm1" = ["usb:0529:0001"] }`, ""},
		{`devices "gpu".host "kvm2"`, `["pci:0000:41:00.0", "pci:0000:02:00.0"]`, `["pci:0000:03:00.0", "pci:0000:02:00.0"]`},
	}
	if d := cmp.Diff(want, DiffPolicies(p, q)); d != "" {
		t.Errorf("differences (-want +got):\n%s", d)
	}
}
