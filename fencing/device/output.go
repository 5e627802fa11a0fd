package device

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

const (
	// headKept and tailKept are how much of what an agent prints is kept, in bytes:
	// the beginning, and the end, where the result stands.
	headKept = 4 << 10
	tailKept = 12 << 10
	// textKept is how much of it people are shown, in characters.
	textKept = 300
)

// clipped keeps the beginning and the end of what is written to it.
type clipped struct {
	mu    sync.Mutex // guards what follows; held for no longer than a copy
	whole int        // how many bytes are kept of the beginning
	head  []byte
	tail  []byte
	total int64 // bytes written
}

func newClipped(head int) *clipped { return &clipped{whole: head} }

// Write keeps what fits and never fails: an agent that prints without end is read
// until it is killed, since one that cannot write would hang.
func (c *clipped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(p)
	c.total += int64(n)
	if room := c.whole - len(c.head); room > 0 {
		k := min(room, len(p))
		c.head, p = append(c.head, p[:k]...), p[k:]
	}
	c.tail = append(c.tail, p...)
	if extra := len(c.tail) - tailKept; extra > tailKept { // moved seldom
		c.tail = append(c.tail[:0], c.tail[extra:]...)
	}
	return n, nil
}

// text is what was kept. Where bytes were lost the broken lines on both sides are
// left out too, so that no word is shown in part.
func (c *clipped) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	head, tail := c.head, c.tail
	if extra := len(tail) - tailKept; extra > 0 {
		tail = tail[extra:]
	}
	if c.total == int64(len(head)+len(tail)) {
		return string(head) + string(tail)
	}
	head = head[:bytes.LastIndexByte(head, '\n')+1]
	if i := bytes.IndexByte(tail, '\n'); i >= 0 {
		tail = tail[i+1:]
	} else {
		tail = nil
	}
	return fmt.Sprintf("%s… (%d bytes more) …\n%s", head, c.total-int64(len(head)+len(tail)), tail)
}

// Power is what a device says of a host.
type Power string

// What a device can say.
const (
	PowerOn      Power = "on"
	PowerOff     Power = "off"
	PowerUnknown Power = "unknown"
)

var statusLine = regexp.MustCompile(`(?im)^[ \t]*status:[ \t]*([a-z]+)[ \t]*\r?$`)

// powerOf reads the answer to "status". Off needs both signs that the interface
// of the agents gives, exit status 2 and the words "Status: OFF": an interpreter
// that cannot open an agent's file, because it is just being replaced, ends with 2
// as well.
func powerOf(exit int, stdout string) Power {
	said := PowerUnknown
	for i, m := range statusLine.FindAllStringSubmatch(stdout, -1) {
		word := Power(strings.ToLower(m[1]))
		if i > 0 && word != said {
			return PowerUnknown
		}
		said = word
	}
	switch {
	case exit == 2 && said == PowerOff:
		return PowerOff
	case exit == 0 && (said == PowerOn || said == PowerUnknown):
		return PowerOn
	}
	return PowerUnknown
}

// logPrefix is how the agents' own library begins a line of its log.
var logPrefix = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:,]+ (?:ERROR|WARNING|INFO): `)

// lastWords is what an agent said, for people: its last lines, on one line.
func lastWords(stdout, stderr string) string {
	text := strings.TrimSpace(stderr)
	if text == "" {
		text = strings.TrimSpace(stdout)
	}
	var lines []string
	for _, l := range strings.Split(text, "\n") {
		l = logPrefix.ReplaceAllString(strings.TrimSpace(printable(l)), "")
		if l != "" && !strings.HasPrefix(l, "Please use '-h'") && (len(lines) == 0 || l != lines[len(lines)-1]) {
			lines = append(lines, l)
		}
	}
	if len(lines) > 3 {
		lines = lines[len(lines)-3:]
	}
	out := []rune(strings.Join(lines, "; "))
	if len(out) > textKept {
		out = append([]rune("…"), out[len(out)-textKept:]...)
	}
	return string(out)
}

// printable makes an agent's text safe for a terminal and a log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n':
			return ' '
		case r < ' ', r >= 0x7f && r < 0xa0, r == '\uFFFD', r >= 0x200e && r <= 0x202e && (r <= 0x200f || r >= 0x202a):
			// control, or changes the direction of writing
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
