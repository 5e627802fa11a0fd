package libvirt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMemoryPath(t *testing.T) {
	const uuid = "11111111-0000-4000-8000-000000000001"
	for _, tt := range []struct{ name, vm, want string }{
		{"as AppArmor's profiles have it", "web1", "m.tunnelmigrate.dest.web1"},
		{"what else names hold", "web 1%", "m.tunnelmigrate.dest.web 1%"},
		{"the longest that fits", strings.Repeat("x", 59), "m.tunnelmigrate.dest." + strings.Repeat("x", 59)},
		{"one more", strings.Repeat("x", 60), "m.tunnelmigrate.dest." + uuid},
		{"out of the directory", "../../x", "m.tunnelmigrate.dest." + uuid},
		{"none", "", "m.tunnelmigrate.dest." + uuid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, want := memoryPath("/run/libvirt/qemu/holdfast", uuid, tt.vm), "/run/libvirt/qemu/holdfast/"+tt.want; got != want {
				t.Errorf("it is %s, want %s", got, want)
			}
		})
	}
}

func TestQEMUUser(t *testing.T) {
	capabilities := func(models string) string {
		return "<capabilities><host><cpu><model>x</model></cpu>" + models + "</host></capabilities>"
	}
	for _, tt := range []struct {
		name, models string
		want         int
		wrong        string
	}{
		{"Debian", "<secmodel><model>apparmor</model><doi>0</doi></secmodel><secmodel><model>dac</model><doi>0</doi><baselabel type='kvm'>+64055:+64055</baselabel><baselabel type='qemu'>+64055:+64055</baselabel></secmodel>", 64055, ""},
		{"root", "<secmodel><model>dac</model><doi>0</doi><baselabel type='kvm'>+0:+0</baselabel></secmodel>", 0, ""},
		{"no such model", "<secmodel><model>selinux</model><baselabel type='kvm'>system_u:system_r:svirt_t:s0</baselabel></secmodel>", 0, "name no user"},
		{"a name", "<secmodel><model>dac</model><baselabel type='kvm'>qemu:qemu</baselabel></secmodel>", 0, `"qemu:qemu"`},
		{"not XML", "<", 0, "read the capabilities"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := qemuUser(capabilities(tt.models))
			if tt.wrong == "" && (err != nil || got != tt.want) {
				t.Errorf("it is %d (%v), want %d", got, err, tt.want)
			}
			if tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
				t.Errorf("it is %d (%v), want an error with %q", got, err, tt.wrong)
			}
		})
	}
}

// Nobody but QEMU's user gets into the directory, whatever lies in its place.
func TestOwnDir(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lies  func(path string) error
		wrong string
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"it is there", func(path string) error { return os.Mkdir(path, 0o700) }, ""},
		{"open to others", func(path string) error { return os.Mkdir(path, 0o755) }, "must have 0700"},
		{"a link", func(path string) error { return os.Symlink(filepath.Dir(path), path) }, "not a directory"},
		{"a file", func(path string) error { return os.WriteFile(path, nil, 0o700) }, "not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run")
			if err := tt.lies(path); err != nil {
				t.Fatal(err)
			}
			err := ownDir(path, os.Getuid())
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("it returned %v, want an error with %q", err, tt.wrong)
				}
				return
			}
			if info, statErr := os.Lstat(path); err != nil || statErr != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
				t.Errorf("it made %v (%v, %v), want a directory with mode 0700", info, err, statErr)
			}
		})
	}
}
