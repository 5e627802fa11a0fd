package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// qemu is one process of a VM, found in /proc.
type qemu struct {
	vmm.Process
	uuid string // canonical
	name string // of the guest, as libvirt named it to QEMU; may be empty
}

// scan lists every QEMU process that libvirt ever started here, also those that
// libvirtd has lost. Processes that end meanwhile are left out. An error means
// that the list may lack one: it proves nothing.
func scan(proc string) ([]qemu, error) {
	dir, err := os.Open(proc)
	if err != nil {
		return nil, fmt.Errorf("look for VM processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("look for VM processes: %w", err)
	}
	var list []qemu
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		q, err := inspect(proc, pid)
		if err != nil {
			return nil, fmt.Errorf("look for VM processes: %w", err)
		}
		if q != nil {
			list = append(list, *q)
		}
	}
	return list, nil
}

// scanFor lists the processes of one VM.
func scanFor(proc, uuid string) ([]qemu, error) {
	all, err := scan(proc)
	var list []qemu
	for _, q := range all {
		if q.uuid == uuid {
			list = append(list, q)
		}
	}
	return list, err
}

// inspect says which VM a process is; nil when it is none or has ended.
func inspect(proc string, pid int) (*qemu, error) {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	q, err := read(dir, pid)
	if err != nil && hasEnded(err) {
		return nil, nil
	}
	return q, err
}

func read(dir string, pid int) (*qemu, error) {
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return nil, err
	}
	if len(cmdline) == 0 {
		if cmdline, err = survivor(dir); err != nil {
			return nil, err
		}
	}
	uuid, name, ok := parseCommandLine(cmdline)
	if !ok {
		return nil, nil
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return nil, err
	}
	_, start, err := parseStat(stat)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &qemu{Process: vmm.Process{PID: pid, StartTime: start}, uuid: uuid, name: name}, nil
}

// survivor returns the command line of a process whose first thread has ended
// while another one lives on: killed, and stuck in the kernel with a write to its
// disk, say. The process itself then shows no command line, as if it had ended.
// Kernel threads, which have none either, are not zombies.
func survivor(dir string) ([]byte, error) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return nil, err
	}
	if state, _, err := parseStat(stat); err != nil || state != 'Z' {
		return nil, err
	}
	threads, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return nil, err
	}
	for _, thread := range threads {
		cmdline, err := os.ReadFile(filepath.Join(dir, "task", thread.Name(), "cmdline"))
		if err != nil && !hasEnded(err) {
			return nil, err
		}
		if len(cmdline) > 0 {
			return cmdline, nil
		}
	}
	return nil, nil
}

func hasEnded(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// parseCommandLine recognises QEMU as libvirt starts it, whatever the emulator's
// path: with -name, with -S (stopped until libvirt says go) and with -uuid.
func parseCommandLine(cmdline []byte) (uuid, name string, ok bool) {
	args := bytes.Split(cmdline, []byte{0})
	stopped, named := false, false
	for i, arg := range args {
		next := ""
		if i+1 < len(args) {
			next = string(args[i+1])
		}
		switch string(arg) {
		case "-S":
			stopped = true
		case "-name":
			named = true
			first, _, _ := strings.Cut(next, ",")
			name = strings.TrimPrefix(first, "guest=")
		case "-uuid":
			uuid = next
		}
	}
	canonical, err := domainxml.CanonicalUUID(uuid)
	return canonical, name, err == nil && stopped && named
}

// parseStat reads fields 3 (state) and 22 (start time) of /proc/PID/stat. The
// second field, the name in parentheses, may hold anything, parentheses and
// spaces too.
func parseStat(stat []byte) (state byte, start uint64, err error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, 0, fmt.Errorf("stat is %q", stat)
	}
	fields := strings.Fields(string(stat[end+1:])) // from field 3 on
	const startField = 22 - 3
	if len(fields) <= startField {
		return 0, 0, fmt.Errorf("stat has %d fields after the name", len(fields))
	}
	start, err = strconv.ParseUint(fields[startField], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("start time: %w", err)
	}
	return fields[0][0], start, nil
}

// handle holds on to one process: its number cannot be given to another one that
// the handle would then mean.
type handle struct {
	qemu
	fd int
}

// hold opens a process that scan found. nil without error: it has ended, or its
// number is another process's by now.
func hold(proc string, q qemu) (*handle, error) {
	fd, err := unix.PidfdOpen(q.PID, 0)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil, nil
		}
		return nil, fmt.Errorf("open process %d: %w", q.PID, err)
	}
	again, err := inspect(proc, q.PID)
	if err != nil || again == nil || *again != q {
		_ = unix.Close(fd)
		return nil, err
	}
	return &handle{qemu: q, fd: fd}, nil
}

func (h *handle) close() { _ = unix.Close(h.fd) }

// kill sends SIGKILL to this very process.
func (h *handle) kill() error {
	err := unix.PidfdSendSignal(h.fd, unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", h.PID, err)
	}
	return nil
}

// pollSlice is how long one poll waits before it looks at the context again; the
// end of the process itself wakes it at once.
const pollSlice = 20 * time.Millisecond

// wait returns nil when the process has ended: all its threads, and with them its
// I/O. Else the error of ctx.
func (h *handle) wait(ctx context.Context) error {
	for {
		fds := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(pollSlice/time.Millisecond))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for process %d: %w", h.PID, err)
		case n > 0 && fds[0].Revents&unix.POLLIN != 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}
