package whatif

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
)

// What there would be: room, how many hosts could fail, and where what was on hosts that left is.
func TestHypotheses(t *testing.T) {
	large := inventory.FileVM{Name: "large", Memory: 12 * gib, VCPUs: 1}
	blade := inventory.FileHost{Name: "d", Memory: 48 * gib, CPUs: 16}
	tied := inventory.FileVM{Name: "tied", Memory: gib, VCPUs: 1, Disks: []string{"/var/lib/tied.img"}}
	for _, tt := range []struct {
		name     string
		h        Hypothesis
		rooms    []string // of each host: name, MiB in use
		may      int
		answer   placement.Answer
		added    []string
		problems []string
	}{
		{"nothing", Hypothesis{}, []string{"a 27776", "b 6272", "c 0"}, 1, placement.Yes, nil, nil},
		{"a VM that there is room for", Hypothesis{Add: []inventory.FileVM{{Name: "small", Memory: gib / 2, VCPUs: 1}}}, []string{"a 27776", "b 6848", "c 0"}, 1, placement.Yes, []string{"small on b: true"}, nil},
		{"a VM that takes the room", Hypothesis{Add: []inventory.FileVM{large}}, []string{"a 27776", "b 18624", "c 0"}, 0, placement.No, []string{"large on b: false"}, nil},
		{"the same with a host more", Hypothesis{Add: []inventory.FileVM{large}, AddHosts: []inventory.FileHost{blade}}, []string{"a 27776", "b 6272", "c 0", "d 12352"}, 1, placement.Yes, []string{"large on d: true"}, nil},
		{"a host as another is, though that is in maintenance", Hypothesis{AddLike: []string{"c", "c"}}, []string{"a 27776", "b 6272", "c 0", "c+1 0", "c+2 0"}, 3, placement.Yes, nil, nil},
		{"a host less", Hypothesis{RemoveHosts: []string{"b"}}, []string{"a 31936", "c 0"}, 0, placement.No, nil, []string{"other, which nobody protects, runs on b, and is left out once that is gone"}},
		{"a host less, and nowhere to go", Hypothesis{RemoveHosts: []string{"a"}}, []string{"b 26816", "c 0"}, 0, placement.No, nil, []string{"lamp runs on a, and would wait for a host once that is gone: *"}},
		{"a host for another", Hypothesis{RemoveHosts: []string{"a"}, AddHosts: []inventory.FileHost{blade}}, []string{"b 13504", "c 0", "d 20544"}, 0, placement.No, nil, nil},
		{"all for others", Hypothesis{RemoveHosts: []string{"a", "b", "c"}, AddLike: []string{"b", "b"}}, []string{"b+1 20544", "b+2 11392"}, 1, placement.Yes, nil, []string{"other, which nobody protects, runs on b, and is left out once that is gone"}},
		{"a VM on what no host shares", Hypothesis{Add: []inventory.FileVM{tied}}, []string{"a 27776", "b 6272", "c 0"}, 1, placement.Yes, []string{"tied on : false"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, in := rack(t)
			before := fmt.Sprintf("%+v %+v", in.Hosts, in.State.VMs)
			c, err := Room(b, in, tt.h, nil)
			if err != nil {
				t.Fatal(err)
			}
			var rooms, added []string
			for _, h := range c.Hosts {
				rooms = append(rooms, fmt.Sprintf("%s %d", h.Name, h.Used>>20))
			}
			for _, v := range c.Added {
				added = append(added, fmt.Sprintf("%s on %s: %v", v.VM, v.Host, v.Admitted))
			}
			if d := cmp.Diff(tt.rooms, rooms); d != "" {
				t.Errorf("in use (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.added, added); d != "" {
				t.Errorf("added (-want +got):\n%s", d)
			}
			if c.MaxFailures.Failures != tt.may || c.Admission.Answer != tt.answer.String() {
				t.Errorf("%d may fail, and the room is there: %s (%s); want %d and %s", c.MaxFailures.Failures, c.Admission.Answer, c.Admission.Why, tt.may, tt.answer)
			}
			same := slices.EqualFunc(tt.problems, c.Problems, func(want, got string) bool {
				start, open := strings.CutSuffix(want, "*")
				return got == want || open && strings.HasPrefix(got, start)
			})
			if !same {
				t.Errorf("told %q, want %q", c.Problems, tt.problems)
			}
			if after := fmt.Sprintf("%+v %+v", in.Hosts, in.State.VMs); after != before {
				t.Errorf("the picture that there is was changed:\n%s\n%s", before, after)
			}
		})
	}
}

// Voters are as the cluster would choose them: an odd number, five at most, and those that vote
// stay; how many may be lost follows from that.
func TestVotersOfAHypothesis(t *testing.T) {
	for _, tt := range []struct {
		votes string // of each host: v votes, - does not, x is down and does not, X is down and does
		want  string
	}{
		{"vvv", "vvv"}, {"vvv-", "vvv-"}, {"vvv--", "vvvvv"}, {"vvvvv--", "vvvvv--"}, {"vv-", "vvv"}, {"vv", "v-"}, {"v", "v"}, {"--", "--"}, {"vXv-", "vxvv"}, {"vXv", "vXv"}, {"vXvv-", "vXvvv"}, {"vvvvvv", "vvvvv-"},
	} {
		t.Run(tt.votes, func(t *testing.T) {
			var hosts []inventory.Host
			for _, r := range tt.votes {
				h := inventory.Host{Voter: r == 'v' || r == 'X'}
				if r == 'x' || r == 'X' {
					h.State = placement.Down
				}
				hosts = append(hosts, h)
			}
			vote(hosts)
			var got strings.Builder
			for _, h := range hosts {
				got.WriteByte(map[bool]map[bool]byte{true: {true: 'X', false: 'x'}, false: {true: 'v', false: '-'}}[h.State == placement.Down][h.Voter])
			}
			if got.String() != tt.want {
				t.Errorf("voters %s, want %s", got.String(), tt.want)
			}
		})
	}
}

func TestBadHypotheses(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    Hypothesis
		want error
		text string
	}{
		{"no such host to remove", Hypothesis{RemoveHosts: []string{"z"}}, ErrBadQuestion, `no host "z"; there are a, b, c`},
		{"no host left", Hypothesis{RemoveHosts: []string{"a", "b", "c"}}, ErrBadQuestion, "no host is left"},
		{"like none", Hypothesis{AddLike: []string{"z"}}, ErrBadQuestion, `what a host "z" has, so there can be no other like it; there are a, b, c`},
		{"one that is there", Hypothesis{AddHosts: []inventory.FileHost{{Name: "b", Memory: gib, CPUs: 1}}}, inventory.ErrBadFile, "is there twice"},
		{"one without memory", Hypothesis{AddHosts: []inventory.FileHost{{Name: "d", CPUs: 1}}}, inventory.ErrBadFile, "has no memory"},
		{"one with a datastore that nobody knows", Hypothesis{AddHosts: []inventory.FileHost{{Name: "d", Memory: gib, CPUs: 1, Datastores: []string{"tape"}}}}, inventory.ErrBadFile, `"tape" is not in the policy`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, in := rack(t)
			if _, err := Room(b, in, tt.h, nil); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("room: error %v, want one of %v with %q", err, tt.want, tt.text)
			}
			if _, err := Ask(b, in, Question{Hypothesis: tt.h}, nil); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("plan: error %v, want one of %v with %q", err, tt.want, tt.text)
			}
		})
	}
}
