package fsm

import "fmt"

// follows says why a command cannot have made this state of the one before (I6), or
// nil: numbers only grow, an owner is live and owns the present generation, and who is
// not live any more owns nothing. It looks at what the command touched.
func (s *State) follows(before *State) error {
	if s.Office.Epoch < before.Office.Epoch {
		return fmt.Errorf("the epoch goes back from %d to %d", before.Office.Epoch, s.Office.Epoch)
	}
	if s.Volumes.Revision < before.Volumes.Revision {
		return fmt.Errorf("the heartbeat volumes go back from revision %d to %d", before.Volumes.Revision, s.Volumes.Revision)
	}
	ended := false // a life may have: then every VM is looked at
	if s.ownHosts {
		for name, was := range before.Hosts {
			h := s.Hosts[name]
			if h == was {
				continue
			}
			if h != nil && h.Incarnation < was.Incarnation {
				return fmt.Errorf("the incarnation of %s goes back from %d to %d", name, was.Incarnation, h.Incarnation)
			}
			ended = ended || was.Status == HostLive && !s.Live(name, was.Incarnation)
		}
	}
	if !s.ownVMs && !ended {
		return nil
	}
	for uuid, vm := range s.VMs {
		was := before.VMs[uuid]
		if vm == was && !ended {
			continue
		}
		if was != nil && vm.Generation < was.Generation {
			return fmt.Errorf("the generation of %s goes back from %d to %d", vm.Name, was.Generation, vm.Generation)
		}
		if err := s.soundOwner(vm); err != nil {
			return err
		}
		if err := s.soundDevices(vm); err != nil {
			return err
		}
	}
	return nil
}

// soundOwner says why a VM cannot have the owner that it has, or nil.
func (s *State) soundOwner(vm *VM) error {
	o := vm.Owner
	switch {
	case o == nil:
	case !s.Live(o.Host, o.Incarnation):
		return fmt.Errorf("%s is owned by %s (incarnation %d), which is not live", vm.Name, o.Host, o.Incarnation)
	case o.Generation != vm.Generation:
		return fmt.Errorf("%s is at generation %d, its owner at %d", vm.Name, vm.Generation, o.Generation)
	case vm.Sighting != nil:
		return fmt.Errorf("%s is owned by %s and sighted on %s at once", vm.Name, o.Host, vm.Sighting.Host)
	}
	return nil
}
