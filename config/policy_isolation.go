package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

// What an isolated host does with a VM.
const (
	IsolationLeave    = "leave_running" // nothing
	IsolationShutdown = "shutdown"      // ask the guest, and power off after a timeout
	IsolationPowerOff = "power_off"
)

// Bounds of the isolation response, and how many isolation addresses there can be.
const (
	defaultIsolationDelay  = 10 * time.Second
	defaultShutdownTimeout = 5 * time.Minute
	maxIsolationWait       = time.Hour
	maxIsolationAddresses  = 10
)

// IsolationPolicy is what a host does that hears nobody over the network, and how it
// finds that out (the blocks isolation_response and isolation_check).
type IsolationPolicy struct {
	Action string `json:"action"` // one of the Isolation constants, where no vm or vms block says another
	// Delay is how long a host must have been isolated without a break.
	Delay time.Duration `json:"delay"`
	// ShutdownTimeout is how long a guest has that was asked to shut down.
	ShutdownTimeout time.Duration `json:"shutdown_timeout"`
	// Addresses are pinged by a host that hears nobody: one that answers speaks against isolation.
	Addresses []string `json:"addresses,omitempty"`
	// Gateway says that the default gateway is asked as well.
	Gateway bool `json:"use_default_gateway"`
}

func defaultIsolation() IsolationPolicy {
	return IsolationPolicy{Action: IsolationLeave, Delay: defaultIsolationDelay, ShutdownTimeout: defaultShutdownTimeout, Gateway: true}
}

func isolationWords() []string { return []string{IsolationLeave, IsolationShutdown, IsolationPowerOff} }

func isolationSchemas() []*block {
	return []*block{
		{name: "isolation_check", attrs: []attr{
			{name: "addresses", kind: kindList, check: badAddresses},
			{name: "use_default_gateway", kind: kindBool, def: true},
		}},
		{name: "isolation_response", attrs: []attr{
			{name: "action", kind: kindString, def: IsolationLeave, words: isolationWords()},
			{name: "delay", kind: kindDuration, def: defaultIsolationDelay, check: durationBetween(0, maxIsolationWait)},
			{name: "shutdown_timeout", kind: kindDuration, def: defaultShutdownTimeout, check: durationBetween(time.Second, maxIsolationWait)},
		}},
	}
}

func badAddresses(v any) string {
	list := v.([]string)
	if len(list) > maxIsolationAddresses {
		return fmt.Sprintf("has %d addresses, the most is %d", len(list), maxIsolationAddresses)
	}
	for i, s := range list {
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
			return fmt.Sprintf("holds %s, but an IP address that other machines have is wanted, such as 10.10.0.1", quote(s))
		case slices.Contains(list[:i], s):
			return fmt.Sprintf("names %s twice", s)
		}
	}
	return ""
}

// isolation takes the two blocks over.
func isolation(root *node) IsolationPolicy {
	check, response := root.one("isolation_check"), root.one("isolation_response")
	return IsolationPolicy{Action: get[string](response, "action"), Delay: get[time.Duration](response, "delay"),
		ShutdownTimeout: get[time.Duration](response, "shutdown_timeout"), Addresses: get[[]string](check, "addresses"),
		Gateway: get[bool](check, "use_default_gateway")}
}

// putIsolation writes the two blocks, as far as they say something.
func putIsolation(open func(kind string, labels ...string) *hclwrite.Body, p IsolationPolicy) {
	d := defaultIsolation()
	if len(p.Addresses) > 0 || p.Gateway != d.Gateway {
		b := open("isolation_check")
		if len(p.Addresses) > 0 {
			put(b, "addresses", p.Addresses)
		}
		if p.Gateway != d.Gateway {
			put(b, "use_default_gateway", p.Gateway)
		}
	}
	if p.Action != d.Action || p.Delay != d.Delay || p.ShutdownTimeout != d.ShutdownTimeout {
		b := open("isolation_response")
		put(b, "action", p.Action)
		put(b, "delay", p.Delay)
		put(b, "shutdown_timeout", p.ShutdownTimeout)
	}
}

// isolation lists what differs.
func (d *differ) isolation(a, b IsolationPolicy) {
	d.field("isolation_check.addresses", a.Addresses, b.Addresses)
	d.field("isolation_check.use_default_gateway", a.Gateway, b.Gateway)
	d.field("isolation_response.action", a.Action, b.Action)
	d.field("isolation_response.delay", a.Delay, b.Delay)
	d.field("isolation_response.shutdown_timeout", a.ShutdownTimeout, b.ShutdownTimeout)
}
