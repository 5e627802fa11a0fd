// Package choice says which of the heartbeat volumes that a policy names are in use:
// those that hosts agree on, as many as the policy asks for, and another one for one
// that is lost. It is a pure function of what hosts report. The master follows it,
// and what people are told about a volume is its word. Whether the set may be
// changed at this moment is not asked here.
package choice

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

const (
	// LostAfter is how long a volume in use must have failed on most live hosts without a
	// break before another takes its place. Of two volumes the loss of one suspends the
	// proofs of all hosts, so it is short; a change costs little, but each has every host
	// move to it, so it is longer than a path that fails over or a server that restarts
	// quickly is away.
	LostAfter = 20 * time.Second
	// DroppedAfter is how long it must have failed so before the others go on without it
	// where nothing can take its place: longer than a file server is away that restarts.
	// Of two, the other alone proves again then.
	DroppedAfter = 2 * time.Minute
	// SparedFor is how long a volume that was lost does not come into use again while there
	// is another, whatever hosts find there: one that can be read and not written looks well
	// until it is used.
	SparedFor = 10 * time.Minute
)

// The kinds of a volume, in the order in which they are chosen where hosts and servers
// make no difference.
const (
	KindBlock = "block" // a block device
	KindNFS   = "nfs"   // a file on NFS
	KindOther = "other" // a file on another file system
)

// Report is what a host says of what it finds at a path.
type Report struct {
	Path string
	ID   string // of the volume there; empty: none that can be used
	// Working and Failing are about a volume in use; neither while it is being opened.
	Working, Failing bool
	Error            string
	Kind, Server     string // as far as the host knows
}

// Host is a live host.
type Host struct {
	Name string
	Self bool // it is the master
	// Silent says that the master suspects it: it has no say, and finds nothing.
	Silent bool
	// Fresh says that the network brings its heartbeats: what it reports is of now.
	Fresh   bool
	Reports []Report
}

// Input is what the choice goes by.
type Input struct {
	Candidates []config.HeartbeatVolume // of the policy, in its order
	Count      int                      // how many are to be in use
	InUse      []fsm.Volume
	Hosts      []Host // the live ones
	Losses
}

// Candidate is what became of one volume of the policy.
type Candidate struct {
	config.HeartbeatVolume
	// ID is the volume's UUID, as far as it is in use or the hosts agree on it.
	ID string
	// Hosts is on how many live hosts it works, or was found.
	Hosts        int
	Kind, Server string
	// Used: it is in the set now. Chosen: it is in the next. Spare: it could be.
	Used, Chosen, Spare bool
	// Why it is not chosen, or why it goes; empty where neither is so.
	Why string

	order int
	twin  bool // another path to a volume that is named already
	lost  time.Duration
}

// Choose returns the next set of volumes, and what became of each candidate, in the
// order of the policy. One in use that works stays while the policy names it and there
// is room; a pinned one stays whatever it does; of those that are lost one at most gives
// its place away, to one that hosts agree on, or after a while to none.
func Choose(in Input) ([]fsm.Volume, []Candidate) {
	all := candidates(in)
	chosen := keep(in, all)
	chosen = fill(in, all, chosen)
	chosen = replace(in, all, chosen)
	for _, c := range chosen {
		c.Chosen = true
	}
	out := make([]Candidate, len(all))
	for i, c := range all {
		c.explain(in, all)
		out[i] = *c
	}
	return next(in, chosen), out
}

// candidates are those of the policy with what hosts say of them. Of one volume under
// two paths the one in use counts, else the first.
func candidates(in Input) []*Candidate {
	all := make([]*Candidate, len(in.Candidates))
	taken := map[string]string{} // name by id
	for i, v := range in.Candidates {
		c := &Candidate{HeartbeatVolume: v, order: i}
		all[i] = c
		c.Kind, c.Server = place(in.Hosts, v.Path)
		if k := slices.IndexFunc(in.InUse, func(u fsm.Volume) bool { return u.Path == v.Path }); k >= 0 {
			c.ID, c.Used, c.lost = in.InUse[k].ID, true, in.Lost[v.Path]
			taken[c.ID] = c.Name
		}
	}
	for _, c := range all {
		if !c.Used {
			id, why := Agreed(in.Hosts, c.Path)
			switch first := taken[id]; {
			case id == "":
				c.Why = why
			case first != "":
				c.ID, c.twin, c.Why = id, true, "it is the same volume as "+first+", under another path"
			default:
				c.ID, taken[id] = id, c.Name
				c.Used = slices.ContainsFunc(in.InUse, func(u fsm.Volume) bool { return u.ID == id })
			}
		}
		for _, h := range in.Hosts {
			if r := h.report(c.Path); !c.twin && r != nil && !h.Silent && r.ID != "" && r.ID == c.ID && !r.Failing {
				c.Hosts++
			}
		}
	}
	return all
}

// gone reports whether a volume in use is to be replaced.
func (c *Candidate) gone() bool { return c.Used && !c.Pinned && c.lost >= LostAfter }

// keep returns what is in use and stays, and what is pinned and can be used.
func keep(in Input, all []*Candidate) []*Candidate {
	var chosen []*Candidate
	take := func(of func(*Candidate) bool) {
		for len(chosen) < in.Count {
			c := best(all, chosen, of)
			if c == nil {
				return
			}
			chosen = append(chosen, c)
		}
	}
	take(func(c *Candidate) bool { return c.Pinned && c.Used })
	take(func(c *Candidate) bool { return c.Pinned })
	take(func(c *Candidate) bool { return c.Used && !c.gone() })
	take(func(c *Candidate) bool { return c.Used })
	return chosen
}

// expects reports whether it is worth waiting for what hosts find at the path of some
// candidate: there are more of them than places, and one was named a moment ago.
func (in Input) expects(all []*Candidate) bool {
	return len(all) > in.Count && slices.ContainsFunc(all, func(c *Candidate) bool { return in.New[c.Path] })
}

// fill gives the places that are free to the best candidates.
func fill(in Input, all, chosen []*Candidate) []*Candidate {
	if in.expects(all) {
		return chosen
	}
	for len(chosen) < in.Count {
		c := best(all, chosen, func(c *Candidate) bool { return !c.Used && (!in.Spared[c.Path] || len(chosen) == 0) })
		if c == nil {
			break
		}
		chosen = append(chosen, c)
	}
	return chosen
}

// replace gives the place of the volume that has been lost for longest to the best
// candidate that is left. Where there is none, the set goes on without it after a while,
// if another works on most hosts. That is a change like any: a claim has to stand on
// enough volumes of both sets until every live host has moved (safety.md, C3).
func replace(in Input, all, chosen []*Candidate) []*Candidate {
	worst := -1
	for i, c := range chosen {
		if c.gone() && (worst < 0 || c.lost > chosen[worst].lost) {
			worst = i
		}
	}
	if worst < 0 {
		return chosen
	}
	rest := slices.Delete(slices.Clone(chosen), worst, worst+1) // what a spare shares with the one that goes does not count
	if spare := best(all, rest, func(c *Candidate) bool { return !c.Used && !in.Spared[c.Path] }); spare != nil && !in.expects(all) {
		return append(rest, spare)
	}
	if chosen[worst].lost >= DroppedAfter && slices.ContainsFunc(rest, func(c *Candidate) bool { return c.Used && c.lost == 0 && 2*c.Hosts > len(in.Hosts) }) {
		return rest
	}
	return chosen
}

// best is the candidate to be chosen next of those that hosts agree on: the one that
// most hosts find, on another server than those chosen before, block before NFS before
// other, first in the policy.
func best(all, chosen []*Candidate, of func(*Candidate) bool) *Candidate {
	var first *Candidate
	for _, c := range all {
		if c.ID == "" || c.twin || slices.Contains(chosen, c) || !of(c) {
			continue
		}
		if first == nil || before(c, first, chosen) < 0 {
			first = c
		}
	}
	return first
}

func before(a, b *Candidate, chosen []*Candidate) int {
	return cmp.Or(-cmp.Compare(a.Hosts, b.Hosts), cmp.Compare(a.shared(chosen), b.shared(chosen)), cmp.Compare(kindRank(a.Kind), kindRank(b.Kind)), a.order-b.order)
}

// shared is 0 where a candidate is certainly on another server than all of chosen, 1
// where nobody knows, 2 where it is on the same as one of them.
func (c *Candidate) shared(chosen []*Candidate) int {
	rank := 0
	for _, o := range chosen {
		switch {
		case c.Server == "" || o.Server == "":
			rank = max(rank, 1)
		case SameServer(c.Server, o.Server):
			return 2
		}
	}
	return rank
}

// SameServer reports whether two volumes have a server in common. Each may have several
// addresses, with commas between them.
func SameServer(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	of := strings.Split(b, ",")
	return slices.ContainsFunc(strings.Split(a, ","), func(s string) bool { return slices.Contains(of, s) })
}

func kindRank(kind string) int {
	switch kind {
	case KindBlock:
		return 0
	case KindNFS:
		return 1
	}
	return 2
}

// next is the set of the chosen: those in use in the order that they have, so that one
// set has one order, then those that come.
func next(in Input, chosen []*Candidate) []fsm.Volume {
	var set []fsm.Volume
	rest := slices.Clone(chosen)
	for _, u := range in.InUse {
		if i := slices.IndexFunc(rest, func(c *Candidate) bool { return c.ID == u.ID }); i >= 0 {
			set = append(set, fsm.Volume{Name: rest[i].Name, Path: rest[i].Path, ID: u.ID})
			rest = slices.Delete(rest, i, i+1)
		}
	}
	slices.SortFunc(rest, func(a, b *Candidate) int { return a.order - b.order })
	for _, c := range rest {
		set = append(set, fsm.Volume{Name: c.Name, Path: c.Path, ID: c.ID})
	}
	return set
}

// explain says why a candidate is not among the chosen, or leaves them.
func (c *Candidate) explain(in Input, all []*Candidate) {
	c.Spare = c.ID != "" && !c.twin && !c.Used && !c.Chosen
	var names []string
	for _, o := range all {
		if o.Chosen {
			names = append(names, o.Name)
		}
	}
	switch {
	case c.Chosen || c.ID == "" || c.Why != "":
	case c.Used && c.gone():
		c.Why = fmt.Sprintf("it has failed on most hosts for %v", c.lost.Round(time.Second))
	case c.Used:
		c.Why = fmt.Sprintf("heartbeat_volumes.count is %d, and %s %s chosen before it", in.Count, strings.Join(names, ", "), areIs(len(names)))
	case in.Spared[c.Path]:
		c.Why = fmt.Sprintf("it failed on most hosts a while ago, and comes into use no sooner than %.0f minutes after that while there is another", SparedFor.Minutes())
	default:
		c.Why = fmt.Sprintf("%s %s in use, as many as heartbeat_volumes.count asks for: it takes the place of the first that is lost", strings.Join(names, ", "), areIs(len(names)))
	}
}

func areIs(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
