package peer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// ErrUnknownHost: the book has no address of that host (on that network).
var ErrUnknownHost = errors.New("no address is known")

// Address is where a host listens on one HA network.
type Address struct {
	Network string // HA network name, such as "mgmt"
	Addr    string // IP:port
}

// Book says where every host listens, best address first. The zero Book is
// empty. It is safe for concurrent use.
type Book struct {
	mu    sync.Mutex
	hosts map[string][]Address // replaced as a whole, never written to
}

// Update replaces everything the book holds.
func (b *Book) Update(hosts map[string][]Address) {
	fresh := make(map[string][]Address, len(hosts))
	for name, addresses := range hosts {
		fresh[name] = slices.Clone(addresses)
	}
	b.mu.Lock()
	b.hosts = fresh
	b.mu.Unlock()
}

// Addresses lists where a host listens, best first; on one network, or on all
// when network is empty. The caller must not change the result.
func (b *Book) Addresses(host, network string) ([]Address, error) {
	b.mu.Lock()
	all := b.hosts[host]
	b.mu.Unlock()
	if network == "" {
		if len(all) == 0 {
			return nil, fmt.Errorf("host %s: %w", host, ErrUnknownHost)
		}
		return all, nil
	}
	for i, a := range all {
		if a.Network == network {
			return all[i : i+1], nil
		}
	}
	return nil, fmt.Errorf("host %s on network %s: %w", host, network, ErrUnknownHost)
}

// All is a copy of the book, for a caller that remembers it in a file.
func (b *Book) All() map[string][]Address {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.hosts)
}
