package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

const (
	// DefaultPort is the TCP port for everything between hosts: raft and the API.
	DefaultPort = 7300
	// DefaultSocket is where local administrators reach the agent.
	DefaultSocket = "/run/haagent/admin.sock"
	// DefaultDataDir holds the raft log, snapshots, keys and certificates.
	DefaultDataDir = "/var/lib/haagent"
	// maxNetworks is the most HA networks a host can have.
	maxNetworks = 4
	// maxSocketPath is what the kernel allows for a unix socket's path, in bytes.
	maxSocketPath = 107
)

// agentSchema describes the agent's file.
func agentSchema() *block {
	return &block{
		attrs: []attr{
			{name: "node_name", kind: kindString, check: nameText},
			{name: "data_dir", kind: kindString, def: DefaultDataDir, check: absolutePath},
			{name: "log_level", kind: kindString, def: "info", words: []string{"trace", "debug", "info", "warn", "error"}},
			{name: "hypervisor", kind: kindString, def: "libvirt", words: []string{"libvirt", "embedded"}},
		},
		blocks: []*block{
			{name: "listen", attrs: []attr{
				{name: "port", kind: kindInt, def: int64(DefaultPort), check: intBetween(1, 65535)},
				{name: "socket", kind: kindString, def: DefaultSocket, check: socketPath},
			}},
			{name: "network", label: "the network's name, the same on every host", many: true, labelCheck: badName, attrs: []attr{
				{name: "address", kind: kindString, required: true, check: hostAddress},
			}},
			{name: "libvirt", attrs: []attr{
				{name: "socket", kind: kindString, def: "/var/run/libvirt/libvirt-sock", check: socketPath},
			}},
			{name: "embedded", attrs: []attr{
				{name: "directory", kind: kindString, check: absolutePath},
			}},
			{name: "host", blocks: []*block{
				{name: "reserve", attrs: []attr{
					{name: "memory", kind: kindSize},
				}},
			}},
			{name: "log", attrs: []attr{
				{name: "format", kind: kindString, def: "text", words: []string{"text", "json"}},
			}},
			{name: "socket_access", blocks: []*block{
				{name: "group", label: "a local group's name or number", many: true, labelCheck: badGroup},
			}},
		},
	}
}

// badName says what is wrong with the name of a host, network or cluster.
func badName(s string) string {
	const rule = `must begin with a letter or digit, go on with those or ".", "_", "-", and have at most 64 characters`
	if s == "" || len(s) > 64 {
		return rule
	}
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || strings.IndexByte("._-", c) < 0) {
			return rule
		}
	}
	return ""
}

// nameText is badName for the value of an attribute.
func nameText(v any) string {
	if problem := badName(v.(string)); problem != "" {
		return fmt.Sprintf("%s, but is %s", problem, quote(v.(string)))
	}
	return ""
}

// badGroup says what is wrong with the name or number of a local group.
func badGroup(s string) string {
	const rule = `must be a group's name, such as "haadmin", or its number below 4294967295`
	if s == "" || len(s) > 32 {
		return rule
	}
	if isDigits(s) {
		if len(s) > 10 || len(s) == 10 && s >= "4294967295" {
			return rule
		}
		return ""
	}
	for i, c := range []byte(strings.TrimSuffix(s, "$")) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c != '-' && c != '.' && (c < '0' || c > '9')) {
			return rule
		}
	}
	return ""
}

func absolutePath(v any) string {
	s := v.(string)
	switch {
	case !filepath.IsAbs(s):
		return fmt.Sprintf("must be an absolute path, but is %s: the agent's working directory is not yours", quote(s))
	case filepath.Clean(s) == "/":
		return "must not be the root directory"
	case strings.ContainsAny(s, "\n\t"):
		return "must not hold a line break or tab"
	}
	return ""
}

func socketPath(v any) string {
	if problem := absolutePath(v); problem != "" {
		return problem
	}
	if n := len(v.(string)); n > maxSocketPath {
		return fmt.Sprintf("has %d bytes, but the kernel takes at most %d for a socket's path", n, maxSocketPath)
	}
	return ""
}

// hostAddress accepts one address of this host, as peers reach it.
func hostAddress(v any) string {
	s := v.(string)
	ip, err := netip.ParseAddr(s)
	if err == nil {
		switch {
		case ip.IsUnspecified():
			return fmt.Sprintf("must be an address that peers can reach, but is %s, which means any", quote(s))
		case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			return fmt.Sprintf("must be the address of this host, but is the multicast or broadcast address %s", quote(s))
		case ip.Is6() && ip.IsLinkLocalUnicast() && ip.Zone() == "":
			return fmt.Sprintf(`is the link-local address %s, which needs its interface, as in "fe80::1%%eth0"`, quote(s))
		}
		return ""
	}
	const form = `must be an IP address, such as "10.10.0.11" or "fd00::11"`
	if _, err := netip.ParseAddrPort(s); err == nil {
		return fmt.Sprintf("%s, but is %s: the port is set once, in listen", form, quote(s))
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return fmt.Sprintf("%s, but is %s: leave the prefix length out", form, quote(s))
	}
	return fmt.Sprintf("%s, but is %s", form, quote(s))
}

// intBetween is a check that a whole number is within bounds.
func intBetween(low, high int64) func(any) string {
	return func(v any) string {
		if n := v.(int64); n < low || n > high {
			return fmt.Sprintf("must be %d to %d, but is %d", low, high, n)
		}
		return ""
	}
}
