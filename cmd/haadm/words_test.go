package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/config"
)

// What people copy, such as a UUID or a command, stays whole in the narrowest window.
func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		columns    int
		want       string
	}{
		{"it fits", "one two", 20, "one two"},
		{"between words", "one two three", 8, "one two\nthree"},
		{"to the column", "one two", 7, "one two"},
		{"a word that is too long", "uuid 10000000-0000-4000-8000-000000000001 is it", 20, "uuid\n10000000-0000-4000-8000-000000000001\nis it"},
		{"the first word is", "10000000-0000-4000-8000-000000000001 is it", 20, "10000000-0000-4000-8000-000000000001\nis it"},
		{"colours have no width", "\x1b[31mdead\x1b[0m now", 8, "\x1b[31mdead\x1b[0m now"},
		{"nothing", "", 8, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, wrap(tt.text, tt.columns)); diff != "" {
				t.Errorf("wrapped to %d columns (-want +got):\n%s", tt.columns, diff)
			}
		})
	}
}

// Whoever asks for JSON gets it for every error, in the words that people get.
func TestErrorsInJSON(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.json")
	if err := os.WriteFile(junk, []byte("\x00\x01"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, line, code, message string
		status                    int
	}{
		{"a flag that there is not", "--json plan --fial kvm1", "usage", "haadm plan: there is no flag --fial", 64},
		{"a value that is none", "plan --fail-any x -o json", "usage", "haadm plan: invalid value", 64},
		{"no such command", "-o json plann", "usage", "there is no \"plann\"", 64},
		{"a file that is none", "--json plan --inventory " + junk, "local", junk + ": not a usable inventory file: near line 1: it is no JSON", 1},
		{"what the agent says", "--json plan --fail kvm9", "bad_request", "there is no host \"kvm9\"", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := haadm(t, agent(t, apitest.Healthy()), nil, strings.Fields(tt.line)...)
			var answer struct {
				Error struct{ Code, Message string }
			}
			if err := json.Unmarshal([]byte(got.errOut), &answer); err != nil {
				t.Fatalf("standard error is no JSON: %v\n%s", err, got.errOut)
			}
			if answer.Error.Code != tt.code || got.code != tt.status || !strings.Contains(answer.Error.Message, tt.message) {
				t.Errorf("code %q, status %d, message %q; want %q, %d and a message with %q", answer.Error.Code, got.code, answer.Error.Message, tt.code, tt.status, tt.message)
			}
		})
	}
}

func TestStrangers(t *testing.T) {
	p := &config.Policy{
		VMs:    map[string]config.VMRule{"db1": {}, "dc1": {}},
		Groups: []config.Group{{Name: "front", VMs: []string{"web", "db1"}}},
		Rules:  map[string]config.Rule{"r": {VMs: []string{"db1", "elsewhere"}, Hosts: map[string]int64{"kvm1": 1, "kvm22": 1}}},
	}
	got := strangers(p, []api.VMView{{Name: "db1"}}, []api.HostView{{Name: "kvm1"}, {Name: "kvm2"}})
	want := []string{
		"a vm block names a VM that no host has: dc1 (did you mean db1?)",
		`group "front" names a VM that no host has: web`,
		`rule "r" names a VM that no host has: elsewhere`,
		`rule "r" names a host that is no member of the cluster: kvm22 (did you mean kvm2?)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the policy names and is not there (-want +got):\n%s", diff)
	}
	if got := strangers(&config.Policy{VMs: map[string]config.VMRule{"db1": {}}}, []api.VMView{{Name: "db1"}}, nil); len(got) != 0 {
		t.Errorf("of a policy that fits: %q", got)
	}
}
