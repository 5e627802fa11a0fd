package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// show writes an answer: as JSON when that was asked for, by human otherwise.
func (p *program) show(answer any, human func()) error {
	if p.format == "json" {
		return writeJSON(p.stdout, answer)
	}
	human()
	return nil
}

func writeJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

// say prints a line.
func (p *program) say(format string, args ...any) {
	fmt.Fprintln(p.stdout, harmless(fmt.Sprintf(format, args...)))
}

// harmless takes out what could drive a terminal: names and messages come from
// hypervisors and guests. Colours, which end in m, stay.
func harmless(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\x1b':
			rest := s[i:]
			if end := strings.IndexByte(rest, 'm'); end > 1 && rest[1] == '[' && strings.Trim(rest[2:end], "0123456789;") == "" {
				b.WriteRune(r)
			}
		case r == '\n' || r == '\t' || !unicode.IsControl(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}

// grid prints rows under a header, columns two blanks apart. Nothing is wrapped
// or cut: names must stay whole for those who copy them.
func (p *program) grid(header []any, rows [][]any) {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.AppendHeader(header)
	for _, r := range rows {
		t.AppendRow(r)
	}
	for _, line := range strings.Split(t.Render(), "\n") {
		p.say("%s", strings.TrimRight(line, " "))
	}
}

// paragraph prints text after an indent of its own, wrapped to the terminal.
func (p *program) paragraph(indent, s string) {
	s = strings.Join(strings.Fields(s), " ")
	taken := text.StringWidthWithoutEscSequences(indent)
	if left := p.width() - taken; left >= 20 {
		s = wrap(s, left)
	}
	hang := strings.Repeat(" ", taken)
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			indent = hang
		}
		p.say("%s%s", indent, strings.TrimRight(line, " "))
	}
}

// wrap breaks text between words, so that a line has at most so many columns unless one word alone
// has more: what people copy, such as a path or a UUID, stays whole.
func wrap(s string, columns int) string {
	var b strings.Builder
	taken := 0
	for i, word := range strings.Fields(s) {
		width := text.StringWidthWithoutEscSequences(word)
		switch {
		case i == 0:
		case taken+1+width > columns:
			b.WriteByte('\n')
			taken = 0
		default:
			b.WriteByte(' ')
			taken++
		}
		b.WriteString(word)
		taken += width
	}
	return b.String()
}

// tint colours a word by how good it is. The word says it all without colour.
func (p *program) tint(word string, s fsm.Severity) string {
	if !p.colour {
		return word
	}
	switch s {
	case fsm.Critical:
		return text.Colors{text.FgRed, text.Bold}.Sprint(word)
	case fsm.Warning:
		return text.FgYellow.Sprint(word)
	case fsm.Info:
		return text.FgGreen.Sprint(word)
	}
	return word
}

// hostSeverity says how good a host's state is.
func hostSeverity(state string) fsm.Severity {
	switch state {
	case "live":
		return fsm.Info
	case "dead", "unknown":
		return fsm.Critical
	}
	return fsm.Warning
}

func vmSeverity(state string) fsm.Severity {
	switch state {
	case api.VMRunning:
		return fsm.Info
	case api.VMWaiting:
		return fsm.Critical
	case api.VMStopped:
		return ""
	}
	return fsm.Warning
}

// ago is how long ago a moment was, by one unit; a dash when it never was.
func (p *program) ago(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return span(p.now().Sub(at))
}

// span shows a duration by its largest unit.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s" // the clocks of two hosts differ
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0fm", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0fh", d.Hours())
	}
	return fmt.Sprintf("%.0fd", d.Hours()/24)
}

// size writes bytes; a dash where nothing is known.
func size(n uint64) string {
	if n == 0 {
		return "-"
	}
	return placement.Size(int64(min(n, math.MaxInt64)))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, many)
}

// note says below an answer that it may be old; nothing when the master gave it.
func (p *program) note(src *api.Source) {
	if src == nil || src.Fresh {
		return
	}
	fmt.Fprintf(p.stderr, "Note: %s.\n", p.staleness(src))
}

// staleness puts into words whose view an answer is and how old it can be.
func (p *program) staleness(src *api.Source) string {
	s := "this is the local view of " + src.Host
	switch {
	case src.Master == "":
		s += fmt.Sprintf(", which last heard a master %s ago", span(src.Contact.Duration()))
	default:
		s += fmt.Sprintf(", which heard the master %s %s ago", src.Master, span(src.Contact.Duration()))
	}
	if src.Note != "" && src.Master != "" {
		s += " (" + src.Note + ")"
	}
	return s
}

// bound shows a bound of the timing to the hundredth of a second.
func bound(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
