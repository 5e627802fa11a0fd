package placement

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
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

// decode reads one case.
func decode[T any](t *testing.T, raw json.RawMessage) T {
	t.Helper()
	var out T
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return out
}
