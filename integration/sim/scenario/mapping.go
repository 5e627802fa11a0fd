package scenario

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"
)

// mappings are what is otherwise here than where a file was recorded, by the file's id: the
// top-level fields that take the place of the recorded ones. Each says why in "mapping".
//
//go:embed mappings/*.json
var mappings embed.FS

// Mapped lists the ids of recorded files that have a mapping, in order.
func Mapped() []string {
	files, err := fs.Glob(mappings, "mappings/*.json")
	if err != nil {
		return nil // the pattern is right
	}
	var ids []string
	for _, f := range files {
		ids = append(ids, strings.TrimSuffix(path.Base(f), ".json"))
	}
	return ids
}

// mapped is a file's text with the fields of its mapping in place of its own. A file that was
// not recorded has none, and one that is mapped already stays as it is.
func mapped(id string, text []byte) ([]byte, error) {
	over, err := mappings.ReadFile("mappings/" + id + ".json")
	switch {
	case errors.Is(err, fs.ErrNotExist) || !json.Valid(text): // Parse says what is wrong with it, and where
		return text, nil
	case err != nil:
		return nil, fmt.Errorf("mapping of %s: %w", id, err)
	}
	var file, put map[string]json.RawMessage
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("mapping of %s: %w", id, err)
	}
	if file["portability"] == nil || file["mapping"] != nil {
		return text, nil
	}
	if err := json.Unmarshal(over, &put); err != nil {
		return nil, fmt.Errorf("mapping of %s: %w", id, err)
	}
	maps.Copy(file, put)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", " ")
	if err := enc.Encode(file); err != nil {
		return nil, fmt.Errorf("mapping of %s: %w", id, err)
	}
	return b.Bytes(), nil
}
