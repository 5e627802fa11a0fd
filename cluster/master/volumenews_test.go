package master

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/volumes/choice"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// newsRoom is hosts a, b and c with the volumes hb1 and hb2, watched each second of a history.
type newsRoom struct {
	state *fsm.State
	in    choice.Input
	fails map[string]bool // "hb1 a": that volume on that host
	mute  map[string]bool // hosts that are not heard
	deaf  bool            // nothing gets into the history
	at    time.Duration
	news  *volumeNews
	said  []fsm.Event
}

func newNewsRoom() *newsRoom {
	r := &newsRoom{state: &fsm.State{}, fails: map[string]bool{}, mute: map[string]bool{}, at: time.Hour, news: &volumeNews{}}
	r.in.Count = 2
	for i, name := range []string{"hb1", "hb2"} {
		r.in.Candidates = append(r.in.Candidates, config.HeartbeatVolume{Name: name, Path: "/" + name})
		r.in.InUse = append(r.in.InUse, fsm.Volume{Name: name, Path: "/" + name, ID: string(rune('1' + i))})
	}
	return r
}

// pass lets seconds go by.
func (r *newsRoom) pass(seconds int) {
	for range seconds {
		r.at += time.Second
		r.in.Hosts = nil
		for _, name := range []string{"a", "b", "c"} {
			h := choice.Host{Name: name, Self: name == "a", Fresh: !r.mute[name]}
			for _, u := range r.in.InUse {
				x := choice.Report{Path: u.Path, ID: u.ID, Failing: r.fails[u.Name+" "+name]}
				if x.Working = !x.Failing; x.Failing {
					x.Error = "input/output error"
				}
				h.Reports = append(h.Reports, x)
			}
			r.in.Hosts = append(r.in.Hosts, h)
		}
		for _, e := range r.news.look(r.state, r.in, r.at) {
			r.said = append(r.said, e)
			if !r.deaf {
				r.state.LastEvent++
				e.ID = r.state.LastEvent
				r.state.Events = append(r.state.Events, e)
			}
		}
	}
}

func (r *newsRoom) set(fails bool, which ...string) {
	for _, w := range which {
		r.fails[w] = fails
	}
}

// A volume that fails is told once it has for a while, with all hosts that it fails on, and that it
// works again once that has lasted; one that flaps says nothing more in between.
func TestVolumeNews(t *testing.T) {
	everywhere := []string{"hb1 a", "hb1 b", "hb1 c"}
	for _, tt := range []struct {
		name string
		do   func(*newsRoom)
		want []string // type, host, and hosts of the evidence
	}{
		{"all is well", func(r *newsRoom) { r.pass(300) }, nil},
		{"for a moment", func(r *newsRoom) { r.set(true, "hb1 b"); r.pass(4); r.set(false, "hb1 b"); r.pass(300) }, nil},
		{"on one host", func(r *newsRoom) { r.set(true, "hb1 b"); r.pass(300) }, []string{"heartbeat_volume_fails b [b]"}},
		{"on one host, and back", func(r *newsRoom) { r.set(true, "hb1 b"); r.pass(10); r.set(false, "hb1 b"); r.pass(300) },
			[]string{"heartbeat_volume_fails b [b]", "heartbeat_volume_works b []"}},
		{"it flaps", func(r *newsRoom) {
			for range 30 {
				r.set(true, "hb1 b")
				r.pass(10)
				r.set(false, "hb1 b")
				r.pass(10)
			}
		}, []string{"heartbeat_volume_fails b [b]"}},
		{"on two hosts, shortly after one another", func(r *newsRoom) { r.set(true, "hb1 b"); r.pass(3); r.set(true, "hb1 c"); r.pass(20) },
			[]string{"heartbeat_volume_fails  [b c]"}},
		{"on a second host later", func(r *newsRoom) { r.set(true, "hb1 b"); r.pass(30); r.set(true, "hb1 c"); r.pass(20) },
			[]string{"heartbeat_volume_fails b [b]", "heartbeat_volume_fails  [b c]"}},
		{"on all, and back", func(r *newsRoom) { r.set(true, everywhere...); r.pass(30); r.set(false, everywhere...); r.pass(200) },
			[]string{"heartbeat_volume_lost  [a b c]", "heartbeat_volume_works  []"}},
		{"on all, and back on one", func(r *newsRoom) { r.set(true, everywhere...); r.pass(30); r.set(false, "hb1 a"); r.pass(20) },
			[]string{"heartbeat_volume_lost  [a b c]"}},
		{"on all, and back on two for long", func(r *newsRoom) { r.set(true, everywhere...); r.pass(30); r.set(false, "hb1 a", "hb1 b"); r.pass(70) },
			[]string{"heartbeat_volume_lost  [a b c]", "heartbeat_volume_works  [c]"}},
		{"too few are left, and enough again", func(r *newsRoom) { r.set(true, everywhere...); r.pass(90); r.set(false, everywhere...); r.pass(200) },
			[]string{"heartbeat_volume_lost  [a b c]", "heartbeat_volumes_short 1 of 2", "heartbeat_volume_works  []", "heartbeat_volumes_enough "}},
		{"on most, and the host that it works on is not enough", func(r *newsRoom) { r.set(true, "hb1 b", "hb1 c"); r.pass(90) },
			[]string{"heartbeat_volume_fails  [b c]", "heartbeat_volumes_short 1 of 2"}},
		{"none is left", func(r *newsRoom) { r.set(true, everywhere...); r.set(true, "hb2 a", "hb2 b", "hb2 c"); r.pass(90) },
			[]string{"heartbeat_volume_lost  [a b c]", "heartbeat_volume_lost  [a b c]", "heartbeat_volumes_short 0 of 2"}},
		{"the policy asks for less now", func(r *newsRoom) { r.set(true, everywhere...); r.pass(90); r.in.Count = 1; r.pass(90) },
			[]string{"heartbeat_volume_lost  [a b c]", "heartbeat_volumes_short 1 of 2", "heartbeat_volumes_enough "}},
		{"there is none, and the policy names none", func(r *newsRoom) { r.in.Candidates, r.in.InUse = nil, nil; r.pass(90) }, nil},
		{"the host on which it failed falls silent", func(r *newsRoom) {
			r.set(true, "hb1 b")
			r.pass(10)
			r.mute["b"] = true
			r.set(false, "hb1 b")
			r.pass(200)
		},
			[]string{"heartbeat_volume_fails b [b]"}},
		{"what a host said before it fell silent", func(r *newsRoom) { r.mute["b"] = true; r.set(true, "hb1 b"); r.pass(200) }, nil},
		{"another master goes on from the history", func(r *newsRoom) {
			r.set(true, everywhere...)
			r.pass(90)
			r.news = &volumeNews{}
			r.pass(90)
			r.set(false, everywhere...)
			r.pass(90)
		}, []string{"heartbeat_volume_lost  [a b c]", "heartbeat_volumes_short 1 of 2", "heartbeat_volume_works  []", "heartbeat_volumes_enough "}},
		{"another takes its place", func(r *newsRoom) {
			r.set(true, everywhere...)
			r.pass(25)
			r.in.InUse[0] = fsm.Volume{Name: "hb3", Path: "/hb3", ID: "3"}
			r.pass(200)
		}, []string{"heartbeat_volume_lost  [a b c]"}},
		{"what is refused is not told each round", func(r *newsRoom) { r.deaf = true; r.set(true, "hb1 b"); r.pass(12) },
			[]string{"heartbeat_volume_fails b [b]", "heartbeat_volume_fails b [b]"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newNewsRoom()
			tt.do(r)
			var got []string
			for _, e := range r.said {
				if e.Evidence[0].Signal == shortSignal {
					got = append(got, e.Type+" "+e.Evidence[0].Value)
					continue
				}
				var on []string
				for _, x := range e.Evidence {
					if x.By != "" {
						on = append(on, x.By)
					}
				}
				got = append(got, e.Type+" "+e.Host+" ["+strings.Join(on, " ")+"]")
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("told is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			for _, e := range r.said {
				t.Log(e.Severity, e.Text)
			}
		})
	}
}
