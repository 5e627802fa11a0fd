package config

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// defaultLine is a line of an example that shows a default: #name = value.
var defaultLine = regexp.MustCompile(`(?m)^(\s*)#([a-z_]+\s*=)`)

// example reads an example file as it is, and with the defaults it shows
// switched on.
func example(t *testing.T, name string) (plain, withDefaults []byte) {
	t.Helper()
	plain, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	withDefaults = defaultLine.ReplaceAll(plain, []byte("$1$2"))
	if len(defaultLine.FindAll(plain, -1)) == 0 {
		t.Fatalf("%s shows no defaults", name)
	}
	return plain, withDefaults
}

// mentions checks that the file sets or shows every attribute of the schema.
func mentions(t *testing.T, b *block, src []byte) {
	t.Helper()
	for _, a := range b.attrs {
		if !regexp.MustCompile(`(?m)^[\s#]*` + a.name + `\s*=`).Match(src) {
			t.Errorf("%s %s is not in the example", a.name, b.place())
		}
	}
	for _, x := range b.blocks {
		if !regexp.MustCompile(`(?m)^[\s#]*` + x.name + `\s`).Match(src) {
			t.Errorf("the block %s is not in the example", x.name)
		}
		mentions(t, x, src)
	}
}

func TestAgentExample(t *testing.T) {
	plain, withDefaults := example(t, "examples/haagent.hcl")
	a, err := ParseAgent("haagent.hcl", plain, "kvm1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseAgent("haagent.hcl", withDefaults, "kvm1")
	if err != nil {
		t.Fatalf("with the defaults switched on: %v", err)
	}
	if diff := cmp.Diff(a, b, cmpopts.IgnoreUnexported(Agent{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("a default that the example shows is not the real one (-real +shown):\n%s", diff)
	}
	for _, s := range b.Settings() {
		if s.Origin == "default" {
			t.Errorf("the example does not show the default of %s, %q", s.Name, s.Value)
		}
	}
	mentions(t, agentSchema(), plain)
}

func TestPolicyExample(t *testing.T) {
	plain, withDefaults := example(t, "examples/cluster.hcl")
	a := parse(t, string(plain))
	b := parse(t, string(withDefaults))
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("a default that the example shows is not the real one (-real +shown):\n%s", diff)
	}
	mentions(t, policySchema(), plain)
}

func TestExamplesAreTidy(t *testing.T) {
	for _, name := range []string{"examples/haagent.hcl", "examples/cluster.hcl"} {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Format(name, src)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(src), "\n"), strings.Split(string(got), "\n")); diff != "" {
			t.Errorf("haadm config fmt would change %s (-is +would be):\n%s", name, diff)
		}
	}
}
