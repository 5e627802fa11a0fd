package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

// VMs is how many VMs a world has: vm1, vm2, …
const VMs = 2

// World is three machines, what connects them and what watches them.
type World struct {
	Hosts   []*Machine
	volumes int // heartbeat volumes that the policy names
	hub     *hub
	watch   *watch
	end     context.CancelFunc
	wg      sync.WaitGroup
}

// UUID is one VM's.
func UUID(vm int) string { return fmt.Sprintf("10000000-0000-4000-8000-%012d", vm) }

// start boots three machines in dir.
func start(ctx context.Context, f *files, dir string) (_ *World, err error) {
	shared, volume := filepath.Join(dir, "shared"), filepath.Join(dir, "heartbeat")
	if err := errors.Join(os.WriteFile(volume, nil, 0o600), os.Truncate(volume, volumeSize)); err != nil {
		return nil, fmt.Errorf("make the disk for the heartbeat volume: %w", err)
	}
	w := &World{hub: newHub()}
	if w.watch, err = openWatch(shared, VMs); err != nil {
		return nil, err
	}
	wctx, end := context.WithCancel(context.WithoutCancel(ctx))
	w.end = end
	w.wg.Go(func() { w.watch.run(wctx) })
	for n := 1; n <= 3; n++ {
		m, err := boot(ctx, n, filepath.Join(dir, fmt.Sprintf("h%d", n)), f, shared, volume, w.hub)
		if err != nil {
			return nil, errors.Join(err, w.Stop())
		}
		w.Hosts = append(w.Hosts, m)
	}
	for _, m := range w.Hosts {
		if err := Until(ctx, m.Name+" is up", func() (bool, string) { return m.Boots() > 0, m.Console(5) }); err != nil {
			return nil, errors.Join(err, w.Stop())
		}
	}
	return w, nil
}

// Stop switches everything off and waits until nothing is left.
func (w *World) Stop() error {
	var errs []error
	for _, m := range w.Hosts {
		errs = append(errs, m.stop())
	}
	errs = append(errs, w.hub.close())
	w.end()
	w.wg.Wait()
	return errors.Join(append(errs, w.watch.close())...)
}

// Until polls until ok, or says what there was instead when ctx ends.
func Until(ctx context.Context, what string, ok func() (bool, string)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		done, have := ok()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for: %s: %w; there is: %s", what, ctx.Err(), have)
		case <-tick.C:
		}
	}
}

// policy is the profile "standard" with slower elections and a longer lease: three
// emulated machines on two processors answer within a second or two, not within
// half of one. The watchdog's timeout is the profile's.
const policy = `cluster "machines" {
  schema = 1
}

timing {
  profile  = "standard"
  election = "2s"
  lease    = "8s"
}`

// volumePath is the heartbeat volume in every machine, and volumeSize what it is
// given; for volumeSlots hosts it needs less.
const (
	volumePath  = "/dev/vdd"
	volumeSize  = 2 << 20
	volumeSlots = 8
)

// Form makes a cluster of the machines.
func (w *World) Form(ctx context.Context) error {
	first := w.Hosts[0]
	if err := Until(ctx, "the agents answer", func() (bool, string) {
		for _, m := range w.Hosts {
			if out, err := m.Sh(5*time.Second, "test -S /run/haagent/admin.sock"); err != nil {
				return false, m.Name + ": " + out
			}
		}
		return true, ""
	}); err != nil {
		return err
	}
	if _, err := first.Sh(30*time.Second, "cat >/tmp/cluster.hcl <<'END'\n%s\nEND\nhaadm cluster bootstrap --yes --policy /tmp/cluster.hcl", policy); err != nil {
		return err
	}
	for _, m := range w.Hosts[1:] {
		out, err := first.Run(20*time.Second, "haadm", "cluster", "token", "create", "--host", m.Name, "--json")
		if err != nil {
			return err
		}
		var t struct{ Token string }
		if err := json.Unmarshal([]byte(out), &t); err != nil {
			return fmt.Errorf("read the token for %s: %w: %s", m.Name, err, out)
		}
		// Asked again where it fails: a member that is not the master yet, or any more, says so.
		if err := Until(ctx, m.Name+" joins", func() (bool, string) {
			out, err := m.Run(40*time.Second, "haadm", "cluster", "join", "--yes", t.Token)
			if err != nil {
				return false, err.Error()
			}
			return true, out
		}); err != nil {
			return err
		}
	}
	return w.Settled(ctx)
}

// AddVolume makes a heartbeat volume as people do, and waits until it is in use and
// works on every host.
func (w *World) AddVolume(ctx context.Context) error {
	first := w.Hosts[0]
	if _, err := first.Run(60*time.Second, "haadm", "storage", "heartbeat", "init", volumePath, "--slots", fmt.Sprint(volumeSlots), "--label", "san", "--yes"); err != nil {
		return err
	}
	for _, m := range w.Hosts {
		if _, err := m.Run(30*time.Second, "haadm", "storage", "heartbeat", "verify", volumePath); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("%s\n\nheartbeat_volume \"san\" {\n  path = %q\n}", policy, volumePath)
	if _, err := first.Sh(30*time.Second, "cat >/tmp/cluster.hcl <<'END'\n%s\nEND\nhaadm config apply --yes /tmp/cluster.hcl", text); err != nil {
		return err
	}
	w.volumes = 1
	return w.Settled(ctx)
}

// Protect starts each VM by hand and has the cluster protect it.
func (w *World) Protect(ctx context.Context) error {
	for vm := 1; vm <= VMs; vm++ {
		m := w.Hosts[vm%len(w.Hosts)]
		name := fmt.Sprintf("vm%d", vm)
		if _, err := m.Run(20*time.Second, "inside", "start-vm", name, UUID(vm)); err != nil {
			return err
		}
		if err := Until(ctx, "protect "+name, func() (bool, string) {
			out, err := m.Run(20*time.Second, "haadm", "protect", "--yes", name)
			if err != nil {
				return false, err.Error()
			}
			return true, out
		}); err != nil {
			return err
		}
	}
	return nil
}

// Settled waits until every host is live and votes, every heartbeat volume works on
// all of them, and every protected VM runs.
func (w *World) Settled(ctx context.Context) error {
	return Until(ctx, "the cluster is settled", func() (bool, string) {
		st, err := w.Status(w.Hosts...)
		if err != nil {
			return false, err.Error()
		}
		text, err := json.Marshal(st)
		return err == nil && w.settled(st), string(text)
	})
}

// Status is what the first of the machines that answers says of the cluster.
func (w *World) Status(of ...*Machine) (*api.Status, error) {
	var errs []error
	for _, m := range of {
		out, err := m.Run(5*time.Second, "haadm", "status", "--json")
		if err != nil {
			errs = append(errs, err)
			continue // ask another
		}
		var st api.Status
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			return nil, fmt.Errorf("read the status: %w: %s", err, out)
		}
		return &st, nil
	}
	return nil, fmt.Errorf("no agent answers: %w", errors.Join(errs...))
}

func (w *World) settled(st *api.Status) bool {
	if !st.Source.Fresh || st.VotersHealthy == nil || *st.VotersHealthy != 3 || len(st.Hosts) != 3 {
		return false
	}
	for _, h := range st.Hosts {
		if h.State != "live" {
			return false
		}
		if w.volumes > 0 && (h.Storage == nil || h.Storage.Working != w.volumes || h.Storage.Revision == 0 || h.Storage.Alone) {
			return false
		}
	}
	return st.VMs.Running == st.VMs.Protected
}

// Dump is what a person needs to understand a world that failed.
func (w *World) Dump() string {
	var b strings.Builder
	for _, m := range w.Hosts {
		fmt.Fprintf(&b, "---- %s, booted %d times, resets %v, console:\n%s\n", m.Name, m.Boots(), m.Resets(time.Time{}), m.Console(40))
	}
	w.watch.mu.Lock()
	fmt.Fprintf(&b, "---- looking at the shared disk: %v\n", w.watch.err)
	w.watch.mu.Unlock()
	for _, m := range w.Hosts {
		if out, err := m.Run(5*time.Second, "haadm", "status"); err == nil {
			more, _ := m.Run(5*time.Second, "haadm", "explain", "vm", "vm1") // whatever there is
			fmt.Fprintf(&b, "---- as %s sees it:\n%s%s", m.Name, out, more)
		}
	}
	for vm := 1; vm <= VMs; vm++ {
		w.watch.mu.Lock()
		for _, s := range w.watch.seen[vm] {
			fmt.Fprintf(&b, "vm%d on h%d from %s to %s\n", vm, s.Host, s.First.Format("15:04:05.000"), s.Last.Format("15:04:05.000"))
		}
		w.watch.mu.Unlock()
	}
	return b.String()
}
