package storagehb

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// MaxVolumes is the most volumes of a set.
const MaxVolumes = 5

// Set is the heartbeat volumes of a cluster. It is part of the replicated state; a
// host proves with exactly one revision at a time, and never goes back to an older.
type Set struct {
	Revision uint64        // grows with each change
	Volumes  []format.UUID // up to MaxVolumes, each once
}

// Validate refuses a set that nobody can use.
func (s Set) Validate() error {
	if len(s.Volumes) > MaxVolumes {
		return fmt.Errorf("volume set %d has %d volumes, the most is %d", s.Revision, len(s.Volumes), MaxVolumes)
	}
	for i, v := range s.Volumes {
		if v.IsZero() || slices.Contains(s.Volumes[:i], v) {
			return fmt.Errorf("volume set %d: volume %v is none, or is in it twice", s.Revision, v)
		}
	}
	return nil
}

// W is on how many volumes a claim must stand before it counts: 1 of 1, 1 of 2, 2
// of 3, 2 of 4, 3 of 5. Of an even number it is only half, so that losing a volume,
// or half of them, suspends proofs by storage until the set is changed, but never
// forbids a takeover.
func (s Set) W() int { return (len(s.Volumes) + 1) / 2 }

// R is how many volumes a host must read to prove that nobody evicts it: 1 of 1, 2
// of 2, 2 of 3, 3 of 4, 3 of 5; always one more than those that W leaves out.
func (s Set) R() int { return len(s.Volumes) - s.W() + 1 }

// Reading is one reading of a volume's table.
type Reading struct {
	Started time.Duration // the reader's boot clock before the first byte was asked for
	Table   Table         // empty where the reading failed: it counts for nothing
}

// Proof reports whether readings of the set's volumes, the latest of each, prove
// that nobody evicts an incarnation of the host in a slot: of all claims read, the
// highest counts, and it must not list the host. A lease renewed by it is worth
// started: the beginning of the oldest of the R newest readings. Without volumes
// nothing is proven.
func (s Set) Proof(readings map[format.UUID]Reading, slot int, incarnation uint64) (started time.Duration, ok bool) {
	var starts []time.Duration
	var highest format.Claim
	var found bool
	for _, v := range s.Volumes {
		r, read := readings[v]
		if !read || len(r.Table) == 0 {
			continue
		}
		starts = append(starts, r.Started)
		if c, _, any := r.Table.Highest(); any && (!found || c.Stamp().Compare(highest.Stamp()) > 0) {
			highest, found = c, true
		}
	}
	if len(s.Volumes) == 0 || len(starts) < s.R() || highest.Standing(slot, incarnation) != format.Clear {
		return 0, false
	}
	slices.Sort(starts)
	return starts[len(starts)-s.R()], true
}

// Published returns from when on a claim stands on enough volumes of every set,
// given when its write to each volume was known to be complete. A claim counts only
// when it stands on W volumes of every set that a host may still be proving with.
// Sets without volumes ask for nothing.
func Published(complete map[format.UUID]time.Duration, sets ...Set) (since time.Duration, ok bool) {
	for _, s := range sets {
		var at []time.Duration
		for _, v := range s.Volumes {
			if c, done := complete[v]; done {
				at = append(at, c)
			}
		}
		if len(at) < s.W() {
			return 0, false
		}
		if s.W() > 0 {
			slices.Sort(at)
			since = max(since, at[s.W()-1])
		}
	}
	return since, true
}

// StillHighest reports whether readings begun at or after a moment show the claim
// with that stamp to be the highest on W volumes of every set: a write that an
// earlier life of a host left under way may have landed late and hidden it.
func StillHighest(claim format.Stamp, after time.Duration, readings map[format.UUID]Reading, sets ...Set) bool {
	for _, s := range sets {
		n := 0
		for _, v := range s.Volumes {
			r, read := readings[v]
			if c, _, any := r.Table.Highest(); read && r.Started >= after && any && c.Stamp() == claim {
				n++
			}
		}
		if n < s.W() {
			return false
		}
	}
	return true
}
