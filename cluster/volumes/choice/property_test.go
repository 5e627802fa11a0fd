package choice

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-ha/holdfast/fsm"
)

// genScene draws a cluster and what its hosts report; any of it may be in use.
func genScene(t *rapid.T) Input {
	count := rapid.IntRange(1, 5).Draw(t, "count")
	hosts := rapid.IntRange(1, 7).Draw(t, "hosts")
	var all []seen
	used, pinned := 0, 0
	for i := range rapid.IntRange(0, 10).Draw(t, "volumes") {
		v := seen{name: fmt.Sprint("v", i), kind: rapid.SampledFrom([]string{"", KindBlock, KindNFS, KindOther}).Draw(t, "kind"),
			server: rapid.SampledFrom([]string{"", "s1", "s2", "s1,s3", "s4"}).Draw(t, "server"),
			spared: rapid.IntRange(0, 5).Draw(t, "spared") == 0, new: rapid.IntRange(0, 9).Draw(t, "new") == 0}
		v.used = used < 5 && rapid.Bool().Draw(t, "used")
		v.pinned = pinned < count && rapid.IntRange(0, 3).Draw(t, "pinned") == 0
		for h := range hosts {
			letter := string(rune('a' + h))
			switch n := rapid.IntRange(0, 5).Draw(t, letter); {
			case n == 0 && v.used:
				v.on += strings.ToUpper(letter)
			case n > 1:
				v.on += letter
			}
		}
		if v.used {
			used++
			v.lost = time.Duration(rapid.SampledFrom([]int{0, 1, 2, 3, 2 * int(DroppedAfter/LostAfter)}).Draw(t, "lost")) * LostAfter / 2
		}
		if v.pinned {
			pinned++
		}
		all = append(all, v)
	}
	return scene(hosts, count, all...)
}

// usedBy is whether a set holds a volume.
func usedBy(set []fsm.Volume, path string) bool {
	return slices.ContainsFunc(set, func(v fsm.Volume) bool { return v.Path == path })
}

func TestChoiceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genScene(t)
		set, all := Choose(in)
		if len(set) > in.Count {
			t.Errorf("%d volumes in use, %d are asked for", len(set), in.Count)
		}
		newcomers, room := 0, len(in.InUse) <= in.Count
		for _, c := range all {
			if c.Chosen && c.Pinned && !c.Used {
				newcomers++
			}
		}
		gone := 0
		for _, u := range in.InUse {
			stays := usedBy(set, u.Path)
			i := slices.IndexFunc(all, func(c Candidate) bool { return c.Path == u.Path })
			switch c := all[i]; {
			case c.Pinned && !stays:
				t.Errorf("%s is pinned and in use, and goes", c.Name)
			case !stays && room && newcomers == 0 && c.lost < LostAfter:
				t.Errorf("%s works, there is room, and it goes", c.Name)
			case !stays:
				gone++
			}
		}
		if room && newcomers == 0 && gone > 1 {
			t.Errorf("%d volumes are replaced at once", gone)
		}
		dropped := func(u fsm.Volume) bool { return !usedBy(set, u.Path) && in.Lost[u.Path] >= DroppedAfter }
		if left := len(set); room && left < len(in.InUse) && (left < len(in.InUse)-1 || left == 0 || !slices.ContainsFunc(in.InUse, dropped)) {
			t.Errorf("%d volumes are left of %d", len(set), len(in.InUse))
		}
		for i, v := range set {
			if slices.ContainsFunc(set[:i], func(o fsm.Volume) bool { return o.ID == v.ID || o.Name == v.Name }) {
				t.Errorf("%s is in use twice", v.Name)
			}
			if !usedBy(in.InUse, v.Path) {
				if id, why := Agreed(in.Hosts, v.Path); id != v.ID {
					t.Errorf("%s comes into use, and the hosts do not agree on it: %s", v.Name, why)
				}
			}
		}
		other := in
		other.Hosts = rapid.Permutation(in.Hosts).Draw(t, "order of hosts")
		if again, _ := Choose(other); cmp.Diff(set, again) != "" {
			t.Errorf("by another order of the hosts it is another choice: %s", cmp.Diff(set, again))
		}
		// Once the set is that, it stays: whatever hosts find of the rest meanwhile, while none of it is pinned.
		settled := in
		settled.InUse, settled.Losses = set, Losses{}
		if len(set) == in.Count {
			settled.Candidates = slices.Clone(in.Candidates)
			for i := range settled.Candidates {
				settled.Candidates[i].Pinned = false
			}
			settled.Candidates = rapid.Permutation(settled.Candidates).Draw(t, "order of the file")
			for i := range settled.Hosts {
				for k := range settled.Hosts[i].Reports {
					if r := &settled.Hosts[i].Reports[k]; !usedBy(set, r.Path) && rapid.Bool().Draw(t, "found meanwhile") {
						r.ID = "id-" + strings.TrimPrefix(r.Path, "/hb/")
					}
				}
			}
			if again, _ := Choose(settled); cmp.Diff(set, again) != "" {
				t.Errorf("what was chosen does not stay: %s", cmp.Diff(set, again))
			}
		} else if again, _ := Choose(settled); !slices.Equal(set, again) && !slices.ContainsFunc(all, func(c Candidate) bool { return !c.Chosen && c.ID != "" }) {
			t.Errorf("what was chosen does not stay: %s", cmp.Diff(set, again))
		}
	})
}
