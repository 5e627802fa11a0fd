package fsm

import (
	"fmt"
	"testing"
)

// BenchmarkAssign places one VM of 10,000, with a full ring of events.
func BenchmarkAssign(b *testing.B) {
	const vms = 10_000
	r := newCluster(b)
	all := map[string]*VM{}
	for i := range vms {
		vm := testVM(100+i, IntentRun)
		vm.XML = make([]byte, 2000)
		vm.Home = "b"
		all[vm.UUID] = &vm
	}
	s := *r.state()
	s.VMs = all
	m := &Machine{state: &s, changed: make(chan struct{})}
	for range EventsKept {
		s.emit(Meta{At: day}, Event{Type: "tick", Text: "filling the ring"})
	}
	var entries [][]byte
	for i := range vms {
		entry, err := Encode(&Assign{Meta: Meta{At: day}, Epoch: 1, UUID: uuid(100 + i), Host: "a", Incarnation: 1, Why: fmt.Sprintf("most free memory (%d GiB)", i)})
		if err != nil {
			b.Fatal(err)
		}
		entries = append(entries, entry)
	}
	full := m.state
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if i%vms == 0 {
			m.state = full
		}
		if res := m.Apply(uint64(i+1), entries[i%vms]).(Result); res.Refusal != nil {
			b.Fatal(res.Refusal.Message)
		}
	}
}
