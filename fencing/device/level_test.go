package device

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/config"
)

func TestLevels(t *testing.T) {
	tests := []struct {
		name   string
		levels string // levels by "/", devices by "+"
		off    bool
		tried  string
		says   string
	}{
		{"no level", "", false, "", "has no fence device"},
		{"one good", "good", true, "1 good", ""},
		{"the second after a failure", "dead/good/good2", true, "1 dead, 2 good", ""},
		{"all of a level", "good+good2", true, "1 good, 1 good2", "; and "},
		{"one of a level fails", "good+dead", false, "1 good, 1 dead", "it stays off, but that alone is not the host's power"},
		{"then the next level", "dead+good/good2", true, "1 dead, 1 good, 2 good2", ""},
		{"all fail", "dead/liar", false, "1 dead, 2 liar", "its status still says on"},
		{"an empty level proves nothing", "/good", true, "2 good", ""},
		{"only an empty level", "/", false, "", "not confirmed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			for _, n := range []string{"good", "good2"} {
				b.agent("fence_"+n, map[string]string{"off": "echo off >" + n, "status": "[ -e " + n + " ] && { echo Status: OFF; exit 2; }; echo Status: ON"})
			}
			b.agent("fence_dead", map[string]string{"off": "exit 1"})
			b.agent("fence_liar", map[string]string{"off": "echo 'Success: Powered OFF'"})
			var levels Levels
			if tt.levels != "" {
				for _, text := range strings.Split(tt.levels, "/") {
					var level Level
					for _, n := range strings.FieldsFunc(text, func(r rune) bool { return r == '+' }) {
						level = append(level, b.device(n, "fence_"+n, nil))
					}
					levels = append(levels, level)
				}
			}
			r := levels.Off(t.Context())
			var tried []string
			for _, x := range r.Tries {
				tried = append(tried, string(rune('0'+x.Level))+" "+x.Device)
			}
			if got := strings.Join(tried, ", "); r.Confirmed != tt.off || got != tt.tried || !strings.Contains(r.Evidence, tt.says) {
				t.Errorf("confirmed %v by %q, want %v by %q; the evidence should hold %q:\n%s", r.Confirmed, got, tt.off, tt.tried, tt.says, r.Evidence)
			}
		})
	}
}

// A device that never answers delays the next level by its bound, and no more.
func TestDeadControllerDoesNotBlock(t *testing.T) {
	b := newBench(t)
	b.agent("fence_hangs", map[string]string{"off": "echo $$ >>pids; trap '' TERM HUP INT; sleep 600 & echo $! >>pids; wait"})
	b.agent("fence_fake", nil)
	levels := Levels{{b.device("bmc", "fence_hangs", func(s *config.Fence) { s.Timeout, s.Attempts = time.Second, 2 })}, {b.device("pdu", "fence_fake", nil)}}
	begin := time.Now()
	r := levels.Off(t.Context())
	if took := time.Since(begin); !r.Confirmed || took > levels.Bound() {
		t.Errorf("after %v (the bound is %v): %+v", took, levels.Bound(), r)
	}
	if len(r.Tries) != 3 || !strings.Contains(r.Tries[0].Text, "killed after 1s: that is its timeout") {
		t.Errorf("tries: %+v", r.Tries)
	}
	b.gone("pids")
}

func TestOffEndsWithItsContext(t *testing.T) {
	b := newBench(t)
	b.agent("fence_hangs", map[string]string{"off": "echo $$ >>pids; exec sleep 600"})
	b.agent("fence_fake", nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for b.kept("pids") == "" && ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	time.AfterFunc(20*time.Second, cancel)
	r := Levels{{b.device("bmc", "fence_hangs", func(s *config.Fence) { s.Timeout, s.Attempts = time.Minute, 3 })}, {b.device("pdu", "fence_fake", nil)}}.Off(ctx)
	if r.Confirmed || len(r.Tries) != 1 || !strings.Contains(r.Evidence, "ended early") {
		t.Errorf("%+v", r)
	}
	b.gone("pids")
}

func TestLevelsOfAPolicy(t *testing.T) {
	b := newBench(t)
	f := config.Fence{Agent: "fence_fake", Timeout: time.Second, Attempts: 1, Check: time.Minute}
	pretends := f
	pretends.Agent = "fence_dummy"
	p := &config.Policy{
		Hosts:  map[string]config.HostRule{"h1": {Fence: [][]string{{"bmc"}, {"a", "dummy"}, {"a", "b"}}}},
		Fences: map[string]config.Fence{"bmc": f, "a": f, "b": f, "dummy": pretends},
	}
	levels, err := b.runner.Levels(p, "h1")
	if err == nil || !strings.Contains(err.Error(), "fence device dummy") {
		t.Errorf("want an error that names the device: %v", err)
	}
	var names []string
	for _, d := range levels.Devices() {
		names = append(names, d.Name())
	}
	if got := strings.Join(names, " "); len(levels) != 2 || got != "bmc a b" {
		t.Errorf("%d levels of %s, want bmc, then a with b: half a level proves nothing", len(levels), got)
	}
	again, _ := b.runner.Levels(p, "h1")
	if again[0][0] != levels[0][0] {
		t.Error("the same device twice: a check of one would not give way to the other")
	}
	f.Timeout = 2 * time.Second
	p.Fences["bmc"] = f
	if again, _ = b.runner.Levels(p, "h1"); again[0][0] == levels[0][0] {
		t.Error("a changed device is the one before")
	}
	if levels, err := b.runner.Levels(p, "h2"); err != nil || len(levels) != 0 {
		t.Errorf("a host without devices: %v, %v", levels, err)
	}
}
