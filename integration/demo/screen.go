package main

import (
	"fmt"
	"io"
	"strings"
)

// screen shows lines that stay and, on a terminal, a panel below them that is
// drawn anew. Elsewhere the panel is left out: the lines tell the whole story.
type screen struct {
	w     io.Writer
	tty   bool
	panel int // lines of the panel that is drawn now
}

func newScreen(w io.Writer, tty bool) *screen { return &screen{w: w, tty: tty} }

// Line adds a line that stays.
func (s *screen) Line(text string) {
	s.clear()
	fmt.Fprintln(s.w, text)
}

// Panel replaces the panel.
func (s *screen) Panel(lines []string) {
	if !s.tty {
		return
	}
	s.clear()
	fmt.Fprintln(s.w, strings.Join(lines, "\n"))
	s.panel = len(lines)
}

// clear takes the panel away.
func (s *screen) clear() {
	if s.panel > 0 {
		fmt.Fprintf(s.w, "\x1b[%dA\x1b[J", s.panel)
		s.panel = 0
	}
}

func (s *screen) paint(code, text string) string {
	if !s.tty {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
