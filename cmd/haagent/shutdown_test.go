package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestRebootIsToldFromPowerOff(t *testing.T) {
	for name, x := range map[string]struct {
		jobs string
		want bool
	}{
		"reboot":                     {"  941 reboot.target             start waiting\n  960 haagent.service           stop  running\n", true},
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
