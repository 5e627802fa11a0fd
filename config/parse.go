package config

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
)

const (
	// maxFile is the largest file that is read, in bytes. A policy that names
	// ten thousand VMs one by one is below it.
	maxFile = 1 << 20
	// maxDepth is how deep braces, brackets and templates may be nested. The HCL
	// and JSON parsers call themselves for each level, and a Go stack that
	// overflows ends the process without a panic to recover from.
	maxDepth = 32
	// maxOperators is how many tokens a file may hold that no literal needs;
	// long chains of operators are as deep as brackets, but not as visible.
	maxOperators = 1000
	// maxNumber is the longest number, in digits.
	maxNumber = 40
)

// clean checks what any file must satisfy before a parser sees it, and strips a
// byte order mark. ok is false when the file was refused.
func (r *report) clean(filename string, src []byte) (text []byte, ok bool) {
	text = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	r.files[filename] = text
	if len(text) > maxFile {
		r.files[filename] = nil
		r.add(&hcl.Range{Filename: filename, Start: hcl.InitialPos, End: hcl.InitialPos}, "File too large",
			"The file has more than %s, which is the most. A policy can be split into several files, and a vms block covers many VMs by one pattern.",
			formatSize(maxFile))
		return nil, false
	}
	line, column := 1, 1
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRune(text[i:])
		at := hcl.Pos{Line: line, Column: column, Byte: i}
		rng := &hcl.Range{Filename: filename, Start: at, End: hcl.Pos{Line: line, Column: column + 1, Byte: i + size}}
		switch {
		case c == utf8.RuneError && size == 1:
			r.add(rng, "Not UTF-8", "Byte %#02x at column %d is not UTF-8 text. Save the file as UTF-8.", text[i], column)
			return nil, false
		case c == '\n':
			line, column = line+1, 0
		case c < ' ' && c != '\t' && c != '\r', c >= 0x7f && c < 0xa0:
			r.add(rng, "Control character", "The character %U at column %d does not belong in a text file. Remove it.", c, column)
			return nil, false
		}
		i, column = i+size, column+1
	}
	return text, true
}

// parse reads a file in HCL's native syntax, or in its JSON syntax. What is wrong
// is noted; the body is nil when there is nothing to go on with.
func (r *report) parse(filename string, src []byte, asJSON bool) hcl.Body {
	var body hcl.Body
	if asJSON {
		body = r.parseJSON(filename, src)
	} else {
		body = r.parseHCL(filename, src)
	}
	r.unread = r.unread || body == nil
	return body
}

func (r *report) parseHCL(filename string, src []byte) hcl.Body {
	text, ok := r.clean(filename, src)
	if !ok || !r.shallow(filename, text) {
		return nil
	}
	file, diags := hclsyntax.ParseConfig(text, filename, hcl.InitialPos)
	r.diags = append(r.diags, diags...)
	if diags.HasErrors() || file == nil {
		return nil
	}
	return file.Body
}

// shallow refuses text that would send the parser too deep.
func (r *report) shallow(filename string, text []byte) bool {
	// What the lexer finds wrong, the parser finds again.
	tokens, _ := hclsyntax.LexConfig(text, filename, hcl.InitialPos)
	depth, operators := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
		case hclsyntax.TokenOBrack:
			depth++
			operators++ // also an index, which nests without looking so
		case hclsyntax.TokenCBrace, hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenTemplateSeqEnd:
			depth--
		case hclsyntax.TokenNumberLit:
			if len(t.Bytes) > maxNumber {
				r.add(t.Range.Ptr(), "Number too long", "A number may have at most %d digits.", maxNumber)
				return false
			}
		case hclsyntax.TokenIdent, hclsyntax.TokenEqual, hclsyntax.TokenComma, hclsyntax.TokenNewline, hclsyntax.TokenComment,
			hclsyntax.TokenOQuote, hclsyntax.TokenCQuote, hclsyntax.TokenQuotedLit, hclsyntax.TokenStringLit, hclsyntax.TokenEOF:
		default:
			operators++
		}
		if depth > maxDepth {
			r.add(t.Range.Ptr(), "Nested too deep", "Braces and brackets may be nested at most %d deep.", maxDepth)
			return false
		}
		if operators > maxOperators {
			r.add(t.Range.Ptr(), "Too many operators", "The file has more than %d operators and brackets. Values are plain: strings, numbers, true, false, lists.", maxOperators)
			return false
		}
	}
	return true
}

func (r *report) parseJSON(filename string, src []byte) hcl.Body {
	text, ok := r.clean(filename, src)
	if !ok {
		return nil
	}
	depth, inString, line, start := 0, false, 1, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\n':
			line, start = line+1, i+1
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if depth > maxDepth {
			at := hcl.Pos{Line: line, Column: i - start + 1, Byte: i}
			r.add(&hcl.Range{Filename: filename, Start: at, End: hcl.Pos{Line: line, Column: at.Column + 1, Byte: i + 1}},
				"Nested too deep", "Braces and brackets may be nested at most %d deep.", maxDepth)
			return nil
		}
	}
	file, diags := json.Parse(text, filename)
	r.diags = append(r.diags, diags...)
	if diags.HasErrors() || file == nil {
		return nil
	}
	return file.Body
}

// content splits a body into the attributes and blocks that the schema knows,
// in the order of the file, and notes every other one.
func (r *report) content(body hcl.Body, b *block) ([]*hcl.Attribute, []*hcl.Block) {
	var attrs []*hcl.Attribute
	var blocks []*hcl.Block
	if native, ok := body.(*hclsyntax.Body); ok {
		for _, a := range native.Attributes {
			attrs = append(attrs, a.AsHCLAttribute())
		}
		for _, x := range native.Blocks {
			blocks = append(blocks, x.AsHCLBlock())
		}
	} else {
		content, diags := body.Content(jsonSchema(b))
		for _, d := range diags {
			if d.Summary == "Extraneous JSON object property" && d.Subject != nil {
				r.unknown(*d.Subject, strings.Trim(string(d.Subject.SliceBytes(r.files[d.Subject.Filename])), `"`), b)
				continue
			}
			r.diags = append(r.diags, d)
		}
		for _, a := range content.Attributes {
			attrs = append(attrs, a)
		}
		blocks = content.Blocks
	}
	sort.Slice(attrs, func(i, j int) bool { return attrs[i].NameRange.Start.Byte < attrs[j].NameRange.Start.Byte })

	known := attrs[:0]
	for _, a := range attrs {
		if b.attr(a.Name) != nil {
			known = append(known, a)
		} else if x := b.block(a.Name); x != nil {
			r.add(&a.NameRange, fmt.Sprintf("%s is a block", a.Name), "Write it without the equals sign: %s", x.usage())
		} else {
			r.unknown(a.NameRange, a.Name, b)
		}
	}
	var knownBlocks []*hcl.Block
	for _, x := range blocks {
		if sub := b.block(x.Type); sub != nil {
			if r.label(x, sub) {
				knownBlocks = append(knownBlocks, x)
			}
		} else if a := b.attr(x.Type); a != nil {
			r.add(&x.TypeRange, fmt.Sprintf("%s is not a block", x.Type),
				"Write it with an equals sign: %s = ..., where the value is %s.", a.name, a.form())
		} else {
			r.unknown(x.TypeRange, x.Type, b)
		}
	}
	return known, knownBlocks
}

// unknown notes a name that the schema does not have in this place.
func (r *report) unknown(rng hcl.Range, name string, b *block) {
	hint := ""
	root := r.root
	if near := nearest(clip(name), b.names()); near != "" {
		hint = fmt.Sprintf("Did you mean %s? ", near)
	} else if b.attr(name) == nil && (root.attr(name) != nil || root.block(name) != nil) {
		hint = fmt.Sprintf("%s belongs at the top level. ", name)
	} else if homes := root.homes(name); len(homes) == 1 {
		hint = fmt.Sprintf("%s belongs in %s. ", name, homes[0].usage())
	}
	if len(b.names()) == 0 {
		r.add(&rng, fmt.Sprintf("Unknown name %s", quote(name)), "%sNothing can be set %s.", hint, b.place())
		return
	}
	r.add(&rng, fmt.Sprintf("Unknown name %s", quote(name)), "%sAllowed %s: %s.", hint, b.place(), strings.Join(b.names(), ", "))
}

// label checks the number and form of a block's labels.
func (r *report) label(x *hcl.Block, b *block) bool {
	switch {
	case b.label == "" && len(x.Labels) > 0:
		r.add(&x.LabelRanges[0], fmt.Sprintf("%s takes no name", b.name), "Write: %s", b.usage())
		return false
	case b.label != "" && len(x.Labels) == 0:
		r.add(&x.TypeRange, fmt.Sprintf("%s needs a name", b.name), "Write: %s, where NAME is %s.", b.usage(), b.label)
		return false
	case b.label != "" && len(x.Labels) > 1:
		r.add(&x.LabelRanges[1], fmt.Sprintf("%s takes one name", b.name), "Write: %s, where NAME is %s.", b.usage(), b.label)
		return false
	case b.label != "" && b.labelCheck != nil:
		if problem := b.labelCheck(x.Labels[0]); problem != "" {
			r.add(&x.LabelRanges[0], fmt.Sprintf("Bad name for %s", b.name), "The name %s is %s; it %s.", quote(x.Labels[0]), b.label, problem)
			return false
		}
	}
	return true
}

// jsonSchema is the part of the schema that HCL's JSON decoder asks for.
func jsonSchema(b *block) *hcl.BodySchema {
	s := &hcl.BodySchema{}
	for _, a := range b.attrs {
		s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: a.name})
	}
	for _, x := range b.blocks {
		h := hcl.BlockHeaderSchema{Type: x.name}
		if x.label != "" {
			h.LabelNames = []string{"name"}
		}
		s.Blocks = append(s.Blocks, h)
	}
	return s
}
