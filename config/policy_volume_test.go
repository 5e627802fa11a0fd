package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHeartbeatVolumes(t *testing.T) {
	parse := func(t *testing.T, body string) (*Policy, error) {
		t.Helper()
		return ParsePolicy(map[string][]byte{"cluster.hcl": []byte("cluster \"c\" { schema = 1 }\n" + body)})
	}
	p, err := parse(t, `
heartbeat_volume "san" { path = "/dev/disk/by-id/wwn-0x1-part1" }
heartbeat_volume "nfs" { path = "/srv/vm/.holdfast-hb" }
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []HeartbeatVolume{{"san", "/dev/disk/by-id/wwn-0x1-part1"}, {"nfs", "/srv/vm/.holdfast-hb"}}
	if d := cmp.Diff(want, p.Volumes); d != "" {
		t.Errorf("the volumes differ (-want +got):\n%s", d)
	}
	again, err := ParsePolicy(map[string][]byte{"cluster.hcl": p.HCL()})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, again); d != "" {
		t.Errorf("what HCL prints is another policy (-want +got):\n%s", d)
	}
	fewer := p.Clone()
	fewer.Volumes = []HeartbeatVolume{{"san", "/dev/sdb"}}
	wantDiff := []Change{
		{`heartbeat_volume "nfs"`, `{ path = "/srv/vm/.holdfast-hb" }`, ""},
		{`heartbeat_volume "san".path`, "/dev/disk/by-id/wwn-0x1-part1", "/dev/sdb"},
	}
	if d := cmp.Diff(wantDiff, DiffPolicies(p, fewer)); d != "" {
		t.Errorf("the changes differ (-want +got):\n%s", d)
	}
	var six string
	for _, n := range []string{"1", "2", "3", "4", "5", "6"} {
		six += `heartbeat_volume "v` + n + `" { path = "/v` + n + `" }` + "\n"
	}
	for name, tt := range map[string]struct{ body, says string }{
		"a relative path":   {`heartbeat_volume "a" { path = "hb" }`, "absolute path"},
		"an unclean path":   {`heartbeat_volume "a" { path = "/srv/../hb" }`, "absolute path"},
		"no path":           {`heartbeat_volume "a" { }`, "path"},
		"one under two":     {"heartbeat_volume \"a\" { path = \"/hb\" }\nheartbeat_volume \"b\" { path = \"/hb\" }", "One volume under two names"},
		"six":               {six, "Too many heartbeat volumes"},
		"a name with space": {`heartbeat_volume "a b" { path = "/hb" }`, "letter or digit"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(t, tt.body); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want one that says %q", err, tt.says)
			}
		})
	}
}
