package config

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// seeds adds the examples and all inputs of a golden file to a fuzz target.
func seeds(f *testing.F, example, goldenFile string) {
	f.Helper()
	src, err := os.ReadFile(example)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(src)
	cases, err := os.ReadFile(goldenFile)
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range strings.Split(string(cases), "\n=== ")[1:] {
		_, rest, _ := strings.Cut(c, "\n")
		input, _, _ := strings.Cut(rest, "---\n")
		f.Add([]byte(input))
	}
}

// readable checks that an error can be shown to a person.
func readable(t *testing.T, err error) {
	t.Helper()
	e, ok := AsError(err)
	if !ok || len(e.Problems()) == 0 {
		t.Fatalf("the error lists no problems: %v", err)
	}
	for _, text := range []string{e.Text(80, false), e.Text(0, false)} {
		if !utf8.ValidString(text) {
			t.Fatalf("the text is not UTF-8: %q", text)
		}
		for _, r := range text {
			if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 {
				t.Fatalf("the text holds %U: %q", r, text)
			}
		}
	}
}

// Run a fuzz target for long with -fuzzminimizetime 1x: shortening each interesting
// file otherwise takes most of the time.
func FuzzAgent(f *testing.F) {
	seeds(f, "examples/haagent.hcl", "testdata/agent_errors.txt")
	f.Fuzz(func(t *testing.T, src []byte) {
		a, err := ParseAgent("haagent.hcl", src, "kvm1")
		if err != nil {
			readable(t, err)
			return
		}
		if len(a.Networks) == 0 || len(a.Networks) > maxNetworks || a.NodeName == "" || a.Listen.Port < 1 || a.Listen.Port > 65535 || len(a.Settings()) == 0 {
			t.Fatalf("accepted what cannot work: %+v", a)
		}
	})
}

func FuzzPolicy(f *testing.F) {
	seeds(f, "examples/cluster.hcl", "testdata/policy_errors.txt")
	f.Fuzz(func(t *testing.T, src []byte) {
		fuzzedPolicy(t, "cluster.hcl", src)
	})
}

func FuzzPolicyJSON(f *testing.F) {
	seeds(f, "examples/cluster.hcl", "testdata/json_errors.txt")
	f.Fuzz(func(t *testing.T, src []byte) {
		fuzzedPolicy(t, "cluster.json", src)
	})
}

// fuzzedPolicy checks that a policy which is accepted is safe and can be printed.
func fuzzedPolicy(t *testing.T, name string, src []byte) {
	t.Helper()
	p, err := ParsePolicy(map[string][]byte{name: src})
	if err != nil {
		readable(t, err)
		return
	}
	if err := p.Timing.Validate(); err != nil {
		t.Fatalf("accepted: %v", err)
	}
	if err := p.Validate(); err != nil {
		t.Fatalf("accepted, but then refused:\n%s\n%v", p.HCL(), err)
	}
	p.VM("db1")
}

func FuzzFormat(f *testing.F) {
	seeds(f, "examples/cluster.hcl", "testdata/policy_errors.txt")
	f.Fuzz(func(t *testing.T, src []byte) {
		out, err := Format("x.hcl", src)
		if err != nil {
			readable(t, err)
			return
		}
		if _, err := Format("x.hcl", out); err != nil {
			t.Fatalf("what Format wrote cannot be read: %v\n%q", err, out)
		}
	})
}
