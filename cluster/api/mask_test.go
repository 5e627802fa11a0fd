package api

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/config"
)

func TestMasked(t *testing.T) {
	for _, tc := range []struct{ name, file, text, want string }{
		{"nothing to hide", "c.hcl", "cluster \"a\" {\n  schema = 1 # password = \"x\"\n}\n", "cluster \"a\" {\n  schema = 1 # password = \"x\"\n}\n"},
		{"a password", "c.hcl", "fence \"b\" {\n  agent    = \"fence_x\"\n  password = \"hunter2\" # ours\n}\n", "fence \"b\" {\n  agent    = \"fence_x\"\n  password = \"(not shown)\" # ours\n}\n"},
		{"its file", "c.hcl", "fence \"b\" {\n  password_file = \"/etc/x\"\n}\n", "fence \"b\" {\n  password_file = \"/etc/x\"\n}\n"},
		{"options", "c.hcl", `fence "b" { options = { ip = "192.0.2.1", "community" = "hunter2", snmp_priv_passwd = "hunter2" } }`,
			`fence "b" { options = { ip = "192.0.2.1", "community" = "(not shown)", snmp_priv_passwd = "(not shown)" } }`},
		{"options not written out", "c.hcl", `fence "b" { options = ({ token = "hunter2" }) }`, `fence "b" { options = "(not shown)" }`},
		{"a heredoc", "c.hcl", "fence \"b\" {\n  password = <<E\nhunter2\nE\n  agent = \"fence_x\"\n}\n", "fence \"b\" {\n  password = \"(not shown)\"\n  agent = \"fence_x\"\n}\n"},
		{"a template", "c.hcl", "fence \"b\" {\n  password = \"hunter${2}\"\n}\n", "fence \"b\" {\n  password = \"(not shown)\"\n}\n"},
		{"two devices", "c.hcl", "fence \"b\" {\n  password = \"hunter2\"\n}\nfence \"c\" {\n  password = \"hunter3\"\n}\n", "fence \"b\" {\n  password = \"(not shown)\"\n}\nfence \"c\" {\n  password = \"(not shown)\"\n}\n"},
		{"broken", "c.hcl", "fence \"b\" {\n  password = hunter2\"\n", unreadable},
		{"json", "c.json", `{"fence":{"b":[{"password":"hunter2","timeout":"20s","options":{"ip":"a<b","token":7}}]}}`,
			"{\n  \"fence\": {\n    \"b\": [\n      {\n        \"options\": {\n          \"ip\": \"a<b\",\n          \"token\": \"(not shown)\"\n        },\n        \"password\": \"(not shown)\",\n        \"timeout\": \"20s\"\n      }\n    ]\n  }\n}\n"},
		{"broken json", "c.json", `{"password":"hunter2"`, unreadable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := map[string]string{tc.file: tc.text}
			got := masked(files)
			if d := cmp.Diff(tc.want, got[tc.file]); d != "" {
				t.Errorf("shown (-want +got):\n%s", d)
			}
			if err := Unmasked(files); err != nil {
				t.Errorf("what was written is refused: %v", err)
			}
			if err := Unmasked(got); (err != nil) != strings.Contains(tc.want, Masked) || err != nil && !errors.Is(err, ErrRefused) {
				t.Errorf("what was shown, taken back: %v", err)
			}
		})
	}
}

// A plan hides what a shown policy hides.
func TestMaskAndPlanAgree(t *testing.T) {
	for _, name := range []string{"ip", "username", "plug", "password", "passwd", "snmp_auth_passwd", "snmp-priv-passwd", "community", "api_token", "session_token", "secret_key",
		"access_key", "identity_file", "hexadecimal_kg", "hexadecimal-kg", "ssl_insecure", "lanplus"} {
		changes := config.DiffPolicies(&config.Policy{}, &config.Policy{Fences: map[string]config.Fence{"b": {Options: map[string]string{name: "hunter2"}}}})
		if len(changes) == 0 {
			t.Fatalf("the option %s is no change", name)
		}
		if hidden := !strings.Contains(changes[0].New, "hunter2"); hidden != SecretName(name) {
			t.Errorf("option %s: a plan hides it: %v; a shown policy: %v", name, hidden, SecretName(name))
		}
	}
}
