package master

import (
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// claims are what this office publishes on the heartbeat volumes about hosts that
// it suspects, or that are dead, and how far that has come (safety.md, Claims). It
// is plain data: what it is told are views of the volumes.
type claims struct {
	epoch   uint64
	slot    int           // of this host: where its claims stand
	version uint64        // of the last one
	at      time.Duration // when that was submitted
	listed  []format.Listing
	// first is the version since which a slot is listed, with this incarnation, without a break.
	first map[int]uint64
	on    map[format.UUID]*standing
}

// standing is how the claims stand on one volume.
type standing struct {
	last, before format.Stamp  // of the last two that were written here; zero: none in this office
	at           time.Duration // when the last was complete
	// whole says that a reading which began after that showed the last one, and that what
	// since says of the time before has been held against what became of the one before.
	// A write that an earlier life of this host left under way can land at any time, and
	// hides the newest claim until the next is written.
	whole bool
	// seen says that there was such a reading, whatever it showed.
	seen bool
	// hidden says that the last one was there and is not any more.
	hidden bool
	since  map[int]time.Duration // by slot: since when it is listed here without a break
}

func newClaims(epoch uint64, slot int) *claims {
	return &claims{epoch: epoch, slot: slot, first: map[int]uint64{}, on: map[format.UUID]*standing{}}
}

// observe takes what the volumes say.
func (c *claims) observe(v *volumes.View) {
	for id, w := range v.Claims {
		st := c.on[id]
		if st == nil {
			st = &standing{since: map[int]time.Duration{}}
			c.on[id] = st
		}
		if w.Stamp.Life != c.epoch || w.Stamp.Compare(st.last) <= 0 {
			continue
		}
		if st.last != (format.Stamp{}) && !st.whole {
			clear(st.since) // whether the last one stood all the time nobody can say
		}
		st.before, st.last, st.at, st.whole, st.seen, st.hidden = st.last, w.Stamp, w.Completed, false, false, false
		for slot, version := range c.first {
			if _, stands := st.since[slot]; !stands && version <= w.Stamp.Seq {
				st.since[slot] = w.Completed
			}
		}
	}
	for id, st := range c.on {
		r, read := v.Readings[id]
		if !read || r.Started < st.at || c.slot >= len(r.Table) || st.last == (format.Stamp{}) {
			continue
		}
		own := r.Table[c.slot].Claim
		st.seen = true
		switch {
		case own.OK && own.Value.Stamp() == st.last:
			if !st.whole && st.before != (format.Stamp{}) && own.Other != st.before {
				for slot, at := range st.since { // the one before may have been hidden: only the last one stands for certain
					st.since[slot] = max(at, st.at)
				}
			}
			st.whole = true
		case !own.OK || own.Value.Stamp().Compare(st.last) < 0:
			clear(st.since) // it has to be published anew
			st.whole, st.hidden = false, true
		}
	}
}

// publish returns the claim to be written next, if one is due: what is to be listed
// has changed, or did not get onto a volume and was not tried again for a while. It
// waits for the last one to be read back wherever it can be, so that what stands
// keeps standing.
func (c *claims) publish(listed []format.Listing, v *volumes.View, incarnation uint64, now, again time.Duration) (format.Claim, bool) {
	due := !slices.Equal(listed, c.listed) || c.missing(v) && now-c.at >= again
	if c.version > 0 && (!due || !c.settled(v)) {
		return format.Claim{}, false
	}
	c.version++
	c.at = now
	was := map[int]format.Listing{}
	for _, l := range c.listed {
		was[l.Slot] = l
	}
	first := map[int]uint64{}
	for _, l := range listed {
		first[l.Slot] = c.version
		if old, listed := was[l.Slot]; listed && old.Incarnation == l.Incarnation {
			first[l.Slot] = c.first[l.Slot]
		}
	}
	for _, st := range c.on {
		for slot := range st.since {
			if first[slot] != c.first[slot] {
				delete(st.since, slot)
			}
		}
	}
	c.first, c.listed = first, listed
	return format.Claim{Epoch: c.epoch, Version: c.version, Incarnation: incarnation, Listed: listed}, true
}

// settled reports whether the last claim was read back from every volume that works
// and got it.
func (c *claims) settled(v *volumes.View) bool {
	for id, s := range v.States {
		st := c.on[id]
		if s.State == storagehb.Working && !c.missed(id, v) && (st == nil || st.last.Seq != c.version || !st.seen) {
			return false
		}
	}
	return true
}

// missing reports whether a volume that works does not have the last claim.
func (c *claims) missing(v *volumes.View) bool {
	for id := range v.States {
		if c.missed(id, v) {
			return true
		}
	}
	return false
}

func (c *claims) missed(id format.UUID, v *volumes.View) bool {
	st := c.on[id]
	return v.States[id].State == storagehb.Working && (v.Failed[id] == c.stamp() || st != nil && st.hidden)
}

func (c *claims) stamp() format.Stamp { return format.Stamp{Life: c.epoch, Seq: c.version} }

// stands returns since when an incarnation of a host is listed on enough volumes of
// every set that it may be proving with. A volume that does not work does not count:
// what stands on it cannot be read once more.
func (c *claims) stands(slot int, incarnation uint64, v *volumes.View, sets []storagehb.Set) (since time.Duration, ok bool) {
	lists := func(l format.Listing) bool { return l.Slot == slot && l.Incarnation == incarnation }
	if !slices.ContainsFunc(c.listed, lists) {
		return 0, false // an earlier life of it may be
	}
	complete := map[format.UUID]time.Duration{}
	for id, st := range c.on {
		if at, listed := st.since[slot]; listed && v.States[id].State == storagehb.Working {
			complete[id] = at
		}
	}
	return storagehb.Published(complete, sets...)
}

// confirmed reports whether readings begun at or after a moment show that the last
// claim is the highest there is, on enough volumes of every set. Only those count on
// which the host is listed since then at the latest: on another, it may have become
// so later than the wait began.
func (c *claims) confirmed(slot int, since, after time.Duration, v *volumes.View, sets []storagehb.Set) bool {
	counted := map[format.UUID]storagehb.Reading{}
	for id, r := range v.Readings {
		if st := c.on[id]; st != nil {
			if at, listed := st.since[slot]; listed && at <= since {
				counted[id] = r
			}
		}
	}
	return storagehb.StillHighest(c.stamp(), after, counted, sets...)
}

// listings are what is to be claimed: the suspects, and the dead.
func listings(s *fsm.State, suspected func(host string) bool) []format.Listing {
	var all []format.Listing
	for _, h := range s.SortedHosts() {
		switch {
		case h.Status == fsm.HostDead:
			all = append(all, format.Listing{Slot: volumes.Slot(h), Incarnation: h.Incarnation, Standing: format.Evicted})
		case h.Status == fsm.HostLive && suspected(h.Name):
			all = append(all, format.Listing{Slot: volumes.Slot(h), Incarnation: h.Incarnation, Standing: format.Suspect})
		}
	}
	slices.SortFunc(all, func(a, b format.Listing) int { return a.Slot - b.Slot })
	return all
}

// sets are those that a host may be proving with.
func sets(s *fsm.State, h *fsm.Host) (all []storagehb.Set) {
	for _, set := range s.VolumeSets(h) {
		all = append(all, volumes.Set(set))
	}
	return all
}

// claimed reports whether any of the sets asks for a claim.
func claimed(sets []storagehb.Set) bool {
	return slices.ContainsFunc(sets, func(s storagehb.Set) bool { return len(s.Volumes) > 0 })
}
