package master

import (
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// storage is what an office does by the heartbeat volumes.
type storage struct {
	claims *claims
	acks   format.Acks // the last that were submitted
	// revision of the volume set, and since when this office knows of it: where it
	// changed, no wait may have begun before.
	revision uint64
	changed  time.Duration
	read     time.Duration // when a reading was asked for last
	watch    choice.Watch
	losses   choice.Losses // as the watch saw them last
	news     volumeNews
}

func newStorage(epoch uint64, slot int, revision uint64) storage {
	return storage{claims: newClaims(epoch, slot), acks: format.Acks{Epoch: epoch}, revision: revision}
}

// readVolumes takes what the volumes say of every host: heartbeats, and how far the
// claims of this office have come. The lock is held.
func (o *office) readVolumes(s *fsm.State, v *volumes.View, now time.Duration, t lease.Timing) {
	o.storage.claims.observe(v)
	if s.Volumes.Revision != o.storage.revision {
		o.storage.revision, o.storage.changed = s.Volumes.Revision, now
	}
	for _, h := range s.Hosts {
		x := o.hosts[h.Name]
		if x == nil {
			continue
		}
		x.confirmed = false
		if x.incarnation != h.Incarnation {
			continue
		}
		slot, using := volumes.Slot(h), sets(s, h)
		x.hear(slot, v, now, t)
		x.watch.Claims, x.watch.Claimed = claimed(using), 0
		if since, ok := o.storage.claims.stands(slot, h.Incarnation, v, using); ok && x.watch.Claims {
			x.watch.Claimed = max(since, o.storage.changed)
		}
		at, ok := x.watch.DeadAt(t)
		x.confirmed = ok && now >= at && o.storage.claims.confirmed(slot, x.watch.Claimed, at, v, using)
	}
}

// read asks for a reading of the volumes, a few times an interval at the most: each
// that ends wakes the office.
func (m *Master) read(o *office) {
	if now := m.cfg.Now(); now-o.storage.read >= m.cfg.Timing.Heartbeat/4 {
		o.storage.read = now
		m.cfg.Volumes.Read()
	}
}

// acknowledgeStored answers heartbeats that were read on the volumes before the
// confirmation that precedes this (I4).
func (m *Master) acknowledgeStored(o *office, hosts []string) {
	if len(hosts) == 0 {
		return
	}
	s, _, _ := m.cfg.View()
	if s.Office.Epoch != o.epoch {
		return // what was confirmed is another office's
	}
	m.mu.Lock()
	heard := slices.Clone(o.storage.acks.Heard)
	for _, name := range hosts {
		x, h := o.hosts[name], s.Hosts[name]
		if x == nil || h == nil || x.watch.Suspected != 0 || x.condemned ||
			!s.Live(name, x.incarnation) || x.stored.beat.Incarnation != x.incarnation {
			continue
		}
		x.watch.Acknowledged, x.stored.due = m.cfg.Now(), false
		ack := format.Ack{Slot: volumes.Slot(h), Incarnation: x.incarnation, Run: x.stored.beat.Run, Seq: x.stored.beat.Seq}
		heard = slices.DeleteFunc(heard, func(a format.Ack) bool { return a.Slot == ack.Slot })
		heard = append(heard, ack)
	}
	slices.SortFunc(heard, func(a, b format.Ack) int { return a.Slot - b.Slot })
	o.storage.acks = format.Acks{Epoch: o.epoch, Seq: o.storage.acks.Seq + 1, Heard: heard}
	acks := o.storage.acks
	m.mu.Unlock()
	m.cfg.Volumes.Submit(acks)
}

// publish writes a claim if what it has to say is new, or got lost.
func (m *Master) publish(o *office) {
	s, _, _ := m.cfg.View()
	v, _ := m.cfg.Volumes.View()
	if len(s.AllVolumes()) == 0 {
		return
	}
	m.mu.Lock()
	c, due := o.storage.claims.publish(listings(s, o.suspects), v, incarnationOf(s, m.cfg.Name), m.cfg.Now(), m.cfg.Timing.Heartbeat)
	m.mu.Unlock()
	if due {
		m.cfg.Volumes.Submit(c)
		m.cfg.Volumes.Read() // to see that it stands
	}
}

// suspects reports whether the office has stopped acknowledging a host. The lock is held.
func (o *office) suspects(host string) bool {
	x := o.hosts[host]
	return x != nil && (x.watch.Suspected != 0 || x.condemned)
}

// withdrawAll takes back what an office that ends has claimed, but for hosts whose
// death it has proposed: nobody will declare the others dead on the word of this
// office any more, and until there is another they may go on proving that.
func (m *Master) withdrawAll(o *office) {
	s, _, _ := m.cfg.View()
	m.mu.Lock()
	c := o.storage.claims
	final := format.Claim{Epoch: o.epoch, Version: c.version + 1, Incarnation: incarnationOf(s, m.cfg.Name),
		Listed: listings(s, func(host string) bool { return o.hosts[host] != nil && o.hosts[host].condemned })}
	wrote := c.version > 0 && !slices.Equal(final.Listed, c.listed)
	m.mu.Unlock()
	if wrote {
		m.cfg.Volumes.Submit(final)
	}
}

func incarnationOf(s *fsm.State, host string) uint64 {
	if h := s.Hosts[host]; h != nil {
		return h.Incarnation
	}
	return 0
}

// readSince reports whether every volume that works, of those by which the host may
// be heard, was read after a moment. The master reads them before it suspects.
func readSince(v *volumes.View, using []storagehb.Set, after time.Duration) bool {
	for _, s := range using {
		for _, id := range s.Volumes {
			if r := v.Readings[id]; v.States[id].State == storagehb.Working && r.Started < after {
				return false
			}
		}
	}
	return true
}

// noVolumes are the volumes of a host that has none.
type noVolumes struct{}

func (noVolumes) View() (*volumes.View, <-chan struct{}) { return &volumes.View{}, nil }
func (noVolumes) Submit(format.Value)                    {}
func (noVolumes) Read()                                  {}
func (noVolumes) ReadVMs(int)                            {}
