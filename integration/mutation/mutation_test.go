package mutation

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	asked = os.Getenv("HOLDFAST_MUTATION") != ""
	only  = flag.String("rule", "", "run the mutants of this rule alone")
)

// runLimit bounds one run of go test.
const runLimit = "4m"

// goTest runs a catcher, with an overlay if one is given, and returns what it printed.
func goTest(t *testing.T, c catcher, overlay string) (output string, err error) {
	t.Helper()
	args := []string{"test", "-timeout", runLimit}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.Command("go", append(args, c.args()...)...)
	cmd.Dir = root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

// overlay writes the mutant's file and what tells the compiler to read it.
func (m mutant) overlay(t *testing.T) string {
	t.Helper()
	text, err := m.apply(read(t, m.file))
	if err != nil {
		t.Fatal(err)
	}
	original, err := filepath.Abs(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	changed, list := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	b, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{changed: []byte(text), list: b} {
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// TestMutants runs the table: every named test passes on the code as it is, and fails
// on the code without the rule. It prints the table with the seconds that each took.
func TestMutants(t *testing.T) {
	if !asked {
		t.Skip("takes minutes: make mutation")
	}
	sound := map[catcher]bool{}
	lines := []string{fmt.Sprintf("%-6s %8s  %s", "rule", "seconds", "without it, and what fails then")}
	var mu sync.Mutex
	t.Cleanup(func() { t.Logf("%d mutants\n%s", len(lines)-1, strings.Join(lines, "\n")) })
	for i, m := range table {
		if *only != "" && m.rule != *only {
			continue
		}
		t.Run(fmt.Sprintf("%02d-%s", i, strings.ReplaceAll(m.rule, " ", "_")), func(t *testing.T) {
			if !sound[m.test] {
				if out, err := goTest(t, m.test, ""); err != nil || strings.Contains(out, "no tests to run") {
					t.Fatalf("%v does not pass on the code as it is: %v\n%s", m.test, err, out)
				}
				sound[m.test] = true
			}
			begin := time.Now()
			out, err := goTest(t, m.test, m.overlay(t))
			took := time.Since(begin)
			switch {
			case err == nil:
				t.Errorf("nothing notices that %s (rule %s, %s): %v passes", m.without, m.rule, m.file, m.test)
			case !strings.Contains(out, "--- FAIL"):
				t.Errorf("rule %s: %v did not come to a verdict on the code without it: %v\n%s", m.rule, m.test, err, out)
			case !strings.Contains(out, m.says):
				t.Errorf("rule %s: %v fails without saying %q:\n%s", m.rule, m.test, m.says, out)
			}
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, fmt.Sprintf("%-6s %8.1f  %s: %s %s", short(m.rule), took.Seconds(), m.without, m.test.pkg, m.test.run))
		})
	}
}

// short keeps a heading from pushing the columns apart.
func short(rule string) string {
	if len(rule) > 6 {
		return "-"
	}
	return rule
}
