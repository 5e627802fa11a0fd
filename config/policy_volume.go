package config

import (
	"fmt"
	"path/filepath"
)

// MaxVolumes is the most heartbeat volumes of a cluster.
const MaxVolumes = 5

// HeartbeatVolume is a heartbeat_volume block: a small area of shared storage by
// which hosts prove their leases when the network does not.
type HeartbeatVolume struct {
	Name string `json:"name"`
	Path string `json:"path"` // of the device or file, the same on every host
}

func volumeSchema() *block {
	return &block{name: "heartbeat_volume", label: "a name for the heartbeat volume", many: true, labelCheck: badName, attrs: []attr{
		{name: "path", kind: kindString, required: true, check: func(v any) string {
			if p := v.(string); !filepath.IsAbs(p) || filepath.Clean(p) != p || len(p) > 1024 {
				return "must be the absolute path of a block device or a file, the same on every host"
			}
			return ""
		}},
	}}
}

// volumes takes the heartbeat_volume blocks over, in the order of the file.
func (r *report) volumes(p *Policy, root *node) {
	first := map[string]string{} // name by path
	for i, n := range root.all("heartbeat_volume") {
		v := HeartbeatVolume{Name: n.label, Path: get[string](n, "path")}
		if other := first[v.Path]; other != "" && v.Path != "" {
			r.add(n.at("path"), "One volume under two names", "heartbeat_volume %s and %s are both at %s. Remove one of them.", quote(other), quote(v.Name), v.Path)
		}
		if i == MaxVolumes {
			r.add(n.rng, "Too many heartbeat volumes", "There can be %d at most; two on different storage are enough for most clusters.", MaxVolumes)
		}
		first[v.Path] = v.Name
		p.Volumes = append(p.Volumes, v)
	}
}

// volumes lists what differs.
func (d *differ) volumes(a, b []HeartbeatVolume) {
	byName := func(all []HeartbeatVolume) map[string]HeartbeatVolume {
		m := map[string]HeartbeatVolume{}
		for _, v := range all {
			m[v.Name] = v
		}
		return m
	}
	pairs(byName(a), byName(b), func(name string, before, after *HeartbeatVolume) {
		path := fmt.Sprintf("heartbeat_volume %q", name)
		switch {
		case after == nil:
			d.changes = append(d.changes, Change{path, "{ path = " + quote(before.Path) + " }", ""})
		case before == nil:
			d.changes = append(d.changes, Change{path, "", "{ path = " + quote(after.Path) + " }"})
		default:
			d.field(path+".path", before.Path, after.Path)
		}
	})
}
