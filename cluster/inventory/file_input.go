package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// Input is what Builder.Build takes. The error wraps ErrBadFile and lists all that
// is wrong, or is that of the policy (config.AsError).
func (f *File) Input() (Input, error) {
	p, err := f.policy()
	if err != nil {
		return Input{}, err
	}
	in := Input{Policy: p, State: &fsm.State{Hosts: map[string]*fsm.Host{}, VMs: map[string]*fsm.VM{}}, Wants: map[string]Wants{}}
	r := &reader{f: f, in: &in, at: map[string]int{}, names: map[string]bool{}}
	for i := range f.Hosts {
		r.host(&f.Hosts[i], i)
	}
	if len(f.Hosts) == 0 {
		r.wrong("there are no hosts")
	}
	for i := range f.VMs {
		r.vm(&f.VMs[i], i)
	}
	if len(r.all) > 0 {
		const most = 20
		text := strings.Join(r.all[:min(most, len(r.all))], "\n  ")
		if more := len(r.all) - most; more > 0 {
			text += fmt.Sprintf("\n  and %d more", more)
		}
		return Input{}, fmt.Errorf("%w:\n  %s", ErrBadFile, text)
	}
	return in, nil
}

// reader turns a file into an input, and collects what is wrong.
type reader struct {
	f     *File
	in    *Input
	at    map[string]int // hosts
	names map[string]bool
	all   []string
}

func (r *reader) wrong(format string, args ...any) {
	r.all = append(r.all, fmt.Sprintf(format, args...))
}

func (r *reader) host(h *FileHost, i int) {
	who := fmt.Sprintf("hosts[%d] %q", i, clip(h.Name))
	state, known := stateWords()[h.State]
	_, twice := r.at[h.Name]
	gone := state == placement.Down || state == placement.Closed
	switch {
	case !plain(h.Name):
		r.wrong("%s: it needs a name of 1 to 255 characters that can be printed", who)
	case twice:
		r.wrong("%s is there twice", who)
	case !known:
		r.wrong("%s: state is %q; it is up, closed, maintenance or down", who, clip(h.State))
	case gone && h.Memory == 0 && h.CPUs == 0: // nobody need know what it had
	case h.Memory == 0:
		r.wrong("%s: it has no memory; say how much, such as \"memory\": \"256GiB\"", who)
	case h.CPUs < 1 || h.CPUs > 1<<16:
		r.wrong("%s: cpus is %d; it is 1 to 65536 logical processors", who, h.CPUs)
	case h.MHz < 0 || h.MHz > 100_000:
		r.wrong("%s: mhz is %d; it is that of one processor, up to 100000", who, h.MHz)
	case h.Reserve > h.Memory:
		r.wrong("%s: it reserves more than its memory", who)
	}
	for _, name := range h.Datastores {
		if _, ok := r.in.Policy.Datastores[name]; !ok {
			r.wrong("%s: datastore %q is not in the policy", who, clip(name))
		}
	}
	for _, n := range h.HugePages {
		if n > maxSize {
			r.wrong("%s: it has more huge pages than there can be", who)
		}
	}
	r.at[h.Name] = i
	r.in.Hosts = append(r.in.Hosts, Host{Name: h.Name, State: state, Why: h.Why, Memory: uint64(h.Memory), Reserve: uint64(h.Reserve), CPUs: h.CPUs, MHz: h.MHz,
		Voter: h.Voter == nil || *h.Voter, Datastores: h.Datastores, Devices: h.Devices, Offer: h.Offer})
	r.in.State.Hosts[h.Name] = &fsm.Host{Name: h.Name, Status: fsm.HostLive, Incarnation: 1}
}

func (r *reader) vm(v *FileVM, i int) {
	who := fmt.Sprintf("vms[%d] %q", i, clip(v.Name))
	uuid := v.UUID
	if uuid == "" {
		uuid = v.Name
	}
	state := v.State
	if state == "" {
		state = "waiting"
		if v.Host != "" {
			state = "running"
		}
	}
	host, known := r.at[v.Host]
	protected := v.Protected == nil || *v.Protected
	key := uuid
	if !protected {
		key += " on " + v.Host // beside its own place, a protected VM may be on others still
	}
	before := len(r.all)
	switch {
	case !plain(v.Name):
		r.wrong("%s: it needs a name of 1 to 255 characters that can be printed", who)
	case r.names[key]:
		r.wrong("%s is there twice (by its uuid, or its name where it has none)", who)
	case v.Host != "" && !known:
		r.wrong("%s: its host %q is not among the hosts", who, clip(v.Host))
	case state != "running" && state != "waiting" && state != "stopped":
		r.wrong("%s: state is %q; it is running, waiting or stopped", who, clip(v.State))
	case state == "running" && v.Host == "":
		r.wrong("%s runs, and has no host", who)
	case v.WaitsFor != "" && (state != "waiting" || !slices.ContainsFunc(r.f.Hosts, func(h FileHost) bool { return h.Name == v.WaitsFor })):
		r.wrong("%s: waits_for is %q; that is one of the hosts, for a VM that is waiting", who, clip(v.WaitsFor))
	case !protected && state != "running":
		r.wrong("%s is not protected and does not run: leave it out", who)
	case v.DevicesOf != "" && !slices.ContainsFunc(r.f.Hosts, func(h FileHost) bool { return h.Name == v.DevicesOf }):
		r.wrong("%s: devices_of is %q, which is not among the hosts", who, clip(v.DevicesOf))
	case v.HighestCPU != nil && (*v.HighestCPU < 0 || *v.HighestCPU > 1<<16):
		r.wrong("%s: highest_cpu is %d; it is the number of a processor", who, *v.HighestCPU)
	}
	r.names[key] = true
	w, memory, vcpus := r.wants(v, who)
	if memory == 0 || memory > maxSize {
		r.wrong("%s: it has no memory; say how much, such as \"memory\": \"8GiB\"", who)
	}
	if vcpus < 1 || vcpus > 1<<16 {
		r.wrong("%s: vcpus is %d; it is 1 to 65536", who, vcpus)
	}
	if len(r.all) > before {
		return
	}
	if !protected {
		h := &r.in.Hosts[host]
		h.Domains = append(h.Domains, Domain{UUID: uuid, Name: v.Name, Running: true, VCPUs: vcpus, Memory: memory, Devices: exchangeable(w.Ties)})
		return
	}
	vm := &fsm.VM{UUID: uuid, Name: v.Name, VCPUs: vcpus, Memory: memory, Intent: fsm.IntentRun, Home: v.Host, Generation: 1}
	if vm.Devices = exchangeable(w.Ties); vm.Devices != nil {
		vm.DevicesOf = cmp.Or(v.DevicesOf, v.Host)
	}
	switch state {
	case "running":
		vm.Owner = &fsm.Placement{Host: v.Host, Incarnation: 1, Generation: 1, Phase: fsm.PhaseRunning}
	case "stopped":
		vm.Intent = fsm.IntentStop
	}
	if v.WaitsFor != "" {
		vm.Frozen = &fsm.Frozen{Host: v.WaitsFor}
	}
	r.in.State.VMs[uuid], r.in.Wants[uuid] = vm, w
}

// wants are the VM's by its definition, or by what the file says of it.
func (r *reader) wants(v *FileVM, who string) (w Wants, memory uint64, vcpus int) {
	memory, vcpus = uint64(v.Memory), v.VCPUs
	if v.Definition != "" {
		if v.Overhead != nil || v.Disks != nil || v.Paths != nil || v.Pools != nil || v.Networks != nil || v.Capabilities != nil || v.HugePages != nil || v.HighestCPU != nil || v.Ties != nil {
			r.wrong("%s has a definition, which settles what it needs: leave one of them out", who)
		}
		n, err := domainxml.ParseNeeds(v.Definition)
		if err != nil {
			r.wrong("%s: %v", who, err)
			return w, 1, 1 // said
		}
		w = WantsOf(n)
		if memory == 0 {
			memory = n.Memory
		}
		if vcpus == 0 {
			vcpus = n.VCPUs
		}
		return w, memory, vcpus
	}
	w = Wants{Overhead: defaultOverhead, HighestCPU: -1, Pools: v.Pools, Networks: v.Networks, Capabilities: v.Capabilities, HugePages: v.HugePages}
	if v.Overhead != nil {
		w.Overhead = uint64(*v.Overhead)
	}
	if v.HighestCPU != nil {
		w.HighestCPU = *v.HighestCPU
	}
	for _, s := range v.Disks {
		w.Paths = append(w.Paths, domainxml.Path{Kind: domainxml.TieDisk, Effect: domainxml.Bound, Path: s, Text: "a disk"})
	}
	effects := []domainxml.Effect{domainxml.Bound, domainxml.Loses, domainxml.NotLive}
	for _, x := range v.Paths {
		if !slices.Contains(effects, x.Effect) || x.Path == "" {
			r.wrong("%s: each of paths needs a path, and an effect: bound, loses or not_live", who)
		}
		w.Paths = append(w.Paths, domainxml.Path(x))
	}
	for _, x := range v.Ties {
		if !slices.Contains(effects, x.Effect) || x.Text == "" {
			r.wrong("%s: each of ties needs a text, and an effect: bound, loses or not_live", who)
		}
		w.Ties = append(w.Ties, domainxml.Tie(x))
	}
	for _, n := range v.HugePages {
		if n > memory {
			r.wrong("%s: it has more memory in huge pages than in all", who)
		}
	}
	return w, memory, vcpus
}

// plain reports whether a name can be printed on a line.
func plain(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\uFFFD' })
}

// NewFile is the file of a picture's input. Fence devices are left out of its policy:
// they may hold passwords, and placement does not ask for them.
func (b *Builder) NewFile(in Input) *File {
	f := &File{Schema: FileSchema, VMs: []FileVM{}, Hosts: []FileHost{}}
	p := in.Policy.Clone()
	p.Fences = nil
	for name, h := range p.Hosts {
		h.Fence = nil
		if p.Hosts[name] = h; h.Blank() {
			delete(p.Hosts, name)
		}
	}
	f.Policy = map[string]string{"cluster.hcl": string(p.HCL())}
	words := map[placement.HostState]string{}
	for word, s := range stateWords() {
		if word != "" {
			words[s] = word
		}
	}
	no, hosts := false, map[string]*Host{}
	for i := range in.Hosts {
		h := &in.Hosts[i]
		hosts[h.Name] = h
		x := FileHost{Name: h.Name, State: words[h.State], Why: h.Why, Memory: Size(h.Memory), Reserve: Size(h.Reserve), CPUs: h.CPUs, MHz: h.MHz, Datastores: h.Datastores, Devices: h.Devices, Offer: h.Offer}
		if !h.Voter {
			x.Voter = &no
		}
		f.Hosts = append(f.Hosts, x)
	}
	inv := b.Build(in)
	for i := range inv.Cluster.VMs {
		v := &inv.Cluster.VMs[i]
		uuid := inv.UUIDs[v.Name]
		x := FileVM{Name: v.Name, UUID: uuid, Memory: Size(v.Memory), VCPUs: v.VCPUs}
		if hosts[v.Host] != nil {
			x.Host = v.Host
		}
		x.State = map[placement.Status]string{placement.Running: "running", placement.Waiting: "waiting", placement.Stopped: "stopped"}[v.Status]
		vm := in.State.VMs[uuid]
		if vm == nil || inv.Names[uuid] != v.Name {
			x.Protected = &no
			for _, d := range hosts[v.Host].Domains {
				if d.UUID == uuid {
					x.Name = d.Name // the name in the picture may be longer
					for _, w := range d.Devices {
						x.Ties = append(x.Ties, FileTie{Kind: domainxml.TieDevice, Effect: domainxml.Bound, Device: w, Text: w + " of the host is handed to the guest"})
					}
				}
			}
			f.VMs = append(f.VMs, x)
			continue
		}
		x.Name, x.Memory = vm.Name, Size(vm.Memory)
		w, given := in.Wants[uuid]
		if !given {
			w, _ = b.wants(vm) // what cannot be read is among the picture's problems
		}
		x.put(w)
		if vm.DevicesOf != x.Host {
			x.DevicesOf = vm.DevicesOf
		}
		if in.Frozen(vm) {
			x.State, x.WaitsFor = "waiting", vm.Frozen.Host
		}
		f.VMs = append(f.VMs, x)
	}
	return f
}

func (v *FileVM) put(w Wants) {
	overhead := Size(w.Overhead)
	v.Overhead, v.Pools, v.Networks, v.Capabilities, v.HugePages = &overhead, w.Pools, w.Networks, w.Capabilities, w.HugePages
	if w.HighestCPU >= 0 {
		v.HighestCPU = &w.HighestCPU
	}
	for _, x := range w.Paths {
		v.Paths = append(v.Paths, FilePath(x))
	}
	for _, x := range w.Ties {
		v.Ties = append(v.Ties, FileTie(x))
	}
}
