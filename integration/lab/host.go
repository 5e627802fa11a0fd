package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrOff says that a host has no power, so nothing can be done in it.
var ErrOff = errors.New("host is off")

const (
	// rootPath is the search path of programs inside a host.
	rootPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// execGrace is how long output of a cancelled command is waited for.
	execGrace = 2 * time.Second
	// killTimeout is how long a program may take to be gone after SIGKILL.
	killTimeout = 10 * time.Second
)

// Host is one host of a lab. Methods that start, stop or signal something on the
// same host are called one after the other.
type Host struct {
	lab    *Lab
	name   string
	number int
	dir    string // what the host keeps while it is off

	mu      sync.Mutex      // guards what follows; never held over I/O
	init    *part           // the host's first process; nil while it is off
	cuts    map[string]bool // networks whose cable is pulled
	hanging bool            // its I/O to volumes hangs
}

// private are the directories that belong to each host alone.
var private = []string{
	"/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt",
	"/etc/haagent", "/var/lib/haagent", "/var/log/haagent",
}

func (l *Lab) newHost(number int) (*Host, error) {
	name := "h" + strconv.Itoa(number)
	h := &Host{lab: l, name: name, number: number, dir: filepath.Join(l.dir, "hosts", name), cuts: map[string]bool{}}
	for _, p := range private {
		if err := os.MkdirAll(h.path(p), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(h.logDir(), 0o755); err != nil {
		return nil, err
	}
	if err := h.configureLibvirt(); err != nil {
		return nil, err
	}
	if l.cfg.AgentBinary != "" {
		if err := h.configureAgent(); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Name is h1, h2, ...: also the host name inside, and the agent's node name.
func (h *Host) Name() string { return h.name }

// Address is the host's address on a network, which must exist.
func (h *Host) Address(network string) netip.Addr {
	for _, n := range h.lab.cfg.Networks {
		if n.Name == network {
			return n.address(h.number)
		}
	}
	panic(fmt.Sprintf("the lab has no network %q", network))
}

// path is where the machine keeps one of the host's private directories or files.
func (h *Host) path(inside string) string { return filepath.Join(h.dir, "disk", inside) }

func (h *Host) logDir() string { return filepath.Join(h.dir, "log") }

func (h *Host) bootIDFile() string { return filepath.Join(h.dir, "boot_id") }

// On reports whether the host has power.
func (h *Host) On() bool {
	_, ok := h.initPID()
	return ok
}

func (h *Host) initPID() (pid int, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil || !h.init.alive() {
		return 0, false
	}
	return h.init.pid(), true
}

func errOff(h *Host) error { return fmt.Errorf("%s: %w", h.name, ErrOff) }

// PowerOn boots the host: the disks of before, a new boot ID, libvirtd, and the
// agent if the lab has one. It returns when libvirt answers; the agent may still
// be starting. Nothing happens when the host is on.
func (h *Host) PowerOn(ctx context.Context) error {
	if h.On() {
		return nil
	}
	if err := os.WriteFile(h.bootIDFile(), []byte(randomUUID()+"\n"), 0o644); err != nil {
		return err
	}
	p, err := h.lab.spawner.spawn(hostProcess, []string{h.lab.dir, h.name}, filepath.Join(h.logDir(), "init.log"), &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL, Setsid: true,
	})
	if err != nil {
		return fmt.Errorf("power on %s: %w", h.name, err)
	}
	h.mu.Lock()
	h.init = p
	h.mu.Unlock()

	boot := func() error {
		if len(h.lab.volumes) > 0 {
			if err := h.lab.throttles.of(h.name).enter(p.pid()); err != nil {
				return err
			}
		}
		v := view{Hostname: h.name, BootID: h.bootIDFile(), Private: map[string]string{}, Volumes: h.lab.mounts()}
		for _, dir := range private {
			v.Private[dir] = h.path(dir)
		}
		if _, err := p.ask(ctx, request{Op: "view", View: &v}); err != nil {
			return err
		}
		if err := h.plug(ctx); err != nil {
			return err
		}
		if err := h.startLibvirt(ctx); err != nil {
			return err
		}
		if h.lab.cfg.AgentBinary == "" {
			return nil
		}
		return h.StartAgent(ctx)
	}
	if err := boot(); err != nil {
		h.crash()
		return fmt.Errorf("power on %s: %w", h.name, err)
	}
	h.lab.log.Info("host is on", "host", h.name, "pid", p.pid())
	return nil
}

// PowerOff takes the host's power away and returns the moment at which it did:
// the cables go dead, then one signal kills everything in it. When PowerOff
// returns, no process of the host exists. What hangs in storage cannot be killed:
// a host whose own storage hangs is released first, so that its last writes land;
// a frozen volume has to be thawed before.
func (h *Host) PowerOff(ctx context.Context) (time.Time, error) {
	if !h.On() {
		return time.Time{}, errOff(h)
	}
	at := time.Now()
	var script strings.Builder
	for _, n := range h.lab.cfg.Networks {
		fmt.Fprintf(&script, "link set %s down\n", h.cable(n))
	}
	err := h.lab.ip(ctx, script.String())
	h.crash()
	h.lab.log.Info("host lost power", "host", h.name)
	return at, err
}

// crash kills the host's first process, and so the host.
func (h *Host) crash() {
	h.mu.Lock()
	p := h.init
	h.init = nil
	hung := h.hanging
	h.hanging = false
	h.mu.Unlock()
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill() // an error means that it has ended
	if hung {
		if err := h.lab.throttles.of(h.name).release(); err != nil {
			h.lab.log.Error("the host's storage still hangs", "host", h.name, "error", err)
		}
	}
	p.kill()
}

// first is the host's first process, to ask something of.
func (h *Host) first() (*part, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil || !h.init.alive() {
		return nil, errOff(h)
	}
	return h.init, nil
}

// startProgram starts a program that stays until it is killed; with restart it is
// started again when it ends. Its output goes to the file NAME.log among the
// host's logs.
func (h *Host) startProgram(ctx context.Context, name string, argv, env []string, restart bool) error {
	p, err := h.first()
	if err != nil {
		return err
	}
	_, err = p.ask(ctx, request{Op: "start", Name: name, Argv: argv, Env: append([]string{rootPath}, env...),
		Log: filepath.Join(h.logDir(), name+".log"), Restart: restart})
	return err
}

// signalProgram sends a signal to a program that startProgram started.
func (h *Host) signalProgram(ctx context.Context, name string, sig syscall.Signal) error {
	p, err := h.first()
	if err != nil {
		return err
	}
	_, err = p.ask(ctx, request{Op: "signal", Name: name, Signal: int(sig)})
	return err
}

// killProgram kills a program for good and waits until it is gone.
func (h *Host) killProgram(ctx context.Context, name string) error {
	p, err := h.first()
	if err != nil {
		return err
	}
	if _, err := p.ask(ctx, request{Op: "stop", Name: name}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	return poll(ctx, func() error {
		runs, err := h.programRuns(ctx, name)
		if err != nil {
			return permanent{err}
		}
		if runs {
			return fmt.Errorf("%s on %s is still there", name, h.name)
		}
		return nil
	})
}

// programRuns reports whether the program of that name has not ended.
func (h *Host) programRuns(ctx context.Context, name string) (bool, error) {
	running, err := h.programs(ctx)
	_, ok := running[name]
	return ok, err
}

// programPID is a program's number in the host; 0 while it does not run.
func (h *Host) programPID(ctx context.Context, name string) (int, error) {
	running, err := h.programs(ctx)
	return running[name], err
}

// programs are those that were started and have not ended, as in reply.
func (h *Host) programs(ctx context.Context) (map[string]int, error) {
	p, err := h.first()
	if err != nil {
		return nil, err
	}
	answer, err := p.ask(ctx, request{Op: "list"})
	return answer.Running, err
}

// Exec runs a command inside the host and returns its standard output. The error
// of a command that fails holds what it wrote to standard error, and wraps
// *exec.ExitError. When ctx ends the command is killed.
func (h *Host) Exec(ctx context.Context, argv ...string) (string, error) {
	cmd, err := h.Command(ctx, argv...)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(err, ctx.Err())
		}
		return stdout.String(), fmt.Errorf("%s: %s: %w: %s", h.name, strings.Join(argv, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// Command prepares a command to run inside the host, for callers that want to
// read its output while it runs.
func (h *Host) Command(ctx context.Context, argv ...string) (*exec.Cmd, error) {
	pid, ok := h.initPID()
	if !ok {
		return nil, errOff(h)
	}
	nsenter, err := findProgram("nsenter")
	if err != nil {
		return nil, err
	}
	args := append([]string{nsenter, "-t", strconv.Itoa(pid), "-m", "-u", "-i", "-n", "-p", "--"}, argv...)
	if len(h.lab.volumes) > 0 {
		args = h.lab.throttles.of(h.name).wrap(args)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), rootPath)
	// nsenter forks to enter the PID namespace, so the group is what must be killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = execGrace
	return cmd, nil
}

// Log returns the last lines of one of the host's logs: init, libvirtd or haagent.
func (h *Host) Log(name string, lines int) string {
	text, err := os.ReadFile(filepath.Join(h.logDir(), name+".log"))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
