package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
)

// Network is one HA network: a bridge that every host has a cable to. The host's
// interface has the network's name.
type Network struct {
	// Name is at most 8 characters.
	Name string
	// Prefix is the network's /24; host N has the address that ends in 10+N.
	Prefix netip.Prefix
}

// All stands for every network in Cut and Heal.
const All = ""

// DefaultNetworks are mgmt (10.91.1.0/24) and storage (10.91.2.0/24). These
// addresses exist in the lab's namespaces alone.
func DefaultNetworks() []Network {
	return []Network{
		{Name: "mgmt", Prefix: netip.MustParsePrefix("10.91.1.0/24")},
		{Name: "storage", Prefix: netip.MustParsePrefix("10.91.2.0/24")},
	}
}

func (n Network) validate() error {
	if n.Name == "" || len(n.Name) > 8 || n.Name == "lo" {
		return fmt.Errorf("network name %q: from 1 to 8 characters, and not lo, since it names an interface", n.Name)
	}
	if !n.Prefix.Addr().Is4() || n.Prefix.Bits() != 24 {
		return fmt.Errorf("network %s: prefix %s is not an IPv4 /24", n.Name, n.Prefix)
	}
	return nil
}

// address is that of host number n.
func (n Network) address(number int) netip.Addr {
	a := n.Prefix.Masked().Addr().As4()
	a[3] = byte(10 + number)
	return netip.AddrFrom4(a)
}

// Direction is which packets of a host a one-way cut takes.
type Direction string

const (
	// Inbound: the host hears nobody, the others hear it.
	Inbound Direction = "input"
	// Outbound: nobody hears the host, it hears the others.
	Outbound Direction = "output"
)

// buildBridges makes one bridge for each network, in the keeper's namespace.
func (l *Lab) buildBridges(ctx context.Context) error {
	var script strings.Builder
	for _, n := range l.cfg.Networks {
		fmt.Fprintf(&script, "link add %s type bridge\nlink set %s up\n", n.Name, n.Name)
	}
	return l.ip(ctx, script.String())
}

// ip runs a batch of ip commands where the bridges are.
func (l *Lab) ip(ctx context.Context, script string) error {
	return batch(ctx, script, "nsenter", "-t", strconv.Itoa(l.keeper.pid()), "-n", "--", "ip", "-batch", "-")
}

// batch runs a program with script as its standard input.
func batch(ctx context.Context, script string, argv ...string) error {
	path, err := findProgram(argv[0])
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Env = append(cmd.Environ(), rootPath)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// cable is the name of the bridge's end of the host's cable to n.
func (h *Host) cable(n Network) string { return h.name + "-" + n.Name }

// plug connects a host that has just been switched on. Cables that were pulled
// before stay pulled: a cut is in the network, not in the host.
func (h *Host) plug(ctx context.Context) error {
	var bridges, inside strings.Builder
	inside.WriteString("link set lo up\n")
	for _, n := range h.lab.cfg.Networks {
		// The kernel removes the cable of an earlier life some time after its death.
		_ = h.lab.ip(ctx, fmt.Sprintf("link del %s\n", h.cable(n))) // usually there is none
		fmt.Fprintf(&bridges, "link add %s type veth peer name %s netns %d\n", h.cable(n), n.Name, h.init.pid())
		fmt.Fprintf(&bridges, "link set %s master %s\n", h.cable(n), n.Name)
		if !h.cuts[n.Name] {
			fmt.Fprintf(&bridges, "link set %s up\n", h.cable(n))
		}
		fmt.Fprintf(&inside, "addr add %s/24 dev %s\nlink set %s up\n", n.address(h.number), n.Name, n.Name)
	}
	if err := h.lab.ip(ctx, bridges.String()); err != nil {
		return err
	}
	return batch(ctx, inside.String(), "nsenter", "-t", strconv.Itoa(h.init.pid()), "-n", "--", "ip", "-batch", "-")
}

// Cut pulls the host's cable to the network (or All): the interface loses its
// carrier, packets vanish in both directions, connections hang. It stays pulled
// over power losses until Heal.
func (h *Host) Cut(ctx context.Context, network string) error {
	return h.setCables(ctx, network, true)
}

// Heal undoes Cut and CutOneWay.
func (h *Host) Heal(ctx context.Context, network string) error {
	if err := h.setCables(ctx, network, false); err != nil {
		return err
	}
	if !h.On() {
		return nil
	}
	chosen, err := h.lab.networks(network)
	if err != nil {
		return err
	}
	var script strings.Builder
	for _, n := range chosen {
		// Adding first makes the deletion work whether or not there was a cut.
		fmt.Fprintf(&script, "add table inet lab_%s\ndelete table inet lab_%s\n", n.Name, n.Name)
	}
	return h.nft(ctx, script.String())
}

func (h *Host) setCables(ctx context.Context, network string, cut bool) error {
	chosen, err := h.lab.networks(network)
	if err != nil {
		return err
	}
	state := map[bool]string{true: "down", false: "up"}[cut]
	var script strings.Builder
	h.mu.Lock()
	for _, n := range chosen {
		h.cuts[n.Name] = cut
		fmt.Fprintf(&script, "link set %s %s\n", h.cable(n), state)
	}
	on := h.init != nil
	h.mu.Unlock()
	h.lab.log.Info("cable", "host", h.name, "network", network, "state", state)
	if !on {
		return nil
	}
	return h.lab.ip(ctx, script.String())
}

// CutOneWay drops the host's packets of one direction on the network (or All).
// Carrier stays. It does not survive a power loss, as packet filters do not.
func (h *Host) CutOneWay(ctx context.Context, network string, d Direction) error {
	if d != Inbound && d != Outbound {
		return fmt.Errorf("direction %q: want %s or %s", d, Inbound, Outbound)
	}
	if !h.On() {
		return errOff(h)
	}
	chosen, err := h.lab.networks(network)
	if err != nil {
		return err
	}
	match := map[Direction]string{Inbound: "iifname", Outbound: "oifname"}[d]
	var script strings.Builder
	for _, n := range chosen {
		fmt.Fprintf(&script, "add table inet lab_%s\nadd chain inet lab_%s %s { type filter hook %s priority 0 ; }\n", n.Name, n.Name, d, d)
		fmt.Fprintf(&script, "add rule inet lab_%s %s %s %s drop\n", n.Name, d, match, n.Name)
	}
	h.lab.log.Info("one-way cut", "host", h.name, "network", network, "direction", d)
	return h.nft(ctx, script.String())
}

func (h *Host) nft(ctx context.Context, script string) error {
	pid, ok := h.initPID()
	if !ok {
		return errOff(h)
	}
	return batch(ctx, script, "nsenter", "-t", strconv.Itoa(pid), "-n", "--", "nft", "-f", "-")
}

// networks returns the one of that name, or all.
func (l *Lab) networks(name string) ([]Network, error) {
	if name == All {
		return l.cfg.Networks, nil
	}
	for _, n := range l.cfg.Networks {
		if n.Name == name {
			return []Network{n}, nil
		}
	}
	return nil, errors.New("the lab has no network " + strconv.Quote(name))
}
