package fsm

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// looked is what was said of hosts in a decision that went to one of them.
func looked(to uint16, others ...uint16) []Lot {
	return []Lot{{Slots: SlotsOf(to), Rank: 1, Text: "memory 10.0 % used"}, {Slots: SlotsOf(others...), Excluded: "memory", Text: "1 MiB free, 2 MiB needed"}}
}

// The decision that gave a VM its host is kept with it and in the event, and outlives the
// placement; one that nobody took is not left standing.
func TestChoiceIsKept(t *testing.T) {
	assign := func(r *rig, considered []Lot) {
		vm := r.state().VMs[uuid(2)]
		r.must(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Previous: vm.Generation, Host: "a", Incarnation: 1, Round: 1, Why: "free", Considered: considered})
	}
	report := func(r *rig, n int, o Outcome, move uint64) {
		p := r.state().VMs[uuid(n)].Owner
		r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(n), Host: p.Host, Incarnation: p.Incarnation, Generation: p.Generation, Outcome: o, Detail: "as seen", Move: move})
	}
	move := func(r *rig) uint64 {
		return r.must(&BeginMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1, Why: "balance", Considered: looked(1, 2)}).(uint64)
	}
	for _, tc := range []struct {
		name string
		vm   int
		do   func(r *rig)
		want *Choice // but for the moment
	}{
		{"assigned", 2, func(r *rig) { assign(r, looked(1, 2, 3)) }, &Choice{Host: "a", Generation: 1, Considered: looked(1, 2, 3)}},
		{"lost", 2, func(r *rig) {
			assign(r, looked(1, 2, 3))
			r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "a", Incarnation: 1})
		}, &Choice{Host: "a", Generation: 1, Considered: looked(1, 2, 3)}},
		{"assigned anew by a master that says nothing", 2, func(r *rig) {
			assign(r, looked(1, 2, 3))
			report(r, 2, OutcomeCrashed, 0)
			assign(r, nil)
		}, nil},
		{"on its way", 1, func(r *rig) { move(r) }, nil},
		{"moved", 1, func(r *rig) { report(r, 1, OutcomeMoved, move(r)) }, &Choice{Host: "a", From: "b", Generation: 2, Considered: looked(1, 2)}},
		{"a move that failed", 1, func(r *rig) { report(r, 1, OutcomeMoveFailed, move(r)) }, nil},
		{"found running where nobody put it", 2, func(r *rig) {
			assign(r, looked(1, 2, 3))
			report(r, 2, OutcomeCrashed, 0)
			r.must(&Adopt{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Previous: 1, Host: "b", Incarnation: 1})
			r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Host: "b", Incarnation: 1, Generation: 2, Outcome: OutcomeRunning})
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newCluster(t)
			tc.do(r)
			got := r.state().VMs[uuid(tc.vm)].Choice
			if got != nil {
				if got.At.IsZero() {
					t.Error("nobody can say when that was decided")
				}
				had := *got
				had.At = tc.want.At
				got = &had
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("kept of the decision (-want +got):\n%s", diff)
			}
			var b bytes.Buffer
			if err := writeSnapshot(&b, r.state(), 7); err != nil {
				t.Fatal(err)
			}
			back, _, err := readSnapshot(&b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(r.state().VMs, back.VMs); diff != "" {
				t.Errorf("after a snapshot (-state +restored):\n%s", diff)
			}
		})
	}
	for _, tc := range []struct {
		name, event string
		do          func(r *rig)
	}{
		{"a start", EventVMAssigned, func(r *rig) { assign(r, looked(1, 2)) }},
		{"a move", EventVMMoveOrdered, func(r *rig) { move(r) }},
		{"no host", EventVMNoHost, func(r *rig) {
			r.must(&SetWaiting{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Why: "no host can take it", Considered: looked(1, 2)})
		}},
	} {
		t.Run("the event of "+tc.name, func(t *testing.T) {
			r := newCluster(t)
			tc.do(r)
			e := r.state().Events[len(r.state().Events)-1]
			if diff := cmp.Diff(looked(1, 2), e.Considered); e.Type != tc.event || diff != "" {
				t.Errorf("the last event is %s, want %s; what it has of the hosts (-want +got):\n%s", e.Type, tc.event, diff)
			}
		})
	}
}

// A set of slots is the same slots again, and is written in one way only.
func TestSlots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfNDistinct(rapid.Uint16(), 1, 300, rapid.ID[uint16]).Draw(t, "slots")
		set := SlotsOf(all...)
		slices.Sort(all)
		if got := set.All(); !slices.Equal(got, all) || !set.sound() {
			t.Fatalf("%d slots came back as %d, sound: %v", len(all), len(got), set.sound())
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		set := Slots(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes"))
		if all := set.All(); set.sound() && !bytes.Equal(SlotsOf(all...), set) || !set.sound() && all != nil {
			t.Fatalf("%x is sound: %v, and is written as %x", []byte(set), set.sound(), []byte(SlotsOf(all...)))
		}
	})
	for _, tc := range []struct {
		name string
		set  Slots
	}{
		{"nothing", nil},
		{"a slot twice", Slots{1, 0}},
		{"a step that ends in the middle", Slots{1, 0x80}},
		{"a step in more bytes than it needs", Slots{0x81, 0x00}},
		{"beyond the last slot", append(SlotsOf(65535), 1)},
		{"a step beyond what is counted", Slots{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := checkLots([]Lot{{Slots: tc.set, Rank: 1}}); err == nil {
				t.Errorf("%x is taken for a set of slots", []byte(tc.set))
			}
		})
	}
	if got := SlotsOf(3, 1, 3).All(); !slices.Equal(got, []uint16{1, 3}) {
		t.Errorf("3, 1 and 3 are %v", got)
	}
}

// What is kept of a decision is bounded, whoever proposes it.
func TestLotsAreBounded(t *testing.T) {
	one := Lot{Slots: SlotsOf(1), Rank: 1, Text: "free"}
	for _, tc := range []struct {
		name string
		lots []Lot
		says string
	}{
		{"too many", slices.Repeat([]Lot{{Slots: SlotsOf(1), Rank: 1}}, 33), "33 lots"},
		{"too large", slices.Repeat([]Lot{{Slots: SlotsOf(1), Rank: 1, Text: strings.Repeat("x", 256)}}, 8), "are kept"},
		{"too long", []Lot{{Slots: SlotsOf(1), Rank: 1, Text: strings.Repeat("x", 257)}}, "longer than 256"},
		{"neither ranked nor excluded", []Lot{{Slots: SlotsOf(1)}}, "one of both"},
		{"ranked and excluded", []Lot{{Slots: SlotsOf(1), Rank: 1, Excluded: "memory"}}, "one of both"},
		{"not text", []Lot{{Slots: SlotsOf(1), Rank: 1, Text: "\xff"}}, "UTF-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newCluster(t)
			for _, c := range []Command{
				&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Host: "a", Incarnation: 1, Considered: tc.lots},
				&BeginMove{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1, Considered: tc.lots},
				&SetWaiting{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Considered: tc.lots},
				&Record{Meta: r.meta(), Epoch: 1, Events: []Event{{Type: "x", Considered: tc.lots}}},
			} {
				if _, err := Encode(c); err == nil || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%T: %v, want an error with %q", c, err, tc.says)
				}
			}
		})
	}
	if err := checkLots([]Lot{one}); err != nil {
		t.Errorf("a good one is refused: %v", err)
	}
	lots := slices.Repeat([]Lot{{Slots: SlotsOf(1, 256), Excluded: "memory", Rule: "a-rule", Text: strings.Repeat("x", 60)}}, 8)
	before := len(snapshotOf(t, nil))
	after := len(snapshotOf(t, lots))
	if est := lotsBytes(lots); after-before > est+len(`"choice":{"host":"","at":"2026-03-01T12:00:30Z","generation":1,"considered":[]},`) {
		t.Errorf("8 lots take %d bytes in a snapshot, and count as %d only: the bound means nothing", after-before, est)
	}
}

func snapshotOf(t *testing.T, lots []Lot) []byte {
	t.Helper()
	vm := testVM(1, IntentRun)
	vm.Choice = choice("a", "", day, 1, lots)
	var b bytes.Buffer
	if err := writeSnapshot(&b, &State{VMs: map[string]*VM{vm.UUID: &vm}}, 1); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
