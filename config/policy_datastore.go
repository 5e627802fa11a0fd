package config

import (
	"path/filepath"
	"strings"
)

// Datastore is a datastore block: storage that hosts share, under the same path on
// each that has it.
type Datastore struct {
	Path string `json:"path"` // of a mount point, a directory, or a directory of devices
	// Mounted says that a host has it only while something is mounted at or above the
	// path, besides the root file system.
	Mounted bool `json:"mounted"`
}

func datastoreSchema() *block {
	return &block{name: "datastore", label: "a name for the datastore", many: true, labelCheck: badName, attrs: []attr{
		{name: "path", kind: kindString, required: true, check: func(v any) string {
			if s := v.(string); !filepath.IsAbs(s) || filepath.Clean(s) != s || s == "/" || len(s) > 1024 {
				return "must be the absolute path where every host has it, such as /srv/vm, and not /"
			}
			return ""
		}},
		{name: "mounted", kind: kindBool, def: true},
	}}
}

// datastores takes the datastore blocks over.
func (r *report) datastores(p *Policy, root *node) {
	first := map[string]string{} // name by path
	for _, n := range root.all("datastore") {
		if p.Datastores == nil {
			p.Datastores = map[string]Datastore{}
		}
		d := Datastore{Path: get[string](n, "path"), Mounted: get[bool](n, "mounted")}
		if other := first[d.Path]; other != "" && d.Path != "" {
			r.add(n.at("path"), "One path of two datastores", "datastore %s and %s are both at %s. Remove one of them.",
				quote(other), quote(n.label), d.Path)
		}
		p.Datastores[n.label], first[d.Path] = d, n.label
	}
}

func (d Datastore) said() []said {
	return []said{{"path", d.Path, ""}, {"mounted", d.Mounted, true}}
}

// DatastoreAt finds the datastore that a file or device is on: the one with the
// longest path at or above it. ok is false when none has it.
func (p *Policy) DatastoreAt(path string) (name string, ok bool) {
	best := ""
	for _, n := range sortedKeys(p.Datastores) {
		if d := p.Datastores[n].Path; (path == d || strings.HasPrefix(path, d+"/")) && len(d) > len(best) {
			name, best = n, d
		}
	}
	return name, best != ""
}
