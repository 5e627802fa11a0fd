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
type patience struct{ until time.Time }

func (*patience) Ending(context.Context) ending { return ending{down: true} }
func (p *patience) Extend(d time.Duration)      { p.until = time.Now().Add(d) }

func TestAnOrderlyEndIsNotCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patience{until: time.Now().Add(extendBy)}
		end := time.Now().Add(10 * time.Minute)
		err := extended(p, func() error {
			for time.Now().Before(end) {
				time.Sleep(time.Second)
				if time.Now().After(p.until) {
					t.Errorf("killed %v before the end, for nobody asked for more time", time.Until(end))
					return nil
				}
			}
			return context.Canceled
		})
		if err != context.Canceled { //nolint:errorlint // handed through as it is
			t.Errorf("what the drain says is %v, want what it returned", err)
		}
	})
}
