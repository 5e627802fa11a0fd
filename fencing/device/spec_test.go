package device

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/config"
)

func TestDeviceRefuses(t *testing.T) {
	b := newBench(t)
	tests := []struct {
		name   string
		change func(s *config.Fence)
		says   string
	}{
		{"path for an agent", func(s *config.Fence) { s.Agent = "/bin/sh" }, "a fence agent's name begins"},
		{"path in an agent", func(s *config.Fence) { s.Agent = "fence_../../bin/sh" }, "a fence agent's name begins"},
		{"shell word", func(s *config.Fence) { s.Agent = "fence_x;reboot" }, "a fence agent's name begins"},
		{"agent that pretends", func(s *config.Fence) { s.Agent = "fence_dummy" }, "switches nothing off"},
		{"agent that reads a message", func(s *config.Fence) { s.Agent = "fence_sbd" }, "cannot prove that a host is off"},
		{"no timeout", func(s *config.Fence) { s.Timeout = 0 }, "timeout must be 1s to 5m,"},
		{"no attempts", func(s *config.Fence) { s.Attempts = 0 }, "attempts must be 1 to 10"},
		{"two passwords", func(s *config.Fence) { s.Password, s.PasswordFile = "x", "/x" }, "one of them"},
		{"relative file", func(s *config.Fence) { s.PasswordFile = "x" }, "absolute path"},
		{"password in two lines", func(s *config.Fence) { s.Password = "x\naction=on" }, "line break"},
		{"action", func(s *config.Fence) { s.Options["action"] = "on" }, "the action is chosen"},
		{"password among the options", func(s *config.Fence) { s.Options["passwd"] = "x" }, "use password_file"},
		{"missing counts as off", func(s *config.Fence) { s.Options["missing-as-off"] = "1" }, "must never be taken for one that has switched it off"},
		{"another program", func(s *config.Fence) { s.Options["ipmitool_path"] = "/tmp/x" }, "runs other programs"},
		{"a script", func(s *config.Fence) { s.Options["password_script"] = "/tmp/x" }, "runs other programs"},
		{"ssh with a command", func(s *config.Fence) { s.Options["ssh_options"] = "-o ProxyCommand=x" }, "runs other programs"},
		{"second line in a value", func(s *config.Fence) { s.Options["ip"] = "192.0.2.1\naction=on" }, "line break"},
		{"second line in a name", func(s *config.Fence) { s.Options["ip=x\naction"] = "on" }, "small letters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := config.Fence{Agent: "fence_fake", Options: map[string]string{}, Timeout: time.Second, Attempts: 1, Check: time.Minute}
			tt.change(&s)
			_, err := b.runner.Device("bmc", s)
			if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "bmc") {
				t.Errorf("got %v, want an error with %q", err, tt.says)
			}
		})
	}
}

// Agents ignore what they do not know, so we do not.
func TestValidate(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", nil)
	b.agent("fence_fabric", map[string]string{"metadata": "cat <<'EOT'\n" + strings.Replace(description, `<action name="reboot"/>`, "", 1) + "\nEOT"})
	b.agent("fence_blind", map[string]string{"metadata": "cat <<'EOT'\n" + strings.Replace(description, `<action name="status"/>`, "", 1) + "\nEOT"})
	checks := strings.Replace(description, `<action name="on"/>`, `<action name="on"/><action name="validate-all"/>`, 1)
	b.agent("fence_strict", map[string]string{"metadata": "cat <<'EOT'\n" + checks + "\nEOT", "*": "echo 'Failed: You have to set login name' >&2; exit 1"})
	tests := []struct {
		name   string
		change func(s *config.Fence)
		says   string
	}{
		{"good", nil, ""},
		{"old name of an option", func(s *config.Fence) { s.Options = map[string]string{"ipaddr": "192.0.2.1"} }, ""},
		{"unknown option", func(s *config.Fence) { s.Options["lan_plus"] = "1" }, `fence_fake has no option "lan_plus" (did you mean "lanplus"?)`},
		{"unknown option, nothing near", func(s *config.Fence) { s.Options["colour"] = "1" }, `fence_fake has no option "colour"`},
		{"both names", func(s *config.Fence) { s.Options["ipaddr"] = "192.0.2.2" }, "options ip and ipaddr are the same one"},
		{"no boolean", func(s *config.Fence) { s.Options["lanplus"] = "yeah" }, `option lanplus must be true or false, but is "yeah"`},
		{"no number", func(s *config.Fence) { s.Options["power_timeout"] = "20s" }, `option power_timeout must be a whole number, but is "20s"`},
		{"no choice", func(s *config.Fence) { s.Options["method"] = "onof" }, `option method must be one of onoff, cycle, but is "onof" (did you mean "onoff"?)`},
		{"all at once", func(s *config.Fence) { s.Options = map[string]string{"x1": "1", "lanplus": "2"} }, "option lanplus must be true or false"},
		{"agent that is not there", func(s *config.Fence) { s.Agent = "fence_fak" }, `agent fence_fak is not installed in ` + b.dir + ` (did you mean "fence_fake"?)`},
		{"no power switch", func(s *config.Fence) { s.Agent = "fence_fabric" }, "the host's VMs would run on"},
		{"nothing to verify by", func(s *config.Fence) { s.Agent = "fence_blind" }, "nothing can verify that the power is off"},
		{"refused by the agent", func(s *config.Fence) { s.Agent = "fence_strict" }, `fence_strict refuses its options: exit status 1: "Failed: You have to set login name"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := b.device("bmc", "fence_fake", nil)
			if tt.change != nil {
				d = b.device("bmc", "fence_fake", tt.change)
			}
			err := d.Validate(t.Context())
			switch {
			case tt.says == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("got %v, want an error with %q", err, tt.says)
			}
			if off, _ := d.Off(t.Context()); off[0].Done != (tt.says == "" || tt.name == "refused by the agent") {
				t.Errorf("what Validate refuses is not used, and what it accepts is: %+v", off)
			}
		})
	}
}

func TestAgentsOthersCanChangeAreNotRun(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", nil)
	d := b.device("bmc", "fence_fake", nil)
	path := filepath.Join(b.dir, "fence_fake")
	for mode, says := range map[os.FileMode]string{0o777: "changed by others", 0o775: "changed by others", 0o644: "is not a program"} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if s := d.Check(t.Context()); s.OK || !strings.Contains(s.Text, says) {
			t.Errorf("mode %v: %+v, want a text with %q", mode, s, says)
		}
	}
	if b.kept("calls") != "" {
		t.Errorf("it was run: %s", b.kept("calls"))
	}
}

// The description is asked for once, and again when the agent's file has changed.
func TestDescriptionIsKept(t *testing.T) {
	b := newBench(t)
	b.agent("fence_fake", nil)
	for range 3 {
		if _, err := b.runner.Describe(t.Context(), "fence_fake"); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(b.kept("calls"), "metadata"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	b.agent("fence_fake", map[string]string{"metadata": "echo changed; exit 1"})
	if _, err := b.runner.Describe(t.Context(), "fence_fake"); err == nil {
		t.Error("the description of the file before is still believed")
	}
}
