package config

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Files that are wrong as bytes rather than as HCL.
func TestOddBytes(t *testing.T) {
	much := 100_000
	if testing.Short() {
		much /= 20
	}
	deep := func(open, shut string, n int) string { return strings.Repeat(open, n) + strings.Repeat(shut, n) }
	tests := []struct {
		name   string
		src    string
		want   string // must be in the error; empty: accepted
		asJSON bool
	}{
		{name: "byte order mark", src: "\xef\xbb\xbfcluster \"c\" {}"},
		{name: "carriage returns", src: "cluster \"c\" {\r\n  note = \"n\"\r\n}\r\n"},
		{name: "no line break at the end", src: "cluster \"c\" {}"},
		{name: "comments alone", src: "# nothing\n// here\n/* at all */\n", want: "No cluster block"},
		{name: "UTF-16", src: "\xff\xfec\x00l\x00", want: "Not UTF-8"},
		{name: "Latin-1", src: "cluster \"c\" {\n  note = \"M\xfcnchen\"\n}", want: "line 2"},
		{name: "NUL", src: "cluster \"c\" {}\x00", want: "Control character"},
		{name: "escape sequence", src: "# \x1b[2J\ncluster \"c\" {}", want: "U+001B at column 3"},
		{name: "C1 control", src: "# \u009b2J\ncluster \"c\" {}", want: "U+009B"},
		{name: "too large", src: "cluster \"c\" {}\n" + strings.Repeat("#", maxFile), want: "File too large"},
		{name: "deep brackets", src: "x = " + deep("[", "]", 2*much), want: "Nested too deep"},
		{name: "deep braces", src: deep("a {\n", "}\n", much), want: "Nested too deep"},
		{name: "deep parentheses", src: "x = " + deep("(", ")", 2*much), want: "Nested too deep"},
		{name: "deep templates", src: "x = " + deep(`"${`, `}"`, much), want: "Nested too deep"},
		{name: "many signs", src: "x = " + strings.Repeat("-", 9*much) + "1", want: "Too many operators"},
		{name: "many sums", src: "x = 1" + strings.Repeat("+1", 4*much), want: "Too many operators"},
		{name: "many choices", src: "x = " + strings.Repeat("a ? ", 2*much) + "a", want: "Too many operators"},
		{name: "many indices", src: "x = a" + strings.Repeat("[b]", 2*much), want: "Too many operators"},
		{name: "many steps", src: "x = a" + strings.Repeat(".b", 2*much), want: "Too many operators"},
		{name: "deep JSON", src: deep("[", "]", 5*much), asJSON: true, want: "Nested too deep"},
		{name: "deep JSON objects", src: strings.Repeat(`{"a":`, 2*much), asJSON: true, want: "Nested too deep"},
		{name: "brackets in a JSON string", src: `{"cluster": {"c": {"note": "` + strings.Repeat("[", 100) + `\""}}}`, asJSON: true},
		{name: "JSON with a byte order mark", src: "\xef\xbb\xbf{\"cluster\": {\"c\": {}}}", asJSON: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := "cluster.hcl"
			if tt.asJSON {
				name = "cluster.json"
			}
			_, err := ParsePolicy(map[string][]byte{name: []byte(tt.src)})
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && err == nil:
				t.Errorf("accepted, want an error with %q", tt.want)
			case err != nil && !strings.Contains(err.Error(), tt.want):
				t.Errorf("the error does not say %q:\n%.2000s", tt.want, err)
			case err != nil && len(err.Error()) > 20_000:
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// Expressions are refused before they are evaluated: this one would make 10^30 values.
func TestLoopsAreNotRun(t *testing.T) {
	loop := `"x"`
	for i := range 10 {
		loop = fmt.Sprintf("[for v%d in [1,2,3,4,5,6,7,8,9,0]: %s]", i, loop)
	}
	done := make(chan error, 1)
	go func() {
		_, err := ParsePolicy(map[string][]byte{"c.hcl": []byte("cluster \"c\" {\n  note = " + loop + "\n}")})
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("accepted")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("still at it after 20s")
	}
}

func TestManyProblemsStayReadable(t *testing.T) {
	var src strings.Builder
	many := 20_000
	if testing.Short() {
		many = 2_000
	}
	for i := range many {
		fmt.Fprintf(&src, "unknown_%d = 1\n", i)
	}
	_, err := ParseAgent("haagent.hcl", []byte(src.String()), "kvm1")
	e, ok := AsError(err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	if n := len(e.Problems()); n != many {
		t.Errorf("%d problems are listed, want %d", n, many)
	}
	text := e.Error()
	if n := strings.Count(text, "\nError:"); n != shownAtMost {
		t.Errorf("%d problems are written out, want %d", n, shownAtMost)
	}
	if want := fmt.Sprintf("and %d more.", many-shownAtMost); !strings.HasSuffix(text, want) {
		t.Errorf("the text ends with %q, want %q", text[len(text)-40:], want)
	}
}

func TestErrorText(t *testing.T) {
	_, err := ParseAgent("haagent.hcl", []byte("network \"ü→\" { address = \"10.0.0.1\" }\n"), "kvm1")
	e, ok := AsError(fmt.Errorf("start: %w", err))
	if !ok {
		t.Fatalf("got %v", err)
	}
	if p := e.Problems()[0]; p.File != "haagent.hcl" || p.Line != 1 || p.Column != 9 || p.Summary == "" || p.Detail == "" {
		t.Errorf("problem is %+v, want one at haagent.hcl 1:9", p)
	}
	if strings.Contains(e.Error(), "\x1b") {
		t.Error("Error() is coloured")
	}
	if !strings.Contains(e.Text(80, true), "\x1b[31;1m") {
		t.Error("Text(80, true) is not coloured")
	}
	for _, width := range []int{20, 40, 80, 132} {
		for _, line := range strings.Split(e.Text(width, false), "\n") {
			isCode := strings.Contains(line, " | ") || strings.HasPrefix(line, "Error:") || strings.HasPrefix(line, "  on ") || strings.HasPrefix(line, "1 problem")
			if n := utf8.RuneCountInString(line); !isCode && n > width && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("a line has %d columns, want at most %d: %q", n, width, line)
			}
		}
	}
	// The mark stands under the place, counted in characters.
	lines := strings.Split(e.Text(100, false), "\n")
	for i, line := range lines {
		if strings.Contains(line, "network \"ü→\"") && strings.Contains(line, " | ") {
			mark := lines[i+1]
			if utf8.RuneCountInString(line[:strings.Index(line, `"ü`)]) != strings.Index(mark, "^") || strings.Count(mark, "^") != 4 {
				t.Errorf("the mark is not under the name:\n%s\n%s", line, mark)
			}
			return
		}
	}
	t.Errorf("no source line in:\n%s", e)
}

func TestFormat(t *testing.T) {
	const untidy = "cluster   \"c\" {\nnote=\"n\"\n  schema    = 1\n}\n\n\n"
	const tidy = "cluster \"c\" {\n  note   = \"n\"\n  schema = 1\n}\n"
	got, err := Format("c.hcl", []byte("\xef\xbb\xbf"+untidy))
	if err != nil || string(got) != tidy {
		t.Errorf("Format: %v\n%s\nwant\n%s", err, got, tidy)
	}
	again, err := Format("c.hcl", got)
	if err != nil || !bytes.Equal(again, got) {
		t.Errorf("Format of its own result: %v\n%s", err, again)
	}
	if _, err := Format("c.hcl", []byte("cluster {")); err == nil || !strings.Contains(err.Error(), "c.hcl line 1") {
		t.Errorf("Format of broken text: %v, want an error with the line", err)
	}
	if got, err := Format("c.hcl", nil); err != nil || len(got) != 0 {
		t.Errorf("Format of nothing: %q, %v", got, err)
	}
}

func TestDurationsAndSizes(t *testing.T) {
	for text, want := range map[string]time.Duration{"750ms": 750 * time.Millisecond, "1.5s": 1500 * time.Millisecond, "1h30m": 90 * time.Minute, "0s": 0, "5m": 5 * time.Minute} {
		got, problem := parseDuration(text)
		if problem != "" || got != want {
			t.Errorf("parseDuration(%q) = %v, %q, want %v", text, got, problem, want)
		}
	}
	for _, text := range []string{"", "5", "0", "-5s", "+5s", "-", "-0s", "5 s", "s", "1d", "5S", "300000000000000h", "1e3s", "５s", "NaN", "Inf"} {
		if got, problem := parseDuration(text); problem == "" || !strings.Contains(problem, `"750ms"`) {
			t.Errorf("parseDuration(%q) = %v, %q, want an error that shows the form", text, got, problem)
		}
	}
	for text, want := range map[string]uint64{"0KiB": 0, "1KiB": 1 << 10, "512MiB": 512 << 20, "8GiB": 8 << 30, "2TiB": 2 << 40} {
		got, problem := parseSize(text)
		if problem != "" || got != want {
			t.Errorf("parseSize(%q) = %v, %q, want %v", text, got, problem, want)
		}
		if back := formatSize(got); back != text {
			t.Errorf("formatSize(%d) = %q, want %q", got, back, text)
		}
	}
	for _, text := range []string{"", "8", "8G", "8GB", "8gib", "8 GiB", "-8GiB", "1.5GiB", "GiB", "99999999TiB", "99999999999999999999999KiB", "0x8GiB"} {
		if got, problem := parseSize(text); problem == "" || !strings.Contains(problem, `"8GiB"`) {
			t.Errorf("parseSize(%q) = %v, %q, want an error that shows the form", text, got, problem)
		}
	}
	for want, d := range map[string]time.Duration{"0s": 0, "5m": 5 * time.Minute, "1h": time.Hour, "1h0m5s": time.Hour + 5*time.Second, "1h30m": 90 * time.Minute, "20m": 20 * time.Minute, "10s": 10 * time.Second} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := policySchema().block("timing").names()
	for wrong, want := range map[string]string{
		"laese": "lease", "Lease": "lease", "watchdog-timeout": "watchdog_timeout", "heartbeat": "heartbeat_interval",
		"grian": "grain", "clock_eror": "clock_error", "elect": "election",
		"x": "", "priority": "", "colour": "", "le": "",
	} {
		if got := nearest(wrong, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", wrong, got, want)
		}
	}
}

// A list says of which value it complains once.
func TestListNamesItsValueOnce(t *testing.T) {
	for value, want := range map[string]string{
		"-1s":         `holds "-1s", which cannot be negative`,
		"3000000000h": `holds "3000000000h", which is too long`,
		"5":           `holds "5", which must be`,
	} {
		_, err := ParsePolicy(map[string][]byte{"cluster.hcl": []byte("cluster \"c\" {}\nrestart {\n  retries = [\"" + value + "\"]\n}\n")})
		if err == nil || !strings.Contains(strings.Join(strings.Fields(err.Error()), " "), want) {
			t.Errorf("retries of %q: %v, want %s", value, err, want)
		}
	}
}
