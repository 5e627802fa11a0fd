package fsm

import (
	"fmt"
	"slices"
	"time"
)

// What becomes of the VMs of a host that is shut down.
const (
	ShutdownFailover = "failover" // they are shut down, and start on other hosts
	ShutdownMigrate  = "migrate"  // they are moved while they run, as off a host in maintenance
	ShutdownFreeze   = "freeze"   // they are shut down, and wait for their host
)

// Shutdown says that a host is being shut down, or was, in good order, and what becomes of its VMs for that.
// It stands until the host's next life begins, so it outlives the host's death.
type Shutdown struct {
	Incarnation uint64    `json:"incarnation"` // that is being ended
	Since       time.Time `json:"since"`
	// Reboot says that the host comes back by itself.
	Reboot bool   `json:"reboot,omitempty"`
	Action string `json:"action"` // one of the Shutdown constants
	// Rest is set once no VM of a host with ShutdownMigrate can be moved any more: what is left is shut down.
	Rest bool `json:"rest,omitempty"`
}

// Frozen says that a VM waits for the host that gave it back as it was shut down. It is a wish about
// where the VM starts and keeps nothing from running twice: that is what owner and generation are for.
type Frozen struct {
	Host   string    `json:"host"`
	Since  time.Time `json:"since"`
	Reboot bool      `json:"reboot,omitempty"`
}

const (
	// EventHostShutDown: a host is being shut down in good order, or some of its VMs cannot be moved for that.
	EventHostShutDown = "host_shut_down"
	// EventHostShutdownOver: it stayed up after all.
	EventHostShutdownOver = "host_shutdown_called_off"
	// EventVMFreezeEnded: a VM waits no more for the host that it was shut down with.
	EventVMFreezeEnded = "vm_freeze_ended"
)

// NoteShutdown notes that a host is being shut down, and what becomes of its VMs. The first note of a life
// counts; another one can say that the rest is not moved, or that the host stays up.
type NoteShutdown struct {
	Meta
	Epoch       uint64 `json:"epoch"`
	Host        string `json:"host"`
	Incarnation uint64 `json:"incarnation"`
	Reboot      bool   `json:"reboot,omitempty"`
	// Action is one of the Shutdown constants; empty: the host is not shut down after all.
	Action string `json:"action,omitempty"`
	Rest   bool   `json:"rest,omitempty"`
}

func (*NoteShutdown) kind() Type { return TypeNoteShutdown }

func (c *NoteShutdown) check() error {
	switch {
	case !slices.Contains([]string{"", ShutdownFailover, ShutdownMigrate, ShutdownFreeze}, c.Action):
		return invalid("what becomes of the VMs of a host that is shut down cannot be %.50q", c.Action)
	case c.Rest && c.Action != ShutdownMigrate:
		return invalid("only of a host that is emptied some VMs can be left, not with %.50q", c.Action)
	}
	return first(CheckHostName(c.Host), checkIncarnation(c.Incarnation))
}

func (c *NoteShutdown) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	if r := s.liveHost(c.Host, c.Incarnation); r != nil {
		return nil, r
	}
	is := s.Hosts[c.Host].Shutdown
	switch {
	case is == nil && (c.Action == "" || c.Rest), is != nil && is.Action == c.Action && (is.Rest || !c.Rest):
		return nil, nil
	case c.Action == "":
		s.editHost(c.Host).Shutdown = nil
		s.emit(c.Meta, Event{Type: EventHostShutdownOver, Host: c.Host,
			Text: c.Host + " is not being shut down any more: its agent was started again"})
		return nil, nil
	case is != nil && is.Action != c.Action:
		return refuse(CodeConflict, "%s is being shut down already, and %s was decided for its VMs", c.Host, is.Action)
	case is != nil:
		rest := *is
		rest.Rest = true
		s.editHost(c.Host).Shutdown = &rest
		left := s.Owned(c.Host, c.Incarnation)
		s.emit(c.Meta, Event{Type: EventHostShutDown, Severity: Warning, Host: c.Host,
			Text: fmt.Sprintf("%d VMs cannot be moved from %s (%s): they are shut down, and start where there is room for them",
				len(left), c.Host, names(left))})
		return nil, nil
	}
	is = &Shutdown{Incarnation: c.Incarnation, Since: c.At, Reboot: c.Reboot, Action: c.Action}
	s.editHost(c.Host).Shutdown = is
	e := Event{Type: EventHostShutDown, Host: c.Host, Text: c.Host + " " + is.Going() + ": its VMs are shut down and start on other hosts"}
	switch c.Action {
	case ShutdownMigrate:
		e.Type, e.Text = EventHostInMaintenance, c.Host+" "+is.Going()+", and counts as in maintenance until it is back: its VMs are moved"
	case ShutdownFreeze:
		e.Text = c.Host + " " + is.Going() + ": its VMs are shut down and wait for it"
	}
	s.emit(c.Meta, e)
	s.endMovesTo(c.Host, c.Meta, c.Host+" "+is.Going())
	return nil, nil
}

// Going says for people what happens to the host.
func (x *Shutdown) Going() string {
	if x.Reboot {
		return "is being rebooted"
	}
	return "is being shut down"
}

// Emptied reports whether VMs leave the host because of maintenance: a person's wish, or a shutdown for
// which they are moved.
func (h *Host) Emptied() bool {
	return h.Maintenance != nil || h.Shutdown != nil && h.Shutdown.Action == ShutdownMigrate
}

// freeze notes, of a VM that its host has given back, that it waits for that host. Only what ran there
// does: one that was on its way up can as well start elsewhere.
func (s *State) freeze(vm *VM, c *Report, ran bool) {
	x := s.Hosts[c.Host].Shutdown
	if x == nil || x.Action != ShutdownFreeze || x.Incarnation != c.Incarnation || !ran || vm.Intent != IntentRun {
		return
	}
	vm.Frozen = &Frozen{Host: c.Host, Since: c.At, Reboot: x.Reboot}
}

// unfreeze lets the VMs that wait for a host start elsewhere.
func (s *State) unfreeze(host string, m Meta, why string) {
	for _, vm := range s.SortedVMs() {
		if vm.Frozen != nil && vm.Frozen.Host == host {
			s.thaw(s.editVM(vm.UUID), m, why)
		}
	}
}

// thaw lets a VM start elsewhere that waits for its host.
func (s *State) thaw(vm *VM, m Meta, why string) {
	vm.Waiting = fmt.Sprintf("it waits for %s no more: %s", vm.Frozen.Host, why)
	vm.Cause = s.emit(m, Event{Type: EventVMFreezeEnded, VM: vm.Name, Host: vm.Frozen.Host, Cause: vm.Cause,
		Text: fmt.Sprintf("%s, which was shut down with %s, waits for it no more: %s", vm.Name, vm.Frozen.Host, why)})
	vm.Frozen = nil
}
