package config

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The golden files hold what people read when a file is wrong. Look at the
// difference before committing what -rewrite wrote.
var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden runs each case of a golden file: a title, the input (several files are
// separated by lines such as ">>> b.hcl"), and what is rendered for it.
func golden(t *testing.T, name, first string, render func(files []file) string) {
	t.Helper()
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	header, cases, _ := strings.Cut(string(src), "\n=== ")
	out.WriteString(header)
	for _, c := range strings.Split(cases, "\n=== ") {
		title, rest, _ := strings.Cut(c+"\n", "\n")
		input, want, _ := strings.Cut(rest, "---\n")
		want = strings.TrimSuffix(want, "\n")
		files := []file{{name: first}}
		for _, line := range strings.SplitAfter(input, "\n") {
			if next, ok := strings.CutPrefix(line, ">>> "); ok {
				files = append(files, file{name: strings.TrimSpace(next)})
				continue
			}
			f := &files[len(files)-1]
			f.src = append(f.src, line...)
		}
		got := strings.TrimRight(render(files), "\n")
		t.Run(title, func(t *testing.T) {
			if !*rewrite && got != strings.TrimRight(want, "\n") {
				t.Errorf("rendered differently (-want +got), go test -run %s -rewrite accepts it:\n%s", t.Name(), cmp.Diff(strings.TrimRight(want, "\n"), got))
			}
		})
		out.WriteString("\n=== " + title + "\n" + input + "---\n" + got + "\n")
	}
	if *rewrite {
		if err := os.WriteFile(name, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAgentErrors(t *testing.T) {
	golden(t, "testdata/agent_errors.txt", "haagent.hcl", func(files []file) string {
		_, err := parseAgent("/etc/haagent", "", files, nil, "kvm1", nil)
		return rendered(err)
	})
}

func TestPolicyErrors(t *testing.T) {
	golden(t, "testdata/policy_errors.txt", "cluster.hcl", func(files []file) string {
		_, err := ParsePolicy(texts(files))
		return rendered(err)
	})
}

func TestPolicyErrorsInJSON(t *testing.T) {
	golden(t, "testdata/json_errors.txt", "policy.json", func(files []file) string {
		_, err := ParsePolicyJSON(files[0].name, files[0].src, "basement")
		return rendered(err)
	})
}

func texts(files []file) map[string][]byte {
	m := map[string][]byte{}
	for _, f := range files {
		m[f.name] = f.src
	}
	return m
}

func rendered(err error) string {
	if err == nil {
		return "accepted"
	}
	return err.Error()
}
