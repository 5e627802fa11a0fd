package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/fsm"
)

// Why a VM is where it is, and on no other host, is told as it was when that was decided:
// while it is on its way, once it is there, and when the hosts are others.
func TestWhyNotElsewhere(t *testing.T) {
	for _, hosts := range []int{3, 64} {
		t.Run(fmt.Sprintf("%d hosts", hosts), func(t *testing.T) {
			b := apitest.Crowd(hosts)
			socket := agent(t, b)
			var told strings.Builder
			tell := func(line string) {
				got := haadm(t, socket, nil, strings.Fields(line)...)
				fmt.Fprintf(&told, "$ haadm %s\n%s%sexit %d\n\n", line, got.out, got.errOut, got.code)
			}
			tell("vms migrate db1 --yes --no-wait")
			tell("explain vm db1")
			vm := b.State().FindVM("db1")
			for _, o := range []fsm.Outcome{fsm.OutcomeMoved, fsm.OutcomeRunning} {
				r := &fsm.Report{Meta: fsm.Meta{At: apitest.Now}, Epoch: b.State().Office.Epoch, UUID: vm.UUID, Host: vm.Owner.Host, Incarnation: 1, Generation: vm.Generation, Outcome: o}
				if o == fsm.OutcomeMoved {
					r.Move = vm.Move.ID
				}
				if err := b.Commit(r); err != nil {
					t.Fatal(err)
				}
				vm = b.State().FindVM("db1")
			}
			b.Change(func() { // a host that was not chosen is no member any more
				s := *b.St
				s.Hosts = map[string]*fsm.Host{}
				for name, h := range b.St.Hosts {
					if name != "kvm1" {
						s.Hosts[name] = h
					}
				}
				b.St = &s
			})
			tell("explain vm db1")
			tell("events -o wide --vm db1")
			tell("explain vm db1 -o json")
			golden(t, fmt.Sprintf("whynot%d.txt", hosts), told.String())
		})
	}
}

func TestRangesOfNames(t *testing.T) {
	for _, tc := range []struct{ name, names, want string }{
		{"none", "", ""},
		{"one", "kvm1", "kvm1"},
		{"two are no range", "kvm2 kvm1", "kvm1, kvm2"},
		{"three are", "kvm1 kvm2 kvm3", "kvm1 to kvm3"},
		{"by number, not by letter", "kvm10 kvm9 kvm8 kvm2", "kvm2, kvm8 to kvm10"},
		{"leading zeros", "node08 node09 node10 node12", "node08 to node10, node12"},
		{"one with and one without are not one run", "n7 n08 n9", "n7, n08, n9"},
		{"other names between", "alpha kvm1 kvm3 kvm2 beta", "alpha, beta, kvm1 to kvm3"},
		{"a number too large", "kvm99999999999999999999 kvm1", "kvm99999999999999999999, kvm1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := ranges(strings.Fields(tc.names)); got != tc.want {
				t.Errorf("ranges(%s) = %q, want %q", tc.names, got, tc.want)
			}
		})
	}
}

func TestOrdinal(t *testing.T) {
	for n, want := range map[int]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 102: "102nd", 111: "111th", 256: "256th"} {
		if got := ordinal(n); got != want {
			t.Errorf("ordinal(%d) = %s, want %s", n, got, want)
		}
	}
}
