package api

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// ChoiceView is a decision that gave a VM a host, as it was taken: what was true of the hosts
// then, not what is true of them now.
type ChoiceView struct {
	Host string    `json:"host"`
	From string    `json:"from,omitempty"` // where it was moved from
	At   time.Time `json:"at"`             // when it was ordered
	// Generation is that of the placement; 0 while it is on its way.
	Generation uint64 `json:"generation,omitempty"`
	// Why is the reason for it; empty once the placement is over: the event has it.
	Why        string    `json:"why,omitempty"`
	Considered []LotView `json:"considered"`
}

// LotView is some of the hosts that were looked at for a VM, of which the same is to be said.
// All lots of a decision have every host of the time once.
type LotView struct {
	Hosts []string `json:"hosts"` // by name
	// Chosen says that it is the one that the VM was given to.
	Chosen bool `json:"chosen,omitempty"`
	// Excluded names the constraint that excluded them, and Rule the rule; empty: they could have taken it.
	Excluded string `json:"excluded,omitempty"`
	Rule     string `json:"rule,omitempty"`
	// Rank is that of the first of them, from 1; 0: excluded.
	Rank int    `json:"rank,omitempty"`
	Text string `json:"text,omitempty"` // the figures
}

// slotNames knows hosts by their slots.
type slotNames struct {
	state  *fsm.State
	byslot map[uint16]string // made when it is asked for the first
}

func (n *slotNames) of(slot uint16) string {
	if n.byslot == nil {
		n.byslot = make(map[uint16]string, len(n.state.Hosts))
		for _, h := range n.state.Hosts {
			n.byslot[h.Slot] = h.Name
		}
	}
	if name := n.byslot[slot]; name != "" {
		return name
	}
	return fmt.Sprintf("a host that has left (slot %d)", slot)
}

// lots names the hosts of lots, of which to was chosen; empty: none was.
func (n *slotNames) lots(lots []fsm.Lot, to string) (out []LotView) {
	for _, l := range lots {
		v := LotView{Excluded: l.Excluded, Rule: l.Rule, Rank: l.Rank, Text: l.Text}
		for _, slot := range l.Slots.All() {
			v.Hosts = append(v.Hosts, n.of(slot))
		}
		slices.Sort(v.Hosts)
		v.Chosen = len(v.Hosts) == 1 && v.Hosts[0] == to && l.Excluded == ""
		out = append(out, v)
	}
	return out
}

// choices adds to an explanation how the host was chosen that the VM was given to last, and
// the one that it is on its way to.
func (w World) choices(e *Explanation, vm *fsm.VM) {
	names := &slotNames{state: w.State}
	if c := vm.Choice; c != nil {
		e.Placed = &ChoiceView{Host: c.Host, From: c.From, At: c.At, Generation: c.Generation, Considered: names.lots(c.Considered, c.Host)}
		if o := vm.Owner; o != nil && o.Generation == c.Generation {
			e.Placed.Why = o.Why
		}
	}
	if m := vm.Move; m != nil && len(m.Considered) > 0 {
		e.Going = &ChoiceView{Host: m.Host, At: m.At, Why: m.Why, Considered: names.lots(m.Considered, m.Host)}
		if vm.Owner != nil {
			e.Going.From = vm.Owner.Host
		}
	}
}
