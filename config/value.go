package config

import (
	"fmt"
	"math"
	"math/bits"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// noDuration is the zero of a duration attribute.
const noDuration = time.Duration(0)

// fromCty turns a literal of a file into a value of the attribute's kind. The
// conversion is strict: "true" is no boolean and 5 no string. problem says what
// is wrong, or nothing.
func (a *attr) fromCty(v cty.Value) (val any, problem string) {
	if v.IsNull() || !v.IsKnown() {
		return nil, "has no value, but must be " + a.form()
	}
	t := v.Type()
	switch {
	case a.kind == kindMap && (t.IsObjectType() || t.IsMapType()):
		m := map[string]string{}
		for k, e := range v.AsValueMap() {
			if e.IsNull() || e.Type() != cty.String {
				return nil, fmt.Sprintf("must be %s, but %s is %s", a.form(), k, describe(e))
			}
			m[k] = e.AsString()
		}
		return a.judge(m)
	case a.kind == kindOptions && (t.IsObjectType() || t.IsMapType()):
		m := map[string]string{}
		for k, e := range v.AsValueMap() {
			switch {
			case e.IsNull() || e.Type() != cty.String && e.Type() != cty.Number && e.Type() != cty.Bool:
				return nil, fmt.Sprintf("must be %s, but %s is %s", a.form(), clip(k), describe(e))
			case e.Type() == cty.String:
				m[k] = e.AsString()
			case e.Type() == cty.Number:
				f, _ := e.AsBigFloat().Float64()
				if math.Abs(f) > 1<<53 {
					return nil, fmt.Sprintf("holds %s, whose number is too large", clip(k))
				}
				m[k] = strconv.FormatFloat(f, 'f', -1, 64) // 1000000, not 1e+06
			default:
				m[k] = map[bool]string{true: "1", false: "0"}[e.True()]
			}
		}
		return a.judge(m)
	case a.kind == kindList && (t.IsTupleType() || t.IsListType()):
		list, ok := nameList(v)
		if !ok {
			return nil, "must be " + a.form() + ", but holds something else"
		}
		return a.judge(list)
	case a.kind == kindDurations && (t.IsTupleType() || t.IsListType()):
		texts, ok := nameList(v)
		if !ok {
			return nil, "must be " + a.form() + ", but holds something else"
		}
		list := make([]time.Duration, 0, len(texts))
		for _, s := range texts {
			d, problem := parseDuration(s)
			if problem != "" {
				for _, said := range []string{", but ", ", which "} { // of which value was said
					problem = strings.TrimPrefix(problem, "is "+quote(s)+said)
				}
				return nil, fmt.Sprintf("holds %s, which %s", quote(s), problem)
			}
			list = append(list, d)
		}
		return a.judge(list)
	case a.kind == kindWeights:
		m, problem := a.weights(v)
		if problem != "" {
			return nil, problem
		}
		return a.judge(m)
	case a.kind == kindLevels && (t.IsTupleType() || t.IsListType()):
		var levels [][]string
		for _, e := range v.AsValueSlice() {
			level, ok := nameList(e)
			if !ok {
				return nil, fmt.Sprintf("must be %s, but holds %s", a.form(), describe(e))
			}
			levels = append(levels, level)
		}
		return a.judge(levels)
	case a.kind == kindBool && t == cty.Bool:
		return a.judge(v.True())
	case a.kind == kindInt && t == cty.Number && !v.AsBigFloat().IsInt():
		return nil, "must be " + a.form() + ", but is " + describe(v)
	case (a.kind == kindInt || a.kind == kindFloat) && t == cty.Number:
		return a.fromText(numberText(v))
	case (a.kind == kindString || a.kind == kindDuration || a.kind == kindSize) && t == cty.String:
		return a.fromText(v.AsString())
	}
	return nil, "must be " + a.form() + ", but is " + describe(v)
}

// weights reads names with their weights, or a list of names.
func (a *attr) weights(v cty.Value) (map[string]int64, string) {
	m := map[string]int64{}
	if t := v.Type(); !t.IsObjectType() && !t.IsMapType() {
		names, ok := nameList(v)
		if !ok || t == cty.String {
			return nil, "must be " + a.form() + ", but is " + describe(v)
		}
		for _, name := range names {
			if _, twice := m[name]; twice {
				return nil, fmt.Sprintf("names %s twice", quote(name))
			}
			m[name] = 0
		}
		return m, ""
	}
	for name, e := range v.AsValueMap() {
		if e.IsNull() || e.Type() != cty.Number || !e.AsBigFloat().IsInt() {
			return nil, fmt.Sprintf("must be %s, but %s is %s", a.form(), clip(name), describe(e))
		}
		f, _ := e.AsBigFloat().Float64()
		if f < 0 || f > maxWeight {
			return nil, fmt.Sprintf("gives %s the weight %s; a weight is 0 to %d", quote(name), numberText(e), maxWeight)
		}
		m[name] = int64(f)
	}
	return m, ""
}

// nameList is a level of a kindLevels: one name, or a list of names.
func nameList(v cty.Value) ([]string, bool) {
	if !v.IsNull() && v.Type() == cty.String {
		return []string{v.AsString()}, true
	}
	if v.IsNull() || !v.Type().IsTupleType() && !v.Type().IsListType() {
		return nil, false
	}
	list := []string{}
	for _, e := range v.AsValueSlice() {
		if e.IsNull() || e.Type() != cty.String {
			return nil, false
		}
		list = append(list, e.AsString())
	}
	return list, true
}

// fromText turns the text of a literal, a variable or a flag into a value of
// the attribute's kind.
func (a *attr) fromText(s string) (val any, problem string) {
	wrong := func() (any, string) {
		return nil, fmt.Sprintf("must be %s, but is %s", a.form(), quote(s))
	}
	switch a.kind {
	case kindBool:
		if s != "true" && s != "false" {
			return wrong()
		}
		return a.judge(s == "true")
	case kindInt:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return wrong()
		}
		return a.judge(int64(f))
	case kindFloat:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return wrong()
		}
		return a.judge(f)
	case kindDuration:
		d, problem := parseDuration(s)
		if problem != "" {
			return nil, problem
		}
		return a.judge(d)
	case kindSize:
		n, problem := parseSize(s)
		if problem != "" {
			return nil, problem
		}
		return a.judge(n)
	case kindString:
		return a.judge(s)
	}
	return wrong()
}

// judge holds a value of the right form against the attribute's words and check.
func (a *attr) judge(v any) (any, string) {
	switch x := v.(type) {
	case string:
		if problem := badText(x); problem != "" {
			return nil, problem
		}
		if a.words != nil && !contains(a.words, x) {
			return nil, fmt.Sprintf("must be %s, but is %s%s", a.form(), quote(x), didYouMean(x, a.words))
		}
	case []string:
		if problem := badText(strings.Join(x, "")); problem != "" {
			return nil, problem
		}
	case map[string]int64:
		for _, k := range sortedKeys(x) {
			if problem := badText(k); problem != "" {
				return nil, problem
			}
		}
	case [][]string:
		for _, level := range x {
			if problem := badText(strings.Join(level, "")); problem != "" {
				return nil, problem
			}
		}
	case map[string]string:
		for _, k := range sortedKeys(x) {
			if problem := badText(k + x[k]); problem != "" {
				return nil, problem
			}
			if a.words != nil && !contains(a.words, k) {
				return nil, fmt.Sprintf("has no %s%s; it takes %s", quote(k), didYouMean(k, a.words), strings.Join(a.words, ", "))
			}
		}
		for _, k := range a.words {
			if _, ok := x[k]; !ok {
				return nil, fmt.Sprintf("needs %s", k)
			}
		}
	}
	if a.check != nil {
		if problem := a.check(v); problem != "" {
			return nil, problem
		}
	}
	return v, ""
}

// badText refuses what no terminal should print and no file needs.
func badText(s string) string {
	if !utf8.ValidString(s) {
		return "must be valid UTF-8"
	}
	for _, r := range s {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return fmt.Sprintf("must not hold the control character %U", r)
		}
	}
	return ""
}

// describe names a literal of the wrong type for an error.
func describe(v cty.Value) string {
	switch t := v.Type(); {
	case v.IsNull():
		return "null"
	case t == cty.String:
		return "the string " + quote(v.AsString())
	case t == cty.Number:
		return "the number " + numberText(v)
	case t == cty.Bool:
		return strconv.FormatBool(v.True())
	case t.IsTupleType() || t.IsListType():
		return "a list"
	}
	return "a group in braces"
}

// numberText is a number as text. It goes by float64: the exact text of a number
// such as 1e999999999 would take for ever to write.
func numberText(v cty.Value) string {
	f, _ := v.AsBigFloat().Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// parseDuration reads "1m30s". It wants a unit, and no sign.
func parseDuration(s string) (time.Duration, string) {
	form := "must be " + kindDuration.form()
	d, err := time.ParseDuration(s)
	switch {
	case strings.HasPrefix(s, "-") && (err == nil || strings.ContainsAny(s, "0123456789")):
		return 0, fmt.Sprintf("is %s, but cannot be negative; it %s", quote(s), form)
	case strings.HasPrefix(s, "+"):
		return 0, fmt.Sprintf("%s, without a sign, but is %s", form, quote(s))
	case isDigits(s):
		return 0, fmt.Sprintf("%s, but %s has no unit", form, quote(s))
	case err != nil && looksLikeDuration(s):
		return 0, fmt.Sprintf("is %s, which is too long; it %s", quote(s), form)
	case err != nil:
		return 0, fmt.Sprintf("%s, but is %s", form, quote(s))
	}
	return d, ""
}

// looksLikeDuration tells an overflow from a wrong form: with each number cut to
// one digit, the text would have been a duration.
func looksLikeDuration(s string) bool {
	var b strings.Builder
	digit := false
	for _, r := range s {
		is := r >= '0' && r <= '9'
		if !is || !digit {
			b.WriteRune(r)
		}
		digit = is
	}
	_, err := time.ParseDuration(b.String())
	return err == nil
}

// formatDuration is the shortest text that parseDuration reads back: "5m", not "5m0s".
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// sizeUnit is one of the units a size can have, largest first.
type sizeUnit struct {
	name  string
	bytes uint64
}

func sizeUnits() []sizeUnit {
	return []sizeUnit{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
}

// parseSize reads "8GiB" into bytes.
func parseSize(s string) (uint64, string) {
	form := "must be " + kindSize.form()
	if strings.HasPrefix(s, "-") {
		return 0, fmt.Sprintf("is %s, but cannot be negative; it %s", quote(s), form)
	}
	for _, u := range sizeUnits() {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok || !isDigits(digits) {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 64)
		high, bytes := bits.Mul64(n, u.bytes)
		if err != nil || high != 0 || bytes > math.MaxInt64 {
			return 0, fmt.Sprintf("is %s, which is too large; it %s", quote(s), form)
		}
		return bytes, ""
	}
	if isDigits(s) {
		return 0, fmt.Sprintf("%s, but %s has no unit", form, quote(s))
	}
	return 0, fmt.Sprintf("%s, but is %s", form, quote(s))
}

// formatSize is the shortest text that parseSize reads back.
func formatSize(n uint64) string {
	for _, u := range sizeUnits() {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatUint(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatUint(n>>10, 10) + "KiB"
}

// toCty is the literal that stands for a value in a file.
func toCty(v any) cty.Value {
	switch x := v.(type) {
	case string:
		return cty.StringVal(x)
	case bool:
		return cty.BoolVal(x)
	case int64:
		return cty.NumberIntVal(x)
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			break // no literal says that
		}
		return cty.MustParseNumberVal(strconv.FormatFloat(x, 'f', -1, 64))
	case time.Duration:
		return cty.StringVal(formatDuration(x))
	case uint64:
		return cty.StringVal(formatSize(x))
	case map[string]string:
		m := make(map[string]cty.Value, len(x))
		for k, e := range x {
			m[k] = cty.StringVal(e)
		}
		return cty.ObjectVal(m)
	case []string:
		list := make([]cty.Value, 0, len(x))
		for _, e := range x {
			list = append(list, cty.StringVal(e))
		}
		return cty.TupleVal(list)
	case []time.Duration:
		list := make([]cty.Value, 0, len(x))
		for _, e := range x {
			list = append(list, toCty(e))
		}
		return cty.TupleVal(list)
	case map[string]int64:
		plain := true
		names := make([]string, 0, len(x))
		m := make(map[string]cty.Value, len(x))
		for _, k := range sortedKeys(x) {
			names = append(names, k)
			m[k] = cty.NumberIntVal(x[k])
			plain = plain && x[k] == 0
		}
		if plain {
			return toCty(names)
		}
		return cty.ObjectVal(m)
	case [][]string:
		levels := make([]cty.Value, 0, len(x))
		for _, level := range x {
			names := make([]cty.Value, 0, len(level))
			for _, name := range level {
				names = append(names, cty.StringVal(name))
			}
			if len(names) == 1 {
				levels = append(levels, names[0])
			} else {
				levels = append(levels, cty.TupleVal(names))
			}
		}
		return cty.TupleVal(levels)
	}
	return cty.NullVal(cty.DynamicPseudoType)
}

// text shows a value to people: strings bare, the rest as in a file.
func text(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case time.Duration:
		return formatDuration(x)
	case uint64:
		return formatSize(x)
	case map[string]string:
		parts := make([]string, 0, len(x))
		for _, k := range sortedKeys(x) {
			parts = append(parts, k+" = "+quote(x[k]))
		}
		if len(parts) == 0 {
			return "{}"
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	case map[string]int64:
		var parts []string
		plain := true
		for _, k := range sortedKeys(x) {
			parts = append(parts, fmt.Sprintf("%s = %d", k, x[k]))
			plain = plain && x[k] == 0
		}
		if !plain {
			return "{ " + strings.Join(parts, ", ") + " }"
		}
	}
	return string(hclwrite.TokensForValue(toCty(v)).Bytes())
}

func isDigits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != ""
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
