// Package verdict turns what the master has seen of a host into a verdict with
// its evidence. It is pure: signals in, verdict out. It knows the network signals;
// heartbeat volumes add rows to the table, not another way to decide.
package verdict

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// Verdict is what the master holds about a host.
type Verdict string

const (
	Live    Verdict = "live"    // heard within the bound
	Suspect Verdict = "suspect" // not heard: no longer acknowledged, dead once the wait is over
	Dead    Verdict = "dead"    // its incarnation was declared dead
	Joining Verdict = "joining" // has no incarnation yet
)

// Signals are what was seen of one host. Ages are on the master's boot clock.
type Signals struct {
	// Status is the committed one.
	Status fsm.HostStatus
	// Incarnation is the committed one.
	Incarnation uint64
	// Networks is the age of the last heartbeat by HA network; negative: none in this office.
	Networks map[string]time.Duration
	// Heard is the age of the last heartbeat over any network, or of the office when none came.
	Heard time.Duration
	// Suspected says that the master has stopped acknowledging the host.
	Suspected bool
	// Bound is the silence after which a host is suspected.
	Bound time.Duration
	// By is the master that saw all this.
	By string
}

// Judge applies the table. The evidence lists every network, and the silence
// against its bound.
func Judge(s Signals) (Verdict, []fsm.Evidence) {
	var names []string
	for n := range s.Networks {
		names = append(names, n)
	}
	slices.Sort(names)
	var ev []fsm.Evidence
	for _, n := range names {
		age := s.Networks[n]
		e := fsm.Evidence{Signal: "heartbeat over " + n, Value: "arrives", Age: age, By: s.By}
		switch {
		case age < 0:
			e.Value, e.Age = "none since this master took office", 0
		case age > s.Bound:
			e.Value = fmt.Sprintf("none for %v (the bound is %v)", age.Round(time.Millisecond), s.Bound)
		}
		ev = append(ev, e)
	}
	switch {
	case s.Status == fsm.HostJoining:
		return Joining, ev
	case s.Status == fsm.HostDead:
		return Dead, ev
	case s.Suspected || s.Heard > s.Bound:
		return Suspect, ev
	}
	return Live, ev
}

// Quiet lists the networks over which a host that is live is not heard: each is
// a warning, none is a reason to act.
func Quiet(s Signals) []string {
	if s.Heard > s.Bound {
		return nil
	}
	var quiet []string
	for n, age := range s.Networks {
		if age > 4*s.Bound {
			quiet = append(quiet, n)
		}
	}
	slices.Sort(quiet)
	return quiet
}
