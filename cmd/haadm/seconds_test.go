package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
)

func TestInSeconds(t *testing.T) {
	type part struct {
		Wait  time.Duration `json:"wait,omitempty"`
		Moved time.Time     `json:"moved,omitzero"`
		N     int           `json:"n"`
		own   int
	}
	v := &struct {
		Name   string           `json:"name"`
		Lease  time.Duration    `json:"lease"`
		Tries  []time.Duration  `json:"tries,omitempty"`
		None   []time.Duration  `json:"none,omitempty"`
		Parts  map[string]part  `json:"parts"`
		List   []part           `json:"list"`
		Nobody *part            `json:"nobody"`
		Limits map[string]uint8 `json:"limits"`
	}{Name: "x", Lease: 1500 * time.Millisecond, Tries: []time.Duration{0, time.Minute}, Parts: map[string]part{"a": {Wait: time.Second, N: 1, own: 2}}, List: []part{{N: 3, Moved: time.Unix(0, 0).UTC()}}}
	got, err := json.Marshal(inSeconds(v))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"name":"x","lease_seconds":1.5,"tries_seconds":[0,60],"parts":{"a":{"wait_seconds":1,"n":1}},"list":[{"moved":"1970-01-01T00:00:00Z","n":3}],"nobody":null,"limits":null}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

// The whole example, with every setting that there is, has no bare nanoseconds.
func TestPolicyInJSONHasSeconds(t *testing.T) {
	example, err := os.ReadFile("../../config/examples/cluster.hcl")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cluster.hcl")
	if err := os.WriteFile(file, example, 0o600); err != nil {
		t.Fatal(err)
	}
	got := haadm(t, agent(t, apitest.Healthy()), nil, "config", "validate", "--json", file)
	if got.code != exitOK {
		t.Fatalf("status %d: %s", got.code, got.errOut)
	}
	for _, want := range []string{`"lease_seconds": 4,`, `"retries_seconds": [`, `"uptime_seconds": 20`, `"start_delay_seconds": 20`} {
		if !strings.Contains(got.out, want) {
			t.Errorf("the policy in JSON does not say %s:\n%s", want, got.out)
		}
	}
	for _, m := range regexp.MustCompile(`"([a-z_]+)": [0-9]{8,}`).FindAllStringSubmatch(got.out, -1) {
		if !slices.Contains([]string{"bandwidth", "memory_reserve", "memory_min", "memory_max", "memory"}, m[1]) { // which are bytes
			t.Errorf("%s: these are nanoseconds", m[0])
		}
	}
}
