package whatif

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
)

// Service is what becomes of VMs when a host is taken out of service, or put back: what the
// master would do, by the same plan.
type Service struct {
	Host string `json:"host"`
	// Moves are in the order in which they begin.
	Moves []Relocation `json:"moves"`
	// Stay are VMs that run there and that nothing moves.
	Stay []Staying `json:"stay"`
	// Room is whether room for failures is left.
	Room Verdict `json:"room"`
	// Last says, of a host that would be taken out, why no other takes VMs; empty: one does.
	Last string `json:"last,omitempty"`
	// Problems are what was left out of the picture, for people.
	Problems []string `json:"problems,omitempty"`
}

// Relocation is one VM that goes to another host.
type Relocation struct {
	VM    string          `json:"vm"`
	UUID  string          `json:"uuid"`
	From  string          `json:"from"`
	To    string          `json:"to"`
	Cause placement.Cause `json:"cause,omitempty"`
	Cold  bool            `json:"cold,omitempty"` // it is shut down and started there
	Why   string          `json:"why"`
	// Waits says what it waits for before it begins; empty: nothing.
	Waits string       `json:"waits,omitempty"`
	Hosts []Considered `json:"hosts,omitempty"`
	// Looked is Hosts as the planner has it, for what is kept of the decision; only of a move
	// that was granted.
	Looked []placement.Considered `json:"-"`
}

// Staying is one VM that should go and cannot.
type Staying struct {
	VM    string       `json:"vm"`
	UUID  string       `json:"uuid"`
	Why   string       `json:"why"`
	Rule  string       `json:"rule,omitempty"` // that forbids it, where one does
	Hosts []Considered `json:"hosts,omitempty"`
}

// Verdict is what admission control says.
type Verdict struct {
	Mode    string                  `json:"mode"` // enforce, warn or off
	By      placement.AdmissionKind `json:"by"`
	Answer  string                  `json:"answer"` // whether room for failures is left: yes, no or unknown
	Refused bool                    `json:"refused,omitempty"`
	Why     string                  `json:"why,omitempty"`
	Culprit string                  `json:"culprit,omitempty"`
	WaysOut []string                `json:"ways_out,omitempty"`
}

// VerdictOf puts what admission control says to a change of a cluster into words.
func VerdictOf(c *placement.Cluster, v placement.Verdict) Verdict {
	return Verdict{Mode: modeWord(c.Policy.Admission.Mode), By: v.Rule, Answer: v.Answer.String(), Refused: v.Refused, Why: v.Why, Culprit: v.Culprit, WaysOut: v.WaysOut}
}

func modeWord(m placement.Mode) string {
	return map[placement.Mode]string{placement.Enforce: "enforce", placement.Warn: "warn", placement.Off: "off"}[m]
}

// TakeOut plans what happens when a host goes into maintenance; of one that is in
// maintenance, what is left to be done. Errors wrap ErrBadQuestion.
func TakeOut(b *inventory.Builder, in inventory.Input, host string) (*Service, error) {
	in = in.Thawed(host)
	inv := b.Build(in)
	all, err := takeOut(in, inv, inv.Cluster, inventory.MoveSettings(in.Policy), []string{host})
	if err != nil {
		return nil, err
	}
	all[0].Problems = inv.Problems
	return &all[0], nil
}

// takeOut plans what happens when hosts go into maintenance together: nothing moves from one
// of them to another. Admission control and Last are asked about each as if those before it
// in the list were in maintenance already, and empty as far as they get.
func takeOut(in inventory.Input, inv *inventory.Inventory, c *placement.Cluster, set placement.MoveSettings, hosts []string) ([]Service, error) {
	out := c
	for _, host := range hosts {
		i, err := hostIn(c, host)
		if err != nil {
			return nil, err
		}
		out = withState(out, i, placement.Maintenance)
	}
	plan := inventory.Devised(in, inv, placement.PlanMoves(out, set))
	goes := slices.Concat(plan.Begin, plan.Later)
	var all []Service
	before := c
	for k, host := range hosts {
		i, err := hostIn(c, host)
		if err != nil {
			return nil, err
		}
		if slices.Contains(hosts[:k], host) {
			continue
		}
		ch := placement.Change{Maintenance: host}
		if s := before.Hosts[i].State; s == placement.Maintenance || s == placement.Down {
			ch = placement.Change{}
		}
		s := Service{Host: host, Moves: []Relocation{}, Stay: []Staying{}, Room: VerdictOf(before, placement.Check(before, ch)), Last: last(before, host)}
		s.relocate(inv, goes, func(r placement.Relocation) bool { return r.From == host && r.Cause == placement.Evacuate })
		for _, x := range plan.Stay {
			if x.Host == host && x.Cause == placement.Evacuate {
				s.Stay = append(s.Stay, Staying{VM: x.VM, UUID: inv.UUIDs[x.VM], Why: x.Why, Hosts: lookedAt(x.Hosts)})
			}
		}
		all = append(all, s)
		before = moved(withState(before, i, placement.Maintenance), s.Moves)
	}
	return all, nil
}

// moved is the cluster once VMs are where they go.
func moved(c *placement.Cluster, moves []Relocation) *placement.Cluster {
	to := map[string]string{}
	for _, m := range moves {
		to[m.VM] = m.To
	}
	after := *c
	after.VMs = slices.Clone(c.VMs)
	for i := range after.VMs {
		if host, goes := to[after.VMs[i].Name]; goes {
			after.VMs[i].Host, after.VMs[i].Moving = host, ""
		}
	}
	return &after
}

// PutBack plans what comes to a host when it is back in service. Errors wrap ErrBadQuestion.
func PutBack(b *inventory.Builder, in inventory.Input, host string) (*Service, error) {
	inv := b.Build(in)
	i, err := hostIn(inv.Cluster, host)
	if err != nil {
		return nil, err
	}
	c := inv.Cluster
	if c.Hosts[i].State == placement.Maintenance {
		c = withState(c, i, placement.Up)
	}
	s := &Service{Host: host, Moves: []Relocation{}, Stay: []Staying{}, Room: VerdictOf(c, placement.Check(c, placement.Change{})), Problems: inv.Problems}
	moves := inventory.Devised(in, inv, placement.PlanMoves(c, inventory.MoveSettings(in.Policy)))
	s.relocate(inv, slices.Concat(moves.Begin, moves.Later), func(r placement.Relocation) bool { return r.To == host })
	return s, nil
}

func (s *Service) relocate(inv *inventory.Inventory, all []placement.Relocation, wanted func(placement.Relocation) bool) {
	for _, r := range all {
		if wanted(r) {
			s.Moves = append(s.Moves, Relocation{VM: r.VM, UUID: inv.UUIDs[r.VM], From: r.From, To: r.To, Cause: r.Cause, Cold: r.Cold, Why: r.Why, Waits: strings.TrimPrefix(r.Waits, r.VM+": "), Hosts: lookedAt(r.Hosts)})
		}
	}
}

// last says why no host but this one takes VMs; empty when another does.
func last(c *placement.Cluster, host string) string {
	var words []string
	for i := range c.Hosts {
		h := &c.Hosts[i]
		switch {
		case h.Name == host:
		case h.State == placement.Up:
			return ""
		default:
			words = append(words, fmt.Sprintf("%s is %s", h.Name, stateWord(h.State)))
		}
	}
	if len(words) == 0 {
		return "it is the only host"
	}
	slices.Sort(words)
	return strings.Join(words, "; ")
}

// stateWord says what a host is good for.
func stateWord(s placement.HostState) string {
	return map[placement.HostState]string{placement.Up: "up", placement.Closed: "closed", placement.Maintenance: "in maintenance", placement.Down: "down"}[s]
}

func hostIn(c *placement.Cluster, host string) (int, error) {
	var names []string
	for i := range c.Hosts {
		if c.Hosts[i].Name == host {
			return i, nil
		}
		names = append(names, c.Hosts[i].Name)
	}
	slices.Sort(names)
	return 0, fmt.Errorf("%w: there is no host %q; there are %s", ErrBadQuestion, host, strings.Join(names, ", "))
}

// withState is the cluster with a host, the one with that index, in another state.
func withState(c *placement.Cluster, host int, s placement.HostState) *placement.Cluster {
	after := *c
	after.Hosts = slices.Clone(c.Hosts)
	if h := &after.Hosts[host]; h.State != s && h.State != placement.Down {
		h.State, h.Why = s, "as asked for"
	}
	return &after
}

func lookedAt(all []placement.Considered) (out []Considered) {
	for _, h := range all {
		out = append(out, Considered{Host: h.Host, Excluded: h.Excluded, Rule: h.Rule, Text: strings.TrimPrefix(h.String(), h.Host+": ")})
	}
	return out
}
