package config

import (
	"fmt"
	"maps"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// setting is one decoded value and where it came from.
type setting struct {
	value any
	rng   *hcl.Range // nil when it is from no file
	from  string     // variable or flag when rng is nil
	bad   bool       // was refused and reported; the default stands in for it
}

// node is one block of a configuration: what was set in it, not the defaults.
type node struct {
	schema *block
	label  string
	rng    *hcl.Range // where it is opened; nil for the outermost and for one that no file has
	set    map[string]setting
	kids   []*node
}

func newNode(b *block) *node { return &node{schema: b, set: map[string]setting{}} }

// find is the inner block of that type and label, or nil.
func (n *node) find(name, label string) *node {
	for _, k := range n.kids {
		if k.schema.name == name && k.label == label {
			return k
		}
	}
	return nil
}

// one is the inner block of a type that is there at most once; an empty one,
// which is not added, when no file has it.
func (n *node) one(name string) *node {
	for _, k := range n.kids {
		if k.schema.name == name {
			return k
		}
	}
	return newNode(n.schema.block(name))
}

// child is like one, but the block is added when no file has it.
func (n *node) child(name string) *node {
	kid := n.one(name)
	if n.find(name, kid.label) == nil {
		n.kids = append(n.kids, kid)
	}
	return kid
}

// all lists the inner blocks of a type, in order of first appearance.
func (n *node) all(name string) []*node {
	var list []*node
	for _, k := range n.kids {
		if k.schema.name == name {
			list = append(list, k)
		}
	}
	return list
}

// value is what the block holds under a name of its schema: what was set, else the default.
func (n *node) value(name string) any {
	if s, ok := n.set[name]; ok && !s.bad {
		return s.value
	}
	a := n.schema.attr(name)
	if a.def != nil {
		return a.def
	}
	return a.kind.zero()
}

// at is the place to blame for a value: where it was set, else the block, else nil.
func (n *node) at(name string) *hcl.Range {
	if s, ok := n.set[name]; ok {
		return s.rng
	}
	return n.rng
}

// get is value with its type; the schema's kind says which one that is.
func get[T any](n *node, name string) T {
	v, _ := n.value(name).(T)
	return v
}

// fill decodes a body into n. What is there already, from this file or an
// earlier one, must not be defined again; both places are named.
func (r *report) fill(n *node, body hcl.Body) {
	attrs, blocks := r.content(body, n.schema)
	for _, x := range attrs {
		a := n.schema.attr(x.Name)
		if old, ok := n.set[a.name]; ok {
			r.add(&x.NameRange, fmt.Sprintf("%s is set twice", a.name), "It was set at %s before.", place(old.rng))
			continue
		}
		val, ok := literal(x.Expr)
		if !ok {
			hint := ""
			if word := hcl.ExprAsKeyword(x.Expr); word != "" && !a.secret {
				hint = fmt.Sprintf(" Put the word in quotes: %s = %s.", a.name, quote(word))
			}
			r.add(x.Expr.Range().Ptr(), fmt.Sprintf("Bad value for %s", a.name),
				"%s must be %s. Variables, functions and expressions are not used in this file.%s", a.name, a.form(), hint)
			n.set[a.name] = setting{rng: x.Expr.Range().Ptr(), bad: true}
			continue
		}
		v, problem := a.fromCty(val)
		if problem != "" {
			if a.secret {
				problem = fmt.Sprintf("must be %s, of one line and at most %d bytes", a.form(), maxFenceValue)
			}
			r.add(x.Expr.Range().Ptr(), fmt.Sprintf("Bad value for %s", a.name), "%s %s.", a.name, problem)
		}
		n.set[a.name] = setting{value: v, rng: x.Expr.Range().Ptr(), bad: problem != ""}
	}
	for _, x := range blocks {
		b := n.schema.block(x.Type)
		label := ""
		if b.label != "" {
			label = x.Labels[0]
		}
		header := hcl.RangeBetween(x.TypeRange, x.TypeRange)
		if b.label != "" {
			header = hcl.RangeBetween(x.TypeRange, x.LabelRanges[0])
		}
		old := n.find(b.name, label)
		if !b.many && old == nil {
			if all := n.all(b.name); len(all) > 0 {
				old = all[0]
			}
		}
		if old != nil {
			name := b.name
			if b.many {
				name += " " + quote(label)
			}
			r.add(&header, fmt.Sprintf("%s is defined twice", name), "It was defined at %s before. Put everything into one block.", place(old.rng))
			continue
		}
		kid := newNode(b)
		kid.label, kid.rng = label, &header
		r.fill(kid, x.Body)
		n.kids = append(n.kids, kid)
	}
}

// literal evaluates an expression if it is one literal, or a list or group of
// them. Others are refused unseen: a few nested "for" would run for ever.
func literal(e hcl.Expression) (cty.Value, bool) {
	if native, ok := e.(hclsyntax.Expression); ok && !isLiteral(native) {
		return cty.NilVal, false
	}
	v, diags := e.Value(nil)
	return v, !diags.HasErrors()
}

func isLiteral(e hclsyntax.Expression) bool {
	switch x := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		return true
	case *hclsyntax.UnaryOpExpr: // a negative number
		_, ok := x.Val.(*hclsyntax.LiteralValueExpr)
		return ok && x.Op == hclsyntax.OpNegate
	case *hclsyntax.TemplateExpr:
		for _, part := range x.Parts {
			if _, ok := part.(*hclsyntax.LiteralValueExpr); !ok {
				return false
			}
		}
		return true
	case *hclsyntax.TupleConsExpr:
		for _, item := range x.Exprs {
			if !isLiteral(item) {
				return false
			}
		}
		return true
	case *hclsyntax.ObjectConsExpr:
		for _, item := range x.Items {
			key, ok := item.KeyExpr.(*hclsyntax.ObjectConsKeyExpr)
			if !ok || key.ForceNonLiteral || hcl.ExprAsKeyword(key) == "" && !isLiteral(key.Wrapped) || !isLiteral(item.ValueExpr) {
				return false
			}
		}
		return true
	}
	return false
}

// merge lays a later file over n: attribute by attribute in a block without a
// label, by label in the others; the last value wins.
func (n *node) merge(over *node) {
	maps.Copy(n.set, over.set)
	for _, k := range over.kids {
		if old := n.find(k.schema.name, k.label); old != nil {
			old.merge(k)
		} else {
			n.kids = append(n.kids, k)
		}
	}
}

// need notes each required attribute that nothing has set.
func (r *report) need(n *node) {
	for _, a := range n.schema.attrs {
		if _, ok := n.set[a.name]; !ok && a.required {
			r.add(n.rng, fmt.Sprintf("%s is missing", a.name), "%s must be set %s; it is %s.", a.name, n.schema.place(), a.form())
		}
	}
	for _, k := range n.kids {
		r.need(k)
	}
}

// place names a position in a file, as in cluster.hcl:12.
func place(rng *hcl.Range) string {
	if rng == nil {
		return "another place"
	}
	return fmt.Sprintf("%s:%d", rng.Filename, rng.Start.Line)
}
