package whatif

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// Wish is that VMs go to other hosts, together.
type Wish struct {
	VMs []string `json:"vms"` // UUIDs of protected VMs
	// Host is where they go; empty: where each fits best.
	Host string `json:"host,omitempty"`
	// Cold has them shut down and started there.
	Cold bool `json:"cold,omitempty"`
}

// Granted is what would come of a wish.
type Granted struct {
	Moves []Relocation `json:"moves"`
	// Refused are VMs that cannot go; while there are any, nothing is moved.
	Refused []Staying `json:"refused"`
	// Room is whether room for failures is left; without an answer where nothing would be moved.
	Room Verdict `json:"room,omitzero"`
}

// Grant says where VMs would go that a person wants elsewhere, or why they cannot. Errors
// wrap ErrBadQuestion.
func Grant(b *inventory.Builder, in inventory.Input, w Wish) (*Granted, error) {
	inv := b.Build(in)
	target := -1
	if w.Host != "" {
		i, err := hostIn(inv.Cluster, w.Host)
		if err != nil {
			return nil, err
		}
		target = i
	}
	g := &granting{inv: inv, in: in, wish: w, out: &Granted{Moves: []Relocation{}, Refused: []Staying{}}, after: *inv.Cluster}
	g.after.VMs, g.after.Hosts = slices.Clone(g.after.VMs), slices.Clone(g.after.Hosts)
	for i := range g.after.Hosts {
		if h := &g.after.Hosts[i]; h.Failover && h.State == placement.Up && i != target {
			h.State, h.Why = placement.Closed, "it is kept for failures of other hosts"
		}
	}
	for _, uuid := range w.VMs {
		if in.State.VMs[uuid] == nil {
			return nil, fmt.Errorf("%w: no protected VM has the UUID %s", ErrBadQuestion, uuid)
		}
		g.consider(in.State.VMs[uuid])
	}
	g.decide()
	if len(g.out.Refused) > 0 {
		g.out.Moves = []Relocation{}
	}
	g.admit()
	return g.out, nil
}

type granting struct {
	inv   *inventory.Inventory
	in    inventory.Input
	wish  Wish
	out   *Granted
	after placement.Cluster
	moved []string // names in the picture
}

func (g *granting) refuse(vm *fsm.VM, format string, args ...any) {
	g.out.Refused = append(g.out.Refused, Staying{VM: vm.Name, UUID: vm.UUID, Why: fmt.Sprintf(format, args...)})
}

// consider settles what can be told of one VM by itself, or has it looked for a host.
func (g *granting) consider(vm *fsm.VM) {
	name := g.inv.Names[vm.UUID]
	v := &g.after.VMs[slices.IndexFunc(g.after.VMs, func(v placement.VM) bool { return v.Name == name })]
	to := g.wish.Host
	switch {
	case slices.Contains(g.moved, name):
	case vm.Move != nil:
		g.refuse(vm, "it is on its way to %s already: 'haadm vms migrate %s --cancel' calls that off", vm.Move.Host, vm.Name)
	case vm.Sighting != nil:
		g.refuse(vm, "it was seen running on %s, which has not confirmed yet that it guards it: try again in a moment", vm.Sighting.Host)
	case vm.Owner == nil && vm.Intent == fsm.IntentStop:
		g.settle(vm, name, v)
	case vm.Owner == nil || vm.Owner.Phase != fsm.PhaseRunning:
		g.refuse(vm, "it does not run now, and is started where there is room: 'haadm explain vm %s' says why it waits", vm.Name)
	case v.Host == to:
		g.refuse(vm, "it runs on %s already", to)
	case !v.Live && len(v.Bound) == 0 && !g.wish.Cold:
		g.refuse(vm, "it cannot be moved while it runs: %s. With --cold it is shut down and started there", strings.Join(v.NotLive, "; "))
	default:
		barred := maps.Clone(v.Barred)
		if barred == nil {
			barred = map[string]string{}
		}
		barred[v.Host] = "it runs there now"
		for i := range g.after.Hosts {
			if h := g.after.Hosts[i].Name; to != "" && h != to && h != v.Host {
				barred[h] = "not asked for"
			}
		}
		v.Status, v.Barred, v.Failed = placement.Waiting, barred, nil
		g.moved = append(g.moved, name)
	}
}

// settle is about a VM that a person stopped: it only belongs elsewhere from then on.
func (g *granting) settle(vm *fsm.VM, name string, v *placement.VM) {
	to := g.wish.Host
	switch {
	case to == "":
		g.refuse(vm, "it is stopped, and starts where there is room then: to have it belong elsewhere say where, with --to HOST")
		return
	case v.Host == to:
		g.refuse(vm, "it is stopped, and belongs to %s already", to)
		return
	}
	a, _ := g.inv.Agility(name)
	for _, f := range a.Hosts {
		if f.Host == to && len(f.Reasons) > 0 {
			g.refuse(vm, "%s cannot run it: %s", to, strings.Join(f.Reasons, "; "))
			return
		}
	}
	g.out.Moves = append(g.out.Moves, Relocation{VM: vm.Name, UUID: vm.UUID, From: v.Host, To: to, Why: "it is stopped: it starts there when it is started"})
}

// decide has the planner find hosts for what runs, as if it was started now.
func (g *granting) decide() {
	if len(g.moved) == 0 {
		return
	}
	for _, d := range placement.Decide(&g.after, placement.Question{}).Decisions {
		if !slices.Contains(g.moved, d.VM) {
			continue
		}
		uuid := g.inv.UUIDs[d.VM]
		vm := g.in.State.VMs[uuid]
		if d.Action == placement.Start {
			g.out.Moves = append(g.out.Moves, Relocation{VM: vm.Name, UUID: uuid, From: vm.Owner.Host, To: d.To, Cold: g.wish.Cold, Why: d.Why, Hosts: lookedAt(d.Hosts), Looked: d.Hosts})
			continue
		}
		no := Staying{VM: vm.Name, UUID: uuid, Why: d.Why, Hosts: lookedAt(d.Hosts)}
		for _, h := range d.Hosts {
			if h.Host == g.wish.Host {
				no.Why, no.Rule = h.String(), h.Rule
			}
		}
		g.out.Refused = append(g.out.Refused, no)
	}
}

// admit asks admission control about the cluster once all have moved.
func (g *granting) admit() {
	to := map[string]string{}
	for _, r := range g.out.Moves {
		if name := g.inv.Names[r.UUID]; slices.Contains(g.moved, name) {
			to[name] = r.To
		}
	}
	if len(to) == 0 {
		return
	}
	c := *g.inv.Cluster
	c.VMs = slices.Clone(c.VMs)
	var one placement.VM
	for i := range c.VMs {
		if h := to[c.VMs[i].Name]; h != "" {
			one = c.VMs[i]
			c.VMs[i].Host = h
		}
	}
	// Of several the last one is asked about, with the others where they go.
	for i := range c.VMs {
		if c.VMs[i].Name == one.Name {
			c.VMs[i].Host = one.Host
		}
	}
	g.out.Room = VerdictOf(&c, placement.Check(&c, placement.Change{VM: &one, Host: to[one.Name]}))
}
