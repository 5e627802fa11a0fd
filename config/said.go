package config

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

// said is one attribute of a block as it stands: its value, and what it would be
// if nothing was said. Blocks that list theirs are printed and compared alike.
type said struct {
	name       string
	value, def any
}

// told reports whether the value says more than the default.
func (s said) told() bool { return literalText(s.value) != literalText(s.def) }

// literalText is a value as a file has it.
func literalText(v any) string { return string(hclwrite.TokensForValue(toCty(v)).Bytes()) }

// putSaid writes what is not at its default.
func putSaid(b *hclwrite.Body, all []said) {
	for _, s := range all {
		if s.told() {
			put(b, s.name, s.value)
		}
	}
}

// anySaid reports whether anything is not at its default.
func anySaid(all []said) bool {
	for _, s := range all {
		if s.told() {
			return true
		}
	}
	return false
}

// inBraces shows a block that was added or removed on one line.
func inBraces(all []said) string {
	var parts []string
	for _, s := range all {
		if s.told() {
			shown := text(s.value)
			if _, bare := s.value.(string); bare {
				shown = quote(shown)
			}
			parts = append(parts, s.name+" = "+shown)
		}
	}
	if len(parts) == 0 {
		return "{}"
	}
	return "{ " + strings.Join(parts, ", ") + " }"
}

// said compares two lists of the same attributes.
func (d *differ) said(path string, a, b []said) {
	for i := range a {
		d.field(path+"."+a[i].name, a[i].value, b[i].value)
	}
}

// blocks compares all blocks of one kind, by their labels.
func blocksDiffer[V any](d *differ, kind string, a, b map[string]V, list func(V) []said) {
	pairs(a, b, func(name string, before, after *V) {
		path := fmt.Sprintf("%s %q", kind, name)
		switch {
		case after == nil:
			d.changes = append(d.changes, Change{path, inBraces(list(*before)), ""})
		case before == nil:
			d.changes = append(d.changes, Change{path, "", inBraces(list(*after))})
		default:
			d.said(path, list(*before), list(*after))
		}
	})
}
