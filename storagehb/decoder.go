package storagehb

import (
	"bytes"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// decoder makes tables of the images of one volume. Claims and acknowledgements are
// most of an image and seldom change: what was decoded is taken again for as long as
// each of its bytes is the same.
type decoder struct {
	layout format.Layout
	place  func(slot int) format.Place
	claims []remembered[format.Claim]
	acks   []remembered[format.Acks]
}

func newDecoder(l format.Layout, place func(slot int) format.Place) *decoder {
	return &decoder{layout: l, place: place, claims: make([]remembered[format.Claim], l.Slots), acks: make([]remembered[format.Acks], l.Slots)}
}

func (d *decoder) table(image []byte) Table {
	table := make(Table, d.layout.Slots)
	for slot := range table {
		at := d.place(slot)
		table[slot] = Slot{
			Heartbeat: newest(image, d.layout, format.KindHeartbeat, at, format.DecodeHeartbeat),
			Claim:     d.claims[slot].newest(image, d.layout, format.KindClaim, at, format.DecodeClaim),
			Acks:      d.acks[slot].newest(image, d.layout, format.KindAcks, at, format.DecodeAcks),
		}
	}
	return table
}

// remembered is what the two copies of a record said last.
type remembered[V format.Value] struct {
	raw   []byte // both copies; empty where nothing valid was in them
	found format.Found[V]
}

func (r *remembered[V]) newest(
	image []byte, l format.Layout, k format.Kind, at format.Place, decode func([]byte) (V, format.Origin, error),
) format.Found[V] {
	raw := both(image, l, k, at.Slot)
	if len(r.raw) > 0 && bytes.Equal(r.raw, raw) {
		return r.found
	}
	r.found = format.Newest(raw, at, decode)
	r.raw = r.raw[:0]
	if r.found.OK {
		r.raw = append(r.raw, raw...)
	}
	return r.found
}
