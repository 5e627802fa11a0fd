package choice

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// seen is one volume of a scene: on which hosts it is found, and how.
type seen struct {
	name         string
	on           string // hosts, a letter each; small: found or working, capital: in use and failing there
	kind, server string
	used, pinned bool
	lost         time.Duration
	spared, new  bool
}

func (v seen) path() string { return "/hb/" + v.name }

func (v seen) id() string { return "id-" + v.name }

// scene is a cluster of hosts a (the master), b, c and so on.
func scene(hosts, count int, volumes ...seen) Input {
	in := Input{Count: count, Losses: Losses{Lost: map[string]time.Duration{}, Spared: map[string]bool{}, New: map[string]bool{}}}
	for i := range hosts {
		in.Hosts = append(in.Hosts, Host{Name: string(rune('a' + i)), Self: i == 0, Fresh: true})
	}
	for _, v := range volumes {
		in.Candidates = append(in.Candidates, config.HeartbeatVolume{Name: v.name, Path: v.path(), Pinned: v.pinned})
		if v.used {
			in.InUse = append(in.InUse, fsm.Volume{Name: v.name, Path: v.path(), ID: v.id()})
		}
		if v.lost != 0 {
			in.Lost[v.path()] = v.lost
		}
		in.Spared[v.path()], in.New[v.path()] = v.spared, v.new
		for i := range in.Hosts {
			h := &in.Hosts[i]
			r := Report{Path: v.path(), Kind: v.kind, Server: v.server}
			switch {
			case strings.Contains(v.on, strings.ToUpper(h.Name)):
				r.ID, r.Failing, r.Error = v.id(), true, "gone"
			case strings.Contains(v.on, h.Name):
				r.ID, r.Working = v.id(), v.used
			default:
				r.Error = "no such file or directory"
			}
			h.Reports = append(h.Reports, r)
		}
	}
	return in
}

func names(set []fsm.Volume) string {
	var all []string
	for _, v := range set {
		all = append(all, v.Name)
	}
	return strings.Join(all, " ")
}

func TestChoose(t *testing.T) {
	const gone = LostAfter
	for _, tc := range []struct {
		name  string
		hosts int
		count int
		of    []seen
		want  string
	}{
		{"none named", 3, 2, nil, ""},
		{"as many as asked for, in the order of the file", 3, 2, []seen{{name: "x", on: "abc"}, {name: "y", on: "abc"}, {name: "z", on: "abc"}}, "x y"},
		{"fewer than asked for", 3, 3, []seen{{name: "x", on: "abc"}, {name: "y", on: "abc"}}, "x y"},
		{"most hosts first", 3, 1, []seen{{name: "x", on: "ab"}, {name: "y", on: "abc"}}, "y"},
		{"found by one host alone", 3, 2, []seen{{name: "x", on: "abc"}, {name: "y", on: "a"}}, "x"},
		{"not found by the master", 3, 2, []seen{{name: "x", on: "abc"}, {name: "y", on: "bc"}}, "x"},
		{"another server before the order of the file", 3, 2, []seen{{name: "x", on: "abc", server: "s1"}, {name: "y", on: "abc", server: "s1"}, {name: "z", on: "abc", server: "s2"}}, "x z"},
		{"another server for certain before one that is not known", 3, 2, []seen{{name: "x", on: "abc", server: "s1"}, {name: "y", on: "abc"}, {name: "z", on: "abc", server: "s2"}}, "x z"},
		{"one of its addresses is the same", 3, 2, []seen{{name: "x", on: "abc", server: "p1,p2"}, {name: "y", on: "abc", server: "p2,p3"}, {name: "z", on: "abc", server: "p4"}}, "x z"},
		{"more hosts before another server", 3, 2, []seen{{name: "x", on: "abc", server: "s1"}, {name: "y", on: "abc", server: "s1"}, {name: "z", on: "ab", server: "s2"}}, "x y"},
		{"block before NFS before other", 3, 2, []seen{{name: "x", on: "abc", kind: KindOther}, {name: "y", on: "abc", kind: KindNFS}, {name: "z", on: "abc", kind: KindBlock}}, "y z"},
		{"another server before block", 3, 2, []seen{{name: "x", on: "abc", kind: KindBlock, server: "s1"}, {name: "y", on: "abc", kind: KindBlock, server: "s1"}, {name: "z", on: "abc", kind: KindNFS, server: "s2"}}, "x z"},
		// Of six, the two that most hosts find, on two servers, block first.
		{"six", 4, 2, []seen{{name: "u", on: "abc", kind: KindBlock, server: "s3"}, {name: "v", on: "abcd", kind: KindNFS, server: "s2"}, {name: "w", on: "a", kind: KindBlock, server: "s4"},
			{name: "x", on: "abcd", kind: KindBlock, server: "s1"}, {name: "y", on: "abcd", kind: KindBlock, server: "s1"}, {name: "z", on: "abcd", kind: KindOther}}, "v x"},
		{"pinned before all", 3, 2, []seen{{name: "x", on: "abc"}, {name: "y", on: "abc"}, {name: "z", on: "ab", kind: KindOther, pinned: true}}, "x z"},
		{"pinned takes the place of one in use", 3, 2, []seen{{name: "x", on: "abc", used: true}, {name: "y", on: "abc", used: true}, {name: "z", on: "abc", pinned: true}}, "x z"},
		{"pinned takes the place of one that is lost", 3, 2, []seen{{name: "x", on: "ABC", used: true, lost: gone}, {name: "y", on: "abc", used: true}, {name: "z", on: "abc", pinned: true}}, "y z"},
		{"pinned and not to be used", 3, 2, []seen{{name: "x", on: "abc"}, {name: "y", on: "abc"}, {name: "z", on: "b", pinned: true}}, "x y"},
		{"one in use stays though a better one came", 3, 2, []seen{{name: "x", on: "abc", kind: KindBlock, server: "s1"}, {name: "y", on: "ab", kind: KindOther, server: "s2", used: true}, {name: "z", on: "abc", server: "s2", used: true}}, "y z"},
		{"too many in use", 3, 1, []seen{{name: "x", on: "ab", used: true}, {name: "y", on: "abc", used: true}}, "y"},
		{"one in use fails for a while", 3, 2, []seen{{name: "x", on: "ABC", used: true, lost: gone - 1}, {name: "y", on: "abc", used: true}, {name: "z", on: "abc"}}, "x y"},
		{"one in use is lost", 3, 2, []seen{{name: "x", on: "ABC", used: true, lost: gone}, {name: "y", on: "abc", used: true}, {name: "z", on: "abc"}}, "y z"},
		{"lost, and there is no other", 3, 2, []seen{{name: "x", on: "ABC", used: true, lost: gone}, {name: "y", on: "abc", used: true}, {name: "z", on: "a"}}, "x y"},
		{"lost and pinned", 3, 2, []seen{{name: "x", on: "ABC", used: true, pinned: true, lost: gone}, {name: "y", on: "abc", used: true}, {name: "z", on: "abc"}}, "x y"},
		{"two are lost: first the one that was lost first", 3, 2, []seen{{name: "x", on: "ABC", used: true, lost: gone}, {name: "y", on: "ABC", used: true, lost: 2 * gone}, {name: "z", on: "abc"}, {name: "w", on: "abc"}}, "x z"},
		{"what replaces it may be on its server", 3, 2, []seen{{name: "x", on: "ABC", used: true, lost: gone, server: "s1"}, {name: "y", on: "abc", used: true, server: "s2"},
			{name: "z", on: "abc", server: "s2"}, {name: "w", on: "abc", server: "s1"}}, "y w"},
		{"no other but one that was lost a while ago", 3, 2, []seen{{name: "x", on: "ABC", used: true, lost: gone}, {name: "y", on: "abc", used: true}, {name: "z", on: "abc", spared: true}}, "x y"},
		{"one that was lost a while ago is not taken while there is another", 3, 2, []seen{{name: "y", on: "abc", used: true}, {name: "z", on: "abc", spared: true}}, "y"},
		{"but where there is none it is", 3, 2, []seen{{name: "y", on: "a"}, {name: "z", on: "abc", spared: true}}, "z"},
		{"lost for long, and there is no other: the set goes on without it", 3, 2, []seen{{name: "x", on: "ABC", used: true, lost: DroppedAfter}, {name: "y", on: "abc", used: true}, {name: "z", on: "a"}}, "y"},
		{"not quite so long", 3, 2, []seen{{name: "x", on: "ABC", used: true, lost: DroppedAfter - 1}, {name: "y", on: "abc", used: true}}, "x y"},
		{"pinned, and lost for long", 3, 2, []seen{{name: "x", on: "ABC", used: true, pinned: true, lost: DroppedAfter}, {name: "y", on: "abc", used: true}}, "x y"},
		{"all are lost for long: none of them goes", 3, 2, []seen{{name: "x", on: "ABC", used: true, lost: DroppedAfter}, {name: "y", on: "ABC", used: true, lost: 2 * DroppedAfter}}, "x y"},
		{"the other works on half of the hosts", 4, 2, []seen{{name: "x", on: "ABCD", used: true, lost: DroppedAfter}, {name: "y", on: "abCD", used: true}}, "x y"},
		{"two of three are lost for long: one goes at a time", 3, 3, []seen{{name: "x", on: "ABC", used: true, lost: DroppedAfter}, {name: "y", on: "ABC", used: true, lost: 2 * DroppedAfter}, {name: "z", on: "abc", used: true}}, "x z"},
		{"another fills a place before one that was lost", 3, 2, []seen{{name: "y", on: "abc", used: true}, {name: "z", on: "abc", spared: true}, {name: "w", on: "abc"}}, "y w"},
		{"one was named a moment ago, and somebody has yet to look", 3, 2, []seen{{name: "x", on: "abc"}, {name: "y", on: "abc"}, {name: "z", new: true}}, ""},
		{"there is room for all", 3, 3, []seen{{name: "x", on: "abc"}, {name: "y", on: "abc"}, {name: "z", new: true}}, "x y"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, all := Choose(scene(tc.hosts, tc.count, tc.of...))
			if got := names(set); got != tc.want {
				t.Errorf("chosen %q, want %q", got, tc.want)
			}
			for _, c := range all {
				if in := slices.ContainsFunc(set, func(v fsm.Volume) bool { return v.Name == c.Name }); in != c.Chosen || !in && c.Why == "" || in && c.Why != "" {
					t.Errorf("%s is in the set: %v, and of it is said: chosen %v, because %q", c.Name, in, c.Chosen, c.Why)
				}
			}
		})
	}
}

func TestChooseByIdentity(t *testing.T) {
	renamed := scene(3, 2, seen{name: "x", on: "abc", used: true}, seen{name: "y", on: "abc", used: true})
	renamed.Candidates[0].Name = "new"
	moved := scene(3, 2, seen{name: "x", on: "abc", used: true}, seen{name: "y", on: "abc", used: true}, seen{name: "z", on: "abc"})
	moved.Candidates[0].Path = "/elsewhere"
	twice := scene(3, 2, seen{name: "x", on: "abc"}, seen{name: "y", on: "abc", used: true})
	for i := range 3 {
		h := &moved.Hosts[i]
		h.Reports = append(h.Reports, Report{Path: "/elsewhere", ID: "id-x"})
		twice.Hosts[i].Reports[0].ID = "id-y"
	}
	unnamed := scene(3, 2, seen{name: "x", on: "abc", used: true}, seen{name: "y", on: "abc", used: true}, seen{name: "z", on: "abc"})
	unnamed.Candidates = unnamed.Candidates[1:]
	for _, tc := range []struct {
		name string
		in   Input
		want []fsm.Volume
	}{
		{"another name", renamed, []fsm.Volume{{Name: "new", Path: "/hb/x", ID: "id-x"}, {Name: "y", Path: "/hb/y", ID: "id-y"}}},
		{"another path to the same volume", moved, []fsm.Volume{{Name: "x", Path: "/elsewhere", ID: "id-x"}, {Name: "y", Path: "/hb/y", ID: "id-y"}}},
		{"one volume twice: the path in use", twice, []fsm.Volume{{Name: "y", Path: "/hb/y", ID: "id-y"}}},
		{"named no more", unnamed, []fsm.Volume{{Name: "y", Path: "/hb/y", ID: "id-y"}, {Name: "z", Path: "/hb/z", ID: "id-z"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, _ := Choose(tc.in)
			if d := cmp.Diff(tc.want, set); d != "" {
				t.Errorf("the set differs (-want +got):\n%s", d)
			}
		})
	}
}

func TestFailingIsByMostLiveHosts(t *testing.T) {
	for _, tc := range []struct {
		on     string
		hosts  int
		change func(*Host)
		want   bool
	}{
		{"abc", 3, nil, false},
		{"Abc", 3, nil, false},
		{"ABc", 3, nil, true},
		{"ABcd", 4, nil, false},
		{"ABCd", 4, nil, true},
		{"ABc", 3, func(h *Host) { h.Fresh = h.Name != "b" }, false},
		{"ABc", 3, func(h *Host) { h.Silent = h.Name == "b" }, false},
	} {
		in := scene(tc.hosts, 1, seen{name: "x", on: tc.on, used: true})
		for i := range in.Hosts {
			if tc.change != nil {
				tc.change(&in.Hosts[i])
			}
		}
		if got := Failing(in.Hosts, "/hb/x"); got != tc.want {
			t.Errorf("%s of %+v: failing %v, want %v", tc.on, in.Hosts, got, tc.want)
		}
	}
}

// What a watch sees over time: a volume is lost that fails without a break, is spared
// once it is replaced, and a newcomer is waited for for two looks.
func TestWatch(t *testing.T) {
	var w Watch
	well := func() Input {
		return scene(3, 2, seen{name: "x", on: "abc", used: true}, seen{name: "y", on: "abc", used: true}, seen{name: "z", on: "abc"})
	}
	ill := func() Input {
		return scene(3, 2, seen{name: "x", on: "ABC", used: true}, seen{name: "y", on: "abc", used: true}, seen{name: "z", on: "abc"})
	}
	at := time.Hour
	step := func(in Input, after time.Duration, lost time.Duration, spared bool) {
		t.Helper()
		at += after
		l := w.Look(in, at)
		if l.Lost["/hb/x"] != lost || l.Spared["/hb/x"] != spared {
			t.Errorf("after %v it is lost for %v and spared: %v; want %v and %v", at-time.Hour, l.Lost["/hb/x"], l.Spared["/hb/x"], lost, spared)
		}
	}
	step(ill(), 0, 0, false)
	step(ill(), LostAfter-1, LostAfter-1, false)
	step(well(), 1, 0, false) // a break
	step(ill(), time.Second, 0, false)
	step(ill(), LostAfter, LostAfter, false)
	replaced := scene(3, 2, seen{name: "x"}, seen{name: "y", on: "abc", used: true}, seen{name: "z", on: "abc", used: true})
	step(replaced, time.Second, 0, true)
	step(replaced, SparedFor-1, 0, true)
	step(replaced, 1, 0, false)

	young := well()
	young.Hosts[2].Reports = young.Hosts[2].Reports[:2]
	for _, s := range []struct {
		after time.Duration
		new   bool
	}{{0, true}, {newFor - 1, true}, {1, false}, {time.Hour, false}} {
		at += s.after
		if l := w.Look(young, at); l.New["/hb/z"] != s.new {
			t.Errorf("a host has yet to look since %v ago, and it is new: %v", s.after, l.New["/hb/z"])
		}
	}
}

func TestAgreed(t *testing.T) {
	in := scene(3, 1, seen{name: "x", on: "ab"})
	in.Hosts[2].Silent = true
	in.Hosts[2].Reports = nil
	if id, why := Agreed(in.Hosts, "/hb/x"); id != "id-x" {
		t.Errorf("a host that is suspected has a say: %q", why)
	}
	in.Hosts[1].Silent = true
	if id, why := Agreed(in.Hosts, "/hb/x"); id != "" || !strings.Contains(why, "b: it is silent; c: it is silent") {
		t.Errorf("one of three is enough: %q, %q", id, why)
	}
	if got := fmt.Sprint(SameServer("", ""), SameServer("a,b", "b"), SameServer("a", "b")); got != "false true false" {
		t.Errorf("same server: %s", got)
	}
}
