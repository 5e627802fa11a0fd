package device

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/config"
)

func TestParseMetadata(t *testing.T) {
	a, err := ParseMetadata([]byte(description))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"on", "off", "reboot", "status", "monitor", "metadata"}, a.Actions); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"ip", "plug", "lanplus", "ssl", "ssl_insecure", "power_timeout", "method"}, a.names()); diff != "" {
		t.Errorf("what may be set (-want +got):\n%s", diff)
	}
	want := &Parameter{Name: "method", Type: "select", Default: "onoff", Choices: []string{"onoff", "cycle"}}
	if diff := cmp.Diff(want, a.Parameter("method")); diff != "" {
		t.Error(diff)
	}
	for name, text := range map[string]string{
		"nothing":         "",
		"not XML":         "Traceback (most recent call last):",
		"another element": "<html></html>",
		"cut off":         description[:len(description)/2],
		"no actions":      `<resource-agent name="fence_x"><parameters/></resource-agent>`,
		"too long":        "<resource-agent>" + strings.Repeat(" ", maxMetadata) + "</resource-agent>",
		"too many":        "<resource-agent><actions>" + strings.Repeat("<action/>", maxParameters+1) + "</actions></resource-agent>",
	} {
		if a, err := ParseMetadata([]byte(text)); err == nil {
			t.Errorf("%s: accepted as %+v", name, a)
		}
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(description))
	f.Add([]byte(`<?xml version="1.0" encoding="latin1"?><resource-agent name="&#27;"><actions><action name="off"/></actions></resource-agent>`))
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY a "b">]><resource-agent name="&a;"/>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := ParseMetadata(text)
		if err != nil {
			return
		}
		if len(a.Actions) == 0 || len(a.Parameters) > maxParameters {
			t.Fatalf("accepted: %+v", a)
		}
		seen := map[string]bool{}
		for _, p := range a.Parameters {
			if p.Name == "" || seen[p.Name] && !strings.Contains(p.Name, "?") || printable(p.Name) != p.Name {
				t.Fatalf("parameter %q", p.Name)
			}
			seen[p.Name] = true
		}
		// A description never makes a name be sent that we refuse, nor an input of several lines.
		s := spec{config.Fence{Options: map[string]string{"ip": "192.0.2.1", "lanplus": "1"}}}
		_ = s.fits(a)
		if in := string(s.input("off", a, "secret")); !strings.HasPrefix(in, "action=off\n") || strings.Count(in, "\n") > 4 {
			t.Fatalf("input %q", in)
		}
	})
}

func FuzzOutput(f *testing.F) {
	f.Add(2, "Status: OFF\n", "")
	f.Add(0, "Status: ON\n", "warning")
	f.Add(2, "Status: OFF\nStatus: ON\n", "\x1b[2J\xff")
	f.Add(2, "status:off\r\n", strings.Repeat("x", 1000))
	f.Fuzz(func(t *testing.T, exit int, stdout, stderr string) {
		if powerOf(exit, stdout) == PowerOff {
			low := strings.ToLower(stdout)
			if exit != 2 || !strings.Contains(low, "off") || !strings.Contains(low, "status:") {
				t.Fatalf("taken for off: %d %q", exit, stdout)
			}
		}
		words := lastWords(stdout, stderr)
		if n := len([]rune(words)); n > textKept+1 || strings.ContainsAny(words, "\n\x1b\x00") || printable(words) != words {
			t.Fatalf("%d characters: %q", n, words)
		}
		c := newClipped(16)
		fmt.Fprint(c, stdout)
		fmt.Fprint(c, stderr)
		if text := c.text(); len(stdout)+len(stderr) < tailKept && text != stdout+stderr {
			t.Fatalf("kept %q of %q", text, stdout+stderr)
		}
	})
}
