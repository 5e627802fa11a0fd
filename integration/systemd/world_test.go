package systemd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

// world is three hosts and what joins them. It is gone with its test.
type world struct {
	t           *testing.T
	ctx         context.Context
	netns       string
	shared      string // of all hosts: /srv/vm
	unified     string // where control groups of the second version are
	hierarchies []string
	controller  string // one that hosts can be given
	hosts       []*host
}

// nspawnLocks are systemd-nspawn's, by the inodes of roots.
const nspawnLocks = "/run/systemd/nspawn/locks/*"

// build boots three hosts and has them form a cluster.
func build(t *testing.T, deb string) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), netns: fmt.Sprintf("holdfast-systemd-%d", os.Getpid()), unified: "/sys/fs/cgroup"}
	if _, err := os.Stat(w.unified + "/cgroup.controllers"); err != nil {
		w.unified += "/unified"
	}
	w.hierarchies = []string{w.unified}
	if _, err := os.Stat("/sys/fs/cgroup/systemd/cgroup.procs"); err == nil {
		w.hierarchies = append(w.hierarchies, "/sys/fs/cgroup/systemd")
	}
	controllers, err := os.ReadFile(w.unified + "/cgroup.controllers")
	if err != nil || len(strings.Fields(string(controllers))) == 0 {
		t.Skipf("this machine has no control groups of the second version with a controller: %v", err)
	}
	w.controller = strings.Fields(string(controllers))[0]
	was, err := os.ReadFile(w.unified + "/cgroup.subtree_control")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(was)), w.controller) {
		w.set("+" + w.controller)
		t.Cleanup(func() { w.set("-" + w.controller) })
	}
	locks, _ := filepath.Glob(nspawnLocks)
	t.Cleanup(func() { // a container that is killed leaves them
		now, _ := filepath.Glob(nspawnLocks)
		for _, l := range now {
			if !slices.Contains(locks, l) {
				_ = os.Remove(l)
			}
		}
	})
	dir, err := os.MkdirTemp("/dev/shm", "holdfast-systemd-") // no part of the root file system
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w.shared = filepath.Join(dir, "shared")
	if err := os.Mkdir(w.shared, 0o755); err != nil {
		t.Fatal(err)
	}
	w.run("ip", "netns", "add", w.netns)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", w.netns).Run() })
	w.run("ip", "-n", w.netns, "link", "add", "br0", "type", "bridge")
	w.run("ip", "-n", w.netns, "link", "set", "br0", "up")
	for n := range 3 {
		h := &host{t: t, w: w, name: fmt.Sprintf("kvm%d", n+1), n: n + 1, dir: filepath.Join(dir, fmt.Sprint(n+1))}
		for _, d := range []string{"upper", "work", "root"} {
			if err := os.MkdirAll(filepath.Join(h.dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		w.hosts = append(w.hosts, h)
		h.lay(deb)
		t.Cleanup(h.clear)
		h.powerOn()
	}
	w.form()
	return w
}

func (w *world) set(controllers string) {
	if err := os.WriteFile(w.unified+"/cgroup.subtree_control", []byte(controllers), 0); err != nil {
		w.t.Errorf("%s in %s: %v", controllers, w.unified, err)
	}
}

func (w *world) run(argv ...string) {
	w.t.Helper()
	if out, err := exec.CommandContext(w.ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
}

// share writes a file that every host sees in /srv/vm. In the layers below a root that is mounted nothing may change.
func (w *world) share(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.shared, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// form installs the package as a person would and makes the three hosts a cluster.
func (w *world) form() {
	w.t.Helper()
	first := w.hosts[0]
	for _, h := range w.hosts {
		h.do("dpkg", "--force-confold", "-i", "/root/holdfast.deb")
		h.do("systemctl", "restart", "libvirtd")
		h.do("systemctl", "enable", "--now", "haguard", "haagent")
	}
	first.do("haadm", "cluster", "bootstrap", "--yes", "--name", "trial", "--timing-profile", "standard")
	for _, h := range w.hosts[1:] {
		var token string
		w.within(30*time.Second, "there is a token for "+h.name, func() error {
			out, err := first.try("haadm", "cluster", "token", "create", "--host", h.name)
			for _, f := range strings.Fields(out) {
				if len(f) > len(token) {
					token = f
				}
			}
			return err
		})
		w.share("token", token)
		h.do("sh", "-c", "haadm cluster join --yes - </srv/vm/token")
	}
	w.within(time.Minute, "three voters", func() error {
		out, err := first.try("haadm", "status")
		if err == nil && !strings.Contains(out, "3 of 3 voters") {
			err = errors.New(out)
		}
		return err
	})
}

// policy has the cluster go by this action.
func (w *world) policy(action string) {
	w.t.Helper()
	w.share("policy", fmt.Sprintf("cluster \"trial\" {\n  schema = 1\n}\nfencing {\n  mode = \"best_effort\"\n}\nhost_shutdown {\n  action = %q\n}\n", action))
	w.hosts[0].do("haadm", "config", "apply", "--yes", "/srv/vm/policy")
}

// deafGuest has no disk and no system, and does not hear its power button.
const deafGuest = `<domain type='qemu'><name>%[1]s</name><memory unit='MiB'>16</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>
<cpu mode='custom' match='exact' check='none'><model>qemu64</model></cpu><features><acpi/><tcg><tb-cache unit='MiB'>32</tb-cache></tcg></features>
<devices><controller type='usb' model='none'/><memballoon model='none'/></devices></domain>`

// protect has the host run a VM that is protected.
func (w *world) protect(h *host, vm string) {
	w.t.Helper()
	w.share(vm+".xml", fmt.Sprintf(deafGuest, vm))
	h.do("virsh", "-q", "define", "/srv/vm/"+vm+".xml")
	h.do("virsh", "-q", "start", vm)
	w.within(30*time.Second, vm+" is known and protected", func() error { // the host tells of a new VM with its next heartbeat
		_, err := h.try("haadm", "protect", "--yes", vm)
		return err
	})
	w.runsOn(vm, h, time.Minute)
}

// view is what the first host knows of a VM.
func (w *world) view(vm string) (api.VMView, error) {
	out, err := w.hosts[0].try("haadm", "vms", "list", "--json")
	if err != nil {
		return api.VMView{}, err
	}
	var list struct {
		VMs []api.VMView `json:"vms"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return api.VMView{}, err
	}
	i := slices.IndexFunc(list.VMs, func(v api.VMView) bool { return v.Name == vm })
	if i < 0 {
		return api.VMView{}, fmt.Errorf("nobody knows %s", vm)
	}
	return list.VMs[i], nil
}

func (w *world) runsOn(vm string, h *host, limit time.Duration) {
	w.t.Helper()
	w.within(limit, vm+" runs on "+h.name, func() error {
		v, err := w.view(vm)
		if err == nil && (v.State != api.VMRunning || v.Host != h.name) {
			err = fmt.Errorf("it is %s on %q", v.State, v.Host)
		}
		return err
	})
}

// events are the texts of what the cluster noted of this type.
func (w *world) events(kind string) []string {
	w.t.Helper()
	var list struct {
		Events []struct{ Type, Text string } `json:"events"`
	}
	if err := json.Unmarshal([]byte(w.hosts[0].do("haadm", "events", "--json")), &list); err != nil {
		w.t.Fatal(err)
	}
	var texts []string
	for _, e := range list.Events {
		if e.Type == kind {
			texts = append(texts, e.Text)
		}
	}
	return texts
}

// within polls until f returns nil.
func (w *world) within(limit time.Duration, what string, f func() error) {
	w.t.Helper()
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	w.t.Fatalf("not within %v: %s: %v", limit, what, err)
}
