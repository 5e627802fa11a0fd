package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// processes is a hypervisor whose VMs are processes `inside vm UUID`, which go on
// when the agent ends. It remembers nothing: definitions are files, and what runs
// is looked up in /proc. A VM that is stopped by SIGSTOP is paused.
type processes struct{ dir string }

var _ vmm.Hypervisor = processes{}

// process is one VM's.
type process struct {
	pid    int
	start  uint64
	paused bool
}

// find looks for the VM's process: for any thread of it, because one that was killed
// while a thread waits for its disk looks ended from outside and is not.
func find(uuid string) (process, bool) {
	threads, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/cmdline")
	if err != nil {
		return process{}, false
	}
	for _, file := range threads {
		line, err := os.ReadFile(file)
		if err != nil || !strings.HasSuffix(string(line), "\x00vm\x00"+uuid+"\x00") {
			continue
		}
		top := filepath.Dir(filepath.Dir(filepath.Dir(file)))
		stat, err := os.ReadFile(filepath.Join(top, "stat"))
		if err != nil {
			continue
		}
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(f) < 20 {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(top))
		if err != nil {
			continue
		}
		if start, err := strconv.ParseUint(f[19], 10, 64); err == nil {
			return process{pid: pid, start: start, paused: f[0] == "T"}, true
		}
	}
	return process{}, false
}

func (h processes) file(uuid string) string { return filepath.Join(h.dir, uuid+".xml") }

// Capacity invents a machine with room for all.
func (h processes) Capacity(context.Context) (vmm.Capacity, error) {
	return vmm.Capacity{CPUs: 4, MHz: 1000, Memory: 64 << 30, MemoryFree: 64 << 30, Hypervisor: "processes"}, nil
}

// Domains lists the definitions.
func (h processes) Domains(context.Context) ([]vmm.Domain, error) {
	files, err := filepath.Glob(filepath.Join(h.dir, "*.xml"))
	if err != nil {
		return nil, fmt.Errorf("list the definitions: %w", err)
	}
	var all []vmm.Domain
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read a definition: %w", err)
		}
		def, err := domainxml.Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("read the definition %s: %w", file, err)
		}
		hash := sha256.Sum256(text)
		d := vmm.Domain{UUID: def.UUID, Name: def.Name, State: vmm.Stopped, Reason: vmm.ReasonUnknown, Persistent: true, VCPUs: 1, Memory: 1 << 30, XMLHash: hex.EncodeToString(hash[:8])}
		if p, ok := find(def.UUID); ok {
			d.State, d.PID, d.StartTime = vmm.Running, p.pid, p.start
			if p.paused {
				d.State = vmm.Paused
			}
		}
		all = append(all, d)
	}
	return all, nil
}

// Offer leaves open what there is: the VMs ask for nothing.
func (h processes) Offer(context.Context) (vmm.Offer, error) { return vmm.Offer{}, nil }

// Usage knows nothing of what the processes take.
func (h processes) Usage(context.Context) (map[string]vmm.Use, error) { return nil, nil }

// PingGuest finds no agent in any guest.
func (h processes) PingGuest(context.Context, string) error {
	return errors.New("the guest has no agent")
}

// XML reads the definition.
func (h processes) XML(_ context.Context, uuid string) (string, error) {
	b, err := os.ReadFile(h.file(uuid))
	if errors.Is(err, os.ErrNotExist) {
		return "", vmm.ErrNoDomain
	} else if err != nil {
		return "", fmt.Errorf("read the definition of %s: %w", uuid, err)
	}
	return string(b), nil
}

// StartPaused starts the process, which stops itself before it touches its disk.
func (h processes) StartPaused(ctx context.Context, xml string) (vmm.Process, error) {
	def, err := domainxml.Parse(xml)
	if err != nil {
		return vmm.Process{}, fmt.Errorf("%w: %w", vmm.ErrBadXML, err)
	}
	if _, ok := find(def.UUID); ok {
		return vmm.Process{}, vmm.ErrRunning
	}
	if err := h.define(def.UUID, xml); err != nil {
		return vmm.Process{}, fmt.Errorf("define %s: %w", def.Name, err)
	}
	cmd := exec.Command("/usr/bin/inside", "vm", def.UUID)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return vmm.Process{}, fmt.Errorf("start %s: %w", def.Name, err)
	}
	go func() { _ = cmd.Wait() }()
	for ctx.Err() == nil {
		if p, ok := find(def.UUID); ok && p.paused {
			return vmm.Process{PID: p.pid, StartTime: p.start}, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	kctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return vmm.Process{}, errors.Join(fmt.Errorf("start %s: %w", def.Name, ctx.Err()), h.Kill(kctx, def.UUID))
}

// define keeps a definition so that it is there, whole, after a reset at any moment.
func (h processes) define(uuid, xml string) error {
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return err
	}
	tmp := h.file(uuid) + ".new"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteString(xml)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, h.file(uuid))
}

func (h processes) signal(uuid string, s syscall.Signal) error {
	p, ok := find(uuid)
	if !ok {
		return vmm.ErrNoDomain
	}
	if err := syscall.Kill(p.pid, s); err != nil {
		return fmt.Errorf("signal %s: %w", uuid, err)
	}
	return nil
}

// Resume lets it run.
func (h processes) Resume(_ context.Context, uuid string) error {
	return h.signal(uuid, syscall.SIGCONT)
}

// Migrate refuses: a process cannot leave its machine.
func (h processes) Migrate(ctx context.Context, uuid string, _ vmm.Destination) error {
	if _, err := h.XML(ctx, uuid); err != nil {
		return err
	}
	return errors.New("a process cannot be migrated")
}

// AbortMigration finds none.
func (h processes) AbortMigration(context.Context, string) error { return nil }

// Shutdown asks it to end.
func (h processes) Shutdown(_ context.Context, uuid string) error {
	return h.signal(uuid, syscall.SIGTERM)
}

// Kill ends it and looks until it is gone.
func (h processes) Kill(ctx context.Context, uuid string) error {
	for {
		p, ok := find(uuid)
		if !ok {
			return nil
		}
		_ = syscall.Kill(p.pid, syscall.SIGKILL) // looked at again
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill %s: %w: %w", uuid, vmm.ErrNotProven, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// SetAutostart has nothing to set.
func (h processes) SetAutostart(context.Context, string, bool) error { return nil }

// Subscribe looks three times a second.
func (h processes) Subscribe(ctx context.Context) (<-chan vmm.Event, error) {
	events := make(chan vmm.Event)
	go func() {
		defer close(events)
		last := map[string]vmm.State{}
		for {
			all, err := h.Domains(ctx)
			for _, d := range all {
				if err == nil && last[d.UUID] != d.State {
					last[d.UUID] = d.State
					select {
					case events <- vmm.Event{UUID: d.UUID, Name: d.Name, Kind: vmm.EventStarted}:
					case <-ctx.Done():
						return
					}
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
	return events, nil
}

// Close has nothing to close.
func (h processes) Close() error { return nil }
