package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// write makes a configuration directory of the given files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const oneNetwork = `network "mgmt" { address = "10.10.0.11" }` + "\n"

func TestAgentDefaults(t *testing.T) {
	got, err := ParseAgent("haagent.hcl", []byte(oneNetwork), "kvm1")
	if err != nil {
		t.Fatal(err)
	}
	want := &Agent{
		NodeName:   "kvm1",
		DataDir:    "/var/lib/haagent",
		LogLevel:   "info",
		LogFormat:  "text",
		Listen:     Listen{Port: 7300, Socket: "/run/haagent/admin.sock"},
		Networks:   []Network{{Name: "mgmt", Address: netip.MustParseAddr("10.10.0.11")}},
		Hypervisor: "libvirt",
		Libvirt:    Libvirt{Socket: "/var/run/libvirt/libvirt-sock"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Agent{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestAgentEveryValue(t *testing.T) {
	got, err := ParseAgent("haagent.hcl", []byte(`
node_name  = "kvm7"
data_dir   = "/srv/holdfast/"
log_level  = "trace"
hypervisor = "embedded"
listen {
  port   = 7400
  socket = "/run/x.sock"
}
network "b" { address = "fd00::11" }
network "a" { address = "127.0.0.2" }
embedded {
  directory = "/srv/demo"
}
host {
  reserve {
    memory = "8GiB"
  }
}
log {
  format = "json"
}
socket_access {
  group "haadmin" {}
  group "1001" {}
}
`), "other")
	if err != nil {
		t.Fatal(err)
	}
	want := &Agent{
		NodeName:     "kvm7",
		DataDir:      "/srv/holdfast",
		LogLevel:     "trace",
		LogFormat:    "json",
		Listen:       Listen{Port: 7400, Socket: "/run/x.sock"},
		Networks:     []Network{{"b", netip.MustParseAddr("fd00::11")}, {"a", netip.MustParseAddr("127.0.0.2")}},
		Hypervisor:   "embedded",
		Embedded:     Embedded{Directory: "/srv/demo"},
		Host:         Host{ReserveMemory: 8 << 30},
		SocketGroups: []string{"haadmin", "1001"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Agent{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

// What wins, and what is told about it: files in name order, variables, flags.
func TestAgentMergeAndOrigins(t *testing.T) {
	dir := write(t, map[string]string{
		"haagent.hcl": `node_name = "kvm1"
log_level = "warn"
network "mgmt" { address = "10.10.0.11" }
listen {
  port = 7301
}
host {
  reserve {
    memory = "2GiB"
  }
}
`,
		"conf.d/20-late.hcl":   "listen {\n  port = 7320\n}\n",
		"conf.d/10-early.hcl":  "listen {\n  port = 7310\n  socket = \"/run/early.sock\"\n}\n",
		"conf.d/30-net.hcl":    "network \"storage\" { address = \"10.20.0.11\" }\nnetwork \"mgmt\" { address = \"10.10.0.99\" }\n",
		"conf.d/.hidden.hcl":   "this is no HCL",
		"conf.d/notes.txt":     "neither is this",
		"conf.d/sub/other.hcl": "nor this",
	})
	env := []string{"PATH=/bin", "HAAGENT_LOG_LEVEL=debug", "HAAGENT_LISTEN_SOCKET=/run/env.sock", "HAAGENT_HOST_RESERVE_MEMORY=4GiB"}
	a, err := LoadAgent(dir, env, "ignored", map[string]string{"log-level": "error", "libvirt-socket": "/run/flag.sock"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Setting{
		{"node_name", "kvm1", "haagent.hcl:1"},
		{"data_dir", "/var/lib/haagent", "default"},
		{"log_level", "error", "--log-level"},
		{"hypervisor", "libvirt", "default"},
		{"listen.port", "7320", "conf.d/20-late.hcl:2"},
		{"listen.socket", "/run/env.sock", "HAAGENT_LISTEN_SOCKET"},
		{"network.mgmt.address", "10.10.0.99", "conf.d/30-net.hcl:2"},
		{"network.storage.address", "10.20.0.11", "conf.d/30-net.hcl:1"},
		{"libvirt.socket", "/run/flag.sock", "--libvirt-socket"},
		{"host.reserve.memory", "4GiB", "HAAGENT_HOST_RESERVE_MEMORY"},
		{"log.format", "text", "default"},
	}
	if diff := cmp.Diff(want, a.Settings()); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if a.LogLevel != "error" || a.Listen.Port != 7320 || a.Host.ReserveMemory != 4<<30 || a.Libvirt.Socket != "/run/flag.sock" {
		t.Errorf("the values differ from what Settings tells: %+v", a)
	}
	if a.Networks[0].Name != "mgmt" || a.Networks[1].Name != "storage" {
		t.Errorf("networks are %v, want the order of first appearance: mgmt, storage", a.Networks)
	}
}

func TestAgentSettingsOfEmbedded(t *testing.T) {
	a, err := ParseAgent("haagent.hcl", []byte(oneNetwork+`hypervisor = "embedded"`+"\n"+`data_dir = "/srv/h"`), "kvm1")
	if err != nil {
		t.Fatal(err)
	}
	if a.Embedded.Directory != "/srv/h/embedded" || a.Libvirt != (Libvirt{}) {
		t.Errorf("embedded is %+v and libvirt %+v, want /srv/h/embedded and nothing", a.Embedded, a.Libvirt)
	}
	for _, s := range a.Settings() {
		if strings.HasPrefix(s.Name, "libvirt.") {
			t.Errorf("%s is told, but has no effect with the embedded hypervisor", s.Name)
		}
		if s.Name == "embedded.directory" && (s.Value != "/srv/h/embedded" || s.Origin != "default") {
			t.Errorf("embedded.directory is told as %+v", s)
		}
	}
}

func TestAgentRefusesVariablesAndFlags(t *testing.T) {
	tests := []struct {
		name     string
		env      []string
		flags    map[string]string
		hostname string
		want     string // must be in the text
	}{
		{name: "unknown variable", env: []string{"HAAGENT_LOGLEVEL=info"}, want: `did you mean "HAAGENT_LOG_LEVEL"?`},
		{name: "bad word", env: []string{"HAAGENT_LOG_LEVEL=loud"}, want: `log_level (from HAAGENT_LOG_LEVEL) must be "trace"`},
		{name: "bad port", env: []string{"HAAGENT_LISTEN_PORT=http"}, want: "must be a whole number, but is \"http\""},
		{name: "port with a fraction", env: []string{"HAAGENT_LISTEN_PORT=73.5"}, want: "must be a whole number"},
		{name: "port out of range", flags: map[string]string{"listen-port": "0"}, want: "must be 1 to 65535, but is 0"},
		{name: "empty", env: []string{"HAAGENT_NODE_NAME="}, want: "node_name (from HAAGENT_NODE_NAME) must begin with a letter"},
		{name: "control character", env: []string{"HAAGENT_DATA_DIR=/var/\x1b[31m"}, want: "must not hold the control character U+001B"},
		{name: "not UTF-8", env: []string{"HAAGENT_DATA_DIR=/var/\xff"}, want: "must be valid UTF-8"},
		{name: "size", env: []string{"HAAGENT_HOST_RESERVE_MEMORY=8"}, want: `"8" has no unit`},
		{name: "unknown flag", flags: map[string]string{"log-levle": "info"}, want: `did you mean "log-level"?`},
		{name: "of the other hypervisor", env: []string{"HAAGENT_EMBEDDED_DIRECTORY=/srv"}, want: "HAAGENT_EMBEDDED_DIRECTORY has no effect"},
		{name: "host without a name", hostname: "localhost", want: "names are unique in a cluster"},
		{name: "host with an odd name", hostname: "my host", want: `The name of this host, "my host"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hostname := tt.hostname
			if hostname == "" {
				hostname = "kvm1"
			}
			path := filepath.Join(write(t, map[string]string{"haagent.hcl": oneNetwork}), "haagent.hcl")
			a, err := LoadAgent(path, tt.env, hostname, tt.flags)
			if err == nil {
				t.Fatalf("accepted as %+v", a)
			}
			flat := strings.Join(strings.Fields(err.Error()), " ")
			if !strings.Contains(flat, tt.want) {
				t.Errorf("the error does not say %q:\n%s", tt.want, err)
			}
		})
	}
}

func TestAgentVariableMendsNothing(t *testing.T) {
	// A wrong value in a file is told even where a variable wins over it.
	path := write(t, map[string]string{"haagent.hcl": oneNetwork + "log_level = \"loud\"\n"})
	if _, err := LoadAgent(path, []string{"HAAGENT_LOG_LEVEL=info"}, "kvm1", nil); err == nil {
		t.Error("the wrong value in the file was not told")
	}
}

func TestLoadAgentPaths(t *testing.T) {
	onlyParts := write(t, map[string]string{"conf.d/a.hcl": oneNetwork})
	if a, err := LoadAgent(onlyParts, nil, "kvm1", nil); err != nil || a.Networks[0].Name != "mgmt" {
		t.Errorf("a directory with conf.d alone: %v", err)
	}
	empty := t.TempDir()
	for _, path := range []string{empty, filepath.Join(empty, "none.hcl"), os.DevNull} {
		_, err := LoadAgent(path, nil, "kvm1", nil)
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("LoadAgent(%s): %v, want an error that names the path", path, err)
		}
	}
}

func TestOverridesAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range Overrides() {
		if seen[o.Variable] || seen[o.Flag] || seen[o.Setting] {
			t.Errorf("%+v shares a name with another one", o)
		}
		seen[o.Variable], seen[o.Flag], seen[o.Setting] = true, true, true
	}
	for _, name := range []string{"HAAGENT_NODE_NAME", "HAAGENT_DATA_DIR", "HAAGENT_LOG_LEVEL", "HAAGENT_LISTEN_PORT", "HAAGENT_LISTEN_SOCKET"} {
		if !seen[name] {
			t.Errorf("nothing is read from %s", name)
		}
	}
}
