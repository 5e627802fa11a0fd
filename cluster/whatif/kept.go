package whatif

import (
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// Kept is what is kept of a decision about a VM that goes to a host (nowhere where to is
// empty): what was said of every host that was looked at, in as few bytes as the replicated
// state has for it. Where all there is to say takes more, hosts are put together, then words
// are left out; that each host ranked, or which constraint excluded it, is kept of hundreds.
func Kept(s *fsm.State, all []placement.Considered, to string) (kept []fsm.Lot) {
	for detail := placement.DetailFor(len(all)); detail >= placement.Brief; detail-- {
		kept = kept[:0]
		for _, l := range placement.Lots(all, to, detail) {
			var slots []uint16
			for _, name := range l.Hosts {
				if h := s.Hosts[name]; h != nil {
					slots = append(slots, h.Slot)
				}
			}
			if len(slots) > 0 {
				kept = append(kept, fsm.Lot{Slots: fsm.SlotsOf(slots...), Excluded: string(l.Excluded), Rule: cut(l.Rule), Rank: l.Rank, Text: cut(l.Text)})
			}
		}
		if fsm.FitLots(kept) {
			return kept
		}
	}
	for !fsm.FitLots(kept) {
		kept = kept[:len(kept)-1]
	}
	return kept
}

// cut shortens words to what a lot may have of them, between two characters.
func cut(words string) string {
	if len(words) > fsm.LotText {
		const more = " …"
		words = words[:fsm.LotText-len(more)] + more
	}
	return strings.ToValidUTF8(words, "")
}
