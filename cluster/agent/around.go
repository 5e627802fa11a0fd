package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/host"
	"github.com/holdfast-ha/holdfast/cluster/reach"
	"github.com/holdfast-ha/holdfast/cluster/verdict"
)

// Reach is what tells which addresses this host can reach.
type Reach interface {
	// Ask names the addresses to ask from now on, besides the default gateways.
	Ask([]netip.Addr) error
	Snapshot() reach.Snapshot
	// Bound is the age of a reply that an address which always answers never exceeds.
	Bound() time.Duration
}

// look is what this host can reach besides its master: the other members, by the
// answers to what raft asks them, and the isolation addresses.
func (m *member) look() host.Around {
	now := m.agent.env.Now()
	a := host.Around{Hosts: map[string]time.Duration{}, Addresses: map[string]verdict.PingSign{},
		Links: map[string]verdict.LinkSign{}, PingBound: m.agent.env.Reach.Bound()}
	for _, x := range m.node.Members() {
		if x.Name == m.agent.env.Name {
			continue
		}
		a.Hosts[x.Name] = x.Contact
	}
	s, _, _ := m.machine.View()
	policy := m.agent.parsed(s)
	known := m.agent.env.Reach.Snapshot()
	for addr, answer := range known.Answers {
		isGateway := slices.ContainsFunc(known.Gateways, func(g reach.Gateway) bool { return g.Addr == addr })
		if isGateway && !policy.Isolation.Gateway && !slices.Contains(policy.Isolation.Addresses, addr.String()) {
			continue
		}
		a.Addresses[addr.String()] = verdict.PingSign{Asked: answer.Asked, Age: answer.Age(now), Detail: answer.Trouble}
	}
	for network, l := range known.Links {
		a.Links[network] = verdict.LinkSign{Interface: l.Interface, Up: l.Held && l.Up, Carrier: l.Carrier}
	}
	return a
}

// askAddresses keeps the isolation addresses that are asked those of the policy. It
// ends with the membership.
func (m *member) askAddresses(done <-chan struct{}) error {
	var asked []string
	for first := true; ; first = false {
		s, _, changed := m.machine.View()
		if want := m.agent.parsed(s).Isolation.Addresses; first || !slices.Equal(want, asked) {
			asked = want
			var addrs []netip.Addr
			for _, w := range want {
				if a, err := netip.ParseAddr(w); err == nil { // the policy was checked
					addrs = append(addrs, a)
				}
			}
			if err := m.agent.env.Reach.Ask(addrs); err != nil {
				m.log.Warn("the isolation addresses are not asked", "error", err)
			}
		}
		select {
		case <-done:
			return nil
		case <-changed:
		}
	}
}
