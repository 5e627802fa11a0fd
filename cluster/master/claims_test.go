package master

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

const (
	ownSlot = 0 // the master's
	theSlot = 1 // of the host that claims are about
	theLife = 2 // its incarnation
)

// volumeID names volume n.
func volumeID(n int) format.UUID { return format.UUID{0: 0xe0, 15: byte(n)} }

func setOf(revision uint64, volumes ...int) storagehb.Set {
	s := storagehb.Set{Revision: revision}
	for _, n := range volumes {
		s.Volumes = append(s.Volumes, volumeID(n))
	}
	return s
}

// cell is the two copies of the claim in one host's slot on one volume.
type cell [2]format.Claim

func (c cell) found() (f format.Found[format.Claim]) {
	for i, claim := range c {
		switch {
		case claim.Epoch == 0: // never written
		case !f.OK:
			f.OK, f.Value, f.Origin.Copy = true, claim, uint8(i)
		case claim.Stamp().Compare(f.Value.Stamp()) > 0:
			f.Value, f.Origin.Copy, f.Other = claim, uint8(i), f.Value.Stamp()
		default:
			f.Other = claim.Stamp()
		}
	}
	return f
}

// desk is the claims of an office in epoch 5 and the volumes that they are written
// to, moved by hand. A step happens at a second of its own.
type desk struct {
	*testing.T
	claims *claims
	now    time.Duration
	cells  map[int]*[3]cell // by volume and slot
	newest map[int]int      // copy that the master knows to hold its newest, by volume
	view   *volumes.View
	last   format.Claim // that was to be published
}

func newDesk(t *testing.T, volumes ...int) *desk {
	d := &desk{T: t, claims: newClaims(5, ownSlot), now: 100 * time.Second, cells: map[int]*[3]cell{}, newest: map[int]int{}, view: emptyView()}
	for _, n := range volumes {
		d.cells[n] = &[3]cell{}
		d.view.States[volumeID(n)] = storagehb.Changed{State: storagehb.Working}
	}
	return d
}

func emptyView() *volumes.View {
	return &volumes.View{Readings: map[format.UUID]storagehb.Reading{}, Claims: map[format.UUID]storagehb.Written{},
		Failed: map[format.UUID]format.Stamp{}, States: map[format.UUID]storagehb.Changed{}}
}

// at moves on to a second.
func (d *desk) at(second int) *desk {
	d.now = time.Duration(second) * time.Second
	return d
}

func (d *desk) change(f func(*volumes.View)) {
	v := &volumes.View{Readings: maps.Clone(d.view.Readings), Claims: maps.Clone(d.view.Claims), Failed: maps.Clone(d.view.Failed), States: maps.Clone(d.view.States)}
	f(v)
	d.view = v
	d.claims.observe(v)
}

// publish asks for the next claim, and reports whether one is due.
func (d *desk) publish(listed ...format.Listing) bool {
	d.Helper()
	c, due := d.claims.publish(listed, d.view, 1, d.now, time.Second)
	if due {
		d.last = c
		if err := c.Validate(); err != nil {
			d.Errorf("version %d cannot be written: %v", c.Version, err)
		}
	}
	return due
}

// must publishes what has to be due.
func (d *desk) must(listed ...format.Listing) {
	d.Helper()
	if !d.publish(listed...) {
		d.Fatalf("at %v no claim is due that lists %v", d.now, listed)
	}
}

// write has the last claim reach volumes, and known to have.
func (d *desk) write(on ...int) {
	for _, n := range on {
		d.newest[n] = 1 - d.newest[n]
		d.cells[n][ownSlot][d.newest[n]] = d.last
		d.change(func(v *volumes.View) {
			v.Claims[volumeID(n)] = storagehb.Written{Kind: format.KindClaim, Stamp: d.last.Stamp(), Submitted: d.now, Completed: d.now}
		})
	}
}

// fail has the write of the last claim end in an error; where it landed all the
// same, that is found when the volume is opened again.
func (d *desk) fail(n int, landed bool) {
	if landed {
		d.newest[n] = 1 - d.newest[n]
		d.cells[n][ownSlot][d.newest[n]] = d.last
	}
	d.change(func(v *volumes.View) { v.Failed[volumeID(n)] = d.last.Stamp() })
}

// ghost has a write of epoch 3, by an earlier life of the master's host, land where
// the master knows its newest claim to be, or in the other copy.
func (d *desk) ghost(n int, overNewest bool) {
	at := d.newest[n]
	if !overNewest {
		at = 1 - at
	}
	d.cells[n][ownSlot][at] = format.Claim{Epoch: 3, Version: 9}
}

func (d *desk) read(from ...int) {
	for _, n := range from {
		table := make(storagehb.Table, 3)
		for slot := range table {
			table[slot].Claim = d.cells[n][slot].found()
		}
		d.change(func(v *volumes.View) { v.Readings[volumeID(n)] = storagehb.Reading{Started: d.now, Table: table} })
	}
}

func (d *desk) state(n int, s storagehb.State) {
	d.change(func(v *volumes.View) { v.States[volumeID(n)] = storagehb.Changed{State: s} })
}

var (
	suspect = format.Listing{Slot: theSlot, Incarnation: theLife, Standing: format.Suspect}
	evicted = format.Listing{Slot: theSlot, Incarnation: theLife, Standing: format.Evicted}
	another = format.Listing{Slot: 2, Incarnation: 7, Standing: format.Suspect}
)

// Since when a claim stands, and whether it may be acted upon at second 1000, which
// is where every case ends: with a reading of all volumes that can be read.
func TestClaimStands(t *testing.T) {
	one, two, three := []storagehb.Set{setOf(1, 1)}, []storagehb.Set{setOf(1, 1, 2)}, []storagehb.Set{setOf(1, 1, 2, 3)}
	for _, c := range []struct {
		name      string
		sets      []storagehb.Set
		do        func(*desk)
		blind     []int // volumes that are not read at the end
		since     int   // second; 0: it does not stand
		confirmed bool
	}{
		{name: "submitted is not written", sets: one, do: func(d *desk) { d.must(suspect) }},
		{name: "written", sets: one, since: 101, confirmed: true, do: func(d *desk) { d.must(suspect); d.at(101).write(1) }},
		{name: "the write failed", sets: one, do: func(d *desk) { d.must(suspect); d.at(101).fail(1, false) }},
		{name: "the write failed, and landed", sets: one, do: func(d *desk) { d.must(suspect); d.at(101).fail(1, true) }},
		{name: "one of three", sets: three, do: func(d *desk) { d.must(suspect); d.at(101).write(1) }},
		{name: "two of three, since the second", sets: three, since: 105, confirmed: true,
			do: func(d *desk) { d.must(suspect); d.at(101).write(1); d.at(105).write(3) }},
		{name: "three of three, since the second", sets: three, since: 105, confirmed: true,
			do: func(d *desk) { d.must(suspect); d.at(101).write(1); d.at(105).write(3); d.at(109).write(2) }},
		{name: "one of two", sets: two, since: 101, confirmed: true, do: func(d *desk) { d.must(suspect); d.at(101).write(2) }},
		{name: "enough of the old set is not enough of the new", sets: []storagehb.Set{setOf(1, 1), setOf(2, 2)},
			do: func(d *desk) { d.must(suspect); d.at(101).write(1) }},
		{name: "enough of both sets, since the later", sets: []storagehb.Set{setOf(1, 1), setOf(2, 2)}, since: 140, confirmed: true,
			do: func(d *desk) { d.must(suspect); d.at(101).write(1); d.at(140).write(2) }},
		{name: "no volumes ask for nothing", sets: []storagehb.Set{setOf(0), setOf(1, 1)}, since: 101, confirmed: true,
			do: func(d *desk) { d.must(suspect); d.at(101).write(1) }},
		{name: "another host is listed", sets: one, do: func(d *desk) { d.must(another); d.at(101).write(1) }},
		{name: "an earlier life is listed", sets: one, do: func(d *desk) {
			d.must(format.Listing{Slot: theSlot, Incarnation: theLife - 1, Standing: format.Evicted})
			d.at(101).write(1)
		}},
		{name: "an earlier life is listed until the next claim is written", sets: one, since: 130, confirmed: true, do: func(d *desk) {
			d.must(format.Listing{Slot: theSlot, Incarnation: theLife - 1, Standing: format.Evicted})
			d.at(101).write(1)
			d.at(102).read(1)
			d.must(suspect)
			d.at(130).write(1)
		}},
		{name: "from the first version that lists it", sets: one, since: 101, confirmed: true, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(102).read(1)
			d.at(110).must(suspect, another)
			d.at(111).write(1)
		}},
		{name: "from the first version that lists it, as dead since", sets: one, since: 101, confirmed: true, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(102).read(1)
			d.at(110).must(evicted)
			d.at(111).write(1)
		}},
		{name: "anew after it was withdrawn", sets: one, since: 121, confirmed: true, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(102).read(1)
			d.at(110).must()
			d.at(111).write(1)
			d.at(112).read(1)
			d.at(120).must(suspect)
			d.at(121).write(1)
		}},
		{name: "anew after it was withdrawn, where that was never written", sets: one, since: 121, confirmed: true, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(102).read(1)
			d.at(110).must()
			d.fail(1, false)
			d.at(120).must(suspect)
			d.at(121).write(1)
		}},
		{name: "an earlier version, of before it was suspected, is written late", sets: one, do: func(d *desk) {
			d.must()
			first := d.last
			d.state(1, storagehb.Degraded)
			d.at(102).must(suspect)
			d.last = first
			d.at(103).write(1)
			d.state(1, storagehb.Working)
		}},
		{name: "the next version is submitted and not written", sets: one, since: 101, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(102).read(1)
			d.at(110).must(suspect, another)
		}},
		{name: "hidden at the end", sets: one, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(102).read(1)
			d.at(110)
			d.ghost(1, true)
		}},
		{name: "hidden, and published anew", sets: one, since: 121, confirmed: true, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(110)
			d.ghost(1, true)
			d.at(115).read(1)
			d.at(120).must(suspect)
			d.at(121).write(1)
		}},
		{name: "hidden until the next version came, which is read", sets: one, since: 131, confirmed: true, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(102).read(1)
			d.ghost(1, true) // from here on the host may prove
			d.at(130).must(suspect, another)
			d.at(131).write(1) // into the other copy
		}},
		{name: "hidden until the next version came, which nobody had read when another came", sets: one, since: 141, confirmed: true, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(102).read(1)
			d.ghost(1, true)
			d.at(130).must(suspect, another)
			d.at(131).write(1)
			d.state(1, storagehb.Degraded) // not waited for
			d.at(140).must(suspect)
			d.at(141).write(1)
			d.state(1, storagehb.Working)
		}},
		{name: "an old write lands in the other copy", sets: one, since: 101, confirmed: true, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(102).read(1)
			d.at(110).must(suspect, another)
			d.at(111).write(1)
			d.at(112).read(1)
			d.ghost(1, false)
		}},
		{name: "goes back to an older copy of the volume, and the next version comes", sets: one, since: 131, confirmed: true, do: func(d *desk) {
			d.must()
			d.at(101).write(1)
			older := *d.cells[1]
			d.at(102).read(1)
			d.must(suspect)
			d.at(103).write(1)
			d.at(104).read(1)
			d.at(120)
			*d.cells[1] = older
			d.at(130).must(suspect, another)
			d.at(131).write(1)
		}},
		{name: "comes back empty", sets: one, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(102).read(1)
			*d.cells[1] = [3]cell{}
		}},
		{name: "another master's claim is higher", sets: one, since: 101, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.cells[1][2][0] = format.Claim{Epoch: 6, Version: 1}
		}},
		{name: "a former master's claim is lower", sets: one, since: 101, confirmed: true, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.cells[1][2][0] = format.Claim{Epoch: 4, Version: 99}
		}},
		{name: "nobody can read it at the end", sets: one, since: 101, blind: []int{1}, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(500).read(1)
		}},
		{name: "a volume that does not work does not count", sets: three, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1, 2)
			d.at(102).read(1, 2)
			d.state(2, storagehb.Failing)
		}},
		{name: "a volume that does not work does not count, a later one does", sets: three, since: 150, confirmed: true, blind: []int{2}, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1, 2)
			d.at(102).read(1, 2)
			d.state(2, storagehb.Failing)
			d.at(150).write(3)
		}},
		{name: "hidden where nobody looks, and a later volume looks well", sets: two, since: 101, blind: []int{1}, do: func(d *desk) {
			d.must(suspect)
			d.at(101).write(1)
			d.at(102).read(1)
			d.ghost(1, true) // a host that reads both proves until the other has it
			d.at(500).write(2)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all []int
			for _, n := range []int{1, 2, 3} {
				if slices.ContainsFunc(c.sets, func(s storagehb.Set) bool { return slices.Contains(s.Volumes, volumeID(n)) }) {
					all = append(all, n)
				}
			}
			d := newDesk(t, all...)
			c.do(d)
			d.at(1000)
			for _, n := range all {
				if !slices.Contains(c.blind, n) && d.view.States[volumeID(n)].State == storagehb.Working {
					d.read(n)
				}
			}
			since, ok := d.claims.stands(theSlot, theLife, d.view, c.sets)
			if want := time.Duration(c.since) * time.Second; since != want && ok || ok != (c.since != 0) {
				t.Errorf("stands since %v (%v), want since %v", since, ok, want)
			}
			if confirmed := ok && d.claims.confirmed(theSlot, since, d.now, d.view, c.sets); confirmed != c.confirmed {
				t.Errorf("confirmed is %v, want %v", confirmed, c.confirmed)
			}
			if ok && d.claims.confirmed(theSlot, since, d.now+1, d.view, c.sets) {
				t.Error("readings that began before the end of the wait confirm it")
			}
		})
	}
}

// When a claim is due: first of all one that takes back whatever earlier masters
// said; then whenever what is to be listed changes, once the last was read back
// wherever it can be; and again where it got lost.
func TestPublish(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*desk)
		list []format.Listing
		want bool
	}{
		{name: "the first, with nothing to say", do: func(d *desk) {}, want: true},
		{name: "nothing new", do: func(d *desk) { d.must(); d.at(101).write(1, 2); d.at(102).read(1, 2); d.at(200) }},
		{name: "a suspect", do: func(d *desk) { d.must(); d.at(101).write(1, 2); d.at(102).read(1, 2) }, list: []format.Listing{suspect}, want: true},
		{name: "a suspect while the last is not written everywhere", do: func(d *desk) { d.must(); d.at(101).write(1); d.at(102).read(1, 2) }, list: []format.Listing{suspect}},
		{name: "a suspect while the last is not read back", do: func(d *desk) { d.must(); d.read(1, 2); d.at(101).write(1, 2) }, list: []format.Listing{suspect}},
		{name: "a suspect while a volume hangs", do: func(d *desk) {
			d.must()
			d.at(101).write(1)
			d.read(1)
			d.state(2, storagehb.Degraded)
		}, list: []format.Listing{suspect}, want: true},
		{name: "a suspect while a volume opens", do: func(d *desk) {
			d.must()
			d.at(101).write(1)
			d.read(1)
			d.state(2, storagehb.Opening)
		}, list: []format.Listing{suspect}, want: true},
		{name: "a suspect after a write failed", do: func(d *desk) { d.must(); d.at(101).write(1); d.read(1); d.fail(2, false) }, list: []format.Listing{suspect}, want: true},
		{name: "a suspect after one that landed though its write failed", do: func(d *desk) { d.must(); d.at(101).write(1); d.read(1); d.fail(2, true); d.read(2) },
			list: []format.Listing{suspect}, want: true},
		{name: "again where a write failed, a while later", do: func(d *desk) { d.must(); d.write(1); d.fail(2, false); d.at(101).read(1) }, want: true},
		{name: "not again at once", do: func(d *desk) { d.must(); d.write(1); d.read(1); d.fail(2, false) }},
		{name: "not again where the volume does not work", do: func(d *desk) {
			d.must()
			d.write(1)
			d.fail(2, false)
			d.state(2, storagehb.Failing)
			d.at(110).read(1)
		}},
		{name: "again where it is hidden", do: func(d *desk) { d.must(); d.write(1, 2); d.ghost(2, true); d.at(110).read(1, 2) }, want: true},
		{name: "a host is heard again", do: func(d *desk) { d.must(suspect); d.write(1, 2); d.at(101).read(1, 2) }, want: true},
		{name: "a suspect is dead", do: func(d *desk) { d.must(suspect); d.write(1, 2); d.at(101).read(1, 2) }, list: []format.Listing{evicted}, want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, 1, 2)
			c.do(d)
			version := d.last.Version
			if due := d.publish(c.list...); due != c.want {
				t.Fatalf("a claim that lists %v is due: %v, want %v", c.list, due, c.want)
			}
			if !c.want {
				return
			}
			want := format.Claim{Epoch: 5, Version: version + 1, Incarnation: 1, Listed: c.list}
			if diff := cmp.Diff(want, d.last); diff != "" {
				t.Errorf("it differs (-want +got):\n%s", diff)
			}
		})
	}
}

// What is listed: whoever is suspected or was declared dead, in the incarnation that
// is meant, by slot; nobody who has yet to come up.
func TestListings(t *testing.T) {
	s := &fsm.State{Hosts: map[string]*fsm.Host{
		"a": {Name: "a", Slot: 4, Incarnation: 3, Status: fsm.HostLive},
		"b": {Name: "b", Slot: 3, Incarnation: 2, Status: fsm.HostLive},
		"c": {Name: "c", Slot: 2, Incarnation: 9, Status: fsm.HostDead},
		"d": {Name: "d", Slot: 1, Status: fsm.HostJoining},
	}}
	got := listings(s, func(host string) bool { return host == "b" || host == "d" })
	want := []format.Listing{{Slot: 1, Incarnation: 9, Standing: format.Evicted}, {Slot: 2, Incarnation: 2, Standing: format.Suspect}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listings differ (-want +got):\n%s", diff)
	}
	if err := (format.Claim{Listed: got}).Validate(); err != nil {
		t.Error(err)
	}
}

// A claim in an earlier office's name says nothing about this one's.
func TestClaimsOfAnEarlierOfficeDoNotCount(t *testing.T) {
	d := newDesk(t, 1)
	d.must(suspect)
	d.last.Epoch = 4
	d.at(101).write(1)
	d.read(1)
	if since, ok := d.claims.stands(theSlot, theLife, d.view, []storagehb.Set{setOf(1, 1)}); ok {
		t.Errorf("the claim of epoch 4 stands since %v in epoch 5", since)
	}
}

// A volume that was out of use and comes back has what it had, and nothing more.
func TestVolumeOutOfUseAndBack(t *testing.T) {
	d, set := newDesk(t, 1, 2), []storagehb.Set{setOf(1, 1)}
	d.must(suspect)
	d.at(101).write(1, 2)
	d.read(1, 2)
	out := func(v *volumes.View) {
		delete(v.Readings, volumeID(1))
		delete(v.Claims, volumeID(1))
		delete(v.States, volumeID(1))
	}
	d.at(110).change(out)
	d.must() // withdrawn meanwhile
	d.at(111).write(2)
	d.read(2)
	d.at(120).must(suspect) // and claimed again
	d.at(121).write(2)
	d.read(2)
	d.state(1, storagehb.Working)
	d.read(1)
	if since, ok := d.claims.stands(theSlot, theLife, d.view, set); ok {
		t.Errorf("stands since %v on a volume that it was not written to", since)
	}
	d.at(130).write(1)
	if since, _ := d.claims.stands(theSlot, theLife, d.view, set); since != 130*time.Second {
		t.Errorf("stands since %v, want since it was written again, at 130s", since)
	}
}
