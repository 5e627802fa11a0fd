package config

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// genPolicy draws a valid policy.
func genPolicy() *rapid.Generator[*Policy] {
	name := rapid.StringMatching(`[a-zA-Z0-9][a-zA-Z0-9._-]{0,10}`)
	vm := rapid.OneOf(name,
		rapid.SampledFrom([]string{"vdi gold", `quo"te`, "dollar ${x}", "%{if}", "ümläut", "日本", `back\slash`, "$${", "-", "vm", "#x", "\\\\"}),
		rapid.StringOfN(rapid.RuneFrom([]rune("ab ${}%\"\\#'ü")), 1, 12, -1).Filter(func(s string) bool { return badVMName(s) == "" }))
	note := rapid.OneOf(rapid.Just(""), vm, rapid.SampledFrom([]string{"two\nlines", "tab\there", "EOT\n", "${", "trailing "}))
	crash := rapid.SampledFrom([]string{"", CrashRestart, CrashLeave})
	pattern := rapid.Custom(func(t *rapid.T) string {
		return name.Draw(t, "prefix") + rapid.SampledFrom([]string{"", "*", "?", "[a-z]", `\*`, "-*-?"}).Draw(t, "tail")
	})
	rule := func(t *rapid.T) VMRule {
		return VMRule{Protect: rapid.Bool().Draw(t, "protect"), OnCrash: crash.Draw(t, "crash"), Note: note.Draw(t, "note"),
			Priority: rapid.SampledFrom(append(priorities(), "")).Draw(t, "priority"), Order: rapid.IntRange(-maxOrder, maxOrder).Draw(t, "order"),
			ReservedMHz: rapid.IntRange(0, maxReservedMHz).Draw(t, "MHz")}
	}
	return rapid.Custom(func(t *rapid.T) *Policy {
		p := DefaultPolicy(name.Draw(t, "cluster"))
		p.Note = note.Draw(t, "note")
		timing, _ := lease.Profile(rapid.SampledFrom(lease.Profiles).Draw(t, "profile"))
		if rapid.Bool().Draw(t, "override") {
			ms := func(low, high int, what string) time.Duration {
				return time.Duration(rapid.IntRange(low, high).Draw(t, what)) * time.Millisecond
			}
			timing.Heartbeat = ms(50, 5000, "heartbeat")
			timing.Lease = 3*timing.Heartbeat + time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "lease"))
			timing.Watchdog = time.Duration(rapid.IntRange(1, 60).Draw(t, "watchdog")) * time.Second
			timing.Reset, timing.Drain = ms(0, 5000, "reset"), ms(0, 60_000, "drain")
			timing.Grain, timing.Election = ms(50, 2000, "grain"), ms(150, 10_000, "election")
			timing.Lease = max(timing.Lease, timing.Heartbeat+3*timing.Election)
			timing.ClockError = rapid.Float64Range(1e-5, 0.1).Draw(t, "clock")
		}
		p.Timing = timing
		p.Defaults.Protect = rapid.SampledFrom([]string{ProtectListed, ProtectAll}).Draw(t, "protect")
		p.Defaults.OnCrash = rapid.SampledFrom([]string{CrashRestart, CrashLeave}).Draw(t, "crash")
		genVolumes(t, p, name)
		p.Muted = Muted{Volumes: rapid.Bool().Draw(t, "few volumes"), OneServer: rapid.Bool().Draw(t, "one server"), Networks: rapid.Bool().Draw(t, "one network")}
		genFencing(t, p, name)
		genWhere(t, p, name, vm)
		for _, s := range rapid.SliceOfNDistinct(name, 0, 4, rapid.ID[string]).Draw(t, "selectors") {
			p.Selectors = append(p.Selectors, Selector{Name: s, Match: pattern.Draw(t, "match"), VMRule: rule(t)})
			p.Selectors[len(p.Selectors)-1].Class = someClass(t, p)
		}
		for _, s := range rapid.SliceOfNDistinct(vm, 0, 6, rapid.ID[string]).Draw(t, "vms") {
			if p.VMs == nil {
				p.VMs = map[string]VMRule{}
			}
			r := rule(t)
			r.Class = someClass(t, p)
			p.VMs[s] = r
		}
		p.Defaults.Class = someClass(t, p)
		return p
	})
}

// genFencing draws devices, and hosts that each have some of them.
func genFencing(t *rapid.T, p *Policy, name *rapid.Generator[string]) {
	word := rapid.OneOf(rapid.SampledFrom([]string{"", "true", "1", "${x}", `qu"ote`, " 3 ", "%{if}", "ümläut", `\`}), name)
	var unused []string
	for i, s := range rapid.SliceOfNDistinct(name, 0, 6, rapid.ID[string]).Draw(t, "fences") {
		f := Fence{
			Agent:    rapid.SampledFrom([]string{"fence_ipmilan", "fence_redfish"}).Draw(t, "agent"),
			Options:  map[string]string{"ip": fmt.Sprintf("192.0.2.%d", i+1), "x-y_z": word.Draw(t, "value")},
			Timeout:  time.Duration(rapid.Int64Range(int64(MinFenceTimeout), int64(MaxFenceTimeout)).Draw(t, "timeout")),
			Attempts: rapid.IntRange(1, MaxFenceAttempts).Draw(t, "attempts"),
			Check:    time.Duration(rapid.Int64Range(int64(MinFenceCheck), int64(MaxFenceCheck)).Draw(t, "check")),
		}
		if rapid.Bool().Draw(t, "in a file") {
			f.PasswordFile = "/etc/" + name.Draw(t, "file")
		} else {
			f.Password = word.Draw(t, "password")
		}
		if p.Fences == nil {
			p.Fences = map[string]Fence{}
		}
		p.Fences[s] = f
		unused = append(unused, s)
	}
	for len(unused) > 0 && rapid.Bool().Draw(t, "host") {
		level := rapid.IntRange(1, len(unused)).Draw(t, "level")
		host := name.Draw(t, "name")
		if p.Hosts == nil {
			p.Hosts = map[string]HostRule{}
		}
		p.Hosts[host] = HostRule{Fence: append(p.Hosts[host].Fence, unused[:level])}
		unused = unused[level:]
	}
}

// A policy survives being printed and read, in HCL and in JSON.
func TestPolicyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := genPolicy().Draw(t, "policy")
		text := p.HCL()
		q, err := ParsePolicy(map[string][]byte{"p.hcl": text})
		if err != nil {
			t.Fatalf("cannot read back:\n%s\n%v", text, err)
		}
		if diff := cmp.Diff(p, q); diff != "" {
			t.Fatalf("read back differently (-was +is):\n%s\n%s", diff, text)
		}
		if err := p.Validate(); err != nil {
			t.Fatalf("a valid policy is refused: %v", err)
		}
		tidy, err := Format("p.hcl", text)
		if err != nil || string(tidy) != string(text) {
			t.Fatalf("HCL is not tidy: %v\n%s", err, cmp.Diff(string(text), string(tidy)))
		}
		encoded, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		decoded := &Policy{}
		if err := json.Unmarshal(encoded, decoded); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, decoded); diff != "" {
			t.Fatalf("through JSON (-was +is):\n%s", diff)
		}
	})
}

// DiffPolicies says nothing exactly when two policies print the same, and what
// changed one way changes back the other way.
func TestDiffIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := genPolicy().Draw(t, "a")
		b := a.Clone()
		other := genPolicy().Draw(t, "other")
		for _, take := range rapid.SliceOfN(rapid.IntRange(0, 11), 0, 3).Draw(t, "take") {
			switch take {
			case 0:
				b.Cluster, b.Note = other.Cluster, other.Note
			case 1:
				b.Timing = other.Timing
			case 2:
				b.Defaults = other.Defaults
				b.Defaults.Class = a.Defaults.Class
			case 3:
				b.Selectors = other.Selectors
			case 4:
				b.VMs = other.VMs
			case 7:
				b.Classes, b.Restart, b.Migration = other.Classes, other.Restart, other.Migration
			case 8:
				b.Groups = other.Groups
			case 9:
				b.Rules = other.Rules
			case 10:
				b.Admission, b.Placement, b.Balance = other.Admission, other.Placement, other.Balance
			case 11:
				b.Datastores, b.Devices = other.Datastores, other.Devices
			case 6:
				b.Hosts, b.Fences = other.Hosts, other.Fences
			case 5:
				for name, rule := range b.VMs {
					rule.Protect = !rule.Protect
					b.VMs[name] = rule
				}
			}
		}
		changes, back := DiffPolicies(a, b), DiffPolicies(b, a)
		if same := string(a.HCL()) == string(b.HCL()); same != (len(changes) == 0) {
			t.Fatalf("same is %v, but the differences are %v:\n%s", same, changes, cmp.Diff(a, b))
		}
		if len(changes) != len(back) {
			t.Fatalf("%d changes one way, %d the other:\n%v\n%v", len(changes), len(back), changes, back)
		}
		for _, c := range changes {
			if c.Path == "" || c.Old == c.New {
				t.Fatalf("a change that says nothing: %+v", c)
			}
		}
	})
}
