package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// DefaultBase is the directory in which labs make theirs. It must be on a file
	// system that can do O_DIRECT, since guests' disks bypass the page cache.
	DefaultBase = "/var/tmp/holdfast-lab"

	dirPrefix  = "lab-"
	keptPrefix = "kept-"
)

// Config says what lab to build. The zero value is three hosts with libvirt and
// no agent.
type Config struct {
	// Hosts is how many hosts there are, named h1, h2, ...; 3 by default, at most 60.
	Hosts int
	// Networks are the HA networks; DefaultNetworks by default.
	Networks []Network
	// Volumes is how many volumes all hosts share, for heartbeats; none by default.
	Volumes int
	// Base is the directory in which the lab makes its own; DefaultBase by default.
	Base string
	// Keep leaves the lab's files (disks, logs) where they are for a person to read.
	Keep bool
	// AgentBinary and AdmBinary are absolute paths of haagent and haadm. Without
	// AgentBinary hosts run libvirt alone.
	AgentBinary, AdmBinary string
	// Hook is the text of libvirt's hook on the hosts; by default one that calls AgentBinary.
	Hook string
	// AgentEnv is added to the agents' environment.
	AgentEnv []string
	// LogLevel is the agents'; "debug" by default.
	LogLevel string
	// Profile is the timing profile for Bootstrap; "fast" by default.
	Profile string
	// GuestBinary is the program of package integration/lab/guest, statically
	// linked. When empty, New builds it with the go command, from the module in
	// the working directory.
	GuestBinary string
	// Log receives what the lab does; silent by default.
	Log hclog.Logger
}

// Lab is a set of hosts on this machine. Its methods, and those of its hosts, may
// be called concurrently for different hosts.
type Lab struct {
	cfg     Config
	log     hclog.Logger
	dir     string
	spawner *spawner
	keeper  *part
	volumes []*Volume
	// throttles make the volumes hang for one host.
	throttles throttles
	hosts     []*Host
	judge     *Judge
	boot      bootFiles
	closing   sync.Once
	closed    error

	guestsMu sync.Mutex // guards guests
	guests   map[string]*Guest
}

// New builds a lab and switches its hosts on: when it returns, libvirt answers on
// all of them, and the agents (if there are any) were started. It sweeps up after
// crashed labs first. The error wraps ErrMissing when the machine lacks something.
func New(ctx context.Context, cfg Config) (*Lab, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if err := Check(); err != nil {
		return nil, err
	}
	if swept, err := Sweep(cfg.Base); err != nil {
		return nil, err
	} else if len(swept) > 0 {
		cfg.Log.Info("removed what crashed labs had left", "dirs", swept)
	}
	if err := os.MkdirAll(cfg.Base, 0o755); err != nil {
		return nil, err
	}
	prefix := dirPrefix
	if cfg.Keep {
		prefix = keptPrefix
	}
	dir, err := os.MkdirTemp(cfg.Base, prefix)
	if err != nil {
		return nil, err
	}
	l := &Lab{cfg: cfg, log: cfg.Log, dir: dir, spawner: newSpawner(), guests: map[string]*Guest{}, throttles: throttlesOf(dir)}
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (cfg *Config) complete() error {
	if cfg.Hosts == 0 {
		cfg.Hosts = 3
	}
	if cfg.Hosts < 1 || cfg.Hosts > 60 {
		return fmt.Errorf("a lab of %d hosts: from 1 to 60 are possible", cfg.Hosts)
	}
	if cfg.Networks == nil {
		cfg.Networks = DefaultNetworks()
	}
	for _, n := range cfg.Networks {
		if err := n.validate(); err != nil {
			return err
		}
	}
	if cfg.Base == "" {
		cfg.Base = DefaultBase
	}
	if cfg.LogLevel == "" {
		cfg.LogLevel = "debug"
	}
	if cfg.Profile == "" {
		cfg.Profile = "fast"
	}
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	for _, path := range []string{cfg.Base, cfg.AgentBinary, cfg.AdmBinary} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("lab path %q: must be absolute, since hosts see it from elsewhere", path)
		}
	}
	return nil
}

func (l *Lab) build(ctx context.Context) error {
	// Everything under the lab's directory is found by hosts under the same path.
	for _, sub := range []string{l.sharedDir(), filepath.Join(l.dir, "hosts")} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
	}
	if err := writeOwner(l.dir); err != nil {
		return err
	}
	var err error
	remove := "remove"
	if l.cfg.Keep {
		remove = "keep"
	}
	l.keeper, err = l.spawner.spawn(keeperProcess, []string{l.dir, remove}, filepath.Join(l.dir, "keeper.log"),
		&syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Setsid: true})
	if err != nil {
		return err
	}
	if err := l.createVolumes(ctx); err != nil {
		return err
	}
	if err := l.buildBridges(ctx); err != nil {
		return err
	}
	if l.boot, err = l.prepareBoot(ctx); err != nil {
		return err
	}
	l.judge = newJudge(l)
	for i := range l.cfg.Hosts {
		h, err := l.newHost(i + 1)
		if err != nil {
			return err
		}
		l.hosts = append(l.hosts, h)
	}
	l.judge.start()
	for i, h := range l.hosts {
		if i > 0 {
			if err := h.copyCapabilities(l.hosts[0]); err != nil {
				return err
			}
		}
		if err := h.PowerOn(ctx); err != nil {
			return err
		}
		if i == 0 {
			if err := h.probeCapabilities(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close switches every host off and removes all that the lab made. It may be
// called more than once.
func (l *Lab) Close() error {
	l.closing.Do(func() {
		// What hangs cannot be killed.
		if err := l.throttles.release(); err != nil {
			l.log.Error("storage still hangs", "error", err)
		}
		for _, v := range l.volumes {
			if err := v.tell(context.Background(), "thaw"); err != nil {
				l.log.Error("a volume may be frozen still", "error", err)
			}
		}
		var all sync.WaitGroup
		for _, h := range l.hosts {
			all.Go(func() { h.crash() })
		}
		all.Wait()
		if l.judge != nil {
			l.judge.stop()
		}
		if l.keeper == nil {
			l.closed = removeDir(l.dir)
			l.spawner.close()
			return
		}
		// The keeper takes the end of the connection as its order to remove the files.
		_ = l.keeper.conn.Close()
		select {
		case <-l.keeper.gone:
			l.closed = l.keeper.err
		case <-time.After(2 * removeTimeout):
			l.keeper.kill()
			l.closed = errors.New("the lab's keeper did not end")
		}
		l.spawner.close()
	})
	return l.closed
}

// Dir is the lab's directory: logs and disks are in it until Close.
func (l *Lab) Dir() string { return l.dir }

// Hosts are the hosts in order of their numbers.
func (l *Lab) Hosts() []*Host { return l.hosts }

// Host returns the host of that name (h1, h2, ...); it panics when there is none,
// since names are written in the caller's code.
func (l *Lab) Host(name string) *Host {
	for _, h := range l.hosts {
		if h.name == name {
			return h
		}
	}
	panic(fmt.Sprintf("the lab has no host %q", name))
}

// Judge watches this lab's VMs from outside.
func (l *Lab) Judge() *Judge { return l.judge }

// sharedDir is the storage that all hosts see.
func (l *Lab) sharedDir() string { return filepath.Join(l.dir, "shared") }
