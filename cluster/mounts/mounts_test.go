package mounts

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const list = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro
40 22 0:40 / /srv/my\040vms rw,noatime - nfs4 nas:/vms rw,addr=10.0.0.9
41 40 0:41 / /srv/my\040vms ro - tmpfs none
no mount
42 22 0:42 / /srv rw -
`

func TestParse(t *testing.T) {
	want := []Mount{
		{Number: "254:0", Point: "/", Type: "ext4", Source: "/dev/vda", Here: []string{"rw", "relatime"}, Options: []string{"rw", "errors=remount-ro"}},
		{Number: "0:40", Point: "/srv/my vms", Type: "nfs4", Source: "nas:/vms", Here: []string{"rw", "noatime"}, Options: []string{"rw", "addr=10.0.0.9"}},
		{Number: "0:41", Point: "/srv/my vms", Type: "tmpfs", Source: "none", Here: []string{"ro"}},
	}
	if d := cmp.Diff(want, Parse(list)); d != "" {
		t.Errorf("the list reads otherwise (-want +got):\n%s", d)
	}
}

func TestOf(t *testing.T) {
	all := Parse(list)
	for path, want := range map[string]string{"/srv/my vms/a": "tmpfs", "/srv/my vms": "tmpfs", "/srv/my vmsx": "ext4", "/": "ext4"} {
		if m := Of(all, path); m == nil || m.Type != want {
			t.Errorf("%s is on %+v, want %s", path, m, want)
		}
	}
	if m := Of(all[1:], "/var"); m != nil {
		t.Errorf("/var is on %+v, and no mount of the list holds it", m)
	}
}
