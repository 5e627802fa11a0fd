package config

import (
	"fmt"
	"slices"
	"strings"
)

// contradiction is a set of rules, each a must, that cannot all be kept.
type contradiction struct {
	rules []string
	why   string
}

// contradictions finds rules that exclude one another, as far as that shows before
// it is known which VMs there are: by the names in the policy, and by equal patterns.
func contradictions(p *Policy) []contradiction {
	var names []string // of the rules that are a must
	for _, name := range sortedKeys(p.Rules) {
		if p.Rules[name].Strength == RuleMust {
			names = append(names, name)
		}
	}
	members := ruleMembers(p, names)
	t := newTies(names, p, members)
	return slices.Concat(tornApart(names, p, members, t), nowhere(names, p, members, t), packed(names, p, members))
}

// ruleMembers are the VMs of each of the rules, as they are shown, as far as the policy knows of them.
func ruleMembers(p *Policy, names []string) map[string][]string {
	known := knownVMs(p)
	members := map[string][]string{}
	for _, name := range names {
		r := p.Rules[name]
		for _, vm := range known {
			if r.Holds(vm.name) || vm.pattern != "" && vm.pattern == r.Match {
				members[name] = append(members[name], vm.shown())
			}
		}
	}
	return members
}

// vmName is a VM that the policy knows of: by name, or as any that fits a pattern.
type vmName struct {
	name    string
	pattern string
	nth     int
}

func (v vmName) shown() string {
	if v.pattern == "" {
		return quote(v.name)
	}
	return fmt.Sprintf("%s%s", []string{"a VM like ", "another like "}[v.nth-1], quote(v.pattern))
}

// knownVMs are the names in the policy, and two VMs for each pattern of a rule.
func knownVMs(p *Policy) []vmName {
	names, patterns := map[string]bool{}, map[string]bool{}
	for name := range p.VMs {
		names[name] = true
	}
	for _, r := range p.Rules {
		for _, name := range r.VMs {
			names[name] = true
		}
		if r.Match != "" && strings.ContainsAny(r.Match, `*?[\`) {
			patterns[r.Match] = true
		}
	}
	for _, g := range p.Groups {
		for _, name := range g.VMs {
			names[name] = true
		}
	}
	var all []vmName
	for _, name := range sortedKeys(names) {
		all = append(all, vmName{name: name})
	}
	for _, pattern := range sortedKeys(patterns) {
		all = append(all, vmName{pattern: pattern, nth: 1}, vmName{pattern: pattern, nth: 2})
	}
	return all
}

// ties are VMs that must be together, with the rule that ties each to the next.
type ties struct {
	parent map[string]string
	by     map[string]string // the rule that tied a VM to its parent
}

func newTies(names []string, p *Policy, members map[string][]string) *ties {
	t := &ties{parent: map[string]string{}, by: map[string]string{}}
	for _, name := range names {
		if p.Rules[name].Kind != RuleTogether {
			continue
		}
		for _, vm := range members[name] {
			if a, b := t.root(members[name][0]), t.root(vm); a != b {
				t.parent[b], t.by[b] = a, name
			}
		}
	}
	return t
}

func (t *ties) root(vm string) string {
	for t.parent[vm] != "" {
		vm = t.parent[vm]
	}
	return vm
}

// rules are those that tie the VM to the root of its set.
func (t *ties) rules(vm string) (list []string) {
	for ; t.parent[vm] != ""; vm = t.parent[vm] {
		list = append(list, t.by[vm])
	}
	return list
}

// tornApart finds rules that keep VMs apart which others keep together.
func tornApart(names []string, p *Policy, members map[string][]string, t *ties) (all []contradiction) {
	for _, name := range names {
		if p.Rules[name].Kind != RuleApart {
			continue
		}
		first := map[string]string{} // VM by the root of its set
		for _, vm := range members[name] {
			root := t.root(vm)
			other, seen := first[root]
			if !seen {
				first[root] = vm
				continue
			}
			by := slices.Compact(slices.Sorted(slices.Values(append(t.rules(vm), t.rules(other)...))))
			all = append(all, contradiction{rules: append([]string{name}, by...), why: fmt.Sprintf(
				"rule %s keeps %s and %s apart, which must be together by %s. Take a VM out of one of them, or make one a \"should\".",
				quote(name), other, vm, ruleList(by))})
			break
		}
	}
	return all
}

// nowhere finds VMs for which the rules about hosts leave no host.
func nowhere(names []string, p *Policy, members map[string][]string, t *ties) (all []contradiction) {
	type left struct {
		vm    string
		hosts map[string]bool // that all on_hosts rules allow
		off   map[string]bool // that not_on_hosts rules exclude
		rules []string
		done  bool
	}
	sets := map[string]*left{} // by the root of a set
	for _, name := range names {
		r := p.Rules[name]
		if r.Kind != RuleOnHosts && r.Kind != RuleNotOnHosts {
			continue
		}
		listed := p.RuleHosts(r)
		for _, vm := range members[name] {
			root := t.root(vm)
			s := sets[root]
			if s == nil {
				s = &left{vm: vm, off: map[string]bool{}}
				sets[root] = s
			}
			if s.done {
				continue
			}
			s.rules = append(s.rules, name)
			s.rules = append(s.rules, t.rules(vm)...)
			for h := range listed {
				if r.Kind == RuleNotOnHosts {
					s.off[h] = true
				}
			}
			if r.Kind == RuleOnHosts {
				was := s.hosts
				s.hosts = map[string]bool{}
				for h := range listed {
					if was == nil || was[h] {
						s.hosts[h] = true
					}
				}
			}
			free := s.hosts == nil
			for h := range s.hosts {
				free = free || !s.off[h]
			}
			if !free {
				s.done = true
				by := slices.Compact(slices.Sorted(slices.Values(s.rules)))
				with := ""
				if vm != s.vm {
					with = " with " + s.vm
				}
				all = append(all, contradiction{rules: by, why: fmt.Sprintf(
					"%s leave no host for %s%s; each is a must. Give them a host in common, or make one a \"should\".", ruleList(by), vm, with)})
			}
		}
	}
	return all
}

// ruleList names rules in a sentence.
func ruleList(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quote(name)
	}
	if len(quoted) == 1 {
		return "rule " + quoted[0]
	}
	return "rules " + strings.Join(quoted[:len(quoted)-1], ", ") + " and " + quoted[len(quoted)-1]
}
