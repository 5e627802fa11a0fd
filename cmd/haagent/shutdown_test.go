package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestRebootIsToldFromPowerOff(t *testing.T) {
	for name, x := range map[string]struct {
		jobs string
		want bool
	}{
		"reboot":                     {"  941 reboot.target             start waiting\n  960 haagent.service           stop  running\n", true},
		"reboot, by systemd 252":     {"183 shutdown.target                                                   start waiting\n171 reboot.target                                                     start waiting\n676 machine-qemu\\x2d2\\x2de1.scope                                     stop  waiting\n", true},
		"kexec":                      {"941 kexec.target start waiting\n", true},
		"soft reboot":                {"941 soft-reboot.target start waiting\n", true},
		"power off":                  {"941 poweroff.target start waiting\n 942 systemd-poweroff.service start waiting\n", false},
		"halt":                       {"941 halt.target start waiting\n", false},
		"one overtook the other":     {"941 reboot.target start waiting\n942 poweroff.target start waiting\n", false},
		"a target that is stopped":   {"941 reboot.target stop waiting\n", false},
		"rescue, which is no reboot": {"941 rescue.target start waiting\n", false},
		"nothing":                    {"", false},
		"no jobs":                    {"No jobs running.\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := reboots(x.jobs); got != x.want {
				t.Errorf("reboots(%q) = %v, want %v", x.jobs, got, x.want)
			}
		})
	}
}

// What systemctl says, and what is made of it. What it says of a system that runs or stops is what
// systemd 252 says, exit status included.
func TestEnding(t *testing.T) {
	const reboot, off, agent = "171 reboot.target start waiting", "171 poweroff.target start waiting", "171 haagent.service stop running"
	for name, x := range map[string]struct {
		state  string // that is-system-running prints
		status int    // its own
		jobs   string
		fails  bool // list-jobs
		want   ending
		tells  string // in the log
	}{
		"reboot":                     {"stopping", 1, reboot, false, ending{down: true, reboot: true}, ""},
		"power off":                  {"stopping", 1, off, false, ending{down: true}, ""},
		"what for is not told":       {"stopping", 1, reboot, true, ending{down: true}, "what the host is being shut down for"},
		"the agent alone is stopped": {"running", 0, agent, false, ending{}, ""},
		"a unit of the host failed":  {"degraded", 1, agent, false, ending{}, ""},
		"while the host boots":       {"starting", 1, agent, false, ending{}, ""},
		"another init":               {"offline", 1, "", true, ending{}, ""},
		"no answer":                  {"", 1, "", true, ending{}, "whether the host is being shut down"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, failed := t.TempDir(), 0
			if x.fails {
				failed = 1
			}
			script := fmt.Sprintf("#!/bin/sh\ncase $1 in\nis-system-running) echo '%s'; exit %d ;;\nlist-jobs) echo '%s'; exit %d ;;\nesac\n", x.state, x.status, x.jobs, failed)
			if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			var log strings.Builder
			if got := (systemd{hclog.New(&hclog.LoggerOptions{Output: &log})}).Ending(t.Context()); got != x.want {
				t.Errorf("where systemctl says %q and %q it is %+v, want %+v", x.state, x.jobs, got, x.want)
			}
			if x.tells == "" && log.Len() > 0 || !strings.Contains(log.String(), x.tells) {
				t.Errorf("the log says %q, want %q", log.String(), x.tells)
			}
		})
	}
}

// patience is a service manager that kills after a while, unless it is asked for more time.
type patience struct {
	until  time.Time
	killed bool
}

func (*patience) Ending(context.Context) ending { return ending{down: true} }

func (p *patience) Extend(d time.Duration) {
	p.look()
	p.until = time.Now().Add(d)
}

func (p *patience) look() { p.killed = p.killed || time.Now().After(p.until) }

func TestAnOrderlyEndIsNotCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patience{until: time.Now().Add(extendBy)}
		err := extended(p, func() error {
			time.Sleep(10 * time.Minute)
			return context.Canceled
		})
		if p.look(); p.killed {
			t.Error("killed before the end, for nobody asked for more time")
		}
		if err != context.Canceled { //nolint:errorlint // handed through as it is
			t.Errorf("what the drain says is %v, want what it returned", err)
		}
	})
}
