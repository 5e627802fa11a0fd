package device

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/config"
)

// What an agent does, and whether the host counts as off then.
func TestOffIsProven(t *testing.T) {
	tests := []struct {
		name  string
		cases map[string]string
		power string
		off   bool
		says  string // in the evidence
	}{
		{name: "switched off", off: true, says: `switched off (it said "Success: Powered OFF"), and its status says off`},
		{name: "already off", power: "off\n", cases: map[string]string{"off": "echo 'Success: Already OFF'"}, off: true, says: "Already OFF"},
		{name: "status says on after off", cases: map[string]string{"off": "echo 'Success: Powered OFF'"}, says: "its status still says on"},
		{name: "off fails", cases: map[string]string{"off": "echo 'Unable to connect/login to fencing device' >&2; exit 1"}, says: `exit status 1: "Unable to connect/login to fencing device"`},
		{name: "off fails, yet the power is off", cases: map[string]string{"off": "echo off >power; exit 1"}, says: "exit status 1, without a word"},
		{name: "off ends with 2", cases: map[string]string{"off": "echo off >power; exit 2"}, says: "exit status 2"},
		{name: "status fails", cases: map[string]string{"status": "echo 'Connection timed out' >&2; exit 1"}, says: `nothing verifies it: status ended with 1: "Connection timed out"`},
		{name: "status fails, and says off", cases: map[string]string{"status": "echo 'Status: OFF'; exit 1"}, says: "status ended with 1"},
		{name: "status ends with 2 for another reason", cases: map[string]string{"status": "echo \"can't open file\" >&2; exit 2"}, says: "nothing verifies it"},
		{name: "status is silent", cases: map[string]string{"status": "exit 2"}, says: "nothing verifies it"},
		{name: "status says off, but ends with 0", cases: map[string]string{"status": "echo 'Status: OFF'"}, says: "nothing verifies it"},
		{name: "status says both", cases: map[string]string{"status": "echo 'Status: OFF'; echo 'Status: ON'; exit 2"}, says: "nothing verifies it"},
		{name: "status is ended by a signal", cases: map[string]string{"status": "echo 'Status: OFF'; kill -9 $$"}, says: "ended by signal killed"},
		{name: "it does not describe itself", cases: map[string]string{"metadata": "exit 1"}, says: "does not describe itself"},
		{name: "it describes something else", cases: map[string]string{"metadata": "echo '<html/>'"}, says: "not what a fence agent prints"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.agent("fence_fake", tt.cases)
			if tt.power != "" {
				b.put("power", tt.power)
			}
			r := Levels{{b.device("bmc", "fence_fake", nil)}}.Off(t.Context())
			if r.Confirmed != tt.off || !strings.Contains(r.Evidence, tt.says) {
				t.Errorf("confirmed is %v, want %v; the evidence should hold %q:\n%s", r.Confirmed, tt.off, tt.says, r.Evidence)
			}
			if want := map[bool]time.Duration{true: b.clock()}[tt.off]; r.At != want {
				t.Errorf("off by %v on the boot clock, want %v", r.At, want)
			}
			if b.kept("reboots") != "" {
				t.Errorf("the host was rebooted; the agent was called with\n%s", b.kept("calls"))
			}
		})
	}
}

// What an agent reads: the action first and always, on stdin alone.
func TestInput(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", nil)
	t.Setenv("SOME_SECRET", "of this process")
	b.agent("fence_env", map[string]string{"off": "env >environment; echo off >power"})
	change := func(s *config.Fence) {
		s.Options = map[string]string{"ip": "192.0.2.1", "plug": " 3", "lanplus": "true", "ssl": "off", "ssl_insecure": "false"}
		s.Password = `"quoted"`
	}
	d := b.device("bmc", "fence_fake", change)
	if _, err := b.runner.Describe(t.Context(), "fence_fake"); err != nil {
		t.Fatal(err)
	}
	b.put("input", "")
	b.put("calls", "")
	if tries, _ := d.Off(t.Context()); !tries[0].Done {
		t.Fatal(tries)
	}
	// ssl_insecure=0 is left out: agents look whether it is there. ssl is on unless told.
	options := "ip=192.0.2.1\nlanplus=1\nplug=\" 3\"\nssl=0\npassword=\"\"quoted\"\"\n"
	if want := "action=off\n" + options + "action=status\n" + options; b.kept("input") != want {
		t.Errorf("the agent read\n%s\nwant\n%s", b.kept("input"), want)
	}
	if want := "-- off \n-- status \n"; b.kept("calls") != want {
		t.Errorf("the agent was called with %q, want %q: no arguments", b.kept("calls"), want)
	}
	b.device("env", "fence_env", nil).Off(t.Context())
	env := b.kept("environment")
	if strings.Contains(env, "SECRET") || !strings.Contains(env, "PATH=/usr/sbin:") || !strings.Contains(env, "LC_ALL=C") {
		t.Errorf("the agent's environment is\n%s", env)
	}
}

func TestPasswordFile(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", nil)
	file := filepath.Join(t.TempDir(), "bmc")
	d := b.device("bmc", "fence_fake", func(s *config.Fence) { s.PasswordFile = file })
	tests := []struct {
		name, text string
		mode       os.FileMode
		says       string
	}{
		{"good", "s3cret\n", 0o600, ""},
		{"read-only", "s3cret", 0o400, ""},
		{"others can read it", "s3cret\n", 0o640, "chmod 0600"},
		{"empty", "\n", 0o600, "is empty"},
		{"two lines", "one\ntwo\n", 0o600, "one line"},
		{"too long", strings.Repeat("x", 5000), 0o600, "at most 1024 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, tt.mode); err != nil {
				t.Fatal(err)
			}
			b.put("input", "")
			s := d.Check(t.Context())
			if s.OK != (tt.says == "") || !strings.Contains(s.Text, tt.says) {
				t.Errorf("got %+v, want a text with %q", s, tt.says)
			}
			if got := strings.Contains(b.kept("input"), "password=s3cret\n"); got != s.OK {
				t.Errorf("the agent read %q", b.kept("input"))
			}
		})
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if s := d.Check(t.Context()); s.OK || !strings.Contains(s.Text, "no such file") {
		t.Errorf("without the file: %+v", s)
	}
	if s := b.device("bmc", "fence_fake", func(s *config.Fence) { s.PasswordFile = "/proc" }).Check(t.Context()); s.OK {
		t.Errorf("a folder: %+v", s)
	}
}

// A password that an agent repeats is not shown.
func TestPasswordIsNotShown(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", map[string]string{"off": "echo 'login ha hunter22 refused' >&2; exit 1", "status": "echo 'as hunter22'; exit 1"})
	d := b.device("bmc", "fence_fake", func(s *config.Fence) { s.Password = "hunter22" })
	r := Levels{{d}}.Off(t.Context())
	s := d.Check(t.Context())
	for _, text := range []string{r.Evidence, s.Text} {
		if strings.Contains(text, "hunter22") || !strings.Contains(text, "[password]") {
			t.Errorf("shown: %s", text)
		}
	}
}

func TestAttempts(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", map[string]string{"off": "echo x >>tries; [ $(wc -l <tries) -ge 2 ] || { echo 'session busy' >&2; exit 1; }; echo off >power"})
	tries, at := b.device("bmc", "fence_fake", func(s *config.Fence) { s.Attempts = 3 }).Off(t.Context())
	if len(tries) != 2 || tries[0].Done || !tries[1].Done || tries[1].Number != 2 || at != b.clock() {
		t.Errorf("want a failed try and a good one: %+v", tries)
	}
}

func TestOn(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", nil)
	b.agent("fence_dead", map[string]string{"on": "exit 1"})
	b.put("power", "off\n")
	good, dead := b.device("good", "fence_fake", nil), b.device("dead", "fence_dead", nil)
	if err := (Levels{{good}}).On(t.Context(), nil); err != nil || b.kept("power") != "on\n" {
		t.Errorf("power is %q: %v", b.kept("power"), err)
	}
	if err := (Levels{{good}, {dead}}).On(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "dead (fence_dead") {
		t.Errorf("want an error that names the device: %v", err)
	}
}

// What a person switches off stays off, also while somebody is at switching it on.
func TestNobodySwitchesOnWhatAPersonSwitchesOff(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", nil)
	held := errors.New("ann switched it off")
	levels := Levels{{b.device("bmc", "fence_fake", nil)}}
	b.put("power", "off\n")
	if err := levels.On(t.Context(), func() error { return held }); err == nil || !strings.Contains(err.Error(), held.Error()) || b.kept("power") != "off\n" {
		t.Errorf("held: %v, the power is %q", err, b.kept("power"))
	}
	// Its status says off, since ann's order came in between.
	b.agent("fence_late", map[string]string{"on": "echo on >power; echo off >power"})
	b.put("calls", "")
	asked := 0
	late := Levels{{b.device("late", "fence_late", func(s *config.Fence) { s.Attempts = 3 })}}
	err := late.On(t.Context(), func() error {
		if asked++; asked > 1 {
			return held
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), held.Error()) {
		t.Errorf("held after the first try: %v", err)
	}
	if n := strings.Count(b.kept("calls"), "-- on"); n != 1 {
		t.Errorf("told to switch on %d times, want once:\n%s", n, b.kept("calls"))
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name   string
		status string
		want   Status
	}{
		{"on", "echo 'Status: ON'", Status{OK: true, Power: PowerOn, Text: "power is on"}},
		{"off", "echo 'Status: OFF'; exit 2", Status{OK: true, Power: PowerOff, Text: "power is off"}},
		{"login refused", "echo 'Unable to connect/login' >&2; exit 1", Status{Power: PowerUnknown, Text: `exit status 1: "Unable to connect/login"`}},
		{"contradiction", "echo 'Status: OFF'", Status{Power: PowerUnknown, Text: `exit status 0, but it said "Status: OFF"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.agent("fence_fake", map[string]string{"status": tt.status})
			got := b.device("bmc", "fence_fake", nil).Check(t.Context())
			got.Took, tt.want.Device, tt.want.At = 0, "bmc", b.clock()
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			if calls := b.kept("calls"); strings.Contains(calls, "off") || strings.Contains(calls, "on ") {
				t.Errorf("a check has switched something: %s", calls)
			}
		})
	}
}

// A check under way gives way to switching off.
func TestOffGoesBeforeACheck(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", map[string]string{"status": `if [ "$(cat power)" = off ]; then echo 'Status: OFF'; exit 2; fi; echo $$ >pids; exec sleep 60`})
	d := b.device("bmc", "fence_fake", func(s *config.Fence) { s.Timeout = time.Minute })
	checked := make(chan Status, 1)
	go func() { checked <- d.Check(context.Background()) }()
	for deadline := time.Now().Add(10 * time.Second); b.kept("pids") == ""; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the check has not begun")
		}
	}
	begin := time.Now()
	if tries, _ := d.Off(t.Context()); !tries[0].Done || time.Since(begin) > 20*time.Second {
		t.Errorf("after %v: %+v", time.Since(begin), tries)
	}
	if s := <-checked; !s.Skipped || s.OK {
		t.Errorf("the check that was cut short says %+v", s)
	}
	b.gone("pids")
}
