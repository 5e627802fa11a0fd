package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// haadm builds the command and returns how to call it, with no agent to talk to.
func haadm(t *testing.T) func(args ...string) (out string, status int) {
	t.Helper()
	// go test keeps results by the files a test looked at; what go build looks at it
	// cannot know.
	for _, below := range []string{"cmd/haadm", "cluster", "config", "fsm"} {
		err := filepath.WalkDir(filepath.Join(top, below), func(path string, _ os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") {
				_, err = os.Stat(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "haadm")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "./cmd/haadm")
	build.Dir = top
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build haadm: %v\n%s", err, out)
	}
	return func(args ...string) (string, int) {
		cmd := exec.Command(bin, args...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "NO_COLOR=1"}
		out, _ := cmd.CombinedOutput() // its status is what counts
		return string(out), cmd.ProcessState.ExitCode()
	}
}

// exitUsage is haadm's status for a command line that cannot be meant.
const exitUsage = 64

var codeSpan = regexp.MustCompile("`([^`]+)`")

// commandLines are the haadm lines of a page, in code blocks for a shell and in
// the running text.
func (p page) commandLines() map[int][]string {
	out := map[int][]string{}
	for _, l := range p.lines {
		texts := []string{l.text}
		if !l.code {
			texts = nil
			for _, m := range codeSpan.FindAllStringSubmatch(l.text, -1) {
				texts = append(texts, m[1])
			}
		} else if l.info != "sh" {
			continue
		}
		for _, text := range texts {
			for _, part := range regexp.MustCompile(` \| | && |; `).Split(text, -1) {
				part, _, _ = strings.Cut(part, " #")
				part, _, _ = strings.Cut(part, " >")
				part = strings.TrimPrefix(strings.TrimSpace(part), "sudo ")
				if strings.HasPrefix(part, "haadm ") && !strings.Contains(part, "…") {
					out[l.no] = append(out[l.no], part)
				}
			}
		}
	}
	return out
}

// words puts a synopsis or an example into arguments: of alternatives the first,
// of what may be left out or repeated one.
func words(command string) []string {
	var args []string
	for _, w := range strings.Fields(command)[1:] {
		w = strings.TrimSuffix(strings.Trim(w, `[]"'`), "...")
		if !strings.HasPrefix(w, "-") || strings.Contains(w, "=") {
			w, _, _ = strings.Cut(w, "|")
		}
		if w != "" {
			args = append(args, w)
		}
	}
	return args
}

func TestCommandLinesAreUnderstood(t *testing.T) {
	call := haadm(t)
	seen := map[string]bool{}
	for _, p := range pages(t) {
		for no, commands := range p.commandLines() {
			for _, c := range commands {
				if seen[c] {
					continue
				}
				seen[c] = true
				args := append([]string{"--socket=/nonexistent/admin.sock"}, words(c)...)
				if strings.HasPrefix(c, "haadm wait") {
					args = append(args, "--timeout=1ms") // it would wait for the agent
				}
				if out, status := call(args...); status == exitUsage {
					t.Errorf("%s:%d: %s\n  %s", p.path, no, c, out)
				}
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d different haadm lines were found in the pages", len(seen))
	}
}

// madeFrom begins the part of a page that is written by a test.
const madeFrom = "<!-- from here on made by: go test ./docs -update -->\n"

// made compares the made part of a page, or writes it.
func made(t *testing.T, path, want string) {
	t.Helper()
	p := read(t, path)
	head, got, ok := strings.Cut(p.text, madeFrom)
	if !ok {
		t.Fatalf("%s has no line %q", p.path, strings.TrimSpace(madeFrom))
	}
	if *update {
		if err := os.WriteFile(filepath.Join(top, path), []byte(head+madeFrom+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
		for i := range b {
			if i >= len(a) || a[i] != b[i] {
				t.Fatalf("%s is not what the program says, from here on:\n  page:    %s\n  program: %s\nrun go test ./docs -update", p.path, strings.Join(a[min(i, len(a)):min(i+1, len(a))], ""), b[i])
			}
		}
		t.Fatalf("%s has more than the program says: run go test ./docs -update", p.path)
	}
}

// The reference of haadm is its own help.
func TestHaadmReference(t *testing.T) {
	call := haadm(t)
	var text strings.Builder
	var walk func(path []string)
	walk = func(path []string) {
		help, status := call(append(path, "--help")...)
		if status != 0 {
			t.Fatalf("haadm %s --help ends with %d: %s", strings.Join(path, " "), status, help)
		}
		help, _, _ = strings.Cut(help, "\nEVERYWHERE:")
		title := strings.Join(append([]string{"haadm"}, path...), " ")
		if len(path) == 0 {
			title += ", and its flags for every command"
		}
		text.WriteString("\n## " + title + "\n\n```\n" + strings.TrimRight(trimLines(help), "\n") + "\n```\n")
		_, list, ok := strings.Cut(help, "COMMANDS:\n")
		for _, l := range strings.Split(list, "\n") {
			if !ok || strings.TrimSpace(l) == "" {
				break
			}
			walk(append(append([]string{}, path...), strings.Fields(l)[0]))
		}
	}
	walk(nil)
	made(t, "docs/reference/haadm.md", text.String())
}

func trimLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}
