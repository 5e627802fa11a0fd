package inventory

import (
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/fsm"
)

// Tries is how far the tries to start a VM have come since it last ran. A round is one
// try on every host that could take it; the policy's schedule says when each begins.
type Tries struct {
	// Round is that of the last start that failed; 0: none has.
	Round int
	// First and Last are when the first and the last of them failed.
	First, Last time.Time
	// Failed are the hosts that failed it in this round, by name. One that began a new
	// incarnation since is not among them: it may do better.
	Failed []string
	// Hosts are all hosts that failed it, by name, and Detail is what the last one said.
	Hosts  []string
	Detail string
}

// TriesOf reads from the state how far the tries to start a VM have come.
func TriesOf(s *fsm.State, vm *fsm.VM) Tries {
	var t Tries
	for i := len(vm.Failures) - 1; i >= 0; i-- {
		f := &vm.Failures[i]
		if f.Crash {
			break // it ran: what came before is over
		}
		if t.Round == 0 {
			t.Round, t.Last, t.Detail = max(1, f.Round), f.At, f.Detail
		}
		t.First = f.At
		t.Hosts = append(t.Hosts, f.Host)
		if h := s.Hosts[f.Host]; max(1, f.Round) == t.Round && (h == nil || h.Status != fsm.HostLive || !h.Since.After(f.At)) {
			t.Failed = append(t.Failed, f.Host)
		}
	}
	for _, list := range []*[]string{&t.Failed, &t.Hosts} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return t
}
