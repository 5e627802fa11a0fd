package whatif

import (
	"fmt"
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/placement"
)

// nobody says why not one protected VM could be restarted if its host was lost; empty: one could, or there
// is none. Such VMs are counted apart, as no room that could be kept helps them; but where they are all
// that there is, the failure of a host is not borne, whatever room there is.
func nobody(c *placement.Cluster, uncovered []placement.Uncovered) string {
	if len(uncovered) == 0 {
		return ""
	}
	for i := range c.VMs {
		v := &c.VMs[i]
		if v.Class == placement.Protected && v.Status != placement.Stopped && !slices.ContainsFunc(uncovered, func(u placement.Uncovered) bool { return u.VM == v.Name }) {
			return ""
		}
	}
	return fmt.Sprintf("not one protected VM could be restarted if its host is lost: %s: %s", uncovered[0].VM, uncovered[0].Why)
}
