package structure

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// `make help` is what a newcomer knows of this tree: a target that it does not
// list is lost, and one that it lists must be there.
func TestMakeHelpListsEveryTarget(t *testing.T) {
	top := root(t)
	text, err := os.ReadFile(filepath.Join(top, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("make", "--no-print-directory", "help")
	cmd.Dir = top
	help, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make help: %v\n%s", err, help)
	}
	targets := regexp.MustCompile(`(?m)^([A-Za-z0-9_-]+):(?:[^=]|$)`).FindAllStringSubmatch(string(text), -1)
	if len(targets) == 0 {
		t.Fatal("the Makefile has no target")
	}
	for _, target := range targets {
		if !strings.Contains(string(help), "\n  make "+target[1]+" ") && !strings.HasPrefix(string(help), "  make "+target[1]+" ") {
			t.Errorf("make help does not list %q: give the target a `## …` sentence on its own line", target[1])
		}
	}
	if lines := strings.Count(string(help), "\n"); lines != len(targets) {
		t.Errorf("make help has %d lines for %d targets:\n%s", lines, len(targets), help)
	}
}
