package sim

import (
	"net/netip"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/reach"
)

// around is what a simulated machine can reach: the gateway of its networks, which
// answers at once unless it is down or the machine is cut off.
type around struct{ m *machine }

// gatewayAddr is the one isolation address of this world.
var gatewayAddr = netip.MustParseAddr("10.9.0.1")

// Ask implements the agent's Reach: this world has no other addresses.
func (around) Ask([]netip.Addr) error { return nil }

// Bound implements the agent's Reach.
func (around) Bound() time.Duration { return 3 * time.Second }

// Snapshot implements the agent's Reach.
func (a around) Snapshot() reach.Snapshot {
	now := a.m.clock.now()
	answer := reach.Answer{Asked: true, Replied: now}
	if a.m.alone.Load() || a.m.w.gateway.Load() {
		answer.Replied = -1
	}
	return reach.Snapshot{At: now, Answers: map[netip.Addr]reach.Answer{gatewayAddr: answer}, Gateways: []reach.Gateway{{Addr: gatewayAddr, Interface: "net1"}}}
}
