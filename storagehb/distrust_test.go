package storagehb_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/storagehb/hbtest"
)

// A volume that is not the one wanted is neither written nor believed.
func TestWrongVolume(t *testing.T) {
	tests := []struct {
		name   string
		hurt   func(w *world)
		config func(*storagehb.Config)
		want   error // nil: any
	}{
		{name: "of another cluster", config: func(c *storagehb.Config) { c.Cluster = id(0xa0) }, want: storagehb.ErrNotThisVolume},
		{name: "another volume", config: func(c *storagehb.Config) { c.Volume = id(0xa0) }, want: storagehb.ErrNotThisVolume},
		{name: "too few slots", config: func(c *storagehb.Config) { c.Slot = slots }, want: storagehb.ErrNotThisVolume},
		{name: "with another timing", config: func(c *storagehb.Config) { c.Timing.Lease *= 2 }},
		{name: "wiped", hurt: func(w *world) { w.disk.Wipe(0, format.SupersSize) }, want: storagehb.ErrNotThisVolume},
		{name: "both superblocks damaged", hurt: func(w *world) { w.disk.Corrupt(100, 1); w.disk.Corrupt(4196, 1) }, want: storagehb.ErrNotThisVolume},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				if tt.hurt != nil {
					tt.hurt(w)
				}
				before := w.disk.Image()
				a := w.host(0, func(c *storagehb.Config) {
					if tt.config != nil {
						tt.config(c)
					}
				})
				a.submit(beat(1))
				e := last[storagehb.Written](a)
				if e.Err == nil || tt.want != nil && !errors.Is(e.Err, tt.want) {
					t.Errorf("the write ended with %v, want %v", e.Err, tt.want)
				}
				if read := a.table(); read.Err == nil || read.Table != nil {
					t.Errorf("%d slots were read: %v", len(read.Table), read.Err)
				}
				if string(w.disk.Image()) != string(before) {
					t.Error("something was written")
				}
				a.wantState(storagehb.Failing)
				a.end()
			})
		})
	}
}

// A volume that is wiped, or exchanged for another, while it is in use has no
// claims: that must not look like a proof.
func TestWipedWhileInUse(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.host(0)
		a.submit(beat(1))
		w.disk.Wipe(0, len(w.disk.Image()))
		if read := a.table(); !errors.Is(read.Err, storagehb.ErrNotThisVolume) || read.Table != nil {
			t.Errorf("%d slots were read: %v", len(read.Table), read.Err)
		}
		a.submit(beat(2))
		a.wantWrites(format.KindHeartbeat, "3.2.1", "3.2.2!")
		a.end()
	})
}

// One superblock is enough; one that differs from the other is not.
func TestOneSuperblockIsDamaged(t *testing.T) {
	inBubble(t, func(w *world) {
		w.disk.Corrupt(100, 1)
		a := w.host(0)
		a.submit(beat(1))
		a.wantWrites(format.KindHeartbeat, "3.2.1")
		a.end()
	})
}

// Damage to what others wrote hides at most the newest, and is shown; damage to one
// slot does not touch the others.
func TestDamagedSlots(t *testing.T) {
	inBubble(t, func(w *world) {
		a, b := w.host(0), w.host(1)
		a.submit(beat(1))
		a.submit(beat(2))
		b.submit(beat(1))
		newest := b.table().Table[0].Heartbeat.Origin.Copy
		w.disk.Corrupt(layout.Offset(format.KindHeartbeat, 0, int(newest))+200, 1)
		w.disk.Corrupt(layout.Offset(format.KindClaim, 0, 0), 8192)
		read := b.table()
		s := read.Table[0]
		if read.Err != nil || s.Heartbeat.Value.Seq != 1 || !errors.Is(s.Heartbeat.Problem(), format.ErrDamaged) || s.Claim.OK {
			t.Errorf("a damaged slot is read as %+v, %v", s, read.Err)
		}
		if !read.Table[1].Heartbeat.OK {
			t.Error("the slot beside it is not read")
		}
		// Its owner sees it too, and writes on over the damaged copy.
		if read := a.table(); !errors.Is(read.Err, storagehb.ErrLostWrite) {
			t.Errorf("the owner reads its slot without complaint: %v", read.Err)
		}
		a.submit(beat(3))
		a.submit(beat(4))
		if s := b.table().Table[0].Heartbeat; s.Value.Seq != 4 || s.Problem() != nil {
			t.Errorf("after two more heartbeats it is read as %d, %v", s.Value.Seq, s.Problem())
		}
		a.end()
		b.end()
	})
}

// Another cluster's records are never evidence, however sound.
func TestForeignRecords(t *testing.T) {
	inBubble(t, func(w *world) {
		b := w.host(1)
		image := w.disk.Image()
		o := format.Origin{Slot: 2, Cluster: id(0xa0), Volume: volume, Host: id(0xb0)}
		if err := format.Encode(image[layout.Offset(format.KindHeartbeat, 2, 0):][:format.BlockSize], beat(9), o); err != nil {
			t.Fatal(err)
		}
		if err := format.Encode(image[layout.Offset(format.KindClaim, 2, 0):][:format.BlockSize], claim(99, 1), o); err != nil {
			t.Fatal(err)
		}
		w.disk.Restore(image)
		read := b.table()
		if s := read.Table[2]; read.Err != nil || s.Heartbeat.OK || !s.Heartbeat.Is(format.ErrForeign) {
			t.Errorf("read as %+v, %v", s.Heartbeat, read.Err)
		}
		if c, slot, ok := read.Table.Highest(); ok {
			t.Errorf("the highest claim is %v of slot %d", c, slot)
		}
		b.end()
	})
}

// A format that this version does not know makes the whole volume useless: what it
// cannot read might be a claim.
func TestUnknownMajor(t *testing.T) {
	inBubble(t, func(w *world) {
		b := w.host(1)
		image := w.disk.Image()
		block := image[layout.Offset(format.KindClaim, 2, 0):][:format.BlockSize]
		if err := format.Encode(block, claim(1, 1), format.Origin{Slot: 2, Cluster: cluster, Volume: volume, Host: id(0xb0)}); err != nil {
			t.Fatal(err)
		}
		block[8] = 2
		reseal(block)
		w.disk.Restore(image)
		if read := b.table(); !errors.Is(read.Err, format.ErrMajor) || read.Table != nil {
			t.Errorf("%d slots were read: %v", len(read.Table), read.Err)
		}
		b.wantState(storagehb.Failing)
		b.end()
	})
}

// A write that completed and is not there, or is not shown, makes all that is read worthless.
func TestLostWrites(t *testing.T) {
	none := 0
	tests := []struct {
		name string
		hurt func(w *world, a *host)
		mend func(a *host)
	}{
		{name: "a write is lost", hurt: func(w *world, a *host) {
			a.path.Next(hbtest.Fault{Keep: &none})
			a.submit(beat(3))
		}},
		{name: "reads are served from a cache", hurt: func(w *world, a *host) {
			a.path.Freeze(true)
			a.submit(beat(3))
		}, mend: func(a *host) { a.path.Freeze(false) }},
		{name: "the storage went back to an older copy", hurt: func(w *world, a *host) {
			image := w.disk.Image()
			a.submit(beat(3))
			w.disk.Restore(image)
		}},
		{name: "the slot was wiped", hurt: func(w *world, a *host) {
			w.disk.Wipe(layout.Offset(format.KindHeartbeat, 0, 0), 2*format.BlockSize)
		}},
		{name: "a write of before lands late, over a newer", hurt: func(w *world, a *host) {
			a.path.Next(hbtest.Fault{Later: time.Second, Err: hbtest.ErrIO})
			a.submit(beat(3))
			a.submit(beat(4))
			time.Sleep(2 * time.Second)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				a := w.host(0)
				a.submit(beat(1))
				a.submit(beat(2))
				tt.hurt(w, a)
				if read := a.table(); !errors.Is(read.Err, storagehb.ErrLostWrite) || read.Table != nil {
					t.Errorf("%d slots were read: %v", len(read.Table), read.Err)
				}
				a.wantState(storagehb.Failing)
				if tt.mend != nil {
					tt.mend(a)
				}
				a.submit(beat(10))
				if read := a.table(); read.Err != nil || read.Table[0].Heartbeat.Value.Seq != 10 {
					t.Errorf("after the next heartbeat: %v", read.Err)
				}
				a.end()
			})
		})
	}
}

// Two that write as one host: the one that sees it writes nothing any more.
func TestSecondWriter(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.host(0)
		a.submit(beat(1))
		before := w.disk.Image()
		twin := w.host(0)
		twin.submit(beat(2))
		if read := a.table(); !errors.Is(read.Err, storagehb.ErrSecondWriter) || read.Table != nil {
			t.Errorf("%d slots were read: %v", len(read.Table), read.Err)
		}
		a.submit(beat(3))
		w.disk.Restore(before) // even when nothing is seen of the other any more
		a.submit(claim(1, 1))
		for _, e := range all[storagehb.Written](a)[1:] {
			if !errors.Is(e.Err, storagehb.ErrSecondWriter) {
				t.Errorf("%v %v was written all the same: %v", e.Kind, e.Stamp, e.Err)
			}
		}
		a.end()
		twin.end()
	})
}

// A slot that holds another host's records is not written.
func TestSlotOfAnotherHost(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.host(0)
		a.submit(beat(1))
		a.end()
		b := w.host(0, func(c *storagehb.Config) { c.Host = id(0xc0) })
		b.submit(beat(5))
		b.wantWrites(format.KindHeartbeat, "3.2.5!")
		b.wantState(storagehb.Failing)
		b.end()
	})
}

// A claim that a late write of an earlier life hid is noticed by reading again.
func TestLateWriteHidesAClaim(t *testing.T) {
	inBubble(t, func(w *world) {
		evict := format.Listing{Slot: 2, Incarnation: 3, Standing: format.Suspect}
		a, b := w.host(0), w.host(1)
		set := storagehb.Set{Revision: 1, Volumes: []format.UUID{volume}}
		reading := func(h *host) map[format.UUID]storagehb.Reading {
			return map[format.UUID]storagehb.Reading{volume: h.table().Reading}
		}
		// a was master of epoch 9 when it died; this claim of its is still on its way.
		a.submit(claim(8, 1))
		a.path.Next(hbtest.Fault{Later: 5 * time.Second, Err: hbtest.ErrIO})
		a.submit(claim(9, 1))
		a.end()
		b.submit(claim(8, 5, evict))
		published := last[storagehb.Written](b)
		since := published.Completed
		if got, ok := storagehb.Published(map[format.UUID]time.Duration{volume: since}, set); !ok || got != since {
			t.Errorf("published since %v, %v", got, ok)
		}
		if !storagehb.StillHighest(published.Stamp, since, reading(b), set) {
			t.Error("the claim is not the highest right after it was written")
		}
		if storagehb.StillHighest(published.Stamp, w.now()+1, reading(b), set) {
			t.Error("a reading that began too early was taken")
		}
		if _, ok := set.Proof(reading(b), 2, 3); ok {
			t.Error("slot 2 proves that nobody evicts it while it is suspect")
		}
		time.Sleep(10 * time.Second)
		if storagehb.StillHighest(published.Stamp, since, reading(b), set) {
			t.Error("the claim is still taken for the highest")
		}
		b.end()
	})
}
