// Package docs_test holds the documentation against the program: what a page
// says about commands, settings, events, figures and tests is looked up where it
// is decided. `go test ./docs -update` writes anew the parts that are made from
// the program.
package docs_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
)

var update = flag.Bool("update", false, "write the made parts of the pages anew")

// top is the folder of go.mod.
const top = ".."

// page is one Markdown file.
type page struct {
	path  string // from top
	text  string
	lines []line
}

// line is one line of a page. In a code block, info is what stands behind the
// opening fence.
type line struct {
	no   int
	text string
	code bool
	info string
}

// pages are README.md and everything in docs.
func pages(t *testing.T) []page {
	t.Helper()
	paths := []string{"README.md"}
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			paths = append(paths, filepath.Join("docs", path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []page
	for _, path := range paths {
		all = append(all, read(t, path))
	}
	return all
}

// read reads a page; path is from top.
func read(t *testing.T, path string) page {
	t.Helper()
	p := page{path: path, text: source(t, path)}
	code, info := false, ""
	for i, text := range strings.Split(p.text, "\n") {
		fence, is := strings.CutPrefix(strings.TrimSpace(text), "```")
		if is {
			code, info = !code, fence
			continue
		}
		p.lines = append(p.lines, line{no: i + 1, text: text, code: code, info: info})
	}
	if code {
		t.Fatalf("%s: a code block is not closed", path)
	}
	return p
}

// source reads a file of the tree.
func source(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(top, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// found returns the first group of every match.
func found(t *testing.T, what, pattern, text string) []string {
	t.Helper()
	var out []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	if len(out) == 0 {
		t.Fatalf("%s: nothing matches %s", what, pattern)
	}
	return out
}

var (
	linkPattern    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingPattern = regexp.MustCompile("^#{1,6} +(.*)$")
	notInAnchor    = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names of a page's headings, as they are linked to.
func (p page) anchors() map[string]bool {
	out := map[string]bool{}
	for _, l := range p.lines {
		if m := headingPattern.FindStringSubmatch(l.text); m != nil && !l.code {
			out[strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
		}
	}
	return out
}

func TestLinksLeadSomewhere(t *testing.T) {
	for _, p := range pages(t) {
		for _, l := range p.lines {
			if l.code {
				continue
			}
			for _, m := range linkPattern.FindAllStringSubmatch(l.text, -1) {
				target, anchor, _ := strings.Cut(m[1], "#")
				if strings.Contains(target, "://") {
					t.Errorf("%s:%d: %s leads out of the tree: nobody would notice when it breaks", p.path, l.no, m[1])
					continue
				}
				file := filepath.Join(filepath.Dir(p.path), target)
				if target == "" {
					file = p.path
				}
				if _, err := os.Stat(filepath.Join(top, file)); err != nil {
					t.Errorf("%s:%d: %s is not there: %v", p.path, l.no, m[1], err)
					continue
				}
				if anchor != "" && !read(t, file).anchors()[anchor] {
					t.Errorf("%s:%d: %s has no heading for #%s", p.path, l.no, target, anchor)
				}
			}
		}
	}
}

// Every page can be reached from the front page.
func TestEveryPageIsLinkedTo(t *testing.T) {
	linked := map[string]bool{"README.md": true}
	for _, p := range pages(t) {
		for _, m := range linkPattern.FindAllStringSubmatch(p.text, -1) {
			target, _, _ := strings.Cut(m[1], "#")
			linked[filepath.Join(filepath.Dir(p.path), target)] = true
		}
	}
	for _, p := range pages(t) {
		if !linked[p.path] {
			t.Errorf("no page links to %s", p.path)
		}
	}
}

// blocks are a page's code blocks of one kind.
func (p page) blocks(info string) map[int]string {
	out, at := map[int]string{}, 0
	for i, l := range p.lines {
		if !l.code || l.info != info {
			continue
		}
		if i == 0 || p.lines[i-1].no != l.no-1 { // the fence is no line of its own
			at = l.no
		}
		out[at] += l.text + "\n"
	}
	return out
}

func TestConfigSnippetsAreValid(t *testing.T) {
	agent, policy := 0, 0
	for _, p := range pages(t) {
		for at, text := range p.blocks("hcl agent") {
			agent++
			if _, err := config.ParseAgent(p.path, []byte(text), "kvm1"); err != nil {
				t.Errorf("%s:%d: %v", p.path, at, err)
			}
		}
		for at, text := range p.blocks("hcl policy") {
			policy++
			if !strings.Contains(text, "cluster \"") {
				text = "cluster \"basement\" {}\n" + text
			}
			if _, err := config.ParsePolicy(map[string][]byte{p.path: []byte(text)}); err != nil {
				t.Errorf("%s:%d: %v", p.path, at, err)
			}
		}
		if len(p.blocks("hcl")) > 0 {
			t.Errorf("%s: a block of hcl says neither agent nor policy, so nobody checks it", p.path)
		}
	}
	if agent == 0 || policy == 0 {
		t.Errorf("the pages show %d snippets for the agent and %d of policies", agent, policy)
	}
}

func TestScenarioSnippetsAreValid(t *testing.T) {
	blocks := read(t, "docs/scenarios.md").blocks("json")
	if len(blocks) == 0 {
		t.Error("docs/scenarios.md shows no scenario")
	}
	for at, text := range blocks {
		s, err := scenario.Parse("docs/scenarios.md", []byte(text))
		if err != nil {
			t.Errorf("line %d: %v", at, err)
		} else if w := scenario.Waits(s); len(w) > 0 {
			t.Errorf("line %d: it does not run: it waits for %v", at, w)
		}
	}
}

// A test that a page calls a proof is there, and runs.
func TestProofsExist(t *testing.T) {
	scenarios, err := scenario.LoadDir(filepath.Join(top, "integration/sim/testdata/scenarios"))
	if err != nil {
		t.Fatal(err)
	}
	waits := map[string][]string{}
	for _, s := range scenarios {
		waits[s.ID] = scenario.Waits(s)
	}
	tests := map[string]string{} // where each is, by name
	err = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/.") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(b), -1) {
			tests[m[1]] += string(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, p := range pages(t) {
		for _, m := range regexp.MustCompile("`(Test[A-Z]\\w*)(?:/([^`]+))?`").FindAllStringSubmatch(p.text, -1) {
			named++
			name, part := m[1], m[2]
			if name == "TestScenarios" && part != "" {
				if w, ok := waits[part]; !ok || len(w) > 0 {
					t.Errorf("%s: scenario %q does not run (it waits for %v)", p.path, part, w)
				}
				continue
			}
			if tests[name] == "" {
				t.Errorf("%s: there is no test %s", p.path, name)
			} else if part != "" && !strings.Contains(tests[name], `"`+part+`"`) {
				t.Errorf("%s: %s has no part %q", p.path, name, part)
			}
		}
	}
	if named == 0 {
		t.Error("no page names a test")
	}
}
