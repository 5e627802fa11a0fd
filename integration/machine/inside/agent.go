package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/agent"
	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/reach"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/storagehb/apart"
)

const (
	guardPath       = "/run/haagent/guard"
	socketPath      = "/run/haagent/admin.sock"
	dataDir         = "/var/lib/haagent"
	notePath        = "/var/lib/haagent/last-reset.json"
	watchdogPath    = "/dev/watchdog0"
	watchdogTimeout = 3 * time.Second // of the profile "standard"
)

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// address is this machine's, as the kernel's command line gives it to init.
func address() (netip.Addr, error) {
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find the network: %w", err)
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read the addresses of eth0: %w", err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("eth0 has no address")
}

// runAgent is `haagent agent` with processes for VMs.
func runAgent([]string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read this machine's name: %w", err)
	}
	addr, err := address()
	if err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "agent", Level: hclog.Info, Output: os.Stderr})
	if note, err := fencing.LastReset(notePath, boot); err != nil {
		log.Warn("cannot read why this machine was reset", "error", err)
	} else if note != nil {
		log.Warn("this machine was reset by its watchdog", "reason", note.String())
	}
	store, err := agent.OpenDirectory(dataDir)
	if err != nil {
		return err
	}
	guard, err := fencing.OpenShared(guardPath)
	if err != nil {
		return err
	}
	go keepGuard(ctx, guard, log)
	around, err := surroundings(ctx, addr, log)
	if err != nil {
		return err
	}
	volumes := apart.NewOpener(filepath.Join(filepath.Dir(socketPath), "volumes"), "inside", "volume-io")
	defer volumes.Close()
	a := agent.New(agent.Env{Name: name, Listen: []peer.Address{{Network: "lan", Addr: netip.AddrPortFrom(addr, 7300).String()}}, Version: "machine",
		BootID: boot, Run: uint64(fencing.BootClock()), Network: peer.OS{Local: map[string]netip.Addr{"lan": addr}},
		OpenVolume: volumes.Open, LookVolume: volumes.Look, Reach: around,
		Hypervisor: processes{dir: filepath.Join(filepath.Dir(dataDir), "domains")}, Guard: guard, Store: store,
		Now: fencing.BootClock, Wall: time.Now, Logger: log})
	if err := os.Remove(socketPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the socket of an earlier agent: %w", err)
	}
	l, err := net.Listen("unix", socketPath)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s := api.NewServer(a, api.Options{Logger: log.Named("api"), Forward: a.Forward(), Timing: a.Timing})
	srv := s.HTTPServer(s.Local())
	defer srv.Close() //nolint:errcheck // the process ends with it
	go func() { _ = srv.Serve(l) }()
	return a.Run(ctx)
}

// volumeIO reads and writes a heartbeat volume for the agent, as `haagent volume-io` does.
func volumeIO(args []string) error { return apart.Serve(args[0]) }

// pinger is what this machine can reach, as in `haagent agent`.
type pinger struct {
	*reach.Reach
	bound time.Duration
}

func (p pinger) Bound() time.Duration { return p.bound }

func surroundings(ctx context.Context, addr netip.Addr, log hclog.Logger) (agent.Reach, error) {
	c := reach.DefaultConfig()
	c.Now, c.AskGateways, c.Networks, c.Log = fencing.BootClock, true, map[string]netip.Addr{"lan": addr}, log.Named("reach")
	r, err := reach.New(c)
	if err != nil {
		return nil, err
	}
	go func() {
		if err := r.Run(ctx); err != nil && ctx.Err() == nil {
			log.Warn("what this machine can reach is not known any more", "error", err)
		}
	}()
	return pinger{r, c.Bound()}, nil
}

// keepGuard replaces a guard that is silent, as `haagent agent` does.
func keepGuard(ctx context.Context, guard *fencing.Shared, log hclog.Logger) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := fencing.BootClock()
		if guard.GuardAlive(now) {
			continue
		}
		if guard.Status().Deadline > now {
			if killed, err := guard.EndSilent(now); killed || err != nil {
				log.Warn("the guard did not answer and was ended", "error", err)
			}
		}
	}
}
