package placement

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

var (
	// ErrTwoGroups: a VM is in more than one group.
	ErrTwoGroups = errors.New("a VM is in two groups")
	// ErrContradiction: rules that are a must exclude one another.
	ErrContradiction = errors.New("rules contradict each other")
	// ErrRing: groups start after one another in a ring.
	ErrRing = errors.New("groups wait for one another")
	// ErrBadCluster: something else about the cluster makes no sense.
	ErrBadCluster = errors.New("invalid cluster")
)

// Validate finds what no plan could make sense of. All other functions take a
// valid cluster. The error wraps one of the errors above for each problem found.
func (c *Cluster) Validate() error {
	var all []error
	report := func(err error, format string, args ...any) {
		all = append(all, fmt.Errorf("%w: %s", err, fmt.Sprintf(format, args...)))
	}
	hosts, vms := map[string]bool{}, map[string]*VM{}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		switch {
		case h.Name == "":
			report(ErrBadCluster, "host %d has no name", i)
		case hosts[h.Name]:
			report(ErrBadCluster, "host %s is there twice", h.Name)
		case h.Memory < 0 || h.Reserve < 0 || h.CPUs < 0 || h.MHz < 0 || h.MaxVMs < 0:
			report(ErrBadCluster, "host %s has a size below zero", h.Name)
		case h.Memory >= boundless || h.Reserve >= boundless:
			report(ErrBadCluster, "host %s has more memory than there can be", h.Name)
		}
		checkExtra("host "+h.Name, h.Extra, report)
		hosts[h.Name] = true
	}
	for i := range c.VMs {
		v := &c.VMs[i]
		switch {
		case v.Name == "":
			report(ErrBadCluster, "VM %d has no name", i)
		case vms[v.Name] != nil:
			report(ErrBadCluster, "VM %s is there twice", v.Name)
		case v.Memory < 0 || v.Overhead < 0 || v.VCPUs < 0 || v.ReservedMHz < 0:
			report(ErrBadCluster, "VM %s has a size below zero", v.Name)
		case v.Memory >= boundless || v.Overhead >= boundless:
			report(ErrBadCluster, "VM %s has more memory than any host can have", v.Name)
		case v.Status == Running && !hosts[v.Host]:
			report(ErrBadCluster, "VM %s runs on %q, which is no host", v.Name, v.Host)
		case v.Moving != "" && !hosts[v.Moving]:
			report(ErrBadCluster, "VM %s moves to %q, which is no host", v.Name, v.Moving)
		}
		checkExtra("VM "+v.Name, v.Extra, report)
		vms[v.Name] = v
	}
	for what, x := range map[string]float64{"CPU": c.Policy.CPUOvercommit, "memory": c.Policy.MemoryOvercommit} {
		if !(x >= 0 && x <= mostOvercommit) { // not a number is neither
			report(ErrBadCluster, "overcommit of %s is %g, and must be from 0 to %d", what, x, mostOvercommit)
		}
	}
	c.checkRules(vms, report)
	c.checkGroups(vms, report)
	return errors.Join(all...)
}

// mostOvercommit bounds the factors of the policy: more is a mistake, and would
// leave the range of the figures.
const mostOvercommit = 1000

func checkExtra(of string, extra map[string]int64, report func(error, string, ...any)) {
	for name, n := range extra {
		if n < 0 || n >= boundless {
			report(ErrBadCluster, "%s: %d is no amount of %s", of, n, name)
		}
	}
}

func (c *Cluster) checkRules(vms map[string]*VM, report func(error, string, ...any)) {
	names := map[string]bool{}
	for i := range c.Rules {
		r := &c.Rules[i]
		if names[r.Name] {
			report(ErrBadCluster, "rule %s is there twice", r.Name)
		}
		names[r.Name] = true
		switch r.Kind {
		case Together, Apart, OnHosts, NotOnHosts:
		default:
			report(ErrBadCluster, "rule %s is of the unknown kind %q", r.Name, r.Kind)
		}
		if r.Domains && r.Kind != Apart {
			report(ErrBadCluster, "rule %s: failure domains are for %s only", r.Name, Apart)
		}
		if (r.Kind == OnHosts || r.Kind == NotOnHosts) && len(r.Hosts) == 0 {
			report(ErrBadCluster, "rule %s names no host", r.Name)
		}
		for _, v := range r.VMs {
			if vms[v] == nil {
				report(ErrBadCluster, "rule %s: there is no VM %s", r.Name, v)
			}
		}
	}
	// What must be together, however indirectly, must not be apart.
	m := newModel(c)
	for _, crew := range m.crews {
		for _, e := range m.exclusive {
			var both []string
			for _, v := range e.members {
				if slices.Contains(crew, v) {
					both = append(both, m.vms[v].Name)
				}
			}
			if len(both) > 1 {
				report(ErrContradiction, "rule %s keeps %s apart, which must be together by other rules", e.rule.Name, strings.Join(both, " and "))
			}
		}
	}
}

func (c *Cluster) checkGroups(vms map[string]*VM, report func(error, string, ...any)) {
	in, groups := map[string]string{}, map[string]*Group{}
	for i := range c.Groups {
		g := &c.Groups[i]
		if groups[g.Name] != nil {
			report(ErrBadCluster, "group %s is there twice", g.Name)
		}
		groups[g.Name] = g
		for _, v := range g.VMs {
			if vms[v] == nil {
				report(ErrBadCluster, "group %s: there is no VM %s", g.Name, v)
			}
			if other, yes := in[v]; yes {
				report(ErrTwoGroups, "%s is in %s and in %s", v, other, g.Name)
			}
			in[v] = g.Name
		}
	}
	const open, done = 1, 2
	state := map[string]int{}
	var visit func(g *Group, path []string)
	visit = func(g *Group, path []string) {
		path = append(path, g.Name)
		switch state[g.Name] {
		case done:
			return
		case open:
			report(ErrRing, "%s", strings.Join(path[slices.Index(path, g.Name):], " after "))
			return
		}
		state[g.Name] = open
		for _, before := range g.StartAfter {
			if groups[before] == nil {
				report(ErrBadCluster, "group %s starts after %s, which is no group", g.Name, before)
				continue
			}
			visit(groups[before], path)
		}
		state[g.Name] = done
	}
	for i := range c.Groups {
		visit(&c.Groups[i], nil)
	}
}
