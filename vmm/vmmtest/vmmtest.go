// Package vmmtest holds what every driver of vmm.Hypervisor must keep, as tests
// that each driver runs against itself. It is for tests only.
package vmmtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/vmm"
)

// Setup is one driver under test.
type Setup struct {
	Hypervisor vmm.Hypervisor
	// XML makes a definition that the driver can start.
	XML func(name, uuid string, memory uint64, vcpus int) string
	// Timeout is enough for any one call.
	Timeout time.Duration
}

const unknown = "00000000-0000-4000-8000-00000000dead"

// Run checks the promises of vmm.Hypervisor. The hypervisor must know no domain yet.
func Run(t *testing.T, s Setup) {
	t.Helper()
	c := &checker{Setup: s}
	t.Run("life of a domain", c.life)
	t.Run("kill is proof", c.kill)
	t.Run("definitions", c.definitions)
	t.Run("unknown domains", c.unknownDomains)
	t.Run("capacity", c.capacity)
	t.Run("offer", c.offer)
	t.Run("guest agent", c.guestAgent)
	t.Run("usage", c.usage)
	t.Run("subscription ends with its context", c.subscriptionEnds)
	t.Run("nothing to migrate", c.nothingToMigrate)
	t.Run("a context that has ended", c.endedContext)
}

type checker struct{ Setup }

func (c *checker) ctx(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), c.Timeout)
	t.Cleanup(cancel)
	return ctx
}

func uuid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// domain returns what Domains says about one VM, nil when it is not listed.
func (c *checker) domain(t *testing.T, id string) *vmm.Domain {
	t.Helper()
	list, err := c.Hypervisor.Domains(c.ctx(t))
	if err != nil {
		t.Fatalf("list domains: %v", err)
	}
	for i := range list {
		if i > 0 && list[i-1].Name > list[i].Name {
			t.Errorf("domains are not ordered by name: %q stands before %q", list[i-1].Name, list[i].Name)
		}
	}
	for _, d := range list {
		if d.UUID == id {
			return &d
		}
	}
	return nil
}

func (c *checker) wantState(t *testing.T, id string, want vmm.State, reason vmm.Reason) vmm.Domain {
	t.Helper()
	d := c.domain(t, id)
	if d == nil {
		t.Fatalf("domain %s is not listed", id)
	}
	if d.State != want || d.Reason != reason {
		t.Fatalf("domain %s is %s (%s), want %s (%s)", d.Name, d.State, d.Reason, want, reason)
	}
	if (d.PID != 0) != (want != vmm.Stopped) {
		t.Fatalf("domain %s is %s and has PID %d", d.Name, d.State, d.PID)
	}
	return *d
}

func (c *checker) life(t *testing.T) {
	h, id := c.Hypervisor, uuid(1)
	events, err := h.Subscribe(t.Context())
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	xml := c.XML("life", id, 64<<20, 2)

	p, err := h.StartPaused(c.ctx(t), xml)
	if err != nil {
		t.Fatalf("start paused: %v", err)
	}
	d := c.wantState(t, id, vmm.Paused, vmm.ReasonUser)
	if p.PID == 0 || p.StartTime == 0 || d.PID != p.PID || d.StartTime != p.StartTime {
		t.Errorf("start returned process %+v, the list says PID %d, start time %d", p, d.PID, d.StartTime)
	}
	if !d.Persistent || d.Autostart || d.VCPUs != 2 || d.Memory != 64<<20 || d.XMLHash == "" {
		t.Errorf("domain is %+v, want it persistent, without autostart, 2 VCPUs, 64 MiB, with a hash", d)
	}
	pausedHash := d.XMLHash

	if _, err := h.StartPaused(c.ctx(t), xml); !errors.Is(err, vmm.ErrRunning) {
		t.Errorf("a second start returned %v, want ErrRunning", err)
	}
	if err := h.Resume(c.ctx(t), id); err != nil {
		t.Fatalf("resume: %v", err)
	}
	d = c.wantState(t, id, vmm.Running, "")
	if d.XMLHash != pausedHash {
		t.Errorf("hash changed from %s to %s by running", pausedHash, d.XMLHash)
	}
	if err := h.Resume(c.ctx(t), id); err != nil {
		t.Errorf("resuming a domain that runs returned %v", err)
	}
	if _, err := h.StartPaused(c.ctx(t), xml); !errors.Is(err, vmm.ErrRunning) {
		t.Errorf("a start while it runs returned %v, want ErrRunning", err)
	}
	if err := h.Kill(c.ctx(t), id); err != nil {
		t.Fatalf("kill: %v", err)
	}
	d = c.wantState(t, id, vmm.Stopped, vmm.ReasonDestroyed)
	if d.XMLHash != pausedHash {
		t.Errorf("hash changed from %s to %s by stopping", pausedHash, d.XMLHash)
	}

	again, err := h.StartPaused(c.ctx(t), xml)
	if err != nil {
		t.Fatalf("start again: %v", err)
	}
	if again == p {
		t.Errorf("the second process has the first one's identity %+v", p)
	}
	if err := h.Kill(c.ctx(t), id); err != nil {
		t.Fatalf("kill while paused: %v", err)
	}
	c.wantEvents(t, events, id,
		vmm.EventDefined, vmm.EventStarted, vmm.EventPaused, vmm.EventResumed, vmm.EventStopped,
		vmm.EventStarted, vmm.EventPaused, vmm.EventStopped)
}

// wantEvents waits until the kinds have come for a domain in this order; others
// may stand between.
func (c *checker) wantEvents(t *testing.T, events <-chan vmm.Event, id string, kinds ...vmm.EventKind) {
	t.Helper()
	var seen []string
	deadline := time.NewTimer(c.Timeout)
	defer deadline.Stop()
	for len(kinds) > 0 {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("events closed while %v had not come; seen: %s", kinds, strings.Join(seen, ", "))
			}
			seen = append(seen, fmt.Sprintf("%s %s %s", e.Name, e.Kind, e.Reason))
			if e.UUID != id || e.Kind != kinds[0] {
				continue
			}
			if e.Kind == vmm.EventStopped && e.Reason != vmm.ReasonDestroyed {
				t.Errorf("stopped event has reason %q, want %q", e.Reason, vmm.ReasonDestroyed)
			}
			kinds = kinds[1:]
		case <-deadline.C:
			t.Fatalf("events %v have not come; seen: %s", kinds, strings.Join(seen, ", "))
		}
	}
}

func (c *checker) kill(t *testing.T) {
	h, id := c.Hypervisor, uuid(2)
	if err := h.Kill(c.ctx(t), id); err != nil {
		t.Errorf("kill of a domain that nobody knows returned %v, want nil: there is no process", err)
	}
	if err := h.Kill(c.ctx(t), "kill"); !errors.Is(err, vmm.ErrNotProven) {
		t.Errorf("kill of what is no UUID returned %v, want ErrNotProven: a slip is no proof", err)
	}
	if _, err := h.StartPaused(c.ctx(t), c.XML("kill", id, 64<<20, 1)); err != nil {
		t.Fatalf("start: %v", err)
	}
	for i := range 2 {
		if err := h.Kill(c.ctx(t), id); err != nil {
			t.Errorf("kill number %d returned %v", i+1, err)
		}
		c.wantState(t, id, vmm.Stopped, vmm.ReasonDestroyed)
	}
	if err := h.Resume(c.ctx(t), id); err == nil {
		t.Error("resume of a domain without process returned nil")
	}
}

func (c *checker) definitions(t *testing.T) {
	h, id := c.Hypervisor, uuid(3)
	good := c.XML("defs", id, 64<<20, 1)
	bad := map[string]string{
		"empty":        "",
		"not XML":      "hello",
		"cut off":      good[:len(good)/2],
		"no uuid":      strings.Replace(good, "<uuid>"+id+"</uuid>", "", 1),
		"broken uuid":  strings.Replace(good, id, "zzz", 1),
		"no name":      strings.Replace(good, "<name>defs</name>", "", 1),
		"another root": "<network><name>defs</name></network>",
	}
	for name, xml := range bad {
		if _, err := h.StartPaused(c.ctx(t), xml); !errors.Is(err, vmm.ErrBadXML) {
			t.Errorf("%s: start returned %v, want ErrBadXML", name, err)
		}
	}
	if d := c.domain(t, id); d != nil {
		t.Errorf("a bad definition left domain %+v", *d)
	}

	if _, err := h.StartPaused(c.ctx(t), good); err != nil {
		t.Fatalf("start: %v", err)
	}
	if err := h.Kill(c.ctx(t), id); err != nil {
		t.Fatalf("kill: %v", err)
	}
	if err := h.SetAutostart(c.ctx(t), id, true); err != nil {
		t.Fatalf("set autostart: %v", err)
	}
	first := c.wantState(t, id, vmm.Stopped, vmm.ReasonDestroyed)
	if !first.Autostart {
		t.Error("autostart is off after it was set")
	}

	other := c.XML("defs2", uuid(4), 64<<20, 1)
	sameName := strings.Replace(other, "defs2", "defs", 1)
	if _, err := h.StartPaused(c.ctx(t), sameName); !errors.Is(err, vmm.ErrBadXML) {
		t.Errorf("a second domain of the same name returned %v, want ErrBadXML", err)
	}

	if _, err := h.StartPaused(c.ctx(t), c.XML("defs", id, 96<<20, 1)); err != nil {
		t.Fatalf("start from another definition: %v", err)
	}
	defer func() {
		if err := h.Kill(c.ctx(t), id); err != nil {
			t.Errorf("kill: %v", err)
		}
	}()
	second := c.wantState(t, id, vmm.Paused, vmm.ReasonUser)
	if second.Memory != 96<<20 || second.XMLHash == first.XMLHash || second.Autostart {
		t.Errorf("after another definition the domain is %+v, want 96 MiB, another hash than %s, autostart off", second, first.XMLHash)
	}
	text, err := h.XML(c.ctx(t), id)
	if err != nil || !strings.Contains(text, "<name>defs</name>") || !strings.Contains(text, id) {
		t.Errorf("XML returned %v and %q", err, text)
	}
}

func (c *checker) unknownDomains(t *testing.T) {
	h := c.Hypervisor
	_, xmlErr := h.XML(c.ctx(t), unknown)
	for name, err := range map[string]error{
		"XML":          xmlErr,
		"Resume":       h.Resume(c.ctx(t), unknown),
		"PingGuest":    h.PingGuest(c.ctx(t), unknown),
		"Shutdown":     h.Shutdown(c.ctx(t), unknown),
		"SetAutostart": h.SetAutostart(c.ctx(t), unknown, true),
	} {
		if !errors.Is(err, vmm.ErrNoDomain) {
			t.Errorf("%s returned %v, want ErrNoDomain", name, err)
		}
	}
}

func (c *checker) capacity(t *testing.T) {
	got, err := c.Hypervisor.Capacity(c.ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if got.CPUs <= 0 || got.MHz <= 0 || got.Memory == 0 || got.MemoryFree == 0 || got.MemoryFree > got.Memory || got.Hypervisor == "" {
		t.Errorf("capacity is %+v", got)
	}
}

func (c *checker) subscriptionEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	events, err := c.Hypervisor.Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	deadline := time.NewTimer(c.Timeout)
	defer deadline.Stop()
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-deadline.C:
			t.Fatal("the channel is still open after its context ended")
		}
	}
}

// offer: words have a kind and a name, and each is there once.
func (c *checker) offer(t *testing.T) {
	o, err := c.Hypervisor.Offer(c.ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	for what, words := range map[string][]string{"network": o.Networks, "capability": o.Capabilities} {
		for i, w := range words {
			if kind, name, ok := strings.Cut(w, ":"); !ok || kind == "" || name == "" {
				t.Errorf("%s %q is not KIND:NAME", what, w)
			}
			if i > 0 && words[i-1] >= w {
				t.Errorf("%s %q stands before %q", what, words[i-1], w)
			}
		}
	}
	for kib := range o.HugePages {
		if kib == 0 && o.DefaultPage != 0 {
			t.Errorf("huge pages of the default size are told by no size, though it is known to be %d KiB: %v", o.DefaultPage, o.HugePages)
		}
	}
	again, err := c.Hypervisor.Offer(c.ctx(t))
	if err != nil || !reflect.DeepEqual(o, again) {
		t.Errorf("asked again the answer differs (%v):\n%+v\n%+v", err, o, again)
	}
}

// usage: what a VM takes is told while it has a process, and grows.
func (c *checker) usage(t *testing.T) {
	h, id := c.Hypervisor, uuid(11)
	if _, err := h.StartPaused(c.ctx(t), c.XML("used", id, 64<<20, 1)); err != nil {
		t.Fatal(err)
	}
	if err := h.Resume(c.ctx(t), id); err != nil {
		t.Fatal(err)
	}
	first, err := h.Usage(c.ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	then, known := first[id]
	if !known || then.CPUTime < 0 {
		t.Errorf("of a VM that runs it is told %+v (known: %v)", then, known)
	}
	if again, err := h.Usage(c.ctx(t)); err != nil || again[id].CPUTime < then.CPUTime {
		t.Errorf("it had taken %v, and later %v (%v)", then.CPUTime, again[id].CPUTime, err)
	}
	if err := h.Kill(c.ctx(t), id); err != nil {
		t.Fatal(err)
	}
	if last, err := h.Usage(c.ctx(t)); err != nil || last[id] != (vmm.Use{}) {
		t.Errorf("of a VM that is stopped it is told %+v (%v)", last[id], err)
	}
}

// guestAgent: nobody answers for a VM that is stopped.
func (c *checker) guestAgent(t *testing.T) {
	h, id := c.Hypervisor, uuid(7)
	if _, err := h.StartPaused(c.ctx(t), c.XML("agent", id, 64<<20, 1)); err != nil {
		t.Fatal(err)
	}
	if err := h.PingGuest(c.ctx(t), id); err == nil {
		t.Error("the guest of a VM that is paused answered")
	}
	if err := h.Kill(c.ctx(t), id); err != nil {
		t.Fatal(err)
	}
	if err := h.PingGuest(c.ctx(t), id); err == nil {
		t.Error("the guest of a VM that is stopped answered")
	}
}

func (c *checker) endedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Hypervisor.Domains(ctx); !errors.Is(err, vmm.ErrUnavailable) {
		t.Errorf("list returned %v, want ErrUnavailable", err)
	}
	if _, err := c.Hypervisor.Offer(ctx); !errors.Is(err, vmm.ErrUnavailable) {
		t.Errorf("offer returned %v, want ErrUnavailable", err)
	}
	if _, err := c.Hypervisor.StartPaused(ctx, c.XML("late", uuid(9), 64<<20, 1)); err == nil {
		t.Error("start returned nil")
	}
	if d := c.domain(t, uuid(9)); d != nil && d.State != vmm.Stopped {
		t.Errorf("a start whose context had ended left %+v", *d)
	}
}
