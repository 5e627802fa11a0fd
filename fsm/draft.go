package fsm

import (
	"maps"
	"slices"
)

// draft returns a State that can be changed without changing s: older readers
// keep what they hold. Maps and entries are copied when they are first written.
func (s *State) draft() *State {
	d := *s
	d.ownHosts, d.ownVMs, d.ownTokens, d.ownLoose = false, false, false, false
	return &d
}

func (s *State) writeHosts() map[string]*Host {
	if !s.ownHosts {
		s.Hosts, s.ownHosts = cloneMap(s.Hosts), true
	}
	return s.Hosts
}

func (s *State) writeVMs() map[string]*VM {
	if !s.ownVMs {
		s.VMs, s.ownVMs = cloneMap(s.VMs), true
	}
	return s.VMs
}

func (s *State) writeTokens() map[string]*Token {
	if !s.ownTokens {
		s.Tokens, s.ownTokens = cloneMap(s.Tokens), true
	}
	return s.Tokens
}

func (s *State) writeLoose() map[string]string {
	if !s.ownLoose {
		s.Loose, s.ownLoose = cloneMap(s.Loose), true
	}
	return s.Loose
}

func cloneMap[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

// editHost returns a copy of the host that may be changed, already in the draft; nil if unknown.
func (s *State) editHost(name string) *Host {
	h := s.Hosts[name]
	if h == nil {
		return nil
	}
	c := *h
	s.writeHosts()[name] = &c
	return &c
}

// editVM returns a copy of the VM that may be changed, already in the draft; nil if unknown.
func (s *State) editVM(uuid string) *VM {
	vm := s.VMs[uuid]
	if vm == nil {
		return nil
	}
	c := *vm
	if vm.Owner != nil {
		o := *vm.Owner
		c.Owner = &o
	}
	if vm.Sighting != nil {
		g := *vm.Sighting
		c.Sighting = &g
	}
	if vm.Move != nil {
		v := *vm.Move
		c.Move = &v
	}
	if vm.Restart != nil {
		r := *vm.Restart
		c.Restart = &r
	}
	c.Failures = slices.Clone(vm.Failures)
	if vm.Away != nil {
		a := *vm.Away
		c.Away = &a
	}
	c.MoveFailures = slices.Clone(vm.MoveFailures)
	s.writeVMs()[uuid] = &c
	return &c
}

// emit records an event and returns its id. Older States keep their own length
// of the shared slice, so appending to it is invisible to them.
func (s *State) emit(m Meta, e Event) uint64 {
	s.LastEvent++
	e.ID, e.At = s.LastEvent, m.At
	if e.By == "" {
		e.By = m.By
	}
	if e.Severity == "" {
		e.Severity = Info
	}
	if len(s.Events) >= EventsKept {
		s.Events = s.Events[len(s.Events)-EventsKept+1:]
	}
	s.Events = append(s.Events, e)
	return e.ID
}

// suspicion is the event by which the host came under the suspicion that it is
// under now; 0 when it is under none, or the event is no longer kept.
func (s *State) suspicion(host string) uint64 {
	for i := len(s.Events) - 1; i >= 0; i-- {
		e := &s.Events[i]
		if e.Host != host {
			continue
		}
		switch e.Type {
		case EventHostSuspected, EventHostPartitioned, EventHostIsolated, EventHostAgentDown:
			return e.ID
		case EventHostHeardAgain, EventHostAvailable, EventHostJoined:
			return 0
		}
	}
	return 0
}

// release ends the VM's placement: from here on it may be placed anew.
func (s *State) release(vm *VM, m Meta, why string) {
	if vm.Owner.Phase == PhaseRunning { // else it has been waiting since before it was placed
		vm.WaitingSince, vm.Lost = m.At, false
	}
	vm.Home = vm.Owner.Host
	vm.Owner, vm.Move, vm.Restart = nil, nil, nil
	vm.Waiting = why
}
