package volumes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
	"github.com/holdfast-ha/holdfast/storagehb/hbtest"
)

var timing = func() lease.Timing { t, _ := lease.Profile("standard"); return t }()

const (
	clusterName = "00000000-0000-4000-8000-0000000000cc"
	hostName    = "00000000-0000-4000-8000-0000000000aa"
)

func volumeID(n int) format.UUID { return format.UUID{0: 0xe0, 15: byte(n)} }

func volumePath(n int) string { return fmt.Sprintf("/dev/hb%d", n) }

func volumeOf(n int) fsm.Volume {
	return fsm.Volume{Name: fmt.Sprintf("hb%d", n), Path: volumePath(n), ID: volumeID(n).String()}
}

// rig is host a, whose slot is 1 until it is said otherwise, in a bubble with disks
// 1 to 3, each at its path.
type rig struct {
	testing.TB
	*Volumes
	began  time.Time
	disks  map[int]*hbtest.Disk
	cancel context.CancelFunc
	done   chan error

	mu      sync.Mutex // guards what follows
	state   *fsm.State
	changed chan struct{}
	policy  *config.Policy
	paths   map[string]*hbtest.Path
	opened  map[string]int
	places  map[string]Place
}

func bubble(t *testing.T, f func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{TB: t, began: time.Now(), disks: map[int]*hbtest.Disk{}, changed: make(chan struct{}), policy: config.DefaultPolicy("test"), done: make(chan error, 1),
			paths: map[string]*hbtest.Path{}, opened: map[string]int{},
			state: &fsm.State{Cluster: fsm.Cluster{ID: clusterName}, Hosts: map[string]*fsm.Host{"a": {Name: "a", ID: hostName, Slot: 2, Incarnation: 1, Status: fsm.HostLive}}}}
		cluster, err := format.ParseUUID(clusterName)
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= 3; n++ {
			if r.disks[n], err = hbtest.NewDisk(cluster, volumeID(n), format.Super{LogicalSector: 512, Slots: 4, Timing: timing, Wait: timing.Wait(), Cluster: "test", Label: "hb"}); err != nil {
				t.Fatal(err)
			}
			r.paths[volumePath(n)] = r.disks[n].Path(1)
		}
		r.Volumes = New(Config{Host: "a", Timing: timing, Open: r.openVolume, Look: r.open, Locate: r.locate, State: r.view, Now: r.now, Wall: time.Now, Logger: hclog.NewNullLogger(),
			Policy: func(*fsm.State) *config.Policy { r.mu.Lock(); defer r.mu.Unlock(); return r.policy }})
		ctx, cancel := context.WithCancel(t.Context())
		r.cancel = cancel
		go func() { r.done <- r.Run(ctx) }()
		synctest.Wait()
		f(r)
		r.end()
		for n, d := range r.disks {
			for _, v := range d.Violations() {
				t.Errorf("volume %d: broken rule: %s", n, v)
			}
		}
	})
}

// end ends Run. Whatever hung goes on first.
func (r *rig) end() {
	if r.cancel == nil {
		return
	}
	r.mu.Lock()
	paths := maps.Clone(r.paths)
	r.mu.Unlock()
	for _, p := range paths {
		if p != nil {
			p.Heal()
		}
	}
	r.cancel()
	r.cancel = nil
	if err := <-r.done; err != nil {
		r.Errorf("Run ended with %v", err)
	}
}

func (r *rig) now() time.Duration { return time.Hour + time.Since(r.began) }

func (r *rig) open(path string) (storagehb.File, error) {
	r.mu.Lock()
	r.opened[path]++
	p := r.paths[path]
	r.mu.Unlock()
	if p == nil {
		return nil, errors.New("no such file or directory")
	}
	return p.Open()
}

func (r *rig) openVolume(path string, _ format.UUID) (storagehb.File, error) { return r.open(path) }

func (r *rig) locate(path string) (Place, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, is := r.places[path]; is {
		return p, nil
	}
	return Place{}, errors.New("not known")
}

func (r *rig) opens(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened[volumePath(n)]
}

func (r *rig) view() (*fsm.State, uint64, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state, 1, r.changed
}

// commit changes the state, and lets all that follows at this moment happen.
func (r *rig) commit(change func(*fsm.State)) {
	r.mu.Lock()
	s := *r.state
	s.Hosts = map[string]*fsm.Host{}
	for name, h := range r.state.Hosts {
		c := *h
		s.Hosts[name] = &c
	}
	change(&s)
	r.state = &s
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	synctest.Wait()
}

// use makes the set these volumes, with which all hosts prove at once.
func (r *rig) use(volumes ...int) {
	r.commit(func(s *fsm.State) {
		s.OldVolumes = s.Volumes
		s.Volumes = fsm.VolumeSet{Revision: s.Volumes.Revision + 1}
		for _, n := range volumes {
			s.Volumes.Volumes = append(s.Volumes.Volumes, volumeOf(n))
		}
		for _, h := range s.Hosts {
			h.Volumes = s.Volumes.Revision
		}
	})
}

// name makes the policy name these volumes.
func (r *rig) name(volumes ...int) {
	r.mu.Lock()
	p := *r.policy
	p.Volumes = nil
	for _, n := range volumes {
		v := volumeOf(n)
		p.Volumes = append(p.Volumes, config.HeartbeatVolume{Name: v.Name, Path: v.Path})
	}
	r.policy = &p
	r.mu.Unlock()
	r.commit(func(*fsm.State) {})
}

func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// path is the host's way to volume n.
func (r *rig) path(n int) *hbtest.Path {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.paths[volumePath(n)]
}

// reading asks for one, and lets it end.
func (r *rig) reading() *View {
	r.Read()
	synctest.Wait()
	v, _ := r.View()
	return v
}

// in lists the volumes that are keys of a part of the view.
func in[V any](m map[format.UUID]V) (all []int) {
	for n := 1; n <= 3; n++ {
		if _, is := m[volumeID(n)]; is {
			all = append(all, n)
		}
	}
	return all
}

func (r *rig) wantIn(what string, got []int, want ...int) {
	r.Helper()
	if !slices.Equal(got, want) {
		r.Errorf("%s: volumes %v, want %v", what, got, want)
	}
}

func claimOf(version uint64) format.Claim {
	return format.Claim{Epoch: 5, Version: version, Incarnation: 1}
}

func beat(seq uint64) format.Heartbeat {
	return format.Heartbeat{Incarnation: 1, Run: 1, Seq: seq, Name: "a"}
}

func TestVolumesComeIntoUseAndGo(t *testing.T) {
	bubble(t, func(r *rig) {
		v := r.reading()
		r.wantIn("at work without a set", in(v.States))
		r.use(1, 2)
		r.Submit(beat(1))
		synctest.Wait()
		before := r.reading()
		r.wantIn("states", in(before.States), 1, 2)
		r.wantIn("readings", in(before.Readings), 1, 2)
		for _, n := range []int{1, 2} {
			if s := before.States[volumeID(n)]; s.State != storagehb.Working {
				t.Errorf("volume %d is %v: %v", n, s.State, s.Err)
			}
			if hb := before.Readings[volumeID(n)].Table[1].Heartbeat; !hb.OK || hb.Value.Seq != 1 {
				t.Errorf("volume %d shows %+v in the host's slot, want its heartbeat", n, hb)
			}
		}
		r.Submit(claimOf(1))
		synctest.Wait()
		v, changed := r.View()
		r.wantIn("claims", in(v.Claims), 1, 2)
		r.use(2, 3)
		select {
		case <-changed:
		default:
			t.Error("nobody is told that the volumes are others now")
		}
		after := r.reading()
		r.wantIn("states", in(after.States), 2, 3)
		r.wantIn("readings", in(after.Readings), 2, 3)
		r.wantIn("claims: the last one is written to a volume that comes into use", in(after.Claims), 2, 3)
		r.wantIn("readings of the view of before, which does not change", in(before.Readings), 1, 2)
		if r.opens(2) != 1 {
			t.Errorf("volume 2, which stayed in use, was opened %d times", r.opens(2))
		}
		r.use()
		v = r.reading()
		r.wantIn("at work with an empty set", in(v.States))
	})
}

// While a host may still prove with the old set, both are at work.
func TestBothSetsAreAtWorkWhileAHostIsBehind(t *testing.T) {
	bubble(t, func(r *rig) {
		r.use(1)
		r.commit(func(s *fsm.State) {
			s.OldVolumes = s.Volumes
			s.Volumes = fsm.VolumeSet{Revision: 2, Volumes: []fsm.Volume{volumeOf(2)}}
		})
		r.wantIn("readings", in(r.reading().Readings), 1, 2)
		r.commit(func(s *fsm.State) { s.Hosts["a"].Volumes = 2 })
		r.wantIn("readings", in(r.reading().Readings), 2)
	})
}

// One volume that hangs holds up neither the other nor whoever asks.
func TestOneHangs(t *testing.T) {
	bubble(t, func(r *rig) {
		r.use(1, 2)
		r.reading()
		r.path(1).Hang()
		asked := time.Now()
		for version := uint64(1); version <= 3; version++ {
			r.Submit(claimOf(version))
			r.Read()
		}
		if took := time.Since(asked); took != 0 {
			t.Errorf("asking took %v", took)
		}
		r.pass(timing.Heartbeat + time.Millisecond)
		v := r.reading()
		if a, b := v.States[volumeID(1)].State, v.States[volumeID(2)].State; a != storagehb.Degraded || b != storagehb.Working {
			t.Errorf("the volume that hangs is %v and the other %v, want degraded and working", a, b)
		}
		r.wantIn("claims", in(v.Claims), 2)
		if got := v.Claims[volumeID(2)].Stamp; got != claimOf(3).Stamp() {
			t.Errorf("the claim on volume 2 is %v, want the last", got)
		}
		if old := v.Readings[volumeID(1)].Started; old >= v.Readings[volumeID(2)].Started {
			t.Errorf("the volume that hangs was read at %v", old)
		}
		r.path(1).Release()
		r.pass(time.Millisecond)
		v = r.reading()
		if s := v.States[volumeID(1)].State; s != storagehb.Working {
			t.Errorf("it goes on and is %v", s)
		}
		if got := v.Claims[volumeID(1)]; got.Stamp != claimOf(3).Stamp() || got.Completed < time.Hour+timing.Heartbeat {
			t.Errorf("the claim on volume 1 is %v, complete at %v; want the last, after it hung", got.Stamp, got.Completed)
		}
	})
}

func TestAClaimThatFails(t *testing.T) {
	bubble(t, func(r *rig) {
		r.use(1)
		r.Submit(claimOf(1))
		synctest.Wait()
		read := r.reading().Readings[volumeID(1)]
		r.pass(time.Second)
		r.path(1).SetError(hbtest.ErrIO)
		r.Submit(claimOf(2))
		synctest.Wait()
		v := r.reading()
		if got := v.Failed[volumeID(1)]; got != claimOf(2).Stamp() {
			t.Errorf("the last claim that failed is %v, want %v", got, claimOf(2).Stamp())
		}
		if got := v.Claims[volumeID(1)].Stamp; got != claimOf(1).Stamp() {
			t.Errorf("the last claim that is there is %v, want %v", got, claimOf(1).Stamp())
		}
		if s := v.States[volumeID(1)]; s.State != storagehb.Failing || !errors.Is(s.Err, hbtest.ErrIO) {
			t.Errorf("the volume is %v: %v", s.State, s.Err)
		}
		if is := v.Readings[volumeID(1)]; is.Started != read.Started || len(is.Table) == 0 {
			t.Errorf("a reading that failed, at %v, replaces the last that did not, at %v", is.Started, read.Started)
		}
	})
}

// What a volume says late, once it is out of use, says nothing.
func TestOutOfUseIsSilent(t *testing.T) {
	bubble(t, func(r *rig) {
		r.use(1)
		p := r.path(1)
		p.Hang()
		r.Read()
		r.Submit(claimOf(1))
		synctest.Wait()
		r.use(2)
		p.Release()
		v := r.reading()
		r.wantIn("readings", in(v.Readings), 2)
		r.wantIn("states", in(v.States), 2)
		r.wantIn("claims", in(v.Claims), 2)
	})
}

// A copy of the state of long ago names the slot of an earlier membership, and a
// policy may find a volume at another path: then it is opened anew.
func TestAnotherSlotOrPath(t *testing.T) {
	bubble(t, func(r *rig) {
		r.use(1)
		r.Submit(beat(1))
		synctest.Wait()
		r.mu.Lock()
		r.paths[volumePath(1)] = r.disks[1].Path(2)
		r.mu.Unlock()
		r.commit(func(s *fsm.State) { s.Hosts["a"].Slot = 3 })
		r.Submit(beat(2))
		synctest.Wait()
		table := r.reading().Readings[volumeID(1)].Table
		if was, is := table[1].Heartbeat, table[2].Heartbeat; was.Value.Seq != 1 || is.Value.Seq != 2 {
			t.Errorf("the former slot has heartbeat %d and the present one %d, want 1 and 2", was.Value.Seq, is.Value.Seq)
		}
		r.mu.Lock()
		r.paths["/dev/elsewhere"], r.paths[volumePath(1)] = r.disks[1].Path(2), nil
		r.mu.Unlock()
		r.commit(func(s *fsm.State) {
			s.Volumes.Volumes = []fsm.Volume{{Name: "hb1", Path: "/dev/elsewhere", ID: volumeID(1).String()}}
		})
		r.Submit(beat(3))
		synctest.Wait()
		if is := r.reading().Readings[volumeID(1)].Table[2].Heartbeat; is.Value.Seq != 3 {
			t.Errorf("the slot has heartbeat %d, want 3", is.Value.Seq)
		}
		r.mu.Lock()
		opened := r.opened["/dev/elsewhere"]
		r.mu.Unlock()
		if opened != 1 {
			t.Errorf("the volume was opened %d times at its new path", opened)
		}
	})
}

// Run ends although a volume hangs, and leaves its thread behind.
func TestRunEndsWhileOneHangs(t *testing.T) {
	bubble(t, func(r *rig) {
		r.use(1, 2)
		r.path(1).Hang()
		r.Read()
		synctest.Wait()
		began := time.Now()
		r.cancel()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		// An agent that is restarted has to be heard before its lease has ended.
		if took, lease := time.Since(began), r.cfg.Timing.Lease; took > lease/4 {
			t.Errorf("it took %v of a lease of %v", took, lease)
		}
		r.done <- nil // for the end
	})
}

func TestFound(t *testing.T) {
	bubble(t, func(r *rig) {
		r.mu.Lock()
		r.paths[volumePath(2)] = nil
		r.mu.Unlock()
		r.name(1, 2)
		v, _ := r.View()
		if f := v.Found[volumePath(1)]; f.Err != nil || f.ID != volumeID(1) {
			t.Errorf("at the path of volume 1 there is %v (%v)", f.ID, f.Err)
		}
		if f, looked := v.Found[volumePath(2)]; !looked || f.Err == nil {
			t.Errorf("at a path where there is nothing, %v is found", f.ID)
		}
		if _, _, writes := r.path(1).Counts(); writes != 0 {
			t.Errorf("a volume that is not in use is written to %d times", writes)
		}
		r.mu.Lock()
		r.paths[volumePath(2)] = r.disks[2].Path(1)
		r.mu.Unlock()
		r.pass(probeEvery)
		v, _ = r.View()
		if f := v.Found[volumePath(2)]; f.Err != nil || f.ID != volumeID(2) {
			t.Errorf("what appeared meanwhile is %v (%v)", f.ID, f.Err)
		}
		r.use(2)
		v, _ = r.View()
		if _, is := v.Found[volumePath(2)]; is {
			t.Error("a volume that is in use is still among those that are found")
		}
		r.name(2)
		v, _ = r.View()
		if _, is := v.Found[volumePath(1)]; is {
			t.Error("a volume that the policy does not name any more is still found")
		}
	})
}

// A path that hangs is looked at once, and holds up no other.
func TestLookHangs(t *testing.T) {
	bubble(t, func(r *rig) {
		r.path(1).Hang()
		r.name(1, 2)
		r.pass(5 * probeEvery)
		if r.opens(1) != 1 {
			t.Errorf("%d looks are under way at a path that hangs", r.opens(1))
		}
		v, _ := r.View()
		if f := v.Found[volumePath(2)]; f.ID != volumeID(2) {
			t.Errorf("the other is found as %v (%v)", f.ID, f.Err)
		}
		if f, is := v.Found[volumePath(1)]; is {
			t.Errorf("the one that hangs is found as %v (%v)", f.ID, f.Err)
		}
		r.path(1).Release()
		r.pass(probeEvery)
		v, _ = r.View()
		if f := v.Found[volumePath(1)]; f.ID != volumeID(1) {
			t.Errorf("when it goes on it is found as %v (%v)", f.ID, f.Err)
		}
	})
}

// Looking at the same thing again is no news: it would wake everybody every time.
func TestSameFoundIsNoNews(t *testing.T) {
	bubble(t, func(r *rig) {
		r.mu.Lock()
		r.paths[volumePath(2)] = nil
		r.mu.Unlock()
		r.name(1, 2)
		_, changed := r.View()
		r.pass(3 * probeEvery)
		select {
		case <-changed:
			t.Error("the view changed although what is found is the same")
		default:
		}
		if r.opens(1) < 3 || r.opens(2) < 3 {
			t.Errorf("looked %d and %d times in three intervals", r.opens(1), r.opens(2))
		}
	})
}

func TestReport(t *testing.T) {
	bubble(t, func(r *rig) {
		r.mu.Lock()
		r.paths[volumePath(3)] = nil
		r.mu.Unlock()
		r.name(1, 2, 3)
		r.use(1)
		r.reading()
		want := []api.VolumeReport{
			{Name: "hb1", Path: volumePath(1), ID: volumeID(1).String(), InUse: true, State: "working"},
			{Name: "hb2", Path: volumePath(2), ID: volumeID(2).String()},
			{Name: "hb3", Path: volumePath(3), Error: "no such file or directory"},
		}
		if diff := cmp.Diff(want, r.Report()); diff != "" {
			t.Errorf("the report differs (-want +got):\n%s", diff)
		}
		r.name(2) // in use all the same, until the set is changed
		r.path(1).SetError(hbtest.ErrIO)
		r.reading()
		got := r.Report()
		if len(got) != 2 || got[0].Name != "hb1" || !got[0].InUse || got[0].State != "failing" || got[0].Error == "" {
			t.Errorf("the report is %+v, want hb1 in use and failing, with a reason", got)
		}
	})
}

func TestSet(t *testing.T) {
	got := Set(fsm.VolumeSet{Revision: 4, Volumes: []fsm.Volume{volumeOf(2), volumeOf(1)}})
	want := storagehb.Set{Revision: 4, Volumes: []format.UUID{volumeID(2), volumeID(1)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the set differs (-want +got):\n%s", diff)
	}
	if s := Slot(&fsm.Host{Slot: 1}); s != 0 {
		t.Errorf("the state's first slot is number %d on the volumes, want 0", s)
	}
}
