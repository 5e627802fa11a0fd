package config

import (
	"slices"
	"strings"
	"testing"
)

func TestShutdownActions(t *testing.T) {
	for _, x := range []struct {
		action, reboot, off string
	}{
		{ShutdownFailover, ShutdownFailover, ShutdownFailover},
		{ShutdownMigrate, ShutdownMigrate, ShutdownMigrate},
		{ShutdownFreeze, ShutdownFreeze, ShutdownFreeze},
		{ShutdownConditional, ShutdownFreeze, ShutdownFailover},
	} {
		p := ShutdownPolicy{Action: x.action}
		if r, o := p.For(true), p.For(false); r != x.reboot || o != x.off {
			t.Errorf("%s comes to %s for a reboot and %s otherwise, want %s and %s", x.action, r, o, x.reboot, x.off)
		}
	}
}

func TestIdleShutdownTimeouts(t *testing.T) {
	for action, idle := range map[string][]string{
		ShutdownFailover: {"migrate_timeout", "freeze_timeout"}, ShutdownMigrate: {"freeze_timeout"}, ShutdownFreeze: {"migrate_timeout"}, ShutdownConditional: {"migrate_timeout"},
	} {
		p := parse(t, `cluster "c" {}
host_shutdown {
  action          = "`+action+`"
  migrate_timeout = "1m"
  freeze_timeout  = "1m"
}`)
		var got []string
		for _, w := range p.Warnings() {
			if rest, is := strings.CutPrefix(w, "host_shutdown: "); is {
				got = append(got, strings.Fields(rest)[0])
			}
		}
		if !slices.Equal(got, idle) {
			t.Errorf("with action %q %v are said to have no effect, want %v", action, got, idle)
		}
	}
}
