package placement

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var casesFile = flag.String("cases", "", "run the cases of this file instead of those in testdata; the tests of other schemas skip")

// loadCases reads the cases of one schema as raw JSON by id. Of a file named by
// -cases it takes only one whose cases have the field that marks the schema. (Cases
// of admission control, marked by their policy, have a kind as well.)
func loadCases(t *testing.T, file, mark string) []json.RawMessage {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *casesFile != "" {
		path = *casesFile
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(path) {
		text, err = os.ReadFile(filepath.Join("..", "..", path)) // as seen from the top of the tree
	}
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Cases []json.RawMessage `json:"cases"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if len(all.Cases) == 0 {
		t.Fatalf("%s has no cases", path)
	}
	var first map[string]any
	if err := json.Unmarshal(all.Cases[0], &first); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if other := first["policy"] != nil && mark != "policy"; other || first[mark] == nil {
		t.Skipf("%s is of another schema: its cases are not marked by %q", path, mark)
	}
	return all.Cases
}

// eachCase runs the cases as subtests by their ids; one that cannot be read fails alone.
func eachCase[T any](t *testing.T, all []json.RawMessage, run func(*testing.T, T, json.RawMessage)) {
	t.Helper()
	for _, raw := range all {
		var named struct{ ID any }
		if err := json.Unmarshal(raw, &named); err != nil {
			t.Errorf("%v in %.200s", err, raw)
			continue
		}
		t.Run(fmt.Sprint(named.ID), func(t *testing.T) { run(t, decode[T](t, raw), raw) })
	}
}

// sound fails a case that makes no cluster. Where its VMs run a case need not say.
func sound(t *testing.T, c *Cluster) *Cluster {
	t.Helper()
	stopped := *c
	stopped.VMs = slices.Clone(c.VMs)
	for i := range stopped.VMs {
		stopped.VMs[i].Status = Stopped
	}
	if err := stopped.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

// sizeOf reads a size that a case writes in units of so many bytes. What is beyond all bounds
// stays so, and is found by Validate; a conversion would make some other number of it.
func sizeOf(n float64, unit int64) int64 {
	return int64(max(-1, min(n*float64(unit), boundless)))
}

// decode reads one case.
func decode[T any](t *testing.T, raw json.RawMessage) T {
	t.Helper()
	var out T
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("%v in %.200s", err, raw)
	}
	return out
}
