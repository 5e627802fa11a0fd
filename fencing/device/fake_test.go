package device

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/config"
)

// bench is a folder of fake agents, the runner that finds them, and what they keep.
type bench struct {
	t      *testing.T
	dir    string // of the agents
	state  string // of what they write
	runner *Runner
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), state: t.TempDir()}
	b.runner = NewRunner(Config{Dir: b.dir, BootClock: b.clock})
	return b
}

func (b *bench) clock() time.Duration { return 42 * time.Second }

// description is the metadata of a fake agent.
const description = `<?xml version="1.0" ?>
<resource-agent name="fence_fake" shortdesc="Fake">
<longdesc>Fake</longdesc>
<parameters>
<parameter name="action" required="1"><content type="string" default="reboot"/></parameter>
<parameter name="ip" obsoletes="ipaddr"><content type="string"/></parameter>
<parameter name="ipaddr" deprecated="1"><content type="string"/></parameter>
<parameter name="plug"><content type="string"/></parameter>
<parameter name="password"><content type="string"/></parameter>
<parameter name="lanplus"><content type="boolean"/></parameter>
<parameter name="ssl"><content type="boolean" default="1"/></parameter>
<parameter name="ssl_insecure"><content type="boolean"/></parameter>
<parameter name="power_timeout"><content type="second" default="20"/></parameter>
<parameter name="method"><content type="select" default="onoff"><option value="onoff"/><option value="cycle"/></content></parameter>
<parameter name="ipmitool_path"><content type="string"/></parameter>
</parameters>
<actions><action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/><action name="metadata"/></actions>
</resource-agent>`

// agent writes a fake agent. It is a well-behaved one, whose host's power is in
// STATE/power, except for what cases replaces: shell for each action. Each input is
// kept in STATE/input.
func (b *bench) agent(name string, cases map[string]string) {
	b.t.Helper()
	all := map[string]string{
		"metadata": "cat <<'EOT'\n" + description + "\nEOT",
		"off":      "echo off >power; echo 'Success: Powered OFF'",
		"on":       "echo on >power; echo 'Success: Powered ON'",
		"status":   `if [ "$(cat power)" = off ]; then echo 'Status: OFF'; exit 2; fi; echo 'Status: ON'`,
		"monitor":  ":",
		// As the real ones: without an action it reboots.
		"*": "echo rebooted >>reboots; echo on >power; echo 'Success: Rebooted'",
	}
	for k, v := range cases {
		all[k] = v
	}
	var s strings.Builder
	s.WriteString("#!/bin/sh\ncd " + b.state + "\naction=reboot\n")
	s.WriteString("while IFS= read -r line; do\n  echo \"$line\" >>input\n  case $line in action=*) action=${line#action=};; esac\ndone\necho \"-- $action $*\" >>calls\n")
	s.WriteString("case $action in\n")
	for _, k := range []string{"metadata", "off", "on", "status", "monitor", "*"} {
		s.WriteString(k + ")\n" + all[k] + "\n;;\n")
	}
	s.WriteString("esac\n")
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(s.String()), 0o755); err != nil {
		b.t.Fatal(err)
	}
	b.put("power", "on\n")
}

func (b *bench) put(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.state, name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// kept is what an agent has written, or "".
func (b *bench) kept(name string) string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.state, name))
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	return string(text)
}

// device makes a device of a fake agent with one attempt and a short timeout.
func (b *bench) device(name, agent string, change func(*config.Fence)) *Device {
	b.t.Helper()
	s := config.Fence{Agent: agent, Options: map[string]string{"ip": "192.0.2.1"}, Timeout: 20 * time.Second, Attempts: 1, Check: time.Minute}
	if change != nil {
		change(&s)
	}
	d, err := b.runner.Device(name, s)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// gone waits until the processes whose numbers a fake agent has written are gone.
func (b *bench) gone(file string) {
	b.t.Helper()
	pids := strings.Fields(b.kept(file))
	if len(pids) == 0 {
		b.t.Fatalf("the agent has written no process number to %s", file)
	}
	for _, f := range pids {
		pid, err := strconv.Atoi(f)
		if err != nil {
			b.t.Fatal(err)
		}
		for deadline := time.Now().Add(5 * time.Second); runs(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				b.t.Fatalf("process %d of the agent is still there", pid)
			}
		}
	}
}

// runs reports whether a process is there, other than as a zombie.
func runs(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(text, ')')
	return i < 0 || !bytes.HasPrefix(text[i:], []byte(") Z"))
}
