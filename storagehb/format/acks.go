package format

import "fmt"

// Ack names the newest heartbeat of a host that a master heard, by any medium, and
// answers after it has confirmed that it leads. It is worth exactly the heartbeat
// that it names.
type Ack struct {
	Slot        int    // of the host heard
	Incarnation uint64 // and the heartbeat's stamp
	Run         uint64
	Seq         uint64
}

// Acks are what a master acknowledges by storage.
type Acks struct {
	Epoch uint64 // of the master's office
	Seq   uint64 // counts the writes of the epoch
	Heard []Ack  // by ascending slot, each slot once
}

// Kind is KindAcks.
func (a Acks) Kind() Kind { return KindAcks }

// Stamp is (epoch, 0, seq).
func (a Acks) Stamp() Stamp { return Stamp{Life: a.Epoch, Seq: a.Seq} }

// Of returns the acknowledgement given to the host in a slot.
func (a Acks) Of(slot int) (Ack, bool) {
	for _, ack := range a.Heard {
		if ack.Slot == slot {
			return ack, true
		}
	}
	return Ack{}, false
}

// Validate refuses what cannot be written.
func (a Acks) Validate() error {
	last := -1
	for _, ack := range a.Heard {
		if ack.Slot <= last || ack.Slot >= MaxSlots {
			return fmt.Errorf("slot %d is acknowledged after slot %d: want ascending slots from 0 to %d", ack.Slot, last, MaxSlots-1)
		}
		last = ack.Slot
	}
	return nil
}

func (a Acks) put(c *cursor) {
	c.putU16(uint16(len(a.Heard)))
	c.at = headLen
	for _, ack := range a.Heard {
		c.putU16(uint16(ack.Slot))
		c.putU16(0)
		c.putU64(ack.Incarnation)
		c.putU64(ack.Run)
		c.putU64(ack.Seq)
	}
}

// DecodeAcks reads acknowledgements.
func DecodeAcks(b []byte) (Acks, Origin, error) {
	c, o, s, err := open(b, KindAcks)
	if err != nil {
		return Acks{}, o, err
	}
	a := Acks{Epoch: s.Life, Seq: s.Seq}
	count := int(c.u16())
	if count > MaxSlots {
		return Acks{}, o, malformed(KindAcks, "%d hosts, the most is %d", count, MaxSlots)
	}
	c.at = headLen
	for range count {
		ack := Ack{Slot: int(c.u16())}
		c.skip(2)
		ack.Incarnation, ack.Run, ack.Seq = c.u64(), c.u64(), c.u64()
		a.Heard = append(a.Heard, ack)
	}
	if err := a.Validate(); err != nil {
		return Acks{}, o, malformed(KindAcks, "%v", err)
	}
	return a, o, nil
}
