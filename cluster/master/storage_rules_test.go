package master

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/volumes"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// beatOn is a view in which host b, in slot 1, has these heartbeats on volumes, by number.
func beatOn(started time.Duration, beats map[int]format.Heartbeat) *volumes.View {
	v := emptyView()
	for n, hb := range beats {
		table := make(storagehb.Table, 3)
		table[1].Heartbeat = format.Found[format.Heartbeat]{OK: hb.Seq != 0, Value: hb}
		v.Readings[volumeID(n)] = storagehb.Reading{Started: started, Table: table}
	}
	return v
}

// What a heartbeat on a volume counts for. The first reading, two seconds before, showed
// number 7 of run 1 on volumes 1 and 2.
func TestHear(t *testing.T) {
	was := format.Heartbeat{Incarnation: 2, Run: 1, Seq: 7}
	with := func(change func(*format.Heartbeat)) format.Heartbeat {
		hb := was
		change(&hb)
		return hb
	}
	next := with(func(h *format.Heartbeat) { h.Seq, h.SetRevision = 8, 3 })
	for _, c := range []struct {
		name  string
		after time.Duration // the first reading
		on    map[int]format.Heartbeat
		by    func(*observed)
		heard bool
		due   bool
	}{
		{name: "the same again", on: map[int]format.Heartbeat{1: was, 2: was}},
		{name: "the next", on: map[int]format.Heartbeat{1: next}, heard: true, due: true},
		{name: "the next, on one of two", on: map[int]format.Heartbeat{1: was, 2: next}, heard: true, due: true},
		{name: "an older one", on: map[int]format.Heartbeat{1: with(func(h *format.Heartbeat) { h.Seq = 6 })}},
		{name: "a new run of the agent", on: map[int]format.Heartbeat{1: with(func(h *format.Heartbeat) { h.Run, h.Seq = 2, 1 })}, heard: true, due: true},
		{name: "an older run, with a higher number", on: map[int]format.Heartbeat{1: with(func(h *format.Heartbeat) { h.Run, h.Seq = 0, 99 })}},
		{name: "another life", on: map[int]format.Heartbeat{1: with(func(h *format.Heartbeat) { h.Incarnation = 3 })}},
		{name: "one that says it is over", on: map[int]format.Heartbeat{1: with(func(h *format.Heartbeat) { h.Seq, h.Flags = 8, format.FlagSelfFencing })}},
		{name: "none", on: map[int]format.Heartbeat{1: {}}},
		{name: "the first that a volume shows", on: map[int]format.Heartbeat{3: next}},
		{name: "after a break that is longer than a lease", after: 5 * time.Second, on: map[int]format.Heartbeat{1: next}},
		{name: "reached by the network as well, and acknowledged", on: map[int]format.Heartbeat{1: with(func(h *format.Heartbeat) { h.Seq, h.Acked = 8, 6 })},
			by: func(o *observed) { o.networks["mgmt"] = now }, heard: true},
		{name: "reached by the network, which brings no acknowledgements back", on: map[int]format.Heartbeat{1: with(func(h *format.Heartbeat) { h.Seq, h.Acked = 8, 5 })},
			by: func(o *observed) { o.networks["mgmt"] = now }, heard: true, due: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tm := standard(t)
			o := newObserved(elected, elected, 2)
			if o.hear(1, beatOn(now-2*time.Second, map[int]format.Heartbeat{1: was, 2: was}), now-2*time.Second, tm) {
				t.Fatal("what was there before this office began counts as heard")
			}
			if c.by != nil {
				c.by(o)
			}
			at := now + c.after
			v := beatOn(at, c.on)
			o.hear(1, v, at, tm)
			if heard := o.watch.Heard == at; heard != c.heard || o.stored.due != c.due {
				t.Errorf("heard %v, to be acknowledged by storage %v; want %v and %v", heard, o.stored.due, c.heard, c.due)
			}
			if c.heard && o.proves != o.stored.beat.SetRevision || !c.heard && o.proves != 0 {
				t.Errorf("notes that it proves with revision %d, the heartbeat that is heard says %d", o.proves, o.stored.beat.SetRevision)
			}
			o.watch.Heard = 1
			if o.hear(1, v, at+time.Second, tm); o.watch.Heard != 1 {
				t.Error("the same reading is heard twice")
			}
		})
	}
}

// What volumes change about suspicion and death.
func TestJudgeWithVolumes(t *testing.T) {
	bound := standard(t).SuspectAfter()
	for _, c := range []struct {
		name    string
		clear   bool // not suspected yet
		do      func(in *input, o *observed)
		suspect bool
		dead    bool
		read    bool
		stored  bool
	}{
		{clear: true, name: "silent, and the volumes were read since", suspect: true,
			do: func(in *input, o *observed) {
				in.silent("b", bound+time.Millisecond)
				in.volumes.Readings[volumeID(1)] = storagehb.Reading{Started: now}
			}},
		{clear: true, name: "silent, and the volumes were read before", read: true,
			do: func(in *input, o *observed) {
				in.silent("b", bound+time.Millisecond)
				in.volumes.Readings[volumeID(1)] = storagehb.Reading{Started: now - time.Second}
			}},
		{clear: true, name: "silent, and the volumes are not read for half an interval", suspect: true,
			do: func(in *input, o *observed) { in.silent("b", bound+501*time.Millisecond) }},
		{clear: true, name: "silent, and the volume does not work", suspect: true,
			do: func(in *input, o *observed) {
				in.silent("b", bound+time.Millisecond)
				in.volumes.States[volumeID(1)] = storagehb.Changed{State: storagehb.Failing}
			}},
		{name: "no claim stands", do: func(in *input, o *observed) { o.watch.Claimed = 0 }},
		{name: "the claim has not stood for long enough", do: func(in *input, o *observed) { o.watch.Claimed = now - in.timing.Wait() + 1 }},
		{name: "it was not read again", read: true, do: func(in *input, o *observed) { o.confirmed = false }},
		{name: "it was", dead: true, do: func(in *input, o *observed) {}},
		{name: "no claim is asked for", dead: true, do: func(in *input, o *observed) { o.watch.Claims, o.watch.Claimed, o.confirmed = false, 0, false }},
		{name: "heard by storage, and not by the network", stored: true,
			do: func(in *input, o *observed) { o.watch.Suspected, o.watch.Heard, o.stored.due = 0, now, true }},
		{name: "suspected is not acknowledged", dead: true, do: func(in *input, o *observed) { o.stored.due = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := scene(t)
			in.state.Volumes = fsm.VolumeSet{Revision: 1, Volumes: []fsm.Volume{{Name: "hb", ID: volumeID(1).String()}}}
			h, o := in.state.Hosts["b"], in.hosts["b"]
			h.Slot, h.Volumes = 2, 1
			in.volumes = emptyView()
			in.volumes.States[volumeID(1)] = storagehb.Changed{State: storagehb.Working}
			if !c.clear {
				in.silent("b", 30*time.Second)
				o.watch = lease.Watch{Heard: now - 30*time.Second, Acknowledged: now - 30*time.Second, Elected: elected, Suspected: now - 28*time.Second,
					Claims: true, Claimed: now - in.timing.Wait()}
				o.confirmed = true
			}
			c.do(&in, o)
			var d decision
			judge(in, fsm.Meta{}, h, o, &d)
			got := []bool{len(d.suspect) == 1, len(d.dead) == 1, d.read, len(d.stored) == 1}
			if diff := cmp.Diff([]bool{c.suspect, c.dead, c.read, c.stored}, got); diff != "" {
				t.Errorf("suspected, dead, read, acknowledged by storage (-want +got):\n%s", diff)
			}
		})
	}
}

// desktop is an office in epoch 5 with host b, which was heard by storage, and what
// it writes.
func desktop(t *testing.T) (*Master, *office, *[]format.Value, *fsm.State) {
	s := scene(t).state
	s.Hosts["a"].Slot, s.Hosts["b"].Slot, s.Hosts["c"].Slot = 1, 2, 3
	s.Volumes = fsm.VolumeSet{Revision: 1, Volumes: []fsm.Volume{{Name: "hb", ID: volumeID(1).String()}}}
	for _, h := range s.Hosts {
		h.Volumes = 1
	}
	wrote := &[]format.Value{}
	m := New(Config{Name: "a", Timing: standard(t), Now: func() time.Duration { return now }, View: func() (*fsm.State, uint64, <-chan struct{}) { return s, 1, nil },
		Volumes: paper{wrote}})
	o := &office{epoch: 5, elected: elected, hosts: scene(t).hosts, storage: newStorage(5, 0, 1)}
	o.hosts["b"].stored = stored{beat: format.Heartbeat{Incarnation: 2, Run: 7, Seq: 41}, at: now, due: true}
	m.office = o
	return m, o, wrote, s
}

// paper are volumes on which all that is submitted is noted.
type paper struct{ wrote *[]format.Value }

func (p paper) View() (*volumes.View, <-chan struct{}) { return emptyView(), nil }
func (p paper) Submit(v format.Value)                  { *p.wrote = append(*p.wrote, v) }
func (p paper) Read()                                  {}
func (p paper) ReadVMs(int)                            {}

func TestAcknowledgeStored(t *testing.T) {
	ack := []format.Ack{{Slot: 1, Incarnation: 2, Run: 7, Seq: 41}}
	for _, c := range []struct {
		name string
		do   func(*office, *fsm.State)
		want []format.Ack
	}{
		{name: "heard", do: func(*office, *fsm.State) {}, want: ack},
		{name: "suspected", do: func(o *office, _ *fsm.State) { o.hosts["b"].watch.Suspected = now }},
		{name: "condemned", do: func(o *office, _ *fsm.State) { o.hosts["b"].condemned = true }},
		{name: "dead", do: func(_ *office, s *fsm.State) { s.Hosts["b"].Status = fsm.HostDead }},
		{name: "in another life", do: func(_ *office, s *fsm.State) { s.Hosts["b"].Incarnation = 3 }},
		{name: "heard in another life", do: func(o *office, _ *fsm.State) { o.hosts["b"].stored.beat.Incarnation = 1 }},
		{name: "the office is another one's", do: func(_ *office, s *fsm.State) { s.Office.Epoch = 6 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, o, wrote, s := desktop(t)
			o.hosts["b"].watch.Acknowledged = 1
			c.do(o, s)
			m.acknowledgeStored(o, []string{"b"})
			var got []format.Ack
			for _, v := range *wrote {
				got = append(got, v.(format.Acks).Heard...)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("acknowledged (-want +got):\n%s", diff)
			}
			if noted := o.hosts["b"].watch.Acknowledged == now; noted != (c.want != nil) || noted == o.hosts["b"].stored.due {
				t.Errorf("noted %v, still due %v", noted, o.hosts["b"].stored.due)
			}
		})
	}
}

// The last look, under the lock that acknowledgements are given under.
func TestCondemnWithClaims(t *testing.T) {
	wait := standard(t).Wait()
	for _, c := range []struct {
		name string
		do   func(*observed)
		want bool
	}{
		{name: "the claim stood and was read again", do: func(*observed) {}, want: true},
		{name: "it was not read again", do: func(o *observed) { o.confirmed = false }},
		{name: "it stands since a moment ago", do: func(o *observed) { o.watch.Claimed = now - wait + 1 }},
		{name: "it stands no more", do: func(o *observed) { o.watch.Claimed = 0 }},
		{name: "heard meanwhile", do: func(o *observed) { o.watch.Heard = now }},
		{name: "acknowledged by storage meanwhile", do: func(o *observed) { o.watch.Acknowledged = now - wait + 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, o, _, _ := desktop(t)
			x := o.hosts["b"]
			x.watch = lease.Watch{Heard: elected, Elected: elected, Suspected: elected + 2*time.Second, Claims: true, Claimed: now - wait}
			x.confirmed = true
			c.do(x)
			if got := m.condemn(o, "b"); got != c.want || x.condemned != c.want {
				t.Errorf("condemned: %v, %v; want %v", got, x.condemned, c.want)
			}
		})
	}
}

// An office that ends takes back what it has claimed, but for hosts whose death it has proposed.
func TestWithdrawAll(t *testing.T) {
	m, o, wrote, _ := desktop(t)
	o.hosts["b"].watch.Suspected, o.hosts["c"].watch.Suspected = now, now
	m.publish(o)
	o.hosts["c"].condemned = true
	m.withdrawAll(o)
	want := []format.Value{
		format.Claim{Epoch: 5, Version: 1, Incarnation: 2, Listed: []format.Listing{{Slot: 1, Incarnation: 2, Standing: format.Suspect}, {Slot: 2, Incarnation: 2, Standing: format.Suspect}}},
		format.Claim{Epoch: 5, Version: 2, Incarnation: 2, Listed: []format.Listing{{Slot: 2, Incarnation: 2, Standing: format.Suspect}}},
	}
	if diff := cmp.Diff(want, *wrote); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	m, o, wrote, _ = desktop(t)
	m.withdrawAll(o)
	if len(*wrote) != 0 {
		t.Errorf("an office that has claimed nothing writes %v", *wrote)
	}
}
