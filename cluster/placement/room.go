package placement

import (
	"slices"
	"strings"
)

// room is who is where, and what is left on every host. It is the one thing here
// that changes while a question is answered; it belongs to that question alone.
type room struct {
	m       *model
	at      []int32 // VM → host, or -1
	dead    bits    // hosts that are lost
	leaving bits    // hosts that are being emptied
	free    []int64 // host × dim; may be negative on a host that is overfull
	occ     []int16 // VMs per scope of every exclusive rule

	memory, cpu []int64 // taken of each host, as model.takes says
	vms         []int32 // that run there
}

// newRoom is the cluster as it is. VMs on hosts that are down run nowhere.
func newRoom(m *model) *room {
	n := len(m.hosts)
	r := &room{
		m: m, at: slices.Clone(m.at), dead: m.none(), leaving: m.none(), free: slices.Clone(m.capacity), occ: make([]int16, m.occLen),
		memory: make([]int64, n), cpu: make([]int64, n), vms: make([]int32, n),
	}
	need := make([]int64, len(m.dims))
	for v := range m.vms {
		if h := r.at[v]; h >= 0 {
			r.count(int32(v), h, 1, need)
			if to := m.moving[v]; to >= 0 {
				r.count(int32(v), to, 1, need)
			}
		}
	}
	for h, host := range m.hosts {
		if host.State == Down {
			r.dead.set(int32(h))
		}
	}
	r.dropDead(need)
	return r
}

// lose takes hosts away with all that runs there.
func (r *room) lose(hosts []int32) {
	for _, h := range hosts {
		r.dead.set(h)
	}
	r.dropDead(make([]int64, len(r.m.dims)))
}

func (r *room) dropDead(need []int64) {
	if r.dead.empty() {
		return
	}
	for v, h := range r.at {
		if h >= 0 && r.dead.has(h) {
			r.leave(int32(v), need)
		}
	}
}

// leave takes a VM off its host.
func (r *room) leave(v int32, need []int64) {
	r.count(v, r.at[v], -1, need)
	if to := r.m.moving[v]; to >= 0 && r.at[v] == r.m.at[v] {
		r.count(v, to, -1, need)
	}
	r.at[v] = -1
}

// enter puts a VM on a host.
func (r *room) enter(v, h int32, need []int64) {
	r.at[v] = h
	r.count(v, h, 1, need)
}

// count books a VM on a host (sign 1) or off it (-1). need is scratch.
func (r *room) count(v, h int32, sign int64, need []int64) {
	m := r.m
	need = m.demand(v, need)
	base := int(h) * len(need)
	for i, n := range need {
		if vm := m.vms[v]; vm.Holds != nil && m.dims[i].reason == NoExtra && vm.HeldOn == m.hosts[h].Name {
			n += vm.Holds[m.dims[i].name]
		}
		r.free[base+i] -= sign * n
	}
	for _, e := range m.apart[v] {
		r.occ[m.scope(e, h)] += int16(sign)
	}
	memory, cpu := m.takes(v)
	r.memory[h] += sign * memory
	r.cpu[h] += sign * cpu
	r.vms[h] += int32(sign)
}

func (r *room) clone() *room {
	c := *r
	c.at, c.dead, c.free, c.occ = slices.Clone(r.at), slices.Clone(r.dead), slices.Clone(r.free), slices.Clone(r.occ)
	c.memory, c.cpu, c.vms = slices.Clone(r.memory), slices.Clone(r.cpu), slices.Clone(r.vms)
	return &c
}

// consider says whether host h can take VM v now, or what excludes it. It does
// not look at mates of v that are not running.
func (r *room) consider(v, h int32, need []int64) Considered {
	m := r.m
	need = m.demand(v, need)
	if r.dead.has(h) {
		why := ""
		if m.hosts[h].State == Down { // else it is lost because of the question
			why = m.hosts[h].Why
		}
		return Considered{Host: m.hosts[h].Name}.no(HostDown, why)
	}
	if r.leaving.has(h) {
		return Considered{Host: m.hosts[h].Name}.no(InMaintenance, "its VMs leave it")
	}
	c := m.able(v, h, need)
	if c.Excluded != "" {
		return c
	}
	base := int(h) * len(need)
	for i, n := range need {
		if n > 0 && n > r.free[base+i] {
			c.Need, c.Have, c.What = n, r.free[base+i], m.dims[i].name
			if strings.HasPrefix(c.What, DevicePool) {
				c.All = m.capacity[base+i]
			}
			c.Kept = r.keptFor(h, v)
			return c.no(m.dims[i].reason, "")
		}
	}
	for _, e := range m.apart[v] {
		if r.occ[m.scope(e, h)] > 0 {
			c.Rule = m.exclusive[e].rule.Name
			return c.no(ApartFrom, r.apartFrom(v, e, h)+" runs there")
		}
	}
	if at, mate := r.mateHosts(v); mate >= 0 && !at.has(h) {
		c.Rule = m.together(v, mate)
		return c.no(NotWithMates, "it must be with "+m.vms[mate].Name+" on "+m.hosts[r.at[mate]].Name)
	} else if mate >= 0 {
		if x, to := r.follower([]int32{v}, at); x >= 0 && !at.has(h) {
			c.Rule = m.together(v, x)
			return c.no(NotWithMates,
				"it must be with "+m.vms[x].Name+", which is to follow others from "+m.hosts[r.at[x]].Name+" to "+m.hosts[to].Name+" first")
		}
	}
	return c
}

// apartFrom names the VM in whose scope host h is.
func (r *room) apartFrom(v, e, h int32) string {
	m := r.m
	for _, x := range m.exclusive[e].members {
		if x != v && r.at[x] >= 0 && m.scope(e, r.at[x]) == m.scope(e, h) {
			return m.vms[x].Name
		}
	}
	return "a VM of that rule"
}

// together names the rule by which two VMs must be together; empty when several rules in a row do.
func (m *model) together(a, b int32) string {
	for _, rule := range sorted(m.c.Rules, func(r *Rule) string { return r.Name }) {
		if rule.Must && rule.Kind == Together && slices.Contains(m.members[rule], a) && slices.Contains(m.members[rule], b) {
			return rule.Name
		}
	}
	return ""
}

// mateHosts are the hosts where VMs run that v must be with, and one such VM;
// -1 when none runs.
func (r *room) mateHosts(v int32) (bits, int32) {
	mate := int32(-1)
	var at bits
	for _, x := range r.m.mates[v] {
		if x != v && r.at[x] >= 0 {
			if mate < 0 {
				at, mate = r.m.none(), x
			}
			at.set(r.at[x])
		}
	}
	return at, mate
}

// follower is a mate of VMs to be started that follows others which have moved from its host, and
// to where; -1: there is none. As long as one does, the VMs are not started where mates are about
// to leave, nor where they would take the room of those that come: such hosts it takes out of at,
// the hosts of all mates.
func (r *room) follower(vms []int32, at bits) (x, to int32) {
	x, to = -1, -1
	if at.len() < 2 {
		return x, to
	}
	for h := range int32(len(r.m.hosts)) {
		come := r.followers(vms, h)
		if len(come) == 0 {
			continue
		}
		x, to = come[0], h
		for _, y := range come {
			at.clear(r.at[y])
		}
		if all := r.itemBeside(append(come, vms...), false); !r.accepts(&all, h) {
			at.clear(h)
		}
	}
	return x, to
}

// followers are the mates of VMs to be started that are to follow others to host h, if all that run
// elsewhere are, and can.
func (r *room) followers(vms []int32, h int32) (come []int32) {
	m := r.m
	for _, x := range m.mates[vms[0]] {
		vm, from := m.vms[x], r.at[x]
		if from < 0 || from == h || m.moving[x] == h { // what has begun to move has its room
			continue
		}
		follows := func(y int32) bool { return r.at[y] == h && m.hostOr(m.vms[y].From) == from }
		if len(vm.Bound) > 0 || vm.Class == Unprotected || !vm.Live && m.hosts[from].State != Maintenance ||
			!slices.ContainsFunc(m.mates[x], follows) {
			return nil
		}
		come = append(come, x)
	}
	if len(come) > 0 {
		if it := r.itemBeside(come, false); !r.accepts(&it, h) {
			return nil
		}
	}
	return come
}
