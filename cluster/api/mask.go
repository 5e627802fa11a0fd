package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Masked stands in a shown policy where a secret is. A policy that holds it is not
// taken back: applied, it would become the password.
const Masked = "(not shown)"

// masked are the files of a policy without the secrets in them.
func masked(files map[string]string) map[string]string {
	out := make(map[string]string, len(files))
	for name, text := range files {
		if filepath.Ext(name) == ".json" {
			out[name] = maskJSON(text)
		} else {
			out[name] = maskHCL(name, text)
		}
	}
	return out
}

// Unmasked refuses a policy that was copied from a shown one.
func Unmasked(files map[string]string) error {
	for name, text := range files {
		if strings.Contains(text, `"`+Masked+`"`) {
			return &Error{Code: CodeRefused,
				Message: fmt.Sprintf("%s holds %q where a secret belongs: it was copied from what 'haadm config show' prints. Write the secret there, use password_file, or begin with 'haadm config show --secrets'",
					name, Masked)}
		}
	}
	return nil
}

// unreadable is what is shown of a file in which secrets cannot be found.
const unreadable = "# not shown: this version cannot read it, and so cannot take out the secrets\n"

// maskHCL replaces the values of secrets and leaves every other byte as it is.
func maskHCL(name, text string) string {
	file, diags := hclsyntax.ParseConfig([]byte(text), name, hcl.InitialPos)
	if diags.HasErrors() {
		return unreadable
	}
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok {
		return unreadable
	}
	var hidden []hcl.Range
	for _, b := range body.Blocks {
		if b.Type != "fence" {
			continue
		}
		for name, a := range b.Body.Attributes {
			switch {
			case name == "options":
				hidden = append(hidden, secretOptions(a.Expr)...)
			case SecretName(name):
				hidden = append(hidden, a.Expr.Range())
			}
		}
	}
	slices.SortFunc(hidden, func(a, b hcl.Range) int { return b.Start.Byte - a.Start.Byte }) // from the end, so that places stay true
	for _, r := range hidden {
		mask := `"` + Masked + `"`
		if strings.HasSuffix(text[r.Start.Byte:r.End.Byte], "\n") { // of a heredoc
			mask += "\n"
		}
		text = text[:r.Start.Byte] + mask + text[r.End.Byte:]
	}
	return text
}

// secretOptions are the places of the secrets among a fence device's options; the
// whole, where they are not written out.
func secretOptions(e hclsyntax.Expression) (hidden []hcl.Range) {
	object, ok := e.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return []hcl.Range{e.Range()}
	}
	for _, item := range object.Items {
		key, diags := item.KeyExpr.Value(nil)
		if diags.HasErrors() || !key.IsKnown() || key.IsNull() || key.Type().FriendlyName() != "string" || SecretName(key.AsString()) {
			hidden = append(hidden, item.ValueExpr.Range())
		}
	}
	return hidden
}

// maskJSON is the same for HCL's JSON syntax, written anew.
func maskJSON(text string) string {
	var root any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&root); err != nil {
		return unreadable
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(maskValue(root)); err != nil {
		return unreadable
	}
	return b.String()
}

func maskValue(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = maskValue(v[i])
		}
	case map[string]any:
		for name, x := range v {
			switch x.(type) {
			case map[string]any, []any:
				v[name] = maskValue(x)
			default:
				if SecretName(name) {
					v[name] = Masked
				}
			}
		}
	}
	return v
}

// SecretName reports whether the value of an attribute or option is a secret, by
// its name. It hides too much rather than too little.
func SecretName(name string) bool {
	if name == "password_file" {
		return false
	}
	for _, word := range []string{"passw", "secret", "token", "key", "community", "hexadecimal_kg", "hexadecimal-kg"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
