package api

import (
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/fsm"
)

// unkept adds to an explanation the rules that are broken with this VM where it runs, and
// what will be done about each, or why nothing is.
func (s *Server) unkept(w World, vm *fsm.VM, e *Explanation) {
	in, err := w.picture()
	if err != nil || len(in.Policy.Rules) == 0 {
		return
	}
	s.drawing.Lock()
	defer s.drawing.Unlock()
	list, _ := whatif.Violations(&s.builder, in)
	for _, v := range list {
		if v.Rule == "" || !slices.Contains(v.VMs, vm.Name) {
			continue
		}
		word := "should"
		if v.Must {
			word = "must"
		}
		e.rule("rule", "%s (%s)", v.Why, word)
		for _, d := range v.Repair {
			e.rule("rule", "moving %s from %s to %s makes it better kept", d.VM, d.From, d.To)
		}
		if v.Stays != "" {
			e.rule("rule", "%s", v.Stays)
		}
	}
}
