package vmmtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/vmm"
)

// Pair are two hosts of one driver between which VMs can be migrated.
type Pair struct {
	Setup  // the one that they leave
	Target vmm.Hypervisor
	To     vmm.Destination // the target, as the first reaches it
}

// RunMigration checks what vmm.Hypervisor promises of migrations. Neither hypervisor may
// know a domain of the UUIDs that Run uses, or ten above them.
func RunMigration(t *testing.T, p Pair) {
	t.Helper()
	c := &pair{Pair: p, from: &checker{p.Setup}, to: &checker{Setup{Hypervisor: p.Target, XML: p.XML, Timeout: p.Timeout}}}
	t.Run("migrate", c.migrate)
	t.Run("there and back", c.thereAndBack)
	t.Run("called off", c.calledOff)
	t.Run("refused", c.refused)
}

type pair struct {
	Pair
	from, to *checker
}

func (c *pair) start(t *testing.T, name, id string) {
	t.Helper()
	_, err := c.Hypervisor.StartPaused(c.from.ctx(t), c.XML(name, id, 64<<20, 1))
	if err == nil {
		err = c.Hypervisor.Resume(c.from.ctx(t), id)
	}
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		for _, h := range []vmm.Hypervisor{c.Hypervisor, c.Target} {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), c.Timeout)
			if err := h.Kill(ctx, id); err != nil {
				t.Errorf("kill %s: %v", name, err)
			}
			cancel()
		}
	})
}

// migrate: the copy waits, with a definition that stays, until it is let run.
func (c *pair) migrate(t *testing.T) {
	id := uuid(11)
	c.start(t, "goes", id)
	hash := c.from.wantState(t, id, vmm.Running, "").XMLHash
	if err := c.Hypervisor.Migrate(c.from.ctx(t), id, c.To); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	left := c.from.wantState(t, id, vmm.Stopped, vmm.ReasonMigrated)
	came := c.to.wantState(t, id, vmm.Paused, vmm.ReasonIncoming)
	if !left.Persistent || !came.Persistent || came.Autostart || came.XMLHash != hash || came.Name != "goes" {
		t.Errorf("left behind is %+v, the copy is %+v; want both persistent, the copy without autostart and with hash %s", left, came, hash)
	}
	if err := c.Hypervisor.AbortMigration(c.from.ctx(t), id); err != nil {
		t.Errorf("abort of one that is over: %v", err)
	}
	c.to.wantState(t, id, vmm.Paused, vmm.ReasonIncoming)
	if err := c.Target.Resume(c.to.ctx(t), id); err != nil {
		t.Fatalf("let the copy run: %v", err)
	}
	c.to.wantState(t, id, vmm.Running, "")
	c.from.wantState(t, id, vmm.Stopped, vmm.ReasonMigrated)
}

// thereAndBack: what a domain leaves behind is no obstacle to its coming back.
func (c *pair) thereAndBack(t *testing.T) {
	id := uuid(12)
	c.start(t, "back", id)
	if err := c.Hypervisor.Migrate(c.from.ctx(t), id, c.To); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	if err := c.Target.Kill(c.to.ctx(t), id); err != nil {
		t.Fatalf("end the copy that waits: %v", err)
	}
	c.to.wantState(t, id, vmm.Stopped, vmm.ReasonDestroyed)
	c.start(t, "back", id)
	if err := c.Hypervisor.Migrate(c.from.ctx(t), id, c.To); err != nil {
		t.Fatalf("migrate to where a definition of it is: %v", err)
	}
	c.to.wantState(t, id, vmm.Paused, vmm.ReasonIncoming)
}

// calledOff: one whose context has ended leaves the domain running, and no copy that can run.
func (c *pair) calledOff(t *testing.T) {
	id := uuid(13)
	c.start(t, "stays", id)
	ctx, cancel := context.WithTimeout(c.from.ctx(t), time.Microsecond)
	defer cancel()
	if err := c.Hypervisor.Migrate(ctx, id, c.To); err == nil || errors.Is(err, vmm.ErrNotProven) {
		t.Errorf("migrate returned %v, want an error which says that it stayed", err)
	}
	c.from.wantState(t, id, vmm.Running, "")
	if d := c.to.domain(t, id); d != nil && d.State != vmm.Stopped {
		if err := c.Target.Resume(c.to.ctx(t), id); err == nil {
			t.Errorf("the copy %+v was let run while the domain runs where it was", *d)
		}
	}
}

// refused: a domain that runs at the target is left alone, there and here.
func (c *pair) refused(t *testing.T) {
	id := uuid(14)
	c.start(t, "twin", id)
	if _, err := c.Target.StartPaused(c.to.ctx(t), c.XML("twin", id, 64<<20, 1)); err != nil {
		t.Fatalf("start at the target: %v", err)
	}
	if err := c.Hypervisor.Migrate(c.from.ctx(t), id, c.To); err == nil || errors.Is(err, vmm.ErrNotProven) {
		t.Errorf("migrate returned %v, want an error which says that it stayed", err)
	}
	c.from.wantState(t, id, vmm.Running, "")
	c.to.wantState(t, id, vmm.Paused, vmm.ReasonUser)
}

// nothingToMigrate: what does not run cannot leave, and nothing is there to be aborted.
func (c *checker) nothingToMigrate(t *testing.T) {
	h, id, to := c.Hypervisor, uuid(8), vmm.Destination{Host: "nowhere", Socket: "/nonexistent/socket"}
	if err := h.Migrate(c.ctx(t), unknown, to); !errors.Is(err, vmm.ErrNoDomain) {
		t.Errorf("migrate of a domain that nobody knows returned %v, want ErrNoDomain", err)
	}
	if err := h.AbortMigration(c.ctx(t), unknown); err != nil {
		t.Errorf("abort for a domain that nobody knows returned %v, want nil: there is no migration", err)
	}
	if _, err := h.StartPaused(c.ctx(t), c.XML("nowhere", id, 64<<20, 1)); err != nil {
		t.Fatal(err)
	}
	if err := h.Resume(c.ctx(t), id); err != nil {
		t.Fatal(err)
	}
	if err := h.Migrate(c.ctx(t), id, to); err == nil || errors.Is(err, vmm.ErrNotProven) {
		t.Errorf("migrate to nowhere returned %v, want an error which says that it stayed", err)
	}
	if err := h.AbortMigration(c.ctx(t), id); err != nil {
		t.Errorf("abort of nothing returned %v", err)
	}
	c.wantState(t, id, vmm.Running, "")
	if err := h.Kill(c.ctx(t), id); err != nil {
		t.Fatal(err)
	}
	if err := h.Migrate(c.ctx(t), id, to); err == nil || errors.Is(err, vmm.ErrNotProven) {
		t.Errorf("migrate of a domain that does not run returned %v", err)
	}
}
