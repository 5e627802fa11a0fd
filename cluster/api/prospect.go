package api

import (
	"context"
	"maps"
	"net/url"
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// AgilityView says where a VM could run, were all hosts up and empty, and what would become
// of it as things are.
type AgilityView struct {
	// Agile: a host other than the one that it is on could run it.
	Agile bool `json:"agile"`
	// Goes is the host that it would be started on if its own was lost now, Nowhere why there
	// is none. Both are empty for one that does not run.
	Goes    string `json:"goes,omitempty"`
	Nowhere string `json:"nowhere,omitempty"`
	// Ties are what ties it to its host, and what it would lose.
	Ties []TieView `json:"ties"`
	// Hosts are all hosts by name, each with everything that keeps the VM from it.
	Hosts []FitView `json:"hosts"`
}

// agility adds to an answer about a VM where it could run, where that can be told.
func (s *Server) agility(w World, uuid string) *AgilityView {
	in, err := w.picture()
	if err != nil {
		return nil
	}
	return s.agilityIn(in, uuid)
}

// prospects is agility of a VM as it is given, which the picture may know otherwise.
func (s *Server) prospects(w World, vm *fsm.VM) *AgilityView {
	in, err := w.picture()
	if err != nil {
		return nil
	}
	st := *in.State
	if st.VMs = maps.Clone(st.VMs); st.VMs == nil {
		st.VMs = map[string]*fsm.VM{}
	}
	st.VMs[vm.UUID] = vm
	in.State = &st
	return s.agilityIn(in, vm.UUID)
}

func (s *Server) agilityIn(in inventory.Input, uuid string) *AgilityView {
	s.drawing.Lock()
	defer s.drawing.Unlock()
	inv := s.builder.Build(in)
	name := inv.Names[uuid]
	a, ok := inv.Agility(name)
	if !ok {
		return nil
	}
	v := &AgilityView{Agile: a.Agile, Ties: []TieView{}, Hosts: []FitView{}}
	v.Goes, v.Nowhere = ifLost(inv.Cluster, name)
	for _, t := range a.Ties {
		v.Ties = append(v.Ties, TieView(t))
	}
	for _, h := range a.Hosts {
		v.Hosts = append(v.Hosts, FitView(h))
	}
	return v
}

// ifLost is where a VM that runs would go if its host was lost, or why nowhere.
func ifLost(c *placement.Cluster, name string) (goes, nowhere string) {
	i := slices.IndexFunc(c.VMs, func(v placement.VM) bool { return v.Name == name })
	if i < 0 || c.VMs[i].Status != placement.Running {
		return "", ""
	}
	for _, d := range placement.Decide(c, placement.Question{Lost: []string{c.VMs[i].Host}}).Decisions {
		switch {
		case d.VM != name:
		case d.Action == placement.StayDown:
			return "", d.Why
		default:
			return d.To, ""
		}
	}
	return "", ""
}

// prospect is a VM outside protection with what protection would be worth to it.
func (s *Server) prospect(ctx context.Context, c *call) (any, error) {
	vm, err := s.backend.Prospect(ctx, c.PathValue("vm"))
	if err != nil {
		return nil, err
	}
	w, err := s.world()
	if err != nil {
		return nil, err
	}
	view, err := w.VM(vm.UUID)
	if err != nil {
		return nil, err
	}
	view.Agility = s.prospects(w, vm)
	return &VMAnswer{Schema: Schema, Source: w.source(), VM: view}, nil
}

// Prospect asks what protection would be worth to a VM, by name or UUID: where it could run,
// and what would become of it if its host was lost now. Nothing is changed.
func (c *Client) Prospect(ctx context.Context, vm string) (*VMAnswer, error) {
	return ask[VMAnswer](ctx, c, "/v1/vms/"+url.PathEscape(vm)+"/prospect")
}
