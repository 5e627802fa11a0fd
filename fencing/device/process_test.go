package device

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/config"
)

// Whatever an agent has started is gone when its run is over.
func TestNothingIsLeft(t *testing.T) {
	tests := []struct {
		name, off string
		says      string
		setsid    bool
	}{
		{name: "hangs", off: "echo $$ >>pids; exec sleep 600", says: "killed after"},
		{name: "ignores signals", off: "trap '' TERM HUP INT QUIT; echo $$ >>pids; while :; do sleep 1; done", says: "killed after"},
		{name: "children that hold the pipe", off: "sleep 600 & echo $! >>pids; echo off >power; echo done"},
		{name: "children in a session of their own", off: "setsid sh -c 'echo $$ >>pids; exec sleep 600' & echo off >power; until [ -s pids ]; do :; done", setsid: true},
		{name: "hangs with such children", off: "setsid sh -c 'echo $$ >>pids; exec sleep 600' & echo $$ >>pids; exec sleep 600", says: "killed after", setsid: true},
		{name: "a daemon without the pipe", off: "(setsid sh -c 'echo $$ >>pids; exec sleep 600' >/dev/null 2>&1 </dev/null &) ; until [ -s pids ]; do :; done; echo off >power", setsid: true},
		{name: "does not read its input", off: ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := exec.LookPath("setsid"); err != nil && tt.setsid {
				t.Skip("there is no setsid here")
			}
			b := newBench(t)
			b.agent("fence_fake", map[string]string{"off": tt.off})
			begin := time.Now()
			tries, _ := b.device("bmc", "fence_fake", func(s *config.Fence) { s.Timeout = 3 * time.Second }).Off(t.Context())
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			if !strings.Contains(tries[0].Text, tt.says) {
				t.Errorf("want a text with %q: %s", tt.says, tries[0].Text)
			}
			if tt.off != "" {
				b.gone("pids")
			}
		})
	}
}

// Output is read to its end, or the agent would hang, but not kept.
func TestOutputIsBounded(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", map[string]string{
		"off":    "echo begin; yes 'a line of output' | head -c 20000000; yes error | head -c 5000000 >&2; echo off >power; echo 'Success: Powered OFF'",
		"status": "yes 'noise' | head -c 3000000; echo 'Status: OFF'; exit 2",
	})
	d := b.device("bmc", "fence_fake", func(s *config.Fence) { s.Timeout = 30 * time.Second })
	tries, _ := d.Off(t.Context())
	if !tries[0].Done || len(tries[0].Text) > 2*textKept+500 {
		t.Errorf("want a short text of a good try, got %d bytes: %s", len(tries[0].Text), tries[0].Text)
	}
	b.agent("fence_endless", map[string]string{"off": "echo $$ >>pids; exec yes"})
	tries, _ = b.device("bmc", "fence_endless", func(s *config.Fence) { s.Timeout = time.Second }).Off(t.Context())
	if tries[0].Done || !strings.Contains(tries[0].Text, "killed after") || len(tries[0].Text) > 2*textKept+500 {
		t.Errorf("without end: %d bytes: %s", len(tries[0].Text), tries[0].Text)
	}
	b.gone("pids")
	b.agent("fence_fake", map[string]string{"metadata": "yes '<resource-agent>' | head -c 3000000"})
	if _, err := b.runner.Describe(t.Context(), "fence_fake"); err == nil {
		t.Error("a description without end was accepted")
	}
}

func TestClipped(t *testing.T) {
	tests := []struct {
		name  string
		write []string
		want  string
	}{
		{"all of it", []string{"one\n", "two\n"}, "one\ntwo\n"},
		{"cut at lines", []string{"begin\nbroken", strings.Repeat("x", 5*tailKept), "\nend\n"}, "begin\n… (61447 bytes more) …\nend\n"},
		{"one line without end", []string{strings.Repeat("x", 5*tailKept)}, "… (61440 bytes more) …\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClipped(8)
			for _, w := range tt.write {
				if n, err := c.Write([]byte(w)); n != len(w) || err != nil {
					t.Fatalf("wrote %d of %d: %v", n, len(w), err)
				}
			}
			if got := c.text(); got != tt.want {
				t.Errorf("kept %d bytes %.80q, want %.80q", len(got), got, tt.want)
			}
		})
	}
}

// A process that cannot be killed keeps its device, and nothing else: the next run
// does not begin beside it, and does not wait for ever.
func TestSlotIsKept(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", nil)
	d := b.device("bmc", "fence_fake", func(s *config.Fence) { s.Timeout = time.Second })
	other := b.device("other", "fence_fake", nil)
	d.slot <- struct{}{} // as a process that hangs in the kernel does
	tries, _ := d.Off(t.Context())
	if tries[0].Done || !strings.Contains(tries[0].Text, "an earlier run of the agent is still there") || b.kept("power") != "on\n" {
		t.Errorf("power is %q: %+v", b.kept("power"), tries)
	}
	if tries, _ := other.Off(t.Context()); !tries[0].Done {
		t.Errorf("another device: %+v", tries)
	}
	<-d.slot
	d.spec.Timeout = 20 * time.Second
	if tries, _ := d.Off(t.Context()); !tries[0].Done {
		t.Errorf("after it has ended: %+v", tries)
	}
}
