package host

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/vmm"
)

// stand is host a, in slot 1 and incarnation 3, with a lease of one second left and
// three heartbeat volumes to be read by hand. Nothing runs; byStorage is called.
type stand struct {
	*testing.T
	*Host
	state  *fsm.State
	view   *volumes.View
	deadln time.Duration // the guard's
	// tripped is when the guard acted on it, and covered how many VMs it has.
	tripped time.Duration
	covered int
	trips   bool // the guard has acted
	saved   Record
	full    bool // nothing can be saved
	wrote   []format.Value
}

const (
	here = 100 * time.Second // the boot clock
	aWay = 4 * time.Second   // T_lease of the standard profile
)

func newStand(t *testing.T) *stand {
	s := &stand{T: t, deadln: here + time.Second, view: &volumes.View{Readings: map[format.UUID]storagehb.Reading{}}, state: &fsm.State{
		Volumes: fsm.VolumeSet{Revision: 2}, Hosts: map[string]*fsm.Host{"a": {Name: "a", Slot: 2, Incarnation: 3, Status: fsm.HostLive, Volumes: 2}}}}
	s.volumes(1)
	s.Host = New(Config{Name: "a", Networks: []string{"mgmt"}, Timing: standard(t), BootID: stray, Run: 7, Guard: onlyDeadline{s}, Volumes: byHand{s},
		View:   func() (*fsm.State, uint64, <-chan struct{}) { return s.state, 9, nil },
		Record: Record{Incarnation: 3, BootID: stray, Volumes: 2}, Save: s.save, Now: func() time.Duration { return here }, Log: hclog.NewNullLogger()})
	return s
}

func (s *stand) save(r Record) error {
	if s.full {
		return errors.New("no space left on device")
	}
	s.saved = r
	return nil
}

// volumes makes the set of the state the first n.
func (s *stand) volumes(n int) {
	s.state.Volumes.Volumes = nil
	for i := range n {
		s.state.Volumes.Volumes = append(s.state.Volumes.Volumes, fsm.Volume{Name: vol(i + 1).String(), Path: "/dev/x", ID: vol(i + 1).String()})
	}
}

func vol(n int) format.UUID { return format.UUID{0: 0xe0, 15: byte(n)} }

// remember makes the record what was saved when the state had the host in that slot
// (counted from 1) and the first n volumes in revision 2.
func (s *stand) remember(slot uint16, n int) {
	s.volumes(n)
	s.record.Slot, s.record.Set = slot, s.state.Volumes
}

// read is a reading of a volume with claims and acknowledgements in the slots from 2 on.
func (s *stand) read(n int, started time.Duration, said ...format.Value) {
	table := make(storagehb.Table, 2+len(said))
	for i, v := range said {
		switch v := v.(type) {
		case format.Claim:
			table[2+i].Claim = format.Found[format.Claim]{OK: true, Value: v}
		case format.Acks:
			table[2+i].Acks = format.Found[format.Acks]{OK: true, Value: v}
		}
	}
	s.view.Readings[vol(n)] = storagehb.Reading{Started: started, Table: table}
}

func claim(epoch, version uint64, listed ...format.Listing) format.Claim {
	return format.Claim{Epoch: epoch, Version: version, Listed: listed}
}

func suspects(slot int, incarnation uint64) format.Listing {
	return format.Listing{Slot: slot, Incarnation: incarnation, Standing: format.Suspect}
}

func evicts(slot int, incarnation uint64) format.Listing {
	return format.Listing{Slot: slot, Incarnation: incarnation, Standing: format.Evicted}
}

func acks(slot int, incarnation, run, seq uint64) format.Acks {
	return format.Acks{Epoch: 5, Seq: 1, Heard: []format.Ack{{Slot: slot, Incarnation: incarnation, Run: run, Seq: seq}}}
}

// byHand are the volumes of a stand.
type byHand struct{ s *stand }

func (b byHand) View() (*volumes.View, <-chan struct{}) { return b.s.view, nil }
func (b byHand) Submit(v format.Value)                  { b.s.wrote = append(b.s.wrote, v) }
func (b byHand) Beat(h format.Heartbeat)                { b.s.wrote = append(b.s.wrote, h) }
func (b byHand) Report() []api.VolumeReport             { return nil }
func (b byHand) Others() []api.SlotReading              { return nil }
func (b byHand) Broken() []api.Violation                { return nil }

// onlyDeadline is a guard that keeps a deadline.
type onlyDeadline struct{ s *stand }

func (g onlyDeadline) Status() fencing.Status {
	return fencing.Status{Incarnation: 3, Deadline: g.s.deadln, Beat: here, Tripped: g.s.tripped, Covered: g.s.covered}
}
func (g onlyDeadline) Begin(uint64, time.Duration) error {
	return errors.New("no life begins by storage")
}
func (g onlyDeadline) Extend(_ uint64, d time.Duration) error {
	if g.s.trips {
		return fencing.ErrExpired
	}
	g.s.deadln = max(g.s.deadln, d)
	return nil
}
func (g onlyDeadline) Cover(string, int, uint64) error { return nil }
func (g onlyDeadline) Uncover(string)                  {}
func (g onlyDeadline) Covered() []string               { return nil }

// What the volumes say renews the lease (S and Q), ends it, or does nothing.
func TestLeaseByStorage(t *testing.T) {
	const (
		soon = here - 300*time.Millisecond // when readings begin
		none = here + time.Second          // the lease is not renewed
	)
	for _, c := range []struct {
		name string
		do   func(*stand)
		end  time.Duration // of the lease
		over bool
	}{
		{name: "no volume was read", do: func(*stand) {}, end: none},
		{name: "Q: nobody has claimed anything", end: soon + aWay, do: func(s *stand) { s.read(1, soon) }},
		{name: "Q: a claim lists nobody", end: soon + aWay, do: func(s *stand) { s.read(1, soon, claim(5, 1)) }},
		{name: "Q: a claim lists another", end: soon + aWay, do: func(s *stand) { s.read(1, soon, claim(5, 1, suspects(0, 3))) }},
		{name: "Q: suspected", end: none, do: func(s *stand) { s.read(1, soon, claim(5, 1, suspects(1, 3))) }},
		{name: "Q: suspected by the newest master of three", end: none,
			do: func(s *stand) { s.read(1, soon, claim(3, 9), claim(5, 1, suspects(1, 3)), claim(4, 7)) }},
		{name: "Q: suspected by a former master", end: soon + aWay, do: func(s *stand) { s.read(1, soon, claim(4, 9, suspects(1, 3)), claim(5, 1)) }},
		{name: "Q: an earlier life was suspected", end: soon + aWay, do: func(s *stand) { s.read(1, soon, claim(5, 1, suspects(1, 2))) }},
		{name: "Q: an earlier life was evicted", end: soon + aWay, do: func(s *stand) { s.read(1, soon, claim(5, 1, evicts(1, 2))) }},
		{name: "evicted", end: none, over: true, do: func(s *stand) { s.read(1, soon, claim(5, 1, evicts(1, 3))) }},
		{name: "evicted by a former master", end: none, over: true, do: func(s *stand) { s.read(1, soon, claim(4, 1, evicts(1, 3)), claim(5, 1)) }},
		{name: "a later life is listed", end: none, over: true, do: func(s *stand) { s.read(1, soon, claim(5, 1, suspects(1, 4))) }},
		{name: "evicted, and acknowledged", end: none, over: true, do: func(s *stand) {
			s.sent[41] = soon
			s.read(1, soon, claim(5, 1, evicts(1, 3)), acks(1, 3, 7, 41))
		}},
		{name: "evicted on a volume that is not in the set", end: none, over: true, do: func(s *stand) {
			s.read(1, soon, claim(5, 1))
			s.read(9, soon-time.Hour, claim(4, 1, evicts(1, 3)))
		}},
		{name: "Q: suspected on a volume that is not in the set", end: soon + aWay, do: func(s *stand) {
			s.read(1, soon, claim(5, 1))
			s.read(9, soon, claim(5, 2, suspects(1, 3)))
		}},
		{name: "Q: one of two volumes is not enough", end: none, do: func(s *stand) { s.volumes(2); s.read(2, soon, claim(5, 1)) }},
		{name: "Q: worth the older of two readings", end: soon - time.Second + aWay, do: func(s *stand) {
			s.volumes(2)
			s.read(1, soon, claim(5, 1))
			s.read(2, soon-time.Second, claim(5, 1))
		}},
		{name: "Q: two of three", end: soon + aWay, do: func(s *stand) {
			s.volumes(3)
			s.read(1, soon, claim(5, 1))
			s.read(3, soon, claim(5, 1))
		}},
		{name: "Q: of three, the third of long ago is believed too", end: none, do: func(s *stand) {
			s.volumes(3)
			s.read(1, soon, claim(5, 1))
			s.read(2, soon-time.Hour, claim(5, 2, suspects(1, 3)))
			s.read(3, soon, claim(5, 1))
		}},
		{name: "Q: the set is empty", end: none, do: func(s *stand) {
			s.state.Volumes, s.record.Volumes = fsm.VolumeSet{}, 0
			s.read(1, soon, claim(5, 1))
		}},
		{name: "Q: a reading of long ago", end: none, do: func(s *stand) { s.read(1, here-aWay, claim(5, 1)) }},
		{name: "S: acknowledged", end: soon + aWay, do: func(s *stand) { s.volumes(2); s.sent[41] = soon; s.read(1, here, acks(1, 3, 7, 41)) }},
		{name: "S: the newest of two that acknowledge", end: soon + aWay, do: func(s *stand) {
			s.volumes(2)
			s.sent[41], s.sent[40] = soon, soon-time.Second
			s.read(1, here, acks(1, 3, 7, 41), acks(1, 3, 7, 40))
		}},
		{name: "S: on any volume, while suspected on that", end: soon + aWay, do: func(s *stand) {
			s.sent[41] = soon
			s.read(9, here, acks(1, 3, 7, 41), claim(5, 1, suspects(1, 3)))
		}},
		{name: "S: a heartbeat of an earlier run of the agent", end: none, do: func(s *stand) { s.volumes(2); s.sent[41] = soon; s.read(1, here, acks(1, 3, 6, 41)) }},
		{name: "S: a heartbeat of an earlier life", end: none, do: func(s *stand) { s.volumes(2); s.sent[41] = soon; s.read(1, here, acks(1, 2, 7, 41)) }},
		{name: "S: another host's", end: none, do: func(s *stand) { s.volumes(2); s.sent[41] = soon; s.read(1, here, acks(0, 3, 7, 41)) }},
		{name: "S: a heartbeat that was never sent", end: none, do: func(s *stand) { s.volumes(2); s.sent[41] = soon; s.read(1, here, acks(1, 3, 7, 42)) }},
		{name: "the copy of the state has another life", end: none, do: func(s *stand) { s.state.Hosts["a"].Incarnation = 2; s.read(1, soon, claim(5, 1)) }},
		{name: "the copy of the state is of before it left and joined again", end: none, do: func(s *stand) {
			s.state.Hosts["a"].Incarnation, s.state.Hosts["a"].Slot = 1, 8 // by which nobody suspects it
			s.read(1, soon, claim(5, 1, suspects(1, 3)))
		}},
		{name: "the copy of the state knows no such host", end: none, do: func(s *stand) { delete(s.state.Hosts, "a"); s.read(1, soon) }},
		{name: "there is no copy of the state", end: none, do: func(s *stand) { s.state = nil; s.read(1, soon) }},
		{name: "Q: by what it remembers, with no copy of the state", end: soon + aWay, do: func(s *stand) {
			s.remember(2, 1)
			s.state = &fsm.State{}
			s.read(1, soon, claim(5, 1))
		}},
		{name: "Q: by what it remembers, suspected", end: none, do: func(s *stand) {
			s.remember(2, 1)
			s.state = &fsm.State{}
			s.read(1, soon, claim(5, 1, suspects(1, 3)))
		}},
		{name: "Q: it remembers an older set than it has told of", end: none, do: func(s *stand) {
			s.remember(2, 1)
			s.record.Volumes = 3
			s.state = &fsm.State{}
			s.read(1, soon, claim(5, 1))
		}},
		{name: "Q: suspected in the slot that it remembers, not in that of another life's copy", end: none, do: func(s *stand) {
			s.remember(2, 1)
			s.state.Hosts["a"].Incarnation, s.state.Hosts["a"].Slot = 1, 8
			s.read(1, soon, claim(5, 1, suspects(1, 3)))
		}},
		{name: "Q: in the slot that it remembers, beside another life's copy", end: soon + aWay, do: func(s *stand) {
			s.remember(2, 1)
			s.state.Hosts["a"].Incarnation, s.state.Hosts["a"].Slot = 1, 8
			s.read(1, soon, claim(5, 1, suspects(7, 1)))
		}},
		{name: "S: in the slot that it remembers", end: soon + aWay, do: func(s *stand) {
			s.remember(2, 1)
			s.state, s.record.Volumes = &fsm.State{}, 3
			s.sent[41] = soon
			s.read(1, here, acks(1, 3, 7, 41))
		}},
		{name: "Q: the copy of the state has an older set", end: none, do: func(s *stand) { s.record.Volumes = 3; s.read(1, soon) }},
		{name: "S: the copy of the state has an older set", end: soon + aWay, do: func(s *stand) {
			s.record.Volumes = 3
			s.sent[41] = soon
			s.read(1, here, acks(1, 3, 7, 41))
		}},
		{name: "Q: by a newer set, which is saved", end: soon + aWay, do: func(s *stand) { s.record.Volumes = 1; s.read(1, soon) }},
		{name: "Q: by a newer set, which cannot be saved", end: none, do: func(s *stand) { s.record.Volumes, s.full = 1, true; s.read(1, soon) }},
		{name: "the lease has ended", end: here, do: func(s *stand) {
			s.lease.End, s.deadln = here, here
			s.sent[41] = soon
			s.read(1, soon, claim(5, 1), acks(1, 3, 7, 41))
		}},
		{name: "the life is over", end: none, over: true, do: func(s *stand) { s.record.Over = true; s.read(1, soon) }},
		{name: "no lease has begun in this life", end: none, do: func(s *stand) { s.lease.Incarnation = 2; s.read(1, soon) }},
		{name: "the guard has acted", end: none, do: func(s *stand) { s.trips = true; s.read(1, soon) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStand(t)
			if s.lease != (lease.Lease{Incarnation: 3, End: none}) {
				t.Fatalf("the lease that the guard holds is taken up as %+v", s.lease)
			}
			c.do(s)
			before := s.record.Volumes
			s.byStorage()
			if s.lease.End != c.end || s.record.Over != c.over {
				t.Errorf("the lease ends at %v and is over: %v; want %v and %v", s.lease.End, s.record.Over, c.end, c.over)
			}
			if s.deadln != c.end {
				t.Errorf("the guard's deadline is %v, the lease ends at %v", s.deadln, c.end)
			}
			if s.record.Volumes != before && (s.saved.Volumes != s.record.Volumes || !s.beatNow) {
				t.Errorf("it proves with revision %d, has saved %d, tells at once: %v", s.record.Volumes, s.saved.Volumes, s.beatNow)
			}
			if set := s.record.Set; set.Revision != 0 && (set.Revision != 2 || s.record.Slot != 2 || len(set.Volumes) == 0) {
				t.Errorf("it remembers revision %d with %d volumes and slot %d for a restart, want 2, with some, and 2", set.Revision, len(set.Volumes), s.record.Slot)
			}
			if s.state != nil && s.lease.End != none && s.lease.End != here && s.record.Volumes < s.state.Volumes.Revision {
				t.Errorf("it proves with revision %d and goes by %d", s.record.Volumes, s.state.Volumes.Revision)
			}
		})
	}
}

// What a host writes of itself is what the master may go by: the set that it has
// saved, and that a life is over from the moment when it is.
func TestStorageHeartbeat(t *testing.T) {
	running := []vmm.Domain{{UUID: web, State: vmm.Running}, {UUID: stray, State: vmm.Stopped}}
	base := format.Heartbeat{Incarnation: 3, Run: 7, Seq: 12, Epoch: 4, Applied: 99, SetRevision: 2, Acked: 10, Name: "a"}
	with := func(change func(*format.Heartbeat)) format.Heartbeat {
		h := base
		change(&h)
		return h
	}
	for _, c := range []struct {
		name string
		do   func(*stand)
		want format.Heartbeat
	}{
		{name: "heard", do: func(*stand) {}, want: with(func(h *format.Heartbeat) { h.Flags = format.FlagQuorum })},
		{name: "not heard for a while", do: func(s *stand) { s.acked = 8 }, want: with(func(h *format.Heartbeat) { h.Acked = 8 })},
		{name: "a set that it has read of and not saved", do: func(s *stand) { s.state.Volumes.Revision = 3 },
			want: with(func(h *format.Heartbeat) { h.Flags = format.FlagQuorum })},
		{name: "a VM runs", do: func(s *stand) { s.list.domains = running }, want: with(func(h *format.Heartbeat) { h.Flags, h.VMs = format.FlagQuorum, 1 })},
		{name: "over, and a VM runs", do: func(s *stand) { s.record.Over, s.list.domains = true, running },
			want: with(func(h *format.Heartbeat) { h.Flags, h.VMs = format.FlagSelfFencing, 1 })},
		{name: "over, and nothing runs", do: func(s *stand) { s.record.Over, s.list.no, s.proofFrom = true, 6, 6 },
			want: with(func(h *format.Heartbeat) { h.Flags = format.FlagSelfFencing | format.FlagVMsStopped })},
		{name: "over, and nothing ran before", do: func(s *stand) { s.record.Over, s.list.no, s.proofFrom = true, 5, 6 },
			want: with(func(h *format.Heartbeat) { h.Flags = format.FlagSelfFencing })},
		{name: "over, and the hypervisor says nothing", do: func(s *stand) { s.record.Over, s.list.no, s.list.err = true, 6, errors.New("no answer") },
			want: with(func(h *format.Heartbeat) { h.Flags = format.FlagSelfFencing })},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStand(t)
			s.epoch, s.acked, s.record.Known = 4, 10, []string{web}
			c.do(s)
			got := s.storageHeartbeat(api.Heartbeat{Seq: 12, Applied: 99})
			if err := got.Validate(); err != nil {
				t.Errorf("it cannot be written: %v", err)
			}
			settings := cmpopts.IgnoreFields(format.Heartbeat{}, "BootID", "Lease", "Watchdog", "Interval", "Digest")
			if diff := cmp.Diff(c.want, got, settings); diff != "" {
				t.Errorf("it differs (-want +got):\n%s", diff)
			}
			if tm := standard(t); got.Lease != tm.Lease || got.Watchdog != tm.Watchdog || got.Interval != tm.Heartbeat || got.BootID.String() != stray {
				t.Errorf("it says boot %v, lease %v, watchdog %v, interval %v", got.BootID, got.Lease, got.Watchdog, got.Interval)
			}
		})
	}
}
