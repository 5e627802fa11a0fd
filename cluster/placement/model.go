package placement

import (
	"cmp"
	"encoding/binary"
	bitcount "math/bits"
	"slices"
	"strings"
)

// boundless stands for a capacity without a limit. It is small enough to be added up.
const boundless = 1 << 50

// dim is one thing that a host has a limited amount of.
type dim struct {
	reason Reason
	name   string // of an Extra
}

// model is a Cluster made ready for many questions: everything that is named in
// it has an index, by order of name, so that the order of the input cannot matter.
type model struct {
	c        *Cluster
	hosts    []*Host
	vms      []*VM
	hostByID map[string]int32
	vmByID   map[string]int32

	dims     []dim
	capacity []int64   // of an empty host, len(dims) each
	average  []float64 // capacity per dim over the hosts; 0 where one is boundless
	domain   []int32   // host → failure domain
	domains  int

	at, moving []int32 // VM → host, or -1
	awaited    []int32 // VMs that a host keeps room for
	// fixed are VMs that no plan of moves may touch, came the hosts that VMs were moved
	// from (or -1), moved when; nil: none. PlanMoves alone sets them.
	fixed []bool
	came  []int32
	moved []int64

	exclusive []exclusive        // the apart rules that are a must
	apart     map[int32][]int32  // VM → exclusive
	occLen    int                // length of all scopes of exclusive together
	bound     map[int32][]*Rule  // VM → its on_hosts and not_on_hosts that are a must
	soft      map[int32][]*Rule  // VM → its rules that are no must
	spread    map[int32]*Group   // VM → its group, when that is spread
	after     map[int32][]int32  // VM → VMs that start before it
	strict    map[int32]bool     // VMs that stay down while one of after is down
	mates     map[int32][]int32  // VM → all VMs, itself too, that must be on its host, first ones first
	crews     [][]int32          // the different sets of mates
	masks     []mask             // see maskOf
	maskIDs   []int32            // VM → mask, or -1 while nobody asked
	maskID    map[string]int32   // by bits and needs
	profile   map[string]int32   // by what decides a mask
	key       []byte             // scratch for the two
	members   map[*Rule][]int32  // VMs of a rule
	crowd     map[*Group][]int32 // VMs of a group
	gathered  map[int32]*Rule    // VM → what stands for the wish that its group is spread, as one of members
}

// exclusive is an apart rule that is a must. Its scopes are hosts or domains;
// those of all rules lie in one array, this rule's from off on.
type exclusive struct {
	rule    *Rule
	domains bool
	off     int
	members []int32
}

func newModel(c *Cluster) *model {
	m := &model{
		c: c, hostByID: make(map[string]int32, len(c.Hosts)), vmByID: make(map[string]int32, len(c.VMs)),
		apart: map[int32][]int32{}, bound: map[int32][]*Rule{}, soft: map[int32][]*Rule{}, spread: map[int32]*Group{},
		after: map[int32][]int32{}, strict: map[int32]bool{}, mates: map[int32][]int32{},
		maskID: map[string]int32{}, profile: map[string]int32{}, members: map[*Rule][]int32{},
		crowd: map[*Group][]int32{}, gathered: map[int32]*Rule{},
	}
	m.hosts, m.vms = sorted(c.Hosts, func(h *Host) string { return h.Name }), sorted(c.VMs, func(v *VM) string { return v.Name })
	for i, h := range m.hosts {
		m.hostByID[h.Name] = int32(i)
	}
	for i, v := range m.vms {
		m.vmByID[v.Name] = int32(i)
	}
	m.readDomains()
	m.readCapacity()
	m.maskIDs = make([]int32, len(m.vms))
	for i := range m.maskIDs {
		m.maskIDs[i] = -1
	}
	m.at, m.moving = make([]int32, len(m.vms)), make([]int32, len(m.vms))
	for i, v := range m.vms {
		m.at[i], m.moving[i] = -1, -1
		if v.Kept != "" {
			m.awaited = append(m.awaited, int32(i))
		}
		if v.Status != Running {
			continue
		}
		m.at[i] = m.hostOr(v.Host)
		if to := m.hostOr(v.Moving); to != m.at[i] {
			m.moving[i] = to
		}
	}
	m.readRules()
	m.readGroups()
	for v := range int32(len(m.vms)) {
		if crew := m.mates[v]; crew != nil && slices.Min(crew) == v {
			m.crews = append(m.crews, crew)
		}
	}
	return m
}

func sorted[T any](all []T, name func(*T) string) []*T {
	out := make([]*T, len(all))
	for i := range all {
		out[i] = &all[i]
	}
	slices.SortFunc(out, func(a, b *T) int { return strings.Compare(name(a), name(b)) })
	return out
}

// hostOr is the index of a host, or -1.
func (m *model) hostOr(name string) int32 {
	if h, ok := m.hostByID[name]; ok {
		return h
	}
	return -1
}

func (m *model) readDomains() {
	m.domain = make([]int32, len(m.hosts))
	ids := map[string]int32{}
	for i, h := range m.hosts {
		key := "d" + h.Domain
		if h.Domain == "" {
			key = "h" + h.Name
		}
		id, ok := ids[key]
		if !ok {
			id = int32(len(ids))
			ids[key] = id
		}
		m.domain[i] = id
	}
	m.domains = len(ids)
}

// readCapacity settles which things are limited at all, and how much of them an empty host has.
func (m *model) readCapacity() {
	p := &m.c.Policy
	m.dims = []dim{{reason: NoMemory}}
	if p.CPUOvercommit > 0 {
		m.dims = append(m.dims, dim{reason: NoCPU})
	}
	if slices.ContainsFunc(m.hosts, func(h *Host) bool { return h.MaxVMs > 0 }) {
		m.dims = append(m.dims, dim{reason: TooManyVMs})
	}
	var extras []string
	for _, v := range m.vms {
		for name := range v.Extra {
			if !slices.Contains(extras, name) {
				extras = append(extras, name)
			}
		}
	}
	slices.Sort(extras)
	for _, name := range extras {
		m.dims = append(m.dims, dim{reason: NoExtra, name: name})
	}
	for _, h := range m.hosts {
		for _, d := range m.dims {
			var n int64
			switch d.reason {
			case NoMemory:
				n = h.size()
				if p.MemoryOvercommit > 0 {
					n = int64(min(boundless, float64(n)*p.MemoryOvercommit))
				}
			case NoCPU:
				n = int64(min(boundless, float64(h.CPUs)*p.CPUOvercommit))
			case TooManyVMs:
				if n = int64(h.MaxVMs); n == 0 {
					n = boundless
				}
			case NoExtra:
				n = h.Extra[d.name]
			}
			m.capacity = append(m.capacity, n)
		}
	}
	m.average = make([]float64, len(m.dims))
	for i := range m.dims {
		for h := range m.hosts {
			n := m.capacity[h*len(m.dims)+i]
			if n >= boundless {
				m.average[i] = 0
				break
			}
			m.average[i] += float64(n) / float64(len(m.hosts))
		}
	}
}

// demand writes what the VM needs of each dim to out, which it returns.
func (m *model) demand(v int32, out []int64) []int64 {
	vm := m.vms[v]
	for i, d := range m.dims {
		switch d.reason {
		case NoMemory:
			out[i] = vm.need()
		case NoCPU:
			out[i] = int64(vm.VCPUs)
		case TooManyVMs:
			out[i] = 1
		case NoExtra:
			out[i] = vm.Extra[d.name]
		}
	}
	return out
}

func (m *model) readRules() {
	rules := sorted(m.c.Rules, func(r *Rule) string { return r.Name })
	for _, r := range rules {
		var vms []int32
		for _, name := range r.VMs {
			if v, ok := m.vmByID[name]; ok && !slices.Contains(vms, v) {
				vms = append(vms, v)
			}
		}
		m.members[r] = vms
		switch {
		case !r.Must:
			for _, v := range vms {
				m.soft[v] = append(m.soft[v], r)
			}
		case r.Kind == Apart:
			id := int32(len(m.exclusive))
			m.exclusive = append(m.exclusive, exclusive{rule: r, domains: r.Domains, off: m.occLen, members: vms})
			m.occLen += len(m.hosts) // domains are never more than hosts
			for _, v := range vms {
				m.apart[v] = append(m.apart[v], id)
			}
		case r.Kind == Together:
			m.join(vms)
		default:
			for _, v := range vms {
				m.bound[v] = append(m.bound[v], r)
				if r.Kind == OnHosts {
					m.soft[v] = append(m.soft[v], r) // its weights rank the hosts that it allows
				}
			}
		}
	}
}

// join makes one set of mates of the VMs and of those that they are mates with already.
func (m *model) join(vms []int32) {
	var all []int32
	for _, v := range vms {
		set := m.mates[v]
		if set == nil {
			set = []int32{v}
		}
		for _, x := range set {
			if !slices.Contains(all, x) {
				all = append(all, x)
			}
		}
	}
	if len(all) < 2 {
		return
	}
	for _, v := range all {
		m.mates[v] = all
	}
}

func (m *model) readGroups() {
	groups := sorted(m.c.Groups, func(g *Group) string { return g.Name })
	byName := map[string]*Group{}
	for _, g := range groups {
		byName[g.Name] = g
		for _, name := range g.VMs {
			if v, ok := m.vmByID[name]; ok {
				m.crowd[g] = append(m.crowd[g], v)
			}
		}
	}
	for _, g := range groups {
		var wish *Rule
		if g.Spread {
			wish = &Rule{Name: "group " + g.Name, Kind: spreadOut}
			m.members[wish] = m.crowd[g]
		}
		for _, v := range m.crowd[g] {
			if g.Spread {
				m.spread[v], m.gathered[v] = g, wish
			}
			m.strict[v] = g.Strict
			for _, before := range g.StartAfter {
				m.after[v] = append(m.after[v], m.crowd[byName[before]]...)
			}
		}
	}
}

// scope is where a VM on host h counts for an apart rule.
func (m *model) scope(e int32, h int32) int {
	x := &m.exclusive[e]
	if x.domains {
		return x.off + int(m.domain[h])
	}
	return x.off + int(h)
}

// startOrder compares two VMs by when they are to be started, dependencies aside:
// class, priority, order; mates one after the other in the order of their rule; name.
func (m *model) startOrder(a, b int32) int {
	x, y := m.vms[a], m.vms[b]
	if c := cmp.Or(cmp.Compare(x.Class, y.Class), -cmp.Compare(x.Priority, y.Priority), cmp.Compare(x.Order, y.Order)); c != 0 {
		return c
	}
	first, place := m.seat(a)
	first2, place2 := m.seat(b)
	return cmp.Or(cmp.Compare(first, first2), cmp.Compare(place, place2), cmp.Compare(a, b))
}

// seat is the VM whose name stands for v's set of mates, and v's place in it.
func (m *model) seat(v int32) (first int32, place int) {
	mates := m.mates[v]
	if mates == nil {
		return v, 0
	}
	return mates[0], slices.Index(mates, v)
}

// bits is a set of hosts.
type bits []uint64

func (m *model) none() bits { return make(bits, (len(m.hosts)+63)/64) }

func (b bits) has(i int32) bool { return b[i>>6]&(1<<(i&63)) != 0 }
func (b bits) set(i int32)      { b[i>>6] |= 1 << (i & 63) }
func (b bits) clear(i int32)    { b[i>>6] &^= 1 << (i & 63) }

func (b bits) empty() bool {
	for _, w := range b {
		if w != 0 {
			return false
		}
	}
	return true
}

func (b bits) len() int {
	n := 0
	for _, w := range b {
		n += bitcount.OnesCount64(w)
	}
	return n
}

// within reports whether every host of b is in c.
func (b bits) within(c bits) bool {
	for i, w := range b {
		if w&^c[i] != 0 {
			return false
		}
	}
	return true
}

// appendKey adds b to a map's key.
func (b bits) appendKey(key []byte) []byte {
	for _, w := range b {
		key = binary.LittleEndian.AppendUint64(key, w)
	}
	return key
}
