package fsm

import (
	"fmt"
	"regexp"
	"slices"
)

// devicesKept bounds the devices of a host that one VM is handed.
const devicesKept = 64

// deviceForm is a word for a device of a host, such as "pci:0000:41:00.0".
var deviceForm = regexp.MustCompile(`^[a-z]{2,8}:[0-9a-f:.-]{1,64}$`)

func checkDevices(words []string) error {
	if len(words) > devicesKept {
		return invalid("%d devices of a host for one VM are more than %d", len(words), devicesKept)
	}
	for i, w := range words {
		if !deviceForm.MatchString(w) {
			return invalid("%.70q is no device of a host", w)
		}
		if slices.Contains(words[:i], w) {
			return invalid("device %.70s is named twice", w)
		}
	}
	return nil
}

// DevicesOn are the devices of the host that the VM has while it may run there, or will have
// when it comes there: those that were chosen for it, or else those of its definition, as far
// as that is of that host.
func (vm *VM) DevicesOn(host string) []string {
	switch {
	case vm.Owner != nil && vm.Owner.Host == host && vm.Owner.Devices != nil:
		return vm.Owner.Devices
	case vm.Owner != nil && vm.Owner.Host == host, vm.Sighting != nil && vm.Sighting.Host == host:
		if vm.DevicesOf == host {
			return vm.Devices
		}
	case vm.Move != nil && vm.Move.Host == host:
		return vm.Move.Devices
	}
	return nil
}

// devicesFree refuses devices of a host that were chosen for a VM which does not take as many,
// or of which another VM has one.
func (s *State) devicesFree(uuid, host string, chosen []string) *Refusal {
	if len(chosen) == 0 {
		return nil
	}
	vm := s.VMs[uuid]
	if len(chosen) != len(vm.Devices) {
		return &Refusal{CodeStale, fmt.Sprintf("%d devices of %s were chosen for %s, whose definition hands over %d",
			len(chosen), host, vm.Name, len(vm.Devices))}
	}
	for _, w := range chosen {
		if other := s.holder(host, w, uuid); other != "" {
			return &Refusal{CodeConflict, fmt.Sprintf("device %s of %s, chosen for %s, is %s's", w, host, vm.Name, other)}
		}
	}
	return nil
}

// holder is the VM besides one that has a device of a host; empty: none has.
func (s *State) holder(host, word, but string) (name string) {
	for uuid, vm := range s.VMs {
		if uuid != but && slices.Contains(vm.DevicesOn(host), word) && (name == "" || vm.Name < name) {
			name = vm.Name
		}
	}
	return name
}

// reads takes over which devices of a host a definition hands over that was read there, and
// reports whether they are others than it had there: a person's change.
func (vm *VM) reads(s *State, c *Redefine) (changed bool) {
	if c.Host == "" || len(c.Devices) == 0 {
		changed = c.XMLHash != vm.XMLHash && vm.Devices != nil
		if o := vm.Owner; changed && o != nil {
			vm.keeps(s, vm.DevicesOn(o.Host))
		}
		vm.Devices, vm.DevicesOf = nil, ""
		return changed
	}
	had := vm.DevicesOn(c.Host)
	if had == nil && vm.DevicesOf == c.Host {
		had = vm.Devices
	}
	changed = had != nil && !slices.Equal(had, c.Devices)
	if o := vm.Owner; changed && o != nil && o.Host == c.Host {
		vm.keeps(s, had)
	}
	vm.Devices, vm.DevicesOf = c.Devices, c.Host
	return changed
}

// keeps has what runs keep the devices of its host until it ends, whatever its definition says now.
func (vm *VM) keeps(s *State, had []string) {
	if o := vm.Owner; o.Devices == nil && s.alsoChosen(vm.UUID, o.Host, had) == "" {
		o.Devices = had
	}
}

// chosenOn are the devices of the host that were chosen for the VM.
func (vm *VM) chosenOn(host string) []string {
	switch {
	case vm.Owner != nil && vm.Owner.Host == host:
		return vm.Owner.Devices
	case vm.Move != nil && vm.Move.Host == host:
		return vm.Move.Devices
	}
	return nil
}

// soundDevices says why a VM cannot have the devices that were chosen for it, or nil. What
// definitions name besides is people's to say.
func (s *State) soundDevices(vm *VM) error {
	var hosts []string
	if vm.Owner != nil && vm.Owner.Devices != nil {
		hosts = append(hosts, vm.Owner.Host)
	}
	if vm.Move != nil && vm.Move.Devices != nil {
		hosts = append(hosts, vm.Move.Host)
	}
	for _, host := range hosts {
		if other := s.alsoChosen(vm.UUID, host, vm.chosenOn(host)); other != "" {
			return fmt.Errorf("a device of %s was chosen for both %s and %s", host, vm.Name, other)
		}
	}
	return nil
}

// alsoChosen is the VM besides one for which one of the devices of a host was chosen; empty: there is none.
func (s *State) alsoChosen(but, host string, words []string) (name string) {
	for uuid, vm := range s.VMs {
		if uuid == but {
			continue
		}
		for _, w := range vm.chosenOn(host) {
			if slices.Contains(words, w) && (name == "" || vm.Name < name) {
				name = vm.Name
			}
		}
	}
	return name
}
