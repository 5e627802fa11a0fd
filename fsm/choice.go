package fsm

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"time"
	"unicode/utf8"
)

// Choice is the newest decision that gave a VM a host, and what was said of every host that
// was looked at. It is for people: nothing goes by it. It outlives the placement.
type Choice struct {
	Host string    `json:"host"`
	From string    `json:"from,omitempty"` // the host that it was moved from
	At   time.Time `json:"at"`             // when it was ordered
	// Generation is that of the placement.
	Generation uint64 `json:"generation"`
	Considered []Lot  `json:"considered"`
}

// choice is what is kept of a decision; nil of an order that says nothing of hosts, as orders
// did once.
func choice(host, from string, at time.Time, generation uint64, considered []Lot) *Choice {
	if len(considered) == 0 {
		return nil
	}
	return &Choice{Host: host, From: from, At: at, Generation: generation, Considered: considered}
}

// Lot is some of the hosts that were looked at for a VM, of which the same is to be said:
// the constraint that excluded them, or how they ranked.
type Lot struct {
	Slots Slots `json:"slots"`
	// Excluded names the constraint, as the planner calls it; empty: they could have taken the VM.
	Excluded string `json:"excluded,omitempty"`
	Rule     string `json:"rule,omitempty"` // the policy's rule that excluded them
	// Rank is that of the first of them, from 1; 0: excluded.
	Rank int    `json:"rank,omitempty"`
	Text string `json:"text,omitempty"` // the figures, in words
}

// The bounds of what is kept of one decision, bytes but for the number of lots.
const (
	lotsKept = 32
	lotsSize = 2048
	// LotText bounds the words about one lot.
	LotText = 256
)

// FitLots reports whether lots are few and short enough to be kept: 2 KiB in all, so that
// they stay a small part of a VM in the state.
func FitLots(lots []Lot) bool { return len(lots) <= lotsKept && lotsBytes(lots) <= lotsSize }

// lotsBytes is about what lots take in a snapshot.
func lotsBytes(lots []Lot) (n int) {
	const fields = 64 // their names, with quotes and digits
	for i := range lots {
		l := &lots[i]
		n += fields + base64.StdEncoding.EncodedLen(len(l.Slots)) + len(l.Excluded) + len(l.Rule) + len(l.Text)
	}
	return n
}

func checkLots(lots []Lot) error {
	if !FitLots(lots) {
		return invalid("%d lots of hosts of %d bytes are more than the %d of %d bytes that are kept",
			len(lots), lotsBytes(lots), lotsKept, lotsSize)
	}
	for i := range lots {
		l := &lots[i]
		switch {
		case !l.Slots.sound():
			return invalid("a lot of hosts has no proper set of slots: %x", []byte(l.Slots[:min(len(l.Slots), 16)]))
		case l.Rank < 0 || (l.Rank == 0) == (l.Excluded == ""):
			return invalid("a lot of hosts is excluded (%.50q) or ranked (%d): one of both is wanted", l.Excluded, l.Rank)
		case len(l.Excluded) > maxName || len(l.Rule) > LotText || len(l.Text) > LotText:
			return invalid("what is said of a lot of hosts is longer than %d bytes", LotText)
		case !utf8.ValidString(l.Excluded) || !utf8.ValidString(l.Rule) || !utf8.ValidString(l.Text):
			return invalid("what is said of a lot of hosts is not UTF-8")
		}
	}
	return nil
}

// Slots is a set of host slots (Host.Slot), ascending: of each by how much it is above the
// one before, of the first by how much it is above -1, as binary.AppendUvarint writes it. No
// set is written in two ways. A host takes one byte, where no more than 127 have left before it.
type Slots []byte

// SlotsOf is the set of those slots. Of none it is nil.
func SlotsOf(all ...uint16) (set Slots) {
	all = slices.Clone(all)
	slices.Sort(all)
	before := -1
	for _, n := range slices.Compact(all) {
		set = binary.AppendUvarint(set, uint64(int(n)-before)) //nolint:gosec // ascending: positive
		before = int(n)
	}
	return set
}

// All lists the slots, ascending; none of what is no set.
func (s Slots) All() []uint16 {
	all, _ := s.read()
	return all
}

// read lists the slots, and reports whether it is a set, as SlotsOf writes it.
func (s Slots) read() (all []uint16, sound bool) {
	at := -1
	for rest := []byte(s); len(rest) > 0; {
		gap, n := binary.Uvarint(rest)
		if n <= 0 || gap == 0 || gap > math.MaxUint16+1 || n > 1 && rest[n-1] == 0 {
			return nil, false
		}
		if at += int(gap); at > math.MaxUint16 { //nolint:gosec // bounded above
			return nil, false
		}
		all, rest = append(all, uint16(at)), rest[n:] //nolint:gosec // bounded above
	}
	return all, len(all) > 0
}

func (s Slots) sound() bool {
	_, sound := s.read()
	return sound
}
