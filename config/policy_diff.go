package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// Change is one difference between two policies. For a block that was added or
// removed it shows the block on one line, and the other side is empty.
type Change struct {
	Path string `json:"path"` // such as timing.lease or vm "db1".protect
	Old  string `json:"old"`
	New  string `json:"new"`
}

// DiffPolicies lists what changes from a to b, in the order of a policy's file.
// Nothing is listed exactly when both say the same.
func DiffPolicies(a, b *Policy) []Change {
	var d differ
	d.field("cluster", a.Cluster, b.Cluster)
	d.field("cluster.schema", int64(a.Schema), int64(b.Schema))
	d.field("cluster.note", a.Note, b.Note)
	d.timing(a.Timing, b.Timing)
	blocksDiffer(&d, "host", a.Hosts, b.Hosts, HostRule.said)
	d.fences(a.Fences, b.Fences)
	d.field("fencing.mode", a.Fencing.Mode, b.Fencing.Mode)
	d.volumes(a, b)
	d.isolation(a.Isolation, b.Isolation)
	d.said("host_shutdown", a.Shutdown.said(), b.Shutdown.said())
	d.field("warnings.few_heartbeat_volumes", !a.Muted.Volumes, !b.Muted.Volumes)
	d.field("warnings.volumes_on_one_server", !a.Muted.OneServer, !b.Muted.OneServer)
	d.field("warnings.single_network", !a.Muted.Networks, !b.Muted.Networks)
	d.where(a, b)
	d.field("defaults.protect", a.Defaults.Protect, b.Defaults.Protect)
	d.field("defaults.on_crash", a.Defaults.OnCrash, b.Defaults.OnCrash)
	d.field("defaults.class", a.Defaults.Class, b.Defaults.Class)
	d.selectors(a.Selectors, b.Selectors)
	d.vms(a.VMs, b.VMs)
	return d.changes
}

// differ collects changes.
type differ struct{ changes []Change }

// field compares one value by its text.
func (d *differ) field(path string, before, after any) {
	if x, y := text(before), text(after); x != y {
		d.changes = append(d.changes, Change{path, x, y})
	}
}

func (d *differ) timing(a, b lease.Timing) {
	d.field("timing.profile", a.Profile, b.Profile)
	before, after := timingFields(&a), timingFields(&b)
	for i := range before {
		d.field("timing."+before[i].name, *before[i].value, *after[i].value)
	}
	if !sameFloat(a.ClockError, b.ClockError) {
		d.changes = append(d.changes, Change{"timing.clock_error", fmt.Sprint(a.ClockError), fmt.Sprint(b.ClockError)})
	}
}

func (d *differ) selectors(a, b []Selector) {
	oldByName, newByName := byName(a), byName(b)
	for _, s := range a {
		t, ok := newByName[s.Name]
		path := fmt.Sprintf("vms %q", s.Name)
		if !ok {
			d.changes = append(d.changes, Change{path, oneLine(s.Match, s.VMRule), ""})
			continue
		}
		d.field(path+".match.name", s.Match, t.Match)
		d.rule(path, s.VMRule, t.VMRule)
	}
	for _, s := range b {
		if _, ok := oldByName[s.Name]; !ok {
			d.changes = append(d.changes, Change{fmt.Sprintf("vms %q", s.Name), "", oneLine(s.Match, s.VMRule)})
		}
	}
	// The first that matches counts, so their order says something too.
	both := func(list []Selector, other map[string]Selector) string {
		var names []string
		for _, s := range list {
			if _, ok := other[s.Name]; ok {
				names = append(names, s.Name)
			}
		}
		return strings.Join(names, ", ")
	}
	d.field("order of vms", both(a, newByName), both(b, oldByName))
}

func (d *differ) vms(a, b map[string]VMRule) {
	names := sortedKeys(a)
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		before, was := a[name]
		after, is := b[name]
		path := fmt.Sprintf("vm %q", name)
		switch {
		case !is:
			d.changes = append(d.changes, Change{path, oneLine("", before), ""})
		case !was:
			d.changes = append(d.changes, Change{path, "", oneLine("", after)})
		default:
			d.rule(path, before, after)
		}
	}
}

func (d *differ) rule(path string, a, b VMRule) {
	d.field(path+".protect", a.Protect, b.Protect)
	d.field(path+".on_crash", a.OnCrash, b.OnCrash)
	d.field(path+".isolation", a.Isolation, b.Isolation)
	d.said(path, a.recovery(), b.recovery())
	d.field(path+".note", a.Note, b.Note)
}

// oneLine shows a block that was added or removed.
func oneLine(match string, r VMRule) string {
	parts := []string{"protect = " + text(r.Protect)}
	if match != "" {
		parts = append([]string{"match = " + text(map[string]string{"name": match})}, parts...)
	}
	if r.OnCrash != "" {
		parts = append(parts, "on_crash = "+quote(r.OnCrash))
	}
	if r.Isolation != "" {
		parts = append(parts, "isolation = "+quote(r.Isolation))
	}
	for _, s := range r.recovery() {
		if s.told() {
			parts = append(parts, s.name+" = "+literalText(s.value))
		}
	}
	if r.Note != "" {
		parts = append(parts, "note = "+quote(r.Note))
	}
	return "{ " + strings.Join(parts, ", ") + " }"
}

func byName(list []Selector) map[string]Selector {
	m := make(map[string]Selector, len(list))
	for _, s := range list {
		m[s.Name] = s
	}
	return m
}
