package config

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-ha/holdfast/cluster/lease"
)

const (
	// Schema is the format of the policy that this version reads and writes.
	Schema = 1
	// DefaultProfile is the timing profile of a policy that names none.
	DefaultProfile = "standard"
	// maxTiming bounds each duration of the timing, so that no sum of them can overflow.
	maxTiming = time.Hour
	// maxNote is the longest note, in bytes.
	maxNote = 1024
	// maxVMName is the longest name of a VM, in bytes.
	maxVMName = 255
)

// Whether VMs are protected that no rule names.
const (
	ProtectListed = "listed" // no
	ProtectAll    = "all"    // yes, every persistent domain
)

// What happens to a protected VM whose process crashed.
const (
	CrashRestart = "restart"
	CrashLeave   = "leave"
)

// policySchema describes the cluster policy.
func policySchema() *block {
	crash := []string{CrashRestart, CrashLeave}
	note := attr{name: "note", kind: kindString, check: shortNote}
	protect := attr{name: "protect", kind: kindBool, def: true}
	isolated := attr{name: "isolation", kind: kindString, words: isolationWords()}
	onCrash := attr{name: "on_crash", kind: kindString, words: crash}
	ofVM := slices.Concat([]attr{protect, onCrash, isolated}, vmAttrs(), []attr{note})
	term := func(name string) attr {
		return attr{name: name, kind: kindDuration, check: durationBetween(0, maxTiming)}
	}
	return &block{blocks: slices.Concat([]*block{
		{name: "cluster", label: "the cluster's name", labelCheck: badName, attrs: []attr{
			{name: "schema", kind: kindInt, def: int64(Schema), check: knownSchema},
			note,
		}},
		{name: "timing", attrs: []attr{
			{name: "profile", kind: kindString, def: DefaultProfile, words: lease.Profiles},
			term("heartbeat_interval"), term("lease"), term("watchdog_timeout"), term("reset_time"), term("drain_time"),
			{name: "clock_error", kind: kindFloat},
			term("grain"), term("election"),
		}},
		hostSchema(),
		fenceSchema(),
		fencingSchema(),
		volumesSchema(),
		volumeSchema(),
		isolationSchemas()[0],
		isolationSchemas()[1],
		shutdownSchema(),
		warningsSchema(),
	}, whereSchemas(), []*block{
		{name: "defaults", attrs: []attr{
			{name: "protect", kind: kindString, def: ProtectListed, words: []string{ProtectListed, ProtectAll}},
			{name: "on_crash", kind: kindString, def: CrashRestart, words: crash},
			{name: "class", kind: kindString, check: nameText},
		}},
		{name: "vms", label: "a name for the group of VMs", many: true, labelCheck: badName, attrs: append([]attr{
			{name: "match", kind: kindMap, required: true, words: []string{"name"}, check: validGlob},
		}, ofVM...)},
		{name: "vm", label: "the VM's name as libvirt knows it", many: true, labelCheck: badVMName, attrs: ofVM},
	})}
}

// badVMName says what is wrong with the name of a VM. libvirt allows any text
// without a slash; we ask for text that can be printed, besides.
func badVMName(s string) string {
	if s == "" || len(s) > maxVMName || strings.ContainsAny(s, "/\n\t") || strings.TrimSpace(s) != s || badText(s) != "" {
		return fmt.Sprintf("must have 1 to %d bytes, without slashes, control characters or spaces around it", maxVMName)
	}
	return ""
}

func shortNote(v any) string {
	if n := len(v.(string)); n > maxNote {
		return fmt.Sprintf("has %d bytes, the most is %d", n, maxNote)
	}
	return ""
}

func knownSchema(v any) string {
	if n := v.(int64); n != Schema {
		return fmt.Sprintf("is %d, but this version reads schema %d only", n, Schema)
	}
	return ""
}

// durationBetween is a check that a duration is within bounds.
func durationBetween(low, high time.Duration) func(any) string {
	return func(v any) string {
		if d := v.(time.Duration); d < low || d > high {
			return fmt.Sprintf("must be %s to %s, but is %s", formatDuration(low), formatDuration(high), formatDuration(d))
		}
		return ""
	}
}

func validGlob(v any) string {
	pattern := v.(map[string]string)["name"]
	if pattern == "" || len(pattern) > maxVMName || !utf8.ValidString(pattern) {
		return fmt.Sprintf("needs a pattern of 1 to %d bytes for name", maxVMName)
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Sprintf(`has the pattern %s, which cannot be read; allowed are *, ?, [a-z] and a backslash before one of them`, quote(pattern))
	}
	if strings.Contains(pattern, "/") {
		return fmt.Sprintf("has the pattern %s, but no VM's name holds a slash", quote(pattern))
	}
	return ""
}

// override lays the timing block's values over those of its profile.
func override(t lease.Timing, n *node) lease.Timing {
	for _, f := range timingFields(&t) {
		if s, ok := n.set[f.name]; ok && !s.bad {
			*f.value = s.value.(time.Duration)
		}
	}
	if s, ok := n.set["clock_error"]; ok && !s.bad {
		t.ClockError = s.value.(float64)
	}
	return t
}

// timingField is one duration of a timing under its name in the policy.
type timingField struct {
	name  string
	value *time.Duration
}

// timingFields lists the durations of t under their names in the policy, in its order.
func timingFields(t *lease.Timing) []timingField {
	return []timingField{
		{"heartbeat_interval", &t.Heartbeat},
		{"lease", &t.Lease},
		{"watchdog_timeout", &t.Watchdog},
		{"reset_time", &t.Reset},
		{"drain_time", &t.Drain},
		{"grain", &t.Grain},
		{"election", &t.Election},
	}
}

// sameFloat compares without surprise at NaN.
func sameFloat(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
