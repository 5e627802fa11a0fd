package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// readAgentFiles reads haagent.hcl and conf.d/*.hcl of a directory, or one file.
// base is the directory that origins are told from.
func readAgentFiles(path string) (base string, files []file, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, fmt.Errorf("read configuration: %w", err)
	}
	if !info.IsDir() {
		f, err := readFile(path)
		return filepath.Dir(path), []file{f}, err
	}
	main, err := readFile(filepath.Join(path, "haagent.hcl"))
	switch {
	case err == nil:
		files = append(files, main)
	case !errors.Is(err, fs.ErrNotExist):
		return "", nil, err
	}
	parts, err := readDir(filepath.Join(path, "conf.d"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	files = append(files, parts...)
	if len(files) == 0 {
		return "", nil, fmt.Errorf("read configuration: %s has neither haagent.hcl nor conf.d/*.hcl: %w", path, fs.ErrNotExist)
	}
	return path, files, nil
}

// variables lays HAAGENT_* over the files. One that nobody would read is refused:
// it is a slip of the pen, or meant for another version.
func (r *report) variables(root *node, env []string) {
	byName := map[string]Override{}
	var names []string
	for _, o := range Overrides() {
		byName[o.Variable] = o
		names = append(names, o.Variable)
	}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "HAAGENT_") {
			continue
		}
		o, ok := byName[name]
		if !ok {
			r.add(nil, "Unknown variable "+quote(name), "No setting is read from it%s. Known: %s.",
				didYouMean(name, names), strings.Join(names, ", "))
			continue
		}
		r.override(root, o, name, value)
	}
}

// flags lays the flags that were given over everything else.
func (r *report) flags(root *node, flags map[string]string) {
	byName := map[string]Override{}
	var names []string
	for _, o := range Overrides() {
		byName[o.Flag] = o
		names = append(names, o.Flag)
	}
	for _, name := range sortedKeys(flags) {
		o, ok := byName[name]
		if !ok {
			r.add(nil, "Unknown flag "+quote("--"+name), "No setting is read from it%s.", didYouMean(name, names))
			continue
		}
		r.override(root, o, "--"+name, flags[name])
	}
}

// override sets one value from a variable or flag.
func (r *report) override(root *node, o Override, from, value string) {
	n := root
	path := strings.Split(o.Setting, ".")
	for _, name := range path[:len(path)-1] {
		n = n.child(name)
	}
	a := n.schema.attr(path[len(path)-1])
	v, problem := a.fromText(value)
	if problem != "" {
		// Nobody writes quotes in a variable.
		problem = strings.NewReplacer(" in quotes", "", ", without quotes", "").Replace(problem)
		r.add(nil, fmt.Sprintf("Bad value for %s", from), "%s (from %s) %s.", o.Setting, from, problem)
	}
	n.set[a.name] = setting{value: v, from: from, bad: problem != ""}
}

// listSettings lists what is in effect with its origin, in the order of the schema.
func listSettings(root *node, base string) []Setting {
	var list []Setting
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		for _, a := range n.schema.attrs {
			list = append(list, Setting{Name: path + a.name, Value: text(n.value(a.name)), Origin: origin(n, a.name, base)})
		}
		for _, b := range n.schema.blocks {
			if !b.many {
				if n.schema.name == "" && unusedHypervisor(root, b.name) {
					continue
				}
				walk(n.one(b.name), path+b.name+".")
				continue
			}
			for _, kid := range n.all(b.name) {
				if len(b.attrs) == 0 {
					list = append(list, Setting{Name: path + b.name, Value: kid.label, Origin: relative(kid.rng.Filename, base, kid.rng.Start.Line)})
				}
				walk(kid, path+b.name+"."+kid.label+".")
			}
		}
	}
	walk(root, "")
	return list
}

func unusedHypervisor(root *node, name string) bool {
	return (name == "libvirt" || name == "embedded") && name != get[string](root, "hypervisor")
}

// origin says where a value came from; files are named from base.
func origin(n *node, name, base string) string {
	s, ok := n.set[name]
	switch {
	case ok && s.rng != nil:
		return relative(s.rng.Filename, base, s.rng.Start.Line)
	case ok && s.from != "":
		return s.from
	}
	return "default"
}

func relative(filename, base string, line int) string {
	if rel, err := filepath.Rel(base, filename); base != "" && err == nil {
		filename = rel
	}
	return fmt.Sprintf("%s:%d", filename, line)
}
