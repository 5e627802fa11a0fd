package mutation

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the root of the tree, from this package's directory.
const root = "../.."

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestEveryRuleHasAMutant holds that each rule that docs/safety.md names is in the
// table, or among those that are held elsewhere, and that neither names others, but
// for headings of that page and blocks of the policy.
func TestEveryRuleHasAMutant(t *testing.T) {
	page := read(t, "docs/safety.md")
	policy := read(t, "docs/reference/cluster.hcl.md")
	named := rules(page)
	if len(named) < 30 {
		t.Fatalf("docs/safety.md names %d rules: %v; have they got another form?", len(named), named)
	}
	has := map[string]bool{}
	for _, m := range table {
		has[m.rule] = true
		if !slices.Contains(named, m.rule) && !strings.Contains(page+policy, "# "+m.rule+"\n") {
			t.Errorf("the table has rule %q, which docs/safety.md neither names nor has as a heading, and which is no block of the policy", m.rule)
		}
	}
	for _, rule := range named {
		switch why, excused := elsewhere[rule]; {
		case excused && has[rule]:
			t.Errorf("rule %s has a mutant and is also held elsewhere (%s)", rule, why)
		case !excused && !has[rule]:
			t.Errorf("rule %s of docs/safety.md has no mutant in the table: which change of the code leaves it out, and which test fails then?", rule)
		}
	}
	for rule := range elsewhere {
		if !slices.Contains(named, rule) {
			t.Errorf("rule %s is held elsewhere, but docs/safety.md does not name it", rule)
		}
	}
}

// TestEveryMutantFits holds that each change can be made to the code as it is, that
// the result is Go, and that the tests that are to notice are there.
func TestEveryMutantFits(t *testing.T) {
	for _, m := range table {
		text, err := m.apply(read(t, m.file))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, text, parser.SkipObjectResolution); err != nil {
			t.Errorf("rule %s (%s): %v", m.rule, m.without, err)
		}
		if m.without == "" {
			t.Errorf("rule %s: the change of %s does not say what the code then does", m.rule, m.file)
		}
		for _, missing := range m.test.missing(t) {
			t.Errorf("rule %s: %s has no %s", m.rule, m.test.pkg, missing)
		}
	}
}

// missing are the tests, or scenarios, of a catcher that are not there.
func (c catcher) missing(t *testing.T) (all []string) {
	t.Helper()
	if name, ok := strings.CutPrefix(c.run, "^TestScenarios$/^"); ok {
		file := filepath.Join(root, c.pkg, "testdata/scenarios", strings.TrimSuffix(name, "$")+".json")
		if _, err := os.Stat(file); err != nil {
			return []string{file}
		}
		return nil
	}
	files, err := filepath.Glob(filepath.Join(root, c.pkg, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s (%v)", c.pkg, err)
	}
	var text strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b)
	}
	for _, name := range strings.Split(strings.Trim(c.run, "^()$"), "|") {
		if !strings.Contains(text.String(), "\nfunc "+name+"(") {
			all = append(all, name)
		}
	}
	return all
}
