// Package structure holds the shape of the tree: which package may import which,
// that every package says what it is, that tests do not wait by sleeping, and
// that the list of make's targets is complete. It owns the rules and the check;
// it is never part of a program.
package structure

import (
	"fmt"
	"slices"
	"strings"
)

// Graph is what every package of the module imports in its own, non-test files.
// Packages of the module are named by their path below it ("cluster/lease"),
// all others by their import path.
type Graph map[string][]string

// Rule says what some packages must not reach, by whatever chain of the module's
// own packages. Its patterns name one package ("fsm"), a package and everything
// below it ("vmm/..."), every package of this module ("own"), or every package of
// another module ("foreign").
type Rule struct {
	// Packages are the patterns the rule is about.
	Packages []string
	// Except are patterns taken out of Packages.
	Except []string
	// Deny are the patterns they must not import.
	Deny []string
	// Allow are patterns taken out of Deny.
	Allow []string
	// Direct looks at a package's own imports only. Without it a package answers
	// for what it imports through others as well.
	Direct bool
	// Why is what the one who broke the rule gets to read.
	Why string
}

func (g Graph) match(pattern, pkg string) bool {
	_, own := g[pkg]
	switch pattern {
	case "own":
		return own
	case "foreign":
		first, _, _ := strings.Cut(pkg, "/")
		return !own && strings.Contains(first, ".")
	}
	if parent, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == parent || strings.HasPrefix(pkg, parent+"/")
	}
	return pkg == pattern
}

func (g Graph) matchAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return g.match(p, pkg) })
}

// Check returns one text for each package and each forbidden package that it
// reaches: the shortest chain and the reason. The order is stable.
func (g Graph) Check(rules []Rule) []string {
	var found []string
	for _, rule := range rules {
		for _, pkg := range g.packages() {
			if !g.matchAny(rule.Packages, pkg) || g.matchAny(rule.Except, pkg) {
				continue
			}
			for _, chain := range g.breaches(rule, pkg) {
				found = append(found, fmt.Sprintf("%s\n    %s", strings.Join(chain, " → "), rule.Why))
			}
		}
	}
	return found
}

func (g Graph) packages() []string {
	names := make([]string, 0, len(g))
	for name := range g {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// breaches walks breadth first from pkg, so that the chain it returns for each
// forbidden package is a shortest one. It does not walk on behind a forbidden
// package: what that one imports is its own affair and would only repeat it.
func (g Graph) breaches(rule Rule, pkg string) [][]string {
	var found [][]string
	seen := map[string]bool{pkg: true}
	chains := [][]string{{pkg}}
	for len(chains) > 0 {
		chain := chains[0]
		chains = chains[1:]
		for _, next := range slices.Sorted(slices.Values(g[chain[len(chain)-1]])) {
			if seen[next] {
				continue
			}
			seen[next] = true
			longer := append(slices.Clone(chain), next)
			switch {
			case g.matchAny(rule.Deny, next) && !g.matchAny(rule.Allow, next):
				found = append(found, longer)
			case !rule.Direct:
				chains = append(chains, longer)
			}
		}
	}
	return found
}
