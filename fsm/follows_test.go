package fsm

import (
	"fmt"
	"strings"
	"testing"
)

// What no command may make of a state: each number that goes back, and each owner that
// cannot be one.
func TestFollows(t *testing.T) {
	before := func() *State {
		return &State{Office: Office{Epoch: 4, Master: "a"}, Volumes: VolumeSet{Revision: 2},
			Hosts: map[string]*Host{"a": {Name: "a", Status: HostLive, Incarnation: 3}, "b": {Name: "b", Status: HostLive, Incarnation: 5}},
			VMs: map[string]*VM{"1": {UUID: "1", Name: "db", Generation: 7, Owner: &Placement{Host: "b", Incarnation: 5, Generation: 7}},
				"2": {UUID: "2", Name: "web", Generation: 1}}}
	}
	for _, tc := range []struct {
		name string
		does func(d *State)
		want string // in the error; empty: it is lawful
	}{
		{"nothing", func(*State) {}, ""},
		{"a host dies, and what it owned is free", func(d *State) { d.editHost("b").Status = HostDead; d.editVM("1").Owner = nil }, ""},
		{"a VM is placed", func(d *State) {
			vm := d.editVM("2")
			vm.Generation, vm.Owner = 2, &Placement{Host: "a", Incarnation: 3, Generation: 2}
		}, ""},
		{"a host that owns nothing leaves", func(d *State) { delete(d.writeHosts(), "a") }, ""},
		{"the epoch goes back", func(d *State) { d.Office.Epoch = 3 }, "the epoch goes back from 4 to 3"},
		{"the volumes go back", func(d *State) { d.Volumes.Revision = 1 }, "go back from revision 2 to 1"},
		{"an incarnation goes back", func(d *State) { d.editHost("a").Incarnation = 2 }, "the incarnation of a goes back from 3 to 2"},
		{"a generation goes back", func(d *State) { d.editVM("2").Generation = 0 }, "the generation of web goes back from 1 to 0"},
		{"the dead own", func(d *State) { d.editHost("b").Status = HostDead }, "db is owned by b (incarnation 5), which is not live"},
		{"an earlier life owns", func(d *State) { d.editHost("b").Incarnation = 6 }, "db is owned by b (incarnation 5), which is not live"},
		{"who has left owns", func(d *State) { delete(d.writeHosts(), "b") }, "db is owned by b (incarnation 5), which is not live"},
		{"placed on a life that is over", func(d *State) {
			vm := d.editVM("2")
			vm.Generation, vm.Owner = 2, &Placement{Host: "a", Incarnation: 2, Generation: 2}
		}, "web is owned by a (incarnation 2), which is not live"},
		{"owned in an earlier generation", func(d *State) { d.editVM("1").Generation = 8 }, "db is at generation 8, its owner at 7"},
		{"owned and sighted", func(d *State) { d.editVM("1").Sighting = &Sighting{Host: "a"} }, "owned by b and sighted on a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			was := before()
			d := was.draft()
			tc.does(d)
			if err := d.follows(was); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("it says %v, want %q", err, tc.want)
			}
		})
	}
}

// A member whose state breaks the invariant applies nothing more.
func TestMachineStopsWhereItsStateIsBroken(t *testing.T) {
	r := newRig(t)
	r.must(&CreateCluster{Cluster: Cluster{ID: uuid(1), Name: "test"}, Host: testHost("a", 1)})
	vm := testVM(2, IntentStop)
	vm.Owner = &Placement{Host: "a", Incarnation: 9, Generation: 1}
	r.m.state.VMs = map[string]*VM{vm.UUID: &vm}
	defer func() {
		if said := fmt.Sprint(recover()); !strings.Contains(said, "invariant I6 is violated by entry 2") || !strings.Contains(said, "which is not live") {
			t.Errorf("it ended with %q", said)
		}
		if r.state().VMs[vm.UUID].Intent != IntentStop {
			t.Error("the entry was applied")
		}
	}()
	r.must(&SetIntent{Meta: r.meta(), UUID: vm.UUID, Intent: IntentRun})
	t.Error("it goes on")
}
