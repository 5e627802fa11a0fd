package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
	"github.com/holdfast-ha/holdfast/vmm/libvirt"
	"github.com/holdfast-ha/holdfast/vmm/vmmtest"
)

// finished are the numbers of libvirt's calls by which the source learns that the
// copy is whole (domainMigrateFinish3, with and without parameters).
var finished = []uint32{217, 306}

// way leads from one host to the libvirtd and the QEMU of another, and breaks when it is told to.
type way struct {
	to  vmm.Destination
	all sync.WaitGroup

	mu    sync.Mutex // guards what follows
	conns []net.Conn
	loads int // connections for memory so far
	// loseFinish breaks the connection instead of carrying the word that the copy is whole.
	loseFinish bool
}

func (l *Lab) way(t *testing.T, from, to *Host) *way {
	t.Helper()
	name := from.Name() + " to 100% " + to.Name() + ".sock" // as names of VMs may be
	w := &way{to: vmm.Destination{Host: to.Name(), Socket: filepath.Join(l.Dir(), name), Memory: "/run/libvirt/" + name}}
	near, err := from.seenFromOutside(w.to.Memory)
	must(t, err)
	var listeners []net.Listener
	for _, leg := range []struct {
		at, leadsTo string
		back        func(io.Writer, io.Reader)
	}{
		{w.to.Socket, libvirtSocket, w.answers},
		{near, w.to.Memory, func(to io.Writer, from io.Reader) { _, _ = io.Copy(to, from) }},
	} {
		listener, err := net.Listen("unix", leg.at)
		must(t, err)
		listeners = append(listeners, listener)
		w.all.Go(func() {
			for {
				caller, err := listener.Accept()
				if err != nil {
					return
				}
				path, err := to.seenFromOutside(leg.leadsTo)
				var called net.Conn
				if err == nil {
					called, err = net.Dial("unix", path)
				}
				if err != nil {
					_ = caller.Close()
					continue
				}
				w.mu.Lock()
				w.conns = append(w.conns, caller, called)
				if leg.at == near {
					w.loads++
				}
				w.mu.Unlock()
				w.all.Go(func() { _, _ = io.Copy(called, caller); _ = called.Close(); _ = caller.Close() })
				w.all.Go(func() { leg.back(caller, called); _ = called.Close(); _ = caller.Close() })
			}
		})
	}
	t.Cleanup(func() {
		for _, l := range listeners {
			_ = l.Close()
		}
		w.cut()
		w.all.Wait()
	})
	return w
}

// answers carries the packets of the target's libvirtd: their length, program,
// version, procedure and the rest.
func (w *way) answers(to io.Writer, from io.Reader) {
	head := make([]byte, 16)
	for {
		if _, err := io.ReadFull(from, head); err != nil {
			return
		}
		w.mu.Lock()
		lose := w.loseFinish
		w.mu.Unlock()
		for _, proc := range finished {
			if lose && binary.BigEndian.Uint32(head[12:]) == proc {
				return
			}
		}
		if _, err := to.Write(head); err != nil {
			return
		}
		if _, err := io.CopyN(to, from, int64(binary.BigEndian.Uint32(head))-int64(len(head))); err != nil {
			return
		}
	}
}

// memories counts the connections that were made for memory.
func (w *way) memories() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.loads
}

func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// driver is the product's view of a host's libvirt. Its processes are those of the
// host's own PID namespace.
func (h *Host) driver(t *testing.T) *libvirt.Driver {
	t.Helper()
	socket, err := h.seenFromOutside(libvirtSocket)
	must(t, err)
	proc, err := h.seenFromOutside("/proc")
	must(t, err)
	d := libvirt.New(libvirt.Config{Socket: socket, Proc: proc})
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func domainOf(t *testing.T, d *libvirt.Driver, g *Guest) vmm.Domain {
	t.Helper()
	list, err := d.Domains(within(t, 10*time.Second))
	must(t, err)
	for _, dom := range list {
		if dom.UUID == g.UUID {
			return dom
		}
	}
	return vmm.Domain{}
}

// TestMigration is a live migration between two real libvirtd, and every way in which it breaks.
func TestMigration(t *testing.T) {
	l := newLab(t, Config{Hosts: 2})
	h1, h2 := l.Host("h1"), l.Host("h2")
	d1, d2 := h1.driver(t), h2.driver(t)
	w := l.way(t, h1, h2)
	to := w.to
	n := 0
	// guest boots a new guest on h1.
	guest := func(t *testing.T) *Guest {
		t.Helper()
		n++
		g, err := l.CreateGuest(fmt.Sprintf("goes%d", n), Witness)
		must(t, err)
		must(t, h1.Define(t.Context(), g))
		begin := time.Now()
		must(t, h1.StartGuest(t.Context(), g))
		_, err = l.Judge().WaitBeat(within(t, bootTime), g.Name, begin)
		must(t, err)
		t.Cleanup(func() {
			must(t, l.Judge().Check(g.Name))
			for _, h := range []*Host{h1, h2} {
				_, _ = h.Virsh(within(t, settle), "destroy", g.Name) // where it runs
			}
		})
		return g
	}
	// beats waits until the guest has written again, in the life it had, and no other.
	beats := func(t *testing.T, g *Guest) {
		t.Helper()
		since := time.Now()
		must(t, l.Judge().Wait(within(t, settle), g.Name, "it goes on", func(_ []Run, lives []Life) bool {
			return len(lives) > 0 && lives[len(lives)-1].Last.After(since)
		}))
		if lives := l.Judge().Lives(g.Name); len(lives) != 1 && !kernelBroke(t, g) {
			t.Errorf("the guest's memory did not survive: %d lives\n%s", len(lives), l.Judge().Report(g.Name))
		}
	}
	comes := func(t *testing.T, g *Guest) {
		t.Helper()
		must(t, poll(within(t, settle), func() error {
			dom := domainOf(t, d2, g)
			if dom.State == vmm.Paused && dom.Reason == vmm.ReasonIncoming && dom.PID != 0 {
				return nil
			}
			return fmt.Errorf("on h2 it is %q (%s)", dom.State, dom.Reason)
		}))
	}
	// nothing: what is left on h2 is a copy that waits, as where the connection broke
	// while libvirtd made the process, and it can be ended.
	nothing := func(t *testing.T, g *Guest) {
		t.Helper()
		if dom := domainOf(t, d2, g); dom.State == vmm.Running || dom.State == vmm.Paused && dom.Reason != vmm.ReasonIncoming {
			t.Errorf("on h2 it is %q (%s), want it gone or paused (incoming)", dom.State, dom.Reason)
		}
		must(t, poll(within(t, settle), func() error {
			if pid, ok := h2.QEMUs()[g.Name]; ok {
				_, err := h2.Virsh(within(t, settle), "destroy", g.Name)
				return fmt.Errorf("process %d on h2: %w", pid, err)
			}
			return nil
		}))
	}

	t.Run("conformance", func(t *testing.T) {
		vmmtest.RunMigration(t, vmmtest.Pair{Setup: vmmtest.Setup{Hypervisor: d1, XML: embedded.MinimalXML, Timeout: settle}, Target: d2, To: to})
	})

	t.Run("it arrives", func(t *testing.T) {
		g := guest(t)
		was := domainOf(t, d1, g)
		begin := time.Now()
		loads := w.memories()
		must(t, d1.Migrate(within(t, time.Minute), g.UUID, to))
		if n := w.memories() - loads; n != 1 {
			t.Errorf("memory took %d connections of its own, want one", n)
		}
		t.Logf("migrated in %v", time.Since(begin).Round(time.Millisecond))
		if pid, ok := h1.QEMUs()[g.Name]; ok {
			t.Errorf("process %d is left on h1", pid)
		}
		if dom := domainOf(t, d1, g); dom.State != vmm.Stopped || dom.Reason != vmm.ReasonMigrated || !dom.Persistent {
			t.Errorf("on h1 it is %+v, want it stopped (migrated) and defined", dom)
		}
		is := domainOf(t, d2, g)
		if is.State != vmm.Paused || is.Reason != vmm.ReasonIncoming || !is.Persistent || is.Autostart || is.PID == 0 {
			t.Errorf("on h2 it is %+v, want it paused (incoming), persistent, without autostart", is)
		}
		if is.XMLHash != was.XMLHash {
			t.Errorf("its definition has another hash on h2: %s, was %s", is.XMLHash, was.XMLHash)
		}
		if text, err := d2.XML(within(t, settle), g.UUID); err != nil || libvirt.Incoming(text) {
			t.Errorf("the definition on h2 bears the mark of its arrival: %v\n%s", err, text)
		}
		paused := len(l.Judge().Lives(g.Name))
		must(t, h2.StopLibvirt(t.Context()))
		must(t, h2.StartLibvirt(t.Context()))
		must(t, poll(within(t, settle), func() error {
			if dom := domainOf(t, d2, g); dom.State != vmm.Paused || dom.Reason != vmm.ReasonIncoming {
				return fmt.Errorf("after a restart of libvirtd it is %q (%s)", dom.State, dom.Reason)
			}
			return nil
		}))
		if running := l.Judge().Running(g.Name); paused != 1 || len(running) > 1 {
			t.Errorf("the copy has run before it was let\n%s", l.Judge().Report(g.Name))
		}
		must(t, d2.Resume(within(t, settle), g.UUID))
		beats(t, g)
		_, err := h2.Virsh(t.Context(), "suspend", g.Name)
		must(t, err)
		if dom := domainOf(t, d2, g); dom.State != vmm.Paused || dom.Reason != vmm.ReasonUser {
			t.Errorf("paused by a person it is %q (%s), want paused (user)", dom.State, dom.Reason)
		}
		if err := d2.Migrate(within(t, settle), g.UUID, to); err == nil || !strings.Contains(err.Error(), "only a VM whose processors run") {
			t.Errorf("migrating a paused VM: %v", err)
		}
	})

	// broken begins a slow migration and does harm to it once the copy comes.
	broken := func(t *testing.T, g *Guest, harm func(cancel context.CancelFunc)) error {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		slowly := to
		slowly.Bandwidth = 2 << 20
		done := make(chan error, 1)
		go func() { done <- d1.Migrate(ctx, g.UUID, slowly) }()
		comes(t, g)
		if err := d2.Resume(within(t, settle), g.UUID); err == nil {
			t.Error("a copy that is not whole was let run")
		}
		harm(cancel)
		begin := time.Now()
		err := <-done
		t.Logf("%v after it: %v", time.Since(begin).Round(time.Millisecond), err)
		if err == nil {
			t.Fatal("Migrate returned nil")
		}
		return err
	}
	for _, tt := range []struct {
		name string
		harm func(t *testing.T, cancel context.CancelFunc)
	}{
		{"it is called off", func(_ *testing.T, cancel context.CancelFunc) { cancel() }},
		{"another agent aborts it", func(t *testing.T, _ context.CancelFunc) {
			must(t, h1.driver(t).AbortMigration(within(t, settle), guestUUID(l, n)))
		}},
		{"the connection is cut", func(*testing.T, context.CancelFunc) { w.cut() }},
		{"the target's libvirtd is killed", func(t *testing.T, _ context.CancelFunc) {
			must(t, h2.StopLibvirt(t.Context()))
			t.Cleanup(func() { must(t, h2.StartLibvirt(within(t, settle))) })
		}},
		{"the source's libvirtd is killed", func(t *testing.T, _ context.CancelFunc) {
			must(t, h1.StopLibvirt(t.Context()))
			must(t, h1.StartLibvirt(t.Context()))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := guest(t)
			if err := broken(t, g, func(cancel context.CancelFunc) { tt.harm(t, cancel) }); errors.Is(err, vmm.ErrNotProven) {
				t.Errorf("Migrate does not know what became of it: %v", err)
			}
			beats(t, g)
			if dom := domainOf(t, d1, g); dom.State != vmm.Running {
				t.Errorf("on h1 it is %q (%s), want it running", dom.State, dom.Reason)
			}
			if !strings.Contains(tt.name, "target") {
				nothing(t, g)
			}
			must(t, d1.AbortMigration(within(t, settle), g.UUID))
		})
	}
	t.Run("its process is killed", func(t *testing.T) {
		g := guest(t)
		err := broken(t, g, func(context.CancelFunc) {
			p, err := os.FindProcess(h1.QEMUs()[g.Name])
			must(t, err)
			must(t, p.Kill())
		})
		if errors.Is(err, vmm.ErrNotProven) || !strings.Contains(err.Error(), "ended on the way") {
			t.Errorf("Migrate says: %v", err)
		}
		nothing(t, g)
	})
	t.Run("the word that it is whole is lost", func(t *testing.T) {
		g := guest(t)
		w.mu.Lock()
		w.loseFinish = true
		w.mu.Unlock()
		defer func() {
			w.mu.Lock()
			w.loseFinish = false
			w.mu.Unlock()
		}()
		err := d1.Migrate(within(t, time.Minute), g.UUID, to)
		t.Logf("Migrate says: %v", err)
		if err == nil || errors.Is(err, vmm.ErrNotProven) {
			t.Errorf("Migrate says: %v, want that it stays", err)
		}
		beats(t, g)
		dom := domainOf(t, d2, g)
		t.Logf("on h2 it is %q (%s)", dom.State, dom.Reason)
		nothing(t, g)
	})
}

func guestUUID(l *Lab, n int) string {
	l.guestsMu.Lock()
	defer l.guestsMu.Unlock()
	return l.guests[fmt.Sprintf("goes%d", n)].UUID
}
