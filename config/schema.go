package config

import (
	"strings"
	"time"
)

// kind is the form of an attribute's value.
type kind int

const (
	kindString    kind = iota // string
	kindBool                  // bool
	kindInt                   // int64
	kindFloat                 // float64
	kindDuration              // time.Duration, written "750ms"
	kindSize                  // uint64 bytes, written "8GiB"
	kindMap                   // map[string]string
	kindOptions               // map[string]string, where numbers, true and false may stand too
	kindLevels                // [][]string, where a string may stand for a list of one
	kindList                  // []string
	kindDurations             // []time.Duration, written ["0s", "2m"]
	kindWeights               // map[string]int64: a list of names (weight 0), or names and whole numbers
)

// form says how a value of this kind is written; errors print it.
func (k kind) form() string {
	switch k {
	case kindBool:
		return "true or false, without quotes"
	case kindInt:
		return "a whole number, without quotes"
	case kindFloat:
		return "a number, without quotes"
	case kindDuration:
		return `a duration in quotes with its unit, such as "750ms", "30s" or "5m"`
	case kindSize:
		return `a size in quotes with its unit, such as "512MiB" or "8GiB" (KiB, MiB, GiB or TiB)`
	case kindMap:
		return `names and strings in braces, such as { name = "web-*" }`
	case kindOptions:
		return `names and values in braces, such as { ip = "10.30.0.11", lanplus = true }`
	case kindList:
		return `a list of strings, such as ["10.10.0.1", "10.20.0.1"]`
	case kindDurations:
		return `a list of durations in quotes, such as ["0s", "2m", "6m"]`
	case kindWeights:
		return `a list of names, such as ["kvm1", "kvm2"], or names and whole numbers, such as { kvm1 = 10, kvm2 = 5 }`
	case kindLevels:
		return `a list of fence devices, tried in this order, such as ["kvm1-bmc", "kvm1-pdu"]; those that must all be off stand in a list of their own: ["kvm1-bmc", ["pdu-a", "pdu-b"]]`
	}
	return "a string in quotes"
}

// zero is what an attribute holds that has no default and was not set.
func (k kind) zero() any {
	switch k {
	case kindBool:
		return false
	case kindInt:
		return int64(0)
	case kindFloat:
		return float64(0)
	case kindDuration:
		return noDuration
	case kindSize:
		return uint64(0)
	case kindMap, kindOptions:
		return map[string]string(nil)
	case kindList:
		return []string(nil)
	case kindDurations:
		return []time.Duration(nil)
	case kindWeights:
		return map[string]int64(nil)
	case kindLevels:
		return [][]string(nil)
	}
	return ""
}

// attr is one attribute: its name, form, default and what its value must satisfy.
type attr struct {
	name     string
	kind     kind
	def      any      // a value of the kind; nil: the kind's zero
	required bool     // must be set once the block is there
	secret   bool     // its value is never shown
	like     string   // how its value is written, where the kind's own words would mislead
	words    []string // the only strings allowed; for a map, the only keys, all needed
	// check says what is wrong with a value ("must be ..., but is ..."), or nothing.
	check func(v any) string
}

// form says how the attribute's value is written; errors print it.
func (a *attr) form() string {
	switch {
	case a.like != "":
		return a.like
	case a.words != nil && a.kind == kindString:
		return either(a.words)
	case a.words != nil && a.kind == kindMap:
		return "{ " + strings.Join(a.words, ` = "...", `) + ` = "..." }`
	}
	return a.kind.form()
}

// block is one block type: its label (if any), attributes and inner blocks.
type block struct {
	name  string
	label string // what the label is, such as "the network's name"; empty: no label
	many  bool   // may be there several times, under different labels
	// labelCheck says what is wrong with a label, or nothing.
	labelCheck func(s string) string
	attrs      []attr
	blocks     []*block
}

// attr finds an attribute by name, or nil.
func (b *block) attr(name string) *attr {
	for i := range b.attrs {
		if b.attrs[i].name == name {
			return &b.attrs[i]
		}
	}
	return nil
}

// block finds an inner block by name, or nil.
func (b *block) block(name string) *block {
	for _, x := range b.blocks {
		if x.name == name {
			return x
		}
	}
	return nil
}

// names lists what may stand in the block, attributes first, in schema order.
func (b *block) names() []string {
	var names []string
	for _, a := range b.attrs {
		names = append(names, a.name)
	}
	for _, x := range b.blocks {
		names = append(names, x.name)
	}
	return names
}

// usage is how the block is opened, for errors: `network "NAME" { ... }`.
func (b *block) usage() string {
	if b.label == "" {
		return b.name + " { ... }"
	}
	return b.name + ` "NAME" { ... }`
}

// place names the block in a sentence; the outermost has no name.
func (b *block) place() string {
	if b.name == "" {
		return "at the top level"
	}
	return "in " + b.name
}

// homes lists the blocks below b that hold an attribute or block of that name,
// for a name that was written in the wrong place.
func (b *block) homes(name string) []*block {
	var list []*block
	for _, x := range b.blocks {
		if x.attr(name) != nil || x.block(name) != nil {
			list = append(list, x)
		}
		list = append(list, x.homes(name)...)
	}
	return list
}

// Override is one setting of the agent's file that an environment variable and
// a flag can replace: every plain value that is not inside a labelled block.
type Override struct {
	Setting  string // such as listen.port
	Variable string // such as HAAGENT_LISTEN_PORT
	Flag     string // such as listen-port, without the dashes
}

// Overrides lists what variables and flags can replace, in the order of the file.
func Overrides() []Override {
	var list []Override
	walkOverrides(agentSchema(), nil, func(path []string, _ *attr) {
		setting := strings.Join(path, ".")
		words := strings.Join(path, "_")
		list = append(list, Override{
			Setting:  setting,
			Variable: "HAAGENT_" + strings.ToUpper(words),
			Flag:     strings.ReplaceAll(words, "_", "-"),
		})
	})
	return list
}

// walkOverrides calls visit for each attribute that has one place and one plain value.
func walkOverrides(b *block, path []string, visit func(path []string, a *attr)) {
	for i := range b.attrs {
		if k := b.attrs[i].kind; k != kindMap && k != kindOptions && k != kindLevels && k != kindList && k != kindDurations && k != kindWeights {
			visit(append(path[:len(path):len(path)], b.attrs[i].name), &b.attrs[i])
		}
	}
	for _, x := range b.blocks {
		if x.label == "" {
			walkOverrides(x, append(path[:len(path):len(path)], x.name), visit)
		}
	}
}
