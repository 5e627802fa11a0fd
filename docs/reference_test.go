package docs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/config"
)

// says checks that a page has each of these as a code span.
func says(t *testing.T, path, what string, all []string) {
	t.Helper()
	p := read(t, path)
	spans := map[string]bool{}
	for _, l := range p.lines {
		for _, m := range codeSpan.FindAllStringSubmatch(l.text, -1) {
			spans[m[1]] = true
		}
	}
	for _, x := range all {
		if !spans[x] {
			t.Errorf("%s does not tell of the %s `%s`", p.path, what, x)
		}
	}
}

func TestEveryEventIsTold(t *testing.T) {
	var machine strings.Builder
	sources, err := filepath.Glob(filepath.Join(top, "fsm", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range sources {
		machine.WriteString(source(t, filepath.Join("fsm", filepath.Base(path))))
	}
	types := found(t, "fsm", `\bEvent\w+\s*= "([a-z_]+)"`, machine.String())
	// Those that the master records itself, beside the state machine's own.
	err = filepath.WalkDir(filepath.Join(top, "cluster"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`fsm\.Event\{Type: "([a-z_]+)"`).FindAllStringSubmatch(string(b), -1) {
			types = append(types, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	said := found(t, "events.md", "(?m)^### ([a-z_]+)$", read(t, "docs/reference/events.md").text)
	for _, x := range types {
		if !slices.Contains(said, x) {
			t.Errorf("docs/reference/events.md has no heading for %s", x)
		}
	}
	for _, x := range said {
		if !slices.Contains(types, x) {
			t.Errorf("docs/reference/events.md tells of %s, which nobody records", x)
		}
	}
}

func TestEveryRouteAndErrorIsTold(t *testing.T) {
	routes := source(t, "cluster/api/routes.go")
	var all []string
	for _, x := range found(t, "routes.go", `read\("(/[^"]+)"`, routes) {
		all = append(all, "GET "+x)
	}
	all = append(all, found(t, "routes.go", `"((?:GET|POST|DELETE|PUT) /[^"]+)"`, routes)...)
	says(t, "docs/reference/api.md", "route", all)
	says(t, "docs/reference/api.md", "error", found(t, "errors.go", `Code\w+\s+Code = "([a-z_]+)"`, source(t, "cluster/api/errors.go")))
}

// What exists is told in the table, and only what does not exist yet among what waits.
func TestEveryActionIsTold(t *testing.T) {
	actions := source(t, "integration/sim/scenario/action.go")
	says(t, "docs/scenarios.md", "action", found(t, "action.go", `(?m)^\t"([a-z_]+)":\s+\{`, actions))
	waits := found(t, "action.go", `(?m)^\t"([a-z_]+)":\s+\{.*waits: `, actions)
	text := read(t, "docs/scenarios.md").text
	_, after, found := strings.Cut(text, "Read, but waiting for later:")
	later, _, ends := strings.Cut(after, "What decides is")
	if !found || !ends {
		t.Fatal("docs/scenarios.md does not say what waits for later")
	}
	var told []string
	for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(later, -1) {
		told = append(told, m[1])
	}
	slices.Sort(waits)
	slices.Sort(told)
	if d := cmp.Diff(waits, told); d != "" {
		t.Errorf("docs/scenarios.md lists other actions as waiting than wait (-action.go +docs):\n%s", d)
	}
}

func TestEveryExitStatusIsTold(t *testing.T) {
	text := read(t, "docs/reference/exit-codes.md").text
	for _, x := range found(t, "exit.go", `exit\w+\s*= (\d+)`, source(t, "cmd/haadm/exit.go")) {
		if !strings.Contains(text, "| "+x+" |") {
			t.Errorf("docs/reference/exit-codes.md has no row for %s", x)
		}
	}
}

func TestEverySettingIsTold(t *testing.T) {
	example := source(t, "config/examples/haagent.hcl")
	a, err := config.ParseAgent("haagent.hcl", []byte(example), "kvm1")
	if err != nil {
		t.Fatal(err)
	}
	pretended, err := config.ParseAgent("haagent.hcl", []byte("hypervisor = \"embedded\"\nnetwork \"mgmt\" { address = \"10.10.0.11\" }"), "kvm1")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range append(a.Settings(), pretended.Settings()...) {
		names = append(names, regexp.MustCompile(`^network\.\w+`).ReplaceAllString(s.Name, "network.NAME"))
	}
	says(t, "docs/reference/haagent.hcl.md", "setting", names)
	for _, x := range found(t, "haagent.hcl.md", "(?m)^\\| `([a-z_]+(?:\\.[A-Za-z_]+)*)` \\|", read(t, "docs/reference/haagent.hcl.md").text) {
		if !slices.Contains(names, x) {
			t.Errorf("docs/reference/haagent.hcl.md tells of the setting %s, which is none", x)
		}
	}
	var over []string
	for _, o := range config.Overrides() {
		over = append(over, o.Variable, "--"+o.Flag)
	}
	says(t, "docs/reference/haagent.hcl.md", "override", over)
	policy := source(t, "config/examples/cluster.hcl")
	attributes := found(t, "cluster.hcl", `(?m)^\s*#?([a-z_]+)\s*=`, policy)
	says(t, "docs/reference/cluster.hcl.md", "attribute", attributes)
	for _, x := range found(t, "cluster.hcl.md", "(?m)^\\| `([a-z_]+)` \\|", read(t, "docs/reference/cluster.hcl.md").text) {
		if !slices.Contains(attributes, x) {
			t.Errorf("docs/reference/cluster.hcl.md tells of the attribute %s, which is none", x)
		}
	}
	says(t, "docs/reference/cluster.hcl.md", "block", found(t, "cluster.hcl", `(?m)^([a-z_]+) .*\{`, policy))
}

// rule is how code refers to a rule of safety.md.
var rule = regexp.MustCompile(`(?:[(" ]|, )([ROI][0-9])[),".: ]`)

func TestEveryRuleIsDefined(t *testing.T) {
	text := read(t, "docs/safety.md").text
	used := map[string]string{}
	err := filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.Contains(path, "/.") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, l := range strings.Split(string(b), "\n") {
			if strings.Contains(l, "//") || strings.Contains(l, ".rule(") {
				for _, m := range rule.FindAllStringSubmatch(l, -1) {
					used[m[1]] = path
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(used) < 5 {
		t.Fatalf("only %v were found in the code", used)
	}
	for r, path := range used {
		if !strings.Contains(text, "**"+r+"**") {
			t.Errorf("%s refers to rule %s, which docs/safety.md does not define", path, r)
		}
	}
}

// seconds is a duration for people, rounded up so that it stays a bound.
func seconds(d time.Duration) string {
	if r := d % (100 * time.Millisecond); r != 0 && d > 2*time.Second {
		d += 100*time.Millisecond - r
	}
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return strings.TrimSuffix(fmt.Sprintf("%.3f", d.Seconds()), "00") + " s"
}

// The figures of the profiles are the program's.
func TestTimingTables(t *testing.T) {
	columns := []struct {
		name string
		sign string
		of   func(lease.Timing) time.Duration
	}{
		{"a silent host is suspected after", "", lease.Timing.SuspectAfter},
		{"its own guard begins to end its VMs (the lease)", "", func(x lease.Timing) time.Duration { return x.Lease }},
		{"it may be declared dead after (D)", "", lease.Timing.Wait},
		{"**member bound**: death of a member → its VMs are ordered elsewhere", "≤ ", lease.Timing.MemberBound},
		{"**master bound**: death of the master → its VMs are ordered elsewhere", "≤ ", lease.Timing.MasterBound},
	}
	var timings []lease.Timing
	bounds := "| | " + strings.Join(lease.Profiles, " | ") + " |\n|---|" + strings.Repeat("---|", len(lease.Profiles)) + "\n"
	for _, name := range lease.Profiles {
		x, ok := lease.Profile(name)
		if !ok {
			t.Fatalf("there is no profile %s", name)
		}
		timings = append(timings, x)
	}
	for _, c := range columns {
		row := "| " + c.name
		for _, x := range timings {
			row += " | " + c.sign + seconds(c.of(x))
		}
		bounds += row + " |\n"
	}
	terms := "| profile | T_hb | T_lease | T_wd | T_reset | T_drain | rho | epsilon | election | D | member bound | master bound |\n|" + strings.Repeat("---|", 12) + "\n"
	for _, x := range timings {
		terms += fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %g | %s | %s | %s | %s | %s |\n", x.Profile, seconds(x.Heartbeat), seconds(x.Lease), seconds(x.Watchdog),
			seconds(x.Reset), seconds(x.Drain), x.ClockError, seconds(x.Grain), seconds(x.Election), seconds(x.Wait()), seconds(x.MemberBound()), seconds(x.MasterBound()))
	}
	table(t, "README.md", "bounds", bounds)
	table(t, "docs/safety.md", "profiles", terms)
}

// table compares the part of a page between <!-- NAME --> and <!-- end -->, or writes it.
func table(t *testing.T, path, name, want string) {
	t.Helper()
	p := read(t, path)
	begin, end := "<!-- "+name+": made by go test ./docs -update -->\n", "<!-- end -->"
	head, rest, ok := strings.Cut(p.text, begin)
	got, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table between %q and %q", p.path, strings.TrimSpace(begin), end)
	}
	switch {
	case *update:
		if err := os.WriteFile(filepath.Join(top, path), []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	case got != want:
		t.Errorf("%s: the table %s says\n%s\nbut the program\n%s\nrun go test ./docs -update", p.path, name, got, want)
	}
}
