package fsm

import "testing"

// A VM belongs where people had it run last: what failures and maintenance do to it is
// remembered until it is back, or until a person has it run elsewhere.
func TestAway(t *testing.T) {
	move := func(r *rig, to, by string) {
		vm := r.state().VMs[uuid(1)]
		m := r.meta()
		m.By = by
		id := r.must(&BeginMove{Meta: m, Epoch: 1, UUID: uuid(1), Previous: vm.Generation, Host: to, Incarnation: 1, Why: "test"}).(uint64)
		r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: vm.Owner.Host, Incarnation: 1, Generation: vm.Generation, Outcome: OutcomeMoved, Move: id})
		r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: to, Incarnation: 1, Generation: vm.Generation + 1, Outcome: OutcomeRunning})
	}
	maintain := func(r *rig, on bool) { r.must(&SetMaintenance{Meta: r.meta(), Host: "b", On: on}) }
	lose := func(r *rig) {
		r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1})
		r.must(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: 1, Host: "a", Incarnation: 1, Round: 1})
	}
	tests := []struct {
		name string
		do   func(r *rig)
		want Away // zero: it is where it belongs
	}{
		{"where it was protected", func(*rig) {}, Away{}},
		{"a person moved it", func(r *rig) { move(r, "a", "eve") }, Away{}},
		{"moved by choice of the master", func(r *rig) { move(r, "a", "") }, Away{}},
		{"moved off a host in maintenance", func(r *rig) { maintain(r, true); move(r, "a", "") }, Away{"b", true}},
		{"a person moved it off a host in maintenance", func(r *rig) { maintain(r, true); move(r, "a", "eve") }, Away{}},
		{"moved off, and back", func(r *rig) { maintain(r, true); move(r, "a", ""); maintain(r, false); move(r, "b", "") }, Away{}},
		{"its host was lost", lose, Away{"b", false}},
		{"its host was lost in maintenance", func(r *rig) { maintain(r, true); lose(r) }, Away{"b", true}},
		{"started by hand after its host was lost", func(r *rig) {
			lose(r)
			r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "a", Incarnation: 1, Generation: 2, Outcome: OutcomeStopped})
			r.must(&Adopt{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Previous: 2, Host: "a", Incarnation: 1})
			r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(1), Host: "a", Incarnation: 1, Generation: 3, Outcome: OutcomeRunning})
		}, Away{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newCluster(t)
			tt.do(r)
			var got Away
			if a := r.state().VMs[uuid(1)].Away; a != nil {
				got = *a
			}
			if got != tt.want {
				t.Errorf("it belongs to %+v, want %+v", got, tt.want)
			}
		})
	}
}
