package inventory

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// exchanged are the ties of a VM, of which devices that are in a pool do not bind it: it takes
// of those pools then. of is the host whose devices they are.
func (k *maker) exchanged(v *placement.VM, ties []domainxml.Tie, of string) []domainxml.Tie {
	if len(k.in.Policy.Devices) == 0 {
		return ties
	}
	ties = slices.Clone(ties)
	for i := range ties {
		t := &ties[i]
		if t.Device == "" || t.Effect != domainxml.Bound {
			continue
		}
		pool := k.in.Policy.DevicePool(of, t.Device)
		if pool == "" {
			t.Text += ", and is in no devices block of the policy"
			if of != "" {
				t.Text += " for host " + of
			}
			continue
		}
		if v.Extra == nil {
			v.Extra = map[string]int64{}
		}
		v.Extra[placement.DevicePool+pool]++
		t.Effect, t.Text = domainxml.NotLive, fmt.Sprintf("%s; it is of the pool %s, so the VM can be started where another of it is free, and not be moved while it runs", t.Text, pool)
	}
	return ties
}

// exchangeable are the devices that ties name, as words.
func exchangeable(ties []domainxml.Tie) (words []string) {
	for _, t := range ties {
		if t.Device != "" {
			words = append(words, t.Device)
		}
	}
	return words
}

// takesOf is what devices of a host are of its pools; nil: none is of one.
func takesOf(p *config.Policy, host string, words []string) map[string]int64 {
	var takes map[string]int64
	for _, w := range words {
		if pool := p.DevicePool(host, w); pool != "" {
			if takes == nil {
				takes = map[string]int64{}
			}
			takes[placement.DevicePool+pool]++
		}
	}
	return takes
}

// poolsOf is how many devices a host has of each pool that can be handed to guests; nil: there are no pools.
func poolsOf(p *config.Policy, h *Host) map[string]int64 {
	var has map[string]int64
	for pool, d := range p.Devices {
		for _, w := range d.Hosts[h.Name] {
			if h.Devices[w] == "" {
				if has == nil {
					has = map[string]int64{}
				}
				has[placement.DevicePool+pool]++
			}
		}
	}
	return has
}

// runsWith are devices that hosts say VMs run with, by host and UUID; nil: there are no pools.
func (k *maker) runsWith() map[place][]string {
	if len(k.in.Policy.Devices) == 0 {
		return nil
	}
	ran := map[place][]string{}
	for i := range k.in.Hosts {
		for _, d := range k.in.Hosts[i].Domains {
			if d.Running && len(d.Devices) > 0 {
				ran[place{k.in.Hosts[i].Name, d.UUID}] = d.Devices
			}
		}
	}
	return ran
}

// holds says what a VM has of pools where it runs, more than its definition asks for: what was taken out of that
// meanwhile is the VM's until it ends, and what it runs with may be others than those that were chosen for it.
func (k *maker) holds(v *placement.VM, vm *fsm.VM) {
	h := k.hosts[v.Host]
	if k.runs == nil || h == nil || v.Status != placement.Running {
		return
	}
	words := slices.Concat(k.runs[place{h.Name, vm.UUID}], vm.DevicesOn(h.Name))
	slices.Sort(words)
	words = slices.DeleteFunc(slices.Compact(words), func(w string) bool { return h.Devices[w] != "" })
	for pool, n := range takesOf(k.in.Policy, h.Name, words) {
		if n > v.Extra[pool] {
			if v.Holds == nil {
				v.Holds, v.HeldOn = map[string]int64{}, h.Name
			}
			v.Holds[pool] = n - v.Extra[pool]
		}
	}
}

// lacks says why a host has not as many devices of a pool as are needed.
func (inv *Inventory) lacks(pool string, h *placement.Host, need int64) string {
	named := inv.policy.Devices[pool].Hosts[h.Name]
	if len(named) == 0 {
		return fmt.Sprintf("the policy names no device of it in the pool %s, %d needed", pool, need)
	}
	return fmt.Sprintf("it has %d of the %d devices that the pool %s names of it (%s), %d needed", h.Extra[placement.DevicePool+pool], len(named), pool, strings.Join(named, ", "), need)
}

// Pool is a pool of devices as it stands.
type Pool struct {
	Name string
	// Devices are those that the policy names, by host and in its order.
	Devices []Device
}

// Device is one device of a pool.
type Device struct {
	Host, Word string
	// VM has it, or will have it where it goes; empty: it is free.
	VM string
	// Missing says why it cannot be handed to a guest; empty: it can.
	Missing string
	// Closed says why its host is given no VMs; empty: it is.
	Closed string
}

// Free reports whether a VM could be given it now.
func (d Device) Free() bool { return d.VM == "" && d.Missing == "" && d.Closed == "" }

// Pools are the pools of devices of the policy, by name.
func Pools(in Input) (all []Pool) {
	c := NewChooser(in)
	for _, name := range slices.Sorted(maps.Keys(in.Policy.Devices)) {
		p := Pool{Name: name}
		hosts := in.Policy.Devices[name].Hosts
		for _, host := range slices.Sorted(maps.Keys(hosts)) {
			for _, w := range hosts[host] {
				p.Devices = append(p.Devices, Device{Host: host, Word: w, VM: c.taken[place{host, w}], Missing: c.missing(host, w), Closed: c.closed(host)})
			}
		}
		all = append(all, p)
	}
	return all
}

// Chooser gives devices of hosts to VMs, none to two.
type Chooser struct {
	policy *config.Policy
	hosts  map[string]*Host
	taken  map[place]string // the VM by the device
}

// place is a device, or a VM, of a host.
type place struct{ host, word string }

// NewChooser knows which devices are taken: by placements that stand, by moves that are under way,
// and by whatever else runs on hosts that say so.
func NewChooser(in Input) *Chooser {
	c := &Chooser{policy: in.Policy, hosts: map[string]*Host{}, taken: map[place]string{}}
	for i := range in.Hosts {
		h := &in.Hosts[i]
		c.hosts[h.Name] = h
		for _, d := range h.Domains {
			if d.Running {
				c.take(h.Name, d.Name, d.Devices)
			}
		}
	}
	for _, vm := range in.State.SortedVMs() {
		for _, name := range mayRunOn(vm) {
			c.take(name, vm.Name, vm.DevicesOn(name))
		}
	}
	return c
}

// mayRunOn are the hosts that a VM has devices of: one where it may run, and one where it goes.
func mayRunOn(vm *fsm.VM) (hosts []string) {
	if vm.Owner != nil {
		hosts = append(hosts, vm.Owner.Host)
	}
	if vm.Sighting != nil {
		hosts = append(hosts, vm.Sighting.Host)
	}
	if vm.Move != nil {
		hosts = append(hosts, vm.Move.Host)
	}
	return hosts
}

func (c *Chooser) take(host, vm string, words []string) {
	for _, w := range words {
		c.taken[place{host, w}] = vm
	}
}

func (c *Chooser) missing(host, word string) string {
	if h := c.hosts[host]; h != nil {
		return h.Devices[word]
	}
	return ""
}

func (c *Chooser) closed(host string) string {
	switch h := c.hosts[host]; {
	case h == nil:
		return "it is no host of the cluster"
	case h.State == placement.Up:
		return ""
	case h.Why == "":
		return "it takes no VMs"
	default:
		return h.Why
	}
}

// Choose gives a VM devices of a host in the place of those of its definition, in that order;
// none where it has none that is in a pool. why says what is not free; then nothing is taken.
// What it has there already it keeps where that is free, else the pool's first free one is
// taken: the same input gives the same devices. Of a card with several functions those go
// together, where they are free.
func (c *Chooser) Choose(vm *fsm.VM, host string) (words []string, why string) {
	pooled := false
	pools := make([]string, len(vm.Devices))
	for i, w := range vm.Devices {
		pools[i] = c.policy.DevicePool(vm.DevicesOf, w)
		pooled = pooled || pools[i] != ""
	}
	if !pooled {
		return nil, ""
	}
	words = make([]string, len(vm.Devices))
	free := func(w string) bool {
		_, taken := c.taken[place{host, w}]
		return !taken && !slices.Contains(words, w) && c.missing(host, w) == ""
	}
	if host == vm.DevicesOf {
		for i, w := range vm.Devices {
			parts := slices.DeleteFunc(slices.Clone(vm.Devices), func(x string) bool { return card(x) != card(w) })
			if pools[i] == "" || !slices.ContainsFunc(parts, func(x string) bool { return !free(x) && !slices.Contains(words, x) }) {
				words[i] = w
			}
		}
	}
	for i := range words {
		if words[i] != "" {
			continue
		}
		var best string
		for _, w := range c.policy.Devices[pools[i]].Hosts[host] {
			if free(w) && (best == "" || c.besides(vm, words, i, w) && !c.besides(vm, words, i, best)) {
				best = w
			}
		}
		if best == "" {
			if pools[i] == "" {
				return nil, fmt.Sprintf("device %s of %s is in no pool", vm.Devices[i], vm.DevicesOf)
			}
			return nil, c.none(vm.Name, pools[i], host, words)
		}
		words[i] = best
	}
	c.take(host, vm.Name, words)
	return words, ""
}

// none says why a host has no device of a pool free for a VM that has words of it already.
func (c *Chooser) none(vm, pool, host string, words []string) string {
	var each []string
	for _, w := range c.policy.Devices[pool].Hosts[host] {
		switch why := c.missing(host, w); {
		case slices.Contains(words, w):
			each = append(each, w+" is chosen for it already")
		case why != "":
			each = append(each, w+" is missing ("+why+")")
		case c.taken[place{host, w}] == vm:
			each = append(each, w+" is held there for it already")
		default:
			each = append(each, w+" is "+c.taken[place{host, w}]+"'s")
		}
	}
	if each == nil {
		each = []string{"the policy names none"}
	}
	return fmt.Sprintf("no device of pool %s is free on %s: %s", pool, host, strings.Join(each, ", "))
}

// besides reports whether a device is on the card of another that was chosen already, as those
// two of the definition are on one.
func (c *Chooser) besides(vm *fsm.VM, words []string, i int, w string) bool {
	for j := range words {
		if words[j] != "" && j != i && card(vm.Devices[j]) == card(vm.Devices[i]) && card(words[j]) == card(w) {
			return true
		}
	}
	return false
}

// card is the word for a device without its function.
func card(word string) string {
	at, _, _ := strings.Cut(word, ".")
	return at
}
