package raftnode

import (
	"fmt"
	"strings"
	"testing"
)

// seatsFrom reads "A* b! c~ d+ e?": upper case votes; * leads; ! is lost, ~ is
// silent but not lost yet, + is ready for a vote; otherwise it is reachable.
func seatsFrom(s string) []seat {
	var out []seat
	for _, f := range strings.Fields(s) {
		x := seat{name: strings.ToLower(f[:1]), voter: f[0] >= 'A' && f[0] <= 'Z', reachable: true}
		switch f[1:] {
		case "*":
			x.leader = true
		case "!":
			x.lost, x.reachable = true, false
		case "~":
			x.reachable = false
		case "+":
			x.ready = true
		}
		out = append(out, x)
	}
	return out
}

func TestPlanVoters(t *testing.T) {
	tests := []struct{ name, seats, want string }{
		{"alone", "A*", ""},
		{"two members keep one voter", "A* b+", ""},
		{"two members with two voters give one up", "A* B", "demote b"},
		{"two left of three, the other voter died: nothing can be changed", "A* B!", "demote b"},
		{"three members, the second is not enough", "A* b+ c", ""},
		{"three members are ready, the first", "A* b+ c+", "promote b"},
		{"three members are ready, the second", "A* B c+", "promote c"},
		{"three voters are settled", "A* B C", ""},
		{"the fourth member gets no vote", "A* B C d+", ""},
		{"five members, the fourth vote waits for the fifth", "A* B C d+ e", ""},
		{"five members are ready", "A* B C d+ e+", "promote d"},
		{"five members are ready, the last vote", "A* B C D e+", "promote e"},
		{"the sixth member gets no vote", "A* B C D E f+", ""},
		{"a member that is not ready gets no vote", "A* B c d", ""},
		{"three voters, one lost, no spare: keep", "A* B C!", ""},
		{"three voters, one lost, a spare: first the lost one", "A* B C! d+", "demote c"},
		{"then the spare", "A* B c d+", "promote d"},
		{"a lost voter while another is silent: no majority would be left", "A* B~ C! d+", ""},
		{"five voters, one lost, no spare: keep", "A* B C D E!", ""},
		{"five voters, one lost, a spare", "A* B C D E! f+", "demote e"},
		{"five voters, two lost, no spare: three are better", "A* B C D! E!", "demote d"},
		{"and go on", "A* B C d E!", "demote e"},
		{"four voters left by a removal", "A* B C D", "demote d"},
		{"the leader is never demoted", "A B C D*", "demote c"},
		{"lost before reachable", "A! B C D*", "demote a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			switch c := planVoters(seatsFrom(tt.seats), 5); c.action {
			case promote:
				got = "promote " + c.name
			case demote:
				got = "demote " + c.name
			}
			if got != tt.want {
				t.Errorf("%s: %q, want %q", tt.seats, got, tt.want)
			}
		})
	}
}

// TestPlanVotersEverywhere goes through every state of up to seven members and
// carries plans out until nothing changes.
func TestPlanVotersEverywhere(t *testing.T) {
	kinds := []seat{
		{voter: true, reachable: true}, {voter: true}, {voter: true, lost: true},
		{reachable: true, ready: true}, {reachable: true}, {},
	}
	states := 0
	for members := 1; members <= 7; members++ {
		total := 1
		for range members - 1 {
			total *= len(kinds)
		}
		for code := range total {
			seats := []seat{{name: "a", voter: true, leader: true, reachable: true}}
			for i, c := 1, code; i < members; i, c = i+1, c/len(kinds) {
				s := kinds[c%len(kinds)]
				s.name = string(rune('a' + i))
				seats = append(seats, s)
			}
			if !majority(seats) {
				continue // nobody leads there
			}
			states++
			if err := settle(seats); err != nil {
				t.Fatalf("members %+v: %v", seats, err)
			}
		}
	}
	t.Logf("%d states", states)
}

func majority(seats []seat) bool {
	voters, reachable := 0, 0
	for _, s := range seats {
		if s.voter {
			voters++
			if s.reachable {
				reachable++
			}
		}
	}
	return reachable >= voters/2+1
}

// settle carries plans out and checks every step.
func settle(seats []seat) error {
	for range 20 {
		c := planVoters(seats, 5)
		if c.action == keep {
			return settled(seats)
		}
		for i := range seats {
			s := &seats[i]
			if s.name != c.name {
				continue
			}
			switch {
			case c.action == promote && (s.voter || !s.ready):
				return fmt.Errorf("promotes %s, which is not ready", c.name)
			case c.action == demote && (!s.voter || s.leader):
				return fmt.Errorf("demotes %s, which has no vote or leads", c.name)
			}
			s.voter = c.action == promote
			// One that has just lost its vote is not ready for it the next moment.
			s.ready, s.lost = false, false
		}
		if !majority(seats) {
			return fmt.Errorf("after %+v no majority of the voters answers: %+v", c, seats)
		}
	}
	return fmt.Errorf("never comes to rest: %+v", seats)
}

// settled checks what must be so when nothing is left to change.
func settled(seats []seat) error {
	voters, lost, ready := 0, 0, 0
	for _, s := range seats {
		switch {
		case s.voter && s.lost:
			voters++
			lost++
		case s.voter:
			voters++
		case s.ready:
			ready++
		}
	}
	switch {
	case voters > 5:
		return fmt.Errorf("%d voters", voters)
	case len(seats) <= 2 && voters-lost > 1 && majorityWithoutOne(seats):
		return fmt.Errorf("%d voters of %d members", voters, len(seats))
	case len(seats) >= 3 && voters < 3 && voters+ready >= 3:
		return fmt.Errorf("%d voters, though %d more are ready", voters, ready)
	case lost > 0 && ready > 0 && majorityWithoutOne(seats):
		return fmt.Errorf("a lost voter keeps its vote though %d are ready to take it", ready)
	}
	return nil
}

// majorityWithoutOne reports whether a lost or spare voter could be given up.
func majorityWithoutOne(seats []seat) bool {
	voters, reachable := 0, 0
	for _, s := range seats {
		if s.voter {
			voters++
			if s.reachable {
				reachable++
			}
		}
	}
	return reachable >= (voters-1)/2+1
}
