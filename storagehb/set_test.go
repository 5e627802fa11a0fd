package storagehb

import (
	"math/bits"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

func setOf(m int) (s Set) {
	for i := range m {
		s.Volumes = append(s.Volumes, format.UUID{1, byte(i)})
	}
	return s
}

func TestQuorums(t *testing.T) {
	for _, tt := range []struct{ m, w, r int }{{0, 0, 1}, {1, 1, 1}, {2, 1, 2}, {3, 2, 2}, {4, 2, 3}, {5, 3, 3}} {
		s := setOf(tt.m)
		if s.W() != tt.w || s.R() != tt.r {
			t.Errorf("of %d volumes W is %d and R is %d, want %d and %d", tt.m, s.W(), s.R(), tt.w, tt.r)
		}
		if s.W()+s.R() <= tt.m {
			t.Errorf("of %d volumes, %d and %d need not have one in common", tt.m, s.W(), s.R())
		}
		// Takeover goes on while half of the volumes are lost, or nearly.
		if lost := tt.m - s.W(); lost < tt.m/2 {
			t.Errorf("of %d volumes only %d may be lost", tt.m, lost)
		}
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
	}
	for name, s := range map[string]Set{"six volumes": setOf(6), "no volume": {Volumes: make([]format.UUID, 1)}, "a volume twice": {Volumes: []format.UUID{{1}, {1}}}} {
		if s.Validate() == nil {
			t.Errorf("a set with %s is accepted", name)
		}
	}
}

// tableWith is a table of two slots with a claim in the first.
func tableWith(c *format.Claim) Table {
	t := make(Table, 2)
	if c != nil {
		t[0].Claim = format.Found[format.Claim]{OK: true, Value: *c}
	}
	return t
}

// However a claim's volumes and a proof's fall, whoever is listed proves nothing
// once the claim is published, and is free to prove before it stands anywhere.
func TestAPublishedClaimEndsEveryProof(t *testing.T) {
	suspects := &format.Claim{Epoch: 5, Version: 2, Listed: []format.Listing{{Slot: 7, Incarnation: 3, Standing: format.Suspect}}}
	clears := &format.Claim{Epoch: 5, Version: 1}
	for m := 1; m <= MaxVolumes; m++ {
		s := setOf(m)
		for written := range 1 << m {
			complete := map[format.UUID]time.Duration{}
			for i, v := range s.Volumes {
				if written&(1<<i) != 0 {
					complete[v] = time.Duration(10 + i)
				}
			}
			since, published := Published(complete, s)
			if want := bits.OnesCount(uint(written)) >= s.W(); published != want {
				t.Fatalf("on %b of %d volumes it is published: %v", written, m, published)
			}
			if n := 0; published {
				for _, at := range complete {
					if at <= since {
						n++
					}
				}
				if n != s.W() {
					t.Fatalf("published since %v, when it stood on %d volumes", since, n)
				}
			}
			for read := range 1 << m {
				readings := map[format.UUID]Reading{}
				for i, v := range s.Volumes {
					if read&(1<<i) != 0 {
						c := clears
						if written&(1<<i) != 0 {
							c = suspects
						}
						readings[v] = Reading{Started: time.Duration(20 + i), Table: tableWith(c)}
					}
				}
				_, proof := s.Proof(readings, 7, 3)
				if want := bits.OnesCount(uint(read)) >= s.R() && read&written == 0; proof != want {
					t.Fatalf("%d volumes, claim on %05b, read %05b: proven %v", m, written, read, proof)
				}
				if proof && published {
					t.Fatalf("%d volumes, claim on %05b, read %05b: a proof beside a published claim", m, written, read)
				}
				if _, other := s.Proof(readings, 8, 3); other != (bits.OnesCount(uint(read)) >= s.R()) {
					t.Fatalf("%d volumes, read %05b: a host that nobody listed proves: %v", m, read, other)
				}
				if still := StillHighest(suspects.Stamp(), 20, readings, s); still != (bits.OnesCount(uint(read&written)) >= s.W()) {
					t.Fatalf("%d volumes, claim on %05b, read %05b: still the highest: %v", m, written, read, still)
				}
			}
		}
	}
}

func TestProof(t *testing.T) {
	s := setOf(3)
	at := func(started time.Duration, c *format.Claim) Reading {
		return Reading{Started: started, Table: tableWith(c)}
	}
	old := &format.Claim{Epoch: 4, Version: 9, Listed: []format.Listing{{Slot: 7, Incarnation: 3, Standing: format.Suspect}}}
	withdrawn := &format.Claim{Epoch: 5, Version: 1}
	evicted := &format.Claim{Epoch: 6, Version: 1, Listed: []format.Listing{{Slot: 7, Incarnation: 4, Standing: format.Evicted}}}
	unset := &format.Claim{Listed: []format.Listing{{Slot: 7, Incarnation: 3, Standing: format.Suspect}}}
	tests := []struct {
		name     string
		readings [3]Reading // a zero one was not read
		want     time.Duration
		ok       bool
	}{
		{name: "no claim at all", readings: [3]Reading{at(10, nil), at(20, nil), at(30, nil)}, want: 20, ok: true},
		{name: "two volumes", readings: [3]Reading{at(10, nil), {}, at(30, nil)}, want: 10, ok: true},
		{name: "one volume", readings: [3]Reading{at(10, nil)}},
		{name: "a reading that failed counts for nothing", readings: [3]Reading{at(10, nil), {Started: 20}}},
		{name: "listed by an older claim alone", readings: [3]Reading{at(10, old), at(20, withdrawn), at(30, old)}, want: 20, ok: true},
		{name: "listed by the newest, of a volume beyond R", readings: [3]Reading{at(10, evicted), at(20, withdrawn), at(30, old)}},
		{name: "an older life of a host that is evicted", readings: [3]Reading{at(10, evicted), at(20, evicted), {}}},
		{name: "the very first claim", readings: [3]Reading{at(10, unset), at(20, nil), {}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			readings := map[format.UUID]Reading{{9}: at(99, evicted)} // a volume of no concern
			for i, r := range tt.readings {
				if r.Started != 0 {
					readings[s.Volumes[i]] = r
				}
			}
			if got, ok := s.Proof(readings, 7, 3); got != tt.want || ok != tt.ok {
				t.Errorf("proven %v, worth %v; want %v, %v", ok, got, tt.ok, tt.want)
			}
		})
	}
	if _, ok := (Set{}).Proof(nil, 7, 3); ok {
		t.Error("something is proven without a volume")
	}
}

// While the set changes a claim must stand on enough volumes of both.
func TestPublishedOnEverySet(t *testing.T) {
	old, next := Set{Revision: 1, Volumes: []format.UUID{{1}, {2}, {3}}}, Set{Revision: 2, Volumes: []format.UUID{{3}, {4}, {5}}}
	complete := map[format.UUID]time.Duration{{1}: 10, {3}: 30}
	if since, ok := Published(complete, old); !ok || since != 30 {
		t.Errorf("on the old set published since %v, %v", since, ok)
	}
	if _, ok := Published(complete, old, next); ok {
		t.Error("published, though on one volume of the next set")
	}
	complete[format.UUID{5}] = 50
	if since, ok := Published(complete, old, next); !ok || since != 50 {
		t.Errorf("published since %v, %v; want 50ns", since, ok)
	}
	if since, ok := Published(nil, Set{}); !ok || since != 0 {
		t.Errorf("without volumes published since %v, %v", since, ok)
	}
	stands := map[format.UUID]Reading{}
	c := &format.Claim{Epoch: 1, Version: 1}
	for _, v := range []byte{1, 3} {
		stands[format.UUID{v}] = Reading{Started: 1, Table: tableWith(c)}
	}
	if !StillHighest(c.Stamp(), 1, stands, old) || StillHighest(c.Stamp(), 1, stands, old, next) {
		t.Error("still the highest is not asked of every set")
	}
}
