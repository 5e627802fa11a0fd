package config

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// shownAtMost is how many problems are written out; a file that is wrong
// throughout is not made clearer by a thousand more.
const shownAtMost = 50

// Error is everything that is wrong with a configuration, by file and
// line. Its text shows each source line, with a mark under the place.
type Error struct {
	// What was read, for the first line, such as "the agent's configuration /etc/haagent".
	What  string
	diags hcl.Diagnostics
	files map[string][]byte
}

// Problem is one entry of an Error. Line and Column count from 1; they are 0,
// and File is empty, for what is in no file (a variable, a flag, a missing block).
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Summary string `json:"summary"`
	Detail  string `json:"detail"`
}

// Error renders every problem, 100 columns wide and without colour.
func (e *Error) Error() string { return e.Text(100, false) }

// Problems lists what is wrong, for machines.
func (e *Error) Problems() []Problem {
	list := make([]Problem, 0, len(e.diags))
	for _, d := range e.diags {
		p := Problem{Summary: printable(d.Summary), Detail: printable(d.Detail)}
		if d.Subject != nil {
			p.File, p.Line, p.Column = d.Subject.Filename, d.Subject.Start.Line, d.Subject.Start.Column
		}
		list = append(list, p)
	}
	return list
}

// Text renders every problem for a terminal of that width (0: no wrapping).
//
// This is not hcl.NewDiagnosticTextWriter: that one marks the place by colour
// alone, and prints lines of any length and with any control character in them.
func (e *Error) Text(width int, colour bool) string {
	var b strings.Builder
	n := len(e.diags)
	if n == 1 {
		fmt.Fprintf(&b, "1 problem in %s:\n", printable(e.What))
	} else {
		fmt.Fprintf(&b, "%d problems in %s:\n", n, printable(e.What))
	}
	for i, d := range e.diags {
		if i == shownAtMost {
			fmt.Fprintf(&b, "\n... and %d more.\n", n-i)
			break
		}
		e.render(&b, d, width, colour)
	}
	return strings.TrimRight(b.String(), "\n")
}

// render writes one problem: what, where (with the line), and what is allowed.
func (e *Error) render(b *strings.Builder, d *hcl.Diagnostic, width int, colour bool) {
	red, bold, plain := "", "", ""
	if colour {
		red, bold, plain = "\x1b[31;1m", "\x1b[1m", "\x1b[0m"
	}
	fmt.Fprintf(b, "\n%sError:%s %s%s%s\n", red, plain, bold, printable(d.Summary), plain)
	if d.Subject != nil && d.Subject.Filename != "" {
		fmt.Fprintf(b, "  on %s line %d:\n", printable(d.Subject.Filename), d.Subject.Start.Line)
		if line, mark := e.snippet(*d.Subject); line != "" && !passwordLine.MatchString(line) {
			number := fmt.Sprintf("%5d", d.Subject.Start.Line)
			fmt.Fprintf(b, "%s | %s\n", number, line)
			fmt.Fprintf(b, "%s | %s%s%s\n", strings.Repeat(" ", len(number)), red, mark, plain)
		}
	}
	for _, paragraph := range strings.Split(printable(d.Detail), "\n") {
		for _, line := range wrap(paragraph, width-2) {
			b.WriteString(strings.TrimRight("  "+line, " ") + "\n")
		}
	}
}

// passwordLine is a source line that must not be shown, wherever the problem in it is.
var passwordLine = regexp.MustCompile(`(?i)passw(or)?d"?\s*[=:]`)

// snippet is the line of the source that rng begins in, and the marks to print
// under it. Long lines are cut around the place.
func (e *Error) snippet(rng hcl.Range) (line, mark string) {
	src := e.files[rng.Filename]
	at, end := rng.Start.Byte, rng.End.Byte
	if at < 0 || at > len(src) {
		return "", ""
	}
	from := bytes.LastIndexByte(src[:at], '\n') + 1
	to := len(src)
	if i := bytes.IndexByte(src[at:], '\n'); i >= 0 {
		to = at + i
	}
	end = max(at, min(end, to))
	before, marked, after := printable(string(src[from:at])), printable(string(src[at:end])), printable(string(src[end:to]))
	const side = 60 // characters kept on each side of a place in a long line
	if r := []rune(before); len(r) > side {
		before = "…" + string(r[len(r)-side:])
	}
	if r := []rune(marked); len(r) > side {
		marked, after = string(r[:side])+"…", ""
	}
	if r := []rune(after); len(r) > side {
		after = string(r[:side]) + "…"
	}
	carets := max(1, utf8.RuneCountInString(strings.TrimRight(marked, " ")))
	line = strings.TrimRight(before+marked+after, " ")
	return line, strings.Repeat(" ", utf8.RuneCountInString(before)) + strings.Repeat("^", carets)
}

// printable makes text safe for a terminal: tabs become spaces, other control
// characters and broken UTF-8 become a question mark. Newlines stay.
func printable(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r", ""), "\t", "    ")
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

// wrap breaks a paragraph at spaces. One that is indented is a table or code
// and stays as it is.
func wrap(s string, width int) []string {
	if width <= 0 || strings.HasPrefix(s, " ") {
		return []string{s}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// report collects problems while files are read.
type report struct {
	root *block // what the files may hold
	// unread: a file could not be parsed, so what seems to be missing may stand in it.
	unread bool
	diags  hcl.Diagnostics
	files  map[string][]byte
}

func newReport(root *block) *report { return &report{root: root, files: map[string][]byte{}} }

// add notes a problem. rng may be nil, for what is in no file.
func (r *report) add(rng *hcl.Range, summary, format string, args ...any) {
	if rng != nil && rng.Filename == "" {
		rng = nil
	}
	r.diags = append(r.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  summary,
		Detail:   fmt.Sprintf(format, args...),
		Subject:  rng,
	})
}

// err is the *Error with everything that was noted, or nil: by file and line, each
// problem once, and what is in no file at the end.
func (r *report) err(what string) error {
	if len(r.diags) == 0 {
		return nil
	}
	slices.SortStableFunc(r.diags, func(a, b *hcl.Diagnostic) int {
		switch {
		case a.Subject == nil && b.Subject == nil:
			return 0
		case a.Subject == nil:
			return 1
		case b.Subject == nil:
			return -1
		}
		return cmp.Or(strings.Compare(a.Subject.Filename, b.Subject.Filename), cmp.Compare(a.Subject.Start.Byte, b.Subject.Start.Byte))
	})
	r.diags = slices.CompactFunc(r.diags, func(a, b *hcl.Diagnostic) bool {
		return a.Summary == b.Summary && a.Detail == b.Detail && a.Subject != nil && b.Subject != nil && *a.Subject == *b.Subject
	})
	return &Error{What: what, diags: r.diags, files: r.files}
}
