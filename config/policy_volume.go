package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

const (
	// MaxVolumes is the most heartbeat volumes that are in use at once.
	MaxVolumes = 5
	// MaxVolumeCandidates is the most that a policy names.
	MaxVolumeCandidates = 16
	// defaultVolumeCount is how many are in use at once where the policy does not say.
	defaultVolumeCount = 2
)

// HeartbeatVolume is a heartbeat_volume block: a small area of shared storage by
// which hosts prove their leases when the network does not. It is a candidate: which
// are in use the cluster chooses.
type HeartbeatVolume struct {
	Name string `json:"name"`
	Path string `json:"path"` // of the device or file, the same on every host
	// Pinned volumes are chosen before others, and never replaced.
	Pinned bool `json:"pinned,omitempty"`
}

// VolumesPolicy is the heartbeat_volumes block.
type VolumesPolicy struct {
	Count int `json:"count"` // how many are in use at once, 1 to MaxVolumes
}

func volumesSchema() *block {
	return &block{name: "heartbeat_volumes", attrs: []attr{
		{name: "count", kind: kindInt, def: int64(defaultVolumeCount), check: intBetween(1, MaxVolumes)},
	}}
}

func volumeSchema() *block {
	return &block{name: "heartbeat_volume", label: "a name for the heartbeat volume", many: true, labelCheck: badName, attrs: []attr{
		{name: "pinned", kind: kindBool},
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
	p.VolumeUse.Count = int(get[int64](root.one("heartbeat_volumes"), "count"))
	first := map[string]string{} // name by path
	pinned := 0
	for i, n := range root.all("heartbeat_volume") {
		v := HeartbeatVolume{Name: n.label, Path: get[string](n, "path"), Pinned: get[bool](n, "pinned")}
		if other := first[v.Path]; other != "" && v.Path != "" {
			r.add(n.at("path"), "One volume under two names",
				"heartbeat_volume %s and %s are both at %s. Remove one of them.", quote(other), quote(v.Name), v.Path)
		}
		if i == MaxVolumeCandidates {
			r.add(n.rng, "Too many heartbeat volumes",
				"A policy names %d at most; two on different storage, and one to replace either, are enough for most clusters.",
				MaxVolumeCandidates)
		}
		if v.Pinned {
			if pinned++; pinned == p.VolumeUse.Count+1 {
				r.add(n.at("pinned"), "Too many pinned volumes",
					"heartbeat_volumes.count is %d: so many are in use at once, and this is pinned volume number %d. Raise the count, up to %d, or let the cluster choose among some.",
					p.VolumeUse.Count, pinned, MaxVolumes)
			}
		}
		first[v.Path] = v.Name
		p.Volumes = append(p.Volumes, v)
	}
}

// oneLine shows the block on one line.
func (v HeartbeatVolume) oneLine() string {
	if v.Pinned {
		return "{ path = " + quote(v.Path) + ", pinned = true }"
	}
	return "{ path = " + quote(v.Path) + " }"
}

// volumes lists what differs. The order of the file counts where volumes are equal otherwise.
func (d *differ) volumes(a, b *Policy) {
	d.field("heartbeat_volumes.count", int64(a.VolumeUse.Count), int64(b.VolumeUse.Count))
	byName := func(all []HeartbeatVolume) (m map[string]HeartbeatVolume, names []string) {
		m = map[string]HeartbeatVolume{}
		for _, v := range all {
			m[v.Name] = v
			names = append(names, v.Name)
		}
		return m, names
	}
	before, old := byName(a.Volumes)
	after, now := byName(b.Volumes)
	pairs(before, after, func(name string, before, after *HeartbeatVolume) {
		path := fmt.Sprintf("heartbeat_volume %q", name)
		switch {
		case after == nil:
			d.changes = append(d.changes, Change{path, before.oneLine(), ""})
		case before == nil:
			d.changes = append(d.changes, Change{path, "", after.oneLine()})
		default:
			d.field(path+".path", before.Path, after.Path)
			d.field(path+".pinned", before.Pinned, after.Pinned)
		}
	})
	kept := func(names []string, in map[string]HeartbeatVolume) string {
		return strings.Join(slices.DeleteFunc(names, func(n string) bool { _, is := in[n]; return !is }), ", ")
	}
	d.field("heartbeat_volume (order)", kept(old, after), kept(now, before))
}

// putVolumes writes the blocks.
func putVolumes(open func(kind string, labels ...string) *hclwrite.Body, p *Policy) {
	if p.VolumeUse.Count != defaultVolumeCount {
		put(open("heartbeat_volumes"), "count", int64(p.VolumeUse.Count))
	}
	for _, v := range p.Volumes {
		b := open("heartbeat_volume", v.Name)
		put(b, "path", v.Path)
		if v.Pinned {
			put(b, "pinned", true)
		}
	}
}

// scarceVolumes says that fewer volumes are named than are to be in use; empty where
// that is not so, or where it is said already that there are fewer than two.
func (p *Policy) scarceVolumes() string {
	n := len(p.Volumes)
	if count := p.VolumeUse.Count; n < count && count > defaultVolumeCount {
		return fmt.Sprintf("heartbeat_volumes.count is %d, but the policy names %d of them: name more, or lower the count", count, n)
	}
	return ""
}
