package placement

import (
	"testing"
	"time"
)

// Mates that are torn do not go there and back for ever while a VM waits that rules draw to them, and
// that is planned to take the room where they are to gather.
func TestTornMatesDoNotGoBackAndForth(t *testing.T) {
	vm := func(name, host string, s Status, memory int64) VM {
		return VM{Name: name, Host: host, Status: s, Memory: memory, Live: true}
	}
	c := &Cluster{Hosts: []Host{{Name: "h0", Memory: 22}, {Name: "h1", Memory: 19}, {Name: "h4", Memory: 10}},
		VMs: []VM{vm("other", "h0", Running, 3), vm("mate", "h0", Waiting, 8), vm("drawn", "h1", Waiting, 9), vm("near", "h1", Running, 2), vm("far", "h4", Running, 6)},
		Rules: []Rule{{Name: "mates", Kind: Together, Must: true, VMs: []string{"mate", "near", "far"}},
			{Name: "drawn", Kind: Together, VMs: []string{"mate", "drawn", "near"}}}}
	c.VMs[1].Priority = 1
	x := &travel{c: c, set: MoveSettings{PerHost: 1}}
	for range 6 {
		m := PlanMoves(c, x.set)
		if len(m.Begin) == 0 {
			return
		}
		for _, l := range m.Begin {
			v := x.vm(l.VM)
			x.ended++
			v.From, v.Moved, v.Host = v.Host, time.Unix(x.ended, 0), l.To
		}
	}
	t.Errorf("moves do not come to an end: %s", PlanMoves(c, x.set).told())
}
