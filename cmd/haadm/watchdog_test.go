package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/fencing"
)

// Nothing here has a real watchdog's path: what is named is a file, which the
// measurement refuses at the last moment.
func TestWatchdogIsNotLetFireUnderVMs(t *testing.T) {
	dir := t.TempDir()
	device, file := filepath.Join(dir, "device"), filepath.Join(dir, "measured")
	write(t, device, "")
	for name, tt := range map[string]struct {
		args []string
		code int
		says string
	}{
		"VMs run here":    {[]string{"--device", device, "--yes"}, exitRefused, "db2 would be lost with kvm2"},
		"no device":       {[]string{"--device", filepath.Join(dir, "none"), "--yes"}, exitFailed, "there is no watchdog"},
		"no device named": {[]string{"--yes"}, exitUsage, "--device is missing"},
		"half a second":   {[]string{"--device", device, "--timeout", "2500ms", "--yes"}, exitUsage, "whole seconds"},
	} {
		t.Run(name, func(t *testing.T) {
			got := haadm(t, agent(t, apitest.Healthy()), nil, append([]string{"watchdog", "qualify", "--file", file}, tt.args...)...)
			if got.code != tt.code || !strings.Contains(got.errOut, tt.says) {
				t.Errorf("exit %d, want %d, saying %q:\n%s", got.code, tt.code, tt.says, got.errOut)
			}
			if _, err := os.Stat(file); err == nil {
				t.Error("the measurement was begun")
			}
		})
	}
	t.Run("nobody knows what runs, and yes is not enough", func(t *testing.T) {
		got := haadm(t, filepath.Join(dir, "no socket"), nil, "watchdog", "qualify", "--file", file, "--device", device, "--yes")
		if got.code != exitRefused || !strings.Contains(got.errOut, "it is not known whether VMs run") || !strings.Contains(got.errOut, "--nothing-runs-here") {
			t.Errorf("exit %d:\n%s", got.code, got.errOut)
		}
	})
	t.Run("nobody agrees", func(t *testing.T) {
		got := haadm(t, filepath.Join(dir, "no socket"), nil, "watchdog", "qualify", "--file", file, "--device", device, "--nothing-runs-here")
		if got.code != exitUsage || !strings.Contains(got.errOut, "Add --yes") {
			t.Errorf("exit %d:\n%s", got.code, got.errOut)
		}
	})
	t.Run("no watchdog after all", func(t *testing.T) {
		got := haadm(t, filepath.Join(dir, "no socket"), nil, "watchdog", "qualify", "--file", file, "--device", device, "--nothing-runs-here", "--yes")
		if got.code != exitFailed || !strings.Contains(got.errOut, "not a character device") {
			t.Errorf("exit %d:\n%s", got.code, got.errOut)
		}
	})
}

func TestMeasuredWatchdogIsShown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "measured")
	good := fencing.Qualification{BootID: "an earlier boot", Driver: "i6300ESB timer", Asked: 3 * time.Second, Alive: 3*time.Second - 40*time.Millisecond, Grain: 22 * time.Millisecond}
	late := good
	late.Alive = 6 * time.Second
	for name, tt := range map[string]struct {
		is   *fencing.Qualification
		code int
		says string
	}{
		"in time": {&good, exitOK, "the host was alive 2.96s after the last pet"},
		"late":    {&late, exitNo, "took more than 6s for a timeout of 3s"},
		"never":   {nil, exitNo, "was never measured"},
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(file) // of the case before, if there is one
			if tt.is != nil {
				b, err := json.Marshal(tt.is)
				if err != nil {
					t.Fatal(err)
				}
				write(t, file, string(b))
			}
			got := haadm(t, "none", nil, "watchdog", "show", "--file", file)
			if got.code != tt.code || !strings.Contains(strings.Join(strings.Fields(got.out), " "), tt.says) {
				t.Errorf("exit %d, want %d, saying %q:\n%s%s", got.code, tt.code, tt.says, got.out, got.errOut)
			}
		})
	}
}
