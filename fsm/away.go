package fsm

// Away says that a VM is not where it belongs, though nobody asked for that.
type Away struct {
	Host string `json:"host"` // where it belongs
	// Maintenance says that it left because of maintenance; else its host was lost, or
	// could not start it.
	Maintenance bool `json:"maintenance,omitempty"`
}

// goes notes that the VM goes from one host to another. What a person asks for is where
// it belongs from then on; otherwise it belongs where it was before it first had to leave.
func (vm *VM) goes(s *State, from, to string, asked bool) {
	h := s.Hosts[from]
	switch maintained := h != nil && h.Emptied(); {
	case asked:
		vm.Away = nil
	case vm.Away == nil && from != "" && from != to:
		vm.Away = &Away{Host: from, Maintenance: maintained}
	}
	if vm.Away != nil && vm.Away.Host == to {
		vm.Away = nil
	}
}

// moves notes that the VM has moved: away from a host in maintenance, or by choice.
func (vm *VM) moves(s *State, from string, v *Move) {
	if h := s.Hosts[from]; v.By != "" || vm.Away != nil || h != nil && h.Emptied() {
		vm.goes(s, from, v.Host, v.By != "")
	}
}
