package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// file is one file that was read, with the name that errors use.
type file struct {
	name string
	src  []byte
}

// readFile reads a regular file, but no more than one byte beyond what is
// accepted: the parser then refuses it for its size.
func readFile(path string) (file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return file{}, fmt.Errorf("read configuration: %w", err)
	}
	if !info.Mode().IsRegular() {
		return file{}, fmt.Errorf("read configuration: %s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return file{}, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close() // opened for reading only
	src, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return file{}, fmt.Errorf("read configuration: %w", err)
	}
	return file{name: path, src: src}, nil
}

// readDir reads every *.hcl in a directory, in name order. Hidden files are left
// out: editors keep their drafts in them.
func readDir(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	var files []file
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != ".hcl" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		f, err := readFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}
