package fsm

import (
	"bytes"
	"testing"
)

// Whatever bytes are in the log, Apply neither panics nor half-applies, and the
// state stays one that can be written, read back and gone on with.
func FuzzApply(f *testing.F) {
	seed := newCluster(f)
	for _, entry := range seed.log {
		f.Add(entry)
	}
	for _, c := range samples() {
		entry, err := Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(entry)
	}
	base := snapshot(f, seed.m)
	f.Fuzz(func(t *testing.T, entry []byte) {
		m := New()
		if err := m.Restore(bytes.NewReader(base)); err != nil {
			t.Fatal(err)
		}
		old, index, _ := m.View()
		before := compact(t, old)
		res := m.Apply(index+1, entry).(Result)
		s, _, _ := m.View()
		if now := compact(t, old); !bytes.Equal(before, now) {
			t.Fatalf("the View from before changed:\n%s\n%s", before, now)
		}
		if res.Refusal != nil {
			if s != old || res.Refusal.Message == "" || res.Refusal.Code == "" {
				t.Fatalf("refused with %+v, state replaced: %v", res.Refusal, s != old)
			}
			return
		}
		c, err := Decode(entry)
		if err != nil {
			t.Fatalf("accepted what Decode refuses: %v", err)
		}
		again, err := Encode(c)
		if err != nil {
			t.Fatalf("accepted what cannot be encoded again: %v", err)
		}
		other := New()
		if err := other.Restore(bytes.NewReader(base)); err != nil {
			t.Fatal(err)
		}
		other.Apply(index+1, again)
		if a, b := snapshot(t, m), snapshot(t, other); !bytes.Equal(a, b) {
			t.Fatalf("the command, encoded again, leads elsewhere:\n%s\n%s", a, b)
		}
		if err := New().Restore(bytes.NewReader(snapshot(t, m))); err != nil {
			t.Fatalf("the snapshot of the state it leads to cannot be restored: %v", err)
		}
	})
}

// Whatever bytes a snapshot holds, Restore refuses it and keeps the state, or
// takes a state that can be gone on with.
func FuzzRestore(f *testing.F) {
	seed := newCluster(f)
	good := snapshot(f, seed.m)
	f.Add(good)
	f.Add(snapshot(f, New()))
	f.Add(good[:len(good)/2])
	f.Add([]byte("holdfast-state 2 1\n{}\n"))
	f.Add([]byte("holdfast-state 1 1\n{\"hosts\":{\"a\":null}}\n"))
	var log [][]byte
	for _, c := range samples() {
		entry, err := Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		log = append(log, entry)
	}
	f.Fuzz(func(t *testing.T, snap []byte) {
		m := New()
		old, _, _ := m.View()
		if err := m.Restore(bytes.NewReader(snap)); err != nil {
			if s, i, _ := m.View(); s != old || i != 0 {
				t.Fatalf("refused (%v), but the state was replaced", err)
			}
			return
		}
		once := snapshot(t, m)
		back := New()
		if err := back.Restore(bytes.NewReader(once)); err != nil {
			t.Fatalf("what was restored is written as a snapshot that cannot be: %v\n%s", err, once)
		}
		for i, entry := range log {
			m.Apply(uint64(i+1), entry)
			back.Apply(uint64(i+1), entry)
		}
		if a, b := snapshot(t, m), snapshot(t, back); !bytes.Equal(a, b) {
			t.Fatalf("two machines from one snapshot differ after the same log:\n%s\n%s", a, b)
		}
	})
}
