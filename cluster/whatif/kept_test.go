package whatif

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// crowd is a cluster of so many hosts, some full, some without what a VM needs, on one of
// which a VM shall start; and the state that knows the hosts' slots, which are spread out by
// that factor.
func crowd(hosts, spread int) (*placement.Cluster, *fsm.State) {
	const gib = 1 << 30
	s := &fsm.State{Hosts: map[string]*fsm.Host{}}
	c := &placement.Cluster{Rules: []placement.Rule{{Name: "databases-apart", Kind: placement.Apart, Must: true, VMs: []string{"db1"}}}}
	c.VMs = append(c.VMs, placement.VM{Name: "db1", Status: placement.Waiting, Memory: 16 * gib, VCPUs: 4, Class: placement.Protected, Datastores: []string{"nfs"}})
	for i := range hosts {
		name := fmt.Sprintf("kvm-%03d", i+1)
		s.Hosts[name] = &fsm.Host{Name: name, Slot: uint16(1 + i*spread)}
		h := placement.Host{Name: name, State: placement.Up, CPUs: 32 + i%3*16, Memory: 256 * gib, Datastores: []string{"nfs"}}
		load := int64(i * 7919 % 250)
		switch i % 11 {
		case 3:
			h.Datastores = nil
		case 5:
			h.State, h.Why = placement.Maintenance, fmt.Sprintf("memory module %d is to be replaced, by ann", i)
		case 7:
			load = 250
		case 9:
			peer := fmt.Sprintf("db%d", i)
			c.VMs = append(c.VMs, placement.VM{Name: peer, Status: placement.Running, Host: name, Memory: gib, VCPUs: 1, Class: placement.Protected})
			c.Rules[0].VMs = append(c.Rules[0].VMs, peer)
		}
		if i == 0 {
			h.State, h.Why = placement.Down, "it is dead"
		}
		c.Hosts = append(c.Hosts, h)
		c.VMs = append(c.VMs, placement.VM{Name: fmt.Sprintf("load%d", i), Status: placement.Running, Host: name, Memory: load*gib + 1, VCPUs: 1 + i%60, Class: placement.Unprotected})
	}
	return c, s
}

// What is kept of a decision has every host, in few bytes whatever the number of hosts.
func TestKept(t *testing.T) {
	for _, tc := range []struct {
		hosts, spread int
	}{{1, 1}, {3, 1}, {8, 1}, {9, 1}, {64, 1}, {256, 1}, {256, 9}, {256, 250}} {
		t.Run(fmt.Sprintf("%d hosts, slots %d apart", tc.hosts, tc.spread), func(t *testing.T) {
			c, s := crowd(tc.hosts, tc.spread)
			d := placement.Decide(c, placement.Question{}).Decisions[0]
			lots := Kept(s, d.Hosts, d.To)
			told := map[uint16]int{}
			for _, l := range lots {
				for _, slot := range l.Slots.All() {
					told[slot]++
				}
			}
			b, err := json.Marshal(lots)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d lots, %d bytes", len(lots), len(b))
			if !fsm.FitLots(lots) {
				t.Errorf("it is more than is kept: %d lots, %d bytes", len(lots), len(b))
			}
			for name, h := range s.Hosts {
				if n := told[h.Slot]; n != 1 {
					t.Errorf("%s is told of %d times", name, n)
				}
			}
			if d.To != "" && (lots[0].Rank == 0 || lots[0].Slots.All()[0] != s.Hosts[d.To].Slot) {
				t.Errorf("it goes to %s (slot %d), and the first lot is %+v", d.To, s.Hosts[d.To].Slot, lots[0])
			}
			if _, err := fsm.Encode(&fsm.Assign{UUID: "00000000-0000-4000-8000-000000000001", Host: "kvm-001", Incarnation: 1, Considered: lots}); err != nil {
				t.Errorf("the log does not take it: %v", err)
			}
		})
	}
}
