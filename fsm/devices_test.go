package fsm

import (
	"slices"
	"strings"
	"testing"
)

// handed is a cluster with VMs 8 and 9, which wait, each with one device of host b by its definition.
func handed(t *testing.T) *rig {
	t.Helper()
	r := newCluster(t)
	for n, word := range map[int]string{8: "pci:0000:01:00.0", 9: "pci:0000:02:00.0"} {
		vm := testVM(n, IntentRun)
		vm.Devices = []string{word}
		r.must(&Protect{Meta: r.meta(), Epoch: 1, VM: vm, Host: "b", Incarnation: 1})
	}
	return r
}

func (r *rig) generation(n int) uint64 { return r.state().VMs[uuid(n)].Generation }

func (r *rig) give(n int, host string, words ...string) Result {
	r.Helper()
	return r.do(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(n), Previous: r.generation(n), Host: host, Incarnation: 1, Round: 1, Devices: words, Why: "free"})
}

func (r *rig) say(n int, o Outcome) {
	r.Helper()
	p := r.state().VMs[uuid(n)].Owner
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(n), Host: p.Host, Incarnation: p.Incarnation, Generation: p.Generation, Outcome: o})
}

// A device that was chosen for a VM is nobody else's on that host, from the order to start it until
// the VM is released.
func TestNoDeviceIsTwoVMs(t *testing.T) {
	const one, two = "pci:0000:41:00.0", "pci:0000:42:00.0"
	tests := []struct {
		name string
		do   func(r *rig) Result // gives a device to vm9, or tries
		want string              // of the refusal; empty: accepted
	}{
		{"another one", func(r *rig) Result { r.give(8, "a", one); return r.give(9, "a", two) }, ""},
		{"ordered already", func(r *rig) Result { r.give(8, "a", one); return r.give(9, "a", one) }, "device pci:0000:41:00.0 of a, chosen for vm9, is vm8's"},
		{"of the same address on another host", func(r *rig) Result { r.give(8, "a", one); return r.give(9, "b", one) }, ""},
		{"while the other runs", func(r *rig) Result { r.give(8, "a", one); r.say(8, OutcomeRunning); return r.give(9, "a", one) }, "is vm8's"},
		{"after the other was released", func(r *rig) Result { r.give(8, "a", one); r.say(8, OutcomeReleased); return r.give(9, "a", one) }, ""},
		{"after the other's host died", func(r *rig) Result {
			r.give(8, "b", one)
			r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1})
			r.begin("b")
			return r.do(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(9), Previous: r.generation(9), Host: "b", Incarnation: 2, Round: 1, Devices: []string{one}})
		}, ""},
		{"while the other is on its way there", func(r *rig) Result {
			r.give(8, "b", one)
			r.say(8, OutcomeRunning)
			r.must(&BeginMove{Meta: r.meta(), Epoch: 1, UUID: uuid(8), Previous: r.generation(8), Host: "a", Incarnation: 1, Cold: true, Devices: []string{two}})
			return r.give(9, "a", two)
		}, "is vm8's"},
		{"while the other runs that is defined without it now", func(r *rig) Result {
			r.give(8, "b")
			r.say(8, OutcomeRunning)
			r.must(&Redefine{Meta: r.meta(), Epoch: 1, UUID: uuid(8), Name: "vm8", XML: []byte("new"), XMLHash: "without", VCPUs: 2, Memory: 1 << 30})
			return r.give(9, "b", "pci:0000:01:00.0")
		}, "is vm8's"},
		{"once the other has come there", func(r *rig) Result {
			r.give(8, "b", one)
			r.say(8, OutcomeRunning)
			id := r.must(&BeginMove{Meta: r.meta(), Epoch: 1, UUID: uuid(8), Previous: r.generation(8), Host: "a", Incarnation: 1, Cold: true, Devices: []string{two}}).(uint64)
			r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(8), Host: "b", Incarnation: 1, Generation: r.generation(8), Outcome: OutcomeMoved, Move: id})
			if got := r.state().VMs[uuid(8)].Owner.Devices; !slices.Equal(got, []string{two}) {
				r.Errorf("vm8 came to a with %q, want %q", got, two)
			}
			return r.give(9, "a", two)
		}, "is vm8's"},
		{"by a move to where the other is", func(r *rig) Result {
			r.give(8, "a", one)
			r.give(9, "b", two)
			r.say(9, OutcomeRunning)
			return r.do(&BeginMove{Meta: r.meta(), Epoch: 1, UUID: uuid(9), Previous: r.generation(9), Host: "a", Incarnation: 1, Cold: true, Devices: []string{one}})
		}, "is vm8's"},
		{"while somebody's VM was seen there with it", func(r *rig) Result {
			r.must(&Adopt{Meta: r.meta(), Epoch: 1, UUID: uuid(8), Previous: r.generation(8), Host: "b", Incarnation: 1})
			return r.give(9, "b", "pci:0000:01:00.0")
		}, "is vm8's"},
		{"too many", func(r *rig) Result { return r.give(9, "a", one, two) }, "2 devices of a were chosen for vm9, whose definition hands over 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.do(handed(t))
			switch {
			case tt.want == "" && got.Refusal != nil:
				t.Errorf("refused: %s", got.Refusal.Message)
			case tt.want != "" && (got.Refusal == nil || !strings.Contains(got.Refusal.Message, tt.want)):
				t.Errorf("it was answered %+v, want a refusal with %q", got.Refusal, tt.want)
			}
		})
	}
	if _, err := Encode(&BeginMove{UUID: uuid(8), Host: "a", Incarnation: 1, Devices: []string{one}}); err == nil {
		t.Error("a VM with a device may go while it runs")
	}
}

// A definition that is read where the VM was started names the devices that were chosen for it
// there. That is nobody's change; other devices are.
func TestADefinitionWithChosenDevicesIsNoChange(t *testing.T) {
	const one, other = "pci:0000:41:00.0", "pci:0000:42:00.0"
	redefine := func(r *rig, host, hash string, words ...string) {
		r.Helper()
		r.must(&Redefine{Meta: r.meta(), Epoch: 1, UUID: uuid(8), Name: "vm8", XML: []byte("new"), XMLHash: hash, VCPUs: 2, Memory: 1 << 30, Host: host, Devices: words})
	}
	r := handed(t)
	r.give(8, "a", one)
	if res := r.do(&Redefine{Meta: r.meta(), Epoch: 1, UUID: uuid(8), Name: "vm8", XML: []byte("new"), XMLHash: "hash8", Host: "b", Devices: []string{other}}); res.Refusal == nil {
		t.Error("a definition is taken over while the VM is being started with what was chosen by the last one")
	}
	r.say(8, OutcomeRunning)
	before := r.state().LastEvent
	redefine(r, "a", "hash8", one)
	vm := r.state().VMs[uuid(8)]
	if r.state().LastEvent != before || vm.DevicesOf != "a" || !slices.Equal(vm.Devices, []string{one}) || string(vm.XML) != "new" {
		t.Errorf("after it was read on a the VM is %+v, with %d events more; want it taken over without one", vm, r.state().LastEvent-before)
	}
	redefine(r, "a", "hash8", other)
	if vm = r.state().VMs[uuid(8)]; r.state().LastEvent != before+1 || !slices.Equal(vm.Devices, []string{other}) {
		t.Errorf("a person gave it another device: %d events more, devices %q; want 1 and %q", r.state().LastEvent-before, vm.Devices, other)
	}
	if got := vm.DevicesOn("a"); !slices.Equal(got, []string{one}) {
		t.Errorf("what runs has %q, want %q until it ends", got, one)
	}
	redefine(r, "a", "hash8b", other)
	if r.state().LastEvent != before+2 {
		t.Errorf("another definition makes %d events, want 2", r.state().LastEvent-before)
	}
}

// A definition can say that a VM has what was chosen for another, since people change it while
// the VM runs. The state takes that in, and stays sound.
func TestADefinitionClaimsWhatWasChosenForAnother(t *testing.T) {
	const one, other = "pci:0000:01:00.0", "pci:0000:42:00.0"
	r := handed(t)
	r.give(9, "b", one)
	r.say(9, OutcomeRunning)
	r.must(&Adopt{Meta: r.meta(), Epoch: 1, UUID: uuid(8), Previous: r.generation(8), Host: "b", Incarnation: 1})
	r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(8), Host: "b", Incarnation: 1, Generation: r.generation(8), Outcome: OutcomeRunning})
	r.must(&Redefine{Meta: r.meta(), Epoch: 1, UUID: uuid(8), Name: "vm8", XML: []byte("new"), XMLHash: "hash8", Host: "b", Devices: []string{other}})
	if got := r.state().VMs[uuid(8)].Owner.Devices; got != nil {
		t.Errorf("vm8 is said to have %q, which was chosen for vm9", got)
	}
}

func TestDevicesAreChecked(t *testing.T) {
	for name, words := range map[string][]string{
		"twice":     {"pci:0000:01:00.0", "pci:0000:01:00.0"},
		"no kind":   {"0000"},
		"a quote":   {"pci:'/>"},
		"empty":     {""},
		"too many":  slices.Repeat([]string{"pci:0000:01:00.0"}, devicesKept+1),
		"too long":  {"pci:" + strings.Repeat("0", 80)},
		"with line": {"pci:0\n"},
	} {
		vm := testVM(1, IntentRun)
		vm.Devices = words
		for _, c := range []Command{
			&Assign{UUID: uuid(1), Host: "a", Incarnation: 1, Devices: words},
			&BeginMove{UUID: uuid(1), Host: "a", Incarnation: 1, Cold: true, Devices: words},
			&Redefine{UUID: uuid(1), Name: "x", XML: []byte("x"), Host: "a", Devices: words},
			&Protect{VM: vm, Host: "a"},
		} {
			if _, err := Encode(c); err == nil {
				t.Errorf("%s: %T takes %q", name, c, words)
			}
		}
	}
}
