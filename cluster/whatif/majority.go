package whatif

import (
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/placement"
)

// noMajority says that after a loss too few voters would be left to elect a master: whatever
// room there is, nothing is started then. Empty: enough are left, or nothing is known of votes.
// lost tells of each host whether it is lost besides those that are down already, which have
// their votes still (docs/architecture.md, Voters).
func noMajority(c *placement.Cluster, lost func(h *placement.Host) bool) string {
	voters, left := 0, 0
	for i := range c.Hosts {
		h := &c.Hosts[i]
		if !h.Voter {
			continue
		}
		if voters++; h.State != placement.Down && !lost(h) {
			left++
		}
	}
	need := voters/2 + 1
	if voters == 0 || left >= need {
		return ""
	}
	return fmt.Sprintf("%d of %d voters would be left, and a majority is %d: nothing is started before %d more can be heard again", left, voters, need, need-left)
}

// noMajorityAfterAny is the same for the worst loss of so many hosts, or failure domains, at
// once. Of losses one after the other it says nothing: votes are given to others in between.
func noMajorityAfterAny(c *placement.Cluster, f placement.Failures) string {
	if f.Succession {
		return ""
	}
	votes := map[string]int{} // of voters that are up, by what fails as one
	unit := func(h *placement.Host) string {
		if f.Domains && h.Domain != "" {
			return "domain " + h.Domain
		}
		return "host " + h.Name
	}
	for i := range c.Hosts {
		if h := &c.Hosts[i]; h.Voter && h.State != placement.Down {
			votes[unit(h)]++
		}
	}
	units := slices.Sorted(maps.Keys(votes))
	slices.SortStableFunc(units, func(a, b string) int { return votes[b] - votes[a] })
	units = units[:min(f.N, len(units))]
	return noMajority(c, func(h *placement.Host) bool { return slices.Contains(units, unit(h)) })
}
