package config

import (
	"fmt"
	"slices"
)

// What a rule asks for.
const (
	RuleApart      = "apart"        // no two of its VMs on one host, or in one failure domain
	RuleTogether   = "together"     // all of its VMs on one host
	RuleOnHosts    = "on_hosts"     // its VMs on the listed hosts
	RuleNotOnHosts = "not_on_hosts" // its VMs on any but the listed hosts
)

// How strong a rule is.
const (
	RuleMust   = "must"   // it is never broken: a VM stays down rather
	RuleShould = "should" // hosts that keep it are preferred
)

// What a rule keeps VMs apart by, and admission control counts failures of.
const (
	DomainHost    = "host"
	DomainFailure = "failure_domain"
)

// maxWeight is the most that a host or a rule may weigh.
const maxWeight = 1000

// Rule is a rule block: a wish about where VMs run.
type Rule struct {
	Kind     string `json:"kind"`
	Strength string `json:"strength"`
	// VMs are those it is about by name, and Match a pattern for the names of others.
	VMs   []string `json:"vms,omitempty"`
	Match string   `json:"match,omitempty"`
	// Hosts are those of RuleOnHosts and RuleNotOnHosts with a weight, 0 for all alike:
	// of hosts that a VM may be on, the one of the highest weight comes first.
	Hosts map[string]int64 `json:"hosts,omitempty"`
	// HostLabels chooses every host whose block has all of these labels.
	HostLabels map[string]string `json:"host_labels,omitempty"`
	// Domain is what RuleApart keeps VMs apart by: DomainHost or DomainFailure.
	Domain string `json:"domain"`
	// Weight is what it costs to break this one rather than another, where not all
	// together and apart rules that are no must can be kept. At least 1.
	Weight int64 `json:"weight"`
}

func ruleSchema() *block {
	return &block{name: "rule", label: "a name for the rule", many: true, labelCheck: badName, attrs: []attr{
		{name: "kind", kind: kindString, required: true, words: []string{RuleApart, RuleTogether, RuleOnHosts, RuleNotOnHosts}},
		{name: "strength", kind: kindString, required: true, words: []string{RuleMust, RuleShould}},
		membersAttr(), matchAttr(),
		{name: "hosts", kind: kindWeights, check: badHosts},
		{name: "host_labels", kind: kindMap, check: badLabels, like: `names and strings in braces, such as { gpu = "a2" }`},
		{name: "domain", kind: kindString, def: DomainHost, words: []string{DomainHost, DomainFailure}},
		{name: "weight", kind: kindInt, def: int64(1), check: intBetween(1, maxWeight)},
	}}
}

func badHosts(v any) string {
	m := v.(map[string]int64)
	if len(m) == 0 {
		return "names no host"
	}
	for _, name := range sortedKeys(m) {
		if problem := badName(name); problem != "" {
			return fmt.Sprintf("holds %s, but a host's name %s", quote(name), problem)
		}
	}
	return ""
}

// rules takes the rule blocks over, and checks them by themselves and against one another.
func (r *report) rules(p *Policy, root *node) {
	at := map[string]*node{}
	bad := len(r.diags) > 0
	for _, n := range root.all("rule") {
		if p.Rules == nil {
			p.Rules = map[string]Rule{}
		}
		rule := Rule{Kind: get[string](n, "kind"), Strength: get[string](n, "strength"),
			VMs: get[[]string](n, "vms"), Match: get[map[string]string](n, "match")["name"],
			Hosts: get[map[string]int64](n, "hosts"), HostLabels: get[map[string]string](n, "host_labels"),
			Domain: get[string](n, "domain"), Weight: get[int64](n, "weight")}
		p.Rules[n.label], at[n.label] = rule, n
		for _, s := range n.set {
			bad = bad || s.bad
		}
		if rule.Kind != "" && rule.Strength != "" { // what is missing has been said
			r.rule(p, n, rule)
		}
	}
	if bad || len(r.diags) > 0 {
		return // what contradicts what is said once all of it can be read
	}
	for _, c := range contradictions(p) {
		r.add(at[c.rules[0]].rng, "Rules contradict each other", "%s", c.why)
	}
}

// rule checks one rule by itself: nothing may stand in it that has no effect.
func (r *report) rule(p *Policy, n *node, rule Rule) {
	r.someVMs(n, "rule")
	idle := func(name, why string) {
		if _, set := n.set[name]; set {
			r.add(n.at(name), name+" has no effect here", "rule %s: %s. Take it out.", quote(n.label), why)
		}
	}
	if rule.Kind == RuleOnHosts || rule.Kind == RuleNotOnHosts {
		idle("domain", "only rules of the kind apart go by failure domain")
		idle("weight", "what weighs in a rule of this kind are its hosts: hosts = { kvm1 = 10, kvm2 = 5 }")
		_, named := n.set["hosts"]
		if _, labelled := n.set["host_labels"]; !named && !labelled {
			r.add(n.rng, "No hosts",
				"rule %s names no host. Say which: hosts = [\"kvm1\"], host_labels = { gpu = \"a2\" }, or both.", quote(n.label))
		} else if labelled && !named && len(p.RuleHosts(rule)) == 0 {
			r.add(n.at("host_labels"), "No host has these labels", "rule %s: no host block of the policy has all of %s.",
				quote(n.label), text(rule.HostLabels))
		}
		if rule.Kind == RuleNotOnHosts && rule.Strength == RuleMust {
			for _, w := range rule.Hosts {
				if w != 0 {
					r.add(n.at("hosts"), "Weights have no effect here",
						"rule %s keeps its VMs off all of these hosts, whatever they weigh. Write a list of names.", quote(n.label))
					break
				}
			}
		}
		return
	}
	idle("hosts", "its kind is about VMs, not about hosts")
	idle("host_labels", "its kind is about VMs, not about hosts")
	if rule.Strength == RuleMust {
		idle("weight", "a must is not weighed against anything")
	}
	if rule.Kind == RuleTogether {
		idle("domain", "VMs that are together are on one host")
	}
	if len(rule.VMs) == 1 && rule.Match == "" {
		r.add(n.at("vms"), "One VM alone",
			"rule %s is about how VMs are placed to one another, and names one only. Name two at least.", quote(n.label))
	}
}

// RuleHosts are the hosts of a rule with their weights: those it names, and those
// whose blocks have its labels.
func (p *Policy) RuleHosts(r Rule) map[string]int {
	hosts := map[string]int{}
	if len(r.HostLabels) > 0 {
		for name, h := range p.Hosts {
			all := true
			for k, v := range r.HostLabels {
				all = all && h.Labels[k] == v
			}
			if all {
				hosts[name] = 0
			}
		}
	}
	for name, w := range r.Hosts {
		hosts[name] = int(w)
	}
	return hosts
}

// Holds reports whether the rule is about the VM of that name.
func (r *Rule) Holds(vm string) bool { return holds(r.VMs, r.Match, vm) }

// holds reports whether a list or a pattern has the name.
func holds(names []string, pattern, vm string) bool {
	return slices.Contains(names, vm) || fits(pattern, vm)
}

// GroupOf finds the group that the VM of that name starts with, or nil: the one
// that lists it, else the first whose pattern fits.
func (p *Policy) GroupOf(vm string) *Group {
	for i := range p.Groups {
		if slices.Contains(p.Groups[i].VMs, vm) {
			return &p.Groups[i]
		}
	}
	for i := range p.Groups {
		if fits(p.Groups[i].Match, vm) {
			return &p.Groups[i]
		}
	}
	return nil
}

func (r Rule) said() []said {
	return []said{
		{"kind", r.Kind, ""},
		{"strength", r.Strength, ""},
		{"vms", r.VMs, []string(nil)},
		{"match", matchOf(r.Match), map[string]string(nil)},
		{"hosts", r.Hosts, map[string]int64(nil)},
		{"host_labels", r.HostLabels, map[string]string(nil)},
		{"domain", r.Domain, DomainHost},
		{"weight", r.Weight, int64(1)},
	}
}
