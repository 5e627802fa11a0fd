package fsm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A claim has to stand on enough volumes of every set that a host may prove with.
// So the set moves on only when nobody lags, and whoever lags is asked about both.
func TestVolumeSetsMoveOneAtATime(t *testing.T) {
	r := newCluster(t) // a and b live, c joining, d dead
	set := func(revision uint64, ids ...int) *SetVolumes {
		c := &SetVolumes{Meta: r.meta(), Epoch: 1, Previous: revision}
		for _, id := range ids {
			c.Volumes = append(c.Volumes, Volume{Name: uuid(id)[:8] + uuid(id)[30:], Path: "/dev/" + uuid(id), ID: uuid(id)})
		}
		return c
	}
	note := func(host string, revision uint64) *NoteVolumes {
		return &NoteVolumes{Meta: r.meta(), Epoch: 1, Host: host, Incarnation: 1, Revision: revision}
	}
	revisions := func(host string) (rs []uint64) {
		for _, s := range r.state().VolumeSets(r.state().Hosts[host]) {
			rs = append(rs, s.Revision)
		}
		return rs
	}
	check := func(when, host string, want ...uint64) {
		t.Helper()
		if d := cmp.Diff(want, revisions(host)); d != "" {
			t.Errorf("%s: the revisions that %s may prove with differ (-want +got):\n%s", when, host, d)
		}
	}
	refused := func(what string, c Command) {
		t.Helper()
		if res := r.do(c); res.Refusal == nil {
			t.Errorf("%s was not refused", what)
		}
	}
	check("at first", "a", 0)
	r.must(set(0, 1, 2))
	check("a set was chosen", "a", 0, 1)
	refused("a change from a set that is not the present one", set(0, 3))
	refused("a change while both hosts may prove with the set before", set(1, 3))
	refused("a revision that does not exist", note("a", 2))
	r.must(note("a", 1))
	check("a has moved", "a", 1)
	check("b has not", "b", 0, 1)
	refused("a change while b may prove with the set before", set(1, 3))
	r.must(note("b", 1))
	r.must(note("b", 0)) // an older word, late
	check("b has moved, and never goes back", "b", 1)
	r.must(set(1, 2, 3))
	check("the set was changed again", "b", 1, 2)
	if got := len(r.state().AllVolumes()); got != 3 {
		t.Errorf("%d volumes are in use while hosts move from two to two others, one of them the same; want 3", got)
	}
	refused("a word of another incarnation", &NoteVolumes{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 2, Revision: 2})
	r.begin("b") // a new life begins with the newest set
	check("b lives anew", "b", 2)
	refused("a change while a may prove with the set before", set(2))
	r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "a", Incarnation: 1})
	r.must(set(2)) // the dead prove nothing
	check("no volumes any more", "b", 2, 3)
}

func TestWhoLeftIsRemembered(t *testing.T) {
	r := newCluster(t)
	id := r.state().Hosts["c"].ID
	r.must(&RemoveHost{Meta: r.meta(), Host: "c"})
	if got := r.state().Left[id]; got != "c" {
		t.Errorf("the machine of c is remembered as %q", got)
	}
}
