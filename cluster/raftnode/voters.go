package raftnode

import (
	"fmt"
	"slices"
	"strings"
)

// defaultVoters is the most voters a cluster has; more make every commit slower
// and survive nothing that is likely.
const defaultVoters = 5

// seat is one member as the choice of voters sees it.
type seat struct {
	name  string
	voter bool
	// leader is the one that decides.
	leader bool
	// reachable: it answered within an election timeout. The leader is.
	reachable bool
	// lost: it has been silent for so long that its vote should go elsewhere.
	lost bool
	// ready: not a voter, but it has been reachable and level with the log for so
	// long that it may become one.
	ready bool
}

type action int

const (
	keep action = iota
	promote
	demote
)

// change is at most one step, with its reason for people.
type change struct {
	action action
	name   string
	why    string
}

// planVoters says what to change about who votes, one step at a time; the next
// step is planned from what is then so.
//
// How many vote: an odd number, at most most. An even number survives no more
// failures than one less does, and needs one more host for every commit. So a
// cluster of two members has one voter: with two, the death of either would stop
// the other as well, with one, only the death of that one does. Three or more
// members never have fewer than three voters, however many are lost: going down
// to one would trade a repairable outage for the loss of the state.
//
// A lost voter loses its vote first when somebody can take it over, or when the
// cluster is better off without it, and only while the voters that remain still
// have a majority. Nobody is ever removed from the cluster here.
func planVoters(seats []seat, most int) change {
	seats = slices.Clone(seats)
	slices.SortFunc(seats, func(a, b seat) int { return strings.Compare(a.name, b.name) })
	var voters, reachable, lost, ready int
	for _, s := range seats {
		switch {
		case s.voter && s.lost:
			voters++
			lost++
		case s.voter:
			voters++
			if s.reachable {
				reachable++
			}
		case s.ready:
			ready++
		}
	}
	target := targetVoters(len(seats), voters-lost+ready, lost, most)
	if voters > target || lost > 0 && ready > 0 {
		if c, ok := planDemotion(seats, voters, reachable, target); ok {
			return c
		}
	}
	// From an odd number only when the next odd one can be reached.
	if voters < target && ready > 0 && (voters%2 == 0 || voters+ready >= target || voters+ready >= voters+2) {
		for _, s := range seats {
			if !s.voter && s.ready {
				return change{promote, s.name, fmt.Sprintf("%d of %d voters", voters, target)}
			}
		}
	}
	return change{}
}

// targetVoters is how many should vote: usable are those that could, lost those
// voters that could not.
func targetVoters(members, usable, lost, most int) int {
	if members <= 2 {
		return 1
	}
	target := min(usable, most)
	if target%2 == 0 {
		// With a lost voter at hand, it costs nothing to wait for its return.
		if lost > 0 && target < most {
			target++
		} else {
			target--
		}
	}
	return max(target, 3)
}

// planDemotion picks the voter to lose its vote: a lost one before any other,
// never the leader. reachable counts the voters that answer.
func planDemotion(seats []seat, voters, reachable, target int) (change, bool) {
	for _, s := range seats {
		if s.voter && s.lost && reachable >= (voters-1)/2+1 {
			return change{demote, s.name, "it has been silent for too long"}, true
		}
	}
	if voters <= target {
		return change{}, false
	}
	for _, s := range slices.Backward(seats) {
		left := reachable
		if s.reachable {
			left--
		}
		if s.voter && !s.lost && !s.leader && left >= (voters-1)/2+1 {
			return change{demote, s.name, fmt.Sprintf("%d voters are one too many, %d are wanted", voters, target)}, true
		}
	}
	return change{}, false
}
