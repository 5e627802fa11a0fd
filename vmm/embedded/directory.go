package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/renameio/v2"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// Directory is one virtual host whose agents are processes of their own, for the
// demo without QEMU. What hosts share is a directory:
//
//	DIR/HOST/NAME.xml  a definition that HOST knows
//	DIR/HOST/NAME.do   what a person does to it: start, shutdown, destroy or crash; taken at the next Domains
//	DIR/HOST/*.error   why a file of that name was not taken
//	DIR/disks/UUID     the disk of a VM, to which it appends while it runs (see Write)
//
// Its VMs are goroutines of this process and end with it. Definitions stay.
// Autostart is off in the beginning.
type Directory struct {
	*Host
	dir  string // DIR
	refs sync.WaitGroup

	mu      sync.Mutex              // guards everything below; never held while waiting
	writers map[string][]*diskWrite // by UUID, those that may still write
	loaded  map[string]string       // file name → text that was taken from it
}

var _ vmm.Hypervisor = (*Directory)(nil)

// OpenDirectory makes the host of that name in dir, with the definitions that are
// there. Close ends its VMs.
func OpenDirectory(dir, host string) (*Directory, error) {
	if host == "" || host == "disks" || strings.ContainsAny(host, "/\x00") || strings.HasPrefix(host, ".") {
		return nil, fmt.Errorf("open embedded hypervisor: host name %q cannot name a directory beside %q", host, "disks")
	}
	for _, d := range []string{filepath.Join(dir, "disks"), filepath.Join(dir, host)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("open embedded hypervisor: %w", err)
		}
	}
	w := NewWorld()
	h, err := NewHost(w, HostConfig{Name: host})
	if err != nil {
		return nil, err
	}
	d := &Directory{Host: h, dir: dir, writers: make(map[string][]*diskWrite), loaded: make(map[string]string)}
	w.observers = append(w.observers, d.observe) // before the first look, which may find a VM that a person starts
	if err := d.scan(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Domains lists every domain by name, after taking in new definition files and
// what persons did. A file that cannot be taken is left out and explained in
// FILE.error: one broken file must not hide the other VMs.
func (d *Directory) Domains(ctx context.Context) ([]vmm.Domain, error) {
	if err := d.scan(); err != nil {
		return nil, err
	}
	return d.Host.Domains(ctx)
}

// StartPaused also keeps the definition as a file.
func (d *Directory) StartPaused(ctx context.Context, xml string) (vmm.Process, error) {
	def, err := domainxml.Parse(xml)
	if err != nil {
		return vmm.Process{}, fmt.Errorf("start domain: %w: %w", vmm.ErrBadXML, err)
	}
	p, err := d.Host.StartPaused(ctx, xml)
	if err != nil {
		return p, err
	}
	if err := d.save(def, xml); err != nil {
		if killed := d.Kill(ctx, def.UUID); killed != nil {
			err = errors.Join(err, killed)
		}
		return vmm.Process{}, fmt.Errorf("start domain %s: %w", def.Name, err)
	}
	return p, nil
}

// Kill returns nil only when the VM does not write to its disk any more.
func (d *Directory) Kill(ctx context.Context, uuid string) error {
	if err := d.Host.Kill(ctx, uuid); err != nil {
		return err
	}
	d.mu.Lock()
	writers := append([]*diskWrite(nil), d.writers[canonical(uuid)]...)
	d.mu.Unlock()
	for _, w := range writers {
		select {
		case <-w.stop: // not the run of a later start
		default:
			continue
		}
		select {
		case <-w.done:
		case <-ctx.Done():
			return fmt.Errorf("kill %s: %w: a write to its disk is not done: %w", uuid, vmm.ErrNotProven, ctx.Err())
		}
	}
	return nil
}

// Close ends every VM of this host, as the end of the process would, and waits
// until none writes.
func (d *Directory) Close() error {
	err := d.Host.Close()
	d.KillAll()
	d.refs.Wait()
	return err
}

func (d *Directory) save(def domainxml.Definition, xml string) error {
	file := filepath.Join(d.dir, d.Name(), def.Name+".xml")
	d.mu.Lock()
	known := d.loaded[file] == xml
	d.loaded[file] = xml
	d.mu.Unlock()
	if known {
		return nil
	}
	if err := renameio.WriteFile(file, []byte(xml), 0o644); err != nil {
		return fmt.Errorf("keep definition: %w", err)
	}
	return nil
}

// scan takes in definition files that are new or changed, and what persons did.
func (d *Directory) scan() error {
	dir := filepath.Join(d.dir, d.Name())
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read definitions of host %s: %w", d.Name(), err)
	}
	for _, suffix := range []string{".xml", ".do"} { // a person may act on what is new
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), suffix)
			if !ok || strings.HasPrefix(name, ".") {
				continue
			}
			file := filepath.Join(dir, e.Name())
			take := d.takeDefinition
			if suffix == ".do" {
				take = d.takeDeed
			}
			if err := d.explain(file, take(file, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// explain keeps why a file was not taken, beside it.
func (d *Directory) explain(file string, refused error) error {
	var err error
	if refused == nil || errors.Is(refused, fs.ErrNotExist) {
		err = os.Remove(file + ".error")
	} else {
		err = os.WriteFile(file+".error", []byte(refused.Error()+"\n"), 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("explain %s: %w", file, err)
	}
	return nil
}

func (d *Directory) takeDefinition(file, _ string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	d.mu.Lock()
	known := d.loaded[file] == string(text)
	d.mu.Unlock()
	if known {
		return nil
	}
	d.Host.mu.Lock()
	_, err = d.define(string(text))
	d.unlock()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loaded[file] = string(text)
	return nil
}

// takeDeed does what a person wrote into a file, once.
func (d *Directory) takeDeed(file, vm string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.Remove(file); err != nil {
		return err
	}
	deeds := map[string]func(string) error{
		"start": d.PersonStart, "shutdown": d.GuestShutdown, "destroy": d.PersonDestroy, "crash": d.CrashVM,
	}
	do := deeds[strings.TrimSpace(string(text))]
	if do == nil {
		return fmt.Errorf("%q is not one of start, shutdown, destroy, crash", strings.TrimSpace(string(text)))
	}
	return do(vm)
}
