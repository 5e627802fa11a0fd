package api

import (
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/fsm"
)

// ShutdownView says that a host is being shut down in good order, or was and is not back yet.
type ShutdownView struct {
	Since  time.Time `json:"since"`
	Reboot bool      `json:"reboot,omitempty"` // it comes back by itself
	// Action is what becomes of its VMs: failover, migrate or freeze. With migrate it counts as in
	// maintenance, and Rest says that what is left cannot be moved and is shut down.
	Action string `json:"action"`
	Rest   bool   `json:"rest,omitempty"`
	// Frozen are the VMs that wait for it, by name.
	Frozen []string `json:"frozen,omitempty"`
}

// FrozenView says which host a VM waits for, with which it was shut down.
type FrozenView struct {
	Host   string    `json:"host"`
	Since  time.Time `json:"since"`
	Reboot bool      `json:"reboot,omitempty"`
	// Until is when it waits no longer and starts where there is room; left out: it waits for ever.
	Until time.Time `json:"until,omitzero"`
}

func (w World) shutdownView(h *fsm.Host) *ShutdownView {
	x := h.Shutdown
	if x == nil {
		return nil
	}
	v := &ShutdownView{Since: x.Since, Reboot: x.Reboot, Action: x.Action, Rest: x.Rest}
	for _, vm := range w.State.SortedVMs() {
		if f := w.frozenView(vm); f != nil && f.Host == h.Name {
			v.Frozen = append(v.Frozen, vm.Name)
		}
	}
	return v
}

// frozenView is nil of a VM that waits for no host, or no longer.
func (w World) frozenView(vm *fsm.VM) *FrozenView {
	until, waits, _ := inventory.Await(vm, w.policy(), w.Now, func(host string) inventory.Standing {
		switch h := w.State.Hosts[host]; {
		case h == nil:
			return inventory.Gone
		case h.Status == fsm.HostLive && h.Shutdown == nil:
			return inventory.Takes // what the VM waits for then the master says
		}
		return inventory.Away
	})
	if !waits {
		return nil
	}
	f := vm.Frozen
	return &FrozenView{Host: f.Host, Since: f.Since, Reboot: f.Reboot, Until: until}
}

// Means says what becomes of the host's VMs, while it goes down or once it has.
func (v *ShutdownView) Means(gone bool) string {
	switch action := v.Action; {
	case action == fsm.ShutdownMigrate && gone:
		return "its VMs were moved"
	case action == fsm.ShutdownMigrate:
		return "it counts as in maintenance until it is back, and its VMs are moved"
	case action == fsm.ShutdownFreeze && gone:
		return "its VMs were shut down and wait for it"
	case action == fsm.ShutdownFreeze:
		return "its VMs are shut down and wait for it"
	case gone:
		return "its VMs were shut down and start on other hosts"
	}
	return "its VMs are shut down and start on other hosts"
}

// was says of a host that is down how it went.
func (v *ShutdownView) was() string {
	if v.Reboot {
		return "it was being rebooted"
	}
	return "it was being shut down"
}

func (v *ShutdownView) waiting() string {
	if len(v.Frozen) == 0 {
		return ""
	}
	return fmt.Sprintf("; VMs that wait for it: %d", len(v.Frozen))
}

func shutdownProblem(x *ShutdownView, committed string) (fsm.Severity, string) {
	since := x.Since.UTC().Format("2006-01-02 15:04:05 MST")
	if committed == string(fsm.HostDead) {
		text := fmt.Sprintf("is dead, as it was being shut down in good order since %s: %s%s", since, x.Means(true), x.waiting())
		if x.Reboot {
			text = fmt.Sprintf("is dead, as it was being rebooted since %s, and is not back yet: %s%s", since, x.Means(true), x.waiting())
		}
		return fsm.Warning, text
	}
	going := (&fsm.Shutdown{Reboot: x.Reboot}).Going()
	text := fmt.Sprintf("%s since %s: %s", going, since, x.Means(false))
	if x.Rest {
		return fsm.Warning, text + "; what is left cannot be moved and is shut down"
	}
	return fsm.Info, text + x.waiting()
}

// explainShutdown says of a host that it is being shut down, or was, and of the VMs that wait for it.
func (w World) explainShutdown(e *Explanation, h *fsm.Host) {
	x := w.shutdownView(h)
	if x == nil {
		return
	}
	gone := h.Status == fsm.HostDead
	going := "it " + h.Shutdown.Going()
	if gone {
		going = x.was()
	}
	e.fact(x.Since, "%s in good order: %s", going, x.Means(gone))
	if x.Rest {
		e.fact(time.Time{}, "what is left there cannot be moved: it is shut down, and starts where there is room for it")
	}
	e.rule("shutdown",
		"host_shutdown decided %s when the shutdown was noted; it is given no VMs until it is back, and takes them again then by itself",
		x.Action)
	for _, name := range x.Frozen {
		vm, err := findVM(w.State, name)
		if err != nil {
			continue // two have that name
		}
		if f := w.frozenView(vm); f != nil {
			e.fact(f.Since, "%s: %s", name, inventory.FrozenText(vm, f.Until))
		}
	}
}

// explainFrozen says by which rule a VM waits for its host; false: it does not.
func (w World) explainFrozen(e *Explanation, vm *fsm.VM) bool {
	f := w.frozenView(vm)
	if f == nil {
		return false
	}
	e.fact(f.Since, "%s gave it back as it was being shut down: nothing of it is left there", f.Host)
	most := "however long that takes, as freeze_timeout is 0"
	if !f.Until.IsZero() {
		most = "for its freeze_timeout at most"
	}
	e.rule("freeze",
		"by the policy's host_shutdown it waits for %s, %s, and starts there; its room on it is given to no VM that is best effort or fits elsewhere. Where that has no room for it by then, or has not come back in time, it starts elsewhere",
		f.Host, most)
	return true
}
