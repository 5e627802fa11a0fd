package format

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// Super says what the volume is. Init alone writes it.
type Super struct {
	Seq           uint64        // grows with each writing
	LogicalSector uint32        // bytes; of the device when it was initialised, BlockSize for a file
	Slots         int           // 1 to MaxSlots
	Timing        lease.Timing  // every term of the wait; a host with another timing must not use the volume
	Wait          time.Duration // D as computed by who wrote it, so that another arithmetic is noticed too
	Created       time.Time     // wall clock
	Cluster       string        // the cluster's name, up to 64 bytes: what a person types to overwrite it
	Label         string        // the volume's name for people, up to 64 bytes
}

// Kind is KindSuper.
func (s Super) Kind() Kind { return KindSuper }

// Stamp is (0, 0, seq).
func (s Super) Stamp() Stamp { return Stamp{Seq: s.Seq} }

// Validate refuses what no volume can be.
func (s Super) Validate() error {
	if s.Slots < 1 || s.Slots > MaxSlots {
		return fmt.Errorf("slots is %d, allowed is 1 to %d", s.Slots, MaxSlots)
	}
	if s.LogicalSector == 0 || s.LogicalSector > BlockSize || BlockSize%s.LogicalSector != 0 {
		return fmt.Errorf("the logical sector is %d bytes, want one that %d is a multiple of", s.LogicalSector, BlockSize)
	}
	return nil
}

func (s Super) put(c *cursor) {
	c.putU32(BlockSize)
	c.putU32(s.LogicalSector)
	c.putU32(uint32(s.Slots))
	c.putU32(SlotBlocks)
	t := s.Timing
	for _, d := range []time.Duration{t.Heartbeat, t.Lease, t.Watchdog, t.Reset, t.Drain, t.Grain, t.Election, s.Wait} {
		c.putSpan(d)
	}
	c.putF64(t.ClockError)
	c.putWall(s.Created)
	c.putText(t.Profile, 16)
	c.putText(s.Cluster, 64)
	c.putText(s.Label, 64)
}

// DecodeSuper reads a superblock.
func DecodeSuper(b []byte) (Super, Origin, error) {
	c, o, st, err := open(b, KindSuper)
	if err != nil {
		return Super{}, o, err
	}
	s := Super{Seq: st.Seq}
	block, slotBlocks := c.u32(), uint32(0)
	s.LogicalSector = c.u32()
	slots := c.u32()
	slotBlocks = c.u32()
	if block != BlockSize || slotBlocks != SlotBlocks || slots > MaxSlots || st.Life != 0 {
		return Super{}, o, malformed(KindSuper, "%d slots of %d blocks of %d bytes; this version knows up to %d of %d of %d",
			slots, slotBlocks, block, MaxSlots, SlotBlocks, BlockSize)
	}
	s.Slots = int(slots)
	t := &s.Timing
	for _, d := range []*time.Duration{&t.Heartbeat, &t.Lease, &t.Watchdog, &t.Reset, &t.Drain, &t.Grain, &t.Election, &s.Wait} {
		*d = c.span()
	}
	t.ClockError = c.f64()
	s.Created = c.wall()
	t.Profile, s.Cluster, s.Label = c.text(16), c.text(64), c.text(64)
	if err := s.Validate(); err != nil || c.bad {
		return Super{}, o, malformed(KindSuper, "a duration is out of range, or %v", err)
	}
	return s, o, nil
}

// CheckTiming returns why a host with that timing must not use the volume; nil when
// every term of the wait is the same. Profile and election timeout are not terms.
func (s Super) CheckTiming(t lease.Timing) error {
	var bad []string
	differ := func(name string, volume, host any) {
		if volume != host {
			bad = append(bad, fmt.Sprintf("%s is %v on the volume and %v here", name, volume, host))
		}
	}
	differ("heartbeat_interval", s.Timing.Heartbeat, t.Heartbeat)
	differ("lease", s.Timing.Lease, t.Lease)
	differ("watchdog_timeout", s.Timing.Watchdog, t.Watchdog)
	differ("reset_time", s.Timing.Reset, t.Reset)
	differ("drain_time", s.Timing.Drain, t.Drain)
	differ("clock_error", s.Timing.ClockError, t.ClockError)
	differ("grain", s.Timing.Grain, t.Grain)
	differ("the wait D", s.Wait, t.Wait())
	if len(bad) > 0 {
		return fmt.Errorf("the volume %q was initialised with another timing: %s; initialise it again with the cluster's present timing", s.Label, strings.Join(bad, "; "))
	}
	return nil
}
