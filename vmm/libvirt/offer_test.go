package libvirt

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirtxml"
)

// tree makes files below a directory; a text that begins with "-> " makes a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestInterfaces(t *testing.T) {
	files := map[string]string{}
	links := []net.Interface{{Name: "elsewhere"}}
	for name, with := range map[string][]string{
		"lo": nil, "eth0": {"physical", "brport"}, "eth1": {"physical"}, "br0": {"bridge"}, "ovs0": nil, "vnet3": {"tun_flags", "brport"}, "macvtap0": {"macvtap"},
		"veth1": {"master"}, "bond0": nil, "veth2": nil,
	} {
		link := net.Interface{Name: name}
		if name == "lo" {
			link.Flags = net.FlagLoopback
		}
		links = append(links, link)
		place := "/virtual/net/"
		for _, w := range with {
			if w == "physical" {
				place = "/pci0000:00/net/"
				continue
			}
			files["devices"+place+name+"/"+w] = ""
		}
		files["devices"+place+name+"/type"] = "1\n"
		files["class/net/"+name] = "-> ../../devices" + place + name
	}
	d := New(Config{Sys: tree(t, files)})
	d.links = func() ([]net.Interface, error) { return links, nil }
	want := []string{"bridge:bond0", "bridge:br0", "bridge:elsewhere", "bridge:ovs0", "bridge:veth2",
		"device:bond0", "device:br0", "device:elsewhere", "device:eth0", "device:eth1", "device:ovs0", "device:veth2"}
	got, err := d.interfaces()
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestHugePages(t *testing.T) {
	meminfo := tree(t, map[string]string{"meminfo": "MemTotal: 1 kB\nHugepagesize:       2048 kB\n"})
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  map[uint64]uint64
	}{
		{"two sizes", map[string]string{"kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512\n", "kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "4\n"}, map[uint64]uint64{2048: 1 << 30, 1 << 20: 4 << 30}},
		{"none set aside", map[string]string{"kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0\n"}, map[uint64]uint64{}},
		{"kernel without them", map[string]string{"kernel/mm/ksm/run": "0\n"}, map[uint64]uint64{}},
		{"cannot be read", map[string]string{"kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "many\n"}, nil},
		{"no such file system", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, usual := New(Config{Sys: tree(t, tt.files), Proc: meminfo}).hugePages()
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got != nil && usual != 2048 {
				t.Errorf("the default size is %d KiB, want 2048", usual)
			}
		})
	}
}

const capabilities = `<capabilities><host><cpu><arch>x86_64</arch></cpu></host>
<guest><os_type>hvm</os_type><arch name='x86_64'><machine canonical='pc-q35-7.2' maxCpus='288'>q35</machine><machine>microvm</machine>
<domain type='qemu'/><domain type='kvm'><machine>pc-q35-8.0</machine></domain></arch></guest></capabilities>`

func TestPlatformWords(t *testing.T) {
	const qemu = `<domainCapabilities><cpu><mode name='host-model' supported='yes'><model>EPYC</model></mode><mode name='custom' supported='yes'>
<model usable='yes'>qemu64</model><model usable='no'>EPYC-Rome</model><model usable='no' vendor='AMD'>EPYC-Milan</model><model usable='unknown'>odd</model></mode></cpu></domainCapabilities>`
	kvm := strings.Replace(qemu, "usable='no'", "usable='yes'", 1)
	platform := []string{"arch:x86_64", "machine:microvm", "machine:pc-q35-7.2", "machine:pc-q35-8.0", "machine:q35", "type:kvm", "type:qemu"}
	models := []string{"cpu:EPYC-Rome", "cpu:odd", "cpu:qemu64"}
	for _, tt := range []struct {
		name   string
		answer func(arch, virt string) (string, error)
		want   []string
		fails  bool
	}{
		{"a model that one kind of VM can have", func(_, virt string) (string, error) {
			return map[string]string{"qemu": qemu, "kvm": kvm}[virt], nil
		}, append([]string{platform[0]}, append(models, platform[1:]...)...), false},
		{"a question that libvirt refuses leaves models open", func(_, virt string) (string, error) {
			if virt == "kvm" {
				return "", fmt.Errorf("asked: %w", rpc.Error{Code: uint32(rpc.ErrNoSupport)})
			}
			return qemu, nil
		}, platform, false},
		{"no word of processors", func(string, string) (string, error) { return "<domainCapabilities/>", nil }, platform, false},
		{"the connection breaks", func(string, string) (string, error) { return "", os.ErrClosed }, nil, true},
		{"an answer that is none", func(string, string) (string, error) { return "<", nil }, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var caps libvirtxml.Caps
			if err := caps.Unmarshal(capabilities); err != nil {
				t.Fatal(err)
			}
			got, err := platformWords(&caps, tt.answer)
			if (err != nil) != tt.fails {
				t.Fatalf("error %v, want one: %v", err, tt.fails)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
