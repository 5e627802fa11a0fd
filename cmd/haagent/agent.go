package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/agent"
	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/host"
	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/reach"
	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/storagehb/apart"
	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
	"github.com/holdfast-ha/holdfast/vmm/libvirt"
)

const (
	defaultGuard = "/run/haagent/guard"
	// defaultNote is where the reason of a reset is kept.
	defaultNote = "/var/lib/haagent/last-reset.json"
	bootIDFile  = "/proc/sys/kernel/random/boot_id"
	// bootIDVariable names another file, for a test bed in which several hosts share a kernel.
	bootIDVariable = "HAAGENT_BOOT_ID_FILE"
)

func runAgent(ctx context.Context, c *cli.Context) error {
	if os.Getenv("GOMAXPROCS") == "" {
		// What an agent does in a second fits into a few hundredths of one processor; a
		// second one is mostly woken for nothing, which costs more than it saves (make bench).
		runtime.GOMAXPROCS(1)
	}
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read this host's name: %w", err)
	}
	environ := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, bootIDVariable+"=") })
	cfg, err := config.LoadAgent(c.String("config"), environ, name, overrides(c))
	if err != nil {
		return err
	}
	log := newLogger(cfg)
	env, done, err := environment(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer done()
	gids, err := groupIDs(cfg.SocketGroups)
	if err != nil {
		return err
	}
	env.LastReset = lastReset(cfg, env.BootID, log)
	a := agent.New(*env)
	stop, err := serveSocket(a, cfg.Listen.Socket, gids, log)
	if err != nil {
		return err
	}
	defer stop()
	notify(log, daemon.SdNotifyReady)
	defer notify(log, daemon.SdNotifyStopping)
	if err := beforeOthers(); err != nil {
		log.Warn("runs with ordinary priority: on a busy host heartbeats may be late", "error", err)
	}
	if err := fencing.LockMemory(); err != nil {
		log.Warn("may be paged out: on a host without free memory heartbeats may be late", "error", err)
	}
	log.Info("running", "host", cfg.NodeName, "version", version, "hypervisor", cfg.Hypervisor)
	return untilStopped(ctx, a, systemd{log}, log)
}

// lastReset is why the watchdog reset this host, if it did.
func lastReset(cfg *config.Agent, bootID string, log hclog.Logger) *fencing.Note {
	note, err := fencing.LastReset(filepath.Join(cfg.DataDir, filepath.Base(defaultNote)), bootID)
	if err != nil {
		log.Warn("cannot read whether the watchdog reset this host", "error", err)
	}
	if note != nil {
		log.Warn("this host was reset by its watchdog", "reason", note.Why, "incarnation", note.Incarnation,
			"time", note.Wall, "vms", note.Covered)
	}
	return note
}

// untilStopped runs the agent until it is told to end. When that is because the
// whole host is being shut down, its VMs leave it first, as the policy says; when only
// the agent is restarted they are left alone.
func untilStopped(ctx context.Context, a *agent.Agent, manager service, log hclog.Logger) error {
	live, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	done := make(chan error, 1)
	go func() { done <- a.Run(live) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	if is := manager.Ending(live); is.down {
		log.Info("the host is being shut down; its protected VMs are dealt with as the policy says", "reboot", is.reboot)
		if err := extended(manager, func() error { return a.Drain(live, is.reboot) }); err != nil {
			log.Error("not everything could be handed over; the rest starts elsewhere when this host's lease has ended", "error", err)
		}
	}
	end()
	return <-done
}

// newLogger leaves out, unless asked to debug, what raft says several times a
// second about a host that is down: the master says it once.
func newLogger(cfg *config.Agent) hclog.Logger {
	level := hclog.LevelFromString(cfg.LogLevel)
	o := &hclog.LoggerOptions{Name: "haagent", Level: level, JSONFormat: cfg.LogFormat == "json", Output: os.Stderr}
	if level > hclog.Debug {
		o.Exclude = func(_ hclog.Level, msg string, _ ...any) bool {
			return strings.HasPrefix(msg, "failed to appendEntries to") || strings.HasPrefix(msg, "failed to heartbeat to") ||
				strings.HasPrefix(msg, "failed to contact") || strings.HasPrefix(msg, "failed to make requestVote RPC")
		}
	}
	return hclog.New(o)
}

// environment is the real world of this host. done lets go of it.
func environment(ctx context.Context, cfg *config.Agent, log hclog.Logger) (_ *agent.Env, done func(), err error) {
	store, err := agent.OpenDirectory(cfg.DataDir)
	if err != nil {
		return nil, nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, nil, err
	}
	// Storage that hangs must not keep this process from ending.
	opener := apart.NewOpener(filepath.Join(filepath.Dir(cfg.Listen.Socket), "volumes"), "haagent", "volume-io")
	env := &agent.Env{Name: cfg.NodeName, Reserve: cfg.Host.ReserveMemory, Version: version, BootID: boot,
		Run: uint64(fencing.BootClock()), OpenVolume: opener.Open, LookVolume: opener.Look, LocateVolume: volumes.Locate,
		Store: store, Now: fencing.BootClock, Wall: time.Now, Logger: log}
	local := map[string]netip.Addr{}
	for _, n := range cfg.Networks {
		local[n.Name] = n.Address
		env.Listen = append(env.Listen, peer.Address{Network: n.Name, Addr: netip.AddrPortFrom(n.Address, uint16(cfg.Listen.Port)).String()})
	}
	env.Network = peer.OS{Local: local}
	warnForeign(local, log)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var hv vmm.Hypervisor
	if cfg.Hypervisor == "embedded" {
		hv, env.Guard, err = embeddedWorld(ctx, &wg, cfg)
	} else {
		driver := libvirt.New(libvirt.Config{Socket: cfg.Libvirt.Socket, Logger: log.Named("libvirt")})
		hv = driver
		env.Passage = &agent.Passage{Dir: filepath.Join(filepath.Dir(cfg.Listen.Socket), "migration"),
			Dial: driver.Dial, Memory: driver.MemorySocket}
		env.Guard, err = guardProcess(ctx, &wg, filepath.Join(filepath.Dir(cfg.Listen.Socket), "guard"), log)
		if err == nil {
			env.Reach, err = surroundings(ctx, &wg, local, log)
		}
	}
	if err != nil {
		cancel()
		wg.Wait()
		return nil, nil, err
	}
	env.Look = looker(env.Guard, cfg.Hypervisor == "embedded", local)
	env.Hypervisor = hv
	return env, func() {
		cancel()
		wg.Wait()
		opener.Close()
		if err := hv.Close(); err != nil {
			log.Warn("cannot close the hypervisor's connection", "error", err)
		}
	}, nil
}

// pinger is what this host can reach, by ICMP and by its routing table.
type pinger struct {
	*reach.Reach
	bound time.Duration
}

func (p pinger) Bound() time.Duration { return p.bound }

// surroundings looks at what this host can reach until ctx ends.
func surroundings(ctx context.Context, wg *sync.WaitGroup, local map[string]netip.Addr, log hclog.Logger) (agent.Reach, error) {
	c := reach.DefaultConfig()
	c.Now, c.AskGateways, c.Networks, c.Log = fencing.BootClock, true, local, log.Named("reach")
	r, err := reach.New(c)
	if err != nil {
		return nil, err
	}
	wg.Go(func() {
		if err := r.Run(ctx); err != nil && ctx.Err() == nil {
			log.Warn("what this host can reach is not known any more", "error", err)
		}
	})
	return pinger{r, c.Bound()}, nil
}

// warnForeign tells of addresses that this host does not have: the agent listens
// on them all the same, because a network may come up later.
func warnForeign(local map[string]netip.Addr, log hclog.Logger) {
	own, err := net.InterfaceAddrs()
	if err != nil {
		log.Warn("cannot list this host's addresses", "error", err)
		return
	}
	for network, addr := range local {
		has := slices.ContainsFunc(own, func(a net.Addr) bool {
			p, err := netip.ParsePrefix(a.String())
			return err == nil && (p.Addr() == addr || addr.IsLoopback() && p.Contains(addr))
		})
		if !has {
			log.Warn("this host does not have the address that its configuration gives it", "network", network, "address", addr)
		}
	}
}

// embeddedWorld is the demo's: VMs that live in this process, and so does their guard.
func embeddedWorld(ctx context.Context, wg *sync.WaitGroup, cfg *config.Agent) (vmm.Hypervisor, host.Guard, error) {
	hv, err := embedded.OpenDirectory(cfg.Embedded.Directory, cfg.NodeName)
	if err != nil {
		return nil, nil, err
	}
	guard, err := fencing.OpenPrivate(func(int, uint64) bool { hv.KillAll(); return true })
	if err != nil {
		return nil, nil, err
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		guard.Watch(ctx)
	}()
	return hv, guard, nil
}

// guardProcess attaches to the guard, and starts one whenever none is alive.
func guardProcess(ctx context.Context, wg *sync.WaitGroup, path string, log hclog.Logger) (host.Guard, error) {
	guard, err := fencing.OpenShared(path)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, to start the guard from it: %w", err)
	}
	if err := keepGuard(ctx, guard, self); err != nil {
		return nil, err
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			replaceGuard(guard, self, log)
		}
	}()
	return guard, nil
}

// replaceGuard starts a guard where none is alive. One that is there and silent is
// ended first, while the lease holds: it keeps the memory and the watchdog from the
// next, and the host would be reset though its lease is good.
func replaceGuard(guard *fencing.Shared, self string, log hclog.Logger) {
	now := fencing.BootClock()
	if guard.GuardAlive(now) {
		return
	}
	if guard.Status().Deadline > now {
		switch killed, err := guard.EndSilent(now); {
		case err != nil:
			log.Error("cannot end the guard that does not answer", "error", err)
		case killed:
			log.Warn("the guard did not answer and was ended; another takes its place")
		}
	}
	if guard.InLine(now) {
		return
	}
	log.Warn("no guard answers; starting another")
	if err := guard.Launch(self); err != nil {
		log.Error("cannot start the guard", "error", err)
	}
}

// keepGuard makes sure that a guard is alive before the agent does anything.
func keepGuard(ctx context.Context, guard *fencing.Shared, self string) error {
	if guard.GuardAlive(fencing.BootClock()) {
		return nil
	}
	if err := guard.Launch(self); err != nil {
		return err
	}
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !guard.GuardAlive(fencing.BootClock()) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return errors.New("the guard was started but does not answer within 5 s: run `haagent guard` by hand to see why")
		case <-tick.C:
		}
	}
	return nil
}

// bootID identifies this boot of the machine.
func bootID() (string, error) {
	file := os.Getenv(bootIDVariable)
	if file == "" {
		file = bootIDFile
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// serveSocket serves the API for local administrators.
func serveSocket(a *agent.Agent, path string, gids []int, log hclog.Logger) (stop func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("create the socket's directory: %w", err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("another agent serves %s already", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket of an earlier agent: %w", err)
	}
	old := syscall.Umask(0o117) // 0660 from the start
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if len(gids) > 0 {
		if err := os.Chown(path, 0, gids[0]); err != nil {
			return nil, fmt.Errorf("give %s to group %d: %w", path, gids[0], err)
		}
		if len(gids) > 1 { // the kernel knows one group a file; who may speak is checked for each connection
			if err := os.Chmod(path, 0o666); err != nil {
				return nil, fmt.Errorf("open %s to its groups: %w", path, err)
			}
		}
	}
	s := api.NewServer(a, api.Options{Logger: log.Named("api"), AllowedGroups: gids, Forward: a.Forward(), Timing: a.Timing})
	srv := s.HTTPServer(s.Local())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the local API ended", "error", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			_ = srv.Close()
		}
		<-done
	}, nil
}

func groupIDs(groups []string) ([]int, error) {
	var ids []int
	for _, g := range groups {
		if n, err := strconv.Atoi(g); err == nil {
			ids = append(ids, n)
			continue
		}
		gr, err := user.LookupGroup(g)
		if err != nil {
			return nil, fmt.Errorf("socket_access: group %q: %w", g, err)
		}
		n, err := strconv.Atoi(gr.Gid)
		if err != nil {
			return nil, fmt.Errorf("socket_access: group %q has id %q: %w", g, gr.Gid, err)
		}
		ids = append(ids, n)
	}
	return ids, nil
}

// priority is the agent's nice value: what it does is little, and its host's
// leases depend on it being done in time.
const priority = -15

// beforeOthers gives every thread of this process the agent's priority; later
// ones inherit it.
func beforeOthers() error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list this process's threads: %w", err)
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, tid, priority); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("raise the priority: %w", err)
		}
	}
	return nil
}

// notify tells systemd, where it listens.
func notify(log hclog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot notify systemd", "error", err)
	}
}
