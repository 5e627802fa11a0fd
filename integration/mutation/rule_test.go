package mutation

import (
	"fmt"
	"regexp"
	"strings"
)

// mutant is one change of the code that leaves a rule of docs/safety.md out, and
// the test that notices.
type mutant struct {
	rule string // as docs/safety.md names it; a heading of that page where the rule has no name of its own
	// without says what the code then does.
	without string
	file    string // from the root of the tree
	// Text old occurs exactly once in the file, and becomes text new.
	old, new string
	test     catcher
	// says is part of what the failing test prints.
	says string
}

// catcher is a test of this tree.
type catcher struct {
	pkg string // from the root of the tree
	run string // as go test -run takes it
}

// args are what go test is called with.
func (c catcher) args() []string { return []string{"-run", c.run, "./" + c.pkg} }

// String is the command that runs it.
func (c catcher) String() string { return "go test " + strings.Join(c.args(), " ") }

// in makes the catcher of a package's tests of those names.
func in(pkg string, tests ...string) catcher {
	return catcher{pkg, "^(" + strings.Join(tests, "|") + ")$"}
}

// scenario makes the catcher of one scenario of the simulation.
func scenario(name string) catcher {
	return catcher{"integration/sim", "^TestScenarios$/^" + name + "$"}
}

// apply returns the file's text with the change made.
func (m mutant) apply(text string) (string, error) {
	switch n := strings.Count(text, m.old); {
	case m.old == "" || m.old == m.new:
		return "", fmt.Errorf("rule %s: the change of %s changes nothing", m.rule, m.file)
	case n != 1:
		return "", fmt.Errorf("rule %s: the text to change occurs %d times in %s, must be once:\n%s", m.rule, n, m.file, m.old)
	}
	return strings.Replace(text, m.old, m.new, 1), nil
}

// bold is how docs/safety.md names a rule where it states it: **R1** in the text, or
// a name alone in the first column of a table.
var bold = regexp.MustCompile(`(?m)(?:\*\*|^\| )([A-Z][0-9]?)(?:\*\*| \||, by )`)

// rules are the names of all rules that the page states, in its order.
func rules(page string) []string {
	var all []string
	seen := map[string]bool{}
	for _, m := range bold.FindAllStringSubmatch(page, -1) {
		if !seen[m[1]] {
			seen[m[1]] = true
			all = append(all, m[1])
		}
	}
	return all
}

// elsewhere are rules that no mutant leaves out, and why.
var elsewhere = map[string]string{
	"S1": "what all the others together hold: a mutant of R7, I1 or I8 breaks it, and the simulation's disks say so",
	"S2": "what N, S and Q hold, each by itself",
	"S3": "what R8 holds, and the bounds that the simulation's measures are held to",
	"S4": "what R6 and Fence devices hold, and the simulation's rule that no VM is ended that nobody asked to stop",
	"D":  "the length of R7's wait, whose terms are those of the inequality",
	"W":  "how many volumes a claim needs: a number of C1, not a rule",
	"R":  "how many volumes a proof needs: a number of C1, not a rule",
}
