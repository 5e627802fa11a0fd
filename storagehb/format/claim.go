package format

import (
	"fmt"
	"strings"
)

// Standing is what a claim says about one incarnation of a host.
type Standing uint8

// The standings, from harmless to final.
const (
	Clear   Standing = iota // not listed
	Suspect                 // no longer acknowledged; may yet be withdrawn
	Evicted                 // declared dead
)

// String is the standing as people read it.
func (s Standing) String() string {
	return [...]string{"clear", "suspect", "evicted"}[min(s, Evicted)]
}

// Listing is one host that a claim speaks of. Since incarnations only grow, it
// speaks of the older ones too: those are evicted.
type Listing struct {
	Slot        int      // the host's
	Incarnation uint64   // from 1; the newest that the listing is about
	Standing    Standing // Suspect or Evicted
}

// Claim is what a master publishes about hosts that it holds, or is about to
// hold, for dead. Of all claims the one with the highest (epoch, version) counts.
type Claim struct {
	Epoch       uint64    // of the master's office
	Version     uint64    // counts the claims of the epoch
	Incarnation uint64    // of the master's own host
	Index       uint64    // raft index that the claim is based upon
	Reason      string    // for people, up to 128 bytes
	Listed      []Listing // by ascending slot, each slot once
}

const (
	claimReasonLen = 128
	bitmapLen      = MaxSlots / 8
)

// Kind is KindClaim.
func (c Claim) Kind() Kind { return KindClaim }

// Stamp is (epoch, 0, version).
func (c Claim) Stamp() Stamp { return Stamp{Life: c.Epoch, Seq: c.Version} }

// Standing returns what the claim says about an incarnation of the host in a slot.
func (c Claim) Standing(slot int, incarnation uint64) Standing {
	for _, l := range c.Listed {
		switch {
		case l.Slot != slot || incarnation > l.Incarnation:
		case incarnation < l.Incarnation:
			return Evicted
		default:
			return l.Standing
		}
	}
	return Clear
}

// Validate refuses listings that cannot be written.
func (c Claim) Validate() error {
	last := -1
	for _, l := range c.Listed {
		if l.Slot <= last || l.Slot >= MaxSlots {
			return fmt.Errorf("slot %d is listed after slot %d: want ascending slots from 0 to %d", l.Slot, last, MaxSlots-1)
		}
		if l.Incarnation == 0 || l.Standing != Suspect && l.Standing != Evicted {
			return fmt.Errorf("slot %d is listed as incarnation %d, %v: want an incarnation from 1, suspect or evicted", l.Slot, l.Incarnation, l.Standing)
		}
		last = l.Slot
	}
	return nil
}

func (c Claim) put(w *cursor) {
	w.putU64(c.Incarnation)
	w.putU64(c.Index)
	suspects, evicted := w.next(bitmapLen), w.next(bitmapLen)
	w.putText(c.Reason, claimReasonLen)
	for _, l := range c.Listed {
		bitmap := suspects
		if l.Standing == Evicted {
			bitmap = evicted
		}
		bitmap[l.Slot/8] |= 1 << (l.Slot % 8)
		w.at = headLen + 8*l.Slot
		w.putU64(l.Incarnation)
	}
}

// DecodeClaim reads a claim.
func DecodeClaim(b []byte) (Claim, Origin, error) {
	r, o, s, err := open(b, KindClaim)
	if err != nil {
		return Claim{}, o, err
	}
	c := Claim{Epoch: s.Life, Version: s.Seq, Incarnation: r.u64(), Index: r.u64()}
	suspects, evicted := r.next(bitmapLen), r.next(bitmapLen)
	c.Reason = r.text(claimReasonLen)
	for slot := range MaxSlots {
		bit := byte(1) << (slot % 8)
		isSuspect, isEvicted := suspects[slot/8]&bit != 0, evicted[slot/8]&bit != 0
		if !isSuspect && !isEvicted {
			continue
		}
		r.at = headLen + 8*slot
		l := Listing{Slot: slot, Incarnation: r.u64(), Standing: Suspect}
		if isEvicted {
			l.Standing = Evicted
		}
		if isSuspect && isEvicted || l.Incarnation == 0 {
			return Claim{}, o, malformed(KindClaim, "slot %d: suspect %v, evicted %v, incarnation %d", slot, isSuspect, isEvicted, l.Incarnation)
		}
		c.Listed = append(c.Listed, l)
	}
	return c, o, nil
}

// String is the claim in one line, for people.
func (c Claim) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d version %d", c.Epoch, c.Version)
	for _, l := range c.Listed {
		fmt.Fprintf(&b, ", slot %d incarnation %d %v", l.Slot, l.Incarnation, l.Standing)
	}
	return b.String()
}
