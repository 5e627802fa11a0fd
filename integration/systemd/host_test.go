package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// host is one container. What it keeps is in dir, and outlives its end.
type host struct {
	t    *testing.T
	w    *world
	name string
	n    int
	dir  string
	cmd  *exec.Cmd
}

const (
	netupUnit = `[Unit]
DefaultDependencies=no
After=local-fs.target
Wants=network.target
Before=network.target shutdown.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip link set lo up; ip addr add 10.99.0.%d/24 dev host0; ip link set host0 up; cat /proc/sys/kernel/random/boot_id >/run/boot_id'
ExecStop=/bin/sh -c 'ip link set host0 down'
[Install]
WantedBy=multi-user.target
`
	// A unit with a mount namespace of its own sees the machine's boot id, which is the same for all.
	bootDropIn = "[Service]\nEnvironment=HAAGENT_BOOT_ID_FILE=/run/boot_id\n"
	qemuConf   = "user = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\nremember_owner = 0\nsecurity_driver = \"none\"\nnamespaces = [ ]\n"
)

// own are the units that the hosts run beside Debian's; everything else of this machine is masked.
var own = []string{"libvirtd.service", "libvirt-guests.service", "remote-fs.target", "machines.target"}

// lay puts down what makes the host this one, in its layer above the machine's root.
func (h *host) lay(deb string) {
	h.t.Helper()
	units := "etc/systemd/system/"
	files := map[string]string{
		"etc/hostname": h.name + "\n", "etc/hosts": "127.0.0.1 localhost " + h.name + "\n",
		"etc/machine-id":          fmt.Sprintf("%032x\n", 0xfa57+h.n),
		"etc/libvirt/qemu.conf":   qemuConf,
		"etc/haagent/haagent.hcl": fmt.Sprintf("node_name = %q\nnetwork \"mgmt\" {\n  address = \"10.99.0.%d\"\n}\n", h.name, h.n),
		units + "netup.service":   fmt.Sprintf(netupUnit, h.n), units + "haagent.service.d/boot.conf": bootDropIn,
		"var/log/journal/.keep": "",
	}
	for name, text := range files {
		h.write(name, text)
	}
	copied, err := os.ReadFile(deb)
	if err != nil {
		h.t.Fatal(err)
	}
	h.write("root/holdfast.deb", string(copied))
	h.link("../netup.service", units+"multi-user.target.wants/netup.service")
	for _, wants := range []string{"multi-user.target.wants", "timers.target.wants"} {
		entries, err := os.ReadDir("/etc/systemd/system/" + wants)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			h.t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.Contains(strings.Join(own, " "), e.Name()) {
				h.link("/dev/null", units+e.Name())
			}
		}
	}
}

func (h *host) path(name string) string { return filepath.Join(h.dir, "upper", name) }

func (h *host) write(name, text string) {
	h.t.Helper()
	err := os.MkdirAll(filepath.Dir(h.path(name)), 0o755)
	if err == nil {
		err = os.WriteFile(h.path(name), []byte(text), 0o644)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) link(to, name string) {
	h.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(h.path(name)), 0o755), os.Symlink(to, h.path(name))); err != nil {
		h.t.Fatal(err)
	}
}

// group is the host's control group in one hierarchy of the machine.
func (h *host) group(hierarchy string) string {
	return filepath.Join(hierarchy, "holdfast-systemd-"+h.name)
}

// bootScript becomes systemd-nspawn, in a mount namespace and control groups of its own. Root's
// lower layer is the machine's: its upper one has to be in another file system.
const bootScript = `set -e
for g in $GROUPS_OF; do echo $$ >$g/cgroup.procs; done
mount -t overlay overlay -o lowerdir=/,upperdir=$DIR/upper,workdir=$DIR/work $DIR/root
exec nsenter --net=/run/netns/$NETNS systemd-nspawn -q -D $DIR/root --register=no --keep-unit --machine=$NAME \
  --network-bridge=br0 --bind=$SHARED:/srv/vm --capability=all --boot --console=pipe`

// powerOn boots the host.
func (h *host) powerOn() {
	h.t.Helper()
	h.clear()
	var groups []string
	for _, at := range h.w.hierarchies {
		if err := os.Mkdir(h.group(at), 0o755); err != nil {
			h.t.Fatal(err)
		}
		groups = append(groups, h.group(at))
	}
	out, err := os.OpenFile(filepath.Join(h.dir, "console"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		h.t.Fatal(err)
	}
	defer out.Close()
	h.cmd = exec.Command("unshare", "--mount", "--propagation", "private", "bash", "-c", bootScript)
	h.cmd.Env = append(os.Environ(), "UNIFIED_CGROUP_HIERARCHY=1", "GROUPS_OF="+strings.Join(groups, " "), "DIR="+h.dir,
		"NETNS="+h.w.netns, "NAME="+h.name, "SHARED="+h.w.shared)
	h.cmd.Stdout, h.cmd.Stderr = out, out
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	// libvirt registers no machine where it finds a hierarchy without any controller.
	h.w.within(30*time.Second, h.name+" has a control group with a controller", func() error {
		if _, err := os.Stat(h.group(h.w.unified) + "/payload"); err != nil {
			return err
		}
		return os.WriteFile(h.group(h.w.unified)+"/cgroup.subtree_control", []byte("+"+h.w.controller), 0)
	})
	h.w.within(2*time.Minute, h.name+" has booted", func() error {
		state, _ := h.try("systemctl", "is-system-running")
		if s := strings.TrimSpace(state); s != "running" && s != "degraded" {
			return fmt.Errorf("systemd says %q", s)
		}
		return nil
	})
}

// off waits until systemd has ended, by itself.
func (h *host) off(limit time.Duration) {
	h.t.Helper()
	h.w.within(limit, h.name+" is off", func() error {
		if h.leader() != "" {
			return errors.New("it runs")
		}
		return nil
	})
	_ = h.cmd.Wait()
	h.cmd = nil
}

// clear kills what runs on the host and removes its control groups.
func (h *host) clear() {
	if h.cmd != nil {
		_ = os.WriteFile(h.group(h.w.unified)+"/cgroup.kill", []byte("1"), 0)
		_ = h.cmd.Wait()
		h.cmd = nil
	}
	for _, at := range h.w.hierarchies {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if removeGroups(h.group(at)) == nil {
				break
			}
		}
	}
	for _, d := range []string{"propagate", "unix-export"} {
		_ = os.Remove(filepath.Join("/run/systemd/nspawn", d, h.name))
	}
}

func removeGroups(dir string) error {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	var failed error
	for i := len(dirs) - 1; i >= 0; i-- {
		failed = errors.Join(failed, os.Remove(dirs[i]))
	}
	return failed
}

// leader is the process id, on this machine, of the host's systemd; empty if it is off.
func (h *host) leader() string {
	procs, _ := os.ReadFile(h.group(h.w.unified) + "/payload/init.scope/cgroup.procs")
	first, _, _ := strings.Cut(string(procs), "\n")
	return first
}

// try runs a command on the host.
func (h *host) try(argv ...string) (string, error) {
	pid := h.leader()
	if pid == "" {
		return "", errors.New(h.name + " is off")
	}
	ctx, cancel := context.WithTimeout(h.w.ctx, 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", pid, "-m", "-u", "-i", "-n", "-p", "-C", "--", "env", "-i",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb"}, argv...)...)
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &bad, time.Second // what nsenter started may live on
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s on %s: %w: %s", strings.Join(argv, " "), h.name, err, bytes.TrimSpace(bad.Bytes()))
	}
	return out.String(), nil
}

// do runs a command on the host that must succeed.
func (h *host) do(argv ...string) string {
	h.t.Helper()
	out, err := h.try(argv...)
	if err != nil {
		h.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// journal is what the host's journal holds since then, read from outside: also of a host that is off, and after the test.
func (h *host) journal(since time.Time) string {
	out, err := exec.CommandContext(context.WithoutCancel(h.w.ctx), "journalctl", "-D", h.path("var/log/journal"), "-o", "short-precise", "--no-pager", "-q",
		fmt.Sprintf("--since=@%d", since.Unix())).Output()
	if err != nil {
		return fmt.Sprintf("no journal of %s: %v", h.name, err)
	}
	return string(out)
}
