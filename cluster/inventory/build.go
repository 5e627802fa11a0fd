package inventory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// Build makes the picture of a moment.
func (b *Builder) Build(in Input) *Inventory {
	n := len(in.State.VMs) // with room for as many, since a picture of tens of thousands is else mostly growing
	inv := &Inventory{Cluster: &placement.Cluster{Policy: policyOf(in), VMs: make([]placement.VM, 0, n)}, UUIDs: make(map[string]string, n), Names: make(map[string]string, n),
		ties: make(map[string][]domainxml.Tie, n), policy: in.Policy}
	k := &maker{in: in, inv: inv, asked: map[string]map[string]bool{}, hosts: map[string]*Host{}, strangers: map[string]string{}}
	for i := range in.Hosts {
		k.hosts[in.Hosts[i].Name] = &in.Hosts[i]
	}
	k.pages, k.usual, k.runs = k.knowsPages(), k.usualPage(), k.runsWith()
	protected := in.State.SortedVMs()
	for _, vm := range protected {
		w, given := in.Wants[vm.UUID]
		if !given {
			var err error
			if w, err = b.wants(vm); err != nil {
				k.problem("the definition of %s cannot be read, so it is taken to need nothing but room: %v", vm.Name, err)
			}
		}
		k.protected(vm, w)
	}
	k.others()
	for i := range in.Hosts {
		k.host(&in.Hosts[i])
	}
	k.rules()
	k.groups(protected)
	b.forget(in.State)
	return inv
}

// maker is one picture in the making.
type maker struct {
	in    Input
	inv   *Inventory
	hosts map[string]*Host
	// asked are the words that some VM needs, by kind: "datastore", "network", and the
	// kinds of capabilities.
	asked map[string]map[string]bool
	// strangers are the VMs outside protection: their own names by those in the picture.
	strangers map[string]string
	runs      map[place][]string // devices that VMs run with, by host and UUID
	// pages: huge pages are told apart from other memory.
	pages bool
	usual uint64 // KiB of a huge page that is asked for without a size; 0: that differs, or is not known
}

func (k *maker) problem(format string, args ...any) {
	k.inv.Problems = append(k.inv.Problems, fmt.Sprintf(format, args...))
}

func (k *maker) ask(kind string, asked ...string) {
	for _, w := range asked {
		of := kind
		if kind == "" {
			of, _, _ = strings.Cut(w, ":")
		}
		words := k.asked[of]
		if words == nil {
			words = map[string]bool{}
			k.asked[of] = words
		}
		if !words[w] {
			words[w] = true
		}
	}
}

// knowsPages reports whether every host that could run VMs says what huge pages it
// has. Where one does not, they count as ordinary memory everywhere.
func (k *maker) knowsPages() bool {
	some := false
	for _, h := range k.in.Hosts {
		if h.State == placement.Down {
			continue
		}
		if h.HugePages == nil {
			return false
		}
		some = true
	}
	return some
}

// usualPage is the default size of a huge page, where all hosts have the same.
func (k *maker) usualPage() (usual uint64) {
	for _, h := range k.in.Hosts {
		switch {
		case h.State == placement.Down:
		case h.DefaultPage == 0 || usual != 0 && h.DefaultPage != usual:
			return 0
		default:
			usual = h.DefaultPage
		}
	}
	return usual
}

// unsized reports whether huge pages that are asked for without a size are told of by
// no host: they count as ordinary memory.
func (k *maker) unsized(kib uint64) bool {
	return kib == 0 && k.usual == 0 && !slices.ContainsFunc(k.in.Hosts, func(h Host) bool { _, tells := h.HugePages[0]; return tells })
}

func (k *maker) pagesWord(kib uint64) string {
	if kib == 0 {
		kib = k.usual
	}
	if kib == 0 {
		return "huge pages"
	}
	return fmt.Sprintf("huge pages of %d KiB", kib)
}

// name gives a VM a name that no other has.
func (k *maker) name(name, uuid, host string) string {
	s := k.inv.free(name, uuid, host)
	k.inv.UUIDs[s] = uuid
	return s
}

// protected adds a VM of the state.
func (k *maker) protected(vm *fsm.VM, w Wants) {
	p := k.in.Policy.VM(vm.Name)
	v := placement.VM{Name: k.name(vm.Name, vm.UUID, vm.Home), Memory: amount(vm.Memory), Overhead: amount(w.Overhead), VCPUs: vm.VCPUs, ReservedMHz: p.ReservedMHz,
		Priority: config.PriorityLevel(p.Priority), Order: p.Order, Home: vm.Home}
	k.inv.Names[vm.UUID] = v.Name
	if p.BestEffort {
		v.Class = placement.BestEffort
	}
	switch {
	case vm.Owner != nil && k.hosts[vm.Owner.Host] != nil:
		v.Status, v.Host = placement.Running, vm.Owner.Host
		if vm.Move != nil && k.hosts[vm.Move.Host] != nil {
			v.Moving = vm.Move.Host
		}
	case vm.Sighting != nil && k.hosts[vm.Sighting.Host] != nil:
		v.Status, v.Host = placement.Running, vm.Sighting.Host
	case k.in.Frozen(vm): // it starts nowhere else, and where it does nothing else is started meanwhile
		v.Status, v.Host = placement.Stopped, vm.Frozen.Host
	case vm.Intent == fsm.IntentRun:
		v.Status, v.Host = placement.Waiting, vm.Home
		if _, _, kept := k.in.await(vm); kept {
			v.Kept = vm.Frozen.Host
		}
	default:
		v.Status, v.Host = placement.Stopped, vm.Home
	}
	v.Failed = TriesOf(k.in.State, vm).Failed
	v.Use = k.use(vm.UUID, v.Host)
	k.moves(&v, vm, p)
	k.needs(&v, w, vm.DevicesOf)
	k.holds(&v, vm)
	k.inv.Cluster.VMs = append(k.inv.Cluster.VMs, v)
}

// needs turns what the VM wants into what its hosts must have. of is the host whose devices its
// definition names.
func (k *maker) needs(v *placement.VM, w Wants, of string) {
	var ties []domainxml.Tie
	for _, x := range w.Paths {
		ds, shared := k.shared(x.Path)
		if shared {
			if ds != "" {
				v.Datastores = append(v.Datastores, ds)
			}
			continue
		}
		follows := "is on no datastore of the policy"
		if len(k.in.Policy.Datastores) == 0 {
			follows = "is its host's own"
		}
		ties = append(ties, domainxml.Tie{Kind: x.Kind, Effect: x.Effect, What: x.Path, Text: fmt.Sprintf("%s: %s %s", x.Text, x.Path, follows)})
	}
	for _, pool := range w.Pools {
		v.Datastores = append(v.Datastores, "pool:"+pool)
	}
	slices.Sort(v.Datastores)
	v.Datastores = slices.Compact(v.Datastores)
	v.Networks, v.Capabilities = w.Networks, w.Capabilities
	ties = append(ties, k.exchanged(v, w.Ties, of)...)
	if len(ties) > 0 {
		k.inv.ties[v.Name] = ties
	}
	v.Live = true
	for _, t := range ties {
		switch t.Effect {
		case domainxml.Bound:
			v.Bound, v.Live = append(v.Bound, t.Text), false
		case domainxml.NotLive:
			v.Live = false
		}
	}
	v.NotLive = notLive(ties)
	for _, s := range v.Datastores {
		if pool, is := strings.CutPrefix(s, "pool:"); is {
			k.ask("pool", pool)
		}
	}
	k.ask("network", v.Networks...)
	k.ask("", v.Capabilities...)
	if w.HighestCPU >= 0 {
		k.pinned(v, w.HighestCPU)
	}
	if k.pages && len(w.HugePages) > 0 {
		if v.Extra == nil {
			v.Extra = map[string]int64{}
		}
		for kib, n := range w.HugePages {
			if k.unsized(kib) {
				continue
			}
			v.Extra[k.pagesWord(kib)] += amount(n)
			v.Memory -= amount(n)
		}
		v.Memory = max(0, v.Memory)
	}
}

// pinned bars the hosts that have no processor of that number.
func (k *maker) pinned(v *placement.VM, highest int) {
	for name, h := range k.hosts {
		if highest >= h.CPUs && h.CPUs > 0 {
			if v.Barred == nil {
				v.Barred = map[string]string{}
			}
			v.Barred[name] = fmt.Sprintf("it is pinned to processor %d, and %s has processors 0 to %d", highest, name, h.CPUs-1)
		}
	}
}

// shared says whether other hosts have the path, and on which datastore it is. Where
// the policy names no datastore everything is taken to be shared that is not the
// host's own by its nature.
func (k *maker) shared(path string) (datastore string, ok bool) {
	if len(k.in.Policy.Datastores) > 0 {
		return k.in.Policy.DatastoreAt(path)
	}
	for _, own := range []string{"/dev/sr", "/dev/cdrom", "/dev/fd", "/var/lib/libvirt/qemu/", "/var/lib/libvirt/swtpm/"} {
		if strings.HasPrefix(path, own) {
			return "", false
		}
	}
	return "", true
}

// use is what a VM really takes of a host; nil: not known.
func (k *maker) use(uuid, host string) *placement.Use {
	h := k.hosts[host]
	if h == nil {
		return nil
	}
	u, known := h.Uses[uuid]
	if !known {
		return nil
	}
	return &placement.Use{Processors: u.Processors, Memory: amount(u.Memory)}
}

// others adds what runs on hosts besides: VMs that are not protected, and protected
// ones on a host that is not their owner.
func (k *maker) others() {
	for i := range k.in.Hosts {
		h := &k.in.Hosts[i]
		for _, d := range h.Domains {
			vm := k.in.State.VMs[d.UUID]
			switch {
			case !d.Running, vm != nil && vm.Move != nil && vm.Move.Host == h.Name: // it counts there as on its way
				continue
			case vm != nil && vm.Owner != nil && vm.Owner.Host == h.Name, vm != nil && vm.Owner == nil && vm.Sighting != nil && vm.Sighting.Host == h.Name:
				continue
			}
			name := d.Name
			if vm != nil {
				name += " on " + h.Name
			}
			in := k.name(name, d.UUID, h.Name)
			if vm == nil {
				k.strangers[in] = d.Name
			}
			v := stranger(d, in, h.Name, k.in.Policy)
			v.Use = k.use(d.UUID, h.Name)
			k.inv.Cluster.VMs = append(k.inv.Cluster.VMs, v)
		}
	}
}

// host adds a host. What it does not say it has of things that VMs need it is taken to have.
func (k *maker) host(h *Host) {
	rule := k.in.Policy.Hosts[h.Name]
	x := placement.Host{Name: h.Name, State: h.State, Why: h.Why, Memory: amount(h.Memory), Reserve: amount(h.Reserve), CPUs: h.CPUs, MHz: h.CPUs * h.MHz,
		MaxVMs: rule.MaxVMs, Domain: rule.FailureDomain, Failover: rule.Standby, Voter: h.Voter}
	if rule.MemoryReserve > 0 {
		x.Reserve = amount(rule.MemoryReserve)
	}
	x.Datastores = h.Datastores
	if h.Datastores == nil {
		for name := range k.in.Policy.Datastores {
			x.Datastores = append(x.Datastores, name)
		}
	}
	x.Datastores = slices.Clone(x.Datastores)
	for pool := range k.asked["pool"] {
		if h.Pools == nil || slices.Contains(h.Pools, pool) {
			x.Datastores = append(x.Datastores, "pool:"+pool)
		}
	}
	slices.Sort(x.Datastores)
	for word := range k.asked["network"] {
		if h.Networks == nil || slices.Contains(h.Networks, word) {
			x.Networks = append(x.Networks, word)
		}
	}
	slices.Sort(x.Networks)
	known := map[string]bool{}
	for _, word := range h.Capabilities {
		kind, _, _ := strings.Cut(word, ":")
		known[kind] = true
	}
	for kind, words := range k.asked {
		if kind == "pool" || kind == "network" {
			continue
		}
		for word := range words {
			if !known[kind] || slices.Contains(h.Capabilities, word) {
				x.Capabilities = append(x.Capabilities, word)
			}
		}
	}
	slices.Sort(x.Capabilities)
	x.Extra = poolsOf(k.in.Policy, h)
	if k.pages {
		if x.Extra == nil {
			x.Extra = map[string]int64{}
		}
		for kib, n := range h.HugePages {
			x.Extra[k.pagesWord(kib)] += amount(n)
			x.Memory -= amount(n)
		}
		x.Memory = max(0, x.Memory)
	}
	k.inv.Cluster.Hosts = append(k.inv.Cluster.Hosts, x)
}
