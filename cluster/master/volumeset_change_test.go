package master

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// withVolumes is a scene whose policy names x, y and z, the first two of which are in
// use; every host finds all three.
func withVolumes(t *testing.T) input {
	t.Helper()
	in := scene(t)
	in.volumes = emptyView()
	in.state.Volumes.Revision, in.state.OldVolumes.Revision = 4, 3
	for i, name := range []string{"x", "y", "z"} {
		v := fsm.Volume{Name: name, Path: "/hb/" + name, ID: uuid(0xb0 + i)}
		in.policy.Volumes = append(in.policy.Volumes, config.HeartbeatVolume{Name: name, Path: v.Path})
		r := api.VolumeReport{Name: name, Path: v.Path, ID: v.ID}
		if name != "z" {
			in.state.Volumes.Volumes = append(in.state.Volumes.Volumes, v)
			r.InUse, r.State = true, "working"
		}
		for _, o := range in.hosts {
			o.report.Volumes = append(o.report.Volumes, r)
		}
	}
	for _, h := range in.state.Hosts {
		h.Volumes = 4
	}
	return in
}

// lose has volume number i fail on hosts, for so long.
func (in *input) lose(i int, d time.Duration, hosts ...string) {
	for _, h := range hosts {
		in.hosts[h].report.Volumes[i].State = "failing"
	}
	in.losses = choice.Losses{Lost: map[string]time.Duration{in.policy.Volumes[i].Path: d}}
}

// When the set is changed, and when it is left alone.
func TestWhenTheSetOfVolumesIsChanged(t *testing.T) {
	lost := func(in *input) { in.lose(0, choice.LostAfter, "a", "b", "c") }
	for _, tc := range []struct {
		name string
		do   func(in *input)
		want string // the next set; empty: it stays
	}{
		{"all is well", func(*input) {}, ""},
		{"one is lost", lost, "y z"},
		{"one has failed for a shorter time", func(in *input) { in.lose(0, choice.LostAfter-1, "a", "b", "c") }, ""},
		{"one is lost and pinned", func(in *input) { lost(in); in.policy.Volumes[0].Pinned = true }, ""},
		{"one is lost, and the master does not find the other", func(in *input) {
			lost(in)
			in.hosts["a"].report.Volumes[2].ID = ""
		}, ""},
		{"a host proves with the set before", func(in *input) { lost(in); in.state.Hosts["c"].Volumes = 3 }, ""},
		{"a host says that it has moved on", func(in *input) {
			lost(in)
			in.state.Hosts["c"].Volumes, in.hosts["c"].proves = 3, 4
		}, ""},
		{"a host is suspected, and may be dead soon", func(in *input) {
			lost(in)
			in.hosts["c"].watch.Suspected = in.now - 2*in.timing.Wait() + 1
		}, ""},
		{"a host has been suspected for two waits", func(in *input) { lost(in); in.hosts["c"].watch.Suspected = in.now - 2*in.timing.Wait() }, "y z"},
		{"and nothing was heard of it in this office", func(in *input) {
			lost(in)
			in.hosts["c"].watch.Suspected, in.hosts["c"].report = in.now-2*in.timing.Wait(), nil
		}, "y z"},
		{"its death is proposed", func(in *input) {
			lost(in)
			in.hosts["c"].watch.Suspected, in.hosts["c"].condemned = in.now-2*in.timing.Wait(), true
		}, ""},
		{"three at once", func(in *input) { in.policy.VolumeUse.Count = 3 }, "x y z"},
		{"one at once", func(in *input) { in.policy.VolumeUse.Count = 1 }, "x"},
		{"the third is pinned", func(in *input) { in.policy.Volumes[2].Pinned = true }, "x z"},
		{"one is not named any more", func(in *input) { in.policy.Volumes = in.policy.Volumes[1:] }, "y z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := withVolumes(t)
			tc.do(&in)
			var d decision
			volumeSet(in, fsm.Meta{}, &d)
			got := ""
			for _, c := range d.commands {
				if c, is := c.(*fsm.SetVolumes); is {
					var names []string
					for _, v := range c.Volumes {
						names = append(names, v.Name)
					}
					if got = strings.Join(names, " "); c.Previous != 4 || c.Epoch != in.epoch {
						t.Errorf("the change names revision %d and epoch %d", c.Previous, c.Epoch)
					}
				}
			}
			if got != tc.want {
				t.Errorf("the next set is %q, want %q", got, tc.want)
			}
		})
	}
}

// A suspect's wait begins anew with the set, and a claim against it has to stand on both.
func TestAChangeOfTheSetPutsADeathOff(t *testing.T) {
	in := withVolumes(t)
	v := emptyView()
	o := &office{hosts: in.hosts, storage: newStorage(5, 0, 4)}
	b := in.hosts["b"]
	b.watch = lease.Watch{Heard: now - time.Minute, Acknowledged: now - time.Minute, Elected: elected, Suspected: now - time.Minute}
	in.state.Hosts["b"].Slot = 2
	if o.readVolumes(in.state, v, now, in.timing); o.storage.changed != 0 {
		t.Errorf("the set it began with changed at %v", o.storage.changed)
	}
	next := *in.state
	next.OldVolumes = in.state.Volumes
	next.Volumes = fsm.VolumeSet{Revision: 5, Volumes: []fsm.Volume{in.state.Volumes.Volumes[1], {Name: "z", Path: "/hb/z", ID: uuid(0xb2)}}}
	if o.readVolumes(&next, v, now+time.Second, in.timing); o.storage.changed != now+time.Second {
		t.Errorf("the set changed at %v, want a second later than now", o.storage.changed)
	}
	if using := sets(&next, next.Hosts["b"]); len(using) != 2 || fmt.Sprint(using[0].Revision, using[1].Revision) != "4 5" {
		t.Errorf("b may prove with %+v, want the sets before and after", using)
	}
}

// The office follows what hosts report over time: a volume that fails on most is
// replaced, and the one that was lost does not come back by itself.
func TestTheOfficeReplacesALostVolume(t *testing.T) {
	bubble(t, func(r *rig) {
		synctest.Wait() // the office reads what is set here
		r.policy.Volumes = []config.HeartbeatVolume{{Name: "x", Path: "/hb/x"}, {Name: "y", Path: "/hb/y"}, {Name: "z", Path: "/hb/z"}}
		fails := ""
		beat := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); r.pass(time.Second) {
				set := r.state().Volumes
				for _, h := range []string{"a", "b", "c"} {
					report := r.report()
					for i, v := range r.policy.Volumes {
						is := api.VolumeReport{Name: v.Name, Path: v.Path, ID: uuid(0xb0 + i)}
						for _, u := range set.Volumes {
							if u.Path == v.Path {
								is.InUse, is.State = true, "working"
							}
						}
						switch {
						case v.Name == fails && is.InUse:
							is.State, is.Error = "failing", "gone"
						case v.Name == fails:
							is.ID, is.Error = "", "gone"
						}
						report.Volumes = append(report.Volumes, is)
					}
					r.seq++
					if _, err := r.Heartbeat(r.Context(), api.Heartbeat{Host: h, Incarnation: r.state().Hosts[h].Incarnation, Run: 9, Seq: r.seq, Network: "mgmt", ReportRev: r.seq, Report: report, Volumes: set.Revision}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		want := func(what, names string, revision uint64) {
			t.Helper()
			var got []string
			for _, v := range r.state().Volumes.Volumes {
				got = append(got, v.Name)
			}
			if s := strings.Join(got, " "); s != names || r.state().Volumes.Revision != revision {
				t.Errorf("%s: %q are in use, revision %d; want %q, revision %d", what, s, r.state().Volumes.Revision, names, revision)
			}
		}
		beat(5 * time.Second)
		want("at first", "x y", 1)
		fails = "x"
		beat(choice.LostAfter - 2*time.Second)
		want("while it has failed for a shorter time", "x y", 1)
		fails = ""
		beat(5 * time.Second)
		fails = "x"
		beat(choice.LostAfter - 2*time.Second)
		want("after a break it is counted anew", "x y", 1)
		beat(10 * time.Second)
		want("once it is lost", "y z", 2)
		fails = ""
		beat(time.Minute)
		want("when it is back", "y z", 2)
		all, err := r.Observations()
		if err != nil || !all["a"].Losses.Spared["/hb/x"] || all["b"].Losses.Spared != nil {
			t.Errorf("what people are told of it: %+v and %+v, %v", all["a"].Losses, all["b"].Losses, err)
		}
		fails = "y"
		beat(choice.LostAfter + 5*time.Second)
		want("what was lost a while ago replaces no other", "y z", 2)
	})
}
