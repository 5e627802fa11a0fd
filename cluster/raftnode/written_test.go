package raftnode

import (
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/holdfast-ha/holdfast/cluster/durable"
)

// peeked is a log that has a look taken while it is being written to.
type peeked struct {
	raft.LogStore
	look func()
}

func (p peeked) StoreLogs(l []*raft.Log) error {
	p.look()
	return p.LogStore.StoreLogs(l)
}

// What a host states of its disk is on it: never ahead of it, never behind what a new
// agent reads there, and never falling, also where a leader takes entries of an older term away.
func TestOnlyWhatIsOnTheDiskIsWritten(t *testing.T) {
	s := MemoryStores()
	memory := s.Log
	var w *watched
	s.Log = peeked{memory, func() {
		there, err := Written(Stores{Log: memory, Stable: s.Stable, Snapshots: s.Snapshots})
		if err != nil {
			t.Fatal(err)
		}
		if at := w.at.get(); !there.Covers(at) {
			t.Errorf("while the log is written %v is stated, and %v is on the disk", at, there)
		}
	}}
	w = watchStores(t.Context(), Config{Stores: s, StoreDeadline: time.Minute, YieldAfter: time.Minute, Logger: hclog.NewNullLogger(), Gate: nil}.withDefaults(), func(err error) { t.Error(err) })
	logs := func(term, first, last uint64) func() error {
		return func() error {
			var all []*raft.Log
			for i := first; i <= last; i++ {
				all = append(all, &raft.Log{Index: i, Term: term})
			}
			return w.StoreLogs(all)
		}
	}
	number := func(key string, v uint64) func() error {
		return func() error { return w.SetUint64([]byte(key), v) }
	}
	was := durable.Position{}
	for _, step := range []struct {
		what string
		do   func() error
		want durable.Position
	}{
		{"a term", number(termKey, 1), durable.Position{Term: 1}},
		{"its entries", logs(1, 1, 100), durable.Position{Term: 1, Index: 100}},
		{"a vote in a newer term", func() error {
			if err := number(termKey, 2)(); err != nil {
				return err
			}
			return number(voteKey, 2)()
		}, durable.Position{Term: 2, Vote: 2}},
		{"entries as a leader", logs(2, 101, 180), durable.Position{Term: 2, Vote: 2, Index: 180}},
		{"another's term", number(termKey, 3), durable.Position{Term: 3, Vote: 2}},
		{"its own are taken away", func() error { return w.DeleteRange(101, 180) }, durable.Position{Term: 3, Vote: 2}},
		{"others of an older term in their place", logs(1, 101, 110), durable.Position{Term: 3, Vote: 2}},
		{"one of the new term", logs(3, 111, 111), durable.Position{Term: 3, Vote: 2, Index: 111}},
		{"old entries are dropped after a snapshot", func() error { return w.DeleteRange(1, 60) }, durable.Position{Term: 3, Vote: 2, Index: 111}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		at := w.at.get()
		there, err := Written(Stores{Log: memory, Stable: s.Stable, Snapshots: s.Snapshots})
		if err != nil {
			t.Fatal(err)
		}
		if at != step.want || there != step.want || !at.Covers(was) {
			t.Errorf("%s: stated %v, on the disk %v, before %v; want %v", step.what, at, there, was, step.want)
		}
		was = at
	}
}

// A snapshot that came from the leader is all that is left of the entries before it.
func TestASnapshotCountsAsWritten(t *testing.T) {
	s := MemoryStores()
	if err := s.Stable.SetUint64([]byte(termKey), 4); err != nil {
		t.Fatal(err)
	}
	sink, err := s.Snapshots.Create(raft.SnapshotVersionMax, 500, 4, raft.Configuration{}, 1, nil)
	if err == nil {
		err = sink.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := Written(s)
	if want := (durable.Position{Term: 4, Index: 500}); err != nil || got != want {
		t.Errorf("a disk with a snapshot alone is at %v (%v), want %v", got, err, want)
	}
}
