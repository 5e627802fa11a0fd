package config

import (
	"fmt"
	"slices"
	"strings"
)

// places are those that rules leave to a VM: hosts, or failure domains.
type places map[string]bool

// crowd is VMs that a rule keeps apart, and to which rules about hosts leave fewer places in all than
// they are.
type crowd struct {
	apart  string
	vms    []string // as they are shown
	by     []string // the rules about hosts
	places []string
}

// crowded finds the VMs of an apart rule that are too many for the places that are left to them, going
// by the rules about hosts among names alone.
func crowded(p *Policy, apart string, names []string, members map[string][]string) *crowd {
	vms := members[apart]
	if named := slices.DeleteFunc(slices.Clone(vms), func(vm string) bool { return !strings.HasPrefix(vm, `"`) }); len(named) > 0 {
		vms = named // VMs that only a pattern tells of may be these
	}
	left, by := map[string]places{}, map[string][]string{} // by VM
	for _, name := range names {
		r := p.Rules[name]
		if r.Kind != RuleOnHosts {
			continue
		}
		for _, vm := range members[name] {
			was, hosts := left[vm], places{}
			for h := range p.RuleHosts(r) {
				if was == nil || was[h] {
					hosts[h] = true
				}
			}
			left[vm], by[vm] = hosts, append(by[vm], name)
		}
	}
	for _, name := range names {
		if r := p.Rules[name]; r.Kind == RuleNotOnHosts {
			for _, vm := range members[name] {
				for h := range p.RuleHosts(r) {
					if left[vm][h] {
						delete(left[vm], h)
						by[vm] = append(by[vm], name)
					}
				}
			}
		}
	}
	if p.Rules[apart].Domain == DomainFailure {
		for vm, hosts := range left {
			left[vm] = p.failureDomains(hosts)
		}
	}
	holder := map[string]string{} // VM by its place
	for _, vm := range vms {
		if len(left[vm]) == 0 {
			continue // it may run anywhere; or nowhere, which is said of it by itself
		}
		tried := places{}
		if seat(vm, left, holder, tried) {
			continue
		}
		// The places that were tried are all that this VM and those that have them may go to.
		c := &crowd{apart: apart, vms: []string{vm}, places: sortedKeys(tried)}
		for _, place := range c.places {
			c.vms = append(c.vms, holder[place])
		}
		slices.Sort(c.vms)
		for _, vm := range c.vms {
			c.by = append(c.by, by[vm]...)
		}
		slices.Sort(c.by)
		c.by = slices.Compact(c.by)
		return c
	}
	return nil
}

// failureDomains are those of hosts; one without is a domain by itself.
func (p *Policy) failureDomains(hosts places) places {
	all := places{}
	for h := range hosts {
		if d := p.Hosts[h].FailureDomain; d != "" {
			all["domain "+d] = true
		} else {
			all[h] = true
		}
	}
	return all
}

// seat gives a VM one of its places, moving others where that helps.
func seat(vm string, left map[string]places, holder map[string]string, tried places) bool {
	for _, place := range sortedKeys(left[vm]) {
		if tried[place] {
			continue
		}
		tried[place] = true
		if other, taken := holder[place]; !taken || seat(other, left, holder, tried) {
			holder[place] = vm
			return true
		}
	}
	return false
}

func (c *crowd) text() string {
	of := "place"
	if len(c.places) > 1 {
		of = "places"
	}
	leave := "leaves"
	if len(c.by) > 1 {
		leave = "leave"
	}
	return fmt.Sprintf("rule %s keeps %s apart, and %s %s them %d %s in all: %s", quote(c.apart),
		strings.Join(c.vms, ", "), ruleList(c.by), leave, len(c.places), of, strings.Join(c.places, ", "))
}

// packed finds rules, each a must, that leave VMs too few places to be apart.
func packed(names []string, p *Policy, members map[string][]string) (all []contradiction) {
	for _, name := range names {
		if p.Rules[name].Kind != RuleApart {
			continue
		}
		if c := crowded(p, name, names, members); c != nil {
			all = append(all, contradiction{rules: append([]string{name}, c.by...),
				why: c.text() + `. Give them more, take a VM out, or make one a "should".`})
		}
	}
	return all
}

// packedWishes are the same of rules of which one at least is no must: it cannot be kept for all of
// its VMs.
func (p *Policy) packedWishes() (list []string) {
	names := sortedKeys(p.Rules)
	members := ruleMembers(p, names)
	for _, name := range names {
		if p.Rules[name].Kind != RuleApart {
			continue
		}
		if c := crowded(p, name, names, members); c != nil {
			list = append(list, c.text()+": one of these rules is always broken")
		}
	}
	return list
}
