package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// genVolumes draws candidates, as many pinned as there are places.
func genVolumes(t *rapid.T, p *Policy, name *rapid.Generator[string]) {
	p.VolumeUse.Count = rapid.IntRange(1, MaxVolumes).Draw(t, "volumes at once")
	pinned := 0
	for i, n := range rapid.SliceOfNDistinct(name, 0, MaxVolumeCandidates, rapid.ID[string]).Draw(t, "volumes") {
		v := HeartbeatVolume{Name: n, Path: fmt.Sprintf("/hb/%d", i), Pinned: pinned < p.VolumeUse.Count && rapid.Bool().Draw(t, "pinned")}
		if v.Pinned {
			pinned++
		}
		p.Volumes = append(p.Volumes, v)
	}
}

func TestHeartbeatVolumes(t *testing.T) {
	parse := func(t *testing.T, body string) (*Policy, error) {
		t.Helper()
		return ParsePolicy(map[string][]byte{"cluster.hcl": []byte("cluster \"c\" { schema = 1 }\n" + body)})
	}
	p, err := parse(t, `
heartbeat_volume "san" { path = "/dev/disk/by-id/wwn-0x1-part1" }
heartbeat_volume "nfs" {
  path   = "/srv/vm/.holdfast-hb"
  pinned = true
}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []HeartbeatVolume{{Name: "san", Path: "/dev/disk/by-id/wwn-0x1-part1"}, {Name: "nfs", Path: "/srv/vm/.holdfast-hb", Pinned: true}}
	if d := cmp.Diff(want, p.Volumes); d != "" {
		t.Errorf("the volumes differ (-want +got):\n%s", d)
	}
	if p.VolumeUse.Count != 2 {
		t.Errorf("%d are in use at once where the policy does not say, want 2", p.VolumeUse.Count)
	}
	again, err := ParsePolicy(map[string][]byte{"cluster.hcl": p.HCL()})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, again); d != "" {
		t.Errorf("what HCL prints is another policy (-want +got):\n%s", d)
	}
	fewer := p.Clone()
	fewer.Volumes = []HeartbeatVolume{{Name: "san", Path: "/dev/sdb"}}
	fewer.VolumeUse.Count = 1
	wantDiff := []Change{
		{"heartbeat_volumes.count", "2", "1"},
		{`heartbeat_volume "nfs"`, `{ path = "/srv/vm/.holdfast-hb", pinned = true }`, ""},
		{`heartbeat_volume "san".path`, "/dev/disk/by-id/wwn-0x1-part1", "/dev/sdb"},
	}
	if d := cmp.Diff(wantDiff, DiffPolicies(p, fewer)); d != "" {
		t.Errorf("the changes differ (-want +got):\n%s", d)
	}
	other := p.Clone()
	slices.Reverse(other.Volumes)
	if d := cmp.Diff([]Change{{"heartbeat_volume (order)", "san, nfs", "nfs, san"}}, DiffPolicies(p, other)); d != "" {
		t.Errorf("the changes of another order differ (-want +got):\n%s", d)
	}
	named := func(n int, rest string) (text string) {
		for i := range n {
			text += fmt.Sprintf("heartbeat_volume \"v%d\" {\n  path = \"/v%d\"\n%s}\n", i, i, rest)
		}
		return text
	}
	for _, body := range []string{named(16, ""), "heartbeat_volumes { count = 5 }\n" + named(5, "  pinned = true\n"), "heartbeat_volumes { count = 1 }"} {
		if _, err := parse(t, body); err != nil {
			t.Errorf("%s\nis refused: %v", body, err)
		}
	}
	for name, tt := range map[string]struct{ body, says string }{
		"a relative path":   {`heartbeat_volume "a" { path = "hb" }`, "absolute path"},
		"an unclean path":   {`heartbeat_volume "a" { path = "/srv/../hb" }`, "absolute path"},
		"no path":           {`heartbeat_volume "a" { }`, "path"},
		"one under two":     {"heartbeat_volume \"a\" { path = \"/hb\" }\nheartbeat_volume \"b\" { path = \"/hb\" }", "One volume under two names"},
		"seventeen":         {named(17, ""), "Too many heartbeat volumes"},
		"three pinned":      {named(3, "  pinned = true\n"), "Too many pinned volumes"},
		"none at once":      {"heartbeat_volumes { count = 0 }", "1 to 5"},
		"six at once":       {"heartbeat_volumes { count = 6 }", "1 to 5"},
		"a name with space": {`heartbeat_volume "a b" { path = "/hb" }`, "letter or digit"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(t, tt.body); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want one that says %q", err, tt.says)
			}
		})
	}
}
