package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Machine is one host.
type Machine struct {
	Name   string
	number int
	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
	qmp    *monitor
	hand   net.Conn
	heard  chan struct{} // closed when the hand's reader has ended

	mu      sync.Mutex // guards what follows
	next    uint64
	waiting map[uint64]chan answer
	boots   []string // boot ids, oldest first
}

type answer struct {
	ID   uint64 `json:"id"`
	Boot string `json:"boot"`
	Code int    `json:"code"`
	Out  string `json:"out"`
}

// boot starts the machine. Its console is in dir/console.
func boot(ctx context.Context, n int, dir string, f *files, shared, volume string, h *hub) (*Machine, error) {
	m := &Machine{Name: fmt.Sprintf("h%d", n), number: n, dir: dir, exited: make(chan struct{}), heard: make(chan struct{}), waiting: map[uint64]chan answer{}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", m.Name, err)
	}
	if err := makeDisk(ctx, m.path("disk"), 128, ""); err != nil {
		return nil, err
	}
	if err := h.plug(m.Name, m.path("lan")); err != nil {
		return nil, err
	}
	drive := func(id, file, more string) []string {
		return []string{"-drive", "if=none,format=raw,id=" + id + ",file=" + file + more, "-device", "virtio-blk-pci,drive=" + id + map[bool]string{true: ",share-rw=on"}[id != "disk"]}
	}
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "256",
		"-kernel", f.kernel, "-initrd", f.initramfs,
		"-append", fmt.Sprintf("console=ttyS0 loglevel=6 no_timer_check mitigations=off panic=1 tsc=unstable clocksource=hpet host=%s addr=10.0.0.%d", m.Name, n),
		"-serial", "file:" + m.path("console"), "-qmp", "unix:" + m.path("qmp") + ",server=on,wait=off",
		"-device", "i6300esb", "-action", "watchdog=reset",
		"-device", "virtio-rng-pci",
		"-netdev", "stream,id=lan,server=off,addr.type=unix,addr.path=" + m.path("lan"), "-device", fmt.Sprintf("virtio-net-pci,netdev=lan,mac=52:54:00:00:00:%02x", n),
		"-device", "virtio-serial-pci", "-chardev", "socket,id=hand,server=on,wait=off,path=" + m.path("hand"), "-device", "virtserialport,chardev=hand"}
	args = append(args, drive("programs", f.programs, ",readonly=on")...)
	args = append(args, drive("disk", m.path("disk"), ",cache=unsafe")...)
	args = append(args, drive(SharedDisk, shared, ",cache=none,file.locking=off")...)
	args = append(args, drive(HeartbeatDisk, volume, ",cache=none,file.locking=off")...)
	m.cmd = exec.Command("qemu-system-x86_64", args...)
	// A session of its own is what the scheduler gives a fair share to, as to any other work on this computer.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	log, err := os.Create(m.path("qemu.log"))
	if err != nil {
		return nil, fmt.Errorf("create the log of %s: %w", m.Name, err)
	}
	defer log.Close() // the machine has its own descriptor
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", m.Name, err)
	}
	go func() {
		_ = m.cmd.Wait()
		close(m.exited)
	}()
	if err := m.connect(); err != nil {
		text, _ := os.ReadFile(m.path("qemu.log")) // whatever there is
		return nil, errors.Join(fmt.Errorf("start %s: %w: %s", m.Name, err, text), m.stop())
	}
	return m, nil
}

func (m *Machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *Machine) connect() (err error) {
	if m.qmp, err = dialMonitor(m.path("qmp")); err != nil {
		return err
	}
	if m.hand, err = dialSoon(m.path("hand")); err != nil {
		return err
	}
	go func() {
		defer close(m.heard)
		lines := bufio.NewScanner(m.hand)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			text := lines.Text()
			// A reset cuts a line short; the next boot's first comes behind it.
			if i := strings.LastIndex(text, `{"id":`); i > 0 {
				text = text[i:]
			}
			var a answer
			if json.Unmarshal([]byte(text), &a) != nil {
				continue
			}
			m.mu.Lock()
			if a.Boot != "" {
				m.boots = append(m.boots, a.Boot)
			}
			if c := m.waiting[a.ID]; c != nil {
				c <- a
				delete(m.waiting, a.ID)
			}
			m.mu.Unlock()
		}
	}()
	return nil
}

// Boots is how often the machine has come up.
func (m *Machine) Boots() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.boots)
}

// ErrGone says that a machine did not answer a command: it was reset, or hangs.
var ErrGone = errors.New("the machine does not answer")

// Run runs a command in the machine and returns what it printed. The error is
// ErrGone, or says that the command failed.
func (m *Machine) Run(limit time.Duration, argv ...string) (string, error) {
	c := make(chan answer, 1)
	m.mu.Lock()
	m.next++
	id := m.next
	m.waiting[id] = c
	m.mu.Unlock()
	b, err := json.Marshal(map[string]any{"id": id, "argv": argv, "seconds": int(limit / time.Second)})
	if err != nil {
		return "", fmt.Errorf("encode a command: %w", err)
	}
	if _, err := m.hand.Write(append(b, '\n')); err != nil {
		return "", fmt.Errorf("%s: %q: %w: %w", m.Name, argv, ErrGone, err)
	}
	t := time.NewTimer(limit + 2*time.Second)
	defer t.Stop()
	select {
	case a := <-c:
		if a.Code != 0 {
			return a.Out, fmt.Errorf("%s: %q ended with %d: %s", m.Name, argv, a.Code, strings.TrimSpace(a.Out))
		}
		return a.Out, nil
	case <-t.C:
	case <-m.exited:
	}
	m.mu.Lock()
	delete(m.waiting, id)
	m.mu.Unlock()
	return "", fmt.Errorf("%s: %q: %w", m.Name, argv, ErrGone)
}

// Sh runs a line of shell.
func (m *Machine) Sh(limit time.Duration, format string, args ...any) (string, error) {
	return m.Run(limit, "/bin/sh", "-c", fmt.Sprintf(format, args...))
}

// Resets lists the moments from a time on at which the machine was reset, by its
// watchdog or otherwise.
func (m *Machine) Resets(from time.Time) []time.Time { return m.qmp.since("RESET", from) }

// Fired lists the moments from a time on at which its watchdog fired.
func (m *Machine) Fired(from time.Time) []time.Time { return m.qmp.since("WATCHDOG", from) }

// The disks that all machines share.
const (
	SharedDisk    = "shared"    // of the VMs
	HeartbeatDisk = "heartbeat" // the heartbeat volume
)

// Stall lets what the machine reads and writes on a shared disk take for ever, or
// no longer than it takes. At most one I/O gets through after it.
func (m *Machine) Stall(disk string, stalled bool) error {
	bps := map[bool]int{true: 1}[stalled]
	return m.qmp.do("block_set_io_throttle", map[string]any{"device": disk, "bps": bps, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0})
}

// Console is the last lines of the machine's console.
func (m *Machine) Console(lines int) string {
	b, err := os.ReadFile(m.path("console"))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// stop switches the machine off and waits until nothing of it runs.
func (m *Machine) stop() error {
	_ = m.cmd.Process.Kill() // it may have ended
	select {
	case <-m.exited:
	case <-time.After(10 * time.Second):
		return fmt.Errorf("%s does not end", m.Name)
	}
	for _, c := range []net.Conn{m.hand} {
		if c != nil {
			_ = c.Close() // the other end is gone
			<-m.heard
		}
	}
	if m.qmp != nil {
		_ = m.qmp.conn.Close() // the other end is gone
		<-m.qmp.done
	}
	return nil
}
