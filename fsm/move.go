package fsm

import (
	"fmt"
	"slices"
	"time"
)

// Move is a VM's way to another host while its owner still has it (safety.md, M1). It
// gives the target no right to run anything: that comes with the placement that follows
// the source's word that it has the VM no more.
type Move struct {
	// ID is the number of the event by which it was ordered: no two moves share one.
	ID          uint64    `json:"id"`
	Host        string    `json:"host"` // where it goes
	Incarnation uint64    `json:"incarnation"`
	Cold        bool      `json:"cold,omitempty"` // the guest is shut down and started there
	At          time.Time `json:"at"`
	By          string    `json:"by,omitempty"` // a person, where one asked for it
	Why         string    `json:"why"`
	Considered  []Lot     `json:"considered,omitempty"`
	// Devices are those of the target that were chosen for it, as in Placement.
	Devices []string `json:"devices,omitempty"`
}

// Maintenance says that a host is out of service by a person's wish: it is given no VMs.
type Maintenance struct {
	Since time.Time `json:"since"`
	By    string    `json:"by,omitempty"`
	Why   string    `json:"why,omitempty"`
}

// The event types of moves and of maintenance.
const (
	EventVMMoveOrdered     = "vm_move_ordered"
	EventVMMoved           = "vm_moved"
	EventVMMoveFailed      = "vm_move_failed"
	EventHostInMaintenance = "host_in_maintenance"
	EventHostInService     = "host_maintenance_ended"
)

const (
	// OutcomeMoved: released to the target of its move, which has the whole of it: the
	// process here is proven gone, and was not ended by anything else (M3).
	OutcomeMoved Outcome = "moved"
	// OutcomeMoveFailed: it runs on here; nothing of the move goes on.
	OutcomeMoveFailed Outcome = "move_failed"
)

// movesKept bounds the failed moves that a VM is remembered for.
const movesKept = 8

// BeginMove orders that a running VM goes to another host. A VM that a person stopped
// only changes its home.
type BeginMove struct {
	Meta
	Epoch uint64 `json:"epoch"`
	UUID  string `json:"uuid"`
	// Previous is the generation that the proposer saw.
	Previous    uint64 `json:"previous"`
	Host        string `json:"host"`
	Incarnation uint64 `json:"incarnation"`
	Cold        bool   `json:"cold,omitempty"`
	Why         string `json:"why"`
	// Considered is what was said of every host that was looked at.
	Considered []Lot `json:"considered,omitempty"`
	// Devices are as in Move.
	Devices []string `json:"devices,omitempty"`
}

// EndMove calls a move off. Its source stops it; where that comes too late the VM is
// started anew, by whomever.
type EndMove struct {
	Meta
	Epoch uint64 `json:"epoch"`
	UUID  string `json:"uuid"`
	Move  uint64 `json:"move"`
	Why   string `json:"why"`
}

// SetMaintenance takes a host out of service, or back. It says nothing of the VMs that are
// there: whoever proposes it moves them.
type SetMaintenance struct {
	Meta
	Host string `json:"host"`
	On   bool   `json:"on"`
	Why  string `json:"why"`
}

func (*BeginMove) kind() Type      { return TypeBeginMove }
func (*EndMove) kind() Type        { return TypeEndMove }
func (*SetMaintenance) kind() Type { return TypeSetMaintenance }

func (c *BeginMove) check() error {
	if len(c.Devices) > 0 && !c.Cold {
		return invalid("a VM with devices of its host cannot go elsewhere while it runs")
	}
	return first(checkUUID(c.UUID), CheckHostName(c.Host), checkIncarnation(c.Incarnation),
		checkText("reason", c.Why), checkLots(c.Considered), checkDevices(c.Devices))
}

func (c *EndMove) check() error {
	if c.Move == 0 {
		return invalid("move 0 is none")
	}
	return first(checkUUID(c.UUID), checkText("reason", c.Why))
}

func (c *SetMaintenance) check() error {
	return first(CheckHostName(c.Host), checkText("reason", c.Why))
}

func (c *BeginMove) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	vm := s.VMs[c.UUID]
	switch {
	case vm == nil:
		return refuse(CodeNotFound, "VM %s is not protected", c.UUID)
	case vm.Generation != c.Previous:
		return refuse(CodeStale, "%s is at generation %d, not %d", vm.Name, vm.Generation, c.Previous)
	case vm.Move != nil:
		return refuse(CodeConflict, "%s is on its way to %s already", vm.Name, vm.Move.Host)
	case vm.Restart != nil:
		return refuse(CodeConflict, "%s is being restarted: try again once it runs", vm.Name)
	case vm.Sighting != nil:
		return refuse(CodeConflict,
			"%s was seen running on %s, which has not confirmed yet that it guards it: try again in a moment", vm.Name, vm.Sighting.Host)
	}
	if r := s.disarmed(vm.Name + " is not moved"); r != nil && c.By == "" {
		return nil, r
	}
	if r := s.takesVMs(c.Host, c.Incarnation); r != nil {
		return nil, r
	}
	switch {
	case vm.Owner == nil && vm.Intent == IntentStop:
		vm = s.editVM(c.UUID)
		from := vm.Home
		vm.goes(s, from, c.Host, true)
		vm.Home = c.Host
		s.emit(c.Meta, Event{Type: EventVMMoved, VM: vm.Name, Host: c.Host, From: from, To: c.Host,
			Text: fmt.Sprintf("%s, which is stopped, belongs to %s now: %s", vm.Name, c.Host, c.Why)})
		return uint64(0), nil
	case vm.Owner == nil || vm.Owner.Phase != PhaseRunning || vm.Intent != IntentRun:
		return refuse(CodeConflict, "%s does not run now: only a VM that runs, or one that a person stopped, can be moved", vm.Name)
	case vm.Owner.Host == c.Host:
		return refuse(CodeConflict, "%s runs on %s already", vm.Name, c.Host)
	}
	if r := s.devicesFree(c.UUID, c.Host, c.Devices); r != nil {
		return nil, r
	}
	vm = s.editVM(c.UUID)
	id := s.emit(c.Meta, Event{Type: EventVMMoveOrdered, VM: vm.Name, Host: c.Host, From: vm.Owner.Host,
		To: c.Host, Cause: vm.Cause, Considered: c.Considered,
		Text: fmt.Sprintf("%s shall go from %s to %s, %s: %s", vm.Name, vm.Owner.Host, c.Host, manner(c.Cold), c.Why)})
	vm.Move = &Move{
		ID:          id,
		Host:        c.Host,
		Incarnation: c.Incarnation,
		Cold:        c.Cold,
		At:          c.At,
		By:          c.By,
		Why:         c.Why,
		Considered:  c.Considered,
		Devices:     c.Devices,
	}
	return id, nil
}

func manner(cold bool) string {
	if cold {
		return "shut down and started there"
	}
	return "while it runs"
}

// takesVMs refuses a host that may be given no VM.
func (s *State) takesVMs(host string, incarnation uint64) *Refusal {
	if r := s.liveHost(host, incarnation); r != nil {
		return r
	}
	if m := s.Hosts[host].Maintenance; m != nil {
		return &Refusal{CodeConflict, fmt.Sprintf("%s is in maintenance since %s and is given no VMs",
			host, m.Since.UTC().Format("2006-01-02 15:04 MST"))}
	}
	if x := s.Hosts[host].Shutdown; x != nil {
		return &Refusal{CodeConflict,
			fmt.Sprintf("%s %s since %s and is given no VMs", host, x.Going(), x.Since.UTC().Format("2006-01-02 15:04 MST"))}
	}
	return nil
}

func (c *EndMove) apply(s *State) (any, *Refusal) {
	if r := s.inEpoch(c.Epoch); r != nil {
		return nil, r
	}
	vm := s.editVM(c.UUID)
	switch {
	case vm == nil:
		return refuse(CodeNotFound, "VM %s is not protected", c.UUID)
	case vm.Move == nil || vm.Move.ID != c.Move:
		return refuse(CodeStale, "that move of %s is over", vm.Name)
	}
	s.endMove(vm, c.Meta, c.Why)
	return nil, nil
}

// endMove notes that the VM stays where it is.
func (s *State) endMove(vm *VM, m Meta, why string) {
	v := vm.Move
	vm.Move = nil
	vm.MoveFailures = append(vm.MoveFailures, Failure{Host: v.Host, Generation: vm.Generation, At: m.At, Detail: why})
	if n := len(vm.MoveFailures); n > movesKept {
		vm.MoveFailures = vm.MoveFailures[n-movesKept:]
	}
	e := Event{Type: EventVMMoveFailed, Severity: Warning, VM: vm.Name, Host: v.Host, From: vm.Home, To: v.Host, Cause: v.ID,
		Text: fmt.Sprintf("%s was not moved to %s: %s", vm.Name, v.Host, why)}
	if vm.Owner != nil {
		e.From = vm.Owner.Host
	}
	s.emit(m, e)
}

// endMovesTo calls off what is on its way to a host whose life is over, or that leaves.
func (s *State) endMovesTo(host string, m Meta, why string) {
	for _, vm := range s.SortedVMs() {
		if vm.Move != nil && vm.Move.Host == host {
			s.endMove(s.editVM(vm.UUID), m, why)
		}
	}
}

// moved gives the VM, which its owner has no more, to the target of its move: in the same
// entry, so that nobody else can be given it. Where the target is not that life any more the
// VM is released like any other.
func (c *Report) moved(s *State, vm *VM, e *Event) {
	v, from := vm.Move, vm.Owner.Host
	if v == nil || v.ID != c.Move || s.liveHost(v.Host, v.Incarnation) != nil {
		s.release(vm, c.Meta, fmt.Sprintf("%s gave it back after a move that was called off: %s", from, c.Detail))
		vm.asks(s)
		e.Type, e.Severity = EventVMStopped, Warning
		return
	}
	s.release(vm, c.Meta, "")
	vm.Generation++
	vm.Owner = &Placement{
		Host:        v.Host,
		Incarnation: v.Incarnation,
		Generation:  vm.Generation,
		Phase:       PhaseOrdered,
		At:          c.At,
		Round:       1,
		From:        from,
		Cold:        v.Cold,
		Devices:     v.Devices,
		Why:         v.Why,
	}
	vm.Choice = choice(v.Host, from, v.At, vm.Generation, v.Considered)
	vm.MoveFailures = nil
	vm.asks(s)
	vm.moves(s, from, v)
	*e = Event{Type: EventVMAssigned, VM: vm.Name, Host: v.Host, From: from, To: v.Host, Cause: v.ID,
		Text: fmt.Sprintf("%s has left %s, generation %d is %s's: %s", vm.Name, from, vm.Generation, v.Host, v.Why)}
}

func (c *SetMaintenance) apply(s *State) (any, *Refusal) {
	h := s.editHost(c.Host)
	switch {
	case h == nil:
		return refuse(CodeNotFound, "host %s is not a member", c.Host)
	case c.On == (h.Maintenance != nil):
		return nil, nil
	case c.On && s.Disarmed != nil:
		return nil, s.disarmed(h.Name + " is not put into maintenance, since its VMs would not be moved away")
	case c.On:
		h.Maintenance = &Maintenance{Since: c.At, By: c.By, Why: c.Why}
		s.emit(c.Meta, Event{Type: EventHostInMaintenance, Host: h.Name, Text: h.Name + " is in maintenance" + because(c.Why)})
		s.endMovesTo(h.Name, c.Meta, h.Name+" was put into maintenance")
		s.unfreeze(h.Name, c.Meta, h.Name+" was put into maintenance")
	default:
		h.Maintenance = nil
		s.emit(c.Meta, Event{Type: EventHostInService, Host: h.Name, Text: h.Name + " is back in service" + because(c.Why)})
	}
	return nil, nil
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// MovingTo lists the VMs that are on their way to the host, ordered by name.
func (s *State) MovingTo(host string) []*VM {
	var vms []*VM
	for _, vm := range s.VMs {
		if vm.Move != nil && vm.Move.Host == host {
			vms = append(vms, vm)
		}
	}
	slices.SortFunc(vms, byName)
	return vms
}
